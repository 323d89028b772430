//! A key that moves, and a key that is replaced, so that no crash loses a login.
//!
//! Both go the same way. First the record beside the database ([`About`]) notes the place that is about
//! to have a key which does not count yet. Then the key is written there and read back. Then the record
//! says, in one write that happens or does not, that this is the place that counts, and that the one
//! before is to be cleared. Then that is cleared, and the record forgets it. At every point exactly one
//! place counts and has its key; a start after a crash clears the others.
//!
//! A new key has its own files ([`Layout`]), written in full before the record names it. So the old key
//! opens everything until the new one does.

use authd_core::secret::Secret;

use super::{
    Kept, KeyState, KeyStoreTrouble, Means, PlaceTrouble, admit, at_dir, kept, read, system,
};
use crate::{
    about::{About, KeyProtection, Place},
    disk::{self, Disk},
    error::OpenError,
    layout::Layout,
    migrate::Format,
    reseal,
    seal::DataKey,
    store::Options,
};

/// Characters that a new passphrase has at least.
pub(crate) const LEAST_PASSPHRASE: usize = 8;

/// How far a key has come. For tests that stop a process there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is noted where a key is about to be written.
    Noted,
    /// It is written there, and was read back.
    Written,
    /// Of a new key alone: everything is sealed under it, beside what is sealed under the old one.
    Resealed,
    /// The new place or key counts.
    Committed,
    /// The old one is gone.
    Removed,
}

/// Why a key did not move, or was not replaced. Unless it says otherwise all is as before.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no store, and so no key.
    #[error("there is no store yet")]
    NoStore,
    /// The passphrase that the key is protected by is to be given.
    #[error("the store's key is protected by a passphrase, and none was given")]
    PassphraseNeeded,
    /// It is not this one.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// The key cannot be had from where it is. The user must act, or try later.
    #[error("the key cannot be had from where it is: {0}")]
    Unavailable(String),
    /// The passphrase to protect it by is to be given.
    #[error("a passphrase to protect the key with was not given")]
    NewPassphraseNeeded,
    /// A better one is to be chosen.
    #[error("a passphrase has at least {LEAST_PASSPHRASE} characters")]
    TooShort,
    /// The user asks for what is.
    #[error("the key is there already")]
    AlreadyThere,
    /// The new place does not take it.
    #[error("the new place does not take the key: {0}")]
    NewPlace(String),
    /// The files cannot be read or written.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Whether it is done is known after the next start: both keys are where they should be, and
    /// either opens everything.
    #[error("it may be done or not, and nothing is lost: {0}")]
    Unfinished(OpenError),
}

/// What a change begins with.
struct Current {
    about: About,
    place: Place,
    key: DataKey,
}

/// Moves the key to another place; from passphrase to passphrase, changes that.
///
/// `passphrase` is the one that protects it now. The store may be open meanwhile. Blocks as
/// [`obtain`](super::obtain) does, a few times over.
///
/// # Errors
/// See [`ChangeError`].
pub fn move_to(
    means: &Means,
    to: KeyProtection,
    passphrase: Option<&Secret>,
    new_passphrase: Option<&Secret>,
    reached: &dyn Fn(Step),
) -> Result<Kept, ChangeError> {
    if to == KeyProtection::Passphrase {
        let new = new_passphrase.ok_or(ChangeError::NewPassphraseNeeded)?;
        if new.expose().chars().count() < LEAST_PASSPHRASE {
            return Err(ChangeError::TooShort);
        }
    }
    let Current { about, place, key } = current(means, passphrase)?;
    let instance = about.instance;
    let new = Place {
        protection: to,
        ..place
    };
    if new == place {
        if to != KeyProtection::Passphrase {
            return Err(ChangeError::AlreadyThere);
        }
        // One file, the old one or the new one.
        new.keep(means, instance, &key, new_passphrase)
            .map_err(|trouble| unfinished(means, trouble.to_string()))?;
        reached(Step::Written);
        let about = About {
            since: Some(means.now),
            ..about
        };
        commit(means, &about)?;
        return now_kept(means);
    }
    let before = about.also.clone();
    let mut about = note(means, about, new, reached)?;
    let written = new.write(means, instance, &key, new_passphrase);
    if let Err(PlaceTrouble::KeyStore(KeyStoreTrouble::Absent(_))) = &written {
        // What is not there took nothing.
        about.also = before;
        if let Err(error) = about.write(&*means.disk, &means.dir) {
            tracing::warn!(%error, "a place that has no key is still noted as one");
        }
    }
    let kept = written.and_then(|()| new.read_back(means, instance, &key, new_passphrase));
    if let Err(trouble) = kept {
        settle(means, about, &|_| {});
        return Err(refused(trouble));
    }
    reached(Step::Written);
    let about = About {
        protection: Some(to),
        since: Some(means.now),
        ..about
    };
    finish(means, about, new, place, reached)
}

/// Replaces the key by a new one in the same place, and seals everything anew. The store must be closed.
///
/// # Errors
/// See [`ChangeError`].
pub fn rotate(
    means: &Means,
    options: &Options,
    passphrase: Option<&Secret>,
    reached: &dyn Fn(Step),
) -> Result<Kept, ChangeError> {
    let Current { about, place, key } = current(means, passphrase)?;
    let (disk, dir) = (&*means.disk, means.dir.as_path());
    let _lock = disk
        .lock(&dir.join("lock"))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::InUse(dir.to_owned()),
            _ => at_dir(dir)(error),
        })?;
    let instance = about.instance;
    let new_key = DataKey::generate().map_err(system)?;
    let new = Place {
        number: place.number.saturating_add(1),
        ..place
    };
    let about = note(means, about, new, reached)?;
    if let Err(trouble) = new.keep(means, instance, &new_key, passphrase) {
        settle(means, about, &|_| {});
        return Err(refused(trouble));
    }
    reached(Step::Written);
    let old = reseal::Under::new(&key, place.number, Format::CURRENT);
    let under = reseal::Under::new(&new_key, new.number, Format::CURRENT);
    let cleared = clear_sealed(disk, &Layout::new(dir, new.number)).map_err(at_dir(dir));
    let resealed = cleared.and_then(|()| reseal::reseal(options, &about, &key, &old, &under));
    let marks = match resealed {
        Ok(marks) => marks,
        Err(error) => {
            settle(means, about, &|_| {});
            return Err(error.into());
        }
    };
    reached(Step::Resealed);
    let about = About {
        number: new.number,
        key_check: Some(new_key.check()),
        since: Some(means.now),
        ..about
    };
    let kept = finish(means, about, new, place, reached)?;
    reseal::anchor(options, instance, &marks);
    Ok(kept)
}

/// The key that counts, once what was left behind has been cleared.
fn current(means: &Means, passphrase: Option<&Secret>) -> Result<Current, ChangeError> {
    let dir = means.dir.as_path();
    let about = About::read(&*means.disk, dir).map_err(at_dir(dir))?;
    let about = about.ok_or(ChangeError::NoStore)?;
    admit(&about)?;
    let place = about.place().ok_or(ChangeError::NoStore)?;
    let key = match read(means, &about, place, passphrase)? {
        KeyState::Ready(key) => key.data_key,
        KeyState::PassphraseNeeded => return Err(ChangeError::PassphraseNeeded),
        KeyState::WrongPassphrase => return Err(ChangeError::WrongPassphrase),
        KeyState::Locked { reason } | KeyState::Unavailable { reason } => {
            return Err(ChangeError::Unavailable(reason));
        }
        KeyState::Hanging => {
            let why = "the key store does not answer".to_owned();
            return Err(ChangeError::Unavailable(why));
        }
    };
    let about = settle(means, about, &|_| {});
    Ok(Current { about, place, key })
}

/// Notes that `place` is about to have a key that does not count yet.
fn note(
    means: &Means,
    mut about: About,
    place: Place,
    reached: &dyn Fn(Step),
) -> Result<About, ChangeError> {
    if !about.also.contains(&place) {
        about.also.push(place);
    }
    let dir = means.dir.as_path();
    about.write(&*means.disk, dir).map_err(at_dir(dir))?;
    reached(Step::Noted);
    Ok(about)
}

/// Lets `new` count, and clears `old`.
fn finish(
    means: &Means,
    mut about: About,
    new: Place,
    old: Place,
    reached: &dyn Fn(Step),
) -> Result<Kept, ChangeError> {
    about.also.retain(|also| *also != new);
    about.also.push(old);
    commit(means, &about)?;
    reached(Step::Committed);
    settle(means, about, reached);
    now_kept(means)
}

fn commit(means: &Means, about: &About) -> Result<(), ChangeError> {
    let dir = means.dir.as_path();
    about
        .write(&*means.disk, dir)
        .map_err(|error| ChangeError::Unfinished(at_dir(dir)(error)))
}

fn now_kept(means: &Means) -> Result<Kept, ChangeError> {
    let dir = means.dir.as_path();
    kept(&*means.disk, dir)
        .map_err(at_dir(dir))?
        .ok_or(ChangeError::NoStore)
}

fn refused(trouble: PlaceTrouble) -> ChangeError {
    match trouble {
        PlaceTrouble::PassphraseNeeded => ChangeError::NewPassphraseNeeded,
        trouble => ChangeError::NewPlace(trouble.to_string()),
    }
}

fn unfinished(means: &Means, why: String) -> ChangeError {
    ChangeError::Unfinished(OpenError::Disk {
        path: means.dir.clone(),
        trouble: crate::error::DiskTrouble::Failing(why),
    })
}

/// Clears every place that may have a key which does not count, and what is sealed under a key that is not
/// the store's; the record as it is afterwards. What cannot be cleared stays noted.
///
/// To be called only when the key that counts is at hand.
pub(super) fn settle(means: &Means, mut about: About, reached: &dyn Fn(Step)) -> About {
    if about.also.is_empty() {
        return about;
    }
    let (disk, dir) = (&*means.disk, means.dir.as_path());
    // What was read may not be on the disk for good yet, and what it replaces may come back: then that
    // must find its key.
    if let Err(error) = about.write(disk, dir) {
        tracing::warn!(%error, "what is left of an earlier key cannot be cleared away yet");
        return about;
    }
    let mut left = Vec::new();
    for also in &about.also {
        if Some(*also) == about.place() {
            continue;
        }
        if let Err(trouble) = clear(means, &about, *also) {
            let place = also.protection.as_str();
            tracing::warn!(place, %trouble, "an earlier copy of the key cannot be removed yet");
            left.push(*also);
        }
    }
    reached(Step::Removed);
    if left != about.also {
        about.also = left;
        if let Err(error) = about.write(disk, dir) {
            tracing::warn!(%error, "it is not written down that an earlier key is gone");
        }
    }
    about
}

fn clear(means: &Means, about: &About, also: Place) -> Result<(), PlaceTrouble> {
    also.remove(means, about.instance)?;
    if also.number == about.number {
        return Ok(());
    }
    let layout = Layout::new(&means.dir, also.number);
    clear_sealed(&*means.disk, &layout).map_err(|error| PlaceTrouble::Disk {
        path: layout.database.clone(),
        error,
    })
}

/// Removes everything that is sealed under another key.
fn clear_sealed(disk: &dyn Disk, layout: &Layout) -> std::io::Result<()> {
    let mut files = vec![
        disk::beside(&layout.database, disk::TEMPORARY),
        layout.database.clone(),
        disk::beside(&layout.clean, disk::TEMPORARY),
        layout.clean.clone(),
    ];
    for folder in [&layout.mirrors, &layout.spill] {
        files.extend(disk.list(folder)?);
    }
    for file in files {
        match disk.remove(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let top = layout.database.parent();
    for folder in [&layout.mirrors, &layout.spill] {
        // One that never was has nothing to be made durable.
        match disk.sync_dir(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    top.map_or(Ok(()), |top| disk.sync_dir(top))
}
