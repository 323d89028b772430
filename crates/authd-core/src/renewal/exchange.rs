//! One exchange, in the order that loses nothing: intend, exchange, commit, publish.

use std::{sync::Arc, time::Duration};

use super::{
    Attempt, Cause, Context, Phase, Renewal, Unsaved, Verdict,
    backoff::LONGEST_RETRY_AFTER,
    classify::classify,
    lifetime::{lead, lifetime},
    timing::Plan,
};
use crate::{
    answer::{Answer, Body, Failure, GrantType, Received, RetryAfter, TokenSummary},
    broker::{CommitOutcome, Decided, Effect, Exchange, Notice},
    flag::{Ambiguity, LoginReason, Raised},
    grant::{Grant, LastError, Rotation},
    id::AttemptId,
    lease::{Lease, LeaseKey, Standing, floor_of},
    schedule::Health,
    scope::ScopeSet,
    time::{Now, Stamp},
};

/// A misconfigured client is tried again at this distance: somebody may have mended it.
const MISCONFIGURED_PAUSE: Duration = Duration::from_secs(1800);
/// Refusals in no known form, in a row, until the user is asked.
const UNINTELLIGIBLE: u32 = 5;
/// Longest distance between two tries to write what the database did not take.
const LONGEST_SAVE_PAUSE: Duration = Duration::from_secs(30);

impl Renewal {
    /// Begins the exchange that was planned.
    pub(crate) fn start(&mut self, id: AttemptId, plan: Plan, cx: &mut Context<'_>) {
        let attempt = Attempt {
            id,
            key: plan.key,
            cause: plan.cause,
            generation: self.grant.generation,
        };
        self.latest_start = Some(cx.now.boot);
        self.started.insert(attempt.key.clone(), cx.now.boot);
        if attempt.cause == Cause::Settling && self.may_settle_at_once() {
            self.settled_at_once = true;
        }
        cx.effects.push_back(Effect::Intend {
            exchange: self.exchange(&attempt),
        });
        self.phase = Phase::AwaitingIntended(attempt);
        self.record(Decided::Renewal(plan.cause), None, cx);
        self.publish(None, cx);
    }

    fn exchange(&self, attempt: &Attempt) -> Exchange {
        Exchange {
            attempt: attempt.id,
            account: self.grant.account.clone(),
            grant: self.grant.id,
            generation: attempt.generation,
            grant_type: GrantType::RefreshToken,
            key: attempt.key.clone(),
            login: None,
        }
    }

    /// The intent is on disk: the request may leave. Or it is not, and it may not.
    ///
    /// Returns the health of the host when this ended the attempt.
    pub(crate) fn intended(
        &mut self,
        result: Result<(), String>,
        cx: &mut Context<'_>,
    ) -> Option<Health> {
        let Phase::AwaitingIntended(attempt) = std::mem::replace(&mut self.phase, Phase::Resting)
        else {
            return None;
        };
        match result {
            Ok(()) => {
                if self.grant.flags.store_degraded.is_some() {
                    self.grant_mut().flags.store_degraded = None;
                }
                cx.effects
                    .push_back(Effect::Exchange(self.exchange(&attempt)));
                self.phase = Phase::AwaitingAnswer(attempt);
                None
            }
            Err(reason) => {
                self.failed(&attempt.key, cx);
                self.degrade(reason, cx);
                self.settle_waiters(true, cx);
                self.publish(None, cx);
                Some(Health::Untried)
            }
        }
    }

    /// The provider answered, or did not.
    ///
    /// Returns the health of the host.
    pub(crate) fn answered(&mut self, answer: &Answer, cx: &mut Context<'_>) -> Option<Health> {
        let Phase::AwaitingAnswer(attempt) = std::mem::replace(&mut self.phase, Phase::Resting)
        else {
            return None;
        };
        let profile = &self.grant.provider.profile;
        let verdict = classify(answer, GrantType::RefreshToken, profile);
        let request_id = answer.request_id.clone();
        let health = Self::health(verdict);
        match &answer.received {
            Received::Response {
                body: Body::Tokens(tokens),
                ..
            } if verdict == Verdict::Accepted => {
                let next = Arc::new(self.succeed(&attempt, tokens, answer.sent_at, cx));
                cx.effects.push_back(Effect::Commit {
                    attempt: attempt.id,
                    grant: Arc::clone(&next),
                });
                self.phase = Phase::AwaitingCommitted {
                    attempt,
                    next,
                    request_id,
                };
            }
            _ => {
                self.phase = Phase::AwaitingAnswer(attempt.clone());
                self.record(Decided::Judged(verdict), request_id, cx);
                self.phase = Phase::Resting;
                self.refused(&attempt, verdict, answer, cx);
            }
        }
        Some(health)
    }

    /// The grant as it is once these tokens are on disk.
    fn succeed(
        &mut self,
        attempt: &Attempt,
        tokens: &TokenSummary,
        sent_at: Now,
        cx: &mut Context<'_>,
    ) -> Grant {
        let mut next = Grant::clone(&self.grant);
        next.generation = attempt.generation.next();
        next.renewals = next.renewals.saturating_add(1);
        next.last_error = None;
        if next.provider.profile.rotation == Rotation::Unknown {
            // Seen with our own eyes: until now the careful assumption held.
            next.provider.profile.rotation = if tokens.refresh_token {
                Rotation::ReuseDetected
            } else {
                Rotation::None
            };
        }
        let flags = &mut next.flags;
        (flags.offline, flags.throttled) = (None, None);
        (flags.ambiguous, flags.suspect) = (None, None);
        (flags.misconfigured, flags.needs_login) = (None, None);
        if attempt.cause != Cause::Reported {
            flags.provider_rejects = None;
        }
        if let Some(reason) = subject_changed(&self.grant, tokens) {
            // The refresh token is spent and its successor must be kept; but nobody is served
            // another person's token.
            flags.needs_login = Some(Raised {
                reason,
                since: cx.now.wall,
            });
            return next;
        }
        let asked = if attempt.key.scopes.is_empty() {
            &next.scopes
        } else {
            &attempt.key.scopes
        };
        let granted = tokens.scopes.clone().unwrap_or_else(|| asked.clone());
        next.flags.scope_changed = (granted != *asked).then(|| Raised {
            reason: granted.clone(),
            since: cx.now.wall,
        });
        let stamp = Stamp {
            boot_id: cx.boot_id,
            at: sent_at,
        };
        let lease = new_lease(&next, tokens, granted, stamp, cx.rng.f64());
        next.leases.retain(|key, lease| {
            *key == attempt.key
                || *key == LeaseKey::of_login(&self.grant)
                || lease.standing(cx.now, cx.boot_id) != Standing::Expired
        });
        next.leases.insert(attempt.key.clone(), lease);
        next
    }

    /// The exchange brought no tokens.
    fn refused(
        &mut self,
        attempt: &Attempt,
        verdict: Verdict,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) {
        let since = cx.now.wall;
        self.grant_mut().last_error = Some(last_error(verdict, answer, cx.now));
        let was_standing = self.grant.flags.clone();
        let flags = &mut self.grant_mut().flags;
        (flags.offline, flags.throttled) = (None, None);
        if !matches!(verdict, Verdict::Ambiguous(_)) {
            let (account, attempt) = (self.grant.account.clone(), attempt.id);
            cx.effects.push_back(Effect::Annul { account, attempt });
            if verdict_is_about_the_token(verdict) {
                // The provider spoke about the token itself: what was lost before is settled.
                self.grant_mut().flags.ambiguous = None;
            }
        }
        match verdict {
            Verdict::Accepted => {}
            Verdict::Transient | Verdict::Offline => {
                let reason = class(answer);
                self.grant_mut().flags.offline = Some(Raised { reason, since });
                self.failed(&attempt.key, cx);
            }
            Verdict::Throttled => self.throttled(&attempt.key, answer, cx),
            Verdict::Ambiguous(ambiguity) => {
                self.raise_ambiguous(ambiguity, cx);
                self.failed(&attempt.key, cx);
            }
            Verdict::InvalidGrant if attempt.cause == Cause::Confirming => {
                self.needs_login(LoginReason::Revoked, cx);
            }
            Verdict::InvalidGrant | Verdict::ExpiredToken | Verdict::AccessDenied => {
                let reason = last_error(verdict, answer, cx.now).code;
                self.grant_mut().flags.suspect = Some(Raised { reason, since });
                self.plan_confirmation(cx);
                self.hasten_confirmation(&attempt.key, cx);
            }
            Verdict::InteractionRequired => {
                self.needs_login(LoginReason::InteractionRequired, cx);
            }
            Verdict::Misconfigured | Verdict::EndpointMoved => {
                if !self.too_early(&attempt.key, cx) {
                    let reason = last_error(verdict, answer, cx.now).message;
                    self.grant_mut().flags.misconfigured = Some(Raised { reason, since });
                    self.backoff.hold(cx.now.boot.after(MISCONFIGURED_PAUSE));
                }
            }
            Verdict::Unintelligible | Verdict::AuthorizationPending | Verdict::SlowDown => {
                if !self.too_early(&attempt.key, cx) {
                    self.unintelligible = self.unintelligible.saturating_add(1);
                    self.failed(&attempt.key, cx);
                    if self.unintelligible >= UNINTELLIGIBLE {
                        self.needs_login(LoginReason::Unintelligible, cx);
                    }
                }
            }
        }
        if self.grant.flags != was_standing || self.grant.flags.ambiguous.is_some() {
            self.keep(cx);
        }
        self.settle_waiters(true, cx);
        self.publish(None, cx);
    }

    /// Some servers refuse a refresh while the access token is still good. The token stays, and the
    /// renew point moves: half the lead, but never so late that the floor is in danger.
    fn too_early(&mut self, key: &LeaseKey, cx: &mut Context<'_>) -> bool {
        let left = self.remaining(key, cx);
        let Some(lease) = self.grant_mut().leases.get_mut(key) else {
            return false;
        };
        let Some(lifetime) = lease.lifetime else {
            return false;
        };
        let later = (lease.lead / 2).max(2 * floor_of(lifetime));
        if lease.rejected || later >= lease.lead || left <= later {
            return false;
        }
        lease.lead = later;
        self.backoff
            .hold(cx.now.boot.after(left.saturating_sub(later)));
        true
    }

    fn throttled(&mut self, key: &LeaseKey, answer: &Answer, cx: &mut Context<'_>) {
        self.failed(key, cx);
        let asked = answer.retry_after.map(|retry_after| match retry_after {
            RetryAfter::Delay(delay) => delay,
            RetryAfter::Until(until) => until.since(answer.date.unwrap_or(cx.now.wall)),
        });
        let until = match asked {
            Some(delay) => cx.now.boot.after(delay.min(LONGEST_RETRY_AFTER)),
            None => self.backoff.not_before(),
        };
        let since = cx.now.wall;
        self.grant_mut().flags.throttled = Some(Raised {
            reason: until,
            since,
        });
    }

    fn failed(&mut self, key: &LeaseKey, cx: &mut Context<'_>) {
        let urgency = self.urgency(key, cx);
        self.backoff.failed(cx.now.boot, urgency, cx.rng);
    }

    /// An answer may be lost: whether the refresh token is spent is not known.
    pub(super) fn raise_ambiguous(&mut self, reason: Ambiguity, cx: &mut Context<'_>) {
        if self.grant.flags.ambiguous.is_some() {
            return;
        }
        let since = cx.now.wall;
        self.settled_at_once = false;
        self.grant_mut().flags.ambiguous = Some(Raised { reason, since });
        if !self.may_settle_at_once() {
            let account = self.grant.account.clone();
            cx.effects.push_back(Effect::Notify {
                account,
                notice: Notice::AnswerLost,
            });
        }
    }

    /// `invalid_grant` gets one confirmation after 60 to 120 s.
    pub(super) fn plan_confirmation(&mut self, cx: &mut Context<'_>) {
        let wait = Duration::from_secs_f64(60.0 + 60.0 * cx.rng.f64());
        self.confirm_at = Some(cx.now.boot.after(wait));
    }

    /// ... sooner, if nothing is left to serve meanwhile.
    pub(super) fn hasten_confirmation(&mut self, key: &LeaseKey, cx: &mut Context<'_>) {
        if let Some(confirm_at) = self.confirm_at
            && self.remaining(key, cx).is_zero()
        {
            let soon = Duration::from_secs_f64(2.0 + 3.0 * cx.rng.f64());
            self.confirm_at = Some(confirm_at.min(cx.now.boot.after(soon)));
        }
    }

    /// Only the user can go on. The refresh token stays where it is, and a live token is served on.
    fn needs_login(&mut self, reason: LoginReason, cx: &mut Context<'_>) {
        let since = cx.now.wall;
        self.confirm_at = None;
        let flags = &mut self.grant_mut().flags;
        (flags.suspect, flags.ambiguous) = (None, None);
        flags.needs_login = Some(Raised {
            reason: reason.clone(),
            since,
        });
        let account = self.grant.account.clone();
        cx.effects.push_back(Effect::Notify {
            account,
            notice: Notice::LoginNeeded(reason),
        });
        self.record(Decided::LoginNeeded, None, cx);
    }

    /// The answer is on disk: now it may be seen.
    ///
    /// Returns whether the attempt was this account's.
    pub(crate) fn committed(&mut self, outcome: CommitOutcome, cx: &mut Context<'_>) -> bool {
        let phase = std::mem::replace(&mut self.phase, Phase::Resting);
        let Phase::AwaitingCommitted {
            attempt,
            next,
            request_id,
        } = phase
        else {
            self.phase = phase;
            return false;
        };
        if outcome == CommitOutcome::Superseded {
            self.record(Decided::Discarded, request_id, cx);
            self.settle_waiters(true, cx);
            return true;
        }
        let before = std::mem::replace(&mut self.grant, next);
        self.carry_over(&before);
        self.backoff.reset();
        self.confirm_at = None;
        self.unintelligible = 0;
        self.settled_at_once = false;
        self.brought_by_report =
            (attempt.cause == Cause::Reported).then_some(self.grant.generation);
        self.announce(&before, cx);
        let decided = match outcome {
            CommitOutcome::Durable | CommitOutcome::Superseded => {
                self.grant_mut().flags.store_degraded = None;
                Decided::Committed
            }
            CommitOutcome::Spilled(reason) | CommitOutcome::MemoryOnly(reason) => {
                self.saved_elsewhere(reason, cx);
                Decided::CommittedElsewhere
            }
        };
        self.record(decided, request_id, cx);
        self.publish(Some(attempt.id), cx);
        self.settle_waiters(false, cx);
        // Later plans depend on who is still waiting, and readers see them.
        self.publish(None, cx);
        true
    }

    /// What changed while the answer was on its way to the disk stays changed.
    fn carry_over(&mut self, before: &Grant) {
        let rejected: Vec<_> = before
            .leases
            .iter()
            .filter(|(_, lease)| lease.rejected)
            .collect();
        for (key, old) in rejected {
            if let Some(lease) = self.grant_mut().leases.get_mut(key)
                && lease.fingerprint == old.fingerprint
            {
                lease.rejected = true;
            }
        }
        if self.grant.flags.stale_store != before.flags.stale_store {
            self.grant_mut().flags.stale_store = before.flags.stale_store.clone();
        }
    }

    fn announce(&self, before: &Grant, cx: &mut Context<'_>) {
        let account = self.grant.account.clone();
        let flags = &self.grant.flags;
        if let Some(raised) = &flags.needs_login {
            let notice = Notice::LoginNeeded(raised.reason.clone());
            cx.effects.push_back(Effect::Notify { account, notice });
        } else if let Some(changed) = &flags.scope_changed
            && before
                .flags
                .scope_changed
                .as_ref()
                .map(|raised| &raised.reason)
                != Some(&changed.reason)
        {
            cx.effects.push_back(Effect::Notify {
                account,
                notice: Notice::ScopeChanged,
            });
        }
    }

    fn degrade(&mut self, reason: String, cx: &mut Context<'_>) {
        if self.grant.flags.store_degraded.is_none() {
            let notice = Notice::StoreDegraded(reason.clone());
            let account = self.grant.account.clone();
            cx.effects.push_back(Effect::Notify { account, notice });
        }
        let since = cx.now.wall;
        self.grant_mut().flags.store_degraded = Some(Raised { reason, since });
    }

    fn retry_save(&mut self, tries: u32, cx: &Context<'_>) {
        let pause = Duration::from_secs(1 << tries.min(5)).min(LONGEST_SAVE_PAUSE);
        self.unsaved = Some(Unsaved {
            retry_at: Some(cx.now.boot.after(pause)),
            tries,
        });
    }

    /// A login's answer is in the spill file alone.
    pub(crate) fn saved_elsewhere(&mut self, reason: String, cx: &mut Context<'_>) {
        self.degrade(reason, cx);
        self.retry_save(0, cx);
    }

    /// Whether a leaving account can go: nothing of it is in flight.
    pub(crate) fn may_leave(&self) -> bool {
        self.leaving.is_some() && self.is_resting()
    }

    /// A write that had failed was tried again.
    pub(crate) fn saved(&mut self, result: Result<(), String>, cx: &mut Context<'_>) {
        let Some(unsaved) = self.unsaved.take() else {
            return;
        };
        match result {
            Ok(()) => self.grant_mut().flags.store_degraded = None,
            Err(reason) => {
                self.degrade(reason, cx);
                self.retry_save(unsaved.tries.saturating_add(1), cx);
            }
        }
        self.publish(None, cx);
        self.settle_waiters(false, cx);
    }
}

/// The lease that `tokens` make.
pub(crate) fn new_lease(
    grant: &Grant,
    tokens: &TokenSummary,
    scopes: ScopeSet,
    issued: Stamp,
    draw: f64,
) -> Lease {
    let profile = &grant.provider.profile;
    let (life, expiry) = lifetime(tokens, profile, grant.renewable, issued.at.wall);
    let lead = life.map_or(Duration::ZERO, |life| {
        lead(life, tokens.refresh_in, profile, draw)
    });
    Lease {
        generation: grant.generation,
        fingerprint: tokens.fingerprint,
        token_type: tokens.token_type.clone(),
        scopes,
        issued,
        lifetime: life,
        expiry,
        lead,
        rejected: false,
    }
}

fn subject_changed(grant: &Grant, tokens: &TokenSummary) -> Option<LoginReason> {
    let (before, after) = (grant.subject.as_ref()?, tokens.subject.as_ref()?);
    (before.sub != after.sub).then_some(LoginReason::SubjectChanged)
}

/// Whether the provider judged the refresh token itself, so that a lost answer is settled by it.
fn verdict_is_about_the_token(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::InvalidGrant | Verdict::InteractionRequired
    )
}

/// The class of a failure in one word, for `status`.
pub(crate) fn class(answer: &Answer) -> &'static str {
    match &answer.received {
        Received::Nothing { failure, .. } => match failure {
            Failure::Dns => "dns",
            Failure::Connect => "connect",
            Failure::Tls => "tls",
            Failure::Timeout => "timeout",
            Failure::Broken => "connection_broken",
            Failure::TooLarge => "response_too_large",
        },
        Received::Response {
            body: Body::Html, ..
        } => "html_page",
        Received::Response { .. } => "provider_error",
    }
}

/// What went wrong, for a person.
pub(crate) fn last_error(verdict: Verdict, answer: &Answer, now: Now) -> LastError {
    let (code, message) = match &answer.received {
        Received::Response {
            status,
            body: Body::Error {
                code, description, ..
            },
        } => {
            let words = description.as_deref().unwrap_or("no description");
            (
                code.clone(),
                format!("the provider answered {status} {code}: {words}"),
            )
        }
        Received::Response { status, body } => {
            let what = match body {
                Body::Html => "a web page",
                Body::Empty => "an empty answer",
                _ => "an answer that is no OAuth response",
            };
            let code = if verdict == Verdict::Throttled {
                "throttled"
            } else {
                class(answer)
            };
            (
                code.to_owned(),
                format!("the token endpoint gave {what} with status {status}"),
            )
        }
        Received::Nothing { bytes_left, .. } => {
            let class = class(answer);
            let lost = if *bytes_left {
                "after the request was sent"
            } else {
                "before it was sent"
            };
            (
                class.to_owned(),
                format!("no answer from the provider ({class}, {lost})"),
            )
        }
    };
    LastError {
        code,
        message,
        at: now.wall,
    }
}
