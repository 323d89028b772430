//! Scopes as RFC 6749 §3.3 has them: a set of case-sensitive words, their order of no account.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of scope tokens. Empty means "whatever the login was granted".
///
/// Held as one text, because sets are many and kept long: the words sorted, each once, a blank between
/// two; nothing when there is none. No word contains a blank, which sorts before all that words
/// consist of: so the order of the texts is that of the sets.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScopeSet(Option<Arc<str>>);

impl ScopeSet {
    /// From the wire form: words separated by blanks.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split_ascii_whitespace().collect()
    }

    /// Whether no scope is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether every scope of `self` is in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self == other || self.iter().all(|scope| other.contains(scope))
    }

    /// The scopes of `self` that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.iter().filter(|scope| !other.contains(scope)).collect()
    }

    /// The scopes, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|words| words.split(' '))
    }

    fn contains(&self, scope: &str) -> bool {
        self.iter().any(|held| held == scope)
    }
}

impl<'a> FromIterator<&'a str> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = &'a str>>(scopes: I) -> Self {
        let words = scopes.into_iter().flat_map(str::split_ascii_whitespace);
        let mut words: Vec<_> = words.collect();
        words.sort_unstable();
        words.dedup();
        Self((!words.is_empty()).then(|| words.join(" ").into()))
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or_default())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// As a sequence of words.
impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let words: Vec<_> = self.iter().collect();
        words.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<Box<str>>::deserialize(deserializer)?;
        Ok(words.iter().map(AsRef::as_ref).collect())
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
        assert_eq!(format!("{scopes:?}"), r#"{"api", "email", "openid"}"#);
    }

    #[test]
    fn they_are_written_as_a_sequence_and_read_in_any_order() {
        let written = serde_json::to_string(&ScopeSet::parse("b a")).unwrap();
        assert_eq!(written, r#"["a","b"]"#);
        let read: ScopeSet = serde_json::from_str(r#"["b","a","b"]"#).unwrap();
        assert_eq!(read, ScopeSet::parse("a b"));
        let none: ScopeSet = serde_json::from_str("[]").unwrap();
        assert!(none.is_empty() && serde_json::to_string(&none).unwrap() == "[]");
    }

    #[test]
    fn they_sort_as_sets_of_words_do() {
        let sets = [
            "", "a", "a b", "a b c", "a c", "a!", "a-b", "a:b", "ab", "b",
        ];
        let by_words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let sets =
            sets.map(|text| -> (ScopeSet, Vec<String>) { (ScopeSet::parse(text), by_words(text)) });
        for (a, words_of_a) in &sets {
            for (b, words_of_b) in &sets {
                assert_eq!(a.cmp(b), words_of_a.cmp(words_of_b), "{a} and {b}");
            }
        }
    }
}
