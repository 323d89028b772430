//! All accounts, behind one door: [`Broker::handle`] takes what happened and when,
//! [`Broker::poll_effect`] gives what is to be done, [`Broker::poll_timeout`] says when to come back.

mod effect;
mod event;
mod import;
mod login;
mod revocation;
mod turn;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;

pub use self::{
    effect::{
        Decided, Effect, Exchange, Next, Note, Notice, Record, Refusal, Served, Unavailable, View,
    },
    event::{
        Check, CommitOutcome, Demand, Event, Finding, LoginBegun, LoginFailure, LoginMethod, Means,
        Report,
    },
};
use self::{login::Login, revocation::Revocations};
use crate::{
    answer::Answer,
    grant::{Grant, Providers},
    id::{Account, AttemptId, Host, LoginId, Ticket},
    planted::{self, Bug},
    renewal::{Context, Renewal},
    schedule::{Health, Schedule, Turn},
    time::{Boot, BootId, Now},
};

/// A machine that did not sleep although it was about to, or never said that it woke, is taken for
/// awake after this.
const LONGEST_DOZE: Duration = Duration::from_secs(30);
/// By so many milliseconds the wall clock must move against the boot clock for that to be told.
const JUMP: i64 = 60_000;
/// From here on it was set, or corrected by as much.
const SET: i64 = 1000;

/// What the user can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A lease that nobody asked for in this long is no longer renewed for its own sake; the login
    /// alone is kept alive.
    pub idle_after: Duration,
    /// How often the provider is asked whether a token that clients use is still alive, where it can
    /// be asked; `None` is never.
    pub validate_every: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            idle_after: Duration::from_secs(12 * 3600),
            validate_every: Some(Duration::from_secs(300)),
        }
    }
}

/// Whose an attempt is.
#[derive(Clone, Debug)]
enum Owner {
    Account(Account),
    Login(LoginId),
}

/// All accounts, and the logins and revocations under way.
#[derive(Debug)]
pub struct Broker {
    config: Config,
    boot_id: BootId,
    rng: Rng,
    /// Each on its own: a tree leaves a third of its places empty, and these are large.
    accounts: BTreeMap<Account, Box<Renewal>>,
    providers: Providers,
    logins: BTreeMap<LoginId, Login>,
    revocations: Revocations,
    schedule: Schedule,
    attempts: BTreeMap<AttemptId, Owner>,
    tickets: BTreeMap<Ticket, Account>,
    /// When each account wants to be looked at, in both directions.
    wakes: BTreeSet<(Boot, Account)>,
    wake_of: BTreeMap<Account, Boot>,
    /// Accounts whose wish stands in the schedule.
    queued: BTreeSet<Account>,
    /// The machine is about to sleep; until when that is believed.
    suspended_until: Option<Boot>,
    shutting_down: bool,
    /// Both clocks at the latest event.
    latest: Option<Now>,
    effects: VecDeque<Effect>,
}

/// Builds the context in place, so that it borrows only what the accounts do not.
macro_rules! context {
    ($broker:expr, $now:expr) => {
        Context {
            now: $now,
            boot_id: $broker.boot_id,
            config: &$broker.config,
            rng: &mut $broker.rng,
            effects: &mut $broker.effects,
            providers: &mut $broker.providers,
            stopping: $broker.shutting_down,
            suspended: $broker.suspended_until.is_some(),
        }
    };
}
use context;

impl Broker {
    /// An empty broker. Everything it ever draws comes from `seed`; `boot_id` says which boot the
    /// times given to it belong to.
    #[must_use]
    pub fn new(config: Config, seed: u64, boot_id: BootId) -> Self {
        Self {
            config,
            boot_id,
            rng: Rng::with_seed(seed),
            accounts: BTreeMap::new(),
            providers: Providers::default(),
            logins: BTreeMap::new(),
            revocations: Revocations::default(),
            schedule: Schedule::default(),
            attempts: BTreeMap::new(),
            tickets: BTreeMap::new(),
            wakes: BTreeSet::new(),
            wake_of: BTreeMap::new(),
            queued: BTreeSet::new(),
            suspended_until: None,
            shutting_down: false,
            latest: None,
            effects: VecDeque::new(),
        }
    }

    /// Takes a new configuration; what is under way goes on.
    pub fn configure(&mut self, config: Config) {
        self.config = config;
    }

    /// What is to be done next, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if let Some(Effect::Reply { ticket, .. }) = &effect {
            self.tickets.remove(ticket);
        }
        effect
    }

    /// When to call [`Broker::handle`] with [`Event::Tick`] if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Boot> {
        let closed = self.is_closed();
        let accounts = self.wakes.first().map(|(at, _)| *at);
        let logins = self.logins.values();
        let logins = logins.filter_map(|login| login.wakes_at(closed)).min();
        let schedule = self.schedule.wakes_at().filter(|_| !closed);
        let revocations = self.revocations.wakes_at().filter(|_| !closed);
        [
            accounts,
            logins,
            schedule,
            revocations,
            self.suspended_until,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How many clients wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.accounts
            .values()
            .map(|renewal| renewal.waiting())
            .sum()
    }

    /// How many exchanges are under way: at shutdown, those that must be waited for.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.attempts.len()
    }

    /// How many accounts' latest answers are not in the database yet: at shutdown, those that are
    /// worth another try.
    #[must_use]
    pub fn unsaved(&self) -> usize {
        let accounts = self.accounts.values();
        accounts.filter(|renewal| renewal.is_unsaved()).count()
    }

    /// The account's grant.
    #[must_use]
    pub fn grant(&self, account: &Account) -> Option<&Arc<Grant>> {
        self.accounts.get(account).map(|renewal| renewal.grant())
    }

    /// Whether nothing new may leave.
    fn is_closed(&self) -> bool {
        self.suspended_until.is_some() || self.shutting_down
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, event: Event, now: Now) {
        self.look_at_the_calendar(now);
        if self.suspended_until.is_some_and(|until| until <= now.boot) {
            self.resumed(now);
        }
        self.dispatch(event, now);
        self.look_at_the_due(now);
        self.admit(now);
    }

    /// A calendar that was set counts what is left of every token anew: the moments that were planned
    /// by it are no more.
    fn look_at_the_calendar(&mut self, now: Now) {
        let Some(before) = self.latest.replace(now) else {
            return;
        };
        let shown = now.wall.0.saturating_sub(before.wall.0);
        let passed = i64::try_from(now.boot.0.saturating_sub(before.boot.0)).unwrap_or(i64::MAX);
        let jump = shown.saturating_sub(passed);
        assert!(
            !planted::is(Bug::WallJumpPanics) || jump.saturating_abs() < 1_000 * JUMP,
            "the calendar is wrong"
        );
        if jump.saturating_abs() >= JUMP {
            self.note(Note::ClockJumped(jump));
        }
        if jump.saturating_abs() >= SET {
            self.attend_all(now);
        }
    }

    fn note(&mut self, note: Note) {
        self.effects.push_back(Effect::Note(note));
    }

    fn dispatch(&mut self, event: Event, now: Now) {
        match event {
            Event::Tick => {}
            Event::Loaded {
                grant,
                interrupted,
                stale,
            } => {
                let account = grant.account.clone();
                if self.accounts.contains_key(&account) {
                    // A login was faster; what the store gives is older than what is here.
                    return;
                }
                let mut grant = *grant;
                grant.provider = self.providers.share(grant.provider);
                let renewal = Renewal::load(grant, interrupted, stale, &mut context!(self, now));
                self.accounts.insert(account.clone(), Box::new(renewal));
                self.attend(&account, now);
            }
            Event::Demand(demand) => self.ask(demand, now, Renewal::demand),
            Event::Renew(demand) => self.ask(demand, now, Renewal::renew),
            Event::Reject { report, demand } => {
                self.ask(demand, now, |renewal, demand, cx| {
                    renewal.reject(report, demand, cx);
                });
            }
            Event::Validated { check, finding } => {
                self.with(&check.account, now, |renewal, cx| {
                    renewal.validated(&check, finding, cx);
                });
            }
            Event::Gone { ticket } => {
                if let Some(account) = self.tickets.remove(&ticket) {
                    self.with(&account, now, |renewal, _| {
                        renewal.gone(ticket);
                    });
                }
            }
            Event::Used { account, key } => {
                self.with(&account, now, |renewal, cx| renewal.used(&key, cx.now.boot));
            }
            Event::Intended { attempt, result } => {
                if let Some(Owner::Account(account)) = self.attempts.get(&attempt).cloned() {
                    let health =
                        self.with(&account, now, |renewal, cx| renewal.intended(result, cx));
                    self.conclude(attempt, &account, health.flatten(), now);
                }
            }
            Event::Answered { attempt, answer } => self.answered(attempt, &answer, now),
            Event::Committed { attempt, outcome } => self.committed(attempt, outcome, now),
            Event::Rediscovered { account, endpoints } => {
                self.with(&account, now, |renewal, cx| {
                    renewal.rediscovered(endpoints, cx);
                });
            }
            Event::MetadataSeen {
                account,
                found,
                asked,
            } => {
                self.with(&account, now, |renewal, cx| {
                    renewal.metadata_seen(found, asked, cx);
                });
            }
            Event::Saved { account, result } => {
                self.with(&account, now, |renewal, cx| renewal.saved(result, cx));
            }
            Event::Adopt { account } => {
                self.with(&account, now, |renewal, cx| renewal.adopt(cx));
            }
            Event::Leave { account, revoke } => {
                self.cancel_logins(&account);
                self.with(&account, now, |renewal, _| renewal.leave(revoke));
                self.let_go(&account, now);
            }
            Event::LoginBegun(begun) => self.login_begun(*begun, now),
            Event::CodeReceived { login } => self.code_received(login, false, now),
            Event::CodeTyped { login } => self.code_received(login, true, now),
            Event::LoginCancelled { login, reason } => self.cancel_login(login, reason),
            Event::RevocationOwed { id } => self.revocations.owe(id, now.boot),
            Event::RevocationTried { id, settled } => {
                self.revocations.tried(id, settled, now.boot, &mut self.rng);
            }
            Event::Suspending => {
                self.note(Note::Suspending);
                self.suspended_until = Some(now.boot.after(LONGEST_DOZE));
            }
            Event::Resumed => self.resumed(now),
            Event::NetworkUp => {
                self.note(Note::NetworkUp);
                self.schedule.probe(now.boot);
                self.revocations.hasten(now.boot);
                for account in self.accounts.keys().cloned().collect::<Vec<_>>() {
                    self.with(&account, now, |renewal, _| renewal.network_up());
                }
            }
            Event::ShuttingDown => self.shut_down(now),
        }
    }

    /// The machine is awake: what time did meanwhile is seen now.
    fn resumed(&mut self, now: Now) {
        self.suspended_until = None;
        self.note(Note::Resumed);
        if planted::is(Bug::WakeWaits) {
            self.suspended_until = Some(now.boot.after(20 * LONGEST_DOZE));
            return;
        }
        self.schedule.probe(now.boot);
        for account in self.accounts.keys().cloned().collect::<Vec<_>>() {
            self.with(&account, now, |renewal, _| renewal.resumed());
        }
    }

    fn attend_all(&mut self, now: Now) {
        for account in self.accounts.keys().cloned().collect::<Vec<_>>() {
            self.attend(&account, now);
        }
    }

    /// Runs `step` on the account, and afterwards sees to what follows from it.
    fn with<R>(
        &mut self,
        account: &Account,
        now: Now,
        step: impl FnOnce(&mut Renewal, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let renewal = self.accounts.get_mut(account)?;
        let result = step(renewal, &mut context!(self, now));
        self.attend(account, now);
        Some(result)
    }

    fn ask(
        &mut self,
        demand: Demand,
        now: Now,
        step: impl FnOnce(&mut Renewal, Demand, &mut Context<'_>),
    ) {
        let (ticket, account) = (demand.ticket, demand.account.clone());
        if self.accounts.contains_key(&account) {
            self.tickets.insert(ticket, account.clone());
            self.with(&account, now, |renewal, cx| step(renewal, demand, cx));
        } else {
            let result = Err(Refusal::UnknownAccount);
            self.effects.push_back(Effect::Reply { ticket, result });
        }
    }

    fn answered(&mut self, attempt: AttemptId, answer: &Answer, now: Now) {
        match self.attempts.get(&attempt).cloned() {
            Some(Owner::Account(account)) => {
                let health = self
                    .with(&account, now, |renewal, cx| renewal.answered(answer, cx))
                    .flatten();
                if let Some(health) = health {
                    self.ended(&account, health, now);
                    #[cfg(feature = "planted")]
                    self.leak(&account, health, now);
                }
                self.settle(attempt, &account, now);
            }
            Some(Owner::Login(login)) => self.login_answered(login, attempt, answer, now),
            None => {}
        }
    }

    fn committed(&mut self, attempt: AttemptId, outcome: CommitOutcome, now: Now) {
        match self.attempts.get(&attempt).cloned() {
            Some(Owner::Account(account)) => {
                self.with(&account, now, |renewal, cx| renewal.committed(outcome, cx));
                self.settle(attempt, &account, now);
            }
            Some(Owner::Login(login)) => self.login_committed(login, attempt, outcome, now),
            None => {}
        }
    }

    fn conclude(
        &mut self,
        attempt: AttemptId,
        account: &Account,
        health: Option<Health>,
        now: Now,
    ) {
        if let Some(health) = health {
            self.ended(account, health, now);
            self.settle(attempt, account, now);
        }
    }

    /// Planted mistakes: what one account met is taken for every other's.
    #[cfg(feature = "planted")]
    fn leak(&mut self, account: &Account, health: Health, now: Now) {
        if !planted::is(Bug::ThrottleLeaks) && !planted::is(Bug::OneFailureDelaysOthers) {
            return;
        }
        let Some(grant) = self.grant(account).cloned() else {
            return;
        };
        for other in self.accounts.keys().cloned().collect::<Vec<_>>() {
            if other != *account {
                let failed = health == Health::Failed;
                self.with(&other, now, |renewal, _| renewal.leak(&grant, failed, now));
            }
        }
    }

    /// An exchange told something about its host.
    fn ended(&mut self, account: &Account, health: Health, now: Now) {
        let host = self.host(account);
        match self.schedule.ended(&host, account, health, now.boot) {
            Some(Turn::Down) => self.note(Note::HostDown(host)),
            Some(Turn::Up) => self.note(Note::HostUp(host)),
            None => {}
        }
    }

    /// Forgets the attempt once its account no longer has it, and lets a leaving account go.
    fn settle(&mut self, attempt: AttemptId, account: &Account, now: Now) {
        let goes_on = self
            .accounts
            .get(account)
            .and_then(|renewal| renewal.attempt())
            .is_some_and(|current| current.id == attempt);
        if !goes_on {
            self.attempts.remove(&attempt);
        }
        self.let_go(account, now);
    }

    fn host(&self, account: &Account) -> Host {
        self.accounts.get(account).map_or_else(
            || Host("".into()),
            |renewal| renewal.grant().provider.host(),
        )
    }

    /// A leaving account goes once nothing of it is in flight.
    fn let_go(&mut self, account: &Account, now: Now) {
        let renewal = self.accounts.get(account);
        if !renewal.is_some_and(|renewal| renewal.may_leave()) {
            return;
        }
        self.dequeue(account);
        let Some(mut renewal) = self.accounts.remove(account) else {
            return;
        };
        let revoke = renewal.leaving().is_some_and(|leaving| leaving.revoke);
        renewal.dismiss(&Refusal::UnknownAccount, &mut context!(self, now));
        if let Some(at) = self.wake_of.remove(account) {
            self.wakes.remove(&(at, account.clone()));
        }
        self.effects.push_back(Effect::Withdraw {
            account: account.clone(),
        });
        self.effects.push_back(Effect::Erase {
            account: account.clone(),
            revoke,
        });
    }

    /// Nothing new starts; who waits for something that is in flight still gets it.
    fn shut_down(&mut self, now: Now) {
        self.shutting_down = true;
        for account in self.accounts.keys().cloned().collect::<Vec<_>>() {
            self.dequeue(&account);
            self.with(&account, now, |renewal, cx| {
                if renewal.is_resting() {
                    let why = Unavailable::ShuttingDown;
                    renewal.dismiss(
                        &Refusal::Unavailable {
                            why,
                            retry_after: None,
                        },
                        cx,
                    );
                }
            });
        }
        let waiting = self.logins.iter().filter(|(_, login)| login.is_waiting());
        for login in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_login(login, Err(LoginFailure::ShuttingDown));
        }
    }
}

#[cfg(test)]
mod tests;
