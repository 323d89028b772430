//! The modelled store: what is durable, and what a crash at each boundary leaves.

use std::sync::Arc;

use authd_core::{
    broker::{CommitOutcome, Exchange},
    flag::StaleStore,
    grant::Grant,
    id::{AttemptId, Generation, GrantId},
    lease::LeaseKey,
    time::Stamp,
};

use crate::story::Disk;

/// What stands on disk beside the grant.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// The refresh token.
    pub refresh_token: Option<u32>,
    /// The access tokens.
    pub access_tokens: Vec<(LeaseKey, u32)>,
}

impl Secrets {
    /// The access token of a lease.
    #[must_use]
    pub fn access_token(&self, key: &LeaseKey) -> Option<u32> {
        self.access_tokens
            .iter()
            .find(|(of, _)| of == key)
            .map(|(_, token)| *token)
    }
}

/// One account's record.
#[derive(Clone, Debug)]
pub struct Row {
    /// Without its flags of the moment.
    pub grant: Arc<Grant>,
    /// The secrets.
    pub secrets: Secrets,
    /// The attempt whose answer it is.
    pub attempt: Option<AttemptId>,
    /// Counts writes; what the anchor remembers.
    pub ordinal: u64,
    /// It was written on another machine.
    pub is_foreign: bool,
}

/// An intent on disk.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The attempt.
    pub attempt: AttemptId,
    /// Of which grant.
    pub grant: GrantId,
    /// The refresh token that is to be sent.
    pub refresh_token: u32,
    /// When it was written.
    pub at: Stamp,
}

/// One account's place on disk.
#[derive(Clone, Debug, Default)]
pub struct Place {
    row: Option<Row>,
    intents: Vec<Intent>,
    /// The synced spill file.
    spill: Option<Row>,
    /// What memory alone has.
    memory: Option<Row>,
    /// Intents that go with the next write.
    annulled: Vec<AttemptId>,
    /// The anchor, outside the store.
    anchor: u64,
    /// A copy of some time ago.
    pub yesterday: Option<Box<(Option<Row>, Vec<Intent>)>>,
}

/// What a write is for.
#[derive(Debug)]
pub enum Work {
    /// Before an exchange.
    Intend(Exchange, u32, Stamp),
    /// After it.
    Commit(Row),
    /// It spent nothing.
    Annul(AttemptId),
    /// Flags.
    Keep(Row),
    /// Once more what was not taken.
    Save(Row),
    /// The user trusts it.
    Adopt(Row),
    /// It goes.
    Erase(GrantId),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is on disk.
    Durable,
    /// It is elsewhere.
    Elsewhere(CommitOutcome),
    /// It is not, and nothing changed.
    Refused,
    /// Something newer stands there.
    Superseded,
}

/// What is found at a start.
#[derive(Debug)]
pub struct Found {
    /// The newest.
    pub row: Row,
    /// An intent without outcome.
    pub interrupted: Option<Intent>,
    /// Whether it is not to be trusted.
    pub stale: Option<StaleStore>,
}

impl Place {
    /// What the process would hold if it went on: the newest anywhere.
    fn held(&self) -> Option<&Row> {
        self.memory
            .as_ref()
            .or(self.spill.as_ref())
            .or(self.row.as_ref())
    }

    /// What a crash would leave.
    #[must_use]
    pub fn durable(&self) -> Option<&Row> {
        self.spill.as_ref().or(self.row.as_ref())
    }

    /// The intents that stand.
    #[must_use]
    pub fn intents(&self) -> &[Intent] {
        &self.intents
    }

    fn put(&mut self, row: Row) {
        self.anchor = row.ordinal;
        self.row = Some(row);
        (self.spill, self.memory) = (None, None);
        for attempt in self.annulled.drain(..) {
            self.intents.retain(|intent| intent.attempt != attempt);
        }
    }

    /// Whether what is held is of this login.
    pub fn holds(&self, grant: GrantId) -> bool {
        self.held().is_some_and(|row| row.grant.id == grant)
    }

    /// Whether what is held is of this login and generation.
    fn holds_as_new(&self, row: &Row) -> bool {
        let of = |grant: &Grant| (grant.id, grant.generation);
        self.held()
            .is_some_and(|held| of(&held.grant) == of(&row.grant))
    }

    /// One write reaches the disk, or does not.
    pub fn apply(&mut self, work: Work, disk: Disk) -> Done {
        let works = matches!(disk, Disk::Works | Disk::Slow);
        match work {
            Work::Intend(exchange, refresh_token, at) => {
                let is_of = |row: &Row| {
                    row.grant.id == exchange.grant && row.grant.generation == exchange.generation
                };
                if !self.held().is_some_and(is_of) {
                    return Done::Superseded;
                }
                if !works {
                    return Done::Refused;
                }
                self.intents.push(Intent {
                    attempt: exchange.attempt,
                    grant: exchange.grant,
                    refresh_token,
                    at,
                });
                Done::Durable
            }
            Work::Commit(row) => {
                let is_newer = match self.held() {
                    Some(held) if held.grant.id == row.grant.id => {
                        row.grant.generation > held.grant.generation
                    }
                    Some(_) => row.grant.generation == Generation(1),
                    None => row.grant.generation == Generation(1),
                };
                if !is_newer {
                    return Done::Superseded;
                }
                self.write(row, disk)
            }
            Work::Save(row) => self.write(row, disk),
            Work::Annul(attempt) => {
                if works {
                    self.intents.retain(|intent| intent.attempt != attempt);
                    Done::Durable
                } else {
                    self.annulled.push(attempt);
                    Done::Refused
                }
            }
            Work::Keep(row) | Work::Adopt(row) if !works => {
                drop(row);
                Done::Refused
            }
            Work::Keep(row) if !self.holds_as_new(&row) => Done::Superseded,
            // What a rival made of it meanwhile is what the person decides against.
            Work::Adopt(row) if !self.holds(row.grant.id) => Done::Superseded,
            Work::Keep(mut row) => {
                let held = self.held();
                row.is_foreign = held.is_some_and(|held| held.is_foreign);
                row.attempt = held.and_then(|held| held.attempt);
                self.put(row);
                Done::Durable
            }
            Work::Adopt(mut row) => {
                row.is_foreign = false;
                self.put(row);
                Done::Durable
            }
            Work::Erase(grant) => {
                if self.held().is_none_or(|held| held.grant.id != grant) {
                    return Done::Durable;
                }
                if !works {
                    return Done::Refused;
                }
                (self.row, self.spill, self.memory) = (None, None, None);
                self.intents.retain(|intent| intent.grant != grant);
                Done::Durable
            }
        }
    }

    fn write(&mut self, row: Row, disk: Disk) -> Done {
        match disk {
            Disk::Works | Disk::Slow => {
                self.put(row);
                // All of them were for an earlier generation.
                self.intents.clear();
                Done::Durable
            }
            Disk::Full | Disk::Spills => {
                self.anchor = row.ordinal;
                self.spill = Some(row);
                self.memory = None;
                Done::Elsewhere(CommitOutcome::Spilled("the disk is full".to_owned()))
            }
            Disk::Broken => {
                if row.grant.generation != Generation(1) {
                    self.memory = Some(row);
                }
                Done::Elsewhere(CommitOutcome::MemoryOnly("the disk is broken".to_owned()))
            }
        }
    }

    /// The process is gone: what memory alone had is lost.
    pub fn crash(&mut self) {
        self.memory = None;
        self.annulled.clear();
    }

    /// Before a clean end: what memory alone has is written.
    pub fn flush(&mut self) {
        if let Some(row) = self.memory.take().or(self.spill.take()) {
            self.put(row);
            self.intents.clear();
        }
    }

    /// Somebody else writes the next generation.
    pub fn overtake(&mut self) {
        if let Some(row) = &mut self.row {
            let grant = Arc::make_mut(&mut row.grant);
            grant.generation = grant.generation.next();
        }
    }

    /// Keeps a copy, as a backup does.
    pub fn copy(&mut self) {
        self.yesterday = Some(Box::new((self.durable().cloned(), self.intents.clone())));
    }

    /// The copy is put in the place of what stands. Returns whether it is an older one.
    pub fn restore(&mut self) -> bool {
        let Some(copy) = self.yesterday.clone() else {
            return false;
        };
        let (row, intents) = *copy;
        let Some(row) = row else { return false };
        let is_older = row.ordinal < self.anchor;
        (self.row, self.intents, self.spill) = (Some(row), intents, None);
        is_older
    }

    /// The store comes from another machine.
    pub fn estrange(&mut self) {
        for row in [&mut self.row, &mut self.spill].into_iter().flatten() {
            row.is_foreign = true;
        }
    }

    /// What a start finds.
    pub fn open(&mut self) -> Option<Found> {
        if let Some(row) = self.spill.take() {
            self.intents.clear();
            self.row = Some(row);
        }
        let row = self.row.clone()?;
        let interrupted = self
            .intents
            .iter()
            .find(|intent| intent.grant == row.grant.id)
            .cloned();
        let stale = if row.ordinal < self.anchor {
            Some(StaleStore::OlderGeneration)
        } else {
            row.is_foreign.then_some(StaleStore::OtherMachine)
        };
        Some(Found {
            row,
            interrupted,
            stale,
        })
    }
}
