//! Places that are few: so many in all, and fewer for one process, so that it cannot shut the others out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use authd_core::id::ClientId;

/// Counts places, in all and for each process.
pub(crate) struct Admission {
    most: usize,
    of_one: usize,
    counts: Mutex<HashMap<ClientId, usize>>,
}

/// One place, until it is dropped.
pub(crate) struct Place {
    admission: Arc<Admission>,
    pub(crate) process: ClientId,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are taken.
    ForAll,
    /// The process has its share.
    ForThisProcess,
}

impl Admission {
    /// `most` places, and `of_one` for one process.
    pub(crate) fn new(most: usize, of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            of_one,
            counts: Mutex::default(),
        })
    }

    /// A place for the process. Processes that nobody knows share one share.
    pub(crate) fn enter(self: &Arc<Self>, process: ClientId) -> Result<Place, Full> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.get(&process).copied().unwrap_or(0);
        let all: usize = counts.values().sum();
        if all >= self.most {
            return Err(Full::ForAll);
        }
        if own >= self.of_one {
            return Err(Full::ForThisProcess);
        }
        counts.insert(process, own + 1);
        Ok(Place {
            admission: Arc::clone(self),
            process,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counts = &self.admission.counts;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.process) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.process);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_cannot_take_every_place() {
        let admission = Admission::new(8, 2);
        let enter = |process| admission.enter(ClientId(process));
        let greedy = [enter(1).unwrap(), enter(1).unwrap()];
        assert_eq!(enter(1).err(), Some(Full::ForThisProcess));
        assert!(enter(2).is_ok());
        drop(greedy);
        assert!(enter(1).is_ok());
    }

    #[test]
    fn the_total_is_capped() {
        let admission = Admission::new(8, 2);
        let places: Vec<_> = (0..)
            .map_while(|n| admission.enter(ClientId(n / 2)).ok())
            .take(9)
            .collect();
        assert_eq!(places.len(), 8);
        let full = admission.enter(ClientId(100)).err();
        assert_eq!(full, Some(Full::ForAll));
    }
}
