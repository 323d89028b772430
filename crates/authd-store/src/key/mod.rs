//! Where the data key is kept, and how it is had at start.
//!
//! In the operating system's key store where one answers, else in a file that only the user can
//! read. Which of the two is recorded beside the database, and from then on it is *that* one or
//! nothing: a key store that is missing, locked or hanging today is no reason to make a new key,
//! because the old one still holds every login.

mod key_store;
mod platform;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use key_store::{KeyStore, KeyStoreTrouble};
use zeroize::Zeroizing;

pub use crate::about::KeyProtection;
use crate::{
    about::About,
    disk::{self, Disk},
    error::OpenError,
    migrate::Format,
    seal::DataKey,
};

/// The outcome of [`obtain`].
pub enum KeyState {
    /// Here it is.
    Ready(Key),
    /// The key store has it and is locked. The user must unlock it; then try again.
    Locked {
        /// For the user.
        reason: String,
    },
    /// It cannot be had, and no other key would open the store. The user must act.
    Unavailable {
        /// For the user.
        reason: String,
    },
    /// The key store does not answer. Try again later; meanwhile no login is lost.
    Hanging,
}

/// A data key, and how it is protected.
pub struct Key {
    /// The key.
    pub data_key: DataKey,
    /// Where it is kept.
    pub protection: KeyProtection,
    /// Why it had to be a file although a key store was asked for. Set when the key is made.
    pub fell_back: Option<KeyStoreTrouble>,
}

/// Obtains the data key of the store in `dir`; makes one when there is no store yet.
///
/// `key_store` is `None` when the user wants a file. Blocks for at most the key store's time-out
/// for each of at most three questions.
///
/// # Errors
/// [`OpenError::NewerFormat`] for a store of a newer program, [`OpenError::Disk`] when the files
/// cannot be read or, for a new store, written.
pub fn obtain(
    disk: &dyn Disk,
    dir: &Path,
    key_store: Option<&KeyStore>,
) -> Result<KeyState, OpenError> {
    let at_dir = |error: io::Error| OpenError::Disk {
        path: dir.to_owned(),
        trouble: error.into(),
    };
    disk.make_dir(dir).map_err(at_dir)?;
    let about = About::read(disk, dir).map_err(at_dir)?;
    if let Some(about) = &about
        && about.format > u32::from(Format::CURRENT.version)
    {
        let known = u32::from(Format::CURRENT.version);
        return Err(OpenError::NewerFormat {
            found: about.format,
            known,
        });
    }
    match about {
        Some(About {
            protection: Some(KeyProtection::KeyStore),
            instance,
            key_check,
            ..
        }) => {
            // The configuration may have changed to `file` since: the key is still where it is.
            let default = KeyStore::default();
            Ok(from_key_store(
                key_store.unwrap_or(&default),
                instance,
                key_check,
            ))
        }
        Some(About {
            protection: Some(KeyProtection::File),
            key_check,
            ..
        }) => from_file(disk, dir, key_check).map_err(at_dir),
        about => {
            if disk::read_whole(disk, &key_path(dir))
                .map_err(at_dir)?
                .is_none()
                && holds_something(disk, dir).map_err(at_dir)?
            {
                return Ok(KeyState::Unavailable {
                    reason: format!(
                        "{} holds a sealed store, but not the record of its key (the file \
                         `about`); restore that file from where the store came from",
                        dir.display()
                    ),
                });
            }
            let about = match about {
                Some(about) => about,
                None => About::new(Format::CURRENT.version).map_err(system)?,
            };
            make(disk, dir, about, key_store)
        }
    }
}

/// Where the key file stands.
#[must_use]
pub fn key_path(dir: &Path) -> PathBuf {
    dir.join("key")
}

/// The name of the data key within the key store.
fn entry(instance: u128) -> String {
    format!("data-key-{instance:032x}")
}

fn from_key_store(key_store: &KeyStore, instance: u128, check: Option<u64>) -> KeyState {
    match key_store.read(&entry(instance)) {
        Ok(Some(bytes)) => accept(&bytes, KeyProtection::KeyStore, check),
        Ok(None) => KeyState::Unavailable {
            reason: format!(
                "the key store answers, but has no entry `{}` of `{}`; log in to the desktop \
                 session that made it, or restore the keyring",
                entry(instance),
                key_store.service()
            ),
        },
        Err(KeyStoreTrouble::Hanging) => KeyState::Hanging,
        Err(KeyStoreTrouble::Locked(reason)) => KeyState::Locked { reason },
        Err(trouble) => KeyState::Unavailable {
            reason: trouble.to_string(),
        },
    }
}

fn from_file(disk: &dyn Disk, dir: &Path, check: Option<u64>) -> io::Result<KeyState> {
    let path = key_path(dir);
    let Some(bytes) = disk::read_whole(disk, &path)?.map(Zeroizing::new) else {
        return Ok(KeyState::Unavailable {
            reason: format!("the key file {} is gone; restore it", path.display()),
        });
    };
    Ok(accept(&bytes, KeyProtection::File, check))
}

fn accept(bytes: &[u8], protection: KeyProtection, check: Option<u64>) -> KeyState {
    let unavailable = |reason: &str| KeyState::Unavailable {
        reason: reason.to_owned(),
    };
    let Some(data_key) = DataKey::from_bytes(bytes) else {
        return unavailable("what is kept as the data key is no key; restore it");
    };
    if check.is_some_and(|check| check != data_key.check()) {
        return unavailable(
            "what is kept as the data key is not the key of this store; restore it",
        );
    }
    KeyState::Ready(Key {
        data_key,
        protection,
        fell_back: None,
    })
}

/// Makes a key for a store that does not exist yet. The record of where the key is comes last: a
/// crash before it leaves an unused key behind, and nothing sealed with it.
fn make(
    disk: &dyn Disk,
    dir: &Path,
    mut about: About,
    key_store: Option<&KeyStore>,
) -> Result<KeyState, OpenError> {
    let mut fell_back = None;
    let mut made = None;
    let left_over = disk::read_whole(disk, &key_path(dir))
        .map_err(|error| OpenError::Disk {
            path: key_path(dir),
            trouble: error.into(),
        })?
        .map(Zeroizing::new);
    if let (None, Some(key_store)) = (&left_over, key_store) {
        let data_key = DataKey::generate().map_err(system)?;
        match keep(key_store, about.instance, &data_key) {
            Ok(()) => made = Some((data_key, KeyProtection::KeyStore)),
            // Locked is the one state that the user can mend on the spot, and a desktop's key store
            // is often locked for the first seconds: not a reason for a file for ever.
            Err(KeyStoreTrouble::Locked(reason)) => return Ok(KeyState::Locked { reason }),
            Err(trouble) => fell_back = Some(trouble),
        }
    }
    let (data_key, protection) = match made {
        Some(made) => made,
        None => {
            let existing = left_over
                .as_ref()
                .and_then(|bytes| DataKey::from_bytes(bytes));
            let data_key = match existing {
                Some(data_key) => data_key,
                None => DataKey::generate().map_err(system)?,
            };
            disk::replace(disk, &key_path(dir), data_key.expose()).map_err(|error| {
                OpenError::Disk {
                    path: key_path(dir),
                    trouble: error.into(),
                }
            })?;
            (data_key, KeyProtection::File)
        }
    };
    about.protection = Some(protection);
    about.key_check = Some(data_key.check());
    about.write(disk, dir).map_err(|error| OpenError::Disk {
        path: dir.to_owned(),
        trouble: error.into(),
    })?;
    Ok(KeyState::Ready(Key {
        data_key,
        protection,
        fell_back,
    }))
}

/// Keeps a new key and reads it back: a key store that forgets is found out before it matters.
fn keep(key_store: &KeyStore, instance: u128, key: &DataKey) -> Result<(), KeyStoreTrouble> {
    key_store.write(&entry(instance), key.expose())?;
    match key_store.read(&entry(instance))? {
        Some(bytes) if **bytes == *key.expose() => Ok(()),
        _ => Err(KeyStoreTrouble::Failed(
            "it did not keep what was given to it".to_owned(),
        )),
    }
}

/// Whether anything sealed stands in the directory.
fn holds_something(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    let database = disk.list(dir)?.iter().any(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| {
                name.starts_with(crate::store::DATABASE) && !name.ends_with(disk::TEMPORARY)
            })
    });
    Ok(database || !disk.list(&dir.join(crate::store::MIRRORS))?.is_empty())
}

fn system(error: getrandom::Error) -> OpenError {
    OpenError::System(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn ready(state: KeyState) -> Key {
        match state {
            KeyState::Ready(key) => key,
            KeyState::Locked { reason } | KeyState::Unavailable { reason } => panic!("{reason}"),
            KeyState::Hanging => panic!("hanging"),
        }
    }

    fn private_dir() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        (dir, state)
    }

    #[test]
    fn a_key_file_is_made_once_and_found_again() {
        let (_guard, dir) = private_dir();
        let first = ready(obtain(&RealDisk, &dir, None).unwrap());
        assert_eq!(first.protection, KeyProtection::File);
        let second = ready(obtain(&RealDisk, &dir, None).unwrap());
        assert_eq!(first.data_key.expose(), second.data_key.expose());
    }

    #[test]
    fn a_lost_or_foreign_key_file_is_never_replaced() {
        let (_guard, dir) = private_dir();
        ready(obtain(&RealDisk, &dir, None).unwrap());
        disk::replace(&RealDisk, &key_path(&dir), &[9; 32]).unwrap();
        assert!(matches!(
            obtain(&RealDisk, &dir, None),
            Ok(KeyState::Unavailable { .. })
        ));
        disk::remove(&RealDisk, &key_path(&dir)).unwrap();
        assert!(matches!(
            obtain(&RealDisk, &dir, None),
            Ok(KeyState::Unavailable { .. })
        ));
        assert!(
            disk::read_whole(&RealDisk, &key_path(&dir))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_sealed_store_without_the_record_of_its_key_gets_no_new_one() {
        let (_guard, dir) = private_dir();
        RealDisk.make_dir(&dir).unwrap();
        disk::replace(&RealDisk, &dir.join(crate::store::DATABASE), b"sealed").unwrap();
        assert!(matches!(
            obtain(&RealDisk, &dir, None),
            Ok(KeyState::Unavailable { .. })
        ));
    }

    #[test]
    fn a_newer_store_is_refused_and_left_alone() {
        let (_guard, dir) = private_dir();
        ready(obtain(&RealDisk, &dir, None).unwrap());
        let mut about = About::read(&RealDisk, &dir).unwrap().unwrap();
        about.format = 200;
        about.write(&RealDisk, &dir).unwrap();
        let refused = obtain(&RealDisk, &dir, None).err().unwrap();
        assert!(matches!(
            refused,
            OpenError::NewerFormat {
                found: 200,
                known: 1
            }
        ));
    }
}
