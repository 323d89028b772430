//! What may be written to the disk, and what must be found there.

use std::sync::Arc;

use authd_core::{
    broker::CommitOutcome,
    grant::Grant,
    id::{AttemptId, Generation},
};

use crate::{provider::Granted, store::Found, world::World};

impl World<'_> {
    /// Invariants 11, 12 and 13.
    pub(crate) fn check_commit(
        &mut self,
        account: usize,
        attempt: AttemptId,
        grant: &Arc<Grant>,
        granted: Granted,
    ) {
        let is_login = self.shell.login_of.contains_key(&attempt);
        let truth = &mut self.truths[account];
        truth
            .committing
            .insert(attempt, (grant.id, grant.generation));
        if is_login {
            return;
        }
        if truth.grant != Some(grant.id) || grant.generation != truth.generation.next() {
            let (expected, found) = (truth.generation.next(), grant.generation);
            return self.violate(11, || {
                format!("generation {found} is written where {expected} comes next")
            });
        }
        let life = self.life(account);
        self.count_renewal(life);
        if !grant.renewable {
            return self.violate(12, || "the refresh token is given up at a renewal".into());
        }
        let before = self
            .broker
            .as_ref()
            .and_then(|broker| broker.grant(&grant.account))
            .cloned();
        let Some(before) = before else { return };
        let newest = grant
            .leases
            .values()
            .find(|lease| lease.generation == grant.generation);
        if granted.subject >= 100 && before.subject.is_some() {
            if newest.is_some() || grant.subject != before.subject {
                self.violate(13, || "somebody else's token took the grant's place".into());
            }
            return;
        }
        let told = newest.is_some_and(|lease| {
            let expected = match lease.generation == grant.generation && granted.other_scopes {
                true => grant.flags.scope_changed.is_some(),
                false => true,
            };
            expected && grant.scopes == before.scopes
        });
        if !told {
            self.violate(13, || {
                "other scopes took the grant's place without a word".into()
            });
        }
    }

    pub(crate) fn note_committed(
        &mut self,
        account: usize,
        attempt: AttemptId,
        outcome: &CommitOutcome,
    ) {
        let truth = &mut self.truths[account];
        let Some((grant, generation)) = truth.committing.remove(&attempt) else {
            return;
        };
        let is_login = generation == Generation(1);
        match outcome {
            CommitOutcome::Superseded => {
                // Its outcome is known, and of no use.
                truth.unresolved = None;
                return;
            }
            CommitOutcome::MemoryOnly(_) if is_login => return,
            CommitOutcome::MemoryOnly(_) => {}
            CommitOutcome::Durable | CommitOutcome::Spilled(_) => {
                truth.secured = Some((grant, generation));
            }
        }
        truth.committed = Some(attempt);
        truth.renewed(grant, generation);
    }

    pub(crate) fn note_saved(&mut self, account: usize, is_saved: bool) {
        let truth = &mut self.truths[account];
        if is_saved && let Some(grant) = truth.grant {
            truth.secured = Some((grant, truth.generation));
        }
    }

    /// Invariant 11.
    pub(crate) fn check_keep(&mut self, account: usize, grant: &Grant) {
        let truth = &self.truths[account];
        if truth.grant != Some(grant.id) || truth.generation != grant.generation {
            self.violate(11, || "flags are kept with another generation".into());
        }
    }

    /// Invariant 6.
    pub(crate) fn check_found(&mut self, account: usize, found: &Found) {
        let t = self.t;
        let truth = &mut self.truths[account];
        let (grant, generation) = (found.row.grant.id, found.row.grant.generation);
        if let Some((secured, of)) = truth.secured
            && (grant.0 < secured.0 || (grant == secured && generation < of))
        {
            return self.violate(6, || {
                format!("generation {of} was said to be safe, and the disk has {generation}")
            });
        }
        let is_other = truth.grant != Some(grant) || truth.generation != generation;
        if is_other {
            truth.renewed(grant, generation);
        }
        if found.row.grant.flags.suspect.is_some() && truth.words.is_empty() {
            // The record says that the word was heard, be it in another life.
            truth.words.push(t);
        }
        truth.committed = found.row.attempt;
        truth.secured = Some((grant, generation));
        truth.stale = found.stale.is_some();
        truth.needs_login = found.row.grant.flags.needs_login.is_some();
    }

    /// Invariant 6.
    pub(crate) fn check_loaded(&mut self, account: usize, found: &Found) {
        let grant = self
            .broker
            .as_ref()
            .and_then(|broker| broker.grant(&self.accounts[account]));
        let Some(grant) = grant else {
            return;
        };
        let is_flagged = grant.flags.ambiguous.is_some();
        if found.interrupted.is_some() && grant.id == found.row.grant.id && !is_flagged {
            self.violate(6, || {
                "an interrupted exchange is forgotten at the start".into()
            });
        }
    }
}
