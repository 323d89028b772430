//! The engine's decisions in words: one place for what a person reads about them.

use std::time::Duration;

use authd_core::{
    broker::{Decided, Finding, Note, Record},
    flag::Rejecting,
    renewal::{Cause, Verdict},
};
use authd_proto::{ErrorCode, event::EventKind};

use crate::handler::{flag, refusal};

/// What an event says of a decision.
pub(super) struct Words {
    pub(super) kind: EventKind,
    pub(super) outcome: &'static str,
    pub(super) message: String,
    pub(super) code: Option<ErrorCode>,
    pub(super) cause: Option<&'static str>,
    /// What a person can do.
    pub(super) hint: Option<String>,
    /// The wire's word for what happens next.
    pub(super) next: Option<&'static str>,
    pub(super) brought_a_token: bool,
}

impl Words {
    fn new(kind: EventKind, outcome: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            outcome,
            message: message.into(),
            code: None,
            cause: None,
            hint: None,
            next: None,
            brought_a_token: false,
        }
    }

    fn code(self, code: ErrorCode) -> Self {
        let code = Some(code);
        Self { code, ..self }
    }

    fn hint(self, hint: String) -> Self {
        let hint = Some(hint);
        Self { hint, ..self }
    }
}

/// A decision in words.
pub(super) fn describe(record: &Record) -> Words {
    let words = in_words(record);
    let next = match &record.what {
        Decided::LoginNeeded(_) => Some("login"),
        what => record.next.and_then(|next| next_word(next.cause, what)),
    };
    Words { next, ..words }
}

fn in_words(record: &Record) -> Words {
    let say = |outcome, message: &str| Words::new(EventKind::Decision, outcome, message);
    let login = || format!("run 'authctl login {}'", record.account);
    match &record.what {
        Decided::Renewal(cause) => Words {
            cause: Some(word(*cause)),
            ..Words::new(EventKind::Exchange, "started", why(*cause))
        },
        Decided::Judged(verdict) => judged(*verdict, record.words.as_deref()),
        Decided::Committed => committed(record, ""),
        Decided::CommittedElsewhere => committed(
            record,
            "; the tokens are not in the database yet, but kept aside",
        )
        .code(ErrorCode::StoreFailed)
        .hint("run 'authctl doctor'".to_owned()),
        Decided::Discarded => Words::new(
            EventKind::Exchange,
            "discarded",
            "an answer came for a login that is no more; it was dropped",
        ),
        Decided::LoginNeeded(reason) => {
            let reason = refusal::login_reason(reason);
            say("login_needed", &format!("{reason}; nothing is deleted"))
                .code(ErrorCode::LoginRequired)
                .hint(login())
        }
        Decided::ReportBelieved => say(
            "report_believed",
            "a client reported the token as refused; it is renewed",
        ),
        Decided::ReportSetAside => say(
            "report_set_aside",
            "a client reported a token as refused; nothing is renewed for it",
        ),
        Decided::RenewingDoesNotHelp(Rejecting::OneClient) => say(
            "provider_rejects",
            "one client reports even new tokens as refused; it is not believed any more",
        )
        .code(ErrorCode::ProviderRejects),
        Decided::RenewingDoesNotHelp(Rejecting::SeveralClients) => say(
            "provider_rejects",
            "several clients report even new tokens as refused; renewing does not help",
        )
        .code(ErrorCode::ProviderRejects)
        .hint(format!("check what you may access there, then {}", login())),
        Decided::LifetimeLearned { lifetime, stated } => {
            say("lifetime_learned", &learned(*lifetime, *stated))
        }
        Decided::LeadLearned(lead) => say(
            "lead_learned",
            &format!(
                "the provider does not renew so early; from now on {} before the end",
                span(*lead)
            ),
        ),
        Decided::Validated(Finding::Inactive) => say(
            "inactive",
            "the provider says that the token is dead; it is renewed",
        ),
        Decided::Validated(Finding::Active { .. }) => {
            say("active", "the provider says that the token is alive")
        }
        Decided::Validated(Finding::Unknown) => say(
            "validation_distrusted",
            "the provider calls even new tokens dead; it is not asked any more",
        ),
        Decided::Interrupted => say(
            "interrupted",
            "the daemon ended in the middle of a renewal; its answer is lost",
        ),
        Decided::EndpointMoved { from, to } if from == to => say(
            "endpoint_moved",
            "the provider's token endpoint has another path; it is used from now on",
        ),
        Decided::EndpointMoved { from, to } => say(
            "endpoint_moved",
            &format!(
                "the provider's token endpoint moved from {from} to {to}; nothing is sent there \
                 without you"
            ),
        )
        .code(ErrorCode::ProviderRefused)
        .hint(format!("if you trust that host, {}", login())),
        Decided::MetadataChanged(changes) => {
            say("metadata_changed", &flag::metadata_changed(changes))
                .hint(format!("if renewals fail, {}", login()))
        }
        Decided::MetadataRestored => say(
            "metadata_restored",
            "the provider is again what it was at login",
        ),
        Decided::Adopted => say("adopted", "the store is trusted from now on"),
    }
}

/// An exchange brought tokens; generations begin anew with each login.
fn committed(record: &Record, but: &str) -> Words {
    let done = if record
        .next
        .is_some_and(|next| next.cause == Cause::TakenOver)
    {
        "taken over, and on disk"
    } else if record.generation.0 == 1 {
        "logged in"
    } else {
        "renewed"
    };
    Words {
        brought_a_token: true,
        ..Words::new(EventKind::Exchange, "ok", format!("{done}{but}"))
    }
}

fn learned(lifetime: Duration, stated: Duration) -> String {
    let (lifetime, stated_in_words) = (lifetime.min(stated), span(stated));
    if lifetime < stated {
        format!(
            "tokens end earlier than the provider says: after {} instead of {stated_in_words}; \
             renewed earlier from now on",
            span(lifetime)
        )
    } else {
        format!("tokens live as long as the provider says: {stated_in_words}")
    }
}

/// The wire's word for what comes after `what`, when an exchange for `cause` is planned. Nothing is said
/// where the decision itself brings about what comes.
fn next_word(cause: Cause, what: &Decided) -> Option<&'static str> {
    let after_failure = match what {
        Decided::Judged(Verdict::Throttled) => "pause",
        Decided::Judged(_) => "retry",
        Decided::Committed
        | Decided::CommittedElsewhere
        | Decided::Interrupted
        | Decided::ReportSetAside
        | Decided::RenewingDoesNotHelp(_)
        | Decided::Adopted => "renewal",
        _ => return None,
    };
    Some(match cause {
        Cause::Settling => "settling",
        Cause::Confirming => "confirming",
        Cause::KeepAlive if after_failure == "renewal" => "keep_alive",
        _ => after_failure,
    })
}

/// In its greatest units, for a person.
fn span(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
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
        Cause::TakenOver => "taken_over",
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
        Cause::TakenOver => "renewing: the refresh token was held elsewhere until now",
    }
}

/// What the answer means, after what it was.
fn judged(verdict: Verdict, words: Option<&str>) -> Words {
    use ErrorCode::{LoginRequired, ProviderRefused, Throttled, Unavailable};
    let (outcome, means, code) = match verdict {
        Verdict::Accepted => ("ok", "new tokens came", ErrorCode::Internal),
        Verdict::Transient => ("failed", "that passes, and nothing is lost", Unavailable),
        Verdict::Offline => ("failed", "the provider cannot be reached", Unavailable),
        Verdict::Throttled => ("failed", "it asks for a pause", Throttled),
        Verdict::Ambiguous(_) => (
            "ambiguous",
            "whether the refresh token is spent is not known",
            Unavailable,
        ),
        Verdict::InvalidGrant | Verdict::ExpiredToken | Verdict::AccessDenied => {
            ("failed", "the login may have ended", LoginRequired)
        }
        Verdict::InteractionRequired => (
            "failed",
            "the provider wants you to sign in again",
            LoginRequired,
        ),
        Verdict::Misconfigured => (
            "failed",
            "the provider refuses this client or what it asks for",
            ProviderRefused,
        ),
        Verdict::Unproven => (
            "failed",
            "nothing was sent, and it is tried again",
            ProviderRefused,
        ),
        Verdict::EndpointMoved => ("failed", "the token endpoint is gone", ProviderRefused),
        Verdict::Unintelligible | Verdict::AuthorizationPending | Verdict::SlowDown => (
            "failed",
            "that is no verdict, and the login stands",
            Unavailable,
        ),
    };
    let message = match words {
        Some(words) => format!("{words}; {means}"),
        None => means.to_owned(),
    };
    Words::new(EventKind::Exchange, outcome, message).code(code)
}

#[cfg(test)]
mod tests;
