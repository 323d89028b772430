//! One file for each group of verbs.

pub(crate) mod account;
pub(crate) mod approval;
pub(crate) mod audit;
pub(crate) mod daemon;
pub(crate) mod doctor;
pub(crate) mod dpop;
pub(crate) mod events;
pub(crate) mod flag;
pub(crate) mod gate;
pub(crate) mod grant;
pub(crate) mod import;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod metadata;
pub(crate) mod provider;
pub(crate) mod refusal;
pub(crate) mod renew;
pub(crate) mod resource;
pub(crate) mod socket;
pub(crate) mod token;

use std::time::Duration;

use authd_core::{id::Account, policy::Tier, scope::ScopeSet};
use authd_proto::{ErrorCode, WireError, limits};

/// Work that blocks, on a thread of its own. It ends whether or not the client still waits.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WireError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| broken_off())
}

/// Goes on to its end whether or not the client still waits: what is done is taken note of and written down, and a
/// wrong passphrase counts.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, WireError>> + Send + 'static,
) -> Result<T, WireError> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|_| Err(broken_off()))
}

/// The error where something of ours panicked.
fn broken_off() -> WireError {
    let message = "it broke off; see the daemon's log";
    WireError::new(ErrorCode::Internal, message)
}

/// An account's name as a client gave it.
pub(crate) fn account_name(name: &str) -> Result<Account, WireError> {
    Account::new(name).map_err(|error| WireError::new(ErrorCode::BadRequest, error.to_string()))
}

/// The error for a name that no account has.
pub(crate) fn unknown_account(name: &str) -> WireError {
    let shown: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(Account::MAX_LEN)
        .collect();
    WireError::new(
        ErrorCode::UnknownAccount,
        format!("there is no account '{shown}'"),
    )
    .with_hint("run 'authctl list' to see which there are, or 'authctl login' to add it")
    .with_account(shown)
}

/// Scopes as a client gave them (RFC 6749 §3.3).
pub(crate) fn scopes<S: AsRef<str>>(scopes: Option<&[S]>) -> Result<ScopeSet, WireError> {
    let scopes = scopes.unwrap_or_default();
    let is_token = |scope: &str| {
        !scope.is_empty()
            && scope
                .bytes()
                .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    if scopes.len() > limits::MAX_SCOPES {
        let message = format!("more than {} scopes", limits::MAX_SCOPES);
        return Err(WireError::new(ErrorCode::BadRequest, message));
    }
    if !scopes.iter().all(|scope| is_token(scope.as_ref())) {
        return Err(WireError::new(
            ErrorCode::BadRequest,
            "a scope is a word of printable ASCII without quotes and backslashes",
        ));
    }
    Ok(scopes.iter().map(AsRef::as_ref).collect())
}

/// A tier in the wire's word.
pub(crate) fn wire_tier(tier: Tier) -> authd_proto::approval::Tier {
    use authd_proto::approval::Tier as Wire;
    match tier {
        Tier::Allow => Wire::Allow,
        Tier::AskOnce => Wire::AskOnce,
        Tier::AskEach => Wire::AskEach,
    }
}

/// How long a client waits, its default and cap applied.
pub(crate) fn wait(asked: Option<u64>) -> Duration {
    Duration::from_secs(limits::wait_secs(asked))
}

/// Whole seconds that are left, rounded down: what is promised is there.
pub(crate) fn whole_secs(left: Option<Duration>) -> Option<u64> {
    left.map(|left| left.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_scope_tokens() {
        assert_eq!(scopes(Some(&["b", "a"])).unwrap().to_string(), "a b");
        assert!(scopes::<&str>(None).unwrap().is_empty());
        for bad in ["", "a b", "a\"b", "a\\b", "\u{1b}[2J", "ü"] {
            assert_eq!(
                scopes(Some(&[bad])).unwrap_err().code,
                ErrorCode::BadRequest,
                "{bad:?}"
            );
        }
        assert!(scopes(Some(&vec!["x"; 129])).is_err());
    }
}
