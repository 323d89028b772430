//! A key store in memory: it keeps what it was given over a crash, and is struck by faults as a disk is.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use zeroize::Zeroizing;

use super::{Faults, Op};
use crate::key::{KeyStore, KeyStoreTrouble, key_store::Keeper};

/// Nobody waits so long for memory.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The key store. Clones are the same.
#[derive(Clone, Default)]
pub struct Drawer {
    entries: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    faults: Faults,
}

impl fmt::Debug for Drawer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Drawer")
    }
}

impl Drawer {
    /// An empty one, of a machine with these faults.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self {
            entries: Arc::default(),
            faults,
        }
    }

    /// Another with the same entries, of the machine after a crash.
    #[must_use]
    pub fn after_crash(&self, faults: Faults) -> Self {
        let entries = self.entries().clone();
        Self {
            entries: Arc::new(Mutex::new(entries)),
            faults,
        }
    }

    /// As the store asks it.
    #[must_use]
    pub fn key_store(&self) -> KeyStore {
        KeyStore::of(Arc::new(self.clone()), TIMEOUT)
    }

    /// The names of its entries.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.entries().keys().cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, name: &str) -> Result<(), KeyStoreTrouble> {
        let struck = self.faults.check(Op::KeyStore, Path::new(name));
        struck
            .map(drop)
            .map_err(|error| KeyStoreTrouble::Failed(error.to_string()))
    }
}

impl Keeper for Drawer {
    fn read(&self, _: &str, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
        Ok(self.entries().get(name).cloned().map(Zeroizing::new))
    }

    fn write(&self, _: &str, name: &str, bytes: &[u8]) -> Result<(), KeyStoreTrouble> {
        self.change(name)?;
        self.entries().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, _: &str, name: &str) -> Result<(), KeyStoreTrouble> {
        self.change(name)?;
        self.entries().remove(name);
        Ok(())
    }

    fn find(
        &self,
        _: &BTreeMap<String, String>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
        Ok(None)
    }
}
