//! The only place where an [`Effect`] becomes I/O.

mod departure;
mod exchange;
mod metadata;
mod questions;
mod store;
mod story;
#[cfg(test)]
mod tests;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use authd_core::{
    broker::{CommitOutcome, Effect, Event, Refusal, Served, View},
    grant::Grant,
    id::{Account, AttemptId, GrantId, Ticket},
};
use authd_oauth::Tokens;
use authd_store::{PendingRevocation, Record, Secrets, Store};

pub(crate) use self::departure::Departed;
pub(crate) use self::exchange::{Material, ProofMaterial, is_bound};
pub(crate) use self::metadata::{Checked, Fetched};
#[cfg(test)]
pub(crate) use self::store::CLOSING;
use self::{departure::Departure, metadata::Watch, story::Stories, waiting::Waiting};
use crate::{
    daemon::Shared,
    driver::{Answerer, Handed, Message},
    failpoint::{self, Boundary},
    journal::Origin,
    published::{Accounts, Snapshot},
};

/// Everything that effects need: the store, the secrets, and who waits for what.
pub(crate) struct Performer {
    daemon: Shared,
    store: Option<Store>,
    /// What stands on disk of each account, secrets and all.
    vault: BTreeMap<Account, Secrets>,
    /// Answers that the engine has not judged yet.
    answers: BTreeMap<AttemptId, Tokens>,
    /// What the record of a login begins with, of those whose exchange is under way.
    logging_in: BTreeMap<AttemptId, Secrets>,
    /// Answers on their way to the disk.
    committing: BTreeMap<AttemptId, Secrets>,
    /// The attempt of the newest answer of each login that is told to the store: under that it is
    /// told once more. Of an account, that of a login that is to replace it stands beside its own.
    unsaved: BTreeMap<(Account, GrantId), AttemptId>,
    waiting: Waiting,
    stories: Stories,
    watch: Watch,
    /// What readers are to see next.
    accounts: Accounts,
    changed: bool,
    departures: BTreeMap<Account, Departure>,
    revocations: BTreeMap<u64, PendingRevocation>,
    /// Questions whether a token is alive that the engine has no answer to yet.
    pub(crate) questions: usize,
    /// Those of the revocations at which the provider did not accept the client's credential.
    unproven: BTreeSet<u64>,
    stopping: bool,
}

impl Performer {
    pub(crate) fn new(daemon: Shared) -> Self {
        Self {
            daemon,
            store: None,
            vault: BTreeMap::new(),
            answers: BTreeMap::new(),
            logging_in: BTreeMap::new(),
            committing: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            waiting: Waiting::default(),
            stories: Stories::default(),
            watch: Watch::default(),
            accounts: Accounts::new(),
            changed: false,
            departures: BTreeMap::new(),
            revocations: BTreeMap::new(),
            questions: 0,
            unproven: BTreeSet::new(),
            stopping: false,
        }
    }

    /// Begins what the engine wants done.
    pub(crate) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Intend { exchange } => self.intend(exchange),
            Effect::Exchange(exchange) => self.exchange(exchange),
            Effect::Commit { attempt, grant } => self.commit(attempt, &grant),
            Effect::TakeOver {
                attempt,
                login,
                grant,
            } => self.take_over(attempt, login, &grant),
            Effect::Annul { account, attempt } => self.annul(&account, attempt),
            Effect::Keep { grant } => self.keep(&grant),
            Effect::Save { grant } => self.save(&grant),
            Effect::Publish { attempt, view } => self.show(attempt, view),
            Effect::Withdraw { account } => self.withdraw(account),
            Effect::Reply { ticket, result } => self.reply(ticket, result),
            Effect::Notify { account, notice } => self.notify(&account, &notice),
            Effect::CodeRefused { login } => self.daemon.logins.code_refused(&self.daemon, login),
            Effect::LoginEnded { login, result } => {
                self.daemon.logins.ended(&self.daemon, login, result)
            }
            Effect::Erase { account, revoke } => self.erase(account, revoke),
            Effect::Revoke { id } => self.revoke(id),
            Effect::Validate(check) => self.validate(check),
            Effect::Rediscover { account } => self.rediscover(account),
            Effect::Record(record) => {
                self.consider_looking(&record);
                self.write_down(record);
            }
            Effect::Note(note) => self.daemon.journal.noted(&note),
        }
    }

    /// The account is not there any more: who has its name later may be somebody else.
    fn withdraw(&mut self, account: Account) {
        self.accounts.remove(&account);
        self.changed = true;
        self.daemon.approvals.forget_of(&account);
        // What was approved while it was on its way out.
        let daemon = Arc::clone(&self.daemon);
        self.daemon.network.spawn(async move {
            daemon.approvals.end_of(&account, daemon.clock.now()).await;
        });
    }

    /// Lets readers see what changed.
    pub(crate) fn publish(&mut self) {
        // What is locked is not shown, though what is in flight is still finished.
        if std::mem::take(&mut self.changed) && !self.daemon.standing.load().is_locked_on_request()
        {
            self.daemon.published.store(self.accounts.clone());
        }
    }

    /// A client waits for the answer to this ticket. What is handled until [`asked`](Self::asked) ends
    /// it is its question.
    pub(crate) fn expect(
        &mut self,
        ticket: Ticket,
        account: &Account,
        origin: Origin,
        answerer: Answerer,
    ) {
        self.waiting.enter(ticket, account, origin, answerer);
    }

    /// Nobody who waits gets anything any more.
    pub(crate) fn turn_away(&mut self) {
        self.waiting = Waiting::default();
    }

    /// Readers see no account.
    pub(crate) fn show_nothing(&mut self) {
        self.changed = false;
        self.daemon.published.store(Accounts::new());
    }

    /// Nobody waits for it any more.
    pub(crate) fn unexpect(&mut self, ticket: Ticket) {
        self.waiting.leave(ticket);
    }

    /// The question at hand has been handled.
    pub(crate) fn asked(&mut self) {
        self.waiting.asked();
    }

    fn reply(&mut self, ticket: Ticket, result: Result<Served, Refusal>) {
        let Some(answerer) = self.waiting.leave(ticket) else {
            return;
        };
        let result = result.and_then(|served| {
            let snapshot = self.accounts.get(&served.account);
            let token =
                snapshot.and_then(|snapshot| snapshot.token(&served.key, served.fingerprint));
            let (snapshot, token) = snapshot.zip(token).ok_or(Refusal::UnknownAccount)?;
            Ok(Handed {
                snapshot: Arc::clone(snapshot),
                key: served.key,
                token: Arc::clone(token),
                ttl: served.ttl,
                low: served.low,
                renewed: served.renewed,
            })
        });
        // The client may be gone.
        let _ = answerer.send(result);
    }

    fn show(&mut self, attempt: Option<AttemptId>, view: View) {
        let account = view.grant.account.clone();
        if let Some(secrets) = attempt.and_then(|attempt| self.committing.remove(&attempt)) {
            self.vault.insert(account.clone(), secrets);
            self.unsaved
                .retain(|(of, id), _| *of != account || *id == view.grant.id);
        }
        let no_secrets = Secrets::default();
        let secrets = self.vault.get(&account).unwrap_or(&no_secrets);
        let before = self.accounts.get(&account);
        let snapshot = Arc::new(Snapshot::new(view, secrets, before.map(AsRef::as_ref)));
        self.tell_change(&snapshot, before.map(AsRef::as_ref), attempt);
        self.accounts.insert(account, snapshot);
        self.changed = true;
        if attempt.is_some() {
            self.publish();
            failpoint::reach(Boundary::Published);
        }
    }

    /// The flags as they now are, for the next start. Nothing waits for it.
    fn keep(&self, grant: &Arc<Grant>) {
        let Some((store, record)) = self.record(grant) else {
            return;
        };
        let account = grant.account.clone();
        store.save(record, move |result| {
            if let Err(error) = result {
                tracing::warn!(%account, %error, "flags are not on disk");
            }
        });
    }

    /// Once more what the database did not take.
    fn save(&self, grant: &Arc<Grant>) {
        let account = grant.account.clone();
        let mailbox = self.daemon.mailbox.clone();
        // Never under another login's attempt: the store would take the one for the other.
        let attempt = self.unsaved.get(&(account.clone(), grant.id)).copied();
        let Some(((store, record), attempt)) = self.record(grant).zip(attempt) else {
            return;
        };
        store.commit(record, attempt, move |result| {
            let result = match result {
                Ok(authd_store::CommitOutcome::Durable) => Ok(()),
                Ok(
                    authd_store::CommitOutcome::Spilled { reason }
                    | authd_store::CommitOutcome::MemoryOnly { reason },
                ) => Err(reason.to_string()),
                Err(error) => Err(error.to_string()),
            };
            mailbox.event(Event::Saved { account, result });
        });
    }

    fn record(&self, grant: &Arc<Grant>) -> Option<(&Store, Record)> {
        let store = self.store.as_ref()?;
        let secrets = self.vault.get(&grant.account)?.clone();
        Some((
            store,
            Record {
                grant: Grant::clone(grant),
                secrets,
            },
        ))
    }

    /// Nothing new starts.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.daemon.stopping.send_replace(true);
        self.tell_daemon("stopping");
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    fn outcome(
        result: Result<authd_store::CommitOutcome, authd_store::StoreError>,
    ) -> CommitOutcome {
        match result {
            Ok(authd_store::CommitOutcome::Durable) => CommitOutcome::Durable,
            Ok(authd_store::CommitOutcome::Spilled { reason }) => {
                CommitOutcome::Spilled(reason.to_string())
            }
            Ok(authd_store::CommitOutcome::MemoryOnly { reason }) => {
                CommitOutcome::MemoryOnly(reason.to_string())
            }
            Err(
                authd_store::StoreError::Superseded { .. } | authd_store::StoreError::NotHeld(_),
            ) => CommitOutcome::Superseded,
            Err(error) => CommitOutcome::MemoryOnly(error.to_string()),
        }
    }

    /// An attempt is over, however it ended: nothing of it stays in memory.
    pub(crate) fn conclude(&mut self, attempt: AttemptId) {
        self.answers.remove(&attempt);
        self.logging_in.remove(&attempt);
        if self.committing.remove(&attempt).is_some() {
            // It did not count.
            self.unsaved.retain(|_, unsaved| *unsaved != attempt);
        }
        self.stories.forget(attempt);
    }

    /// Whether the answer of this attempt is on its way to the disk.
    pub(crate) fn is_committing(&self, attempt: AttemptId) -> bool {
        self.committing.contains_key(&attempt)
    }

    fn send(&self, message: Message) {
        self.daemon.mailbox.send(message);
    }
}
