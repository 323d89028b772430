//! What one connection, or several that are counted together, was given and refused: the first time a line,
//! afterwards a count.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use authd_core::{
    id::{Account, Fingerprint},
    time::{Boot, Now},
};
use authd_proto::{ErrorCode, audit::AuditLine};

use super::Audit;
use crate::caller::Caller;

/// A count that goes on is written down so often.
pub(super) const EVERY: Duration = Duration::from_secs(60);
/// Things that are counted at a time; beyond, the oldest is written down and counted anew.
const MOST: usize = 32;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A token that was handed out.
    Token(Fingerprint),
    /// Proofs for the tokens of an account.
    Proof(Account),
    /// A refusal.
    Refused(Account, ErrorCode),
}

/// The counts of one connection, or of several of one process. By default of one whom nobody knows.
#[derive(Default)]
pub(crate) struct Tally {
    caller: Arc<Caller>,
    counted: Mutex<Vec<Counted>>,
}

struct Counted {
    key: Key,
    /// The line that was written at first.
    line: AuditLine,
    since: Boot,
    since_at: u64,
    /// How often since then, beyond what was written down.
    count: u64,
}

impl Tally {
    pub(crate) fn new(caller: Arc<Caller>) -> Self {
        Self {
            caller,
            counted: Mutex::default(),
        }
    }

    /// Whose connection it is.
    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Counts one more of `key`. The first is written down as `line` has it; when a minute has passed, and
    /// when another token takes the place of this one, how often it was since.
    pub(crate) fn count(
        &self,
        audit: &Audit,
        key: &Key,
        now: Now,
        line: impl FnOnce() -> AuditLine,
    ) {
        let mut counted = self.lock();
        if let Some(known) = counted.iter_mut().find(|known| known.key == *key) {
            known.count += 1;
            if now.boot.since(known.since) >= EVERY {
                self.write(audit, known, now);
            }
            return;
        }
        let line = line();
        audit.put(line.clone(), &self.caller);
        let replaced = counted
            .iter()
            .position(|known| known.takes_place_of(key, &line));
        let full = (counted.len() >= MOST).then_some(0);
        if let Some(place) = replaced.or(full) {
            let mut old = counted.remove(place);
            self.write(audit, &mut old, now);
        }
        counted.push(Counted {
            key: key.clone(),
            line,
            since: now.boot,
            since_at: unix(now),
            count: 0,
        });
    }

    /// Writes down how often it was until now.
    pub(super) fn tell(&self, audit: &Audit, now: Now) {
        for counted in &mut *self.lock() {
            self.write(audit, counted, now);
        }
    }

    /// Writes down what was counted, and begins anew. To be called when the connection has ended.
    pub(crate) fn close(&self, audit: &Audit, now: Now) {
        for mut counted in self.lock().drain(..) {
            self.write(audit, &mut counted, now);
        }
    }

    fn write(&self, audit: &Audit, counted: &mut Counted, now: Now) {
        if counted.count > 0 {
            let line = AuditLine {
                at: unix(now),
                count: counted.count,
                since_at: Some(counted.since_at),
                // Each was another request.
                trace_id: None,
                ..counted.line.clone()
            };
            audit.put(line, &self.caller);
        }
        (counted.since, counted.since_at, counted.count) = (now.boot, unix(now), 0);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// Whether this is an older token of the same lease.
    fn takes_place_of(&self, key: &Key, line: &AuditLine) -> bool {
        let both_tokens = matches!((&self.key, key), (Key::Token(_), Key::Token(_)));
        both_tokens
            && self.line.account == line.account
            && self.line.resource == line.resource
            && self.line.scopes == line.scopes
    }
}

fn unix(now: Now) -> u64 {
    u64::try_from(now.wall.unix_secs()).unwrap_or(0)
}
