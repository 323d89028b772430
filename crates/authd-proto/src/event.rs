//! Events: what `subscribe` pushes and `events.query` returns. None holds a secret.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::response::{FlagName, State};

/// The method of the notification that carries an [`Event`].
pub const EVENT_METHOD: &str = "event";

/// The numbers of one run of the daemon: each begins at a multiple of it, so that no event's number comes
/// twice, whatever did not reach the disk.
pub const SEQ_OF_RUN: u64 = 1_000_000;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A new token was published; ask `token.get` for it.
    Token,
    /// An account's state or flags changed.
    State,
    /// An exchange started or ended.
    Exchange,
    /// The engine decided something that is no exchange.
    Decision,
    /// The person has to log in; once per cause.
    LoginNeeded,
    /// A login attempt ended.
    Login,
    /// An account was added, logged out, forgotten or adopted.
    Account,
    /// The person is asked, or has answered: `approval.list` says what waits.
    Approval,
    /// The daemon itself.
    Daemon,
    /// Events were dropped for this subscriber.
    Lagged,
    /// One of a newer version; as a wish, it matches nothing.
    #[serde(other)]
    Unknown,
}

impl EventKind {
    /// Every kind of this version.
    pub const ALL: &[Self] = &[
        Self::Token,
        Self::State,
        Self::Exchange,
        Self::Decision,
        Self::LoginNeeded,
        Self::Login,
        Self::Account,
        Self::Approval,
        Self::Daemon,
        Self::Lagged,
    ];
}

/// One event. Build it with [`Event::new`] and set what applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one per event, and to the next multiple of [`SEQ_OF_RUN`] at each start of the daemon; 0
    /// with [`EventKind::Lagged`].
    pub seq: u64,
    /// Unix seconds.
    pub at: u64,
    /// What it is about.
    pub event: EventKind,
    /// The account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Its grant: a login's own name. A new login to the account is a new grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Its authorization server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The lease's resource (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The lease's scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The account's state now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The account's flags now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<FlagName>>,
    /// Of the new token, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// The account's generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Of the new token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Ties the start and the end of an exchange or a login together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_id: Option<String>,
    /// From the `traceparent` of the request that caused it, or made by the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// What the provider calls its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    /// What the client that caused it says it is; claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Of an exchange that started: why. The words are those of PROTOCOL.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// How it went; the words are those of PROTOCOL.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// With a failure: its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// For people: what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For people: what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What happens next to the account; the words are those of PROTOCOL.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When that is planned, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<u64>,
    /// With [`EventKind::Lagged`], or of events lost on their way to the disk: how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
}

impl Event {
    /// An event with nothing but what every event has. `at` is in Unix seconds.
    #[must_use]
    pub fn new(seq: u64, at: u64, event: EventKind) -> Self {
        Self {
            seq,
            at,
            event,
            account: None,
            grant: None,
            issuer: None,
            resource: None,
            scopes: None,
            state: None,
            flags: None,
            expires_at: None,
            generation: None,
            fingerprint: None,
            attempt_id: None,
            trace_id: None,
            provider_request_id: None,
            client: None,
            cause: None,
            outcome: None,
            code: None,
            message: None,
            hint: None,
            next: None,
            next_at: None,
            missed: None,
        }
    }
}
