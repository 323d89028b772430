//! A grant: what one login yielded, and the provider it came from, without its secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    answer::GrantType,
    flag::Flags,
    id::{Account, Generation, GrantId, Host},
    learned::Learned,
    lease::{Lease, LeaseKey},
    map::SmallMap,
    scope::ScopeSet,
    seldom::Seldom,
    time::Wall,
};

/// Where the provider listens. Frozen at login: a later change of host needs the user's consent.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoints {
    /// RFC 6749 §3.1. Absent where only the device flow is used.
    pub authorization: Option<String>,
    /// RFC 6749 §3.2.
    pub token: String,
    /// RFC 8628 §3.1.
    pub device_authorization: Option<String>,
    /// RFC 7009.
    pub revocation: Option<String>,
    /// RFC 7662.
    pub introspection: Option<String>,
    /// OpenID Connect Core §5.3.
    pub userinfo: Option<String>,
    /// RFC 9126.
    #[serde(default)]
    pub pushed_authorization_request: Option<String>,
}

impl Endpoints {
    /// Those that are sent what proves the client, by their names of RFC 8414 §2: where one of them leads
    /// elsewhere, so does the client's secret.
    #[must_use]
    pub fn that_get_the_credential(&self) -> [(&'static str, Option<&str>); 5] {
        let Self {
            authorization: _,
            token,
            device_authorization,
            revocation,
            introspection,
            userinfo: _,
            pushed_authorization_request,
        } = self;
        [
            ("token_endpoint", Some(token)),
            (
                "device_authorization_endpoint",
                device_authorization.as_deref(),
            ),
            ("revocation_endpoint", revocation.as_deref()),
            ("introspection_endpoint", introspection.as_deref()),
            (
                "pushed_authorization_request_endpoint",
                pushed_authorization_request.as_deref(),
            ),
        ]
    }
}

/// How the client proves itself at the token endpoint (RFC 6749 §2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// A public client: `client_id` in the body, no secret.
    #[default]
    None,
    /// `client_secret_basic`: the Authorization header.
    Basic,
    /// `client_secret_post`: both in the body.
    Post,
    /// `private_key_jwt`: an assertion that our key signs (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// `tls_client_auth` and `self_signed_tls_client_auth`: a certificate in the handshake (RFC 8705 §2).
    Tls,
}

/// Where what proves the client is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialPlace {
    /// In the store, sealed, if there is anything to keep.
    #[default]
    Store,
    /// Where the client of this name in the configuration says: a command, a file, the key store.
    Configured(String),
}

/// Whom a client assertion is for (RFC 7523 §3, rule 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssertionAudience {
    /// The issuer, or the token endpoint where no issuer is known.
    #[default]
    Issuer,
    /// The token endpoint.
    TokenEndpoint,
}

/// The provider as this grant knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Provider {
    /// The issuer identifier, byte for byte as the metadata gave it (RFC 8414 §3.3); `None` when
    /// the endpoints were given by hand.
    pub issuer: Option<String>,
    /// Where it listens.
    pub endpoints: Endpoints,
    /// Our `client_id` there.
    pub client_id: String,
    /// How we prove to be that client.
    pub client_auth: ClientAuth,
    /// Where what we prove it with is kept.
    #[serde(default)]
    pub credential: CredentialPlace,
    /// Its habits.
    pub profile: Profile,
}

impl Provider {
    /// What people know it by: the issuer, or where it listens when there is none.
    #[must_use]
    pub fn name(&self) -> String {
        let host = || self.host().to_string();
        self.issuer.clone().unwrap_or_else(host)
    }

    /// What throttles and breakers are counted by: scheme, host and port of the token endpoint.
    #[must_use]
    pub fn host(&self) -> Host {
        origin(&self.endpoints.token)
    }
}

/// Providers that several grants came from: each is in memory once, however many accounts it has.
#[derive(Debug, Default)]
pub struct Providers(BTreeSet<Arc<Provider>>);

impl Providers {
    /// The one that equals `provider`: an earlier one, or this.
    #[must_use]
    pub fn share(&mut self, provider: Arc<Provider>) -> Arc<Provider> {
        if let Some(known) = self.0.get(&provider) {
            return Arc::clone(known);
        }
        self.0.insert(Arc::clone(&provider));
        provider
    }

    /// Forgets those that no grant has any more.
    pub(crate) fn forget_unused(&mut self) {
        self.0.retain(|known| Arc::strong_count(known) > 1);
    }
}

/// Scheme, host and port of an endpoint.
#[must_use]
pub fn origin(endpoint: &str) -> Host {
    let after_scheme = endpoint.find("://").map_or(0, |at| at + 3);
    let end = endpoint[after_scheme..]
        .find(['/', '?', '#'])
        .map_or(endpoint.len(), |at| after_scheme + at);
    Host(Arc::from(endpoint[..end].to_ascii_lowercase()))
}

/// A provider's habits, as data. `None` and `false` mean "not known".
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// The name of the profile, for `status`.
    pub name: Option<String>,
    /// Lifetime of its access tokens, for providers that do not state `expires_in`.
    #[serde(with = "secs")]
    pub lifetime: Option<Duration>,
    /// Whether each refresh yields a new refresh token and spends the old one.
    pub rotation: Rotation,
    /// How long a spent refresh token is still accepted.
    #[serde(with = "secs")]
    pub leeway: Option<Duration>,
    /// Whether a refresh kills the access token that was issued before it.
    pub refresh_revokes_access_token: bool,
    /// A refresh token dies when unused for this long.
    #[serde(with = "secs")]
    pub inactivity_limit: Option<Duration>,
    /// Whether tokens are to be bound to a key (RFC 9449) although nobody asked for it.
    pub dpop: bool,
    /// Whether it wants to sign its authorization responses (JARM) although its metadata does not say.
    pub jarm: bool,
    /// A login dies so long after it began, however often it is renewed.
    #[serde(with = "secs")]
    pub absolute_limit: Option<Duration>,
    /// Whom client assertions are for.
    pub assertion_audience: AssertionAudience,
    /// How tokens for further resources are got.
    pub further_resources: FurtherResources,
    /// Departures from the RFCs that the classification must know.
    pub quirks: Vec<Quirk>,
    /// Where an error's code stands in a response that has no `error` member of RFC 6749 §5.2: a
    /// JSON pointer (RFC 6901). Without it such a response is never an OAuth error.
    pub error_pointer: Option<String>,
    /// What the provider's own error codes mean, in the codes of RFC 6749 §5.2.
    pub error_codes: BTreeMap<String, String>,
    /// The issuer as a multi-tenant provider's metadata and tokens name it, with one `{name}` in the
    /// tenant's place. `None`: the issuer must be the one asked for, byte for byte.
    pub issuer_template: Option<String>,
}

impl Profile {
    /// `code` in RFC 6749's words, where the provider has words of its own.
    #[must_use]
    pub fn meaning<'a>(&'a self, code: &'a str) -> &'a str {
        self.error_codes.get(code).map_or(code, String::as_str)
    }
}

/// What a provider does with the refresh token at each refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// Not known; treated as [`Rotation::ReuseDetected`] wherever that is the careful choice.
    #[default]
    Unknown,
    /// The refresh token stays the same; sending it again is harmless.
    None,
    /// A new one each time; the old one merely stops working.
    Rotates,
    /// A new one each time, and using an old one revokes the whole family (RFC 9700 §4.14.2).
    ReuseDetected,
}

/// How a token for another resource than the login's own is got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FurtherResources {
    /// As the login's own: the refresh names the resource (RFC 8707 §2.2).
    #[default]
    Refresh,
    /// The login's own access token is exchanged for it (RFC 8693).
    TokenExchange,
}

/// What the tokens of a grant are got with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewedBy {
    /// The refresh token that the login yielded (RFC 6749 §6).
    #[default]
    RefreshToken,
    /// The client's own credentials (RFC 6749 §4.4): nothing is spent, and nobody is asked.
    ClientCredentials,
    /// Assertions that the client's key signs (RFC 7523 §2.1): nothing is spent, and nobody is asked.
    JwtBearer {
        /// About whom, where not about the client itself.
        subject: Option<String>,
    },
}

impl RenewedBy {
    /// The grant type of a renewal.
    #[must_use]
    pub fn grant_type(&self) -> GrantType {
        match self {
            Self::RefreshToken => GrantType::RefreshToken,
            Self::ClientCredentials => GrantType::ClientCredentials,
            Self::JwtBearer { .. } => GrantType::JwtBearer,
        }
    }

    /// Whether a refresh token is what it takes.
    #[must_use]
    pub fn needs_refresh_token(&self) -> bool {
        *self == Self::RefreshToken
    }
}

/// A departure from the RFCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// Answers `invalid_client` or `unauthorized_client` for a dead refresh token (Atlassian).
    ClientErrorMeansDeadRefreshToken,
    /// Refuses a refresh while the access token is still good.
    RefusesEarlyRefresh,
}

/// Who signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The `sub` claim: the identity that a later login must match.
    pub sub: String,
    /// A name to show: email, preferred user name or name, whichever came.
    pub name: Option<String>,
}

/// Everything known of an account but its secrets. This is what the engine reasons about, what the
/// store seals beside the secrets, and what `status` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The user's name for it.
    pub account: Account,
    /// Which login this is.
    pub id: GrantId,
    /// Counts successful exchanges; the login itself is 1.
    pub generation: Generation,
    /// Where it came from.
    pub provider: Arc<Provider>,
    /// Who signed in, when the provider says.
    pub subject: Option<Subject>,
    /// The scopes granted at login (RFC 6749 §5.1: what was asked, unless the answer says less).
    pub scopes: ScopeSet,
    /// The resource (RFC 8707) that the login asked for.
    pub resource: Option<String>,
    /// Every resource that the login named, that one among them.
    #[serde(default)]
    pub resources: BTreeSet<String>,
    /// What its tokens are got with.
    #[serde(default)]
    pub renewed_by: RenewedBy,
    /// Whether they can be got anew without the user: a refresh token is held, or none is needed.
    pub renewable: bool,
    /// The access tokens, one slot for each pair of resource and scopes.
    pub leases: SmallMap<LeaseKey, Lease>,
    /// Kinds of tokens that live shorter than the provider states.
    #[serde(default)]
    pub learned: SmallMap<LeaseKey, Learned>,
    /// The reasons for which it is not simply fine; only the standing ones are kept on disk.
    pub flags: Seldom<Flags>,
    /// Successful refreshes since the login.
    pub renewals: u64,
    /// When the user logged in.
    pub created_at: Wall,
    /// The latest exchange that did not succeed.
    pub last_error: Option<Box<LastError>>,
}

impl Grant {
    /// How the token for `key` is got.
    #[must_use]
    pub fn grant_type(&self, key: &LeaseKey) -> GrantType {
        if self.is_derived(key) {
            GrantType::TokenExchange
        } else {
            self.renewed_by.grant_type()
        }
    }

    /// Whether the token for `key` is got with the login's own access token, which must live then.
    #[must_use]
    pub fn is_derived(&self, key: &LeaseKey) -> bool {
        self.provider.profile.further_resources == FurtherResources::TokenExchange
            && key.resource.is_some()
            && key.resource != self.resource
    }

    /// What it knows of its provider, to be changed: for this grant alone.
    pub fn provider_mut(&mut self) -> &mut Provider {
        Arc::make_mut(&mut self.provider)
    }
}

/// What went wrong at the latest exchange. Shown by `status`; never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// A stable word: the OAuth error code, or the class of failure.
    pub code: String,
    /// A sentence for a person; control characters removed.
    pub message: String,
    /// When.
    pub at: Wall,
}

/// Durations in profiles are whole seconds.
mod secs {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration
            .map(|duration| duration.as_secs())
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::flag::{Ambiguity, Raised};

    #[test]
    fn on_disk_it_has_this_form_beside_that_of_its_provider() {
        let mut form = json!({
            "account": "work",
            "id": 7,
            "generation": 3,
            "provider": Provider::default(),
            "subject": {"sub": "1", "name": null},
            "scopes": ["a", "b"],
            "resource": null,
            "resources": ["https://api.example"],
            "renewed_by": "refresh_token",
            "renewable": true,
            "leases": {},
            "learned": {},
            "flags": {
                "ambiguous": {"reason": "answer_lost", "since": 5},
                "suspect": {"reason": "invalid_grant", "since": 6},
                "needs_login": null,
                "provider_rejects": null,
                "misconfigured": null,
                "stale_store": null,
                "scope_changed": {"reason": ["a"], "since": 7},
            },
            "renewals": 2,
            "created_at": -1,
            "last_error": {"code": "x", "message": "y", "at": 1},
        });
        let grant: Grant = serde_json::from_value(form.clone()).unwrap();
        let (reason, since) = (Ambiguity::AnswerLost, Wall(5));
        assert_eq!(grant.flags.ambiguous, Some(Raised { reason, since }));
        assert_eq!(grant.last_error.as_ref().unwrap().message, "y");
        assert_eq!(serde_json::to_value(&grant).unwrap(), form);

        for flag in form["flags"].as_object_mut().unwrap().values_mut() {
            *flag = json!(null);
        }
        form["last_error"] = json!(null);
        let grant: Grant = serde_json::from_value(form.clone()).unwrap();
        assert_eq!(*grant.flags, Flags::default());
        assert_eq!(serde_json::to_value(&grant).unwrap(), form);
    }

    #[test]
    fn the_host_is_scheme_authority_and_port() {
        for (token, host) in [
            (
                "https://Idp.Example.com/oauth/token",
                "https://idp.example.com",
            ),
            ("http://127.0.0.1:8080/token?x=1", "http://127.0.0.1:8080"),
            ("https://idp.example.com?x", "https://idp.example.com"),
            ("https://idp.example.com", "https://idp.example.com"),
            ("http://a/token", "http://a"),
            ("a/token", "a"),
        ] {
            let provider = Provider {
                endpoints: Endpoints {
                    token: token.to_owned(),
                    ..Endpoints::default()
                },
                ..Provider::default()
            };
            assert_eq!(&*provider.host().0, host);
        }
    }

    #[test]
    fn equal_providers_are_one_until_nobody_has_them() {
        let named = |name: &str| {
            Arc::new(Provider {
                issuer: Some(name.to_owned()),
                ..Provider::default()
            })
        };
        let mut providers = Providers::default();
        let (first, other) = (providers.share(named("a")), providers.share(named("b")));
        assert!(Arc::ptr_eq(&providers.share(named("a")), &first));
        assert!(!Arc::ptr_eq(&first, &other));
        drop(first);
        providers.forget_unused();
        assert!(providers.0.iter().eq([&other]));
    }

    #[test]
    fn what_a_profile_says_of_time_is_kept_in_whole_seconds() {
        let profile = Profile {
            lifetime: Some(Duration::from_millis(3_600_500)),
            leeway: Some(Duration::ZERO),
            inactivity_limit: None,
            ..Profile::default()
        };
        let kept = serde_json::to_value(&profile).unwrap();
        assert_eq!(
            (&kept["lifetime"], &kept["leeway"]),
            (&3600.into(), &0.into())
        );
        let found: Profile = serde_json::from_value(kept).unwrap();
        let lifetime = Some(Duration::from_secs(3600));
        assert_eq!(
            found,
            Profile {
                lifetime,
                ..profile
            }
        );
    }

    #[test]
    fn people_know_a_provider_by_its_issuer_or_its_host() {
        let mut provider = Provider::default();
        provider.endpoints.token = "https://idp.example/token".to_owned();
        assert_eq!(provider.name(), "https://idp.example");
        provider.issuer = Some("https://idp.example/tenant".to_owned());
        assert_eq!(provider.name(), "https://idp.example/tenant");
    }
}
