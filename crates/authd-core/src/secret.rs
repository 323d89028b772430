//! Secrets that cannot be printed.
//!
//! [`Secret`] has no `Debug`, no `Display` and no `Serialize`: a type that holds one cannot derive
//! them either, so a token that strays into a log line is a compile error and not an incident.

use zeroize::Zeroizing;

/// A token, a client secret or a code verifier. Wiped when dropped.
///
/// The engine itself never holds one; the type lives here because every other crate needs it.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// Takes ownership of `text`. The buffer is shrunk to its length, so no spare copy stays behind.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself, for the one place that must send or seal it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing is in it. Providers send `""` where they mean "no token".
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in time that depends on the lengths alone.
    #[must_use]
    pub fn matches(&self, other: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), other.as_bytes());
        ours.len() == theirs.len()
            && ours
                .iter()
                .zip(theirs)
                .fold(0u8, |difference, (a, b)| difference | (a ^ b))
                == 0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn equality_needs_every_byte() {
        let secret = Secret::new("correct horse");
        assert!(secret.matches("correct horse"));
        assert!(!secret.matches("correct horsE"));
        assert!(!secret.matches("correct"));
        assert!(!Secret::new("aa").matches("bb"), "alike differences add up");
    }

    #[test]
    fn it_gives_what_was_put_in() {
        let secret = Secret::from("correct horse".to_owned());
        assert_eq!(secret.expose(), "correct horse");
        assert!(!secret.is_empty() && Secret::new("").is_empty());
    }
}
