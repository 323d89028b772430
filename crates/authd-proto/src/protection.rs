//! What protects the daemon's own process, as `daemon.status` tells it (PROTOCOL.md, section 9).

use serde::{Deserialize, Serialize};

/// One thing that keeps others out of the daemon, or the daemon out of what is not its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// A stable word: `undumpable`, `no_core_file`, `no_new_privileges`, `locked_keys`, `files`,
    /// `system_calls`, `launcher`.
    pub name: String,
    /// Whether it is in force.
    pub in_force: bool,
    /// Why not, or what it lacks; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What mends it, where it is not in force: a command, or what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}
