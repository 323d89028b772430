//! The anchor: what is remembered outside the store, so that an older copy of it is noticed
//! (RENEWAL invariant 19).
//!
//! For each account the ordinal of its latest commit. It is kept in the OS key store where that
//! holds the data key, else (or when the key store refuses) in a file outside the state directory.
//! It is written after the commit, by a thread of its own: an anchor that lags makes no false alarm,
//! because a store that is *ahead* of it is fine. What it cannot notice: a copy restored together
//! with the anchor, and the commits between the last anchor write and a crash.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::{
    disk::{self, Disk},
    key::{KeyStore, KeyStoreTrouble},
};

const MAGIC: &[u8] = b"authd-anchor 1\n";
const ROW: usize = 16;

/// Account (short name) to the ordinal of its latest commit.
pub(crate) type Marks = BTreeMap<u64, u64>;

/// Where the anchor is kept.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) disk: Arc<dyn Disk>,
    /// Its name within a key store.
    pub(crate) entry: String,
    pub(crate) key_store: Option<KeyStore>,
    pub(crate) file: Option<PathBuf>,
}

/// The anchor and the thread that writes it.
pub(crate) struct Anchor {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    marks: Marks,
    places: Places,
    /// The key store that had it before.
    left: Option<KeyStore>,
    /// Counts the changes; `written` is the one that stands in its place.
    revision: u64,
    written: u64,
    stop: bool,
}

impl Anchor {
    /// Reads the anchor and starts its thread. Blocks for at most the key store's time-out.
    pub(crate) fn open(places: Places) -> std::io::Result<(Self, Marks)> {
        let marks = places.read();
        let state = State {
            marks: marks.clone(),
            places,
            left: None,
            revision: 0,
            written: 0,
            stop: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("anchor".to_owned())
            .spawn(move || writer.write_changes())?;
        Ok((Self { shared }, marks))
    }

    /// Notes an account's latest commit. Returns at once.
    pub(crate) fn note(&self, account: u64, ordinal: u64) {
        let mut state = self.shared.lock();
        if state.marks.insert(account, ordinal) != Some(ordinal) {
            state.revision += 1;
            self.shared.changed.notify_all();
        }
    }

    /// From now on it is kept in this key store, or in none. Returns at once.
    pub(crate) fn keep_in(&self, key_store: Option<KeyStore>) {
        let mut state = self.shared.lock();
        let before = std::mem::replace(&mut state.places.key_store, key_store);
        state.left = before.filter(|_| state.places.key_store.is_none());
        state.revision += 1;
        self.shared.changed.notify_all();
    }

    /// Waits until all is written, within reason.
    pub(crate) fn close(&self) {
        let state = self.shared.lock();
        let patience = match &state.places.key_store {
            Some(key_store) => key_store.timeout() * 2,
            None => Duration::from_secs(1),
        };
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, patience, |state| state.written < state.revision);
        let mut state = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        state.stop = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement that changes it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_changes(&self) {
        let mut state = self.lock();
        loop {
            if state.stop {
                return;
            }
            if state.written == state.revision {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (revision, bytes) = (state.revision, encode(&state.marks));
            let (places, left) = (state.places.clone(), state.left.take());
            drop(state);
            places.write(&bytes);
            if let Some(left) = left
                && let Err(trouble) = left.remove(&places.entry)
            {
                tracing::warn!(%trouble, "the anchor is still in the key store as well");
            }
            state = self.lock();
            // Also when it could not be written: the next change tries again, and nothing spins.
            state.written = revision;
            self.changed.notify_all();
        }
    }
}

impl Places {
    pub(crate) fn read(&self) -> Marks {
        let mut marks = Marks::new();
        if let Some(key_store) = &self.key_store {
            match key_store.read(&self.entry) {
                Ok(Some(bytes)) => merge(&mut marks, &bytes),
                Ok(None) => {}
                Err(trouble) => report("read", &trouble),
            }
        }
        if let Some(file) = &self.file {
            match disk::read_whole(&*self.disk, file) {
                Ok(Some(bytes)) => merge(&mut marks, &bytes),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(path = %file.display(), %error, "the anchor cannot be read");
                }
            }
        }
        marks
    }

    pub(crate) fn write_marks(&self, marks: &Marks) {
        self.write(&encode(marks));
    }

    fn write(&self, bytes: &[u8]) {
        if let Some(key_store) = &self.key_store {
            match key_store.write(&self.entry, bytes) {
                Ok(()) => return,
                Err(trouble) => report("written", &trouble),
            }
        }
        let Some(file) = &self.file else { return };
        let made = file.parent().map_or(Ok(()), |dir| self.disk.make_dir(dir));
        if let Err(error) = made.and_then(|()| disk::replace(&*self.disk, file, bytes)) {
            tracing::warn!(path = %file.display(), %error, "the anchor cannot be written");
        }
    }
}

fn report(what: &'static str, trouble: &KeyStoreTrouble) {
    tracing::warn!(%trouble, "the anchor could not be {what} in the key store; its file is used");
}

fn encode(marks: &Marks) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + ROW * marks.len());
    bytes.extend_from_slice(MAGIC);
    for (account, ordinal) in marks {
        bytes.extend_from_slice(&account.to_be_bytes());
        bytes.extend_from_slice(&ordinal.to_be_bytes());
    }
    bytes
}

/// Takes the later of two anchors for each account.
pub(crate) fn merge(marks: &mut Marks, bytes: &[u8]) {
    let Some(rows) = bytes.strip_prefix(MAGIC) else {
        return;
    };
    for row in rows.chunks_exact(ROW) {
        let (Some(account), Some(ordinal)) = (row.first_chunk(), row.last_chunk()) else {
            continue;
        };
        let (account, ordinal) = (u64::from_be_bytes(*account), u64::from_be_bytes(*ordinal));
        let mark = marks.entry(account).or_default();
        *mark = ordinal.max(*mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn it_comes_back_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("elsewhere/anchor");
        let places = || Places {
            disk: Arc::new(RealDisk),
            entry: "anchor".to_owned(),
            key_store: None,
            file: Some(file.clone()),
        };
        let (anchor, marks) = Anchor::open(places()).unwrap();
        assert!(marks.is_empty());
        anchor.note(1, 10);
        anchor.note(2, 11);
        anchor.note(1, 12);
        anchor.close();
        let (_anchor, marks) = Anchor::open(places()).unwrap();
        assert_eq!(marks, Marks::from([(1, 12), (2, 11)]));
    }

    #[test]
    fn where_it_is_kept_from_now_on_it_is_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("elsewhere/anchor");
        let places = Places {
            disk: Arc::new(RealDisk),
            entry: "anchor".to_owned(),
            key_store: None,
            file: Some(file.clone()),
        };
        let marks = Marks::from([(1, 10), (2, 11)]);
        places.write_marks(&marks);
        assert_eq!(places.read(), marks);
        let (anchor, _) = Anchor::open(places.clone()).unwrap();
        std::fs::remove_file(&file).unwrap();
        anchor.keep_in(None);
        anchor.close();
        assert_eq!(places.read(), marks);
    }

    #[test]
    fn the_later_of_two_anchors_wins_and_nonsense_is_ignored() {
        let mut marks = Marks::from([(1, 5), (2, 5)]);
        merge(&mut marks, &encode(&Marks::from([(1, 4), (2, 6), (3, 1)])));
        merge(&mut marks, b"nonsense");
        assert_eq!(marks, Marks::from([(1, 5), (2, 6), (3, 1)]));
    }
}
