//! One provider's entry, as it is written in TOML.

use std::collections::BTreeMap;

use authd_core::grant::{AssertionAudience, FurtherResources, Quirk, Rotation};
use serde::{Deserialize, Serialize};

use super::{
    fact::{Fact, Source},
    template::names,
};

/// What is known of a provider. In its texts `{name}` stands for a variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Entry {
    /// The entry that this one completes: what it does not say, that one says.
    pub extends: Option<String>,
    /// What people call it.
    pub title: Option<String>,
    /// The issuer identifier (RFC 8414).
    pub issuer: Option<String>,
    /// How a multi-tenant provider's metadata and tokens name the issuer: with one `{name}` in the
    /// tenant's place, which is no variable.
    pub issuer_template: Option<String>,
    /// Issuers that are this provider's though another login named them: `{name}` stands for any label
    /// of the host or any segment of the path.
    pub recognise: Vec<String>,
    /// RFC 6749 §3.1.
    pub authorization_endpoint: Option<String>,
    /// RFC 6749 §3.2.
    pub token_endpoint: Option<String>,
    /// RFC 8628 §3.1.
    pub device_authorization_endpoint: Option<String>,
    /// RFC 7009.
    pub revocation_endpoint: Option<String>,
    /// RFC 7662.
    pub introspection_endpoint: Option<String>,
    /// OpenID Connect Core §5.3.
    pub userinfo_endpoint: Option<String>,
    /// OpenID Connect RP-Initiated Logout 1.0.
    pub end_session_endpoint: Option<String>,
    /// What has to be given at login.
    pub variables: BTreeMap<String, Variable>,
    /// How a client may prove itself, best first.
    pub client_auth: Vec<AuthMethod>,
    /// A client of the user's own. Never in an entry that comes with authd.
    pub client_id: Option<String>,
    /// What becomes of a code challenge (RFC 7636).
    pub pkce: Option<Pkce>,
    /// Whether one can log in on another device (RFC 8628).
    pub device: Option<bool>,
    /// Which redirects can be registered.
    pub redirect: Option<Redirect>,
    /// The redirect to register and to use, where not every port will do.
    pub redirect_uri: Option<String>,
    /// Asked for when the user names no scopes.
    pub scopes: Vec<String>,
    /// Asked for always: without, no refresh token comes.
    pub offline_scopes: Vec<String>,
    /// Added to the authorization request: without, no refresh token comes, or no token of use.
    pub params: BTreeMap<String, String>,
    /// What stands between scopes, where it is no blank.
    pub scope_separator: Option<String>,
    /// Whether tokens are to be bound to a key (RFC 9449) although nobody asked for it.
    pub dpop: Option<bool>,
    /// Whether it wants to sign its authorization responses (JARM) although its metadata does not say.
    pub jarm: Option<bool>,
    /// Whom client assertions are for (RFC 7523 §3).
    pub assertion_audience: Option<AssertionAudience>,
    /// How tokens for further resources are got.
    pub further_resources: Option<FurtherResources>,
    /// Lifetime of access tokens, in seconds.
    pub lifetime_secs: Option<u64>,
    /// What becomes of a refresh token when it is used.
    pub rotation: Option<Rotation>,
    /// Seconds for which a spent refresh token is still taken.
    pub leeway_secs: Option<u64>,
    /// Whether a refresh ends the access token before it.
    pub refresh_revokes_access_token: Option<bool>,
    /// Seconds after which an unused refresh token ends.
    pub inactivity_limit_secs: Option<u64>,
    /// Seconds after which a login ends, however often it was renewed.
    pub absolute_limit_secs: Option<u64>,
    /// Departures from the RFCs.
    pub quirks: Vec<Quirk>,
    /// Where error codes stand, when not in `error`: a JSON pointer.
    pub error_pointer: Option<String>,
    /// Error codes of the provider's own, in the words of RFC 6749 §5.2.
    pub error_codes: BTreeMap<String, String>,
    /// How to get a client id.
    pub registration: Option<Registration>,
    /// What else a user should know.
    pub notes: Vec<String>,
    /// Where the facts come from.
    pub sources: Vec<Source>,
    /// Facts that no source was found for.
    pub unknown: Vec<Fact>,
}

/// Something that differs from user to user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Variable {
    /// What it is, for people.
    pub about: String,
    /// Its value when none is given.
    pub default: Option<String>,
}

/// How to get a client id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// The page where clients are registered.
    pub url: String,
    /// What to do there, step by step.
    pub steps: Vec<String>,
}

/// `token_endpoint_auth_method` (RFC 7591 §2, RFC 8705).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A public client.
    None,
    /// The Authorization header.
    ClientSecretBasic,
    /// In the body.
    ClientSecretPost,
    /// A signed assertion (RFC 7523).
    PrivateKeyJwt,
    /// A certificate (RFC 8705).
    TlsClientAuth,
}

/// What a provider makes of a code challenge. authd sends one always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pkce {
    /// It insists.
    Required,
    /// It checks the verifier.
    Supported,
    /// It does not know it.
    Unsupported,
}

/// Which redirects can be registered for a client on a person's own machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redirect {
    /// `http` to this machine, and the port is no matter (RFC 8252 §7.3).
    AnyPort,
    /// `http` to this machine, as registered to the letter.
    Exact,
}

impl Entry {
    /// This entry, completed by `base`.
    pub(super) fn over(self, base: &Self) -> Self {
        let mut sources = self.sources;
        let settled: Vec<Fact> = sources
            .iter()
            .flat_map(|source| source.facts.iter())
            .chain(&self.unknown)
            .copied()
            .collect();
        let open = |facts: &[Fact]| -> Vec<Fact> {
            let open = facts.iter().filter(|fact| !settled.contains(fact));
            open.copied().collect()
        };
        let mut unknown = self.unknown.clone();
        unknown.extend(open(&base.unknown));
        sources.extend(base.sources.iter().filter_map(|source| {
            let facts = open(&source.facts);
            (!facts.is_empty()).then(|| Source {
                facts,
                ..source.clone()
            })
        }));
        let own: Vec<String> = self.variables.keys().cloned().collect();
        let mut variables = base.variables.clone();
        variables.extend(self.variables);
        let mut params = base.params.clone();
        params.extend(self.params);
        let mut error_codes = base.error_codes.clone();
        error_codes.extend(self.error_codes);
        Self {
            extends: self.extends,
            title: self.title.or_else(|| base.title.clone()),
            issuer: self.issuer.or_else(|| base.issuer.clone()),
            issuer_template: self
                .issuer_template
                .or_else(|| base.issuer_template.clone()),
            recognise: first(self.recognise, &base.recognise),
            authorization_endpoint: self
                .authorization_endpoint
                .or_else(|| base.authorization_endpoint.clone()),
            token_endpoint: self.token_endpoint.or_else(|| base.token_endpoint.clone()),
            device_authorization_endpoint: self
                .device_authorization_endpoint
                .or_else(|| base.device_authorization_endpoint.clone()),
            revocation_endpoint: self
                .revocation_endpoint
                .or_else(|| base.revocation_endpoint.clone()),
            introspection_endpoint: self
                .introspection_endpoint
                .or_else(|| base.introspection_endpoint.clone()),
            userinfo_endpoint: self
                .userinfo_endpoint
                .or_else(|| base.userinfo_endpoint.clone()),
            end_session_endpoint: self
                .end_session_endpoint
                .or_else(|| base.end_session_endpoint.clone()),
            variables,
            client_auth: first(self.client_auth, &base.client_auth),
            client_id: self.client_id.or_else(|| base.client_id.clone()),
            pkce: self.pkce.or(base.pkce),
            device: self.device.or(base.device),
            redirect: self.redirect.or(base.redirect),
            redirect_uri: self.redirect_uri.or_else(|| base.redirect_uri.clone()),
            scopes: first(self.scopes, &base.scopes),
            offline_scopes: first(self.offline_scopes, &base.offline_scopes),
            params,
            scope_separator: self
                .scope_separator
                .or_else(|| base.scope_separator.clone()),
            dpop: self.dpop.or(base.dpop),
            jarm: self.jarm.or(base.jarm),
            assertion_audience: self.assertion_audience.or(base.assertion_audience),
            further_resources: self.further_resources.or(base.further_resources),
            lifetime_secs: self.lifetime_secs.or(base.lifetime_secs),
            rotation: self.rotation.or(base.rotation),
            leeway_secs: self.leeway_secs.or(base.leeway_secs),
            refresh_revokes_access_token: self
                .refresh_revokes_access_token
                .or(base.refresh_revokes_access_token),
            inactivity_limit_secs: self.inactivity_limit_secs.or(base.inactivity_limit_secs),
            absolute_limit_secs: self.absolute_limit_secs.or(base.absolute_limit_secs),
            quirks: first(self.quirks, &base.quirks),
            error_pointer: self.error_pointer.or_else(|| base.error_pointer.clone()),
            error_codes,
            registration: self.registration.or_else(|| base.registration.clone()),
            notes: first(self.notes, &base.notes),
            sources,
            unknown,
        }
        .without_what_is_unknown(&self.unknown)
        .without_idle_variables(&own)
    }

    /// A variable of the entry that is extended goes when nothing uses it any more.
    fn without_idle_variables(mut self, own: &[String]) -> Self {
        let used: Vec<String> = self
            .addresses()
            .into_iter()
            .filter_map(|(_, address)| address.as_deref())
            .chain(self.params.values().map(String::as_str))
            .flat_map(names)
            .map(str::to_owned)
            .collect();
        self.variables
            .retain(|name, _| own.contains(name) || used.contains(name));
        self
    }

    /// A fact that the entry itself calls unknown is not taken from the one it extends.
    fn without_what_is_unknown(mut self, unknown: &[Fact]) -> Self {
        for fact in unknown {
            fact.clear(&mut self);
        }
        self
    }
}

/// A list replaces the one it extends; it is not joined with it.
fn first<T: Clone>(own: Vec<T>, base: &[T]) -> Vec<T> {
    if own.is_empty() { base.to_vec() } else { own }
}
