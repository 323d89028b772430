//! What the server does when no fault is injected: every setting can change while it runs.
//!
//! In JSON (the control API and `fake-as --settings`) durations are seconds as numbers, fractions
//! allowed, and a partial object changes only the members it names.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The server's behaviour. The default is a strict, honest server: one-hour access tokens, rotation
/// with family revocation, no leeway, consent given to whatever was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Lifetime of access tokens issued from now on.
    #[serde(with = "seconds")]
    pub access_token_ttl: Duration,
    /// Lifetime of each refresh token from its issue (so, under rotation, the inactivity limit);
    /// `None`: no limit.
    #[serde(with = "optional_seconds")]
    pub refresh_token_ttl: Option<Duration>,
    /// Each refresh yields a new refresh token and spends the old one.
    pub rotation: bool,
    /// A spent refresh token that comes back (after the leeway) revokes its family. When off, it is
    /// only refused.
    pub reuse_detection: bool,
    /// For how long a spent refresh token is still accepted, yielding another successor.
    #[serde(with = "seconds")]
    pub leeway: Duration,
    /// A refresh revokes the family's earlier access tokens.
    pub refresh_revokes_access_tokens: bool,
    /// Whether client assertions must be for the token endpoint, and not for the issuer.
    pub assertion_audience_is_token_endpoint: bool,
    /// Revoking a family (reuse, RFC 7009 on its refresh token) revokes its access tokens too.
    pub family_revocation_revokes_access_tokens: bool,
    /// When a login yields a refresh token at all.
    pub refresh_tokens: RefreshTokens,
    /// How `expires_in` is rendered; the token's true lifetime stays `access_token_ttl`.
    pub expires_in: ExpiresIn,
    /// The `token_type` of token responses, in any spelling.
    pub token_type: String,
    /// What a refresh response says about the refresh token. All but `rendered` imply that this
    /// refresh does not rotate.
    pub refresh_token_on_refresh: RefreshTokenOnRefresh,
    /// A `refresh_in` hint (seconds) in token responses.
    pub refresh_in: Option<f64>,
    /// Opaque access tokens with a prefix, or JWTs (whose `exp` is true).
    pub access_token_format: AccessTokenFormat,
    /// What every opaque access token begins with, so that a leak can be searched for.
    pub access_token_prefix: String,
    /// What every refresh token begins with.
    pub refresh_token_prefix: String,
    /// What the absent person answers at the authorization endpoint.
    pub consent: Consent,
    /// What the absent person answers at the device verification page.
    pub device_consent: DeviceConsent,
    /// Grant only those of the requested scopes that stand here; `None`: all.
    pub grant_only: Option<Vec<String>>,
    /// Scopes of every refresh response, whatever was granted or asked (a server that widens or
    /// narrows silently).
    pub scope_on_refresh: Option<Vec<String>>,
    /// Who signs in: the `sub` of logins from now on.
    pub subject: String,
    /// Refresh responses carry an ID token too, for the *present* `subject`, so that changing it
    /// makes a changed subject.
    pub id_token_on_refresh: bool,
    /// Members laid over the ID token's claims; `null` removes one.
    pub id_token_claims: Map<String, Value>,
    /// The resources (RFC 8707) that exist; `None`: any absolute URI without a fragment.
    pub resources: Option<Vec<String>>,
    /// The places where metadata is served.
    pub discovery: Vec<DiscoveryForm>,
    /// Members laid over the metadata; `null` removes one. `{"issuer": "https://other"}` makes the
    /// issuer mismatch.
    pub metadata: Map<String, Value>,
    /// Metadata advertises RFC 9207.
    pub advertise_iss: bool,
    /// The `iss` parameter of authorization responses.
    pub send_iss: SendIss,
    /// Pushed authorization requests (RFC 9126).
    pub pushed_authorization_requests: Support,
    /// Lifetime of a pushed request.
    #[serde(with = "seconds")]
    pub request_uri_ttl: Duration,
    /// Proof of possession (RFC 9449). A server that is `off` does not look at proofs at all.
    pub dpop: Support,
    /// The nonce that proofs must hold; another value from now on is a rotation.
    pub dpop_nonce: Option<String>,
    /// How far a proof's date may be off.
    #[serde(with = "seconds")]
    pub dpop_window: Duration,
    /// Signed authorization responses (JARM).
    pub jarm: Support,
    /// Members laid over the claims of signed authorization responses; `null` removes one.
    pub jarm_claims: Map<String, Value>,
    /// Lifetime of authorization codes.
    #[serde(with = "seconds")]
    pub code_ttl: Duration,
    /// Lifetime of device codes.
    #[serde(with = "seconds")]
    pub device_code_ttl: Duration,
    /// Least time between two polls of a device code; zero never answers `slow_down`.
    #[serde(with = "seconds")]
    pub device_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access_token_ttl: Duration::from_secs(3600),
            refresh_token_ttl: None,
            rotation: true,
            reuse_detection: true,
            leeway: Duration::ZERO,
            refresh_revokes_access_tokens: false,
            assertion_audience_is_token_endpoint: false,
            family_revocation_revokes_access_tokens: true,
            refresh_tokens: RefreshTokens::Always,
            expires_in: ExpiresIn::Number,
            token_type: "Bearer".to_owned(),
            refresh_token_on_refresh: RefreshTokenOnRefresh::Rendered,
            refresh_in: None,
            access_token_format: AccessTokenFormat::Opaque,
            access_token_prefix: "canary-at-".to_owned(),
            refresh_token_prefix: "canary-rt-".to_owned(),
            consent: Consent::Approve,
            device_consent: DeviceConsent::Ask,
            grant_only: None,
            scope_on_refresh: None,
            subject: "user-1".to_owned(),
            id_token_on_refresh: false,
            id_token_claims: Map::new(),
            resources: None,
            discovery: vec![
                DiscoveryForm::OpenidAppend,
                DiscoveryForm::OpenidInsert,
                DiscoveryForm::OauthInsert,
                DiscoveryForm::OauthAppend,
            ],
            metadata: Map::new(),
            advertise_iss: true,
            send_iss: SendIss::Issuer,
            pushed_authorization_requests: Support::Off,
            request_uri_ttl: Duration::from_secs(60),
            dpop: Support::Off,
            dpop_nonce: None,
            dpop_window: Duration::from_secs(30),
            jarm: Support::Off,
            jarm_claims: Map::new(),
            code_ttl: Duration::from_secs(60),
            device_code_ttl: Duration::from_secs(600),
            device_interval: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// These settings with the members of `patch` laid over them.
    ///
    /// # Errors
    /// When a member is unknown or has a value of the wrong kind.
    pub fn patched(&self, patch: Map<String, Value>) -> Result<Self, serde_json::Error> {
        let mut whole = serde_json::to_value(self)?;
        if let Value::Object(members) = &mut whole {
            members.extend(patch);
        }
        serde_json::from_value(whole)
    }
}

/// Lays `overlay` over the members of the object `document`; `null` removes a member.
pub(crate) fn lay_over(document: &mut Value, overlay: &Map<String, Value>) {
    let Value::Object(members) = document else {
        return;
    };
    for (name, value) in overlay {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
}

/// Whether the server knows of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// It does not.
    Off,
    /// It does, and says so in its metadata.
    Offered,
    /// It takes nothing else.
    Required,
}

/// When a login yields a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshTokens {
    /// Always.
    Always,
    /// When `offline_access` was granted (OIDC Core §11).
    WithOfflineAccess,
    /// Never.
    Never,
}

/// How `expires_in` is rendered in token responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresIn {
    /// Whole seconds, rounded down (RFC 6749 §5.1): a lifetime below a second reads 0.
    Number,
    /// Whole seconds in a string.
    String,
    /// Seconds with their fraction.
    Float,
    /// No member.
    Missing,
    /// `null`.
    Null,
    /// This number, true or not: zero, negative, huge.
    Fixed(i64),
}

/// What a refresh response says about the refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshTokenOnRefresh {
    /// The refresh token now in force.
    Rendered,
    /// No member.
    Omitted,
    /// `null`.
    Null,
    /// `""`.
    Empty,
}

/// The form of access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessTokenFormat {
    /// Prefix and randomness.
    Opaque,
    /// A JWT (RFC 9068) signed with the server's key; it bears no prefix.
    Jwt,
}

/// The answer at the authorization endpoint, where no person sits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Approve.
    Approve,
    /// Return this error code, as `access_denied`.
    Deny(String),
}

/// The answer at the device verification page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceConsent {
    /// Wait for an approval or a denial.
    Ask,
    /// Approved from the start.
    Approve,
    /// Denied from the start.
    Deny,
}

/// A well-known address at which metadata may be served. Without a path in the issuer, insert and
/// append are one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscoveryForm {
    /// `/PATH/.well-known/openid-configuration` (OIDC Discovery §4).
    OpenidAppend,
    /// `/.well-known/openid-configuration/PATH` (RFC 8414 §5).
    OpenidInsert,
    /// `/.well-known/oauth-authorization-server/PATH` (RFC 8414 §3).
    OauthInsert,
    /// `/PATH/.well-known/oauth-authorization-server`, which some servers use.
    OauthAppend,
}

/// The `iss` of an authorization response (RFC 9207).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendIss {
    /// The true issuer.
    Issuer,
    /// None.
    Omitted,
    /// Another one: a mix-up.
    Other(String),
}

pub(crate) mod seconds {
    //! Durations as seconds with a fraction.
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

pub(crate) mod optional_seconds {
    //! The same, or `null`.
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|value| value.as_secs_f64()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(from)?
            .map(Duration::try_from_secs_f64)
            .transpose()
            .map_err(D::Error::custom)
    }
}
