//! Error codes, their exit statuses, and the error as it stands on the wire (PROTOCOL.md, section 7).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The exit statuses of `authctl`: stable, documented, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// It worked.
    Success = 0,
    /// It did not, and none of the others fits.
    Failure = 1,
    /// The command was wrong.
    Usage = 2,
    /// No such account.
    UnknownAccount = 3,
    /// The person has to log in.
    LoginRequired = 4,
    /// The provider (or the daemon) cannot answer now; try later.
    TryLater = 5,
    /// Denied by policy or by the person, or the store is locked.
    Denied = 6,
    /// No daemon to talk to.
    DaemonUnreachable = 7,
}

/// Declares the one table of codes: variant, wire name, exit status, meaning.
macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal => $exit:ident,)*) => {
        /// The stable first word of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of PROTOCOL.md.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it stands on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The exit status of `authctl` for this code.
            #[must_use]
            pub const fn exit_status(self) -> ExitStatus {
                match self { $(Self::$variant => ExitStatus::$exit,)* }
            }

            /// The code of that name; `None` for one of a newer version.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

error_codes! {
    /// Parameters missing, of the wrong type or out of range.
    BadRequest = "bad_request" => Usage,
    /// No such method in any version this daemon knows.
    UnknownMethod = "unknown_method" => Failure,
    /// The method is reserved, and this daemon does not have it.
    Unsupported = "unsupported" => Failure,
    /// No common major version.
    VersionMismatch = "version_mismatch" => Failure,
    /// No account of that name.
    UnknownAccount = "unknown_account" => UnknownAccount,
    /// The account has a login that works, and nothing said that another may take its place.
    AccountExists = "account_exists" => Failure,
    /// The login that is brought along is there already.
    AlreadyHeld = "already_held" => Failure,
    /// No account given, and several match.
    AmbiguousAccount = "ambiguous_account" => Usage,
    /// The grant has ended or never was.
    LoginRequired = "login_required" => LoginRequired,
    /// A scope was asked for that the grant does not have.
    InsufficientScope = "insufficient_scope" => LoginRequired,
    /// The store was restored or copied, and the user has not adopted it.
    AdoptionRequired = "adoption_required" => Failure,
    /// The provider cannot be reached or fails; retried by the daemon.
    Unavailable = "unavailable" => TryLater,
    /// The provider asked for a pause.
    Throttled = "throttled" => TryLater,
    /// `wait_secs` passed; the work goes on.
    Timeout = "timeout" => TryLater,
    /// The daemon is at one of its caps.
    Busy = "busy" => TryLater,
    /// Tokens never live as long as was asked.
    MaxTtlExceeded = "max_ttl_exceeded" => Failure,
    /// The resource rejects even new tokens.
    ProviderRejects = "provider_rejects" => Failure,
    /// The authorization server refuses for a reason of configuration.
    ProviderRefused = "provider_refused" => Failure,
    /// No valid metadata for that issuer.
    DiscoveryFailed = "discovery_failed" => Failure,
    /// No client id is given, and none can be had.
    ClientIdRequired = "client_id_required" => Usage,
    /// No login attempt of that id.
    UnknownLogin = "unknown_login" => Failure,
    /// The attempt ended with an error of the provider, or its answer was not valid.
    LoginFailed = "login_failed" => Failure,
    /// Nobody finished the login in time.
    LoginExpired = "login_expired" => Failure,
    /// The attempt was cancelled.
    LoginCancelled = "login_cancelled" => Failure,
    /// Someone else signed in than the account belongs to.
    SubjectMismatch = "subject_mismatch" => Failure,
    /// Policy, or the person at the consent page, said no.
    Denied = "denied" => Denied,
    /// Policy wants an approval that nobody gave.
    ApprovalRequired = "approval_required" => Denied,
    /// The store is locked.
    Locked = "locked" => Denied,
    /// A passphrase protects the key, and none was given.
    PassphraseRequired = "passphrase_required" => Denied,
    /// The passphrase is another.
    WrongPassphrase = "wrong_passphrase" => Denied,
    /// The key did not move, or was not replaced.
    KeyFailed = "key_failed" => Failure,
    /// The store cannot be read or written.
    StoreFailed = "store_failed" => Failure,
    /// The configuration file is wrong; the old one is kept.
    BadConfig = "bad_config" => Failure,
    /// The answer does not fit a frame.
    TooLarge = "too_large" => Failure,
    /// The daemon is stopping.
    ShuttingDown = "shutting_down" => DaemonUnreachable,
    /// A fault of the daemon, or a code this version does not know.
    Internal = "internal" => Failure,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    /// A code of a newer version reads as [`ErrorCode::Internal`].
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = String::deserialize(input)?;
        Ok(Self::parse(&name).unwrap_or(Self::Internal))
    }
}

/// How a connection wants its errors; [`Text`](Self::Text) until `hello` says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// `[0, "code: message (hint)"]`, which stock Neovim shows as it stands.
    #[default]
    Text,
    /// The map of [`WireError`].
    Map,
}

/// An error as the daemon answers it. Never holds a secret.
///
/// Reads like the [`ErrorDetails`] inside; boxed, so that a `Result` with it stays small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(transparent)]
#[error("{0}")]
pub struct WireError(Box<ErrorDetails>);

/// What an error says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorDetails {
    /// What to act on.
    pub code: ErrorCode,
    /// What happened, for people.
    pub message: String,
    /// What to do about it, for people; often a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When it is worth asking again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_secs: Option<u64>,
    /// With [`ErrorCode::MaxTtlExceeded`]: the most that can be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl_secs: Option<u64>,
    /// The account it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// With [`ErrorCode::AmbiguousAccount`]: the accounts that match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
}

impl fmt::Display for ErrorDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        self.hint
            .as_ref()
            .map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl std::ops::Deref for WireError {
    type Target = ErrorDetails;

    fn deref(&self) -> &ErrorDetails {
        &self.0
    }
}

impl WireError {
    /// An error without a hint. `message` is one line without a full stop.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorDetails {
            code,
            message: message.into(),
            hint: None,
            retry_after_secs: None,
            max_ttl_secs: None,
            account: None,
            candidates: Vec::new(),
        }))
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the account it is about.
    #[must_use]
    pub fn with_account(mut self, account: impl Into<String>) -> Self {
        self.0.account = Some(account.into());
        self
    }

    /// Adds when it is worth asking again.
    #[must_use]
    pub fn with_retry_after_secs(mut self, secs: u64) -> Self {
        self.0.retry_after_secs = Some(secs);
        self
    }

    /// Adds the most that can be asked for.
    #[must_use]
    pub fn with_max_ttl_secs(mut self, secs: u64) -> Self {
        self.0.max_ttl_secs = Some(secs);
        self
    }

    /// Adds the accounts that match.
    #[must_use]
    pub fn with_candidates(mut self, names: Vec<String>) -> Self {
        self.0.candidates = names;
        self
    }

    /// Reads the text form. A code that is not known reads as [`ErrorCode::Internal`] with the whole text
    /// as its message; a hint stays part of the message, since brackets may be the message's own.
    #[must_use]
    pub fn parse_text(text: &str) -> Self {
        match text
            .split_once(": ")
            .and_then(|(code, rest)| Some((ErrorCode::parse(code)?, rest)))
        {
            Some((code, message)) => Self::new(code, message),
            None => Self::new(ErrorCode::Internal, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_from_its_own_name() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(code));
        }
    }

    #[test]
    fn the_table_of_the_specification_is_the_table_of_the_code() {
        let spec = include_str!("../../../proto/PROTOCOL.md");
        for &code in ErrorCode::ALL {
            let row = format!("| `{code}` | {} |", code.exit_status() as u8);
            assert!(spec.contains(&row), "PROTOCOL.md has no row {row}");
        }
        let errors = spec
            .split("## 7.")
            .nth(1)
            .and_then(|rest| rest.split("## 8.").next());
        let rows = errors.map_or(0, |text| {
            text.lines().filter(|line| line.starts_with("| `")).count()
        });
        assert_eq!(rows, ErrorCode::ALL.len());
    }

    #[test]
    fn text_reads_back_up_to_the_hint() {
        let error =
            WireError::new(ErrorCode::LoginRequired, "the login expired").with_hint("run x");
        assert_eq!(
            error.to_string(),
            "login_required: the login expired (run x)"
        );
        let back = WireError::parse_text(&error.to_string());
        assert_eq!(back.code, ErrorCode::LoginRequired);
        assert_eq!(back.message, "the login expired (run x)");
        let newer = WireError::parse_text("quota_spent: all gone");
        assert_eq!(
            (newer.code, newer.message.as_str()),
            (ErrorCode::Internal, "quota_spent: all gone")
        );
    }
}
