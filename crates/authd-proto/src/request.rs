//! The parameters of each method (PROTOCOL.md, section 9).
//!
//! The two on the hot path borrow from the frame; the others own what they hold, because they outlive it.
//! Optional members that are absent are not encoded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::ErrorShape;
use crate::event::EventKind;
use crate::secret::{SecretStr, WireSecret};
use crate::version::{MAX_VERSION, MIN_VERSION};

fn is_false(flag: &bool) -> bool {
    !flag
}

/// `hello`: negotiates version and error shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// The oldest major version the client speaks.
    pub min_version: u64,
    /// The newest major version the client speaks.
    pub max_version: u64,
    /// What the client says it is; claimed, never trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Its version, likewise claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_version: Option<String>,
    /// The shape of errors from now on; absent leaves it text.
    pub errors: ErrorShape,
}

impl Default for Hello {
    fn default() -> Self {
        Self {
            min_version: MIN_VERSION,
            max_version: MAX_VERSION,
            client: None,
            client_version: None,
            errors: ErrorShape::Text,
        }
    }
}

/// `token.get`: an access token that is alive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenGet<'a> {
    /// May be absent where `resource` decides, or where there is one account only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<&'a str>,
    /// Absent: those of the login.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<&'a str>>,
    /// An RFC 8707 resource indicator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<&'a str>,
    /// The least the token must have left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ttl_secs: Option<u64>,
    /// How long to wait; see [`crate::limits::wait_secs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// `token.reject`: reports a token that a server answered with 401. No `Debug`: may hold a token.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenReject<'a> {
    /// Whose token.
    pub account: &'a str,
    /// Names the rejected token; either this or `access_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<&'a str>,
    /// The rejected token itself.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<SecretStr<'a>>,
    /// As in the `token.get` it came from.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<&'a str>>,
    /// As in the `token.get` it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<&'a str>,
    /// The HTTP status of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Its `WWW-Authenticate` field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub www_authenticate: Option<&'a str>,
    /// How long to wait; see [`crate::limits::wait_secs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// `dpop.proof`: a proof of possession (RFC 9449 §4) for one request with a token that is bound to a key.
/// No `Debug`: may hold a token.
#[derive(Clone, Serialize, Deserialize)]
pub struct DpopProof {
    /// Whose token.
    pub account: String,
    /// The HTTP method of the request; its case counts.
    pub method: String,
    /// Where the request goes. Query and fragment do not matter.
    pub url: String,
    /// The token that goes with the request; absent: the account's newest one of `scopes` and `resource`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<WireSecret>,
    /// As in the `token.get` it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// As in the `token.get` it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The newest `DPoP-Nonce` that the server gave (RFC 9449 §9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// `account.list`: a page of accounts, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountList {
    /// See [`crate::limits::page_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// That of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `account.get`: one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountGet {
    /// Its name.
    pub account: String,
}

/// `account.forget`: removes the login here, without a word to the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountForget {
    /// Its name.
    pub account: String,
}

/// `account.adopt`: lifts the block on accounts of a restored or copied store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountAdopt {
    /// Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// How the client authenticates at the token endpoint (RFC 6749 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// A public client.
    None,
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Post,
    /// `private_key_jwt` (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// `tls_client_auth`, `self_signed_tls_client_auth` (RFC 8705 §2).
    Tls,
}

/// How the login is authorized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// Authorization code with PKCE and a loopback redirect (RFC 7636, RFC 8252).
    #[default]
    Browser,
    /// Device authorization (RFC 8628).
    Device,
    /// Device where the provider lets this client, else browser. Asked for only: a reply's flow is one of
    /// the two.
    DeviceOrBrowser,
    /// The client's own credentials (RFC 6749 §4.4): no person takes part.
    ClientCredentials,
    /// Assertions that the client's key signs (RFC 7523 §2.1): no person takes part.
    JwtBearer,
}

/// `login.start`: begins a login attempt. No `Debug`: may hold a client secret.
///
/// Where to log in: `provider`, else `issuer`, else endpoints; none of them to log in again to an account
/// that exists.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct LoginStart {
    /// The account to make or to repair.
    pub account: String,
    /// The name of a preset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Values for the preset's variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Discovered by RFC 8414 and OIDC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Where discovery does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_endpoint: Option<String>,
    /// Where discovery does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
    /// Where discovery does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_authorization_endpoint: Option<String>,
    /// Where discovery does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// Where discovery does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userinfo_endpoint: Option<String>,
    /// Absent where a preset or the existing account knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Of a confidential client: its secret, or where keys sign, its private key (PEM, JWK, or the key
    /// file of a Google service account).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<WireSecret>,
    /// A client of the daemon's configuration, by name: its file says where to log in, and where its
    /// secret is. Not with a `client_secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Absent: what fits the credential; basic with a `client_secret`, none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// Absent: the preset's, or those of the existing account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// An RFC 8707 resource indicator: what the login's own token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Further resources that tokens may be asked for later (RFC 8707 §2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Absent: browser.
    #[serde(default)]
    pub flow: Flow,
    /// With `flow` `jwt_bearer`: about whom the assertions are, where not about the client itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Absent: `http://127.0.0.1:PORT/callback`. Given: a loopback URL, used to the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// Whether the tokens are to be bound to a key that stays in the daemon (RFC 9449). Absent: as they
    /// were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpop: Option<bool>,
    /// Allows a login by someone else than the account belongs to.
    #[serde(default, skip_serializing_if = "is_false")]
    pub replace_subject: bool,
    /// More parameters for the authorization request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
}

/// `login.wait`: waits for the end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginWait {
    /// From `login.start`.
    pub login_id: String,
    /// How long to wait; see [`crate::limits::wait_secs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// `login.complete`: the redirect of a browser elsewhere, pasted. No `Debug`: holds a code.
#[derive(Clone, Serialize, Deserialize)]
pub struct LoginComplete {
    /// From `login.start`.
    pub login_id: String,
    /// The whole URL the browser ended at, or the bare code.
    pub redirect_url: WireSecret,
    /// How long to wait; see [`crate::limits::wait_secs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// `login.cancel`: ends an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginCancel {
    /// From `login.start`.
    pub login_id: String,
}

/// `logout`: revokes (RFC 7009) and removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logout {
    /// Whose login.
    pub account: String,
    /// How long to wait; see [`crate::limits::wait_secs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// `renew`: an exchange now, within the account's throttles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// Whose token.
    pub account: String,
    /// Absent: those of the login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// An RFC 8707 resource indicator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// How long to wait; see [`crate::limits::wait_secs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// `subscribe`: events on this connection from now on; replaces an earlier subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Absent: all kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventKind>>,
    /// Absent: all accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// `events.query`: what is remembered, in memory or on disk; oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsQuery {
    /// Absent: all accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Absent: all kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventKind>>,
    /// Unix seconds; events at or after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_at: Option<u64>,
    /// Events with a greater `seq` than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_seq: Option<u64>,
    /// The page holds the newest events that it can, and the next page older ones.
    #[serde(default, skip_serializing_if = "is_false")]
    pub newest: bool,
    /// See [`crate::limits::page_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// That of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `unsubscribe`: no more events on this connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribe {}

/// `daemon.status`: how the daemon is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {}

/// `daemon.reload`: reads the configuration again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonReload {}

/// `daemon.stop`: stops once exchanges in flight are finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStop {}
