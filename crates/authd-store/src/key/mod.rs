//! Where the data key is kept, how it is had at start, and how it moves.
//!
//! In the operating system's key store where one answers, else in a file that only the user can
//! read; or, when the user wishes, sealed under a passphrase or a credential of the service manager.
//! Which of them is recorded beside the database, and from then on it is *that* one or nothing: a key
//! store that is missing, locked or hanging today is no reason to make a new key, because the old one
//! still holds every login.

mod change;
pub(crate) mod key_store;
mod place;
mod platform;
mod wrap;

use std::{
    io,
    path::{Path, PathBuf},
};

use authd_core::{secret::Secret, time::Wall};

use self::{change::settle, place::PlaceTrouble};
pub use self::{
    change::{ChangeError, Step, move_to, rotate},
    key_store::{KeyStore, KeyStoreTrouble},
    place::{CREDENTIAL, Means},
    wrap::Cost,
};
pub use crate::about::KeyProtection;
use crate::{
    about::{About, Place},
    disk::{self, Disk},
    error::OpenError,
    layout::{Layout, is_database},
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
    /// A passphrase opens it, and none was given.
    PassphraseNeeded,
    /// Another passphrase opens it.
    WrongPassphrase,
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

/// Where the key of a store that is made now goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewKey {
    /// To the key store where one answers, else to a file.
    InKeyStore,
    /// To a file.
    InFile,
}

/// How the key is kept, as far as that can be said without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where.
    pub protection: KeyProtection,
    /// Since when; unknown of those from before this was written down.
    pub since: Option<Wall>,
    /// How many keys this store had before.
    pub number: u32,
    /// The file that has it, sealed or not; `None` where the key store has it.
    pub path: Option<PathBuf>,
    /// Where a copy of this key, or of one before, may still stand: it is removed as soon as that
    /// place can be reached.
    pub left_in: Vec<KeyProtection>,
}

/// How the key of the store in `dir` is kept; `None` when none was made yet.
///
/// # Errors
/// When the files cannot be read.
pub fn kept(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Kept>> {
    let Some(about) = About::read(disk, dir)? else {
        return Ok(None);
    };
    Ok(about.place().map(|place| Kept {
        protection: place.protection,
        since: about.since,
        number: place.number,
        path: place.path(dir),
        left_in: about.also.iter().map(|also| also.protection).collect(),
    }))
}

/// Obtains the data key of the store in `means.dir`; makes one when there is no store yet. What a move or
/// a rotation of the key left behind is cleared away once the key is at hand.
///
/// Blocks for at most the key store's time-out for each of a few questions, and with a passphrase for as
/// long as trying it takes.
///
/// # Errors
/// [`OpenError::NewerFormat`] for a store of a newer program, [`OpenError::Disk`] when the files
/// cannot be read or, for a new store, written.
pub fn obtain(
    means: &Means,
    new: NewKey,
    passphrase: Option<&Secret>,
) -> Result<KeyState, OpenError> {
    let (disk, dir) = (&*means.disk, means.dir.as_path());
    disk.make_dir(dir).map_err(at_dir(dir))?;
    let about = About::read(disk, dir).map_err(at_dir(dir))?;
    if let Some(about) = &about {
        admit(about)?;
    }
    if let Some((about, place)) = about
        .as_ref()
        .and_then(|about| about.place().map(|place| (about, place)))
    {
        let state = read(means, about, place, passphrase)?;
        if matches!(state, KeyState::Ready(_)) {
            place.clear_unfinished(means);
            // Whatever could not be cleared away now is listed still, and tried again.
            settle(means, about.clone(), &|_| {});
        }
        return Ok(state);
    }
    let file = key_path(dir);
    if disk::read_whole(disk, &file)
        .map_err(at_dir(dir))?
        .is_none()
        && holds_something(disk, dir).map_err(at_dir(dir))?
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
    make(means, about, new)
}

/// Refuses a store of a newer program.
fn admit(about: &About) -> Result<(), OpenError> {
    let known = u32::from(Format::CURRENT.version);
    if about.format > known {
        let found = about.format;
        return Err(OpenError::NewerFormat { found, known });
    }
    Ok(())
}

/// Where the key file of a new store stands.
#[must_use]
pub fn key_path(dir: &Path) -> PathBuf {
    dir.join("key")
}

fn at_dir(dir: &Path) -> impl Fn(io::Error) -> OpenError {
    move |error| OpenError::Disk {
        path: dir.to_owned(),
        trouble: error.into(),
    }
}

/// Reads the key that counts.
fn read(
    means: &Means,
    about: &About,
    place: Place,
    passphrase: Option<&Secret>,
) -> Result<KeyState, OpenError> {
    let unavailable = |reason: String| Ok(KeyState::Unavailable { reason });
    let protection = place.protection;
    match place.read(means, about.instance, passphrase) {
        Ok(Some(data_key)) => {
            if about
                .key_check
                .is_some_and(|check| check != data_key.check())
            {
                return unavailable(
                    "what is kept as the data key is not the key of this store; restore it"
                        .to_owned(),
                );
            }
            Ok(KeyState::Ready(Key {
                data_key,
                protection,
                fell_back: None,
            }))
        }
        Ok(None) => unavailable(match place.path(&means.dir) {
            Some(path) => format!("the key file {} is gone; restore it", path.display()),
            None => format!(
                "the key store answers, but has no entry `{}` of `{}`; log in to the desktop \
                 session that made it, or restore the keyring",
                place.entry(about.instance),
                means.key_store.service()
            ),
        }),
        Err(PlaceTrouble::KeyStore(KeyStoreTrouble::Hanging)) => Ok(KeyState::Hanging),
        Err(PlaceTrouble::KeyStore(KeyStoreTrouble::Locked(reason))) => {
            Ok(KeyState::Locked { reason })
        }
        Err(PlaceTrouble::PassphraseNeeded) => Ok(KeyState::PassphraseNeeded),
        Err(PlaceTrouble::WrongPassphrase) => Ok(KeyState::WrongPassphrase),
        Err(PlaceTrouble::Disk { path, error }) => Err(OpenError::Disk {
            path,
            trouble: error.into(),
        }),
        Err(PlaceTrouble::System(why)) => Err(OpenError::System(why)),
        Err(
            trouble @ (PlaceTrouble::KeyStore(_)
            | PlaceTrouble::NoCredential(_)
            | PlaceTrouble::Unsound(_)),
        ) => unavailable(trouble.to_string()),
    }
}

/// Makes a key for a store that does not exist yet. The record of where the key is comes last: a
/// crash before it leaves an unused key behind, and nothing sealed with it.
fn make(means: &Means, mut about: About, new: NewKey) -> Result<KeyState, OpenError> {
    let (disk, dir) = (&*means.disk, means.dir.as_path());
    let at = |protection| Place {
        protection,
        number: 0,
    };
    let mut fell_back = None;
    let mut made = None;
    // One that was left over by a start that was cut short, or brought along.
    let left_over = at(KeyProtection::File).read(means, about.instance, None);
    let left_over = match left_over {
        Ok(left_over) => left_over,
        Err(PlaceTrouble::Disk { path, error }) => {
            return Err(OpenError::Disk {
                path,
                trouble: error.into(),
            });
        }
        // No key: nothing was sealed with it.
        Err(_) => None,
    };
    let may_be_in_key_store = disk::read_whole(disk, &key_path(dir))
        .map_err(at_dir(dir))?
        .is_none();
    if new == NewKey::InKeyStore && may_be_in_key_store {
        let data_key = DataKey::generate().map_err(system)?;
        let place = at(KeyProtection::KeyStore);
        match place.keep(means, about.instance, &data_key, None) {
            Ok(()) => made = Some((data_key, KeyProtection::KeyStore)),
            // Locked is the one state that the user can mend on the spot, and a desktop's key store
            // is often locked for the first seconds: not a reason for a file for ever.
            Err(PlaceTrouble::KeyStore(KeyStoreTrouble::Locked(reason))) => {
                return Ok(KeyState::Locked { reason });
            }
            Err(PlaceTrouble::KeyStore(trouble)) => fell_back = Some(trouble),
            Err(trouble) => fell_back = Some(KeyStoreTrouble::Failed(trouble.to_string())),
        }
    }
    let (data_key, protection) = match made {
        Some(made) => made,
        None => {
            let data_key = match left_over {
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
    about.since = Some(means.now);
    about.write(disk, dir).map_err(at_dir(dir))?;
    Ok(KeyState::Ready(Key {
        data_key,
        protection,
        fell_back,
    }))
}

/// Whether anything sealed stands in the directory.
fn holds_something(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    let database = disk.list(dir)?.iter().any(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_database)
    });
    Ok(database || !disk.list(&Layout::new(dir, 0).mirrors)?.is_empty())
}

fn system(error: getrandom::Error) -> OpenError {
    OpenError::System(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use zeroize::Zeroizing;

    use super::*;
    use crate::disk::RealDisk;

    fn ready(state: KeyState) -> Key {
        match state {
            KeyState::Ready(key) => key,
            KeyState::Locked { reason } | KeyState::Unavailable { reason } => panic!("{reason}"),
            _ => panic!("hanging, or a passphrase"),
        }
    }

    fn get(dir: &Path) -> Result<KeyState, OpenError> {
        obtain(&Means::new(dir, Wall(0)), NewKey::InFile, None)
    }

    fn private_dir() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        (dir, state)
    }

    #[test]
    fn a_key_file_is_made_once_and_found_again() {
        let (_guard, dir) = private_dir();
        let first = ready(get(&dir).unwrap());
        assert_eq!(first.protection, KeyProtection::File);
        let second = ready(get(&dir).unwrap());
        assert_eq!(first.data_key.expose(), second.data_key.expose());
        let kept = kept(&RealDisk, &dir).unwrap().unwrap();
        assert_eq!(kept.protection, KeyProtection::File);
        assert_eq!(kept.path.as_deref(), Some(key_path(&dir).as_path()));
    }

    #[test]
    fn a_lost_or_foreign_key_file_is_never_replaced() {
        let (_guard, dir) = private_dir();
        ready(get(&dir).unwrap());
        disk::replace(&RealDisk, &key_path(&dir), &[9; 32]).unwrap();
        assert!(matches!(get(&dir), Ok(KeyState::Unavailable { .. })));
        disk::remove(&RealDisk, &key_path(&dir)).unwrap();
        assert!(matches!(get(&dir), Ok(KeyState::Unavailable { .. })));
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
        disk::replace(&RealDisk, &Layout::new(&dir, 0).database, b"sealed").unwrap();
        assert!(matches!(get(&dir), Ok(KeyState::Unavailable { .. })));
    }

    /// A key store that answers everything with yes and keeps something else.
    #[derive(Debug)]
    struct Forgetful(Option<&'static [u8]>);

    impl key_store::Keeper for Forgetful {
        fn read(&self, _: &str, _: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
            Ok(self.0.map(|kept| Zeroizing::new(kept.to_vec())))
        }

        fn find(
            &self,
            _: &BTreeMap<String, String>,
        ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
            Ok(None)
        }

        fn write(&self, _: &str, _: &str, _: &[u8]) -> Result<(), KeyStoreTrouble> {
            Ok(())
        }

        fn remove(&self, _: &str, _: &str) -> Result<(), KeyStoreTrouble> {
            Ok(())
        }
    }

    #[test]
    fn a_key_store_that_is_not_there_has_no_copy() {
        /// None.
        struct Absent;

        fn absent<T>() -> Result<T, KeyStoreTrouble> {
            Err(KeyStoreTrouble::Absent("no bus".to_owned()))
        }

        impl key_store::Keeper for Absent {
            fn read(
                &self,
                _: &str,
                _: &str,
            ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
                absent()
            }

            fn find(
                &self,
                _: &BTreeMap<String, String>,
            ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
                absent()
            }

            fn write(&self, _: &str, _: &str, _: &[u8]) -> Result<(), KeyStoreTrouble> {
                absent()
            }

            fn remove(&self, _: &str, _: &str) -> Result<(), KeyStoreTrouble> {
                absent()
            }
        }

        let (_guard, dir) = private_dir();
        let means = Means {
            key_store: KeyStore::of(Arc::new(Absent), Duration::from_secs(60)),
            ..Means::new(&dir, Wall(0))
        };
        ready(obtain(&means, NewKey::InFile, None).unwrap());
        let moved = move_to(&means, KeyProtection::KeyStore, None, None, &|_| {});
        assert!(matches!(moved, Err(ChangeError::NewPlace(_))), "{moved:?}");
        let kept = kept(&RealDisk, &dir).unwrap().unwrap();
        assert_eq!(
            (kept.protection, kept.left_in),
            (KeyProtection::File, Vec::new())
        );
    }

    #[test]
    fn a_place_that_forgets_is_found_out_before_it_matters() {
        for kept in [None, Some(&[9; 32][..]), Some(b"no key")] {
            let (_guard, dir) = private_dir();
            let means = Means {
                key_store: KeyStore::of(Arc::new(Forgetful(kept)), Duration::from_secs(60)),
                ..Means::new(&dir, Wall(0))
            };
            let made = ready(obtain(&means, NewKey::InKeyStore, None).unwrap());
            assert_eq!(made.protection, KeyProtection::File);
            assert!(matches!(made.fell_back, Some(KeyStoreTrouble::Failed(_))));
            let moved = move_to(&means, KeyProtection::KeyStore, None, None, &|_| {});
            assert!(matches!(moved, Err(ChangeError::NewPlace(_))), "{moved:?}");
            let again = ready(get(&dir).unwrap());
            assert_eq!(again.data_key.expose(), made.data_key.expose());
        }
    }

    #[test]
    fn a_newer_store_is_refused_and_left_alone() {
        let (_guard, dir) = private_dir();
        ready(get(&dir).unwrap());
        let mut about = About::read(&RealDisk, &dir).unwrap().unwrap();
        about.format = 200;
        about.write(&RealDisk, &dir).unwrap();
        let refused = get(&dir).err().unwrap();
        assert!(matches!(
            refused,
            OpenError::NewerFormat {
                found: 200,
                known: 1
            }
        ));
    }
}
