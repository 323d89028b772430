//! Asking the provider whether a token is still alive, so that a session that was ended early is
//! renewed before an API refuses its token.
//!
//! Only leases that clients really use are asked about, and an answer is believed only where the
//! provider was heard to call a token alive before: some answer "inactive" to every client that may
//! not ask.

use std::time::Duration;

use super::{Context, Renewal};
use crate::{
    broker::{Check, Decided, Finding, Means},
    id::Fingerprint,
    learned::Learned,
    lease::{Lease, LeaseKey},
    map::SmallMap,
    time::Boot,
};

/// Longest distance of questions to a provider that gives no answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// Use is told once a minute; what was used since is in use.
const USE_IS_TOLD: Duration = Duration::from_secs(120);
/// How much sooner than believed a token must end, by the provider's word, for that to count.
const TOLERANCE: Duration = Duration::from_secs(5);
/// The scope that lets a token ask who its user is (OpenID Connect Core §5.3).
const OPENID: &str = "openid";

/// What is known from asking.
#[derive(Debug, Default)]
pub(super) struct Validation {
    /// The question under way.
    asked: Option<Box<Check>>,
    /// Each lease that clients use.
    leases: SmallMap<LeaseKey, Known>,
    /// No question before this.
    not_before: Boot,
    /// Questions in a row that told nothing.
    unanswered: u32,
}

/// What is known of one lease's tokens.
#[derive(Debug, Default)]
struct Known {
    /// When clients last used it.
    used: Boot,
    /// When it was last asked about.
    latest: Option<Boot>,
    /// A token of it was called alive before.
    proven: bool,
    /// Even new ones are called dead: it is not asked about any more.
    distrusted: bool,
    /// The token that was last found alive, and how old it was then.
    alive: Option<(Fingerprint, Duration)>,
    /// The token that took a dead one's place.
    successor: Option<Fingerprint>,
}

impl Validation {
    pub(super) fn used(&mut self, key: &LeaseKey, now: Boot) {
        self.leases.get_or_default(key).used = now;
    }

    pub(super) fn forget_unless(&mut self, held: impl Fn(&LeaseKey) -> bool) {
        self.leases.retain(|key, _| held(key));
    }

    /// The lease was renewed; with the token that took a dead one's place.
    pub(super) fn renewed(&mut self, key: &LeaseKey, successor: Option<Fingerprint>) {
        if let Some(known) = self.leases.get_mut(key) {
            known.successor = successor;
        }
    }

    fn heard_nothing(&mut self, every: Duration, now: Boot) {
        self.unanswered = self.unanswered.saturating_add(1);
        let pause = every.saturating_mul(1 << self.unanswered.min(16));
        self.not_before = now.after(pause.min(LONGEST_PAUSE));
    }
}

impl Renewal {
    /// When the provider is to be asked next, and about what; `None` when nobody uses anything that
    /// could be asked about.
    pub(super) fn next_check(&self, cx: &Context<'_>) -> Option<(Boot, Check)> {
        let every = cx.config.validate_every?;
        let validation = &self.validation;
        let closed = cx.stopping || cx.suspended || self.leaving.is_some();
        if closed || validation.asked.is_some() || !self.is_resting() {
            return None;
        }
        let leases = self.grant.leases.iter();
        leases
            .filter_map(|(key, lease)| {
                let means = self.means(key, lease)?;
                let at = self.check_at(key, lease, every, cx)?;
                let check = Check {
                    account: self.grant.account.clone(),
                    grant: self.grant.id,
                    key: key.clone(),
                    fingerprint: lease.fingerprint,
                    means,
                };
                Some((at.max(validation.not_before), check))
            })
            .min_by_key(|(at, _)| *at)
    }

    fn check_at(
        &self,
        key: &LeaseKey,
        lease: &Lease,
        every: Duration,
        cx: &Context<'_>,
    ) -> Option<Boot> {
        let now = cx.now.boot;
        let known = self.validation.leases.get(key)?;
        let is_spent = lease.remaining(cx.now, cx.boot_id) == Some(Duration::ZERO);
        let is_short = lease.lifetime.is_some_and(|lifetime| lifetime <= every);
        let is_unused = now.since(known.used) >= (2 * every).max(USE_IS_TOLD);
        if known.distrusted || is_unused || lease.rejected || is_spent || is_short {
            return None;
        }
        // What took the place of a dead token shows whether the provider is to be believed.
        if !known.proven || known.successor == Some(lease.fingerprint) {
            return Some(now);
        }
        // That it was issued, or called alive, is what is known of it.
        let age = lease.issued.age(cx.now, cx.boot_id).unwrap_or(every);
        let known_for = known.latest.map_or(age, |asked| now.since(asked).min(age));
        // A little sooner than asked for, differently for each token: a thousand accounts do not
        // come in step, and the interval holds.
        let early = every.mul_f64(0.15 * f64::from(lease.fingerprint.0[0]) / 255.0);
        Some(now.after((every - early).saturating_sub(known_for)))
    }

    fn means(&self, key: &LeaseKey, lease: &Lease) -> Option<Means> {
        let endpoints = &self.grant.provider.endpoints;
        if endpoints.introspection.is_some() {
            return Some(Means::Introspection);
        }
        let may_ask =
            *key == LeaseKey::of_login(&self.grant) && lease.scopes.iter().any(|s| s == OPENID);
        (endpoints.userinfo.is_some() && may_ask).then_some(Means::Userinfo)
    }

    /// The question that is due now.
    pub(crate) fn due_check(&self, cx: &Context<'_>) -> Option<Check> {
        let (at, check) = self.next_check(cx)?;
        (at <= cx.now.boot).then_some(check)
    }

    /// The question leaves.
    pub(crate) fn check_begun(&mut self, check: Check) {
        self.validation.asked = Some(Box::new(check));
    }

    /// The host has no room for questions before `until`.
    pub(crate) fn put_checks_off(&mut self, until: Boot) {
        self.validation.not_before = self.validation.not_before.max(until);
    }

    /// The provider said something, or nothing.
    pub(crate) fn validated(&mut self, check: &Check, finding: Finding, cx: &mut Context<'_>) {
        let ours = self.validation.asked.take_if(|asked| **asked == *check);
        if ours.is_none() {
            return;
        }
        let now = cx.now.boot;
        let every = cx.config.validate_every.unwrap_or_default();
        let known = self.validation.leases.get_or_default(&check.key);
        known.latest = Some(now);
        let lease = self.grant.leases.get(&check.key);
        let Some(lease) = lease.filter(|lease| lease.fingerprint == check.fingerprint) else {
            // It was renewed meanwhile.
            return;
        };
        let age = lease.issued.age(cx.now, cx.boot_id).unwrap_or_default();
        let successor = &mut known.successor;
        let is_successor = successor.take_if(|it| *it == check.fingerprint).is_some();
        match finding {
            Finding::Active { expires_in } => {
                known.proven = true;
                known.alive = Some((check.fingerprint, age));
                self.validation.unanswered = 0;
                if let Some(left) = expires_in {
                    self.ends_in(&check.key, age, left, cx);
                }
            }
            // Dead as soon as it was issued: then it is the answer that is wrong.
            Finding::Inactive if is_successor => {
                known.distrusted = true;
                self.distrust(&check.key, cx);
            }
            Finding::Inactive if known.proven => {
                let alive = known.alive;
                let alive = alive.filter(|(fingerprint, _)| *fingerprint == check.fingerprint);
                let lived = alive.map_or(age, |(_, age)| age);
                self.is_dead(&check.key, lived, cx);
            }
            // "Inactive" from one who never said anything else is no answer.
            Finding::Inactive | Finding::Unknown => self.validation.heard_nothing(every, now),
        }
    }

    /// The provider calls even new tokens dead: nothing is learned from it, and it is asked no more.
    fn distrust(&mut self, key: &LeaseKey, cx: &mut Context<'_>) {
        self.grant_mut().learned.remove(key);
        self.record(Decided::Validated(Finding::Unknown), None, cx);
        self.keep(cx);
    }

    /// The token is dead: it lived for `lived` at least, and is served to nobody.
    fn is_dead(&mut self, key: &LeaseKey, lived: Duration, cx: &mut Context<'_>) {
        self.reports.set_down();
        if self.grant.renewable {
            self.learn(key, lived, cx);
        }
        if let Some(lease) = self.grant_mut().leases.get_mut(key) {
            (lease.rejected, lease.dead) = (true, true);
        }
        self.record(Decided::Validated(Finding::Inactive), None, cx);
        self.keep(cx);
        self.note_end(cx);
    }

    /// The provider says when the token ends. Sooner than believed is believed.
    fn ends_in(&mut self, key: &LeaseKey, age: Duration, left: Duration, cx: &mut Context<'_>) {
        let believed = self.remaining(key, cx);
        if left.is_zero() || left.saturating_add(TOLERANCE) + left / 50 >= believed {
            return;
        }
        let lifetime = age.saturating_add(left);
        self.learn(key, lifetime, cx);
        if let Some(lease) = self.grant_mut().leases.get_mut(key) {
            lease.lifetime = Some(lifetime);
            lease.lead = lease.lead.min(lifetime.mul_f64(0.8));
        }
        self.keep(cx);
    }

    /// A token of this kind lived for `lived` and no longer.
    pub(super) fn learn(&mut self, key: &LeaseKey, lived: Duration, cx: &mut Context<'_>) {
        let before = self.grant.learned.get(key);
        let lease = self.grant.leases.get(key);
        let stated = before
            .map(|learned| learned.stated)
            .or(lease.and_then(|lease| lease.lifetime));
        let Some(stated) = stated else { return };
        let learned = Learned::from_end(before, stated, lived);
        let lifetime = learned.lifetime;
        self.grant_mut().learned.insert(key.clone(), learned);
        self.record(Decided::LifetimeLearned { lifetime, stated }, None, cx);
    }
}
