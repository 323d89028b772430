//! `socket.*`: sockets that hand out the token of one account and nothing else (PROTOCOL.md, section 10).

use serde::{Deserialize, Serialize};

/// `socket.create`: opens a restricted socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketCreate {
    /// Whose token. May be absent where the first of `resources` decides, or where there is one account only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The most scopes that may be asked for. Absent: those that the login has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The resources that may be asked for, the first where a client names none. Absent: the login's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// How long it is there; see [`crate::limits::DEFAULT_SOCKET_SECS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_secs: Option<u64>,
    /// Whom it is for, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The uids that are let in. Absent: the daemon's own alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uids: Vec<u32>,
    /// Seconds to wait for the person's answer, where the account asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// `socket.list`: a page of restricted sockets, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketList {
    /// See [`crate::limits::page_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// That of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `socket.revoke`: closes restricted sockets and every connection that came in at them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketRevoke {
    /// Which; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A restricted socket. Of `socket.create`, and an entry of `socket.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketInfo {
    /// What `socket.revoke` calls it.
    pub name: String,
    /// Where it is: alone in a directory of its own.
    pub path: String,
    /// Whose token.
    pub account: String,
    /// The most scopes that may be asked for.
    pub scopes: Vec<String>,
    /// The resources that may be asked for; empty where the login has none.
    pub resources: Vec<String>,
    /// The uids that are let in.
    pub uids: Vec<u32>,
    /// Whom it is for, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it was opened.
    pub created_at: u64,
    /// When it closes, by the calendar as it is now.
    pub expires_at: u64,
    /// What is left of it.
    pub ttl_secs: u64,
    /// Connections that are open.
    pub connections: u64,
    /// Requests that were answered with a token, since the daemon started.
    pub served: u64,
    /// Requests that were refused, since the daemon started.
    pub refused: u64,
}

/// Of `socket.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketListReply {
    /// A page, sorted by name.
    pub sockets: Vec<SocketInfo>,
    /// For the next page; nil at the end.
    pub cursor: Option<String>,
}

/// Of `socket.revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketRevokeReply {
    /// Those that are closed.
    pub revoked: Vec<String>,
}
