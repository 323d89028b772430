//! When an exchange brought no tokens: what that means for the account, and when to try again.

use std::time::Duration;

use super::{Attempt, Cause, Context, Renewal, Verdict, backoff::LONGEST_RETRY_AFTER};
use crate::{
    answer::{Answer, Body, Failure, Received, RetryAfter},
    broker::{Decided, Effect, Notice},
    flag::{Ambiguity, LoginReason, Raised},
    grant::{LastError, Quirk, Rotation},
    lease::{LeaseKey, floor_of},
    planted::{self, Bug},
    time::{Boot, Now},
};

/// A misconfigured client is tried again at this distance: somebody may have mended it.
const MISCONFIGURED_PAUSE: Duration = Duration::from_secs(1800);
/// Refusals in no known form, in a row, until the user is asked, ...
const UNINTELLIGIBLE: u32 = 5;
/// ... and the distance of tries after that: it was no verdict, and may pass.
const DOUBTFUL_PAUSE: Duration = Duration::from_secs(300);

/// Why one lease's exchange is held back while the others' go on.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) until: Boot,
    /// The provider's words, when it is the request that is wrong.
    pub(super) words: Option<String>,
}

/// What is known of a lost answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loss {
    /// When the request left: a leeway counts from there.
    sent: Option<Boot>,
    /// The one immediate retry was made.
    pub(super) retried: bool,
    /// The person was told.
    warned: bool,
}

impl Renewal {
    /// The exchange brought no tokens.
    pub(super) fn refused(
        &mut self,
        attempt: &Attempt,
        verdict: Verdict,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) {
        let since = cx.now.wall;
        let before = self.grant.clone();
        let error = last_error(verdict, answer, cx.now);
        let words = error.message.clone();
        self.grant_mut().last_error = Some(Box::new(error));
        let flags = &mut self.grant_mut().flags;
        (flags.offline, flags.throttled) = (None, None);
        if matches!(
            verdict,
            Verdict::InvalidGrant | Verdict::InteractionRequired
        ) {
            // The provider spoke about the token itself: what was lost before is settled.
            flags.ambiguous = None;
        }
        let place = cx.effects.len();
        match verdict {
            Verdict::Accepted => {}
            Verdict::Transient | Verdict::Offline => {
                let reason = class(answer);
                self.grant_mut().flags.offline = Some(Raised { reason, since });
                self.failed(&attempt.key, cx);
                if let Some(delay) = retry_after(answer, cx.now) {
                    self.backoff.hold(cx.now.boot.after(delay));
                }
            }
            Verdict::Throttled => self.throttled(&attempt.key, answer, cx),
            Verdict::Ambiguous(ambiguity) => {
                if !planted::is(Bug::LostAnswerForgotten) {
                    self.raise_ambiguous(ambiguity, Some(answer.sent_at.boot), cx);
                }
                self.failed(&attempt.key, cx);
                if let Some(delay) = retry_after(answer, cx.now) {
                    self.backoff.hold(cx.now.boot.after(delay));
                }
            }
            Verdict::Unproven => self.unproven(&attempt.key, words.clone(), cx),
            Verdict::InvalidGrant => {
                if !self.too_early(&attempt.key, answer, cx) {
                    self.suspect(attempt, last_error(verdict, answer, cx.now).code, cx);
                }
            }
            Verdict::InteractionRequired => {
                self.needs_login(LoginReason::InteractionRequired, cx);
            }
            Verdict::Misconfigured | Verdict::EndpointMoved => {
                if !self.too_early(&attempt.key, answer, cx) {
                    let words = last_error(verdict, answer, cx.now).message;
                    self.misconfigured(attempt, answer, words, cx);
                    if verdict == Verdict::EndpointMoved {
                        self.look_for_endpoint(cx);
                    }
                }
            }
            Verdict::Unintelligible
            | Verdict::AuthorizationPending
            | Verdict::SlowDown
            | Verdict::ExpiredToken
            | Verdict::AccessDenied => {
                if !self.too_early(&attempt.key, answer, cx) {
                    self.unintelligible(attempt, answer, cx);
                }
            }
        }
        self.spend_words(&attempt.key);
        let (judged, request_id) = (Decided::Judged(verdict), answer.request_id.clone());
        self.record_of(Some(attempt.id), request_id, judged, Some(words), cx);
        // The answer is told before what was concluded from it, and with what comes next.
        if let Some(told) = cx.effects.pop_back() {
            cx.effects.insert(place, told);
        }
        // What stands is on disk before the intent that would speak for it is cleared.
        let standing = self.grant.flags.standing() != before.flags.standing();
        if standing || self.grant.leases != before.leases {
            self.keep(cx);
        }
        if !matches!(verdict, Verdict::Ambiguous(_)) {
            let (account, attempt) = (self.grant.account.clone(), attempt.id);
            cx.effects.push_back(Effect::Annul { account, attempt });
        }
        self.settle_after_failure(&attempt.key, cx);
    }

    /// Some servers refuse a refresh while the access token is still good. The token stays, and the
    /// renew point moves: half the lead, but never so late that the floor is in danger.
    fn too_early(&mut self, key: &LeaseKey, answer: &Answer, cx: &mut Context<'_>) -> bool {
        let quirks = &self.grant.provider.profile.quirks;
        let refuses_early = quirks.contains(&Quirk::RefusesEarlyRefresh);
        if !refuses_early && !could_mean_too_early(answer) {
            return false;
        }
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
        if planted::is(Bug::EarlyRefusalDropsToken) {
            self.grant_mut().leases.remove(key);
            return true;
        }
        lease.lead = later;
        // The provider works, and said what it wants: what failed before it did is over.
        self.backoff.forgive();
        self.learned_leads.insert(key.clone(), later);
        self.record(Decided::LeadLearned(later), None, cx);
        let until = cx.now.boot.after(left.saturating_sub(later));
        self.bar(key, Bar { until, words: None }, cx.now.boot);
        true
    }

    /// When a refusal that may have meant "too early" is tried again, where no later renew point can be
    /// learned from it: at half of what is left, so that it is not the pause that ends the token.
    fn asked_too_early_until(&self, key: &LeaseKey, cx: &Context<'_>) -> Boot {
        let left = self.remaining(key, cx);
        if left.is_zero() {
            // Nothing is too early any more.
            return Boot(u64::MAX);
        }
        cx.now.boot.after((left / 2).max(Duration::from_secs(1)))
    }

    fn bar(&mut self, key: &LeaseKey, bar: Bar, now: Boot) {
        self.bars.retain(|_, bar| bar.until > now);
        self.bars.insert(key.clone(), bar);
    }

    /// The client or the request is wrong. What one client asked for beside the login's own token is
    /// nobody else's trouble.
    fn misconfigured(
        &mut self,
        attempt: &Attempt,
        answer: &Answer,
        words: String,
        cx: &mut Context<'_>,
    ) {
        let until = cx.now.boot.after(MISCONFIGURED_PAUSE);
        let derived = self.grant.is_derived(&attempt.key);
        if attempt.key != LeaseKey::of_login(&self.grant) && is_about_the_request(answer, derived) {
            let words = Some(words);
            return self.bar(&attempt.key, Bar { until, words }, cx.now.boot);
        }
        let until = match could_mean_too_early(answer) {
            true => until.min(self.asked_too_early_until(&attempt.key, cx)),
            false => until,
        };
        self.raise_misconfigured(words, cx);
        self.backoff.hold(until);
    }

    /// What proves the client could not be had. That is for the user to mend, and may pass: a key store
    /// is unlocked, a command finds its network. So it is tried again as after any failure.
    fn unproven(&mut self, key: &LeaseKey, words: String, cx: &mut Context<'_>) {
        self.failed(key, cx);
        self.raise_misconfigured(words, cx);
    }

    fn raise_misconfigured(&mut self, reason: String, cx: &mut Context<'_>) {
        let since = match &self.grant.flags.misconfigured {
            Some(raised) if raised.reason == reason => raised.since,
            _ => cx.now.wall,
        };
        self.grant_mut().flags.misconfigured = Some(Raised { reason, since });
    }

    fn throttled(&mut self, key: &LeaseKey, answer: &Answer, cx: &mut Context<'_>) {
        self.failed(key, cx);
        let reason = match retry_after(answer, cx.now) {
            Some(delay) => cx.now.boot.after(delay),
            None => self.backoff.not_before(),
        };
        let since = cx.now.wall;
        self.grant_mut().flags.throttled = Some(Raised { reason, since });
    }

    pub(super) fn failed(&mut self, key: &LeaseKey, cx: &mut Context<'_>) {
        let urgency = self.urgency(key, cx);
        self.backoff.failed(cx.now.boot, urgency, cx.rng);
    }

    /// An answer may be lost: whether the refresh token is spent is not known.
    /// `sent` says when the request left, where that is known.
    pub(super) fn raise_ambiguous(
        &mut self,
        reason: Ambiguity,
        sent: Option<Boot>,
        cx: &mut Context<'_>,
    ) {
        if self.grant.flags.ambiguous.is_none() {
            let since = cx.now.wall;
            self.grant_mut().flags.ambiguous = Some(Raised { reason, since });
            self.loss = Loss {
                sent,
                ..Loss::default()
            };
        }
        self.warn_of_loss(cx);
    }

    /// Where the retry could end the login, the person hears of it first.
    pub(super) fn warn_of_loss(&mut self, cx: &mut Context<'_>) {
        let harmless = self.may_settle_at_once(cx.now.boot);
        if self.grant.flags.ambiguous.is_some() && !harmless && !self.loss.warned {
            self.loss.warned = true;
            self.notify(Notice::AnswerLost, cx);
        }
    }

    /// Whether sending the refresh token again does no harm, whatever became of the first sending.
    pub(super) fn may_settle_at_once(&self, now: Boot) -> bool {
        let profile = &self.grant.provider.profile;
        match profile.rotation {
            Rotation::None | Rotation::Rotates => true,
            Rotation::Unknown | Rotation::ReuseDetected => {
                let accepted_until = self.loss.sent.zip(profile.leeway);
                !self.loss.retried
                    && accepted_until.is_some_and(|(sent, leeway)| {
                        !leeway.is_zero() && now <= sent.after(leeway)
                    })
            }
        }
    }

    /// `invalid_grant`: to be confirmed once, and believed then.
    fn suspect(&mut self, attempt: &Attempt, reason: String, cx: &mut Context<'_>) {
        let due = self.confirm_at.is_some_and(|at| at <= cx.now.boot);
        if attempt.cause == Cause::Confirming || due || planted::is(Bug::InvalidGrantNotConfirmed) {
            return self.needs_login(LoginReason::Revoked, cx);
        }
        if self.confirm_at.is_none() {
            let since = cx.now.wall;
            self.grant_mut().flags.suspect = Some(Raised { reason, since });
            self.plan_confirmation(cx);
        }
        self.hasten_confirmation(&attempt.key, cx);
    }

    /// ... after 60 to 120 s, ...
    pub(super) fn plan_confirmation(&mut self, cx: &mut Context<'_>) {
        let wait = Duration::from_secs_f64(60.0 + 60.0 * cx.rng.f64());
        self.confirm_at = Some(cx.now.boot.after(wait));
    }

    /// ... sooner, if nothing is left to serve meanwhile.
    pub(super) fn hasten_confirmation(&mut self, key: &LeaseKey, cx: &mut Context<'_>) {
        // What was never fetched has not run out.
        let own = LeaseKey::of_login(&self.grant);
        let is_held = self.lease(key).is_some() || self.remaining(&own, cx).is_zero();
        if let Some(confirm_at) = self.confirm_at
            && is_held
            && self.remaining(key, cx).is_zero()
        {
            let soon = Duration::from_secs_f64(2.0 + 3.0 * cx.rng.f64());
            self.confirm_at = Some(confirm_at.min(cx.now.boot.after(soon)));
        }
    }

    /// A refusal in no known form. It is no verdict: only when nothing is left of the token is the
    /// user asked, and even then it is tried again from time to time.
    fn unintelligible(&mut self, attempt: &Attempt, answer: &Answer, cx: &mut Context<'_>) {
        self.unintelligible = self.unintelligible.saturating_add(1);
        self.failed(&attempt.key, cx);
        let key = LeaseKey::of_login(&self.grant);
        let lifetime = self.grant.leases.get(&key).and_then(|lease| lease.lifetime);
        let danger = match could_mean_too_early(answer) {
            true => Duration::ZERO,
            false => 2 * floor_of(lifetime.unwrap_or_default()),
        };
        if self.unintelligible >= UNINTELLIGIBLE && self.remaining(&key, cx) <= danger {
            self.needs_login(LoginReason::Unintelligible, cx);
            self.backoff.hold(cx.now.boot.after(DOUBTFUL_PAUSE));
        }
    }

    /// Whether the user is asked to log in although no verdict was spoken.
    pub(super) fn is_doubtful(&self) -> bool {
        let needed = self.grant.flags.needs_login.as_ref();
        needed.is_some_and(|raised| raised.reason == LoginReason::Unintelligible)
    }

    /// Only the user can go on. The refresh token stays where it is, and a live token is served on.
    pub(super) fn needs_login(&mut self, reason: LoginReason, cx: &mut Context<'_>) {
        if planted::is(Bug::NeedsLoginDropsRefreshToken) {
            self.grant_mut().renewable = false;
        }
        let flags = &mut self.grant_mut().flags;
        if reason != LoginReason::Unintelligible {
            (flags.suspect, flags.ambiguous) = (None, None);
            self.confirm_at = None;
        }
        let flags = &mut self.grant_mut().flags;
        let known = flags.needs_login.as_ref();
        if known.is_none_or(|raised| raised.reason != reason) {
            let since = cx.now.wall;
            flags.needs_login = Some(Raised {
                reason: reason.clone(),
                since,
            });
            self.notify(Notice::LoginNeeded(reason.clone()), cx);
            self.record(Decided::LoginNeeded(reason), None, cx);
        }
    }
}

/// RFC 9110 §10.2.3, in either form, capped.
pub(crate) fn retry_after(answer: &Answer, now: Now) -> Option<Duration> {
    if planted::is(Bug::RetryAfterIgnored) {
        return None;
    }
    let asked = match answer.retry_after? {
        RetryAfter::Delay(delay) => delay,
        // Against the server's own clock, where it says what that shows.
        RetryAfter::Until(until) => until.since(answer.date.unwrap_or(now.wall)),
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

/// A plain 400 without a reason that would name something else.
fn could_mean_too_early(answer: &Answer) -> bool {
    match &answer.received {
        Received::Response { status: 400, body } => match body {
            Body::Error { code, .. } => !matches!(
                code.as_str(),
                "invalid_grant"
                    | "invalid_client"
                    | "unauthorized_client"
                    | "invalid_scope"
                    | "invalid_target"
                    | "unsupported_grant_type"
            ),
            Body::Empty | Body::Unintelligible => true,
            Body::Html | Body::Tokens(_) => false,
        },
        _ => false,
    }
}

/// Whether the provider objects to what was asked for rather than to who asks.
/// To the exchange of an access token it objects by other codes too: the client may be good for all
/// else.
fn is_about_the_request(answer: &Answer, derived: bool) -> bool {
    match &answer.received {
        Received::Response {
            body: Body::Error { code, .. },
            ..
        } => match code.as_str() {
            "invalid_target" | "invalid_scope" | "invalid_request" => true,
            code => derived && code != "invalid_client",
        },
        _ => false,
    }
}

/// The class of a failure in one word, for `status`.
fn class(answer: &Answer) -> &'static str {
    match &answer.received {
        Received::Nothing { failure, .. } => match failure {
            Failure::Dns => "dns",
            Failure::Connect => "connect",
            Failure::Proxy => "proxy",
            Failure::ProxyLogin => "proxy_login",
            Failure::Tls => "tls",
            Failure::UntrustedCertificate => "certificate_untrusted",
            Failure::ForeignCertificate => "certificate_foreign",
            Failure::OutdatedCertificate => "certificate_outdated",
            Failure::Timeout => "timeout",
            Failure::Broken => "connection_broken",
            Failure::TooLarge => "response_too_large",
        },
        Received::Unproven { .. } => "client_credential",
        Received::Response {
            body: Body::Html, ..
        } => "html_page",
        // Of RFC 6585 §6, and RFC 9110 §15.5.8.
        Received::Response { status: 511, .. } => "portal",
        Received::Response { status: 407, .. } => "proxy_login",
        Received::Response {
            status: 300..400, ..
        } => "redirect",
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
        Received::Response { status, .. } if verdict == Verdict::Throttled => (
            "throttled".to_owned(),
            format!("the provider answered {status}"),
        ),
        Received::Response { status, body } => {
            let what = match body {
                Body::Html => "a web page",
                Body::Empty => "an empty answer",
                _ => "an answer that is no OAuth response",
            };
            (
                class(answer).to_owned(),
                format!("the token endpoint gave {what} with status {status}"),
            )
        }
        Received::Unproven { why } => (
            class(answer).to_owned(),
            format!("the client cannot prove itself: {why}"),
        ),
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
