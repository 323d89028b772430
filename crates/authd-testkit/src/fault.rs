//! Faults: what the server does wrong, when it is told to.
//!
//! Each endpoint has a queue (one rule for each coming request) and at most one standing rule
//! (for all others). A rule strikes either before the request is processed, so that nothing
//! happened at the server, or after: the server committed (rotated, revoked, issued) and the answer
//! suffers. Processing never depends on the client still being there, as at a real server: a client
//! killed while its request is held finds the rotation done all the same.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::settings::seconds;

/// An endpoint that can be faulted and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// Both metadata documents (RFC 8414, OIDC Discovery).
    Discovery,
    /// `/authorize`.
    Authorization,
    /// `/par` (RFC 9126).
    PushedAuthorization,
    /// `/token`.
    Token,
    /// `/device_authorization` (RFC 8628).
    DeviceAuthorization,
    /// `/device`: where a person approves a user code.
    DeviceVerification,
    /// `/revoke` (RFC 7009).
    Revocation,
    /// `/introspect` (RFC 7662).
    Introspection,
    /// `/userinfo`.
    Userinfo,
    /// `/jwks`.
    Jwks,
    /// `/api/ping`, the protected demo API.
    Api,
}

impl Endpoint {
    /// Its path below the issuer.
    pub fn path(self) -> &'static str {
        match self {
            Self::Discovery => "/.well-known/openid-configuration",
            Self::Authorization => "/authorize",
            Self::PushedAuthorization => "/par",
            Self::Token => "/token",
            Self::DeviceAuthorization => "/device_authorization",
            Self::DeviceVerification => "/device",
            Self::Revocation => "/revoke",
            Self::Introspection => "/introspect",
            Self::Userinfo => "/userinfo",
            Self::Jwks => "/jwks",
            Self::Api => "/api/ping",
        }
    }

    /// Its address at `issuer`.
    pub fn url(self, issuer: &str) -> String {
        format!("{issuer}{}", self.path())
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Nothing: lets one request through a queue.
    Pass,
    /// This status with a short text body: a gateway's 502, a 500, a 401 from an API.
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// This status (429, 503) with `Retry-After`.
    RetryAfter {
        /// The HTTP status.
        status: u16,
        /// The header's value.
        after: RetryAfter,
    },
    /// A well-formed OAuth error (RFC 6749 §5.2).
    OauthError {
        /// The HTTP status, usually 400.
        status: u16,
        /// The `error` code.
        error: String,
        /// The `error_description`.
        description: Option<String>,
    },
    /// 400 without a body, as glewlwyd answers reuse.
    EmptyBadRequest,
    /// 403 with an HTML page, as a firewall answers.
    HtmlForbidden,
    /// 200 with an HTML page, as a captive portal answers.
    HtmlOk,
    /// 200 with JSON that does not parse.
    MalformedJson,
    /// The answer's headers and the first half of its body, then the end of the connection. Before
    /// processing, the body is a made-up token response.
    HalfBody,
    /// A redirect to another place.
    Redirect {
        /// The HTTP status: 302, 307, …
        status: u16,
        /// The `Location`.
        location: String,
    },
    /// 200 with an error text inside `access_token`.
    ErrorInAccessToken,
    /// 200 with an empty `access_token`.
    EmptyAccessToken,
    /// 200 with `{"ok":false,"error":…}`, as Slack answers.
    NotOk {
        /// The `error` code.
        error: String,
    },
    /// 200 with an `error` member.
    ErrorMember {
        /// The `error` code.
        error: String,
    },
    /// 200 with a form-encoded error, as GitHub answers without `Accept`.
    FormEncodedError {
        /// The `error` code.
        error: String,
    },
    /// The true answer, late by this much real time.
    Delay {
        /// How late, in seconds.
        #[serde(with = "seconds")]
        by: Duration,
    },
    /// The true answer, held until released: a hang, or a gate.
    Hold,
    /// The connection ends before any byte of an answer.
    Drop,
}

impl Fault {
    /// This status with a short text body.
    pub fn status(status: u16) -> Self {
        Self::Status { status }
    }

    /// A 400 with this OAuth error code and no description.
    pub fn oauth_error(error: &str) -> Self {
        Self::OauthError {
            status: 400,
            error: error.to_owned(),
            description: None,
        }
    }

    /// A 429 with `Retry-After` in seconds.
    pub fn too_many_requests(seconds: u64) -> Self {
        Self::RetryAfter {
            status: 429,
            after: RetryAfter::Seconds(seconds),
        }
    }

    /// A rule that strikes before the request is processed.
    pub fn before_commit(self) -> Rule {
        Rule {
            fault: self,
            phase: Phase::BeforeCommit,
            grant_type: None,
        }
    }

    /// A rule that strikes after the request was processed.
    pub fn after_commit(self) -> Rule {
        Rule {
            fault: self,
            phase: Phase::AfterCommit,
            grant_type: None,
        }
    }
}

/// The value of `Retry-After` (RFC 9110 §10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// As delay-seconds.
    Seconds(u64),
    /// As the HTTP date this many seconds after the server's present.
    DateIn(u64),
}

/// Whether the request is processed before the fault strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The fault comes first. Where it leaves no answer to give, nothing is processed.
    #[default]
    BeforeCommit,
    /// The request is processed and recorded first.
    AfterCommit,
}

/// A fault, when in a request's life it strikes, and which requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// When.
    #[serde(default)]
    pub phase: Phase,
    /// At the token endpoint: only requests of this grant type; others pass by and leave the rule.
    #[serde(default)]
    pub grant_type: Option<String>,
}

impl Rule {
    /// The same rule for requests of one grant type alone.
    #[must_use]
    pub fn for_grant_type(mut self, grant_type: &str) -> Self {
        self.grant_type = Some(grant_type.to_owned());
        self
    }
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        fault.before_commit()
    }
}

/// What becomes of a held request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    Answer,
    Drop,
}

/// The rules in force and the requests held.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    queues: BTreeMap<Endpoint, VecDeque<Rule>>,
    standing: BTreeMap<Endpoint, Rule>,
    held: BTreeMap<Endpoint, VecDeque<oneshot::Sender<Release>>>,
}

impl Faults {
    pub(crate) fn push(&mut self, endpoint: Endpoint, rule: Rule) {
        self.queues.entry(endpoint).or_default().push_back(rule);
    }

    pub(crate) fn stand(&mut self, endpoint: Endpoint, rule: Rule) {
        self.standing.insert(endpoint, rule);
    }

    pub(crate) fn clear(&mut self, endpoint: Endpoint) {
        self.queues.remove(&endpoint);
        self.standing.remove(&endpoint);
    }

    /// The rule for a request that arrives now: the first in the queue that fits, else the standing
    /// one if it fits.
    pub(crate) fn strike(&mut self, endpoint: Endpoint, grant_type: Option<&str>) -> Option<Rule> {
        let fits =
            |rule: &Rule| rule.grant_type.is_none() || rule.grant_type.as_deref() == grant_type;
        if let Some(queue) = self.queues.get_mut(&endpoint)
            && let Some(at) = queue.iter().position(fits)
        {
            return queue.remove(at);
        }
        self.standing
            .get(&endpoint)
            .filter(|rule| fits(rule))
            .cloned()
    }

    pub(crate) fn hold(&mut self, endpoint: Endpoint) -> oneshot::Receiver<Release> {
        let (release, released) = oneshot::channel();
        self.held.entry(endpoint).or_default().push_back(release);
        released
    }

    pub(crate) fn held(&self, endpoint: Endpoint) -> usize {
        self.held.get(&endpoint).map_or(0, VecDeque::len)
    }

    /// Lets up to `n` held requests go, oldest first; how many went.
    pub(crate) fn release(&mut self, endpoint: Endpoint, n: usize, release: Release) -> usize {
        let Some(held) = self.held.get_mut(&endpoint) else {
            return 0;
        };
        let n = n.min(held.len());
        for waiting in held.drain(..n) {
            // The task that waited may be gone with a server stopped hard.
            let _ = waiting.send(release);
        }
        n
    }

    /// Forgets held requests whose tasks died with the server.
    pub(crate) fn forget_dead(&mut self) {
        for held in self.held.values_mut() {
            held.retain(|waiting| !waiting.is_closed());
        }
    }
}
