//! What clients get: checked at each answer, and at each read.

use std::time::Duration;

use authd_core::{
    broker::{Refusal, Served, Unavailable},
    flag::Ambiguity,
    grant::Grant,
    id::Ticket,
    lease::{Lease, LeaseKey, floor_of},
    renewal::classify::reuse_is_dangerous,
};

use crate::{
    clock::Ms,
    coverage::SERVED,
    provider::named,
    shell::{Asked, Wait},
    story::{Disk, MINUTE, SECOND},
    world::World,
};

/// Shorter lives cannot be renewed in time: a second must lie between two exchanges.
const SHORTEST: Ms = 5 * SECOND;
/// From here on one time-out is borne.
const BEARS_A_TIMEOUT: Ms = 450 * SECOND;
/// From here on the bound grows with the lead.
const BEARS_MORE: Ms = 15 * MINUTE;

impl World<'_> {
    /// Invariant 1, of a token that was handed out.
    pub(crate) fn check_served(
        &mut self,
        account: usize,
        token: u32,
        left: Option<Duration>,
        low: bool,
        min_ttl: Option<Duration>,
    ) {
        let Some(left) = left else { return };
        if left.is_zero() {
            return self.violate(1, || "an expired token".into());
        }
        if low && min_ttl.is_some_and(|least| left < least) {
            return self.violate(1, || "a low token for one who named a min_ttl".into());
        }
        let habits = &self.story.hosts[self.story.people[account].host];
        if !self.is_known(token) {
            return;
        }
        let token = self.ledger.access_token(token);
        let true_left = Duration::from_millis(token.end.saturating_sub(self.t));
        let floor = floor_of(Duration::from_millis(habits.life));
        let needed = floor.max(min_ttl.unwrap_or_default());
        if left > true_left {
            self.violate(1, || {
                format!("{left:?} are said to be left, and {true_left:?} are")
            });
        } else if !low && true_left < needed {
            self.violate(1, || {
                format!("{true_left:?} are left, and {needed:?} are promised")
            });
        }
    }

    pub(crate) fn check_reply(&mut self, wait: &Wait, result: &Result<Served, Refusal>) {
        let account = crate::shell::number_of(&wait.demand.account);
        self.say(|| match result {
            Ok(served) => format!(
                "    a client of a{account} gets access token {} ({:?} left{})",
                named(served.fingerprint),
                served.ttl,
                if served.low { ", low" } else { "" }
            ),
            Err(refusal) => format!("    a client of a{account} is refused: {refusal:?}"),
        });
        let deadline = wait.at + wait.demand.wait.as_millis() as Ms;
        if self.t > deadline + SECOND && !self.truths[account].was_troubled(wait.at, self.t) {
            return self.violate(23, || "answered later than the client waits".into());
        }
        match result {
            Ok(served) => self.check_handed(account, wait, served),
            Err(refusal) => {
                self.coverage.refusal(refusal);
                self.check_refusal(account, wait, refusal);
            }
        }
    }

    fn check_handed(&mut self, account: usize, wait: &Wait, served: &Served) {
        self.coverage.count(SERVED, 1);
        if served.low {
            self.coverage.count(SERVED, 2);
        }
        if served.renewed {
            self.coverage.count(SERVED, 3);
        }
        let token = named(served.fingerprint);
        if self.published_token(account, &served.key) != Some(token) {
            return self.violate(4, || "a client gets a token that was not published".into());
        }
        self.check_served(account, token, served.ttl, served.low, wait.demand.min_ttl);
        if served.low
            && wait.asked == Asked::Demand
            && wait.demand.wait >= Duration::from_secs(40)
            && self.life_of(account) >= SHORTEST
        {
            let from = self.ledger.access_token(token).sent;
            if !self.truths[account].was_troubled(from, self.t) && self.is_known(token) {
                self.violate(1, || "a low token although all is well".into());
            }
        }
    }

    fn life_of(&self, account: usize) -> Ms {
        self.story.hosts[self.story.people[account].host].life
    }

    /// Invariants 10 and 23.
    fn check_refusal(&mut self, account: usize, wait: &Wait, refusal: &Refusal) {
        let is_demand = wait.asked == Asked::Demand && !wait.in_vain;
        if !is_demand {
            return;
        }
        if let Refusal::MaxTtlExceeded { max_ttl } = refusal {
            let asked = wait.demand.min_ttl.unwrap_or_default();
            if asked <= *max_ttl {
                self.violate(1, || {
                    format!("{asked:?} refused, although {max_ttl:?} are possible")
                });
            }
            return;
        }
        let published = self.shell.published[account].clone();
        let live = published.as_ref().and_then(|view| {
            let lease = view.grant.leases.get(&wait.demand.key)?;
            let left = lease.remaining(self.clocks.now(self.t), self.clocks.boot_id())?;
            (!lease.rejected && !left.is_zero()).then_some(left)
        });
        if wait.demand.min_ttl.is_none()
            && self.shell.departing[account].is_none()
            && !self.stopping
            && let Some(left) = live
        {
            let with_login = matches!(refusal, Refusal::LoginRequired(_));
            let invariant = if with_login { 10 } else { 23 };
            return self.violate(invariant, || {
                format!("refused ({refusal:?}) although a token with {left:?} is there")
            });
        }
        let held = self.newest(account);
        let habits = &self.story.hosts[self.story.people[account].host];
        let is_valid = held.is_some_and(|held| {
            self.ledger.denial(held, habits, self.t).is_none()
                && !self.ledger.is_too_early(held, habits, self.t)
        }) && self.shell.departing[account].is_none();
        let is_short = wait.demand.wait < Duration::from_secs(40);
        let truth = &self.truths[account];
        let is_calm = !truth.was_troubled(wait.at.saturating_sub(15 * SECOND), self.t)
            && self.disk == Disk::Works
            && !self.stopping
            && truth.unresolved.is_none()
            && !truth.needs_login;
        // A clock that was set ahead makes a token look spent that the provider takes for too new.
        let is_in_doubt = habits.early.is_some()
            && (self.published_token(account, &wait.demand.key))
                .is_some_and(|token| !self.is_known(token));
        // Another daemon's generation stands on disk: only the person can say whose is right.
        let is_rightly_stale = truth.stale && matches!(refusal, Refusal::StaleStore(_));
        // The process died between an intent and its outcome: the engine cannot know that nothing left.
        let flags = published.as_ref().map(|view| &view.grant.flags);
        let interrupted = flags
            .and_then(|flags| flags.ambiguous.as_ref())
            .is_some_and(|raised| raised.reason == Ambiguity::Interrupted);
        let why_ambiguous = matches!(
            refusal,
            Refusal::Unavailable {
                why: Unavailable::Ambiguous,
                ..
            }
        );
        let is_rightly_unsure = interrupted && why_ambiguous;
        let is_excused = is_in_doubt || is_rightly_stale || is_rightly_unsure;
        if is_valid && is_calm && !is_short && !is_excused {
            self.refusals += 1;
            self.violate(23, || format!("refused although all is well: {refusal:?}"));
        }
    }

    /// Invariant 5: a stop leaves nothing behind that could still come.
    pub(crate) fn check_stop(&mut self) {
        let is_out = self
            .truths
            .iter()
            .any(|truth| truth.out.iter().any(|out| truth.grant == Some(out.grant)));
        if is_out {
            self.violate(5, || {
                "the process stops while an exchange is in flight".into()
            });
        }
    }

    /// Invariant 5: whatever was sent comes to an end that the engine hears of.
    pub(crate) fn check_out(&mut self, account: usize) {
        let truth = &self.truths[account];
        let stuck = truth
            .out
            .iter()
            .any(|out| self.t > out.sent + MINUTE && !truth.was_excluded(out.sent, self.t));
        if stuck {
            self.violate(5, || "an exchange was sent, and its end never came".into());
        }
    }

    /// A client that waits longer than it said.
    pub(crate) fn check_unanswered(&mut self, ticket: Ticket) {
        let Some(wait) = self.waits.get(&ticket) else {
            return;
        };
        let account = crate::shell::number_of(&wait.demand.account);
        let (at, deadline) = (wait.at, wait.at + wait.demand.wait.as_millis() as Ms);
        if self.t > deadline + SECOND && !self.truths[account].was_troubled(at, self.t) {
            self.violate(23, || "a client was never answered".into());
        }
    }

    /// Whether the token that readers see is older than it may be.
    pub(crate) fn check_late(&mut self, account: usize, key: &LeaseKey) {
        let Some(view) = self.shell.published[account].clone() else {
            return;
        };
        if let Some(lease) = view.grant.leases.get(key) {
            self.check_lease_late(account, key, lease, &view.grant);
        }
    }

    /// The target: nobody gets a token below the floor, unless the provider was away for longer than
    /// the bound.
    pub(crate) fn check_lease_late(
        &mut self,
        account: usize,
        key: &LeaseKey,
        lease: &Lease,
        grant: &Grant,
    ) {
        let Some(life) = lease.lifetime.map(|life| life.as_millis() as Ms) else {
            return;
        };
        let is_ours = lease.issued.boot_id == self.clocks.boot_id();
        let shortest = if self.story.people[account].second {
            2 * SHORTEST
        } else {
            SHORTEST
        };
        if !is_ours || lease.rejected || !grant.renewable || life < shortest {
            return;
        }
        let habits = &self.story.hosts[self.story.people[account].host];
        // A provider that refuses early goes by the newest token that it issued.
        let is_misled = self.newest(account).is_some_and(|held| {
            self.ledger.is_too_early(
                held,
                habits,
                self.t.min(self.clocks.when(lease.issued.at.boot) + life),
            )
        });
        if habits.early.is_some() && (is_misled || !self.is_known(named(lease.fingerprint))) {
            return;
        }
        let lead = lease.lead.as_millis() as Ms;
        let floor = lease.floor().as_millis() as Ms;
        let end = self.clocks.when(lease.issued.at.boot) + life;
        let (due, late_at) = (end.saturating_sub(lead), end - floor);
        if self.t <= due {
            return;
        }
        let truth = &self.truths[account];
        let in_use = truth
            .use_of(key)
            .is_some_and(|used| used.since < due && used.last + Self::IN_USE > late_at + MINUTE);
        if !in_use || lead < 2 * floor || truth.blocked_since.is_some() {
            return;
        }
        let until = late_at.min(self.t);
        // A calendar that was set makes a token look spent: it is then renewed, or that fails, long
        // before its time.
        let token = named(lease.fingerprint);
        let due = match self.is_known(token) {
            true => due,
            false => due.min(self.ledger.access_token(token).sent),
        };
        let spans = truth
            .spans
            .iter()
            .filter(|span| span.from <= until && span.to >= due);
        let (mut from, mut to, mut excluded) = (Ms::MAX, 0, false);
        for span in spans {
            excluded |= span.excluded;
            (from, to) = (from.min(span.from.max(due)), to.max(span.to.min(until)));
        }
        if excluded {
            return;
        }
        let mut bound = self.bound(life, lead, floor, grant);
        if grant.flags.ambiguous.is_some() && reuse_is_dangerous(&grant.provider.profile) {
            // The retry waits until two floors are left: one time-out is what that bears.
            bound = bound.min(30 * SECOND);
        }
        let trouble = (from != Ms::MAX).then(|| to.saturating_sub(from));
        if self.t <= late_at {
            if let Some(trouble) = trouble.filter(|_| bound > 0 && self.t > to) {
                let share = trouble as f64 / bound as f64;
                self.margin.survived = self.margin.survived.max(share);
            }
            return;
        }
        let late_by = self.t - late_at;
        match trouble {
            None => {
                let elsewhere = self
                    .truths
                    .iter()
                    .enumerate()
                    .any(|(other, truth)| other != account && truth.was_troubled(due, late_at));
                let invariant = if elsewhere { 17 } else { 0 };
                self.violate(invariant, || {
                    format!("a token is {late_by} ms below the floor, and nothing was amiss")
                });
            }
            Some(trouble) if trouble < bound => self.violate(0, || {
                format!(
                    "a token is {late_by} ms below the floor after {trouble} ms of trouble, and \
                     {bound} ms must be borne"
                )
            }),
            Some(trouble) => {
                self.margin.late += 1;
                if bound > 0 {
                    let margin = trouble as i64 - bound as i64;
                    let worst = self.margin.worst.get_or_insert(margin);
                    *worst = (*worst).min(margin);
                }
            }
        }
    }

    /// How long a trouble must be borne.
    fn bound(&self, life: Ms, lead: Ms, floor: Ms, grant: &Grant) -> Ms {
        if life < BEARS_A_TIMEOUT {
            return 0;
        }
        if life < BEARS_MORE {
            return (30 * SECOND).min(lead.saturating_sub(floor + 75 * SECOND));
        }
        let (share, most) = if grant.provider.profile.refresh_revokes_access_token {
            (0.15, 60 * MINUTE)
        } else {
            (0.35, 12 * 60 * MINUTE)
        };
        let nominal = ((life as f64 * share) as Ms).clamp(2 * floor, most.max(2 * floor));
        let least = (nominal as f64 * 0.85) as Ms;
        least.min(lead).saturating_sub(2 * MINUTE)
    }

    /// Invariant 15.
    pub(crate) fn check_wake(&mut self, since: Ms) {
        if self.woke != Some(since) || self.broker.is_none() || self.stopping {
            return;
        }
        self.woke = None;
        let (now, boot_id) = (self.clocks.now(since), self.clocks.boot_id());
        for (account, truth) in self.truths.iter().enumerate() {
            let host = self.story.people[account].host;
            let Some(view) = &self.shell.published[account] else {
                continue;
            };
            let key = self.key(false);
            let is_due = view.grant.leases.get(&key).is_some_and(|lease| {
                !lease.rejected
                    && lease.issued.boot_id == boot_id
                    && lease.lifetime.is_some_and(|life| {
                        // By the boot clock: that the calendar was set is told by nobody here.
                        let age = now.boot.since(lease.issued.at.boot);
                        life.saturating_sub(age) + Duration::from_secs(2) < lease.lead
                    })
            });
            let in_use =
                truth.uses[0].is_some_and(|used| since < used.last + Self::IN_USE - MINUTE);
            let is_held = truth.blocked_since.is_some()
                || truth.held_until > since
                || truth.throttled_until > since
                || truth.unresolved.is_some()
                || view.grant.flags.ambiguous.is_some()
                || truth.refused_early
                || self.disk != Disk::Works;
            let tried = self.truths.iter().enumerate().any(|(other, truth)| {
                self.story.people[other].host == host
                    && (truth.last_start.is_some_and(|start| start >= since)
                        || !truth.out.is_empty())
            });
            if is_due && in_use && !is_held && !tried && self.kill_in.is_none() {
                return self.violate(15, || {
                    format!("a{account} is due since the wake, and nothing was tried")
                });
            }
        }
    }
}
