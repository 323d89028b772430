//! Who may have tokens without a question: `approval.*` and `grant.*` (PROTOCOL.md, section 9).

use serde::{Deserialize, Serialize};

/// How freely the tokens of an account are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// To every program of the user's; written down.
    #[default]
    Allow,
    /// Once the person said yes: until lock, 10 minutes without a request, or 12 hours.
    AskOnce,
    /// Each time after a yes of the person.
    AskEach,
    /// One of a newer version.
    #[serde(other)]
    Unknown,
}

/// What the system says of a process on the socket. Nothing in it is the process's own word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerInfo {
    /// What it goes by: `flatpak:ID`, `snap:NAME`, `unit:NAME`, `exe:/PATH`, `session:…`, `process:…` or
    /// `unidentified`.
    pub name: String,
    /// Its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When that began, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// Its program, by path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Its service or scope of systemd's: a label that programs can choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its controlling terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
    /// The leader of its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u32>,
    /// Whether it had ended before it could be looked at.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ended: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl CallerInfo {
    /// Who that is, for people: `/usr/bin/git (pid 900) in backup.service on pts/2`.
    #[must_use]
    pub fn summary(&self) -> String {
        use std::fmt::Write as _;
        let mut text = match &self.executable {
            Some(path) => path.clone(),
            None if self.name == "unidentified" => "an unidentified process".to_owned(),
            None => self.name.clone(),
        };
        // Writing into a string cannot fail.
        if let Some(pid) = self.pid {
            let _ = write!(text, " (pid {pid})");
        }
        if let Some(unit) = &self.unit {
            let _ = write!(text, " in {unit}");
        } else if self.name.starts_with("flatpak:") || self.name.starts_with("snap:") {
            let _ = write!(text, " of {}", self.name);
        }
        if let Some(terminal) = &self.terminal {
            let _ = write!(text, " on {terminal}");
        }
        if self.ended {
            text.push_str(", which has ended");
        } else if self.executable.is_some() && self.name == "unidentified" {
            text.push_str(", which is unidentified");
        }
        text
    }
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asks {
    /// A token.
    Token,
    /// Proofs of possession for a token.
    Proof,
    /// That an account be asked about less.
    Tier,
    /// That a caller have tokens without a question.
    Grant,
    /// A restricted socket for a token.
    Socket,
    /// Something of a newer version.
    #[serde(other)]
    Unknown,
}

/// A question that waits for the person's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its number, for `approval.answer`.
    pub approval_id: u64,
    /// Whose tokens.
    pub account: String,
    /// What is asked for.
    pub asks: Asks,
    /// Who asks, as the system says.
    pub caller: CallerInfo,
    /// Who it says it is; claimed, never trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// The tier of the account.
    pub tier: Tier,
    /// The scopes that the token is to have; empty for those of the login.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The resource that the token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// With `tier` and `grant`: the tier or the caller that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// When it was asked, Unix seconds.
    pub asked_at: u64,
    /// When it is withdrawn, Unix seconds.
    pub expires_at: u64,
}

/// `approval.list`: the questions that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalList {}

/// Of `approval.list`, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalListReply {
    /// All of them: there are never many.
    pub approvals: Vec<Question>,
}

/// What the person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Yes, this time.
    Once,
    /// Yes, for as long as the tier has it.
    Allow,
    /// Yes from now on, or for `for_secs`: a standing approval.
    Always,
    /// No.
    Deny,
}

/// `approval.answer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalAnswer {
    /// Of the question.
    pub approval_id: u64,
    /// What the person says.
    pub answer: Answer,
    /// With `always`: for how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_secs: Option<u64>,
}

/// Of `approval.answer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalAnswerReply {
    /// Of the question.
    pub approval_id: u64,
    /// The account it was about.
    pub account: String,
    /// What was said, as it counts: less than was said where the caller has no name that lasts.
    pub answer: Answer,
}

/// `grant.list`: a page of accounts with their tiers and standing approvals, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantList {
    /// This account alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// See [`crate::limits::page_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// That of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Of `grant.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantListReply {
    /// The accounts.
    pub accounts: Vec<AccountGrants>,
    /// Where the next page begins; nil when there is none.
    pub cursor: Option<String>,
}

/// The tier of an account and who is approved for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountGrants {
    /// Its name.
    pub account: String,
    /// Its tier.
    pub tier: Tier,
    /// Its standing approvals.
    pub grants: Vec<GrantInfo>,
}

/// A standing approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantInfo {
    /// Its number.
    pub grant_id: u64,
    /// For which account.
    pub account: String,
    /// For whom: a name that lasts.
    pub caller: String,
    /// Since when, Unix seconds.
    pub created_at: u64,
    /// Until when, Unix seconds; nil where only revoking ends it.
    pub expires_at: Option<u64>,
}

/// `grant.tier`: sets the tier of an account. A lower one is asked about first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantTier {
    /// Which account.
    pub account: String,
    /// Its tier from now on.
    pub tier: Tier,
    /// How long to wait for the person, where they are asked; see [`crate::limits::wait_secs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// Of `grant.tier`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantTierReply {
    /// Which account.
    pub account: String,
    /// Its tier now.
    pub tier: Tier,
    /// Its tier before.
    pub before: Tier,
}

/// `grant.add`: a standing approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantAdd {
    /// For which account.
    pub account: String,
    /// For whom: `exe:/PATH`, `unit:NAME`, `flatpak:ID` or `snap:NAME`.
    pub caller: String,
    /// For how long; absent: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_secs: Option<u64>,
    /// How long to wait for the person, where they are asked; see [`crate::limits::wait_secs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// `grant.revoke`: ends standing approvals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRevoke {
    /// Of which account.
    pub account: String,
    /// This one; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<u64>,
}

/// Of `grant.revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRevokeReply {
    /// Of which account.
    pub account: String,
    /// How many ended.
    pub revoked: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every fact there can be; each test takes away what it is not about.
    fn git() -> CallerInfo {
        CallerInfo {
            name: "exe:/usr/bin/git".to_owned(),
            pid: Some(900),
            executable: Some("/usr/bin/git".to_owned()),
            unit: Some("backup.service".to_owned()),
            terminal: Some("pts/2".to_owned()),
            ..CallerInfo::default()
        }
    }

    #[test]
    fn a_caller_is_told_by_what_the_system_says_of_it() {
        let whole = "/usr/bin/git (pid 900) in backup.service on pts/2";
        assert_eq!(git().summary(), whole);
        let bare = CallerInfo {
            pid: None,
            unit: None,
            terminal: None,
            ..git()
        };
        assert_eq!(bare.summary(), "/usr/bin/git");
        let session = CallerInfo {
            name: "session:17.42".to_owned(),
            executable: None,
            ..bare.clone()
        };
        assert_eq!(session.summary(), "session:17.42");
        for app in ["flatpak:org.example.Mail", "snap:mail"] {
            let sandboxed = CallerInfo {
                name: app.to_owned(),
                ..bare.clone()
            };
            assert_eq!(sandboxed.summary(), format!("/usr/bin/git of {app}"));
        }
    }

    #[test]
    fn a_caller_who_cannot_be_told_is_said_to_be_so() {
        let nobody = CallerInfo {
            name: "unidentified".to_owned(),
            ..CallerInfo::default()
        };
        assert_eq!(nobody.summary(), "an unidentified process");
        let elsewhere = CallerInfo {
            executable: Some("/usr/bin/git".to_owned()),
            ..nobody
        };
        let text = "/usr/bin/git, which is unidentified";
        assert_eq!(elsewhere.summary(), text);
        let ended = CallerInfo {
            ended: true,
            ..elsewhere
        };
        assert_eq!(ended.summary(), "/usr/bin/git, which has ended");
    }

    #[test]
    fn an_end_is_written_and_no_other_is_not() {
        let of = |ended| {
            let caller = CallerInfo { ended, ..git() };
            serde_json::to_value(caller).unwrap()
        };
        assert_eq!(of(true)["ended"], true);
        assert_eq!(of(false).get("ended"), None);
    }
}
