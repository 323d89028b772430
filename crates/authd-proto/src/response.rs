//! The result of each method (PROTOCOL.md, section 9). Times are Unix seconds.
//!
//! Members written `name|nil` in the specification are plain `Option`s and always encoded; those written
//! `name?` are left out when absent. Choices have an `Unknown` for what a newer daemon may say.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::protection::Protection;
use crate::request::Flow;
use crate::secret::WireSecret;

/// Of `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloReply {
    /// The major version spoken from now on.
    pub version: u64,
    /// The oldest the daemon speaks.
    pub min_version: u64,
    /// The newest the daemon speaks.
    pub max_version: u64,
    /// The daemon's own release.
    pub daemon_version: String,
    /// [`crate::limits::MAX_FRAME`] of the daemon.
    pub max_frame: u64,
    /// [`crate::limits::MAX_DEPTH`] of the daemon.
    pub max_depth: u64,
    /// [`crate::limits::MAX_WAIT_SECS`] of the daemon.
    pub max_wait_secs: u64,
}

/// How well `expires_at` is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// The provider said.
    Exact,
    /// The provider did not say; taken from its profile, from experience or from a default.
    Assumed,
    /// Nobody knows: served until it is rejected.
    #[serde(other)]
    Unknown,
}

/// Of `token.get` and `token.reject`. No `Debug`: holds a token.
///
/// The daemon does not encode this for a cached token: [`crate::encode::EncodedToken`] is the fast way to
/// the same bytes.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenReply {
    /// The token itself.
    pub access_token: WireSecret,
    /// What else there is to say about it.
    #[serde(flatten)]
    pub renewal: RenewReply,
}

/// Of `renew`, and all of [`TokenReply`] but the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewReply {
    /// RFC 6749 §7.1; `Bearer` in this spelling.
    pub token_type: String,
    /// When it expires.
    pub expires_at: Option<u64>,
    /// How well that is known.
    pub expiry: Expiry,
    /// The scopes it has.
    pub scopes: Vec<String>,
    /// The resource it is for (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Whose it is.
    pub account: String,
    /// Who that is at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Counts the account's successful exchanges.
    pub generation: u64,
    /// Names the token without revealing it.
    pub fingerprint: String,
    /// What is left of it at the moment of the answer.
    pub ttl_secs: Option<u64>,
    /// Whether that is below the floor, because the provider cannot be reached.
    #[serde(default)]
    pub low: bool,
    /// Whether this request caused or awaited an exchange.
    #[serde(default)]
    pub renewed: bool,
}

/// Of `dpop.proof`. No `Debug`: holds a proof.
#[derive(Clone, Serialize, Deserialize)]
pub struct DpopProofReply {
    /// The value of the `DPoP` header field, for one request.
    pub proof: WireSecret,
    /// Whose it is.
    pub account: String,
    /// The thumbprint of the key (RFC 7638).
    pub jkt: String,
}

/// Whether tokens are bound to a key (RFC 9449), where they were asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dpop {
    /// They are: each request with one needs a proof.
    Bound,
    /// The provider was shown the key and issues plain bearer tokens all the same.
    Bearer,
    /// Something of a newer version.
    #[serde(other)]
    Unknown,
}

/// The state of a lease, or of an account: then the worst of its leases, or one of the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Before its renew point.
    Fresh,
    /// Past its renew point.
    Due,
    /// An exchange is in flight.
    Refreshing,
    /// Less left than the floor.
    Late,
    /// Nothing left.
    Expired,
    /// Of accounts: the person has to log in.
    NeedsLogin,
    /// Of accounts: the store is locked.
    Locked,
    /// One of a newer version.
    #[serde(other)]
    Unknown,
}

/// A condition of an account, beside its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FlagName {
    /// The provider cannot be reached.
    Offline,
    /// The provider asked for a pause.
    Throttled,
    /// An exchange was sent and its answer never came.
    Ambiguous,
    /// The provider refused the grant once; not yet confirmed.
    Suspect,
    /// The grant has ended.
    NeedsLogin,
    /// The resource rejects even new tokens.
    ProviderRejects,
    /// The newest tokens are in memory but not on disk.
    StoreDegraded,
    /// The provider refuses the client or the request.
    Misconfigured,
    /// The store was copied or restored: nothing is exchanged until it is adopted.
    StaleStore,
    /// The latest token has other scopes than the login.
    ScopeChanged,
    /// The provider's metadata is not what it was at login.
    MetadataChanged,
    /// The store is locked.
    Locked,
    /// One of a newer version.
    #[serde(other)]
    Unknown,
}

/// A flag with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    /// Which.
    pub flag: FlagName,
    /// Why, for people.
    pub reason: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_at: Option<u64>,
}

/// The last thing that went wrong with an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// A code of the table of errors.
    pub code: ErrorCode,
    /// What happened, for people.
    pub message: String,
    /// When.
    pub at: u64,
}

/// One issued access token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// The resource it is for (RFC 8707).
    pub resource: Option<String>,
    /// The scopes it has.
    pub scopes: Vec<String>,
    /// Its state.
    pub state: State,
    /// When it expires.
    pub expires_at: Option<u64>,
    /// How well that is known.
    pub expiry: Expiry,
    /// What is left of it.
    pub ttl_secs: Option<u64>,
    /// The exchange it came from.
    pub generation: u64,
    /// When it will be renewed.
    pub next_renewal_at: Option<u64>,
    /// How long its tokens really live, where that is known to be shorter than the provider says, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_lifetime_secs: Option<u64>,
    /// ... and what the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated_lifetime_secs: Option<u64>,
}

/// Of `account.get`, and an entry of `account.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Its name.
    pub account: String,
    /// The authorization server.
    pub issuer: String,
    /// The client it was logged in with.
    pub client_id: String,
    /// The worst of its leases, or `needs_login`, or `locked`.
    pub state: State,
    /// Conditions beside the state.
    pub flags: Vec<Flag>,
    /// Of the lease of the login itself.
    pub expires_at: Option<u64>,
    /// How well that is known.
    pub expiry: Expiry,
    /// What is left of that lease.
    pub ttl_secs: Option<u64>,
    /// When that lease will be renewed.
    pub next_renewal_at: Option<u64>,
    /// Counts successful exchanges, the login included.
    pub generation: u64,
    /// Counts successful renewals since the login.
    pub renewals: u64,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
    /// Who signed in: the `sub` of the ID token or userinfo.
    pub subject: Option<String>,
    /// Their name or address, for people.
    pub subject_name: Option<String>,
    /// The scopes granted.
    pub scopes: Vec<String>,
    /// The resource logged in for (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The provider profile that applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether its tokens are bound to a key, where they were asked to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpop: Option<Dpop>,
    /// When it was made.
    pub created_at: u64,
    /// When the provider ends the login, however often it is renewed; absent where it does not, or
    /// that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_ends_at: Option<u64>,
    /// By how many seconds this machine's clock was ahead of the provider's when that was last heard;
    /// negative when it was behind. Absent up to [`crate::limits::CLOCK_TOLERANCE_SECS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_secs: Option<i64>,
    /// Every access token it has.
    pub leases: Vec<LeaseInfo>,
}

/// Of `account.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountListReply {
    /// A page, sorted by name.
    pub accounts: Vec<AccountInfo>,
    /// For the next page; nil at the end.
    pub cursor: Option<String>,
}

/// Of `account.check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountCheckReply {
    /// The account.
    pub account: String,
    /// How the metadata of its provider compares with what it was at login.
    pub metadata: MetadataState,
    /// What has changed, or why nothing was found, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How metadata compares with what it was at login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataState {
    /// It is as it was.
    Unchanged,
    /// It is not: the account has the flag `METADATA_CHANGED`.
    Changed,
    /// It cannot be had.
    Unavailable,
    /// There is none: where the provider listens was given by hand.
    None,
    /// One of a newer version.
    #[serde(other)]
    Unknown,
}

/// Of `account.forget`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountForgetReply {
    /// The account forgotten.
    pub account: String,
}

/// Of `account.adopt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountAdoptReply {
    /// The accounts adopted.
    pub adopted: Vec<String>,
}

/// Of `login.start`: what the person has to open or type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginStartReply {
    /// Names the attempt.
    pub login_id: String,
    /// The account it is for.
    pub account: String,
    /// Which of the members below are there.
    pub flow: Flow,
    /// The authorization server, where its metadata names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// As which client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How this login came by that, where nobody knew it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id_by: Option<ClientIdBy>,
    /// The resource, where it said where to log in: as it names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Browser: to open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_url: Option<String>,
    /// Browser: how long that may wait to be opened, where the request was pushed (RFC 9126).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_url_expires_in_secs: Option<u64>,
    /// Browser: where the listener waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// Device: to type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_code: Option<String>,
    /// Device: where to type it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri: Option<String>,
    /// Device: the same with the code in it, for a QR code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// Device: how often the daemon asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_secs: Option<u64>,
    /// How long the attempt lives.
    pub expires_in_secs: u64,
}

/// How a login came by a client id that nobody gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientIdBy {
    /// It is the address of the document that the configuration names.
    MetadataDocument,
    /// The provider registered this client just now (RFC 7591).
    Registration,
    /// A way that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Of `login.wait` and `login.complete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LoginProgress {
    /// Not yet: call again.
    Pending,
    /// The account is logged in.
    Done(Box<LoginDone>),
}

/// A login that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginDone {
    /// The account.
    pub account: String,
    /// The authorization server.
    pub issuer: String,
    /// Who signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Their name or address, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_name: Option<String>,
    /// The scopes granted.
    pub scopes: Vec<String>,
    /// Those asked for and not granted.
    pub refused_scopes: Vec<String>,
    /// When the first access token expires.
    pub expires_at: Option<u64>,
    /// How well that is known.
    pub expiry: Expiry,
    /// What is left of it.
    pub ttl_secs: Option<u64>,
    /// When it will be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_renewal_at: Option<u64>,
    /// The account's generation.
    pub generation: u64,
    /// Whether its tokens are bound to a key, where they were asked to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpop: Option<Dpop>,
}

/// Of `login.cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginCancelReply {
    /// The attempt.
    pub login_id: String,
}

/// What can be revoked (RFC 7009 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// The refresh token.
    RefreshToken,
    /// An access token.
    AccessToken,
    /// One of a newer version.
    #[serde(other)]
    Unknown,
}

/// Of `logout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutReply {
    /// The account.
    pub account: String,
    /// What the provider has revoked.
    pub revoked: Vec<TokenKind>,
    /// What could not be revoked yet; retried.
    pub pending: Vec<TokenKind>,
    /// Where a person ends the session of their browser at the provider, where it has such a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_session_url: Option<String>,
}

/// Of `subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeReply {
    /// The kinds that will come.
    pub events: Vec<crate::event::EventKind>,
}

/// Of `events.query`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsQueryReply {
    /// A page, oldest first.
    pub events: Vec<crate::event::Event>,
    /// For the next page; nil at the end.
    pub cursor: Option<String>,
}

/// Of `unsubscribe`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsubscribeReply {}

/// What protects the key of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyProtection {
    /// `keyring`, `file`, `passphrase` or `credential`; `unknown` before a key was made.
    pub kind: String,
    /// For people: which key store, which file.
    pub detail: String,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// `ok`, `locked` or `failed`.
    pub state: String,
    /// For people: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// For people: what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Of `daemon.status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatusReply {
    /// The daemon's release.
    pub version: String,
    /// The major version of the protocol on this connection.
    pub protocol: u64,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: u64,
    /// How long ago that was.
    pub uptime_secs: u64,
    /// The path of the socket.
    pub socket: String,
    /// The state directory.
    pub state_dir: String,
    /// The configuration file; nil when there is none.
    pub config_path: Option<String>,
    /// What protects the key of the store.
    pub key_protection: KeyProtection,
    /// Whether the daemon confined itself: `full`, `partial` or `none`.
    pub sandbox: String,
    /// What protects its process, and what does not and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protections: Vec<Protection>,
    /// How the store is.
    pub store: StoreStatus,
    /// Accounts known.
    pub accounts: u64,
    /// Connections open, this one included.
    pub connections: u64,
    /// Connections with a subscription.
    pub watchers: u64,
    /// Requests that wait for an exchange.
    pub waiters: u64,
    /// Exchanges with providers under way.
    pub exchanges_in_flight: u64,
    /// Questions to providers under way, whether a token is alive.
    #[serde(default)]
    pub questions_in_flight: u64,
    /// Tokens served since the start.
    pub served: u64,
    /// Successful renewals since the start.
    pub renewals: u64,
    /// Revocations that are still owed to providers; retried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocations: Vec<OwedRevocation>,
    /// Questions that wait for the person; absent where there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub approvals_waiting: u64,
    /// Lines of the audit log that never reached the disk, since the start; absent where there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub audit_lost: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a provider has not confirmed to be revoked, of one account. The account itself is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwedRevocation {
    /// Its name.
    pub account: String,
    /// Which tokens.
    pub tokens: Vec<TokenKind>,
}

/// Of `daemon.reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonReloadReply {
    /// Names of settings that took a new value.
    pub changed: Vec<String>,
    /// For people: settings that need a restart, and the like.
    pub warnings: Vec<String>,
}

/// Of `daemon.stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStopReply {
    /// The process that is stopping, so that the caller can wait for its end.
    pub pid: u32,
}
