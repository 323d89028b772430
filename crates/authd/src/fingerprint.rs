//! Names tokens by a keyed hash, so that they can be spoken of without being revealed.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use authd_core::id::Fingerprint;
use authd_store::locked::LockedKey;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The key: it comes with the store, so it is secret and the same over restarts.
#[derive(Default)]
pub(crate) struct Fingerprinter(ArcSwapOption<LockedKey>);

impl Fingerprinter {
    /// Sets the key. A store that is opened again has the same.
    pub(crate) fn key(&self, key: LockedKey) {
        self.0.store(Some(Arc::new(key)));
    }

    /// Drops it, with the store.
    pub(crate) fn forget(&self) {
        self.0.store(None);
    }

    /// HMAC-SHA-256 of the token, cut to 128 bits.
    pub(crate) fn of(&self, token: &str) -> Fingerprint {
        let key = self.0.load();
        let key: &[u8] = key.as_ref().map_or(&[], |key| key.as_slice());
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key)
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
        one.key(LockedKey::copied(&[1; 32]));
        other.key(LockedKey::copied(&[2; 32]));
        assert_eq!(one.of("token"), one.of("token"));
        assert_ne!(one.of("token"), one.of("tokem"));
        assert_ne!(one.of("token"), other.of("token"));
    }
}
