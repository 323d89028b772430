//! What there is to keep the store's key with, and how far the store is from being open.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use authd_store::{
    disk::RealDisk,
    key::{Cost, KeyProtection, KeyStore, Means},
};
use tokio::sync::watch;

use crate::{clock::Clock, daemon::Place, guesses::Guesses};

/// How the store stands. What is allowed to begin depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is being opened, by one thread.
    Opening,
    /// It could not be opened, and is tried again by itself.
    Shut,
    /// A person is to unlock it.
    Locked,
    /// It is open.
    Open,
    /// It is being closed.
    Resting,
}

/// Where keys come from.
pub(crate) struct Keys {
    /// One, for it knows whether its last question still hangs.
    key_store: KeyStore,
    /// Where the service manager hands over credentials.
    credentials: Option<PathBuf>,
    /// Whoever reads, moves or replaces the key has the turn.
    turn: Mutex<()>,
    pub(crate) guesses: Arc<Guesses>,
    pub(crate) phase: watch::Sender<Phase>,
}

impl Keys {
    /// With the time-out of one question to the key store.
    pub(crate) fn new(timeout: Duration, credentials: Option<PathBuf>) -> Self {
        Self {
            key_store: KeyStore::new(timeout),
            credentials,
            turn: Mutex::default(),
            guesses: Arc::default(),
            phase: watch::Sender::new(Phase::Opening),
        }
    }

    /// What there is to keep a key with.
    pub(crate) fn means(&self, place: &Place, clock: &Clock) -> Means {
        Means {
            disk: Arc::new(RealDisk),
            dir: place.state_dir.clone(),
            key_store: self.key_store.clone(),
            credentials: self.credentials.clone(),
            cost: Cost::DEFAULT,
            now: clock.now().wall,
        }
    }

    /// The key store for the anchor of a key that is kept so.
    pub(crate) fn anchor_key_store(&self, protection: KeyProtection) -> Option<KeyStore> {
        (protection == KeyProtection::KeyStore).then(|| self.key_store.clone())
    }

    /// The turn to read, move or replace the key. Blocks while another has it: for threads of their own.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on to `to`, if it stands at one of `from`.
    pub(crate) fn advance(&self, from: &[Phase], to: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let may = from.contains(phase);
            if may {
                *phase = to;
            }
            may
        })
    }
}
