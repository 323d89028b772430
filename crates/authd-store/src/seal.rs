//! Sealing: what makes a stolen disk worthless.
//!
//! One random data key; from it, by HMAC-SHA256 with a label, one subkey to encrypt with and one to
//! turn account names into table keys and file names. Each payload is sealed with
//! XChaCha20-Poly1305 under a random nonce. The whole plain header in front of it (format version,
//! kind, account, generation, length) is authenticated, so that a sealed payload cannot be moved to
//! another account, another table or another generation.

use std::fmt;

use authd_core::id::Account;
use chacha20poly1305::{AeadInPlace, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{locked::LockedKey, migrate::Format};

const MAGIC: &[u8; 5] = b"authd";
const HEADER: usize = MAGIC.len() + 1 + 1 + 32 + 8 + 4;
const NONCE: usize = 24;
const TAG: usize = 16;

/// The key that everything is sealed under, 256 random bits. In locked memory, wiped when dropped, never
/// printed.
pub struct DataKey(LockedKey);

impl DataKey {
    /// Draws a new one.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        LockedKey::filled(|bytes| getrandom::fill(bytes)).map(Self)
    }

    /// Takes one that was kept; `None` when it is not 32 bytes long.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(LockedKey::copied).map(Self)
    }

    /// A subkey for the use that `label` names: for instance to fingerprint tokens with.
    #[must_use]
    pub fn derive(&self, label: &str) -> LockedKey {
        let mut subkey = keyed(&*self.0, label.as_bytes());
        let locked = LockedKey::copied(&subkey);
        subkey.zeroize();
        locked
    }

    /// The key itself, for the one place that keeps it.
    pub(crate) fn expose(&self) -> &[u8] {
        &*self.0
    }

    /// Eight bytes by which a wrong key is told from the right one, and which tell nothing else.
    pub(crate) fn check(&self) -> u64 {
        first_eight(&self.derive("authd-store check v1"))
    }
}

/// An account's name in tables and file names: its keyed hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) [u8; 32]);

impl Name {
    /// What belongs to no account.
    pub(crate) const STORE: Self = Self([0; 32]);

    /// The first eight bytes: enough for the anchor, where a collision merely raises a doubt.
    pub(crate) fn short(&self) -> u64 {
        first_eight(&self.0)
    }
}

fn first_eight(bytes: &[u8; 32]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What kind of thing is sealed; part of what is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Header = 1,
    Record = 2,
    Intent = 3,
    Revocation = 4,
}

/// Why something sealed does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsealable {
    #[error("it is not in the form in which we seal")]
    Malformed,
    #[error("it was written by a newer version")]
    Newer,
    #[error("it belongs to another place")]
    Misplaced,
    #[error("it was altered, or sealed under another key")]
    Unauthentic,
}

/// What came out of a seal.
pub(crate) struct Opened {
    pub(crate) name: Name,
    pub(crate) generation: u64,
    /// The format it was written in; older ones have been brought up to date already.
    pub(crate) version: u8,
    pub(crate) payload: Zeroizing<Vec<u8>>,
}

/// Seals and opens.
pub(crate) struct Sealer {
    key: LockedKey,
    names: LockedKey,
    format: Format,
}

impl Sealer {
    pub(crate) fn new(key: &DataKey, format: Format) -> Self {
        Self {
            key: key.derive("authd-store seal v1"),
            names: key.derive("authd-store names v1"),
            format,
        }
    }

    /// Made for each use: it has a copy of the key, which is wiped with it.
    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.key).into())
    }

    pub(crate) fn name(&self, account: &Account) -> Name {
        Name(keyed(&*self.names, account.as_str().as_bytes()))
    }

    pub(crate) fn current_version(&self) -> u8 {
        self.format.version
    }

    /// Seals a payload, which is wiped.
    pub(crate) fn seal(
        &self,
        kind: Kind,
        name: Name,
        generation: u64,
        mut payload: Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, SealError> {
        let length = u32::try_from(payload.len()).map_err(|_| SealError::TooLarge)?;
        let mut sealed = Vec::with_capacity(HEADER + NONCE + TAG + payload.len());
        sealed.extend_from_slice(MAGIC);
        sealed.push(self.format.version);
        sealed.push(kind as u8);
        sealed.extend_from_slice(&name.0);
        sealed.extend_from_slice(&generation.to_be_bytes());
        sealed.extend_from_slice(&length.to_be_bytes());
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(SealError::Randomness)?;
        let tag = self
            .cipher()
            .encrypt_in_place_detached(XNonce::from_slice(&nonce), &sealed, &mut payload)
            .map_err(|_| SealError::TooLarge)?;
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&tag);
        sealed.extend_from_slice(&payload);
        Ok(sealed)
    }

    /// Opens what [`Sealer::seal`] made. Bytes after its end are ignored: a spill file is longer
    /// than what it holds. `name` is checked when given.
    pub(crate) fn open(
        &self,
        kind: Kind,
        name: Option<Name>,
        sealed: &[u8],
    ) -> Result<Opened, Unsealable> {
        let (header, rest) = sealed
            .split_at_checked(HEADER)
            .ok_or(Unsealable::Malformed)?;
        let (magic, fields) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(Unsealable::Malformed);
        }
        let version = fields[0];
        if version == 0 {
            return Err(Unsealable::Malformed);
        }
        if version > self.format.version {
            return Err(Unsealable::Newer);
        }
        let found = Name(
            fields[2..34]
                .try_into()
                .map_err(|_| Unsealable::Malformed)?,
        );
        if fields[1] != kind as u8 || name.is_some_and(|name| name != found) {
            return Err(Unsealable::Misplaced);
        }
        let generation = u64::from_be_bytes(
            fields[34..42]
                .try_into()
                .map_err(|_| Unsealable::Malformed)?,
        );
        let length = u32::from_be_bytes(
            fields[42..46]
                .try_into()
                .map_err(|_| Unsealable::Malformed)?,
        );
        let length = usize::try_from(length).map_err(|_| Unsealable::Malformed)?;
        let (nonce, rest) = rest.split_at_checked(NONCE).ok_or(Unsealable::Malformed)?;
        let (tag, rest) = rest.split_at_checked(TAG).ok_or(Unsealable::Malformed)?;
        let mut payload = Zeroizing::new(rest.get(..length).ok_or(Unsealable::Malformed)?.to_vec());
        self.cipher()
            .decrypt_in_place_detached(
                XNonce::from_slice(nonce),
                header,
                &mut payload,
                Tag::from_slice(tag),
            )
            .map_err(|_| Unsealable::Unauthentic)?;
        let payload = self.format.bring_up(kind, version, payload)?;
        Ok(Opened {
            name: found,
            generation,
            version,
            payload,
        })
    }
}

/// Why something could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    #[error("it is too large, or has no serial form")]
    TooLarge,
}

fn keyed(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac =
        <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_its_first_eight_bytes_in_their_order() {
        let mut name = [9; 32];
        name[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Name(name).short(), 0x0102_0304_0506_0708);
    }

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(&DataKey::from_bytes(&[byte; 32]).unwrap(), Format::CURRENT)
    }

    fn sealed(by: &Sealer) -> Vec<u8> {
        let name = by.name(&Account::new("work").unwrap());
        by.seal(
            Kind::Record,
            name,
            7,
            Zeroizing::new(b"a refresh token".to_vec()),
        )
        .unwrap()
    }

    #[test]
    fn what_was_sealed_opens_and_shows_nothing() {
        let sealer = sealer(1);
        let sealed = sealed(&sealer);
        assert!(!sealed.windows(7).any(|window| window == b"refresh"));
        let opened = sealer.open(Kind::Record, None, &sealed).unwrap();
        assert_eq!(opened.generation, 7);
        assert_eq!(&**opened.payload, b"a refresh token");
        let mut longer = sealed.clone();
        longer.extend_from_slice(&[0; 100]);
        assert!(sealer.open(Kind::Record, None, &longer).is_ok());
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let sealer = sealer(1);
        let sealed = sealed(&sealer);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(
                sealer.open(Kind::Record, None, &altered).is_err(),
                "byte {at}"
            );
            assert!(
                sealer.open(Kind::Record, None, &sealed[..at]).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn another_key_another_account_and_another_kind_do_not_open_it() {
        let sealer = sealer(1);
        let sealed = sealed(&sealer);
        let open = |kind, name| sealer.open(kind, name, &sealed).err();
        assert_eq!(open(Kind::Intent, None), Some(Unsealable::Misplaced));
        let other = sealer.name(&Account::new("home").unwrap());
        assert_eq!(open(Kind::Record, Some(other)), Some(Unsealable::Misplaced));
        let stranger = self::sealer(2).open(Kind::Record, None, &sealed).err();
        assert_eq!(stranger, Some(Unsealable::Unauthentic));
    }
}
