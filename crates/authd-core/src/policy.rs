//! Who may ask for what. Stands beside nothing else, so that it can be read at one sitting.
//!
//! [`decide`] is about scopes and resources, [`admit`] about who asks and whether the person is asked first.

mod tier;

pub use self::tier::{
    Approval, BadCallerName, Because, CallerName, Extent, IDLE, LONGEST, ONE_ANSWER, Purpose,
    REFUSAL, Tier, Verdict, admit,
};

use crate::{
    broker::Refusal,
    grant::{Grant, Rotation},
    lease::LeaseKey,
    scope::ScopeSet,
};

/// The longest resource indicator that is asked for, in bytes. The intent that names it must fit in
/// front of the space that is kept for the answer.
pub const LONGEST_RESOURCE: usize = 2048;
/// The most living tokens that one login has at a time. Where any resource may be asked for, clients
/// would otherwise decide how large the account's record grows.
pub const MOST_LEASES: usize = 64;

/// The answer to a client that asks for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// The login was not granted these scopes, and a renewal never widens them (RFC 6749 §6).
    NotGranted(ScopeSet),
    /// The login did not name this resource (RFC 8707 §2), and asking for it could end the login.
    NotNamed(String),
    /// The resource is longer than [`LONGEST_RESOURCE`].
    ResourceTooLong,
}

impl Decision {
    /// What the client hears, where it gets no token.
    #[must_use]
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Allow => None,
            Self::NotGranted(scopes) => Some(Refusal::NotGranted(scopes)),
            Self::NotNamed(resource) => Some(Refusal::NotNamed(resource)),
            Self::ResourceTooLong => Some(Refusal::ResourceTooLong),
        }
    }
}

/// Whether a token for `key` may be drawn from `grant`.
///
/// A provider that replaces the refresh token at each use may spend it before it refuses a resource
/// that it does not know, and never tell the successor: one mistyped resource would end the login.
/// So only resources that the login named are asked for, unless the provider is known to leave the
/// refresh token as it is, or none is sent.
#[must_use]
pub fn decide(key: &LeaseKey, grant: &Grant) -> Decision {
    if !key.scopes.is_subset(&grant.scopes) {
        return Decision::NotGranted(key.scopes.without(&grant.scopes));
    }
    match &key.resource {
        Some(resource) if resource.len() > LONGEST_RESOURCE => Decision::ResourceTooLong,
        Some(resource)
            if grant.resource.as_ref() != Some(resource)
                && !grant.resources.contains(resource)
                && grant.grant_type(key).spends()
                && grant.provider.profile.rotation != Rotation::None =>
        {
            Decision::NotNamed(resource.clone())
        }
        _ => Decision::Allow,
    }
}
