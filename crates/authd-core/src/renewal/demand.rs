//! Clients that ask: who is answered at once, who waits, and what they hear when it does not work.

use std::{collections::BTreeMap, time::Duration};

use super::{Cause, Context, Renewal, backoff::Urgency};
use crate::{
    broker::{Demand, Effect, Refusal, Served, Unavailable},
    flag::LoginReason,
    id::{Generation, Ticket},
    lease::{Lease, LeaseKey},
    planted::{self, Bug},
    policy,
    time::Boot,
};

/// A client that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) key: LeaseKey,
    pub(super) min_ttl: Option<Duration>,
    pub(super) deadline: Boot,
    /// Only a token issued after this generation will do.
    pub(super) newer_than: Option<Generation>,
    /// The generation when it began to wait.
    pub(super) asked_in: Generation,
    pub(super) cause: Cause,
}

/// What just happened to the lease that a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    /// Nothing.
    Passing,
    /// An attempt failed.
    Failed,
    /// It was renewed: nothing newer is to be had.
    Renewed,
}

impl Renewal {
    /// A client asks for a token.
    pub(crate) fn demand(&mut self, demand: Demand, cx: &mut Context<'_>) {
        if planted::is(Bug::AlwaysRefuses) {
            let (why, retry_after) = (Unavailable::Provider, None);
            let refusal = Refusal::Unavailable { why, retry_after };
            return self.reply(demand.ticket, Err(refusal), cx);
        }
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

    /// Answers the client at once if that is possible, otherwise lets it wait.
    pub(super) fn wait_for(
        &mut self,
        demand: Demand,
        newer_than: Option<Generation>,
        cause: Cause,
        cx: &mut Context<'_>,
    ) {
        self.used(&demand.key, cx.now.boot);
        let waiter = Waiter {
            ticket: demand.ticket,
            key: demand.key,
            min_ttl: demand.min_ttl,
            deadline: cx.now.boot.after(demand.wait),
            newer_than,
            asked_in: self.grant.generation,
            cause,
        };
        let urgency = Urgency {
            in_demand: true,
            ..self.urgency(&waiter.key, cx)
        };
        self.backoff.hasten(cx.now.boot, urgency);
        self.hasten_confirmation(&waiter.key, cx);
        self.waiters.push(waiter);
        // Nothing changed for those who wait already.
        if let Some(waiter) = self.waiters.last()
            && let Some(result) = self.verdict(
                waiter,
                self.next_for(&waiter.key, cx),
                Occasion::Passing,
                cx,
            )
        {
            let ticket = waiter.ticket;
            self.waiters.pop();
            self.reply(ticket, result, cx);
        }
        self.forget_unheld();
    }

    /// What clients asked for and never got leaves no trace.
    fn forget_unheld(&mut self) {
        let held = |key: &LeaseKey| {
            self.grant.leases.contains_key(key)
                || self.waiters.iter().any(|waiter| waiter.key == *key)
        };
        self.used.retain(|key, _| held(key));
        self.started.retain(|key, _| held(key));
        self.validation.forget_unless(held);
    }

    /// The client is gone; an exchange that it caused goes on.
    pub(crate) fn gone(&mut self, ticket: Ticket) {
        self.waiters.retain(|waiter| waiter.ticket != ticket);
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
            .max_by_key(|cause| match cause {
                Cause::Asked => 2,
                Cause::Reported => 1,
                _ => 0,
            })
    }

    pub(super) fn lease(&self, key: &LeaseKey) -> Option<&Lease> {
        self.grant.leases.get(key)
    }

    /// Answers every waiter that can be answered now.
    fn settle_waiters(&mut self, occasion: impl Fn(&Waiter) -> Occasion, cx: &mut Context<'_>) {
        // The waiters stay in place meanwhile: what comes next depends on them.
        let mut next_for = BTreeMap::new();
        let verdicts: Vec<_> = self
            .waiters
            .iter()
            .map(|waiter| {
                let next = next_for
                    .entry(&waiter.key)
                    .or_insert_with_key(|key| self.next_for(key, cx));
                self.verdict(waiter, *next, occasion(waiter), cx)
            })
            .collect();
        let waiters = std::mem::take(&mut self.waiters);
        for (waiter, verdict) in waiters.into_iter().zip(verdicts) {
            match verdict {
                Some(result) => self.reply(waiter.ticket, result, cx),
                None => self.waiters.push(waiter),
            }
        }
        self.forget_unheld();
    }

    /// The exchange for this lease brought no tokens.
    pub(super) fn settle_after_failure(&mut self, key: &LeaseKey, cx: &mut Context<'_>) {
        self.spend_words(key);
        self.settle_waiters(|_| Occasion::Failed, cx);
    }

    /// A person's word counts for one attempt.
    pub(super) fn spend_words(&mut self, key: &LeaseKey) {
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.key == *key) {
            if waiter.cause == Cause::Asked {
                waiter.cause = Cause::Demanded;
            }
        }
    }

    /// The exchange for this lease brought tokens.
    pub(super) fn settle_after_success(&mut self, key: &LeaseKey, cx: &mut Context<'_>) {
        let occasion = |waiter: &Waiter| match waiter.key == *key {
            true => Occasion::Renewed,
            false => Occasion::Passing,
        };
        self.settle_waiters(occasion, cx);
    }

    /// Time has passed: waiters whose deadline has come hear what is known.
    pub(crate) fn on_time(&mut self, cx: &mut Context<'_>) {
        if planted::is(Bug::JitterRedrawn) {
            for lease in self.grant_mut().leases.values_mut() {
                lease.lead = lease.lead.mul_f64(0.9 + 0.2 * cx.rng.f64());
            }
        }
        self.note_end(cx);
        self.warn_of_loss(cx);
        self.settle_waiters(|_| Occasion::Passing, cx);
        self.save(cx);
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
        next: Option<Boot>,
        occasion: Occasion,
        cx: &Context<'_>,
    ) -> Option<Result<Served, Refusal>> {
        if let Some(refusal) = policy::decide(&waiter.key, &self.grant).refusal() {
            return Some(Err(refusal));
        }
        let lease = self.lease(&waiter.key);
        if lease.is_none() && self.living_leases(cx) >= policy::MOST_LEASES {
            return Some(Err(Refusal::TooManyLeases));
        }
        if let Some(lease) = lease.filter(|lease| waiter.is_content(lease, cx)) {
            return Some(Ok(self.served(waiter, lease, false, cx)));
        }
        if let Some(max_ttl) = lease.and_then(|lease| waiter.asks_too_much(lease, occasion, cx)) {
            return Some(Err(Refusal::MaxTtlExceeded { max_ttl }));
        }
        let live = lease
            .filter(|lease| waiter.could_do_with(lease, cx))
            .filter(|lease| !lease.dead && (!lease.rejected || self.grant.renewable));
        if let Some(refusal) = self.standing_refusal(waiter, next, cx) {
            let live = live.filter(|_| !planted::is(Bug::NeedsLoginStopsServing));
            return Some(match live {
                Some(lease) => Ok(self.served(waiter, lease, true, cx)),
                None => Err(refusal),
            });
        }
        let hopeless = cx.now.boot >= waiter.deadline
            || (self.is_resting() && next.is_none_or(|at| at >= waiter.deadline));
        if let Some(lease) = live
            && (hopeless || occasion != Occasion::Passing || self.is_troubled())
        {
            return Some(Ok(self.served(waiter, lease, true, cx)));
        }
        if hopeless {
            if let Some(max_ttl) = self.left_for(waiter, next, cx) {
                return Some(Err(Refusal::MaxTtlExceeded { max_ttl }));
            }
            return Some(Err(self.unavailable(next, cx)));
        }
        None
    }

    /// Whether the latest exchange failed, in whatever way.
    fn is_troubled(&self) -> bool {
        let flags = &self.grant.flags;
        self.backoff.failures() > 0 || flags.suspect.is_some() || flags.ambiguous.is_some()
    }

    /// A client that wants more of a live token than it has, while all is well and only the distance
    /// between exchanges forbids another, hears what there is.
    fn left_for(&self, waiter: &Waiter, next: Option<Boot>, cx: &Context<'_>) -> Option<Duration> {
        let held = next.is_some_and(|at| at > cx.now.boot) && !self.is_troubled();
        let asked = waiter
            .min_ttl
            .filter(|_| held && waiter.newer_than.is_none())?;
        let left = self.lease(&waiter.key)?.remaining(cx.now, cx.boot_id)?;
        (!left.is_zero() && left < asked).then_some(left)
    }

    /// Why no exchange can come about, if none can.
    pub(super) fn no_renewal(&self) -> Option<Refusal> {
        let flags = &self.grant.flags;
        if self.may_leave() {
            return Some(Refusal::UnknownAccount);
        }
        if let Some(stale) = &flags.stale_store {
            return Some(Refusal::StaleStore(stale.reason));
        }
        if let Some(login) = &flags.needs_login {
            return Some(Refusal::LoginRequired(login.reason.clone()));
        }
        if !self.grant.renewable {
            return Some(Refusal::LoginRequired(LoginReason::NotRenewable));
        }
        self.unsaved.as_ref().map(|_| Refusal::Unavailable {
            why: Unavailable::Store,
            retry_after: None,
        })
    }

    /// What only the user, an administrator or the disk can change.
    fn standing_refusal(
        &self,
        waiter: &Waiter,
        next: Option<Boot>,
        cx: &Context<'_>,
    ) -> Option<Refusal> {
        let asked = waiter.cause == Cause::Asked;
        if !(asked && self.is_doubtful())
            && let Some(refusal) = self.no_renewal()
        {
            return Some(refusal);
        }
        // What is tried again while the client still waits is worth the wait.
        if asked || next.is_some_and(|at| at < waiter.deadline.max(Boot(cx.now.boot.0 + 1))) {
            return None;
        }
        let bar = self.bars.get(&waiter.key);
        let barred = bar.filter(|bar| cx.now.boot < bar.until);
        let misconfigured = self.grant.flags.misconfigured.as_ref();
        misconfigured
            .map(|raised| &raised.reason)
            .or(barred.and_then(|bar| bar.words.as_ref()))
            .map(|words| Refusal::Misconfigured(words.clone()))
    }

    fn unavailable(&self, next: Option<Boot>, cx: &Context<'_>) -> Refusal {
        let flags = &self.grant.flags;
        let why = if cx.stopping {
            Unavailable::ShuttingDown
        } else if self.throttled_until() > cx.now.boot {
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
            renewed: lease.generation > waiter.asked_in,
        }
    }

    pub(super) fn reply(
        &self,
        ticket: Ticket,
        result: Result<Served, Refusal>,
        cx: &mut Context<'_>,
    ) {
        cx.effects.push_back(Effect::Reply { ticket, result });
    }
}

impl Waiter {
    fn is_new_enough(&self, lease: &Lease) -> bool {
        self.newer_than.is_none_or(|old| lease.generation > old)
    }

    /// Whether the lease gives the client all that it asked for.
    fn is_content(&self, lease: &Lease, cx: &Context<'_>) -> bool {
        let floor = match planted::is(Bug::FloorIgnored) {
            true => Duration::ZERO,
            false => lease.floor(),
        };
        let needed = floor.max(self.min_ttl.unwrap_or_default());
        self.is_new_enough(lease)
            && !lease.rejected
            && lease.remaining(cx.now, cx.boot_id).is_none_or(|left| {
                // The very end of a life is never handed out, whatever the floor.
                !left.is_zero() && left >= needed
            })
    }

    /// Whether the client can do with a live token that has less than the floor, or that somebody
    /// else reported as refused, when there is no other.
    fn could_do_with(&self, lease: &Lease, cx: &Context<'_>) -> bool {
        let needed = match lease.rejected {
            // By hearsay it may be refused; by the clock it is what was asked for.
            true => self.min_ttl.unwrap_or_default(),
            false if self.min_ttl.is_some() => return false,
            false => Duration::ZERO,
        };
        self.is_new_enough(lease)
            && lease
                .remaining(cx.now, cx.boot_id)
                .is_none_or(|left| !left.is_zero() && left >= needed)
    }

    /// The most that a token of this kind can have, when the client asks for more: its whole life,
    /// or what was left of one that has just come.
    fn asks_too_much(
        &self,
        lease: &Lease,
        occasion: Occasion,
        cx: &Context<'_>,
    ) -> Option<Duration> {
        let most = match occasion {
            Occasion::Renewed if self.is_new_enough(lease) => lease
                .remaining(cx.now, cx.boot_id)
                .filter(|left| !left.is_zero()),
            _ => lease.lifetime,
        };
        most.filter(|most| self.min_ttl.is_some_and(|asked| asked > *most))
    }
}
