//! The engine's decisions in words: one place for what a person reads about them.

use authd_core::{
    broker::{Decided, Finding, Note},
    flag::Rejecting,
    renewal::{Cause, Verdict},
};
use authd_proto::{ErrorCode, event::EventKind};

/// What an event says of a decision.
pub(super) struct Words {
    pub(super) kind: EventKind,
    pub(super) outcome: &'static str,
    pub(super) message: String,
    pub(super) code: Option<ErrorCode>,
    pub(super) cause: Option<&'static str>,
}

/// A decision in words.
pub(super) fn describe(decided: &Decided) -> Words {
    use EventKind::{Decision, Exchange};
    let (kind, outcome, message, code) = match decided {
        Decided::Renewal(cause) => (Exchange, "started", why(*cause), None),
        Decided::Judged(verdict) => {
            let (outcome, message, code) = judged(*verdict);
            (Exchange, outcome, message, Some(code))
        }
        Decided::Committed => (Exchange, "ok", "renewed; the new tokens are on disk", None),
        Decided::CommittedElsewhere => (
            Exchange,
            "ok",
            "renewed; the new tokens are not in the database yet, but kept aside and in memory",
            Some(ErrorCode::StoreFailed),
        ),
        Decided::Discarded => (
            Exchange,
            "discarded",
            "the answer came for a grant that is no more",
            None,
        ),
        Decided::LoginNeeded(_) => (
            Decision,
            "login_needed",
            "only a new login helps; the refresh token is kept",
            Some(ErrorCode::LoginRequired),
        ),
        Decided::ReportBelieved => (
            Decision,
            "report_believed",
            "a client reported the token as refused; it is renewed",
            None,
        ),
        Decided::ReportSetAside => (
            Decision,
            "report_set_aside",
            "a client reported a token as refused; nothing is renewed for it",
            None,
        ),
        Decided::Interrupted => (
            Decision,
            "interrupted",
            "the last daemon ended in the middle of a renewal; its answer is lost",
            None,
        ),
        Decided::RenewingDoesNotHelp(Rejecting::OneClient) => (
            Decision,
            "provider_rejects",
            "a client reports even new tokens as refused; it is not believed any more",
            Some(ErrorCode::ProviderRejects),
        ),
        Decided::RenewingDoesNotHelp(Rejecting::SeveralClients) => (
            Decision,
            "provider_rejects",
            "clients report even new tokens as refused; nothing is renewed for that",
            Some(ErrorCode::ProviderRejects),
        ),
        Decided::LifetimeLearned { .. } => (
            Decision,
            "lifetime_learned",
            "tokens of this kind end earlier than the provider says; renewed earlier from now on",
            None,
        ),
        Decided::LeadLearned(_) => (
            Decision,
            "lead_learned",
            "the provider does not renew so early; renewed later from now on",
            None,
        ),
        Decided::Validated(Finding::Inactive) => (
            Decision,
            "inactive",
            "the provider says that the token is dead; it is renewed",
            None,
        ),
        Decided::Validated(Finding::Active { .. }) => (
            Decision,
            "active",
            "the provider says that the token is alive",
            None,
        ),
        Decided::Validated(Finding::Unknown) => (
            Decision,
            "validation_distrusted",
            "the provider calls even new tokens dead; it is not asked any more",
            None,
        ),
        Decided::EndpointMoved { from, to } if from == to => (
            Decision,
            "endpoint_moved",
            "the provider's token endpoint has another path; it is used from now on",
            None,
        ),
        Decided::EndpointMoved { .. } => (
            Decision,
            "endpoint_moved",
            "the provider's token endpoint is at another host; nothing is sent there without you",
            Some(ErrorCode::ProviderRefused),
        ),
        Decided::Adopted => (
            Decision,
            "adopted",
            "the store is trusted from now on",
            None,
        ),
    };
    let cause = match decided {
        Decided::Renewal(cause) => Some(word(*cause)),
        _ => None,
    };
    Words {
        kind,
        outcome,
        message: message.to_owned(),
        code,
        cause,
    }
}

/// What the engine noticed about the machine or a host: the wire's word, and a sentence.
pub(super) fn noticed(note: &Note) -> (&'static str, String) {
    match note {
        Note::Suspending => ("suspending", "the machine is about to sleep".to_owned()),
        Note::Resumed => ("resumed", "the machine woke".to_owned()),
        Note::NetworkUp => ("network_up", "the network is back".to_owned()),
        Note::ClockJumped(millis) => {
            let direction = if *millis < 0 { "back" } else { "ahead" };
            let secs = millis.unsigned_abs() / 1000;
            let message = format!("the wall clock went {direction} by {secs} s");
            ("clock_jumped", message)
        }
        Note::HostDown(host) => (
            "host_down",
            format!("{host} fails for several accounts; it is asked by one at a time"),
        ),
        Note::HostUp(host) => ("host_up", format!("{host} answers again")),
    }
}

/// The wire's word for why an exchange is made.
fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::Due => "due",
        Cause::Demanded => "demanded",
        Cause::Reported => "reported",
        Cause::Inactive => "inactive",
        Cause::Asked => "asked",
        Cause::KeepAlive => "keep_alive",
        Cause::Settling => "settling",
        Cause::Confirming => "confirming",
    }
}

fn why(cause: Cause) -> &'static str {
    match cause {
        Cause::Due => "renewing: its renew point has come",
        Cause::Demanded => "renewing: a client needs more than is left",
        Cause::Reported => "renewing: a client reported the token as refused",
        Cause::Inactive => "renewing: the provider says that the token is dead",
        Cause::Asked => "renewing: a person asked for it",
        Cause::KeepAlive => "renewing: to keep an unused login alive",
        Cause::Settling => "asking again: the earlier answer was lost",
        Cause::Confirming => "asking again: to confirm that the login has ended",
    }
}

fn judged(verdict: Verdict) -> (&'static str, &'static str, ErrorCode) {
    use ErrorCode::{LoginRequired, ProviderRefused, Throttled, Unavailable};
    match verdict {
        Verdict::Accepted => ("ok", "the provider gave new tokens", ErrorCode::Internal),
        Verdict::Transient => (
            "failed",
            "the provider failed in passing; nothing is lost",
            Unavailable,
        ),
        Verdict::Offline => ("failed", "the provider cannot be reached", Unavailable),
        Verdict::Throttled => ("failed", "the provider asked for a pause", Throttled),
        Verdict::Ambiguous(_) => (
            "ambiguous",
            "the request left and its answer is lost",
            Unavailable,
        ),
        Verdict::InvalidGrant | Verdict::ExpiredToken | Verdict::AccessDenied => {
            ("failed", "the provider refused the login", LoginRequired)
        }
        Verdict::InteractionRequired => (
            "failed",
            "the provider wants the person to sign in again",
            LoginRequired,
        ),
        Verdict::Misconfigured => (
            "failed",
            "the provider refuses the client or the request",
            ProviderRefused,
        ),
        Verdict::EndpointMoved => ("failed", "the token endpoint is gone", ProviderRefused),
        Verdict::Unintelligible | Verdict::AuthorizationPending | Verdict::SlowDown => (
            "failed",
            "the provider refused in no form that OAuth knows",
            Unavailable,
        ),
    }
}
