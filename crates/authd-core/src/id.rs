//! Names and numbers that identify things. None of them is a secret.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The user's name for a grant: `work`, `github`, `me@example.com`.
///
/// 1 to 64 characters of `A-Z a-z 0-9 . _ @ + -`, the first a letter or a digit. So it can stand in
/// a shell line, a file name and a log without quoting.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Account(Arc<str>);

/// Why a text is no account name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an account name has 1 to 64 characters of A-Z a-z 0-9 . _ @ + - and starts with a letter or digit"
)]
pub struct BadAccount;

impl Account {
    /// Longest name, in characters.
    pub const MAX_LEN: usize = 64;

    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`BadAccount`] when the name is empty, too long, or has a character outside the list above.
    pub fn new(name: &str) -> Result<Self, BadAccount> {
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let all_plain = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._@+-".contains(c));
        if starts_well && all_plain && name.len() <= Self::MAX_LEN {
            Ok(Self(name.into()))
        } else {
            Err(BadAccount)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Account {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Account {
    type Error = BadAccount;

    fn try_from(name: String) -> Result<Self, BadAccount> {
        Self::new(&name)
    }
}

impl From<Account> for String {
    fn from(account: Account) -> Self {
        account.0.as_ref().to_owned()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

number!(
    /// What one login yielded. A new login to the same account makes a new grant.
    GrantId,
    "grant-"
);
number!(
    /// One attempt to exchange something for tokens; the name under which an intent stands on disk.
    AttemptId,
    "attempt-"
);
number!(
    /// One login under way, from its start to its result.
    LoginId,
    "login-"
);
number!(
    /// One client's question that waits for an answer. Given by the shell, unique in its process.
    Ticket,
    "ticket-"
);

number!(
    /// A client as the shell tells clients apart: the same number only for the same process. Whoever
    /// is not told apart is 0, and counts as somebody else than everybody.
    ClientId,
    "client-"
);

/// Counts the successful exchanges of a grant: the login is generation 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one that the next successful exchange will have.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A keyed hash of a token, 128 bits: names the token without revealing anything of it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let digits = text.as_bytes();
        if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(BadFingerprint);
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| BadFingerprint)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadFingerprint)?;
        }
        Ok(Self(bytes))
    }
}

/// Why a text is no [`Fingerprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 32 hexadecimal digits, as `token.get` gave it")]
pub struct BadFingerprint;

/// `scheme://host:port` of a token endpoint: what throttles and breakers are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Host(pub Arc<str>);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_names_are_plain() {
        for good in [
            "a",
            "work",
            "me@example.com",
            "9lives",
            "a+b_c-d.e",
            &"x".repeat(64),
        ] {
            assert_eq!(Account::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".a",
            "-rf",
            "a b",
            "a/b",
            "a\u{1b}[31m",
            "ü",
            &"x".repeat(65),
        ] {
            assert_eq!(Account::new(bad), Err(BadAccount), "{bad:?}");
        }
    }

    #[test]
    fn names_and_numbers_are_shown_as_people_know_them() {
        let account = Account::new("work").unwrap();
        assert_eq!(format!("{account} {account:?}"), "work work");
        assert_eq!(String::from(account.clone()), "work");
        let borrowed: &str = account.borrow();
        assert_eq!(borrowed, "work");
        assert_eq!(Generation(7).next().to_string(), "8");
        assert_eq!(Generation(u64::MAX).next(), Generation(u64::MAX));
        assert_eq!(
            format!("{0} {0:?}", AttemptId(255)),
            "attempt-ff attempt-ff"
        );
        let fingerprint = Fingerprint([0xab; 16]);
        assert_eq!(format!("{fingerprint:?}"), "ab".repeat(16));
    }

    #[test]
    fn fingerprints_round_trip_as_hex() {
        let fingerprint = Fingerprint(*b"0123456789abcdef");
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_eq!("30".parse::<Fingerprint>(), Err(BadFingerprint));
        assert_eq!("+0".repeat(16).parse::<Fingerprint>(), Err(BadFingerprint));
    }
}
