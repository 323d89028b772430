//! The only place where an [`Effect`] becomes I/O.

mod departure;
mod exchange;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authd_core::{
    broker::{
        CommitOutcome, Decided, Effect, Event, Notice, Record as Decision, Refusal, Served, View,
    },
    flag::{Ambiguity, StaleStore},
    grant::Grant,
    id::{Account, AttemptId, Ticket},
};
use authd_oauth::Tokens;
use authd_proto::{event::EventKind, response::State};
use authd_store::{Loaded, Machine, PendingRevocation, Record, Secrets, Store};

use self::departure::Departure;
pub(crate) use self::exchange::Material;
use crate::{
    daemon::{Shared, Standing},
    driver::{Answerer, Handed, Message},
    failpoint::{self, Boundary},
    handler::account,
    notify,
    open::{self, Opening},
    published::{Accounts, Snapshot},
};

/// How long after a failure to open the store it is tried again.
const BETWEEN_OPENINGS: Duration = Duration::from_secs(15);

/// Everything that effects need: the store, the secrets, and who waits for what.
pub(crate) struct Performer {
    daemon: Shared,
    store: Option<Store>,
    /// What stands on disk of each account, secrets and all.
    vault: BTreeMap<Account, Secrets>,
    /// Answers that the engine has not judged yet.
    answers: BTreeMap<AttemptId, Tokens>,
    /// Answers on their way to the disk.
    committing: BTreeMap<AttemptId, Secrets>,
    /// The attempt whose answer the database did not take.
    unsaved: BTreeMap<Account, AttemptId>,
    answerers: HashMap<Ticket, Answerer>,
    /// The trace that each exchange under way belongs to.
    traces: BTreeMap<AttemptId, String>,
    /// The trace of the request being handled.
    cause: Option<String>,
    /// What readers are to see next.
    accounts: Accounts,
    changed: bool,
    departures: BTreeMap<Account, Departure>,
    revocations: BTreeMap<u64, PendingRevocation>,
    stopping: bool,
}

impl Performer {
    pub(crate) fn new(daemon: Shared) -> Self {
        Self {
            daemon,
            store: None,
            vault: BTreeMap::new(),
            answers: BTreeMap::new(),
            committing: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            answerers: HashMap::new(),
            traces: BTreeMap::new(),
            cause: None,
            accounts: Accounts::new(),
            changed: false,
            departures: BTreeMap::new(),
            revocations: BTreeMap::new(),
            stopping: false,
        }
    }

    /// Begins what the engine wants done.
    pub(crate) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Intend { exchange } => self.intend(exchange),
            Effect::Exchange(exchange) => self.exchange(exchange),
            Effect::Commit { attempt, grant } => self.commit(attempt, &grant),
            Effect::Annul { account, attempt } => self.annul(&account, attempt),
            Effect::Keep { grant } => self.keep(&grant),
            Effect::Save { grant } => self.save(&grant),
            Effect::Publish { attempt, view } => self.show(attempt, view),
            Effect::Withdraw { account } => {
                self.accounts.remove(&account);
                self.changed = true;
            }
            Effect::Reply { ticket, result } => self.reply(ticket, result),
            Effect::Notify { account, notice } => self.notify(&account, &notice),
            Effect::LoginEnded { login, result } => {
                self.daemon.logins.ended(&self.daemon, login, result)
            }
            Effect::Erase { account, revoke } => self.erase(account, revoke),
            Effect::Revoke { id } => self.revoke(id),
            Effect::Record(record) => self.write_down(record),
        }
    }

    /// Lets readers see what changed.
    pub(crate) fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.daemon.published.store(self.accounts.clone());
        }
    }

    /// A client waits for the answer to this ticket.
    pub(crate) fn expect(&mut self, ticket: Ticket, answerer: Answerer) {
        self.answerers.insert(ticket, answerer);
    }

    /// What is handled from now on belongs to this trace.
    pub(crate) fn cause(&mut self, trace_id: Option<String>) {
        self.cause = trace_id;
    }

    /// Every event of one exchange has one trace id: that of the request that caused it, or one made
    /// here.
    fn write_down(&mut self, record: Decision) {
        let trace_id = record.attempt.map(|attempt| {
            let cause = &self.cause;
            let made = || cause.clone().unwrap_or_else(trace_id);
            self.traces.entry(attempt).or_insert_with(made).clone()
        });
        if let (Some(attempt), Decided::Judged(_) | Decided::Discarded) =
            (record.attempt, &record.what)
        {
            self.traces.remove(&attempt);
        }
        self.daemon.journal.decided(record, trace_id);
    }

    fn reply(&mut self, ticket: Ticket, result: Result<Served, Refusal>) {
        let Some(answerer) = self.answerers.remove(&ticket) else {
            return;
        };
        let result = result.and_then(|served| {
            let token = self
                .accounts
                .get(&served.account)
                .and_then(|snapshot| snapshot.token(&served.key))
                .filter(|token| token.fingerprint() == served.fingerprint)
                .ok_or(Refusal::UnknownAccount)?;
            Ok(Handed {
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
        }
        let no_secrets = Secrets::default();
        let secrets = self.vault.get(&account).unwrap_or(&no_secrets);
        let before = self.accounts.get(&account);
        let snapshot = Arc::new(Snapshot::new(view, secrets, before.map(AsRef::as_ref)));
        let trace_id = attempt.and_then(|attempt| self.traces.remove(&attempt));
        self.tell_change(&snapshot, before.map(AsRef::as_ref), attempt, trace_id);
        self.accounts.insert(account, snapshot);
        self.changed = true;
        if attempt.is_some() {
            self.publish();
            failpoint::reach(Boundary::Published);
        }
    }

    /// Subscribers hear of a new token, and of a state or flags that changed.
    fn tell_change(
        &self,
        snapshot: &Arc<Snapshot>,
        before: Option<&Snapshot>,
        attempt: Option<AttemptId>,
        trace_id: Option<String>,
    ) {
        let grant = &snapshot.view.grant;
        if let Some(attempt) = attempt {
            if grant.renewals > 0 {
                self.daemon.figures.renewals.fetch_add(1, Ordering::Relaxed);
            }
            let newest = grant
                .leases
                .iter()
                .find(|(_, lease)| lease.generation == grant.generation);
            self.daemon.journal.add(EventKind::Token, |event| {
                event.account = Some(grant.account.to_string());
                event.generation = Some(grant.generation.0);
                event.attempt_id = Some(attempt.to_string());
                event.trace_id = trace_id;
                if let Some((key, lease)) = newest {
                    event.resource.clone_from(&key.resource);
                    event.fingerprint = Some(lease.fingerprint.to_string());
                    event.expires_at = lease
                        .expires_at()
                        .map(|at| u64::try_from(at.unix_secs()).unwrap_or(0));
                }
            });
        }
        let unchanged = before.is_some_and(|before| {
            before.view.grant.flags == grant.flags
                && before.view.refreshing == snapshot.view.refreshing
        });
        if !unchanged {
            let info = account::info(&self.daemon, snapshot, crate::clock::now());
            let state: State = info.state;
            self.daemon.journal.add(EventKind::State, |event| {
                event.account = Some(info.account);
                event.issuer = Some(info.issuer);
                event.state = Some(state);
                event.flags = Some(info.flags.iter().map(|flag| flag.flag).collect());
                event.generation = Some(info.generation);
                event.expires_at = info.expires_at;
            });
        }
    }

    fn notify(&self, account: &Account, notice: &Notice) {
        let message = notify::message(account, notice);
        tracing::warn!(%account, kind = message.kind, "{}", message.text);
        notify::tell(&self.daemon.config.load().notify, account, &message);
        if let Notice::LoginNeeded(_) = notice {
            self.daemon.journal.add(EventKind::LoginNeeded, |event| {
                event.account = Some(account.to_string());
                event.outcome = Some("told".to_owned());
                event.hint = Some(format!("run 'authctl login {account}'"));
                event.message = Some(message.text);
            });
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
        let attempt = self.unsaved.get(&account).copied();
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

    /// The store was opened, or is to be tried again.
    pub(crate) fn opened(&mut self, opening: Opening) -> Vec<Event> {
        self.daemon.opened.notify_one();
        match opening {
            Opening::Open {
                store,
                loaded,
                protection,
                note,
            } => {
                self.store = Some(store);
                let mut standing = open::describe(protection, note, &self.daemon.place);
                standing.store.detail = tell_found(&loaded);
                self.daemon.fingerprints.key(loaded.instance_id);
                let events = self.load(*loaded);
                self.daemon.standing.store(Arc::new(standing));
                events
            }
            Opening::Shut(standing) => {
                self.shut(standing);
                Vec::new()
            }
        }
    }

    fn shut(&self, standing: Standing) {
        tracing::warn!(detail = standing.store.detail, "the store is not open");
        self.daemon.standing.store(Arc::new(standing));
        if !self.stopping {
            let config = self.daemon.config.load();
            open::begin(
                &self.daemon.place,
                &config.key,
                &self.daemon.mailbox,
                BETWEEN_OPENINGS,
            );
        }
    }

    fn load(&mut self, loaded: Loaded) -> Vec<Event> {
        let mut events = Vec::new();
        for Record { grant, secrets } in loaded.records {
            let account = grant.account.clone();
            let interrupted = loaded
                .intents
                .iter()
                .any(|intent| intent.account == account && intent.grant == grant.id)
                .then_some(Ambiguity::Interrupted);
            let stale = if loaded.stale.contains(&account) {
                Some(StaleStore::OlderGeneration)
            } else {
                (loaded.machine == Machine::Other).then_some(StaleStore::OtherMachine)
            };
            self.vault.insert(account, secrets);
            events.push(Event::Loaded {
                grant: Box::new(grant),
                interrupted,
                stale,
            });
        }
        for owed in loaded.revocations {
            events.push(Event::RevocationOwed { id: owed.id });
            self.revocations.insert(owed.id, owed);
        }
        events
    }

    /// The user trusts these accounts' store.
    pub(crate) fn adopt(&mut self, account: Option<Account>) -> Vec<Account> {
        let stale: Vec<_> = self
            .accounts
            .values()
            .filter(|snapshot| snapshot.view.grant.flags.stale_store.is_some())
            .map(|snapshot| snapshot.view.grant.account.clone())
            .filter(|stale| account.as_ref().is_none_or(|account| account == stale))
            .collect();
        for account in &stale {
            let Some(snapshot) = self.accounts.get(account) else {
                continue;
            };
            let mut grant = Grant::clone(&snapshot.view.grant);
            grant.flags.stale_store = None;
            let Some((store, record)) = self.record(&Arc::new(grant)) else {
                continue;
            };
            let account = account.clone();
            store.adopt(record, move |result| {
                if let Err(error) = result {
                    tracing::error!(%account, %error, "the adoption is not on disk");
                }
            });
        }
        let rest = self
            .accounts
            .values()
            .filter(|snapshot| snapshot.view.grant.flags.stale_store.is_some())
            .count();
        if rest == stale.len()
            && let Some(store) = &self.store
        {
            store.adopt_machine(|result| {
                if let Err(error) = result {
                    tracing::error!(%error, "the machine is not on disk");
                }
            });
        }
        stale
    }

    /// Nothing new starts.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.daemon.stopping.send_replace(true);
        self.daemon.journal.add(EventKind::Daemon, |event| {
            event.outcome = Some("stopping".to_owned());
        });
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Whether the store is closed and nothing is left to do.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopping && self.store.is_none()
    }

    /// Writes what is still owed and closes the store. Blocks: nothing else runs any more.
    pub(crate) fn close_store(&mut self) {
        let Some(store) = self.store.take() else {
            return;
        };
        let (told, hear) = std::sync::mpsc::channel();
        store.flush(move |flushed| {
            // The receiver waits below.
            let _ = told.send(flushed);
        });
        match hear.recv_timeout(CLOSING) {
            Ok(Ok(flushed)) => {
                for account in flushed.memory_only {
                    tracing::error!(%account, "the newest token could not be written and is lost");
                }
                for account in flushed.spilled {
                    tracing::warn!(%account, "the newest token is in a spill file until the next start");
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "the store could not be written"),
            Err(_) => tracing::error!("the store does not answer"),
        }
        let (told, hear) = std::sync::mpsc::channel();
        store.close(move |closed| {
            // The receiver waits below.
            let _ = told.send(closed);
        });
        match hear.recv_timeout(CLOSING) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the store was not closed cleanly"),
            Err(_) => tracing::warn!("the store was still busy"),
        }
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

    fn send(&self, message: Message) {
        self.daemon.mailbox.send(message);
    }
}

/// A trace id of ours (W3C Trace Context §3.2.2.3).
fn trace_id() -> String {
    let mut bytes = [0; 16];
    // Without randomness every trace has the same name; nothing but the story suffers.
    let _ = getrandom::fill(&mut bytes);
    format!("{:032x}", u128::from_le_bytes(bytes).max(1))
}

/// Longest that closing the store may take.
const CLOSING: Duration = Duration::from_secs(10);

/// What was not as it should be, for `status` and the log.
fn tell_found(loaded: &Loaded) -> Option<String> {
    let mut told = Vec::new();
    if loaded.rebuilt_from_mirrors {
        told.push("the database was damaged and rebuilt from its mirrors".to_owned());
    }
    for account in &loaded.taken_from_spill {
        told.push(format!(
            "{account}: the newest token was taken from a spill file"
        ));
    }
    for damaged in &loaded.set_aside {
        told.push(format!(
            "{} is damaged; kept at {}",
            damaged.what,
            damaged.kept_at.display()
        ));
    }
    told.iter().for_each(|what| tracing::warn!("{what}"));
    (!told.is_empty()).then(|| told.join("; "))
}
