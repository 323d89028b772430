//! Events: kept in memory for `events.query`, pushed to subscribers, written to the log.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use authd_core::{
    broker::{Decided, Record},
    renewal::{Cause, Verdict},
};
use authd_proto::{
    ErrorCode,
    event::{Event, EventKind},
};
use tokio::sync::broadcast;

use crate::clock::Clock;

/// Events remembered.
const REMEMBERED: usize = 2048;
/// Events that a slow subscriber may be behind.
const BEHIND: usize = 256;

/// The events of this run.
pub(crate) struct Journal {
    clock: Clock,
    remembered: Mutex<Remembered>,
    live: broadcast::Sender<Arc<Event>>,
}

#[derive(Default)]
struct Remembered {
    seq: u64,
    events: VecDeque<Arc<Event>>,
}

impl Journal {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            remembered: Mutex::default(),
            live: broadcast::Sender::new(BEHIND),
        }
    }

    /// Writes an event down; `fill` sets what applies to it.
    pub(crate) fn add(&self, kind: EventKind, fill: impl FnOnce(&mut Event)) {
        let at = self.clock.unix_now();
        let event = {
            let mut remembered = self
                .remembered
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            remembered.seq += 1;
            let mut event = Event::new(remembered.seq, at, kind);
            fill(&mut event);
            let event = Arc::new(event);
            if remembered.events.len() == REMEMBERED {
                remembered.events.pop_front();
            }
            remembered.events.push_back(Arc::clone(&event));
            event
        };
        tracing::debug!(
            seq = event.seq,
            kind = ?event.event,
            account = event.account,
            outcome = event.outcome,
            message = event.message,
            "event"
        );
        // No subscriber is no error.
        let _ = self.live.send(event);
    }

    /// From now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.live.subscribe()
    }

    /// How many subscribe.
    pub(crate) fn watchers(&self) -> usize {
        self.live.receiver_count()
    }

    /// What is remembered after `seq`, oldest first.
    pub(crate) fn after(&self, seq: u64) -> Vec<Arc<Event>> {
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered
            .events
            .iter()
            .filter(|event| event.seq > seq)
            .cloned()
            .collect()
    }

    /// Writes down what the engine decided.
    pub(crate) fn decided(&self, record: Record, trace_id: Option<String>) {
        let (kind, outcome, message, code) = describe(&record.what);
        tracing::info!(
            account = %record.account,
            grant = %record.grant,
            generation = record.generation.0,
            attempt = record.attempt.map(tracing::field::display),
            trace_id,
            request_id = record.request_id,
            outcome,
            "{message}"
        );
        self.add(kind, |event| {
            event.account = Some(record.account.to_string());
            event.generation = Some(record.generation.0);
            event.attempt_id = record.attempt.map(|attempt| attempt.to_string());
            event.trace_id = trace_id;
            event.provider_request_id = record.request_id;
            event.outcome = Some(outcome.to_owned());
            event.message = Some(message.to_owned());
            event.code = code;
        });
    }
}

/// A decision in words.
fn describe(decided: &Decided) -> (EventKind, &'static str, &'static str, Option<ErrorCode>) {
    use EventKind::{Exchange, State};
    match decided {
        Decided::Renewal(cause) => (Exchange, "started", why(*cause), None),
        Decided::Judged(verdict) => {
            let (outcome, message, code) = judged(*verdict);
            (Exchange, outcome, message, Some(code))
        }
        Decided::Committed => (Exchange, "ok", "the new tokens are on disk", None),
        Decided::CommittedElsewhere => (
            Exchange,
            "ok",
            "the new tokens are not in the database yet; kept aside and in memory",
            Some(ErrorCode::StoreFailed),
        ),
        Decided::Discarded => (
            Exchange,
            "failed",
            "the answer came for a grant that is no more",
            None,
        ),
        Decided::LoginNeeded => (
            State,
            "login_needed",
            "only a new login helps; the refresh token is kept",
            Some(ErrorCode::LoginRequired),
        ),
        Decided::ReportBelieved => (
            State,
            "rejected",
            "a client reported the token as refused; it is renewed",
            None,
        ),
        Decided::ReportSetAside => (
            State,
            "reported",
            "a client reported a token; nothing is renewed for it",
            None,
        ),
    }
}

fn why(cause: Cause) -> &'static str {
    match cause {
        Cause::Due => "renewing: its renew point has come",
        Cause::Demanded => "renewing: a client needs more than is left",
        Cause::Reported => "renewing: a client reported the token as refused",
        Cause::Asked => "renewing: a person asked for it",
        Cause::KeepAlive => "renewing: to keep an unused login alive",
        Cause::Settling => "asking again: the earlier answer was lost",
        Cause::Confirming => "asking again: to confirm that the grant has ended",
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
        Verdict::InvalidGrant | Verdict::ExpiredToken | Verdict::AccessDenied => (
            "failed",
            "the provider refused the grant; this is confirmed once",
            LoginRequired,
        ),
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
