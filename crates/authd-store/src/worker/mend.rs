//! What the worker does when the disk refuses: the backlog, the spill, and mending the database.
//!
//! A commit that fails is written to its spill file at once; its changes join the backlog, which
//! goes before or with every later transaction. In between the database is mended: reopened after an
//! I/O error, moved to a new file after a failed sync, made again from the mirrors when damaged.

use std::{collections::BTreeMap, sync::Arc};

use authd_core::id::AttemptId;

use crate::{
    database::{Change, Failure},
    error::DiskTrouble,
    seal::{Kind, Name, Unsealable},
    store::{CommitOutcome, Flushed},
    worker::{Worker, header_change, intent_key, record_change, revocation_change, seal_header},
};

impl Worker {
    /// The same commit once more: the daemon tries again to get its answer onto the disk.
    pub(super) fn commit_again(&mut self, attempt: AttemptId) -> CommitOutcome {
        if !self.unsaved.contains_key(&attempt) {
            return CommitOutcome::Durable;
        }
        self.respill();
        self.settle_backlog(attempt, None)
    }

    /// Tries to write what the database owes; says where the answer of `attempt` is afterwards.
    pub(super) fn settle_backlog(
        &mut self,
        attempt: AttemptId,
        failure: Option<Failure>,
    ) -> CommitOutcome {
        let settled = match failure {
            Some(failure) => self.mend(failure).and_then(|()| self.apply(&[])),
            None => self.apply(&[]),
        };
        let in_spill = self
            .unsaved
            .get(&attempt)
            .is_none_or(|unsaved| unsaved.in_spill);
        match settled {
            Ok(()) => CommitOutcome::Durable,
            Err(reason) if in_spill => CommitOutcome::Spilled { reason },
            Err(reason) => CommitOutcome::MemoryOnly { reason },
        }
    }

    /// A login that no file took does not count: what it was to replace stands as before, on disk
    /// and in the backlog, which had `owed_before` changes.
    pub(super) fn take_back(&mut self, attempt: AttemptId, owed_before: usize) {
        self.backlog.truncate(owed_before);
        self.unsaved.remove(&attempt);
        if let Err(error) = self.annul(attempt) {
            tracing::warn!(%attempt, %error, "the intent of a login that failed is still on disk");
        }
    }

    pub(super) fn keep_in_spill(&mut self, attempt: AttemptId, whose: Name, sealed: &[u8]) -> bool {
        match self.spill.keep_answer(attempt, whose, sealed) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%attempt, %error, "an answer is in memory alone");
                false
            }
        }
    }

    /// Gives answers that are in memory alone another chance at a spill file.
    fn respill(&mut self) {
        let lacking: Vec<_> = self
            .unsaved
            .iter()
            .filter(|(_, unsaved)| !unsaved.in_spill)
            .map(|(attempt, unsaved)| (*attempt, unsaved.name, Arc::clone(&unsaved.sealed)))
            .collect();
        for (attempt, name, sealed) in lacking {
            let in_spill = self.keep_in_spill(attempt, name, &sealed);
            if let Some(unsaved) = self.unsaved.get_mut(&attempt).filter(|_| in_spill) {
                unsaved.in_spill = true;
                self.anchor.note(unsaved.name.short(), unsaved.ordinal);
            }
        }
    }

    /// Tries again to write all that is owed.
    pub(crate) fn flush(&mut self) -> Flushed {
        self.respill();
        let trouble = if self.backlog.is_empty() {
            None
        } else {
            self.apply(&[]).err()
        };
        let accounts = |in_spill: bool| {
            self.unsaved
                .values()
                .filter(|unsaved| unsaved.in_spill == in_spill)
                .map(|unsaved| unsaved.account.clone())
                .collect()
        };
        Flushed {
            trouble,
            spilled: accounts(true),
            memory_only: accounts(false),
        }
    }

    /// Writes the backlog and `changes` in one transaction; mends the database and tries once more
    /// when that fails.
    pub(crate) fn apply(&mut self, changes: &[Change]) -> Result<(), DiskTrouble> {
        let Err(failure) = self.try_apply(changes) else {
            return Ok(());
        };
        self.mend(failure)?;
        self.try_apply(changes).map_err(Failure::trouble)
    }

    pub(super) fn try_apply(&mut self, changes: &[Change]) -> Result<(), Failure> {
        if self.backlog.is_empty() {
            return if changes.is_empty() {
                Ok(())
            } else {
                self.database.apply(changes)
            };
        }
        let mut all = self.backlog.clone();
        all.extend_from_slice(changes);
        self.database.apply(&all)?;
        self.backlog.clear();
        for (attempt, unsaved) in std::mem::take(&mut self.unsaved) {
            self.settle(unsaved.name, attempt, &unsaved.settles);
            self.anchor.note(unsaved.name.short(), unsaved.ordinal);
        }
        Ok(())
    }

    /// The answer of `attempt` stands in the database, and the intents that it settles are gone.
    /// Their slots go back when the mirror is written too; those that still waited for an earlier
    /// one have nothing to tell any more.
    pub(super) fn settle(&mut self, name: Name, attempt: AttemptId, settled: &[AttemptId]) {
        for earlier in self.giving_back.remove(&name).unwrap_or_default() {
            self.spill.release(earlier, false);
        }
        let waiting = self.giving_back.entry(name).or_default();
        waiting.insert(attempt);
        waiting.extend(settled);
        for settled in settled {
            self.intents.remove(settled);
        }
    }

    pub(super) fn mend(&mut self, failure: Failure) -> Result<(), DiskTrouble> {
        match failure {
            // Reopened, and with it repaired, by the next operation.
            Failure::Disk(_) => return Ok(()),
            Failure::SyncFailed(trouble) => {
                tracing::error!(%trouble, "a sync failed; the database moves to a new file");
            }
            Failure::Damaged(what) => {
                let aside = self.database.set_aside()?;
                let aside = aside.unwrap_or_default();
                tracing::error!(what, aside = %aside.display(), "the database is damaged; it is rebuilt from the mirrors");
            }
        }
        let rows = self.rows_from_mirrors()?;
        self.database.rebuild(&rows).map_err(Failure::trouble)
    }

    /// Every row that the database should have, but for the backlog.
    fn rows_from_mirrors(&self) -> Result<Vec<Change>, DiskTrouble> {
        let header = seal_header(&self.sealer, &self.header)
            .map_err(|error| DiskTrouble::Damaged(error.to_string()))?;
        let mut rows = vec![header_change(header)];
        let mut records: BTreeMap<Name, Arc<[u8]>> = BTreeMap::new();
        let owed = self
            .owed_mirrors
            .values()
            .map(|sealed| (None, Arc::clone(sealed)));
        let mut mirrored: Vec<(_, Arc<[u8]>)> = Vec::new();
        self.mirrors
            .for_each(|_, path, sealed| mirrored.push((Some(path), sealed.into())))?;
        for (path, sealed) in mirrored.into_iter().chain(owed) {
            match self.sealer.open(Kind::Record, None, &sealed) {
                Ok(opened) if self.held.contains_key(&opened.name) => {
                    records.insert(opened.name, sealed);
                }
                Ok(_) | Err(Unsealable::Misplaced) => {}
                Err(error) => {
                    let path = path.unwrap_or_default();
                    tracing::error!(path = %path.display(), %error, "a mirror is damaged as well");
                }
            }
        }
        rows.extend(
            records
                .into_iter()
                .map(|(name, sealed)| record_change(name, Some(sealed))),
        );
        rows.extend(self.intents.iter().map(|(attempt, standing)| Change {
            key: intent_key(*attempt),
            value: Some(Arc::clone(&standing.sealed)),
        }));
        rows.extend(
            self.revocations
                .iter()
                .map(|(id, sealed)| revocation_change(*id, Some(Arc::clone(sealed)))),
        );
        Ok(rows)
    }
}
