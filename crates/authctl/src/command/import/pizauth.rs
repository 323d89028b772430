//! What `pizauth dump` prints: every account of pizauth with its tokens.
//!
//! A nonce of 12 bytes, then ChaCha20-Poly1305 by a key that stands in pizauth's source, so that nobody finds
//! the tokens by mere search; then bincode (numbers little-endian and of fixed size, lengths of 64 bits). Read
//! in pizauth 1.0.1 to 1.1.0, whose dumps are of the version 1.

use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit as _, Nonce, Tag, aead::AeadInPlace as _};
use zeroize::Zeroizing;

use authd_proto::WireSecret;

use super::source::{Held, Unreadable};

const NONCE: usize = 12;
const TAG: usize = 16;
/// No secret: it is the same for everybody.
pub(super) const KEY: [u8; 32] = [
    0x66, 0xa2, 0x47, 0xa8, 0x5e, 0x48, 0xcf, 0xec, 0xaa, 0xed, 0x9b, 0x36, 0xeb, 0xa9, 0x7d, 0x53,
    0x50, 0xd4, 0x28, 0x63, 0x75, 0x09, 0x7a, 0x44, 0xee, 0xff, 0xb9, 0xc4, 0x54, 0x6b, 0x65, 0xa3,
];
const VERSION: u64 = 1;

/// Every account in the dump that has a refresh token.
pub(super) fn read(dump: &[u8]) -> Result<Vec<Held>, Unreadable> {
    let (nonce, rest) = dump.split_at_checked(NONCE).ok_or(Unreadable::NoDump)?;
    let sealed = rest.len().checked_sub(TAG).ok_or(Unreadable::NoDump)?;
    let (sealed, tag) = rest.split_at(sealed);
    let mut text = Zeroizing::new(sealed.to_vec());
    ChaCha20Poly1305::new(Key::from_slice(&KEY))
        .decrypt_in_place_detached(
            Nonce::from_slice(nonce),
            b"",
            &mut text,
            Tag::from_slice(tag),
        )
        .map_err(|_| Unreadable::NoDump)?;
    let mut reader = Reader(&text);
    let version = reader.u64().ok_or(Unreadable::NoDump)?;
    if version != VERSION {
        return Err(Unreadable::OtherVersion { version });
    }
    reader.accounts().ok_or(Unreadable::NoDump)
}

/// What is left of the dump. Everything is `None` where it is cut short or not what it should be.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn accounts(&mut self) -> Option<Vec<Held>> {
        let mut accounts = Vec::new();
        for _ in 0..self.u64()? {
            accounts.extend(self.account()?);
        }
        self.0.is_empty().then_some(accounts)
    }

    /// `None` inside where it has no refresh token.
    fn account(&mut self) -> Option<Option<Held>> {
        let name = self.text()?.to_owned();
        let authorization_endpoint = self.text()?.to_owned();
        for _ in 0..self.u64()? {
            self.text()?;
            self.text()?;
        }
        let client_id = self.text()?.to_owned();
        let client_secret = self.optional()?.map(WireSecret::new);
        self.text()?;
        let mut scopes = Vec::new();
        for _ in 0..self.u64()? {
            scopes.push(self.text()?.to_owned());
        }
        let token_endpoint = self.text()?.to_owned();
        let refresh_token = match self.u32()? {
            0 => None,
            1 => {
                self.text()?;
                // When it was obtained and when it ends: seconds and nanoseconds each.
                self.take(2 * (8 + 4))?;
                self.optional()?
            }
            _ => return None,
        };
        Some(refresh_token.map(|refresh_token| Held {
            name: Some(name),
            authorization_endpoint: Some(authorization_endpoint),
            token_endpoint: Some(token_endpoint),
            client_id: Some(client_id),
            client_secret,
            scopes,
            ..Held::of(WireSecret::new(refresh_token))
        }))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.u64()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn optional(&mut self) -> Option<Option<&'a str>> {
        match self.take(1)? {
            [0] => Some(None),
            [1] => self.text().map(Some),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the shape that pizauth writes: `work` with a refresh token, `home` without a token, `spent` with an
    /// access token alone.
    const DUMP: &[u8] = include_bytes!("fixtures/pizauth.dump");

    #[test]
    fn a_dump_gives_what_is_needed_to_go_on() {
        let held = read(DUMP).unwrap();
        let [work] = held.as_slice() else {
            panic!("{} accounts", held.len());
        };
        assert_eq!(work.name.as_deref(), Some("work"));
        assert_eq!(work.refresh_token.expose(), "not-a-real-refresh-token");
        assert_eq!(work.client_id.as_deref(), Some("mail-client"));
        let secret = work.client_secret.as_ref().map(WireSecret::expose);
        assert_eq!(secret, Some("not-a-real-secret"));
        let endpoints = (&work.authorization_endpoint, &work.token_endpoint);
        assert_eq!(
            endpoints.0.as_deref(),
            Some("https://idp.example/authorize")
        );
        assert_eq!(endpoints.1.as_deref(), Some("https://idp.example/token"));
        assert_eq!(work.scopes, ["mail.read", "offline_access"]);
    }

    #[test]
    fn what_is_cut_or_changed_is_no_dump() {
        for cut in [0, 5, NONCE, NONCE + TAG, DUMP.len() - 1] {
            assert!(
                matches!(read(&DUMP[..cut]), Err(Unreadable::NoDump)),
                "{cut}"
            );
        }
        let mut changed = DUMP.to_vec();
        changed[40] ^= 1;
        assert!(matches!(read(&changed), Err(Unreadable::NoDump)));
        assert!(matches!(
            read(b"{\"refresh_token\": \"x\"}, of any length"),
            Err(Unreadable::NoDump)
        ));
    }

    #[test]
    fn a_version_that_nobody_here_has_read_is_not_guessed_at() {
        let mut text = 2u64.to_le_bytes().to_vec();
        text.extend(0u64.to_le_bytes());
        let tag = ChaCha20Poly1305::new(Key::from_slice(&KEY))
            .encrypt_in_place_detached(Nonce::from_slice(&[0; NONCE]), b"", &mut text)
            .unwrap();
        let dump = [&[0; NONCE][..], &text, &tag].concat();
        let error = read(&dump).err().unwrap();
        assert!(matches!(error, Unreadable::OtherVersion { version: 2 }));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused_and_not_reserved() {
        let text = [&u64::MAX.to_le_bytes()[..], b"abc"].concat();
        assert!(Reader(&text).text().is_none());
        assert!(Reader(&text).accounts().is_none());
    }
}
