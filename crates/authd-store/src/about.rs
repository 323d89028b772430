//! The plain file beside the database: what must be known before anything is unsealed or touched.
//!
//! It names the format, the instance (under which the key store keeps our key), how the key is
//! protected and eight bytes to tell a wrong key by. None of it is secret. It exists so that a store
//! of a newer program is left alone, and so that a store made with a key store is never silently
//! given a new key on a day on which the key store is missing, locked or hanging.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use crate::disk::{self, Disk};

/// How the data key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProtection {
    /// In the operating system's key store: Secret Service, Keychain, Credential Manager.
    KeyStore,
    /// In the file `key` of the state directory: readable by every process of the user.
    File,
}

impl KeyProtection {
    /// As `status` and `doctor` name it: `keyring` or `file`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyStore => "keyring",
            Self::File => "file",
        }
    }
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) format: u32,
    pub(crate) instance: u128,
    pub(crate) protection: Option<KeyProtection>,
    pub(crate) key_check: Option<u64>,
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
        })
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
        line("format", self.format.to_string());
        line("instance", format!("{:032x}", self.instance));
        if let Some(protection) = self.protection {
            line("key", protection.as_str().to_owned());
        }
        if let Some(check) = self.key_check {
            line("key-check", format!("{check:016x}"));
        }
        disk::replace(disk, &Self::path(dir), text.as_bytes())
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (mut format, mut instance, mut protection, mut key_check) = (None, None, None, None);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            // A newer format may have keys that we do not know; its number tells.
            match line.split_once('=')? {
                ("format", value) => format = Some(value.parse().ok()?),
                ("instance", value) => instance = Some(u128::from_str_radix(value, 16).ok()?),
                ("key", "keyring") => protection = Some(KeyProtection::KeyStore),
                ("key", "file") => protection = Some(KeyProtection::File),
                ("key-check", value) => key_check = Some(u64::from_str_radix(value, 16).ok()?),
                _ => {}
            }
        }
        Some(Self {
            format: format?,
            instance: instance?,
            protection,
            key_check,
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
        disk::replace(&RealDisk, &dir.path().join("about"), b"\xff\x00").unwrap();
        assert!(About::read(&RealDisk, dir.path()).is_err());
    }
}
