//! One account's renewal: a pure machine.
//!
//! Its phases are those of one exchange, each named for what it awaits. Beside them stand
//! the flags of [`crate::flag`] and the clients that wait.

mod backoff;
pub mod classify;
mod demand;
mod drift;
mod exchange;
mod keeping;
pub mod lifetime;
mod moving;
mod refusal;
mod report;
mod timing;
mod validation;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use fastrand::Rng;

pub use self::classify::Verdict;
use self::{
    backoff::Backoff,
    demand::Waiter,
    keeping::Unsaved,
    refusal::{Bar, Loss},
    report::Reports,
    validation::Validation,
};
pub(crate) use self::{
    exchange::new_lease,
    refusal::{last_error, retry_after},
};
use crate::{
    broker::{Config, Decided, Effect, Next, Record, View},
    flag::{Ambiguity, Raised, StaleStore},
    grant::{Grant, Providers},
    id::{AttemptId, Generation},
    lease::LeaseKey,
    map::SmallMap,
    planted::{self, Bug},
    schedule::Health,
    seldom::Seldom,
    time::{Boot, BootId, Now, Stamp},
};

/// Why an exchange is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The renew point has come.
    Due,
    /// A client needs more than is left.
    Demanded,
    /// A client reported the token as refused.
    Reported,
    /// The provider says that the token is dead.
    Inactive,
    /// A person asked for it.
    Asked,
    /// The login is kept alive although nobody uses it.
    KeepAlive,
    /// An answer was lost; this finds out where the provider stands.
    Settling,
    /// `invalid_grant` is being confirmed.
    Confirming,
    /// A refresh token was taken over from something else, and has not been exchanged here yet.
    TakenOver,
}

/// What every step needs besides the account itself.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) boot_id: BootId,
    pub(crate) config: &'a Config,
    pub(crate) rng: &'a mut Rng,
    pub(crate) effects: &'a mut VecDeque<Effect>,
    pub(crate) providers: &'a mut Providers,
    /// The daemon stops: nothing new is planned.
    pub(crate) stopping: bool,
    /// The machine is about to sleep: nothing leaves, but plans stand.
    pub(crate) suspended: bool,
}

/// One attempt to exchange.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) key: LeaseKey,
    pub(crate) cause: Cause,
    pub(crate) generation: Generation,
}

/// Where an exchange stands. Nearly always there is none, so what one needs is held apart.
#[derive(Debug)]
enum Phase {
    /// None is under way.
    Resting,
    /// The intent is on its way to the disk.
    AwaitingIntended(Box<Attempt>),
    /// The request is out.
    AwaitingAnswer(Box<Attempt>),
    /// The answer is on its way to the disk.
    AwaitingCommitted {
        attempt: Box<Attempt>,
        next: Arc<Grant>,
        request_id: Option<String>,
    },
}

/// How the account is to be left once nothing is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) revoke: bool,
}

/// One account.
#[derive(Debug)]
pub(crate) struct Renewal {
    grant: Arc<Grant>,
    phase: Phase,
    waiters: Vec<Waiter>,
    backoff: Backoff,
    /// When the latest exchange of each lease started: of several that are due, the one that waited
    /// longest goes first, so that one that always fails starves no other.
    started: SmallMap<LeaseKey, Boot>,
    /// When the latest of any started: the least distance counts from there.
    latest_start: Option<Boot>,
    /// When each lease was last handed out.
    used: SmallMap<LeaseKey, Boot>,
    /// What came of reports of refused tokens.
    reports: Seldom<Reports>,
    /// What came of asking the provider about tokens.
    validation: Validation,
    /// When the token endpoint was last found at another path.
    moved: Option<Boot>,
    /// Refusals in no known form, in a row.
    unintelligible: u32,
    /// Leases whose exchange alone is held back.
    bars: SmallMap<LeaseKey, Bar>,
    /// The latest lead at which a provider that refuses early refreshes did not refuse.
    learned_leads: SmallMap<LeaseKey, Duration>,
    /// When `invalid_grant` is to be confirmed.
    confirm_at: Option<Boot>,
    /// What is known of a lost answer, beside its flag.
    loss: Loss,
    /// The latest answer is not in the database yet.
    unsaved: Option<Unsaved>,
    leaving: Option<Leaving>,
    /// What readers see.
    shown: Option<View>,
}

impl Renewal {
    pub(crate) fn new(grant: Arc<Grant>, now: Now) -> Self {
        let used = grant
            .leases
            .keys()
            .map(|key| (key.clone(), now.boot))
            .collect();
        Self {
            grant,
            phase: Phase::Resting,
            waiters: Vec::new(),
            backoff: Backoff::default(),
            started: SmallMap::new(),
            latest_start: None,
            used,
            reports: Seldom::default(),
            validation: Validation::default(),
            moved: None,
            unintelligible: 0,
            bars: SmallMap::new(),
            learned_leads: SmallMap::new(),
            confirm_at: None,
            loss: Loss::default(),
            unsaved: None,
            leaving: None,
            shown: None,
        }
    }

    /// The account as the store gave it at start.
    pub(crate) fn load(
        grant: Grant,
        interrupted: Option<Stamp>,
        stale: Option<StaleStore>,
        cx: &mut Context<'_>,
    ) -> Self {
        let mut renewal = Self::new(Arc::new(grant), cx.now);
        if renewal.grant.flags.suspect.is_some() {
            renewal.plan_confirmation(cx);
        }
        if let Some(reason) = stale.filter(|_| !planted::is(Bug::RestoredStoreExchanges)) {
            let since = cx.now.wall;
            renewal.grant_mut().flags.stale_store = Some(Raised { reason, since });
        }
        // Where nothing is spent, nothing is lost: it is asked again.
        let interrupted = interrupted.filter(|_| renewal.grant.renewed_by.needs_refresh_token());
        if let Some(written) = interrupted.filter(|_| !planted::is(Bug::InterruptedForgotten)) {
            // A leeway counts from there. Where it is not known how long ago that was, it is over.
            let age = written.age(cx.now, cx.boot_id);
            let sent = age.and_then(|age| cx.now.boot.before(age));
            renewal.raise_ambiguous(Ambiguity::Interrupted, sent, cx);
            renewal.record(Decided::Interrupted, None, cx);
        }
        renewal
    }

    pub(crate) fn grant(&self) -> &Arc<Grant> {
        &self.grant
    }

    fn grant_mut(&mut self) -> &mut Grant {
        Arc::make_mut(&mut self.grant)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting)
    }

    /// The attempt under way.
    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        match &self.phase {
            Phase::Resting => None,
            Phase::AwaitingIntended(attempt)
            | Phase::AwaitingAnswer(attempt)
            | Phase::AwaitingCommitted { attempt, .. } => Some(attempt),
        }
    }

    pub(crate) fn leaving(&self) -> Option<Leaving> {
        self.leaving
    }

    pub(crate) fn leave(&mut self, revoke: bool) {
        self.leaving = Some(Leaving { revoke });
    }

    pub(crate) fn used(&mut self, key: &LeaseKey, now: Boot) {
        self.used.insert(key.clone(), now);
        self.validation.used(key, now);
    }

    pub(crate) fn adopt(&mut self, cx: &mut Context<'_>) {
        if self.grant.flags.stale_store.is_some() {
            self.grant_mut().flags.stale_store = None;
            self.record(Decided::Adopted, None, cx);
            self.keep(cx);
        }
    }

    /// The machine is awake, perhaps elsewhere: what was drawn before it slept says nothing any more.
    pub(crate) fn resumed(&mut self) {
        self.backoff.forgive();
    }

    /// The network came back: what was put off for its sake need not wait longer.
    pub(crate) fn network_up(&mut self) {
        if self.is_doubtful() {
            // It may have been the network that refused.
            self.backoff.reset();
        } else {
            self.backoff.forgive();
        }
    }

    /// A login took this grant's place: the waiters go over to the new one.
    pub(crate) fn replaced_by(mut self, grant: Arc<Grant>, cx: &mut Context<'_>) -> Self {
        let waiters = std::mem::take(&mut self.waiters);
        let mut renewal = Self::new(grant, cx.now);
        renewal.waiters = waiters;
        for waiter in &mut renewal.waiters {
            waiter.newer_than = None;
            waiter.asked_in = Generation::default();
        }
        renewal
    }

    /// The account as readers are to see it.
    fn view(&self, cx: &Context<'_>) -> View {
        View {
            grant: Arc::clone(&self.grant),
            refreshing: self.attempt().map(|attempt| attempt.key.clone().into()),
            next_renewal: self.next_exchange(cx).map(|(at, _)| at.max(cx.now.boot)),
        }
    }

    /// What came and went takes no memory.
    fn tidy(&mut self) {
        self.reports.tidy();
        if self.grant.flags.is_untidy() {
            self.grant_mut().flags.tidy();
        }
    }

    /// Shows readers the account with the secrets that `attempt` brought.
    pub(crate) fn publish(&mut self, attempt: AttemptId, cx: &mut Context<'_>) {
        self.tidy();
        let view = self.view(cx);
        self.shown = Some(view.clone());
        let attempt = Some(attempt);
        cx.effects.push_back(Effect::Publish { attempt, view });
    }

    /// Shows readers the account as it now is, if that is news to them.
    pub(crate) fn show(&mut self, cx: &mut Context<'_>) {
        self.tidy();
        let view = self.view(cx);
        let is_news = self
            .shown
            .as_ref()
            .is_none_or(|shown| differ(shown, &view, cx.now.boot));
        if is_news {
            self.shown = Some(view.clone());
            let attempt = None;
            cx.effects.push_back(Effect::Publish { attempt, view });
        }
    }

    /// Writes down what was decided about the attempt under way, or about none.
    fn record(&self, what: Decided, words: Option<String>, cx: &mut Context<'_>) {
        let attempt = self.attempt().map(|attempt| attempt.id);
        self.record_of(attempt, None, what, words, cx);
    }

    /// Writes down what was decided, and what comes next as things now stand.
    pub(crate) fn record_of(
        &self,
        attempt: Option<AttemptId>,
        request_id: Option<String>,
        what: Decided,
        words: Option<String>,
        cx: &mut Context<'_>,
    ) {
        let judged = matches!(what, Decided::Judged(_));
        let attempt = attempt.filter(|_| !(judged && planted::is(Bug::RecordWithoutAttempt)));
        let next = self.next_exchange(cx).map(|(at, plan)| Next {
            within: at.since(cx.now.boot),
            cause: plan.cause,
        });
        cx.effects.push_back(Effect::Record(Record {
            account: self.grant.account.clone(),
            grant: self.grant.id,
            generation: self.grant.generation,
            attempt,
            request_id,
            what,
            words,
            next,
        }));
    }

    /// A planted mistake: what another account met is taken for this one's.
    #[cfg(feature = "planted")]
    pub(crate) fn leak(&mut self, other: &Grant, failed: bool, now: Now) {
        if planted::is(Bug::ThrottleLeaks) && other.flags.throttled.is_some() {
            self.grant_mut().flags.throttled = other.flags.throttled.clone();
        }
        if planted::is(Bug::OneFailureDelaysOthers) && failed {
            self.backoff.hold(now.boot.after(Duration::from_secs(3600)));
        }
    }

    /// What is left of the lease; nothing when there is none, and for ever when that is not known.
    fn remaining(&self, key: &LeaseKey, cx: &Context<'_>) -> Duration {
        self.grant.leases.get(key).map_or(Duration::ZERO, |lease| {
            lease.remaining(cx.now, cx.boot_id).unwrap_or(Duration::MAX)
        })
    }

    /// What an exchange told about its host.
    pub(crate) fn health(verdict: Verdict) -> Health {
        match verdict {
            Verdict::Accepted => Health::Succeeded,
            Verdict::Throttled => Health::Throttled,
            Verdict::Transient | Verdict::Offline | Verdict::Ambiguous(_) => Health::Failed,
            Verdict::Unproven => Health::Untried,
            _ => Health::Answered,
        }
    }
}

/// Whether a reader could tell them apart. A renewal that is overdue stays overdue; that its moment
/// moves along with the clock is no news.
fn differ(before: &View, after: &View, now: Boot) -> bool {
    let planned = |view: &View| view.next_renewal.map(|at| at.max(now));
    planned(before) != planned(after)
        || before.refreshing != after.refreshing
        || !(Arc::ptr_eq(&before.grant, &after.grant) || before.grant == after.grant)
}
