//! Clients that ask: who is answered at once, who waits, and what they hear when it does not work.

use std::time::Duration;

use super::{Cause, Context, Renewal};
use crate::{
    broker::{Decided, Demand, Effect, Notice, Refusal, Served, Unavailable},
    flag::{LoginReason, Raised},
    id::{Fingerprint, Generation, Ticket},
    lease::{Lease, LeaseKey},
    policy::{self, Decision},
    time::Boot,
};

/// Distance between two renewals that reports force.
const BETWEEN_REPORTS: Duration = Duration::from_secs(30);
/// So many of them, at most, ...
const REPORTS: usize = 3;
/// ... within this time.
const REPORT_WINDOW: Duration = Duration::from_secs(600);

/// A client that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) key: LeaseKey,
    pub(super) min_ttl: Option<Duration>,
    pub(super) deadline: Boot,
    /// Only a token issued after this generation will do.
    pub(super) newer_than: Option<Generation>,
    pub(super) cause: Cause,
}

impl Renewal {
    /// A client asks for a token.
    pub(crate) fn demand(&mut self, demand: Demand, cx: &mut Context<'_>) {
        self.wait_for(demand, None, Cause::Demanded, cx);
    }

    /// A person asks for a renewal, whatever is left.
    pub(crate) fn renew(&mut self, demand: Demand, cx: &mut Context<'_>) {
        let newer_than = self
            .grant
            .leases
            .get(&demand.key)
            .map(|lease| lease.generation);
        self.wait_for(demand, newer_than, Cause::Asked, cx);
    }

    /// A client reports that an API refused a token.
    ///
    /// A stale report gets the current token and causes nothing. A report of the current token is
    /// believed at most every 30 s and three times in ten minutes. When the token that such a report
    /// brought about is refused as well, renewing does not help: PROVIDER_REJECTS.
    pub(crate) fn reject(
        &mut self,
        fingerprint: Fingerprint,
        mut demand: Demand,
        cx: &mut Context<'_>,
    ) {
        let Some((key, generation)) = self.reported(fingerprint) else {
            self.record(Decided::ReportSetAside, None, cx);
            return self.demand(demand, cx);
        };
        demand.key = key.clone();
        let already_believed = self
            .grant
            .leases
            .get(&key)
            .is_some_and(|lease| lease.rejected);
        if already_believed {
            return self.wait_for(demand, Some(generation), Cause::Reported, cx);
        }
        if self.grant.flags.provider_rejects.is_some() {
            return self.reply(demand.ticket, Err(Refusal::ProviderRejects), cx);
        }
        let now = cx.now.boot;
        self.reports
            .retain(|report| now.since(*report) < REPORT_WINDOW);
        let too_soon = self
            .reports
            .back()
            .map(|report| report.after(BETWEEN_REPORTS));
        if let Some(at) = too_soon.filter(|at| now < *at) {
            self.record(Decided::ReportSetAside, None, cx);
            return self.reply(demand.ticket, Err(too_many(at.since(now))), cx);
        }
        if self.brought_by_report == Some(generation) {
            self.raise_provider_rejects(cx);
            return self.reply(demand.ticket, Err(Refusal::ProviderRejects), cx);
        }
        if self.reports.len() >= REPORTS {
            let free_at = self
                .reports
                .front()
                .map_or(now, |first| first.after(REPORT_WINDOW));
            self.record(Decided::ReportSetAside, None, cx);
            return self.reply(demand.ticket, Err(too_many(free_at.since(now))), cx);
        }
        self.reports.push_back(now);
        self.record(Decided::ReportBelieved, None, cx);
        if let Some(lease) = self.grant_mut().leases.get_mut(&key) {
            lease.rejected = true;
        }
        self.publish(None, cx);
        self.wait_for(demand, Some(generation), Cause::Reported, cx);
    }

    fn reported(&self, fingerprint: Fingerprint) -> Option<(LeaseKey, Generation)> {
        self.grant
            .leases
            .iter()
            .find(|(_, lease)| lease.fingerprint == fingerprint)
            .map(|(key, lease)| (key.clone(), lease.generation))
    }

    fn raise_provider_rejects(&mut self, cx: &mut Context<'_>) {
        let since = cx.now.wall;
        self.grant_mut().flags.provider_rejects = Some(Raised { reason: (), since });
        let account = self.grant.account.clone();
        cx.effects.push_back(Effect::Notify {
            account,
            notice: Notice::ProviderRejects,
        });
        self.keep(cx);
        self.publish(None, cx);
    }

    /// Answers the client at once if that is possible, otherwise lets it wait.
    fn wait_for(
        &mut self,
        demand: Demand,
        newer_than: Option<Generation>,
        cause: Cause,
        cx: &mut Context<'_>,
    ) {
        if let Decision::NotGranted(scopes) = policy::decide(&demand.key.scopes, &self.grant) {
            return self.reply(demand.ticket, Err(Refusal::NotGranted(scopes)), cx);
        }
        self.used.insert(demand.key.clone(), cx.now.boot);
        let waiter = Waiter {
            ticket: demand.ticket,
            key: demand.key,
            min_ttl: demand.min_ttl,
            deadline: cx.now.boot.after(demand.wait),
            newer_than,
            cause,
        };
        let urgency = self.urgency(&waiter.key, cx);
        self.backoff.hasten(
            cx.now.boot,
            super::backoff::Urgency {
                in_demand: true,
                ..urgency
            },
        );
        self.hasten_confirmation(&waiter.key, cx);
        self.waiters.push(waiter);
        self.settle_waiters(false, cx);
    }

    /// The client is gone; an exchange that it caused goes on.
    pub(crate) fn gone(&mut self, ticket: Ticket) -> bool {
        let before = self.waiters.len();
        self.waiters.retain(|waiter| waiter.ticket != ticket);
        self.waiters.len() < before
    }

    /// Whether clients wait for something that this lease does not give them, and why.
    pub(super) fn demanded(&self, key: &LeaseKey, cx: &Context<'_>) -> Option<Cause> {
        self.waiters
            .iter()
            .filter(|waiter| waiter.key == *key)
            .filter(|waiter| {
                !self
                    .lease(key)
                    .is_some_and(|lease| waiter.is_content(lease, cx))
            })
            .map(|waiter| waiter.cause)
            .max_by_key(|cause| *cause == Cause::Asked)
    }

    fn lease(&self, key: &LeaseKey) -> Option<&Lease> {
        self.grant.leases.get(key)
    }

    /// Answers every waiter that can be answered now. `failed` says that an attempt just did.
    pub(super) fn settle_waiters(&mut self, failed: bool, cx: &mut Context<'_>) {
        let waiters = std::mem::take(&mut self.waiters);
        let (mut staying, mut answers) = (Vec::new(), Vec::new());
        for waiter in waiters {
            match self.verdict(&waiter, failed, cx) {
                Some(result) => answers.push((waiter.ticket, result)),
                None => staying.push(waiter),
            }
        }
        self.waiters = staying;
        for (ticket, result) in answers {
            self.reply(ticket, result, cx);
        }
    }

    /// Waiters whose deadline has come hear what is known.
    pub(crate) fn on_time(&mut self, cx: &mut Context<'_>) {
        self.settle_waiters(false, cx);
        if let Some(unsaved) = &mut self.unsaved
            && unsaved.retry_at.is_some_and(|at| at <= cx.now.boot)
        {
            unsaved.retry_at = None;
            cx.effects.push_back(Effect::Save {
                grant: std::sync::Arc::clone(&self.grant),
            });
        }
    }

    /// Every waiter is answered: the daemon stops, or the account goes away.
    pub(crate) fn dismiss(&mut self, refusal: &Refusal, cx: &mut Context<'_>) {
        for waiter in std::mem::take(&mut self.waiters) {
            self.reply(waiter.ticket, Err(refusal.clone()), cx);
        }
    }

    fn verdict(
        &self,
        waiter: &Waiter,
        failed: bool,
        cx: &Context<'_>,
    ) -> Option<Result<Served, Refusal>> {
        let lease = self.lease(&waiter.key);
        if let Some(lease) = lease.filter(|lease| waiter.is_content(lease, cx)) {
            return Some(Ok(self.served(waiter, lease, false, cx)));
        }
        if let Some(max_ttl) = lease.and_then(|lease| waiter.asks_too_much(lease)) {
            return Some(Err(Refusal::MaxTtlExceeded { max_ttl }));
        }
        let live = lease.filter(|lease| waiter.could_do_with(lease, cx));
        if let Some(refusal) = self.standing_refusal(waiter) {
            return Some(match live {
                Some(lease) => Ok(self.served(waiter, lease, true, cx)),
                None => Err(refusal),
            });
        }
        let next = self.next_attempt(cx);
        let hopeless = cx.now.boot >= waiter.deadline
            || (self.is_resting() && next.is_none_or(|at| at >= waiter.deadline));
        if let Some(lease) = live
            && (hopeless || failed || self.backoff.failures() > 0)
        {
            return Some(Ok(self.served(waiter, lease, true, cx)));
        }
        if hopeless {
            if let Some(max_ttl) = self.left_for(waiter, cx) {
                return Some(Err(Refusal::MaxTtlExceeded { max_ttl }));
            }
            return Some(Err(self.unavailable(next, cx)));
        }
        None
    }

    /// When the next attempt can be made: at once when one is under way.
    fn next_attempt(&self, cx: &Context<'_>) -> Option<Boot> {
        if !self.is_resting() {
            return Some(cx.now.boot);
        }
        self.next_exchange(cx).map(|(at, _)| at)
    }

    /// A client that wants more of a live token than it has, while all is well, hears what there is.
    fn left_for(&self, waiter: &Waiter, cx: &Context<'_>) -> Option<Duration> {
        let healthy = self.backoff.failures() == 0 && waiter.newer_than.is_none();
        let asked = waiter.min_ttl.filter(|_| healthy)?;
        let left = self.lease(&waiter.key)?.remaining(cx.now, cx.boot_id)?;
        (!left.is_zero() && left < asked).then_some(left)
    }

    /// What only the user, an administrator or the disk can change.
    fn standing_refusal(&self, waiter: &Waiter) -> Option<Refusal> {
        let flags = &self.grant.flags;
        if let Some(stale) = &flags.stale_store {
            return Some(Refusal::StaleStore(stale.reason));
        }
        if let Some(login) = &flags.needs_login {
            return Some(Refusal::LoginRequired(login.reason.clone()));
        }
        if !self.grant.renewable {
            return Some(Refusal::LoginRequired(LoginReason::NotRenewable));
        }
        if let Some(misconfigured) = &flags.misconfigured
            && self.is_resting()
            && waiter.cause != Cause::Asked
        {
            return Some(Refusal::Misconfigured(misconfigured.reason.clone()));
        }
        self.unsaved.as_ref().map(|_| Refusal::Unavailable {
            why: Unavailable::Store,
            retry_after: None,
        })
    }

    fn unavailable(&self, next: Option<Boot>, cx: &Context<'_>) -> Refusal {
        let flags = &self.grant.flags;
        let why = if cx.closing {
            Unavailable::ShuttingDown
        } else if flags.throttled.is_some() {
            Unavailable::Throttled
        } else if flags.store_degraded.is_some() {
            Unavailable::Store
        } else if flags.ambiguous.is_some() {
            Unavailable::Ambiguous
        } else if flags.suspect.is_some() {
            Unavailable::Suspect
        } else if self.backoff.failures() > 0 {
            Unavailable::Provider
        } else {
            Unavailable::Deadline
        };
        let retry_after = next.map(|at| at.since(cx.now.boot).max(Duration::from_secs(1)));
        Refusal::Unavailable { why, retry_after }
    }

    fn served(&self, waiter: &Waiter, lease: &Lease, low: bool, cx: &Context<'_>) -> Served {
        Served {
            account: self.grant.account.clone(),
            key: waiter.key.clone(),
            fingerprint: lease.fingerprint,
            ttl: lease.remaining(cx.now, cx.boot_id),
            low,
            renewed: waiter.newer_than.is_some_and(|old| lease.generation > old),
        }
    }

    fn reply(&self, ticket: Ticket, result: Result<Served, Refusal>, cx: &mut Context<'_>) {
        cx.effects.push_back(Effect::Reply { ticket, result });
    }
}

impl Waiter {
    fn is_new_enough(&self, lease: &Lease) -> bool {
        self.newer_than.is_none_or(|old| lease.generation > old)
    }

    /// Whether the lease gives the client all that it asked for.
    fn is_content(&self, lease: &Lease, cx: &Context<'_>) -> bool {
        let needed = lease.floor().max(self.min_ttl.unwrap_or_default());
        self.is_new_enough(lease)
            && !lease.rejected
            && lease.remaining(cx.now, cx.boot_id).is_none_or(|left| {
                // The very end of a life is never handed out, whatever the floor.
                !left.is_zero() && left >= needed
            })
    }

    /// Whether the client can do with a live token that has less than the floor.
    fn could_do_with(&self, lease: &Lease, cx: &Context<'_>) -> bool {
        self.min_ttl.is_none()
            && self.is_new_enough(lease)
            && !lease.rejected
            && lease
                .remaining(cx.now, cx.boot_id)
                .is_none_or(|left| !left.is_zero())
    }

    /// The most that a token of this kind can have, when the client asks for more.
    fn asks_too_much(&self, lease: &Lease) -> Option<Duration> {
        lease
            .lifetime
            .filter(|lifetime| self.min_ttl.is_some_and(|asked| asked > *lifetime))
    }
}

fn too_many(wait: Duration) -> Refusal {
    Refusal::Unavailable {
        why: Unavailable::TooManyReports,
        retry_after: Some(wait.max(Duration::from_secs(1))),
    }
}
