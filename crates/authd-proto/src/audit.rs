//! Who was given what: the audit log and `audit.query` (PROTOCOL.md, section 9). None of it holds a secret.

use serde::{Deserialize, Serialize};

use crate::approval::{Asks, CallerInfo, Tier};
use crate::error::ErrorCode;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// A token or a proof was handed out.
    HandedOut,
    /// It was refused.
    Refused,
    /// The person answered a question; the caller is who brought the answer.
    Answered,
    /// A tier or a standing approval was changed.
    Changed,
    /// One of a newer version.
    #[serde(other)]
    Unknown,
}

/// Why it was decided so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// The account's tier asks nobody.
    Tier,
    /// The person said yes to this request.
    Answer,
    /// The person said yes, until lock.
    Approval,
    /// There is a standing approval.
    Grant,
    /// It came in at a restricted socket, which was made for it.
    Socket,
    /// One of a newer version.
    #[serde(other)]
    Unknown,
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Its number; one more than that of the line before. What is missing was lost on its way to the disk.
    pub seq: u64,
    /// When, in Unix seconds.
    pub at: u64,
    /// What was decided.
    pub decision: Decision,
    /// On what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Asks>,
    /// The account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Who asked, as the system says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<CallerInfo>,
    /// Who it said it is; claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// Of the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Names the token that was handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Its generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The account's tier at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Why it was handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Because>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// How often: 1, or how often again since `since_at`.
    pub count: u64,
    /// With a count of what was told before: since when, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_at: Option<u64>,
    /// From the request's `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// For people: what was answered or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl AuditLine {
    /// A line with nothing but what every line has. `at` is in Unix seconds.
    #[must_use]
    pub fn new(at: u64, decision: Decision) -> Self {
        Self {
            seq: 0,
            at,
            decision,
            asks: None,
            account: None,
            caller: None,
            claimed: None,
            scopes: Vec::new(),
            resource: None,
            fingerprint: None,
            generation: None,
            tier: None,
            because: None,
            code: None,
            count: 1,
            since_at: None,
            trace_id: None,
            message: None,
        }
    }
}

/// `audit.query`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQuery {
    /// This account alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Those whose caller's name or program, or what it says it is, has this in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Since then, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_at: Option<u64>,
    /// After this line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_seq: Option<u64>,
    /// The newest, and from there back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub newest: bool,
    /// See [`crate::limits::page_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// That of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Where there is nothing: how long to wait for something. Absent: do not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// Of `audit.query`, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQueryReply {
    /// The lines.
    pub lines: Vec<AuditLine>,
    /// Where the next page begins; nil when there is none.
    pub cursor: Option<String>,
}
