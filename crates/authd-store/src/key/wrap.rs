//! A data key sealed under something else: a passphrase, or what a service manager hands over.
//!
//! The key that seals comes from argon2id (RFC 9106) of the passphrase, whose cost stands in the file
//! and is authenticated with it; or, from a credential that is random already, by HMAC-SHA256.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use authd_core::secret::Secret;
use chacha20poly1305::{AeadInPlace, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{locked::LockedKey, seal::DataKey};

const MAGIC: &[u8; 12] = b"authd-key 1\n";
const SALT: usize = 16;
/// Magic, kind, memory, passes, lanes, salt.
const HEADER: usize = MAGIC.len() + 1 + 3 * 4 + SALT;
const NONCE: usize = 24;
const TAG: usize = 16;
const KEY: usize = 32;
/// Fewer random bytes than this protect nothing.
const LEAST_CREDENTIAL: usize = 16;

/// What one try of a passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// 64 MiB, three passes, one lane: RFC 9106 §4 recommends it where memory is scarce (with four
    /// lanes; ours is one thread).
    pub const DEFAULT: Self = Self {
        memory_kib: 64 << 10,
        passes: 3,
        lanes: 1,
    };
    /// More than this is no cost that we wrote, but somebody's try to exhaust the memory.
    const MOST: Self = Self {
        memory_kib: 1 << 20,
        passes: 64,
        lanes: 16,
    };

    /// Memory in KiB, passes over it, and lanes; `None` when argon2 has no such cost, or it is beyond
    /// reason.
    #[must_use]
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Option<Self> {
        let cost = Self {
            memory_kib,
            passes,
            lanes,
        };
        let most = Self::MOST;
        let within = memory_kib <= most.memory_kib && passes <= most.passes && lanes <= most.lanes;
        (within && cost.params().is_some()).then_some(cost)
    }

    fn params(self) -> Option<Params> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY)).ok()
    }
}

/// What a key is sealed under.
#[derive(Clone, Copy)]
pub(super) enum Under<'a> {
    /// A passphrase; when sealing, at this cost.
    Passphrase(&'a Secret, Cost),
    /// Random bytes from elsewhere.
    Credential(&'a [u8]),
}

/// Why a sealed key does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwrappable {
    #[error("what is kept as the sealed data key is no such thing; restore it")]
    Malformed,
    #[error("it was sealed under something else")]
    Refused,
    #[error("the operating system refuses the memory or the randomness that this takes")]
    System,
}

impl Under<'_> {
    fn kind(self) -> u8 {
        match self {
            Self::Passphrase(..) => 1,
            Self::Credential(_) => 2,
        }
    }

    fn sealing_key(self, cost: Cost, salt: &[u8]) -> Result<LockedKey, Unwrappable> {
        match self {
            Self::Passphrase(passphrase, _) => stretch(passphrase, cost, salt),
            Self::Credential(credential) if credential.len() < LEAST_CREDENTIAL => {
                Err(Unwrappable::Malformed)
            }
            Self::Credential(credential) => {
                let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(credential)
                    .expect("HMAC takes keys of every length");
                mac.update(b"authd-store credential v1");
                mac.update(salt);
                LockedKey::filled(|key| {
                    key.copy_from_slice(&mac.finalize().into_bytes());
                    Ok(())
                })
            }
        }
    }
}

/// argon2id. Takes a while and much memory, which is wiped.
fn stretch(passphrase: &Secret, cost: Cost, salt: &[u8]) -> Result<LockedKey, Unwrappable> {
    let params = cost.params().ok_or(Unwrappable::Malformed)?;
    let blocks = params.block_count();
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(blocks)
        .map_err(|_| Unwrappable::System)?;
    memory.resize(blocks, Block::default());
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let stretched = LockedKey::filled(|key| {
        argon.hash_password_into_with_memory(
            passphrase.expose().as_bytes(),
            salt,
            key,
            memory.as_mut_slice(),
        )
    });
    memory.iter_mut().for_each(Block::zeroize);
    stretched.map_err(|_| Unwrappable::Malformed)
}

/// Seals a data key for the store `instance`.
pub(super) fn wrap(
    under: Under<'_>,
    instance: u128,
    key: &DataKey,
) -> Result<Vec<u8>, Unwrappable> {
    let cost = match under {
        Under::Passphrase(_, cost) => cost,
        Under::Credential(_) => Cost {
            memory_kib: 0,
            passes: 0,
            lanes: 0,
        },
    };
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE]);
    getrandom::fill(&mut salt).map_err(|_| Unwrappable::System)?;
    getrandom::fill(&mut nonce).map_err(|_| Unwrappable::System)?;
    let mut sealed = Vec::with_capacity(HEADER + NONCE + TAG + KEY);
    sealed.extend_from_slice(MAGIC);
    sealed.push(under.kind());
    for number in [cost.memory_kib, cost.passes, cost.lanes] {
        sealed.extend_from_slice(&number.to_be_bytes());
    }
    sealed.extend_from_slice(&salt);
    let cipher = XChaCha20Poly1305::new((&*under.sealing_key(cost, &salt)?).into());
    let mut bytes = Zeroizing::new(key.expose().to_vec());
    let tag = cipher
        .encrypt_in_place_detached(
            XNonce::from_slice(&nonce),
            &authenticated(&sealed, instance),
            &mut bytes,
        )
        .map_err(|_| Unwrappable::System)?;
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&tag);
    sealed.extend_from_slice(&bytes);
    Ok(sealed)
}

/// Opens what [`wrap`] made for this store.
pub(super) fn unwrap(
    under: Under<'_>,
    instance: u128,
    sealed: &[u8],
) -> Result<DataKey, Unwrappable> {
    let (header, rest) = sealed
        .split_at_checked(HEADER)
        .ok_or(Unwrappable::Malformed)?;
    let fields = header.strip_prefix(MAGIC).ok_or(Unwrappable::Malformed)?;
    if fields[0] != under.kind() || rest.len() != NONCE + TAG + KEY {
        return Err(Unwrappable::Malformed);
    }
    let number = |at: usize| {
        let bytes = &fields[1 + 4 * at..5 + 4 * at];
        bytes
            .iter()
            .fold(0, |n: u32, byte| n << 8 | u32::from(*byte))
    };
    let cost = match under {
        Under::Passphrase(..) => {
            Cost::new(number(0), number(1), number(2)).ok_or(Unwrappable::Malformed)?
        }
        Under::Credential(_) => Cost {
            memory_kib: 0,
            passes: 0,
            lanes: 0,
        },
    };
    let (nonce, rest) = rest.split_at(NONCE);
    let (tag, sealed_key) = rest.split_at(TAG);
    let cipher = XChaCha20Poly1305::new((&*under.sealing_key(cost, &fields[13..])?).into());
    let mut key = Zeroizing::new(sealed_key.to_vec());
    cipher
        .decrypt_in_place_detached(
            XNonce::from_slice(nonce),
            &authenticated(header, instance),
            &mut key,
            Tag::from_slice(tag),
        )
        .map_err(|_| Unwrappable::Refused)?;
    DataKey::from_bytes(&key).ok_or(Unwrappable::Malformed)
}

/// The file's own header, and whose key it is: one of another store does not pass for ours.
fn authenticated(header: &[u8], instance: u128) -> Vec<u8> {
    [header, &instance.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> Cost {
        Cost::new(32, 1, 1).unwrap()
    }

    fn key() -> DataKey {
        DataKey::from_bytes(&[7; 32]).unwrap()
    }

    #[test]
    fn a_sealed_key_opens_with_what_it_was_sealed_under_and_with_nothing_else() {
        let right = Secret::new("correct horse battery");
        let wrong = Secret::new("correct horse batterz");
        let under = Under::Passphrase(&right, cheap());
        let sealed = wrap(under, 5, &key()).unwrap();
        assert!(!sealed.windows(4).any(|window| window == [7; 4]));
        assert_eq!(unwrap(under, 5, &sealed).unwrap().expose(), key().expose());
        // The cost is the file's, whatever the one who opens it would have chosen.
        let dearer = Under::Passphrase(&right, Cost::DEFAULT);
        assert!(unwrap(dearer, 5, &sealed).is_ok());
        let refused = Some(Unwrappable::Refused);
        assert_eq!(
            unwrap(Under::Passphrase(&wrong, cheap()), 5, &sealed).err(),
            refused
        );
        assert_eq!(unwrap(under, 6, &sealed).err(), refused, "another store's");
        let credential = Under::Credential(&[9; 32]);
        assert_eq!(
            unwrap(credential, 5, &sealed).err(),
            Some(Unwrappable::Malformed)
        );

        let sealed = wrap(credential, 5, &key()).unwrap();
        assert_eq!(
            unwrap(credential, 5, &sealed).unwrap().expose(),
            key().expose()
        );
        assert_eq!(
            unwrap(Under::Credential(&[8; 32]), 5, &sealed).err(),
            refused
        );
        assert!(wrap(Under::Credential(b"short"), 5, &key()).is_err());
    }

    #[test]
    fn every_altered_byte_is_noticed_and_no_file_asks_for_all_memory() {
        let passphrase = Secret::new("correct horse battery");
        let under = Under::Passphrase(&passphrase, cheap());
        let sealed = wrap(under, 5, &key()).unwrap();
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(unwrap(under, 5, &altered).is_err(), "byte {at}");
            assert!(unwrap(under, 5, &sealed[..at]).is_err(), "cut at {at}");
        }
        let mut greedy = sealed;
        greedy[MAGIC.len() + 1..MAGIC.len() + 5].fill(0xff);
        assert_eq!(
            unwrap(under, 5, &greedy).err(),
            Some(Unwrappable::Malformed)
        );
        assert!(Cost::new(u32::MAX, 1, 1).is_none() && Cost::new(1, 1, 1).is_none());
        assert!(Cost::new(64 << 10, 3, 1) == Some(Cost::DEFAULT));
    }

    #[test]
    fn two_files_of_one_passphrase_have_nothing_in_common() {
        let passphrase = Secret::new("correct horse battery");
        let under = Under::Passphrase(&passphrase, cheap());
        let (one, other) = (
            wrap(under, 5, &key()).unwrap(),
            wrap(under, 5, &key()).unwrap(),
        );
        assert!(one[HEADER - SALT..] != other[HEADER - SALT..]);
    }
}
