//! When the next exchange is to start, and for which lease.

use std::{collections::BTreeSet, time::Duration};

use super::{Cause, Context, Renewal, backoff::Urgency};
use crate::{
    flag::LoginReason,
    lease::{Lease, LeaseKey, Standing, floor_of},
    planted::{self, Bug},
    schedule::{Rank, Wish},
    time::Boot,
};

/// Least distance between two exchanges of one grant.
const LEAST_DISTANCE: Duration = Duration::from_secs(1);
/// Least distance between two exchanges for one lease, as a share of its lifetime.
const LEAST_SHARE: u32 = 20;
/// An unused login is kept alive at least so often.
const KEEP_ALIVE: Duration = Duration::from_secs(24 * 3600);

/// The exchange that comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) key: LeaseKey,
    pub(crate) cause: Cause,
}

impl Renewal {
    /// When the next exchange may start, and what for; `None` when only an event can bring one about.
    pub(crate) fn next_exchange(&self, cx: &Context<'_>) -> Option<(Boot, Plan)> {
        if !self.may_exchange(cx) {
            return None;
        }
        let wanted_by_clients = self.waiters.iter().map(|waiter| &waiter.key);
        let own = LeaseKey::of_login(&self.grant);
        let first = self.is_taken_over().then_some(&own);
        let leases = self.grant.leases.keys();
        let keys: BTreeSet<_> = leases.chain(wanted_by_clients).chain(first).collect();
        keys.into_iter()
            .filter_map(|key| self.plan(key, cx))
            .min_by_key(|(at, plan)| {
                let latest = self.started.get(&plan.key).copied();
                (*at, plan.cause == Cause::Due, latest)
            })
    }

    /// When the next exchange for this lease can be made: at once when one is under way.
    pub(super) fn next_for(&self, key: &LeaseKey, cx: &Context<'_>) -> Option<Boot> {
        if !self.is_resting() {
            return Some(cx.now.boot);
        }
        let plan = self.may_exchange(cx).then(|| self.plan(key, cx));
        plan.flatten().map(|(at, _)| at)
    }

    fn may_exchange(&self, cx: &Context<'_>) -> bool {
        let flags = &self.grant.flags;
        !cx.stopping
            && self.is_resting()
            && self.leaving.is_none()
            && self.grant.renewable
            && flags.stale_store.is_none()
            && (flags.needs_login.is_none() || self.is_doubtful())
            && self.unsaved.is_none()
    }

    /// The next exchange for one lease.
    fn plan(&self, key: &LeaseKey, cx: &Context<'_>) -> Option<(Boot, Plan)> {
        let (wanted_at, cause) = self.wanted(key, cx)?;
        let own = LeaseKey::of_login(&self.grant);
        // What is exchanged for it must live: first that.
        let key = match self.grant.is_derived(key) && !self.is_good(&own, cx) {
            true => &own,
            false => key,
        };
        let hot = planted::is(Bug::HotLoopOnShortTokens);
        let apart = self
            .latest_start
            .filter(|_| !hot)
            .map_or(Boot(0), |start| start.after(LEAST_DISTANCE));
        // "Too early" was said of a token that lived: when it is spent or dead, it holds no more.
        let is_of_use = self
            .lease(key)
            .is_some_and(|lease| !lease.rejected && !self.remaining(key, cx).is_zero());
        let bar = self.bars.get(key);
        let bar = bar.filter(|bar| bar.words.is_some() || is_of_use);
        let barred_until = bar.map_or(Boot(0), |bar| bar.until);
        let held_until = if cause == Cause::Asked {
            // A person knows what they do; only the provider's own limits hold them back.
            Boot(0)
        } else {
            self.least_distance(key, cause, cx)
                .max(self.backoff.not_before())
                .max(barred_until)
        };
        let at = wanted_at
            .max(apart)
            .max(held_until)
            .max(self.throttled_until());
        let (at, cause) = match (&self.grant.flags.ambiguous, self.confirm_at) {
            _ if cause == Cause::Asked => (at, cause),
            (Some(_), _) => (at.max(self.settle_at(key, cx)), Cause::Settling),
            // Whoever asked early, and was refused, is not to wait for the renew point to hear what it means.
            (None, Some(confirm_at)) => {
                let at = confirm_at
                    .max(apart)
                    .max(self.backoff.not_before())
                    .max(barred_until)
                    .max(self.throttled_until());
                (at, Cause::Confirming)
            }
            (None, None) => (at, cause),
        };
        Some((
            at,
            Plan {
                key: key.clone(),
                cause,
            },
        ))
    }

    /// Whether the lease's token would be accepted, as far as is known.
    fn is_good(&self, key: &LeaseKey, cx: &Context<'_>) -> bool {
        self.lease(key)
            .is_some_and(|lease| !lease.rejected && !lease.dead)
            && !self.remaining(key, cx).is_zero()
    }

    /// Whether its refresh token came from something else and was never exchanged here: who held it may
    /// exchange it as well, so that nothing is to be waited for.
    pub(super) fn is_taken_over(&self) -> bool {
        self.grant.renewed_by.needs_refresh_token()
            && self.lease(&LeaseKey::of_login(&self.grant)).is_none()
    }

    /// When an exchange for this lease is wanted, before anything that holds it back.
    fn wanted(&self, key: &LeaseKey, cx: &Context<'_>) -> Option<(Boot, Cause)> {
        let now = cx.now.boot;
        if let Some(cause) = self.demanded(key, cx) {
            return Some((now, cause));
        }
        if self.is_taken_over() && *key == LeaseKey::of_login(&self.grant) {
            return Some((now, Cause::TakenOver));
        }
        let lease = self.grant.leases.get(key)?;
        if lease.rejected {
            let cause = match lease.dead {
                true => Cause::Inactive,
                false => Cause::Reported,
            };
            return Some((now, cause));
        }
        let is_login = *key == LeaseKey::of_login(&self.grant);
        let harmless = self.may_settle_at_once(now) && !self.loss.retried;
        if is_login && self.grant.flags.ambiguous.is_some() && harmless {
            return Some((now, Cause::Settling));
        }
        let due = self.due(lease, cx)?;
        let used = self.in_use(key, cx);
        // Where no refresh token can die of inactivity, nothing is kept alive, and no command is run for
        // a secret that nobody needs.
        if !is_login || !self.grant.renewed_by.needs_refresh_token() {
            return used.then_some((due, Cause::Due));
        }
        // An unused login is renewed less often, but no refresh token is let die of inactivity.
        let inactivity = self.grant.provider.profile.inactivity_limit;
        let at_latest = inactivity.map_or(Duration::MAX, |limit| limit / 3);
        let at_age = |wanted: Duration| {
            let age = lease.issued.age(cx.now, cx.boot_id).unwrap_or(wanted);
            now.after(wanted.saturating_sub(age))
        };
        let (at, cause) = if used {
            (due, Cause::Due)
        } else {
            (due.max(at_age(KEEP_ALIVE.min(at_latest))), Cause::KeepAlive)
        };
        let at_latest = at_age(at_latest);
        Some(if at_latest < at {
            (at_latest, Cause::KeepAlive)
        } else {
            (at, cause)
        })
    }

    /// The renew point.
    fn due(&self, lease: &Lease, cx: &Context<'_>) -> Option<Boot> {
        let left = lease.remaining(cx.now, cx.boot_id)?;
        Some(cx.now.boot.after(left.saturating_sub(lease.lead)))
    }

    /// Whether the lease is still good for something: one whose end is not known, until nobody has
    /// asked for it in a long time.
    pub(super) fn is_living(&self, key: &LeaseKey, lease: &Lease, cx: &Context<'_>) -> bool {
        let is_login = *key == LeaseKey::of_login(&self.grant);
        lease.standing(cx.now, cx.boot_id) != Standing::Expired
            && (is_login || lease.lifetime.is_some() || self.in_use(key, cx))
    }

    pub(super) fn living_leases(&self, cx: &Context<'_>) -> usize {
        let leases = self.grant.leases.iter();
        leases
            .filter(|(key, lease)| self.is_living(key, lease, cx))
            .count()
    }

    fn in_use(&self, key: &LeaseKey, cx: &Context<'_>) -> bool {
        self.used
            .get(key)
            .is_some_and(|used| cx.now.boot.since(*used) < cx.config.idle_after)
    }

    /// How soon after the token came the next may be fetched. Failures are the backoff's business; a
    /// report and the refresh token's inactivity have limits of their own, and a confirmation or a
    /// settlement is a repetition by its nature.
    fn least_distance(&self, key: &LeaseKey, cause: Cause, cx: &Context<'_>) -> Boot {
        let spaced = matches!(cause, Cause::Due | Cause::Demanded)
            && !planted::is(Bug::HotLoopOnShortTokens);
        let lease = self.grant.leases.get(key).filter(|_| spaced);
        let Some((lease, lifetime)) = lease.and_then(|lease| Some((lease, lease.lifetime?))) else {
            return Boot(0);
        };
        let distance = (lifetime / LEAST_SHARE).max(LEAST_DISTANCE);
        let age = lease.issued.age(cx.now, cx.boot_id).unwrap_or(distance);
        cx.now.boot.after(distance.saturating_sub(age))
    }

    /// Until when the provider asked for patience.
    pub(super) fn throttled_until(&self) -> Boot {
        self.grant
            .flags
            .throttled
            .as_ref()
            .map_or(Boot(0), |raised| raised.reason)
    }

    /// When a lost answer may be settled by sending the same refresh token again.
    ///
    /// Where that is harmless: at once, once, and then as the backoff says. Where it could revoke
    /// access tokens that still work, this one or any other in use: when those are nearly spent.
    fn settle_at(&self, key: &LeaseKey, cx: &Context<'_>) -> Boot {
        let now = cx.now.boot;
        if self.may_settle_at_once(now) || planted::is(Bug::SettlesAtOnce) {
            return now;
        }
        let spare = |lease: &Lease| {
            let left = lease.remaining(cx.now, cx.boot_id)?;
            Some(left.saturating_sub(2 * floor_of(lease.lifetime?)))
        };
        // A token is given up by the provider's word, or by a report of one who may teach: hearsay puts
        // none at risk.
        let is_lost = |lease: &Lease| lease.dead || (lease.rejected && self.is_acting_on_report());
        let at_stake =
            self.grant.leases.iter().filter(|(other, lease)| {
                !is_lost(lease) && (*other == key || self.in_use(other, cx))
            });
        let longest = at_stake.filter_map(|(_, lease)| spare(lease)).max();
        now.after(longest.unwrap_or_default())
    }

    /// When the machine wants to be woken, whatever for.
    pub(crate) fn wakes_at(&self, queued: bool, cx: &Context<'_>) -> Option<Boot> {
        let exchange = (!queued)
            .then(|| self.next_exchange(cx))
            .flatten()
            .map(|(at, _)| at);
        let deadline = self.waiters.iter().map(|waiter| waiter.deadline).min();
        let retry = self.unsaved.as_ref().and_then(|unsaved| unsaved.retry_at);
        let end = self.spent_at(cx);
        // A wish that waits for its turn goes first; the question is asked after it.
        let check = (!queued)
            .then(|| self.next_check(cx))
            .flatten()
            .map(|(at, _)| at);
        [exchange, deadline, retry, end, check]
            .into_iter()
            .flatten()
            .min()
    }

    /// When a login that nothing can renew has come to its end and the user must hear of it; `None`
    /// when that does not come by itself, or was said.
    fn spent_at(&self, cx: &Context<'_>) -> Option<Boot> {
        let flags = &self.grant.flags;
        if self.grant.renewable || flags.needs_login.is_some() {
            return None;
        }
        let now = cx.now.boot;
        let Some(lease) = self.grant.leases.get(&LeaseKey::of_login(&self.grant)) else {
            return Some(now);
        };
        if lease.rejected {
            return Some(now);
        }
        let left = lease.remaining(cx.now, cx.boot_id)?;
        let above_floor = left.saturating_sub(lease.floor());
        Some(now.after(above_floor))
    }

    /// The end of a login that nothing can renew.
    pub(super) fn note_end(&mut self, cx: &mut Context<'_>) {
        if self.spent_at(cx).is_some_and(|at| at <= cx.now.boot) {
            self.needs_login(LoginReason::NotRenewable, cx);
            self.keep(cx);
        }
    }

    /// The wish to be scheduled, once the plan's time has come.
    pub(crate) fn wish(&self, plan: &Plan, cx: &Context<'_>) -> Wish {
        let left = self.remaining(&plan.key, cx);
        let in_demand = !self.waiters.is_empty();
        let patience = match (left.is_zero(), in_demand) {
            (true, true) => Duration::from_secs(10),
            (true, false) => Duration::from_secs(60),
            (false, _) => left / 8,
        };
        Wish {
            rank: Rank {
                nobody_waits: !in_demand,
                not_in_use: !self.in_use(&plan.key, cx),
                ends_at: cx.now.boot.after(left),
            },
            account: self.grant.account.clone(),
            canary_by: cx.now.boot.after(patience),
        }
    }

    /// How pressing this lease is, and every other in use: the backoff is for all of them.
    pub(super) fn urgency(&self, key: &LeaseKey, cx: &Context<'_>) -> Urgency {
        let leases = self.grant.leases.keys();
        let others = leases.filter(|other| self.in_use(other, cx));
        let remaining = others.chain([key]).map(|key| self.remaining(key, cx)).min();
        Urgency {
            remaining: remaining.unwrap_or_default(),
            in_demand: !self.waiters.is_empty(),
        }
    }
}
