//! The store's own thread at work: one operation after the other, each whole or not at all.

mod leave;
mod mend;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use authd_core::id::{Account, AttemptId, Generation, GrantId};

use crate::{
    anchor::Anchor,
    database::{Change, Database, Key},
    disk::{self, Disk},
    error::StoreError,
    key::KeyStore,
    load::{StandingIntent, outdated, seal_intent},
    mirror::Mirrors,
    record::{Header, Intent, Record, Stored, encode},
    seal::{Kind, Name, SealError, Sealer},
    spill::Spill,
    store::{CommitOutcome, Flushed},
};

/// What stands of an account, without its secrets.
pub(crate) struct Held {
    pub(crate) grant: GrantId,
    pub(crate) generation: Generation,
    pub(crate) ordinal: u64,
    pub(crate) attempt: Option<AttemptId>,
    /// The machine whose login it is, when that is another.
    pub(crate) foreign: Option<Box<[u8; 32]>>,
    /// Its sealed size, by which the space for the next answer is measured.
    pub(crate) size: usize,
}

/// An answer that the database has not taken yet.
pub(crate) struct Unsaved {
    pub(crate) account: Account,
    pub(crate) name: Name,
    pub(crate) ordinal: u64,
    pub(crate) sealed: Arc<[u8]>,
    pub(crate) in_spill: bool,
    /// The intents that it settles once the database has it; until then they stand.
    pub(crate) settles: Vec<AttemptId>,
}

/// Everything the thread owns.
pub(crate) struct Worker {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clean_mark: PathBuf,
    pub(crate) sealer: Sealer,
    pub(crate) database: Database,
    pub(crate) mirrors: Mirrors,
    pub(crate) spill: Spill,
    pub(crate) anchor: Anchor,
    pub(crate) machine: [u8; 32],
    pub(crate) header: Header,
    pub(crate) held: BTreeMap<Name, Held>,
    pub(crate) intents: BTreeMap<AttemptId, StandingIntent>,
    pub(crate) revocations: BTreeMap<u64, Arc<[u8]>>,
    /// Changes that the database owes; they go before or with the next ones.
    pub(crate) backlog: Vec<Change>,
    pub(crate) unsaved: BTreeMap<AttemptId, Unsaved>,
    /// The attempts of logins that were committed since the start. One that comes again is late.
    pub(crate) logins: BTreeSet<AttemptId>,
    /// Mirrors that lag behind the database.
    pub(crate) owed_mirrors: BTreeMap<String, Arc<[u8]>>,
    /// Slots that go back once the mirror of their account is written: until then they have the only
    /// other copy.
    pub(crate) giving_back: BTreeMap<Name, BTreeSet<AttemptId>>,
    /// Slot files from before the start that are of no use once database and mirrors are up to date.
    pub(crate) spent_slots: Vec<PathBuf>,
    pub(crate) next_ordinal: u64,
}

impl Worker {
    pub(crate) fn intend(&mut self, intent: Intent) -> Result<(), StoreError> {
        let name = self.sealer.name(&intent.account);
        let held = self.held.get(&name);
        let offered = intent.generation;
        match held {
            // Any login may begin; whose answer stands is decided at the commit.
            _ if offered == Generation::default() => {}
            Some(held) if held.grant == intent.grant && held.generation == offered => {}
            Some(held) => {
                let held = held.generation;
                return Err(StoreError::Superseded { held, offered });
            }
            None => return Err(StoreError::NotHeld(intent.account)),
        }
        let expected = held.map_or(0, |held| held.size);
        let (attempt, sealed) = (intent.attempt, seal_intent(&self.sealer, &intent)?);
        self.spill
            .reserve(attempt, &sealed, expected)
            .map_err(|error| StoreError::NotWritable(error.into()))?;
        let put = Change {
            key: intent_key(attempt),
            value: Some(Arc::clone(&sealed)),
        };
        if let Err(trouble) = self.apply(&[put]) {
            self.spill.release(attempt, true);
            return Err(StoreError::NotWritable(trouble));
        }
        self.intents
            .insert(attempt, StandingIntent { intent, sealed });
        Ok(())
    }

    pub(crate) fn commit(
        &mut self,
        record: Record,
        attempt: AttemptId,
    ) -> Result<CommitOutcome, StoreError> {
        let grant = &record.grant;
        let (account, name) = (grant.account.clone(), self.sealer.name(&grant.account));
        let (id, generation) = (grant.id, grant.generation);
        match self.held.get(&name) {
            Some(held) => {
                if held.grant == id
                    && held.generation == generation
                    && held.attempt == Some(attempt)
                {
                    return Ok(self.commit_again(attempt));
                }
                // A new login starts at generation 1 and comes once; anything else of another login
                // is a loser.
                let newer = if held.grant == id {
                    generation > held.generation
                } else {
                    generation == Generation(1)
                        && held.attempt != Some(attempt)
                        && !self.logins.contains(&attempt)
                };
                if !newer {
                    let (held, offered) = (held.generation, generation);
                    return Err(StoreError::Superseded { held, offered });
                }
            }
            // Forgotten while the exchange was in flight: it stays forgotten.
            None if generation > Generation(1) || self.logins.contains(&attempt) => {
                return Err(StoreError::NotHeld(account));
            }
            None => {}
        }
        let ordinal = self.next_ordinal;
        let sealed = self.seal_record(
            name,
            &Stored {
                record,
                ordinal,
                attempt: Some(attempt),
                machine: Some(self.machine),
            },
        )?;
        self.next_ordinal += 1;

        let settled: Vec<AttemptId> = self
            .intents
            .iter()
            .filter(|(standing, StandingIntent { intent, .. })| {
                **standing == attempt
                    || intent.account == account && outdated(intent, Some((id, generation.0)))
            })
            .map(|(standing, _)| *standing)
            .collect();
        let mut changes = vec![record_change(name, Some(Arc::clone(&sealed)))];
        changes.extend(settled.iter().map(|attempt| no_intent(*attempt)));
        let size = sealed.len();
        let held = Held {
            grant: id,
            generation,
            ordinal,
            attempt: Some(attempt),
            foreign: None,
            size,
        };

        // A login counts only when it is told to; the copy of a renewal can but help.
        let replaces = self.held.get(&name).is_none_or(|held| held.grant != id);
        if !replaces {
            self.spill.copy_answer(attempt, name, &sealed);
        }
        let outcome = match self.try_apply(&changes) {
            Ok(()) => CommitOutcome::Durable,
            Err(failure) => {
                // First the spill, at once; only then is the database worth another thought.
                let in_spill = self.keep_in_spill(attempt, name, &sealed);
                let owed_before = self.backlog.len();
                self.backlog.extend(changes);
                let sealed = Arc::clone(&sealed);
                let settles = settled.clone();
                let unsaved = Unsaved {
                    account,
                    name,
                    ordinal,
                    sealed,
                    in_spill,
                    settles,
                };
                self.unsaved.insert(attempt, unsaved);
                let outcome = self.settle_backlog(attempt, Some(failure));
                if replaces && matches!(outcome, CommitOutcome::MemoryOnly { .. }) {
                    self.take_back(attempt, owed_before);
                    return Ok(outcome);
                }
                outcome
            }
        };
        self.held.insert(name, held);
        if replaces {
            self.logins.insert(attempt);
        }
        if outcome == CommitOutcome::Durable {
            if replaces {
                self.spill.copy_answer(attempt, name, &sealed);
            }
            self.settle(name, attempt, &settled);
        }
        if !matches!(outcome, CommitOutcome::MemoryOnly { .. }) {
            self.anchor.note(name.short(), ordinal);
        }
        self.owed_mirrors.insert(name.to_string(), sealed);
        Ok(outcome)
    }

    pub(crate) fn annul(&mut self, attempt: AttemptId) -> Result<(), StoreError> {
        if self.intents.remove(&attempt).is_none() {
            return Ok(());
        }
        let change = no_intent(attempt);
        let applied = self.apply(std::slice::from_ref(&change));
        self.spill.release(attempt, true);
        applied.map_err(|trouble| {
            // It goes with the next write. Until then a crash makes a false alarm, not a loss.
            self.backlog.push(change);
            StoreError::NotWritable(trouble)
        })
    }

    pub(crate) fn save(&mut self, record: Record) -> Result<(), StoreError> {
        self.write(record, false)
    }

    fn write(&mut self, record: Record, adopted: bool) -> Result<(), StoreError> {
        let grant = &record.grant;
        let name = self.sealer.name(&grant.account);
        let Some(held) = self.held.get(&name) else {
            return Err(StoreError::NotHeld(grant.account.clone()));
        };
        if held.grant != grant.id || held.generation != grant.generation {
            let (held, offered) = (held.generation, grant.generation);
            return Err(StoreError::Superseded { held, offered });
        }
        let (ordinal, attempt) = (self.next_ordinal, held.attempt);
        let foreign = held.foreign.clone().filter(|_| !adopted);
        let sealed = self.seal_record(
            name,
            &Stored {
                record,
                ordinal,
                attempt,
                machine: Some(foreign.as_deref().copied().unwrap_or(self.machine)),
            },
        )?;
        self.apply(&[record_change(name, Some(Arc::clone(&sealed)))])
            .map_err(StoreError::NotWritable)?;
        self.next_ordinal += 1;
        if let Some(held) = self.held.get_mut(&name) {
            (held.ordinal, held.size, held.foreign) = (ordinal, sealed.len(), foreign);
        }
        self.owed_mirrors.insert(name.to_string(), sealed);
        Ok(())
    }

    /// Saves a record as adopted: it is this machine's from now on, and its ordinal becomes the
    /// anchor, later than anything seen before.
    pub(crate) fn adopt(&mut self, record: Record) -> Result<(), StoreError> {
        let name = self.sealer.name(&record.grant.account);
        self.write(record, true)?;
        if let Some(held) = self.held.get(&name) {
            self.anchor.note(name.short(), held.ordinal);
        }
        Ok(())
    }

    /// From now on the anchor is kept in this key store, or in none.
    pub(crate) fn keep_anchor_in(&self, key_store: Option<KeyStore>) {
        self.anchor.keep_in(key_store);
    }

    /// What may be done after the answer to an operation is out: the mirrors, and after each the
    /// slots that stood in for it.
    pub(crate) fn tidy(&mut self) {
        while let Some((name, sealed)) = self.owed_mirrors.pop_first() {
            if let Err(error) = self.mirrors.write(&name, &sealed) {
                // The database has it; the next operation tries again.
                tracing::warn!(%error, "a mirror lags behind");
                self.owed_mirrors.insert(name, sealed);
                break;
            }
        }
        let is_mirrored = |name: &Name| !self.owed_mirrors.contains_key(&name.to_string());
        let mirrored: Vec<Name> = self
            .giving_back
            .keys()
            .copied()
            .filter(is_mirrored)
            .collect();
        for name in mirrored {
            for attempt in self.giving_back.remove(&name).unwrap_or_default() {
                self.spill.release(attempt, false);
            }
        }
        if self.owed_mirrors.is_empty() && self.backlog.is_empty() {
            for path in std::mem::take(&mut self.spent_slots) {
                self.spill.remove(&path);
            }
        }
    }

    /// Ends the work. Only an end in which all was written leaves the mark of a clean stop.
    pub(crate) fn close(mut self) -> Result<(), StoreError> {
        let flushed = self.flush();
        self.tidy();
        let closed = self.close_database(flushed);
        // Last: a key store that hangs must not keep the database open.
        self.anchor.close();
        closed
    }

    fn close_database(&mut self, flushed: Flushed) -> Result<(), StoreError> {
        let closed = self.database.close();
        if !flushed.memory_only.is_empty() {
            return Err(StoreError::Unsaved(flushed.memory_only));
        }
        if let Some(trouble) = flushed.trouble {
            return Err(StoreError::NotWritable(trouble));
        }
        closed.map_err(|failure| StoreError::NotWritable(failure.trouble()))?;
        disk::replace(&*self.disk, &self.clean_mark, b"")
            .map_err(|error| StoreError::NotWritable(error.into()))
    }

    fn seal_record(&self, name: Name, stored: &Stored) -> Result<Arc<[u8]>, SealError> {
        let generation = stored.record.grant.generation.0;
        Ok(self
            .sealer
            .seal(Kind::Record, name, generation, stored.encode()?)?
            .into())
    }
}

pub(crate) fn seal_header(sealer: &Sealer, header: &Header) -> Result<Arc<[u8]>, SealError> {
    Ok(sealer
        .seal(Kind::Header, Name::STORE, 0, encode(header)?)?
        .into())
}

pub(crate) fn header_change(sealed: Arc<[u8]>) -> Change {
    Change {
        key: Key::new(Kind::Header, &[]),
        value: Some(sealed),
    }
}

pub(crate) fn record_change(name: Name, value: Option<Arc<[u8]>>) -> Change {
    Change {
        key: Key::new(Kind::Record, &name.0),
        value,
    }
}

pub(crate) fn revocation_change(id: u64, value: Option<Arc<[u8]>>) -> Change {
    Change {
        key: Key::new(Kind::Revocation, &id.to_be_bytes()),
        value,
    }
}

pub(crate) fn intent_key(attempt: AttemptId) -> Key {
    Key::new(Kind::Intent, &attempt.0.to_be_bytes())
}

fn no_intent(attempt: AttemptId) -> Change {
    Change {
        key: intent_key(attempt),
        value: None,
    }
}
