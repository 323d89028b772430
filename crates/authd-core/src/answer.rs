//! What came back from the provider, as facts. Judging them is the engine's business
//! ([`crate::renewal::classify`]); gathering them is the shell's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    grant::Subject,
    id::Fingerprint,
    scope::ScopeSet,
    time::{Now, Wall},
};

/// The outcome of one request to a token or device authorization endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When the request was sent; a token's life is counted from then.
    pub sent_at: Now,
    /// What came back.
    pub received: Received,
    /// The server's `Date`, to notice a clock that is wrong.
    pub date: Option<Wall>,
    /// `Retry-After` (RFC 9110 §10.2.3).
    pub retry_after: Option<RetryAfter>,
    /// The provider's own id of the request, where it gave one.
    pub request_id: Option<String>,
}

/// What came back, if anything did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// No whole response.
    Nothing {
        /// Whether any byte of the request may have left this machine.
        bytes_left: bool,
        /// What went wrong.
        failure: Failure,
    },
    /// What proves the client could not be had, so that nothing was asked.
    Unproven {
        /// Why, in a sentence for a person; never a secret.
        why: String,
    },
    /// A whole response.
    Response {
        /// The HTTP status.
        status: u16,
        /// Its body, read as far as it makes sense.
        body: Body,
    },
}

/// Why there was no whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The host's name did not resolve.
    Dns,
    /// No connection.
    Connect,
    /// The proxy in between cannot be reached, or refuses.
    Proxy,
    /// The proxy in between wants another name and password.
    ProxyLogin,
    /// The TLS handshake failed: somebody else answers.
    Tls,
    /// Nobody whom this machine trusts vouches for the certificate.
    UntrustedCertificate,
    /// The certificate is another host's: somebody else answers.
    ForeignCertificate,
    /// The certificate is not valid now, by this machine's clock.
    OutdatedCertificate,
    /// The time-out ran out.
    Timeout,
    /// The connection broke, or the response ended early.
    Broken,
    /// The response was larger than the cap.
    TooLarge,
}

/// A response's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A token response (RFC 6749 §5.1), JSON or form-encoded, with a usable access token.
    Tokens(Box<TokenSummary>),
    /// An error response (RFC 6749 §5.2): it has an `error` member, whatever the status.
    Error {
        /// The code, as it came.
        code: String,
        /// `error_description`, cleaned of control characters and cut.
        description: Option<String>,
        /// A finer code that some providers add (`error_subtype`, `suberror`, `AADSTS…`).
        detail: Option<String>,
    },
    /// An HTML page: a portal, a proxy, a firewall, a maintenance notice.
    Html,
    /// Nothing.
    Empty,
    /// Anything else: no JSON, or JSON without the members that would make it one of the above,
    /// an empty access token, an error text in the place of one.
    Unintelligible,
}

/// A token response without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSummary {
    /// Names the access token.
    pub fingerprint: Fingerprint,
    /// As the provider wrote it.
    pub token_type: String,
    /// `expires_in`, however it was written.
    pub expires_in: ExpiresIn,
    /// `exp` of the access token where it is a JWT, as a moment.
    pub jwt_expiry: Option<Wall>,
    /// A hint when to refresh (`refresh_in`), counted from the request.
    pub refresh_in: Option<Duration>,
    /// `scope`, when stated.
    pub scopes: Option<ScopeSet>,
    /// Whether a new refresh token came. Omitted, `null` and `""` all mean "keep the old one".
    pub refresh_token: bool,
    /// Who the ID token says this is, when one came and its claims hold.
    pub subject: Option<Subject>,
}

/// `expires_in` (RFC 6749 §5.1) as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiresIn {
    /// A positive number, as a number or as a string. Cut to ten years.
    Stated(Duration),
    /// Not there, `null`, zero, negative or no number.
    Missing,
}

/// `Retry-After`, in either form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// So long from now.
    Delay(Duration),
    /// Until then.
    Until(Wall),
}

/// Which grant an exchange uses (RFC 6749 §4, §6; RFC 8628; RFC 8693; RFC 7523).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 6749 §4.1.3.
    AuthorizationCode,
    /// RFC 8628 §3.4.
    DeviceCode,
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 8693.
    TokenExchange,
    /// RFC 7523 §2.1.
    JwtBearer,
}

impl GrantType {
    /// Whether sending it twice can spend something that a first sending already spent.
    #[must_use]
    pub fn spends(self) -> bool {
        matches!(
            self,
            Self::RefreshToken | Self::AuthorizationCode | Self::DeviceCode
        )
    }

    /// The value of `grant_type` in a token request, and the name in metadata.
    #[must_use]
    pub fn registered_name(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::AuthorizationCode => "authorization_code",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }
}
