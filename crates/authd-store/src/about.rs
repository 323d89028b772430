//! The plain file beside the database: what must be known before anything is unsealed or touched.
//!
//! It names the format, the instance (under which the key store keeps our key), how the key is
//! protected and eight bytes to tell a wrong key by. None of it is secret. It exists so that a store
//! of a newer program is left alone, and so that a store made with a key store is never silently
//! given a new key on a day on which the key store is missing, locked or hanging.
//!
//! It is also the one point at which a key moves or is replaced ([`crate::key`]): what it names counts,
//! and it names as well where a copy may stand that does not count.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use authd_core::time::Wall;

use crate::disk::{self, Disk};

/// How the data key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyProtection {
    /// In the operating system's key store: Secret Service, Keychain, Credential Manager.
    KeyStore,
    /// In a file of the state directory: readable by every process of the user.
    File,
    /// In a file, sealed under a passphrase that a person gives at every start (argon2id).
    Passphrase,
    /// In a file, sealed under a credential that the service manager hands to the service.
    Credential,
}

impl KeyProtection {
    /// Every one, in the order in which they are told of.
    pub const ALL: [Self; 4] = [
        Self::KeyStore,
        Self::Passphrase,
        Self::Credential,
        Self::File,
    ];

    /// As `status` and `doctor` name it: `keyring`, `file`, `passphrase` or `credential`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyStore => "keyring",
            Self::File => "file",
            Self::Passphrase => "passphrase",
            Self::Credential => "credential",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protection| protection.as_str() == name)
    }
}

/// Where a key is kept, and which of the store's keys it is: they are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) protection: KeyProtection,
    pub(crate) number: u32,
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) format: u32,
    pub(crate) instance: u128,
    pub(crate) protection: Option<KeyProtection>,
    pub(crate) key_check: Option<u64>,
    /// Which key it is: the number of keys that came before. The files of the store bear it too.
    pub(crate) number: u32,
    /// Since when it is kept there; unknown of those from before this was written down.
    pub(crate) since: Option<Wall>,
    /// Where else a key may stand that does not count: it is to be removed, and with a key of another
    /// number whatever was sealed under it.
    pub(crate) also: Vec<Place>,
}

impl About {
    /// One for a new store, with a random instance.
    pub(crate) fn new(format: u8) -> Result<Self, getrandom::Error> {
        let mut instance = [0; 16];
        getrandom::fill(&mut instance)?;
        Ok(Self {
            format: format.into(),
            instance: u128::from_be_bytes(instance),
            protection: None,
            key_check: None,
            number: 0,
            since: None,
            also: Vec::new(),
        })
    }

    /// The place that counts; `None` before a key was made.
    pub(crate) fn place(&self) -> Option<Place> {
        let number = self.number;
        self.protection
            .map(|protection| Place { protection, number })
    }

    fn path(dir: &Path) -> PathBuf {
        dir.join("about")
    }

    /// Reads it; `None` when there is none. One that cannot be understood is an error: guessing
    /// here could end in a new key for an old store.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Self>> {
        let Some(bytes) = disk::read_whole(disk, &Self::path(dir))? else {
            return Ok(None);
        };
        Self::parse(&bytes).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the file `about` is not as we wrote it",
            )
        })
    }

    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let mut text = String::from(
            "# authd's sealed store. No secret is in this file; without it the store stays shut.\n",
        );
        let mut line = |key: &str, value: String| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{key}={value}");
        };
        // A program that knows nothing of later keys would take their store for a new one. Without a
        // `format` it touches nothing.
        let format = if self.number == 0 {
            "format"
        } else {
            "format-of-later-key"
        };
        line(format, self.format.to_string());
        line("instance", format!("{:032x}", self.instance));
        if let Some(protection) = self.protection {
            line("key", protection.as_str().to_owned());
        }
        if let Some(check) = self.key_check {
            line("key-check", format!("{check:016x}"));
        }
        if self.number > 0 {
            line("key-number", self.number.to_string());
        }
        if let Some(since) = self.since {
            line("key-since", since.unix_secs().to_string());
        }
        for Place { protection, number } in &self.also {
            line("key-also", format!("{} {number}", protection.as_str()));
        }
        disk::replace(disk, &Self::path(dir), text.as_bytes())
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (mut format, mut instance, mut protection, mut key_check) = (None, None, None, None);
        let (mut number, mut since, mut also) = (0, None, Vec::new());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            // A newer format may have keys that we do not know; its number tells.
            match line.split_once('=')? {
                ("format" | "format-of-later-key", value) => format = Some(value.parse().ok()?),
                ("instance", value) => instance = Some(u128::from_str_radix(value, 16).ok()?),
                ("key", value) => protection = KeyProtection::parse(value),
                ("key-check", value) => key_check = Some(u64::from_str_radix(value, 16).ok()?),
                ("key-number", value) => number = value.parse().ok()?,
                ("key-since", value) => {
                    let secs: i64 = value.parse().ok()?;
                    since = Some(Wall(secs.checked_mul(1000)?));
                }
                ("key-also", value) => {
                    let (protection, number) = value.split_once(' ')?;
                    also.push(Place {
                        protection: KeyProtection::parse(protection)?,
                        number: number.parse().ok()?,
                    });
                }
                _ => {}
            }
        }
        Some(Self {
            format: format?,
            instance: instance?,
            protection,
            key_check,
            number,
            since,
            also,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn it_round_trips_and_nonsense_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(About::read(&RealDisk, dir.path()).unwrap(), None);
        let about = About {
            protection: Some(KeyProtection::KeyStore),
            key_check: Some(5),
            ..About::new(1).unwrap()
        };
        about.write(&RealDisk, dir.path()).unwrap();
        assert_eq!(About::read(&RealDisk, dir.path()).unwrap(), Some(about));
        let text = std::fs::read_to_string(dir.path().join("about")).unwrap();
        assert!(
            !text.contains("key-number"),
            "an older program knows no such line: {text}"
        );
        disk::replace(&RealDisk, &dir.path().join("about"), b"\xff\x00").unwrap();
        assert!(About::read(&RealDisk, dir.path()).is_err());
    }

    #[test]
    fn a_later_key_and_what_is_to_be_removed_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let also = |protection, number| Place { protection, number };
        let about = About {
            protection: Some(KeyProtection::Passphrase),
            key_check: Some(5),
            number: 3,
            since: Some(Wall(1_700_000_000_000)),
            also: vec![
                also(KeyProtection::File, 3),
                also(KeyProtection::KeyStore, 2),
            ],
            ..About::new(1).unwrap()
        };
        about.write(&RealDisk, dir.path()).unwrap();
        assert_eq!(About::read(&RealDisk, dir.path()).unwrap(), Some(about));
        let text = std::fs::read_to_string(dir.path().join("about")).unwrap();
        let understood_before = text.lines().any(|line| line.starts_with("format="));
        assert!(
            !understood_before,
            "an older program would open an empty store"
        );
    }
}
