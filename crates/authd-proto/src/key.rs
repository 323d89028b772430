//! The key of the store, and the lock: `key.*`, `daemon.lock`, `daemon.unlock` (PROTOCOL.md, section 9).

use serde::{Deserialize, Serialize};

use crate::secret::WireSecret;

/// Where the key of the store is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPlace {
    /// The operating system's key store.
    Keyring,
    /// A file, sealed under a passphrase that a person gives.
    Passphrase,
    /// A file, sealed under a credential that the service manager hands over.
    Credential,
    /// A file that every process of the user can read.
    File,
    /// One of a newer version.
    #[serde(other)]
    Unknown,
}

impl KeyPlace {
    /// Its word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::Passphrase => "passphrase",
            Self::Credential => "credential",
            Self::File => "file",
            Self::Unknown => "unknown",
        }
    }
}

/// `daemon.lock`: from now on nobody is served, and what is held in memory goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonLock {
    /// How long to wait until keys and tokens are out of memory; see [`crate::limits::wait_secs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// Of `daemon.lock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonLockReply {
    /// Whether keys and tokens are out of memory by now; else exchanges are still being finished.
    pub wiped: bool,
    /// How many.
    pub exchanges_in_flight: u64,
}

/// `daemon.unlock`: opens the store again. No `Debug`: may hold a passphrase.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct DaemonUnlock {
    /// Where one protects the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<WireSecret>,
}

/// Of `daemon.unlock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonUnlockReply {
    /// Whether it was locked; if not, the passphrase was not looked at.
    pub was_locked: bool,
    /// Accounts known.
    pub accounts: u64,
}

/// `key.status`: how the key of the store is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {}

/// Of `key.status`, `key.rotate` and `key.move`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatusReply {
    /// Where it is kept; nil when there is no store yet.
    pub place: Option<KeyPlace>,
    /// Since when; nil when that was not written down.
    pub since_at: Option<u64>,
    /// How many keys there were before this one.
    pub rotations: u64,
    /// Which key store or which file, for people.
    pub detail: String,
    /// What that is worth, for people.
    pub worth: String,
    /// Whether the store is locked at this moment.
    pub locked: bool,
    /// Where an earlier copy may still stand, because that place could not be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_in: Vec<KeyPlace>,
}

/// `key.rotate`: a new key; everything is sealed anew. No `Debug`: may hold a passphrase.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct KeyRotate {
    /// Where one protects the key; the new one is protected by it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<WireSecret>,
}

/// `key.move`: the same key in another place. No `Debug`: may hold passphrases.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyMove {
    /// Where to.
    pub to: KeyPlace,
    /// Where one protects the key now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<WireSecret>,
    /// With `to` `passphrase`: the one that is to protect it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_passphrase: Option<WireSecret>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_word_is_what_is_on_the_wire() {
        for place in [
            KeyPlace::Keyring,
            KeyPlace::Passphrase,
            KeyPlace::Credential,
            KeyPlace::File,
        ] {
            let bytes = rmp_serde::to_vec(&place).expect("memory takes it");
            let word: &str = rmp_serde::from_slice(&bytes).expect("a word");
            assert_eq!(word, place.as_str());
        }
    }
}
