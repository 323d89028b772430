//! Scopes as RFC 6749 §3.3 has them: a set of case-sensitive words, their order of no account.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

/// A set of scope tokens. Empty means "whatever the login was granted".
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeSet(BTreeSet<Box<str>>);

impl ScopeSet {
    /// From the wire form: words separated by blanks.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split_ascii_whitespace().collect()
    }

    /// Whether no scope is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every scope of `self` is in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// The scopes of `self` that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    /// The scopes, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl<'a> FromIterator<&'a str> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = &'a str>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, scope) in self.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::ScopeSet;

    #[test]
    fn order_and_repetition_do_not_matter() {
        let scopes = ScopeSet::parse("openid  email openid\tapi");
        assert_eq!(scopes.to_string(), "api email openid");
        assert_eq!(scopes, ScopeSet::parse("email api openid"));
        assert_eq!(
            scopes.without(&ScopeSet::parse("api")).to_string(),
            "email openid"
        );
        assert!(!scopes.is_empty() && ScopeSet::parse(" ").is_empty());
        assert!(ScopeSet::parse("api").is_subset(&scopes));
        assert!(!scopes.is_subset(&ScopeSet::parse("api")));
    }
}
