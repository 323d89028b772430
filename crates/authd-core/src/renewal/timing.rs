//! When the next exchange is to start, and for which lease.

use std::time::Duration;

use super::{Cause, Context, Phase, Renewal, backoff::Urgency};
use crate::{
    grant::Rotation,
    lease::{Lease, LeaseKey, floor_of},
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
        let flags = &self.grant.flags;
        let barred = cx.closing
            || !matches!(self.phase, Phase::Resting)
            || self.leaving.is_some()
            || !self.grant.renewable
            || flags.stale_store.is_some()
            || flags.needs_login.is_some()
            || self.unsaved.is_some();
        if barred {
            return None;
        }
        let wanted_by_clients = self.waiters.iter().map(|waiter| &waiter.key);
        self.grant
            .leases
            .keys()
            .chain(wanted_by_clients)
            .filter_map(|key| self.plan(key, cx))
            .min_by_key(|(at, plan)| (*at, plan.cause == Cause::Due))
    }

    /// The next exchange for one lease.
    fn plan(&self, key: &LeaseKey, cx: &Context<'_>) -> Option<(Boot, Plan)> {
        let (wanted_at, cause) = self.wanted(key, cx)?;
        let at = if cause == Cause::Asked {
            // A person knows what they do; only the provider's own limits hold them back.
            self.distance(None)
        } else {
            let share = self.least_distance(key, cause);
            self.distance(Some((key, share)))
                .max(self.backoff.not_before())
        };
        let at = at.max(wanted_at).max(self.throttled_until());
        let (at, cause) = match (&self.grant.flags.ambiguous, self.confirm_at) {
            _ if cause == Cause::Asked => (at, cause),
            (Some(_), _) => (at.max(self.settle_at(key, cx)), Cause::Settling),
            (None, Some(confirm_at)) => (at.max(confirm_at), Cause::Confirming),
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

    /// When an exchange for this lease is wanted, before anything that holds it back.
    fn wanted(&self, key: &LeaseKey, cx: &Context<'_>) -> Option<(Boot, Cause)> {
        let now = cx.now.boot;
        if let Some(cause) = self.demanded(key, cx) {
            return Some((now, cause));
        }
        let lease = self.grant.leases.get(key)?;
        if lease.rejected {
            return Some((now, Cause::Reported));
        }
        let due = self.due(lease, cx);
        if self.in_use(key, cx) {
            return due.map(|at| (at, Cause::Due));
        }
        if *key != LeaseKey::of_login(&self.grant) {
            return None;
        }
        let inactivity = self.grant.provider.profile.inactivity_limit;
        let interval = inactivity.map_or(KEEP_ALIVE, |limit| KEEP_ALIVE.min(limit / 3));
        let age = lease.issued.age(cx.now, cx.boot_id).unwrap_or(interval);
        let keep_alive = now.after(interval.saturating_sub(age));
        Some((
            due.map_or(keep_alive, |due| due.max(keep_alive)),
            Cause::KeepAlive,
        ))
    }

    /// The renew point.
    fn due(&self, lease: &Lease, cx: &Context<'_>) -> Option<Boot> {
        let left = lease.remaining(cx.now, cx.boot_id)?;
        Some(cx.now.boot.after(left.saturating_sub(lease.lead)))
    }

    fn in_use(&self, key: &LeaseKey, cx: &Context<'_>) -> bool {
        self.used
            .get(key)
            .is_some_and(|used| cx.now.boot.since(*used) < cx.config.idle_after)
    }

    /// How far apart exchanges for one lease must be. A report has limits of its own, and a
    /// confirmation or a settlement is a repetition by its nature.
    fn least_distance(&self, key: &LeaseKey, cause: Cause) -> Duration {
        let share = match cause {
            Cause::Due | Cause::Demanded | Cause::KeepAlive => {
                self.grant
                    .leases
                    .get(key)
                    .and_then(|lease| lease.lifetime)
                    .unwrap_or_default()
                    / LEAST_SHARE
            }
            Cause::Reported | Cause::Asked | Cause::Settling | Cause::Confirming => Duration::ZERO,
        };
        share.max(LEAST_DISTANCE)
    }

    fn distance(&self, lease: Option<(&LeaseKey, Duration)>) -> Boot {
        let any = self
            .latest_start
            .map_or(Boot(0), |start| start.after(LEAST_DISTANCE));
        let own = lease
            .and_then(|(key, distance)| self.started.get(key).map(|start| start.after(distance)));
        own.map_or(any, |own| own.max(any))
    }

    fn throttled_until(&self) -> Boot {
        self.grant
            .flags
            .throttled
            .as_ref()
            .map_or(Boot(0), |raised| raised.reason)
    }

    /// When a lost answer may be settled by sending the same refresh token again.
    ///
    /// Where that is harmless: at once, once, and then as the backoff says. Where it could revoke
    /// the access token that still works: when that is nearly spent.
    fn settle_at(&self, key: &LeaseKey, cx: &Context<'_>) -> Boot {
        let now = cx.now.boot;
        let live = self.grant.leases.get(key).and_then(|lease| {
            let left = lease.remaining(cx.now, cx.boot_id)?;
            let spare = left.saturating_sub(2 * floor_of(lease.lifetime?));
            (!lease.rejected).then_some(spare)
        });
        match live {
            Some(spare) if !self.may_settle_at_once() => now.after(spare),
            _ => now,
        }
    }

    /// Whether sending the refresh token again does no harm, whatever became of the first sending.
    pub(super) fn may_settle_at_once(&self) -> bool {
        let profile = &self.grant.provider.profile;
        match profile.rotation {
            Rotation::None | Rotation::Rotates => true,
            Rotation::Unknown | Rotation::ReuseDetected => {
                !self.settled_at_once && profile.leeway.is_some_and(|leeway| !leeway.is_zero())
            }
        }
    }

    /// When the machine wants to be woken, whatever for.
    pub(crate) fn wakes_at(&self, queued: bool, cx: &Context<'_>) -> Option<Boot> {
        let exchange = (!queued)
            .then(|| self.next_exchange(cx))
            .flatten()
            .map(|(at, _)| at);
        let deadline = self.waiters.iter().map(|waiter| waiter.deadline).min();
        let retry = self.unsaved.as_ref().and_then(|unsaved| unsaved.retry_at);
        [exchange, deadline, retry].into_iter().flatten().min()
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

    pub(super) fn urgency(&self, key: &LeaseKey, cx: &Context<'_>) -> Urgency {
        Urgency {
            remaining: self.remaining(key, cx),
            in_demand: self.waiters.iter().any(|waiter| waiter.key == *key),
        }
    }
}
