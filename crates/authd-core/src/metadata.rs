//! What a provider's metadata (RFC 8414) says of what logins rest on, and what has changed of it.
//!
//! Compared is what was true at login with what was found now. Only what the login uses counts: that a
//! provider offers more than before is no change, and nor is an endpoint that was given by hand.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    answer::GrantType,
    grant::{ClientAuth, Endpoints, FurtherResources, Grant, RenewedBy},
};

/// The longest part of a change that is shown, in characters: an address may be as long as its provider
/// likes, and a reason must fit where it is told.
const LONGEST_SHOWN: usize = 200;
/// The way of proof keys that authd uses (RFC 7636 §4.3).
const S256: &str = "S256";

/// What metadata states beside its endpoints, as far as a login rests on it. `None`: it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stated {
    /// `grant_types_supported`.
    pub grant_types: Option<BTreeSet<String>>,
    /// `token_endpoint_auth_methods_supported`.
    pub client_auth_methods: Option<BTreeSet<String>>,
    /// `code_challenge_methods_supported`.
    pub code_challenge_methods: Option<BTreeSet<String>>,
    /// The endpoints of the login, by their names in RFC 8414, that the metadata did not name so at
    /// login: they were given by hand, or are a preset's.
    pub given: BTreeSet<String>,
}

/// What was found where the metadata of an account's issuer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its metadata.
    Metadata(Box<Document>),
    /// The metadata of an issuer of another name, and none of its own.
    OtherIssuer(String),
}

/// Metadata, as far as a login rests on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where the provider listens, for a client that proves itself as the account's does.
    pub endpoints: Endpoints,
    /// What else it says. No endpoint in it is given.
    pub stated: Stated,
}

/// Something that is not as it was at login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The provider calls itself otherwise.
    Issuer {
        /// As the login knew it.
        from: String,
        /// Now.
        to: String,
    },
    /// An endpoint is elsewhere, or is named no more.
    Endpoint {
        /// Its name in RFC 8414.
        name: String,
        /// Where the login found it.
        from: String,
        /// Where it is now.
        to: Option<String>,
    },
    /// A grant type is not offered any more.
    GrantType(String),
    /// The way in which the client proves itself is not offered any more.
    ClientAuth(String),
    /// Proof keys for authorization codes (RFC 7636) are not offered any more.
    CodeChallenge,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer { from, to } => {
                let (from, to) = (shown(from), shown(to));
                write!(f, "the issuer calls itself {to} now, not {from}")
            }
            Self::Endpoint { name, from, to } => {
                let (name, from) = (name.replace('_', " "), shown(from));
                match to {
                    Some(to) => write!(f, "the {name} moved from {from} to {}", shown(to)),
                    None => write!(f, "the {name} {from} is named no more"),
                }
            }
            Self::GrantType(name) => write!(f, "the grant type {name} is not offered any more"),
            Self::ClientAuth(name) => {
                write!(
                    f,
                    "the client authentication {name} is not offered any more"
                )
            }
            Self::CodeChallenge => {
                write!(
                    f,
                    "the code challenge method {S256} is not offered any more"
                )
            }
        }
    }
}

/// Fit to be shown: no control characters, and not too long.
fn shown(text: &str) -> String {
    let visible = text.chars().filter(|c| !c.is_control());
    visible.take(LONGEST_SHOWN).collect()
}

impl Endpoints {
    /// All that are known, by their names in RFC 8414.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let token = (!self.token.is_empty()).then_some(self.token.as_str());
        [
            ("authorization_endpoint", self.authorization.as_deref()),
            ("token_endpoint", token),
            (
                "device_authorization_endpoint",
                self.device_authorization.as_deref(),
            ),
            ("revocation_endpoint", self.revocation.as_deref()),
            ("introspection_endpoint", self.introspection.as_deref()),
            ("userinfo_endpoint", self.userinfo.as_deref()),
            (
                "pushed_authorization_request_endpoint",
                self.pushed_authorization_request.as_deref(),
            ),
        ]
        .into_iter()
        .filter_map(|(name, url)| Some((name, url?)))
    }

    /// The one of that name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&str> {
        self.named()
            .find_map(|(known, url)| (known == name).then_some(url))
    }

    /// Takes over what became of the endpoint of a change. A token endpoint stays until there is another.
    pub fn take_over(&mut self, name: &str, to: Option<&str>) {
        let place = match name {
            "authorization_endpoint" => &mut self.authorization,
            "device_authorization_endpoint" => &mut self.device_authorization,
            "revocation_endpoint" => &mut self.revocation,
            "introspection_endpoint" => &mut self.introspection,
            "userinfo_endpoint" => &mut self.userinfo,
            "pushed_authorization_request_endpoint" => &mut self.pushed_authorization_request,
            "token_endpoint" => {
                if let Some(to) = to {
                    to.clone_into(&mut self.token);
                }
                return;
            }
            _ => return,
        };
        *place = to.map(str::to_owned);
    }
}

impl Stated {
    /// The same at the login at a provider that was taken to listen at `used`, where the metadata names
    /// `endpoints`.
    #[must_use]
    pub fn at_login(self, used: &Endpoints, endpoints: &Endpoints) -> Self {
        let given = used
            .named()
            .filter(|(name, url)| endpoints.by_name(name) != Some(url));
        let given = given.map(|(name, _)| name.to_owned()).collect();
        Self { given, ..self }
    }
}

/// What is not as it was when the login of `grant` was made, in the order in which it is to be told.
#[must_use]
pub fn changes(grant: &Grant, found: &Found) -> Vec<Change> {
    let provider = &grant.provider;
    let (endpoints, now) = match found {
        Found::Metadata(document) => (&document.endpoints, &document.stated),
        Found::OtherIssuer(to) => {
            let Some(from) = provider.issuer.clone() else {
                return Vec::new();
            };
            let to = to.clone();
            return vec![Change::Issuer { from, to }];
        }
    };
    let unknown = Stated::default();
    let then = provider.stated.as_ref().unwrap_or(&unknown);
    let mut changes: Vec<Change> = provider
        .endpoints
        .named()
        .filter(|(name, url)| !then.given.contains(*name) && endpoints.by_name(name) != Some(url))
        .map(|(name, from)| Change::Endpoint {
            name: name.to_owned(),
            from: from.to_owned(),
            to: endpoints.by_name(name).map(str::to_owned),
        })
        .collect();
    let gone = |name: &&str, then: &Option<BTreeSet<String>>, now: &Option<BTreeSet<String>>| {
        let lists = |list: &BTreeSet<String>| list.contains(*name);
        // Where nothing is stated, nothing is ruled out.
        then.as_ref().is_some_and(lists) && now.as_ref().is_some_and(|now| !lists(now))
    };
    let grant_types = used_grant_types(grant).into_iter();
    changes.extend(
        grant_types
            .filter(|name| gone(name, &then.grant_types, &now.grant_types))
            .map(|name| Change::GrantType(name.to_owned())),
    );
    let (before, after) = (&then.client_auth_methods, &now.client_auth_methods);
    let methods = method_names(provider.client_auth);
    let offered = |list: &Option<BTreeSet<String>>| {
        let lists = |list: &BTreeSet<String>| methods.iter().any(|name| list.contains(*name));
        list.as_ref().is_none_or(lists)
    };
    if before.is_some() && offered(before) && !offered(after) {
        changes.push(Change::ClientAuth(methods[0].to_owned()));
    }
    let takes = |list: &Option<BTreeSet<String>>| {
        let list = list.as_ref();
        list.is_some_and(|list| list.contains(S256))
    };
    if grant.renewed_by.needs_refresh_token()
        && takes(&then.code_challenge_methods)
        && !takes(&now.code_challenge_methods)
    {
        changes.push(Change::CodeChallenge);
    }
    changes
}

/// What the login is renewed and made again by.
fn used_grant_types(grant: &Grant) -> Vec<&'static str> {
    let mut used = match grant.renewed_by {
        RenewedBy::RefreshToken => vec![
            GrantType::RefreshToken,
            GrantType::AuthorizationCode,
            GrantType::DeviceCode,
        ],
        RenewedBy::ClientCredentials | RenewedBy::JwtBearer { .. } => {
            vec![grant.renewed_by.grant_type()]
        }
    };
    if grant.provider.profile.further_resources == FurtherResources::TokenExchange {
        used.push(GrantType::TokenExchange);
    }
    used.into_iter().map(GrantType::registered_name).collect()
}

/// As the registry of RFC 7591 has them; two where it is not known which.
fn method_names(client_auth: ClientAuth) -> &'static [&'static str] {
    match client_auth {
        ClientAuth::None => &["none"],
        ClientAuth::Basic => &["client_secret_basic"],
        ClientAuth::Post => &["client_secret_post"],
        ClientAuth::PrivateKeyJwt => &["private_key_jwt"],
        ClientAuth::Tls => &["tls_client_auth", "self_signed_tls_client_auth"],
    }
}

#[cfg(test)]
mod tests;
