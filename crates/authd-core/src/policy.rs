//! Who may ask for what. Stands beside nothing else, so that it can be read at one sitting.

use crate::{grant::Grant, scope::ScopeSet};

/// The answer to a client that asks for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// The login was not granted these scopes, and a renewal never widens them (RFC 6749 §6).
    NotGranted(ScopeSet),
}

/// Whether a token with `scopes` may be drawn from `grant`; no scope named means those of the login.
#[must_use]
pub fn decide(scopes: &ScopeSet, grant: &Grant) -> Decision {
    if scopes.is_subset(&grant.scopes) {
        Decision::Allow
    } else {
        Decision::NotGranted(scopes.without(&grant.scopes))
    }
}
