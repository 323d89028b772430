//! Names tokens by a keyed hash, so that they can be spoken of without being revealed.

use std::sync::OnceLock;

use authd_core::id::Fingerprint;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The key: random, made with the store, the same over restarts.
#[derive(Default)]
pub(crate) struct Fingerprinter(OnceLock<[u8; 16]>);

impl Fingerprinter {
    /// Sets the key, once.
    pub(crate) fn key(&self, instance_id: u128) {
        // A store that is opened again has the same instance id.
        let _ = self.0.set(instance_id.to_le_bytes());
    }

    /// HMAC-SHA-256 of the token, cut to 128 bits.
    pub(crate) fn of(&self, token: &str) -> Fingerprint {
        let key = self.0.get().copied().unwrap_or_default();
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(&key)
            .expect("HMAC takes a key of any length");
        mac.update(token.as_bytes());
        let mut fingerprint = Fingerprint::default();
        fingerprint
            .0
            .copy_from_slice(&mac.finalize().into_bytes()[..16]);
        fingerprint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_key_and_token() {
        let (one, other) = (Fingerprinter::default(), Fingerprinter::default());
        one.key(1);
        other.key(2);
        assert_eq!(one.of("token"), one.of("token"));
        assert_ne!(one.of("token"), one.of("tokem"));
        assert_ne!(one.of("token"), other.of("token"));
    }
}
