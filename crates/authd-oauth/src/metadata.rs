//! Discovery: what a provider says of itself (RFC 8414, OpenID Connect Discovery 1.0).
//!
//! For the issuer `https://host/path` these are asked, in this order, until one answers with a
//! document whose `issuer` is the one asked for, byte for byte (RFC 8414 §3.3):
//!
//! 1. `https://host/.well-known/oauth-authorization-server/path` (RFC 8414 §3.1)
//! 2. `https://host/.well-known/openid-configuration/path` (RFC 8414 §5)
//! 3. `https://host/path/.well-known/openid-configuration` (OpenID Connect Discovery §4)
//! 4. `https://host/path/.well-known/oauth-authorization-server` (seen in the field)
//!
//! The first three are the order of the Model Context Protocol (revision 2026-07-28, "Authorization
//! Server Metadata Discovery").

use std::collections::BTreeMap;

use authd_core::{
    grant::{ClientAuth, Endpoints},
    metadata::{Document, Stated},
};
use serde_json::Value;
use url::Url;

use crate::{
    document::{fetch, list, named_by},
    http::{
        BadEndpoint, Http, Incoming, PrivateAddresses, TransportError, TransportFailure, endpoint,
    },
    preset::is_issuer,
    response::Members,
    text::clean,
};

/// Authorization server metadata (RFC 8414 §2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The issuer identifier, byte for byte.
    pub issuer: String,
    /// Whether the document is for every tenant of a provider: then it names none, and the issuer is
    /// the one that was asked for.
    pub multi_tenant: bool,
    /// Where it listens. Every URL is checked; an optional one that fails the check is left out.
    pub endpoints: Endpoints,
    /// Where the keys are that the provider signs by.
    pub jwks_uri: Option<String>,
    /// RFC 7591 §3: where clients register themselves.
    pub registration_endpoint: Option<String>,
    /// Whether a client id may be the address of a document that describes the client
    /// (draft-ietf-oauth-client-id-metadata-document).
    pub client_id_metadata_document_supported: bool,
    /// RFC 9126 §5: whether every authorization request must be pushed.
    pub require_pushed_authorization_requests: bool,
    /// RFC 9449 §5.1; `None` when not stated.
    pub dpop_signing_alg_values_supported: Option<Vec<String>>,
    /// `None` when not stated.
    pub response_modes_supported: Option<Vec<String>>,
    /// RFC 9207 §3: whether `iss` comes with every authorization response and must be demanded.
    pub authorization_response_iss_parameter_supported: bool,
    /// RFC 7636 by RFC 8414; `None` when not stated.
    pub code_challenge_methods_supported: Option<Vec<String>>,
    /// `None` when not stated.
    pub grant_types_supported: Option<Vec<String>>,
    /// `None` when not stated.
    pub scopes_supported: Option<Vec<String>>,
    /// Where clients with a certificate are spoken to, as far as that is elsewhere (RFC 8705 §5).
    pub mtls_endpoint_aliases: BTreeMap<String, String>,
    /// `None` when not stated, which means `client_secret_basic` (RFC 8414 §2).
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Metadata {
    /// How a client with a secret proves itself there: by `client_secret_post` where that is offered
    /// and `client_secret_basic` is not, else by the latter (RFC 8414 §2). One without does not.
    #[must_use]
    pub fn client_auth(&self, has_secret: bool) -> ClientAuth {
        if !has_secret {
            return ClientAuth::None;
        }
        match &self.token_endpoint_auth_methods_supported {
            Some(methods) => {
                let offers = |name: &str| methods.iter().any(|method| method == name);
                if !offers("client_secret_basic") && offers("client_secret_post") {
                    ClientAuth::Post
                } else {
                    ClientAuth::Basic
                }
            }
            None => ClientAuth::Basic,
        }
    }

    /// Whether proofs of possession by ES256, the only ones that authd makes, are taken (RFC 9449 §5.1).
    #[must_use]
    pub fn takes_dpop(&self) -> bool {
        let algorithms = self.dpop_signing_alg_values_supported.as_ref();
        algorithms.is_some_and(|algorithms| algorithms.iter().any(|name| name == "ES256"))
    }

    /// Whether authorization responses come back in a query only when they are signed (JARM).
    #[must_use]
    pub fn insists_on_jarm(&self) -> bool {
        let Some(modes) = &self.response_modes_supported else {
            return false;
        };
        let offers = |name: &str| modes.iter().any(|mode| mode == name);
        !offers("query") && (offers("query.jwt") || offers("jwt"))
    }

    /// The endpoints for a client that proves itself so: with a certificate, the aliases for those that
    /// want one (RFC 8705 §5).
    #[must_use]
    pub fn endpoints_for(&self, client_auth: ClientAuth) -> Endpoints {
        let mut endpoints = self.endpoints.clone();
        if client_auth == ClientAuth::Tls {
            let alias = |name: &str| self.mtls_endpoint_aliases.get(name).cloned();
            if let Some(token) = alias("token_endpoint") {
                endpoints.token = token;
            }
            for (endpoint, name) in [
                (
                    &mut endpoints.device_authorization,
                    "device_authorization_endpoint",
                ),
                (
                    &mut endpoints.pushed_authorization_request,
                    "pushed_authorization_request_endpoint",
                ),
                (&mut endpoints.revocation, "revocation_endpoint"),
                (&mut endpoints.introspection, "introspection_endpoint"),
                (&mut endpoints.userinfo, "userinfo_endpoint"),
            ] {
                *endpoint = alias(name).or(endpoint.take());
            }
        }
        endpoints
    }

    /// What an account whose client proves itself so rests on.
    #[must_use]
    pub fn for_client(&self, client_auth: ClientAuth) -> Document {
        let set = |list: &Option<Vec<String>>| {
            let list = list.as_ref()?;
            Some(list.iter().cloned().collect())
        };
        Document {
            endpoints: self.endpoints_for(client_auth),
            stated: Stated {
                grant_types: set(&self.grant_types_supported),
                client_auth_methods: set(&self.token_endpoint_auth_methods_supported),
                code_challenge_methods: set(&self.code_challenge_methods_supported),
                ..Stated::default()
            },
        }
    }

    /// Whether the metadata rules out a grant type. One that is not stated at all rules out none:
    /// the default of RFC 8414 §2 is wrong for most providers that leave it out.
    #[must_use]
    pub fn rules_out(&self, grant_type: &str) -> bool {
        self.grant_types_supported
            .as_ref()
            .is_some_and(|types| !types.iter().any(|offered| offered == grant_type))
    }
}

/// Why discovery brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// The user must give another issuer.
    #[error("the issuer is no usable URL: {0}")]
    BadIssuer(#[source] BadIssuer),
    /// Usually passing: try again later.
    #[error("the issuer cannot be asked: {0}")]
    Transport(#[from] TransportError),
    /// There is no metadata: the user must check the issuer, or give the endpoints by hand.
    #[error("the issuer publishes no metadata (HTTP {status}); give its endpoints by hand")]
    NotFound {
        /// The most telling status among the answers.
        status: u16,
    },
    /// The document is another issuer's. The user must give exactly the name that the provider
    /// gives itself, or is being deceived.
    #[error("the metadata is for the issuer {found:?}, and {asked:?} was asked for")]
    IssuerMismatch {
        /// What was asked for.
        asked: String,
        /// What the document says, made fit to print.
        found: String,
        /// Whether every other place that could have had the right one said that it has nothing, or
        /// another issuer's too.
        certain: bool,
    },
    /// The provider must act: its document lacks something or names what must not be spoken to.
    #[error("the issuer's metadata is unusable: {member} {why}")]
    Unusable {
        /// The member at fault.
        member: &'static str,
        /// What is wrong with it.
        why: Unusable,
    },
}

/// Why an issuer identifier cannot be one (RFC 8414 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIssuer {
    /// By the rules for every endpoint.
    #[error(transparent)]
    Endpoint(#[from] BadEndpoint),
    /// It has a query.
    #[error("it has a query")]
    Query,
}

/// What is wrong with a member of the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It names what must not be spoken to.
    #[error("is refused: {0}")]
    Endpoint(#[source] BadEndpoint),
}

/// Asks the issuer for its metadata. A document is the issuer's when it names it byte for byte, or as
/// `template` allows ([`authd_core::grant::Profile::issuer_template`]).
///
/// # Errors
/// [`DiscoveryError`], the most telling one of all the places asked.
pub async fn discover(
    http: &Http,
    issuer: &str,
    template: Option<&str>,
) -> Result<Metadata, DiscoveryError> {
    let url = endpoint(issuer, http.private_addresses())
        .map_err(|why| DiscoveryError::BadIssuer(why.into()))?;
    if url.query().is_some() {
        return Err(DiscoveryError::BadIssuer(BadIssuer::Query));
    }
    let mut failure = DiscoveryError::NotFound { status: 404 };
    let mut all_spoke = true;
    for place in places(&url) {
        let better = match fetch(http, place).await {
            Ok(response) => match read(&response, issuer, template, &url, http.private_addresses())
            {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            },
            // A place may be broken; a host that cannot be reached at one cannot at the next.
            Err(error) if error.bytes_left && error.failure != TransportFailure::Timeout => {
                error.into()
            }
            Err(error) => return Err(error.into()),
        };
        all_spoke &= match &better {
            DiscoveryError::NotFound { status } => matches!(status, 404 | 410),
            error => !matches!(error, DiscoveryError::Transport(_)),
        };
        if telling(&better) >= telling(&failure) {
            failure = better;
        }
    }
    if let DiscoveryError::IssuerMismatch { certain, .. } = &mut failure {
        *certain = all_spoke;
    }
    Err(failure)
}

/// Checks endpoints that were given by hand.
///
/// # Errors
/// The name of the first one that must not be spoken to, and why.
pub fn check_endpoints(
    http: &Http,
    endpoints: &Endpoints,
) -> Result<(), (&'static str, BadEndpoint)> {
    let token = ("token_endpoint", Some(&endpoints.token));
    let others = optional(endpoints).map(|(name, text)| (name, text.as_ref()));
    for (name, text) in std::iter::once(token).chain(others) {
        if let Some(text) = text {
            endpoint(text, http.private_addresses()).map_err(|why| (name, why))?;
        }
    }
    Ok(())
}

fn optional(endpoints: &Endpoints) -> [(&'static str, &Option<String>); 7] {
    [
        ("authorization_endpoint", &endpoints.authorization),
        (
            "device_authorization_endpoint",
            &endpoints.device_authorization,
        ),
        ("revocation_endpoint", &endpoints.revocation),
        ("introspection_endpoint", &endpoints.introspection),
        ("userinfo_endpoint", &endpoints.userinfo),
        (
            "pushed_authorization_request_endpoint",
            &endpoints.pushed_authorization_request,
        ),
        ("end_session_endpoint", &endpoints.end_session),
    ]
}

pub(crate) fn places(issuer: &Url) -> Vec<Url> {
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    const OIDC: &str = "/.well-known/openid-configuration";
    let path = issuer.path().trim_end_matches('/');
    let mut places: Vec<Url> = Vec::new();
    for path in [
        format!("{OAUTH}{path}"),
        format!("{OIDC}{path}"),
        format!("{path}{OIDC}"),
        format!("{path}{OAUTH}"),
    ] {
        let mut place = issuer.clone();
        place.set_path(&path);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// Which of two failures says more.
fn telling(error: &DiscoveryError) -> u8 {
    match error {
        DiscoveryError::NotFound { status: 404 } => 0,
        DiscoveryError::NotFound { .. } | DiscoveryError::Transport(_) => 1,
        DiscoveryError::Unusable { .. } => 2,
        _ => 3,
    }
}

pub(crate) fn read(
    response: &Incoming,
    issuer: &str,
    template: Option<&str>,
    issuer_url: &Url,
    private: &PrivateAddresses,
) -> Result<Metadata, DiscoveryError> {
    let status = response.status;
    let not_found = DiscoveryError::NotFound { status };
    if status != 200 {
        return Err(not_found);
    }
    let document = Members::from_json(&response.body).ok_or(not_found)?;
    let missing = |member| DiscoveryError::Unusable {
        member,
        why: Unusable::Missing,
    };
    let found = document.text("issuer").ok_or(missing("issuer"))?;
    if !is_issuer(found, issuer, template) {
        return Err(DiscoveryError::IssuerMismatch {
            asked: clean(issuer, 512),
            found: clean(found, 512),
            certain: true,
        });
    }

    let allowed = |text: &str| named_by(issuer_url, text, private);
    let required = |member: &'static str, text: &str| {
        allowed(text)
            .map(drop)
            .map_err(|why| DiscoveryError::Unusable {
                member,
                why: Unusable::Endpoint(why),
            })
    };
    let optional = |member: &'static str| -> Option<String> {
        let text = document.text(member)?;
        match allowed(text) {
            Ok(_) => Some(text.to_owned()),
            Err(why) => {
                tracing::warn!(member, %why, "an endpoint in the metadata is left out");
                None
            }
        }
    };

    let token = document
        .text("token_endpoint")
        .ok_or(missing("token_endpoint"))?;
    required("token_endpoint", token)?;
    if let Some(authorization) = document.text("authorization_endpoint") {
        required("authorization_endpoint", authorization)?;
    }
    let aliases = document.value("mtls_endpoint_aliases");
    let mtls_endpoint_aliases = aliases.and_then(Value::as_object).into_iter().flatten();
    let mtls_endpoint_aliases = mtls_endpoint_aliases
        .filter_map(|(name, url)| Some((name.clone(), url.as_str()?.to_owned())))
        .filter(|(_, url)| allowed(url).is_ok())
        .collect();
    let list = |member| list(&document, member);
    let stated = |member| document.value(member) == Some(&Value::Bool(true));
    let multi_tenant = template == Some(found);
    Ok(Metadata {
        issuer: if multi_tenant { issuer } else { found }.to_owned(),
        multi_tenant,
        endpoints: Endpoints {
            authorization: optional("authorization_endpoint"),
            token: token.to_owned(),
            device_authorization: optional("device_authorization_endpoint"),
            revocation: optional("revocation_endpoint"),
            introspection: optional("introspection_endpoint"),
            userinfo: optional("userinfo_endpoint"),
            pushed_authorization_request: optional("pushed_authorization_request_endpoint"),
            end_session: optional("end_session_endpoint"),
        },
        jwks_uri: optional("jwks_uri"),
        registration_endpoint: optional("registration_endpoint"),
        client_id_metadata_document_supported: stated("client_id_metadata_document_supported"),
        require_pushed_authorization_requests: stated("require_pushed_authorization_requests"),
        dpop_signing_alg_values_supported: list("dpop_signing_alg_values_supported"),
        response_modes_supported: list("response_modes_supported"),
        authorization_response_iss_parameter_supported: stated(
            "authorization_response_iss_parameter_supported",
        ),
        code_challenge_methods_supported: list("code_challenge_methods_supported"),
        grant_types_supported: list("grant_types_supported"),
        scopes_supported: list("scopes_supported"),
        mtls_endpoint_aliases,
        token_endpoint_auth_methods_supported: list("token_endpoint_auth_methods_supported"),
    })
}

#[cfg(test)]
mod tests;
