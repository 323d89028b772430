//! Accounts that go, and what is owed to their providers.

use std::{collections::BTreeSet, io, sync::Arc};

use authd_core::id::{Account, AttemptId, GrantId};

use crate::{
    error::StoreError,
    load::revocation_mirror,
    record::{Intent, PendingRevocation},
    seal::{Kind, Name},
    worker::{Worker, no_intent, record_change, revocation_change},
};

impl Worker {
    /// Forgets an account, unless another login than `grant` stands there by now. The mirror and the
    /// copies go first: one without a row means that the database lost it, and would bring the
    /// account back. What only the spill has goes last, for the same reason.
    pub(crate) fn erase(&mut self, account: &Account, grant: GrantId) -> Result<(), StoreError> {
        let name = self.sealer.name(account);
        if self.held.get(&name).is_none_or(|held| held.grant != grant) {
            return Ok(());
        }
        let refused = |error: io::Error| StoreError::NotWritable(error.into());
        self.owed_mirrors.remove(&name.to_string());
        self.mirrors.remove(&name.to_string()).map_err(refused)?;
        self.drop_copies(name).map_err(refused)?;
        // The intent of a login under way stays: its answer may still come.
        let is_of_grant = |intent: &Intent| intent.account == *account && intent.grant == grant;
        let attempts: Vec<AttemptId> = (self.intents.iter())
            .filter(|(_, standing)| is_of_grant(&standing.intent))
            .map(|(attempt, _)| *attempt)
            .collect();
        let unsaved: Vec<AttemptId> = (self.unsaved.iter())
            .filter(|(_, unsaved)| unsaved.name == name)
            .map(|(attempt, _)| *attempt)
            .collect();
        let mut changes = vec![record_change(name, None)];
        changes.extend(attempts.iter().map(|attempt| no_intent(*attempt)));
        self.apply(&changes).map_err(StoreError::NotWritable)?;
        for attempt in attempts.into_iter().chain(unsaved) {
            self.spill.discard(attempt).map_err(refused)?;
            self.intents.remove(&attempt);
            self.unsaved.remove(&attempt);
        }
        // The backlog, written just now, may have brought them anew.
        self.drop_copies(name).map_err(refused)?;
        self.owed_mirrors.remove(&name.to_string());
        if self.held.remove(&name).is_some() {
            // A copy from before would bring the account back: the anchor remembers.
            self.anchor.note(name.short(), self.next_ordinal);
            self.next_ordinal += 1;
        }
        Ok(())
    }

    /// Removes every copy of an account's answers that the database has too, durably.
    fn drop_copies(&mut self, name: Name) -> io::Result<()> {
        while let Some(attempt) = self
            .giving_back
            .get(&name)
            .and_then(BTreeSet::first)
            .copied()
        {
            self.spill.discard(attempt)?;
            if let Some(attempts) = self.giving_back.get_mut(&name) {
                attempts.remove(&attempt);
            }
        }
        self.giving_back.remove(&name);
        // Whose these are is not known any more; that the mirrors are not written yet is rare.
        for path in std::mem::take(&mut self.spent_slots) {
            self.spill.remove(&path);
        }
        self.spill.forget(name)
    }

    pub(crate) fn owe_revocation(&mut self, owed: &PendingRevocation) -> Result<(), StoreError> {
        let name = self.sealer.name(&owed.account);
        let sealed: Arc<[u8]> = self
            .sealer
            .seal(Kind::Revocation, name, owed.id, owed.encode()?)?
            .into();
        let change = revocation_change(owed.id, Some(Arc::clone(&sealed)));
        self.apply(&[change]).map_err(StoreError::NotWritable)?;
        self.revocations.insert(owed.id, Arc::clone(&sealed));
        self.owed_mirrors.insert(revocation_mirror(owed.id), sealed);
        // Not afterwards: no slot has a copy of it, and nobody waits for milliseconds here.
        self.tidy();
        Ok(())
    }

    pub(crate) fn settle_revocation(&mut self, id: u64) -> Result<(), StoreError> {
        if !self.revocations.contains_key(&id) {
            return Ok(());
        }
        self.owed_mirrors.remove(&revocation_mirror(id));
        self.mirrors
            .remove(&revocation_mirror(id))
            .map_err(|error| StoreError::NotWritable(error.into()))?;
        self.apply(&[revocation_change(id, None)])
            .map_err(StoreError::NotWritable)?;
        self.revocations.remove(&id);
        Ok(())
    }
}
