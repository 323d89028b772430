//! Secrets as they cross the wire: they serialise, and that is all they do.
//!
//! No `Debug` and no `Display`, so a message that holds one cannot be logged by accident: deriving
//! `Debug` for it does not compile.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// An owned secret, wiped when dropped.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WireSecret(#[serde(with = "zeroizing")] Zeroizing<String>);

impl WireSecret {
    /// Takes ownership of `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself, for the one place that must use it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A secret borrowed from the frame it came in.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretStr<'a>(&'a str);

impl<'a> SecretStr<'a> {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The secret itself, for the one place that must use it.
    #[must_use]
    pub fn expose(self) -> &'a str {
        self.0
    }
}

mod zeroizing {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        secret: &Zeroizing<String>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.serialize_str(secret)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(input).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_what_is_used() {
        let bytes = rmp_serde::to_vec(&WireSecret::new("correct horse")).expect("memory takes it");
        let borrowed: SecretStr<'_> = rmp_serde::from_slice(&bytes).expect("a string");
        assert_eq!(borrowed.expose(), "correct horse");
        let owned: WireSecret = rmp_serde::from_slice(&bytes).expect("a string");
        assert_eq!(owned.expose(), "correct horse");
    }
}
