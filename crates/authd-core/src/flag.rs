//! Flags: the reasons, orthogonal to a lease's state, for which an account is not simply fine.

use serde::{Deserialize, Serialize};

use crate::{
    metadata::Change,
    scope::ScopeSet,
    seldom::Blank,
    time::{Boot, Wall},
};

/// All flags of an account. Each holds its reason and when it was raised.
///
/// `offline`, `throttled` and `store_degraded` are of the moment and not kept over a restart;
/// the others are standing and come back with the grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// The provider cannot be reached, or something else answers in its place.
    #[serde(skip)]
    pub offline: Option<Raised<&'static str>>,
    /// The provider asked for patience until this moment.
    #[serde(skip)]
    pub throttled: Option<Raised<Boot>>,
    /// A request left and its answer is lost: the refresh token may or may not be spent.
    pub ambiguous: Option<Raised<Ambiguity>>,
    /// `invalid_grant` was seen and waits for its confirmation.
    pub suspect: Option<Raised<String>>,
    /// Only the user can mend it. The refresh token stays, quarantined.
    pub needs_login: Option<Raised<LoginReason>>,
    /// Even new tokens are rejected by the API: renewing does not help.
    pub provider_rejects: Option<Raised<Rejecting>>,
    /// The latest answer could not be written durably; it is in memory and in the spill file.
    #[serde(skip)]
    pub store_degraded: Option<Raised<String>>,
    /// The client or the request is misconfigured; an administrator must act.
    pub misconfigured: Option<Raised<String>>,
    /// The store is another machine's, or older than the anchor: no exchange until adopted.
    pub stale_store: Option<Raised<StaleStore>>,
    /// A refresh brought other scopes than the login was granted. Renewal goes on; the user is told.
    pub scope_changed: Option<Raised<ScopeSet>>,
    /// The provider's metadata is not what it was at login. Nothing follows from it; the user is told.
    #[serde(default)]
    pub metadata_changed: Option<Raised<Vec<Change>>>,
}

impl Blank for Flags {
    const BLANK: &'static Self = &Self {
        offline: None,
        throttled: None,
        ambiguous: None,
        suspect: None,
        needs_login: None,
        provider_rejects: None,
        store_degraded: None,
        misconfigured: None,
        stale_store: None,
        scope_changed: None,
        metadata_changed: None,
    };
}

impl Flags {
    /// The same without those of the moment: what is kept on disk.
    #[must_use]
    pub fn standing(&self) -> Self {
        Self {
            offline: None,
            throttled: None,
            store_degraded: None,
            ..self.clone()
        }
    }
}

/// A flag's reason and the moment it was raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised<R> {
    /// Why.
    pub reason: R,
    /// Since when.
    pub since: Wall,
}

/// Why it is not known whether the refresh token is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ambiguity {
    /// An intent without its outcome was found at start: the process died in between.
    Interrupted,
    /// Bytes of the request left, and the answer never came or came in part.
    AnswerLost,
    /// A gateway answered in the provider's place after the request had been sent.
    Gateway,
}

/// Why only the user can go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginReason {
    /// The provider said `invalid_grant`, twice.
    Revoked,
    /// The provider wants the person: step-up, consent, re-authentication.
    InteractionRequired,
    /// There is no refresh token and the access token is spent.
    NotRenewable,
    /// A refresh came back for someone else.
    SubjectChanged,
    /// The provider refuses in a form that is no verdict, again and again.
    Unintelligible,
}

/// By whom even a new token is reported as refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejecting {
    /// One client says so; the others are believed as before.
    OneClient,
    /// Several say so: no report causes a renewal.
    SeveralClients,
}

/// Why a store is not trusted to exchange (RENEWAL invariant 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleStore {
    /// Its header names another machine.
    OtherMachine,
    /// Its generation is behind the anchor: an older copy was restored.
    OlderGeneration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_the_moment_is_not_kept() {
        fn raised<R>(reason: R) -> Option<Raised<R>> {
            let since = Wall(1);
            Some(Raised { reason, since })
        }
        let standing = Flags {
            ambiguous: raised(Ambiguity::AnswerLost),
            suspect: raised("invalid_grant".to_owned()),
            needs_login: raised(LoginReason::Revoked),
            provider_rejects: raised(Rejecting::OneClient),
            misconfigured: raised("invalid_client".to_owned()),
            stale_store: raised(StaleStore::OtherMachine),
            scope_changed: raised(ScopeSet::parse("api")),
            metadata_changed: raised(vec![Change::CodeChallenge]),
            ..Flags::default()
        };
        let all = Flags {
            offline: raised("dns"),
            throttled: raised(Boot(7)),
            store_degraded: raised("full".to_owned()),
            ..standing.clone()
        };
        assert_eq!(all.standing(), standing);
    }
}
