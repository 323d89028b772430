//! The token endpoint: one exchange of something for tokens (RFC 6749 §3.2).
//!
//! Nothing is judged here. The [`Answer`] holds facts, and the engine decides what they mean.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use authd_core::{
    answer::{Answer, Body, GrantType, Received},
    grant::Provider,
    id::Fingerprint,
    scope::ScopeSet,
    secret::Secret,
    time::{Now, Wall},
};
use http::header;

use crate::{
    client::{Client, Credential},
    dpop::{self, Dpop, Proofs},
    http::{Http, Incoming, TransportError, TransportFailure},
    id_token::{self, Expected},
    request::Form,
    response::{self, Parsed, Reading, Tokens},
};

/// The error code of an [`Answer`] whose tokens came with an ID token that is not for this login.
/// Not a provider's code: no provider's code has a blank in it.
pub const ID_TOKEN_REJECTED: &str = "id token rejected";

/// `urn:ietf:params:oauth:token-type:access_token` (RFC 8693 §3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What is exchanged.
pub enum ExchangeRequest<'a> {
    /// A refresh token (RFC 6749 §6).
    Refresh {
        /// The refresh token.
        refresh_token: &'a Secret,
        /// Scopes to narrow to; empty for all that was granted.
        scopes: &'a ScopeSet,
        /// RFC 8707.
        resource: Option<&'a str>,
    },
    /// An authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5).
    Code {
        /// The code.
        code: &'a Secret,
        /// Byte for byte as in the authorization request.
        redirect_uri: &'a str,
        /// The PKCE verifier.
        code_verifier: &'a Secret,
        /// RFC 8707.
        resource: Option<&'a str>,
        /// What the ID token must repeat, when one was asked for.
        nonce: Option<&'a Secret>,
    },
    /// One poll of a device code (RFC 8628 §3.4). `authorization_pending` and `slow_down` come back
    /// as errors: the engine keeps the time.
    Device {
        /// The device code.
        device_code: &'a Secret,
        /// RFC 8707.
        resource: Option<&'a str>,
    },
    /// The client's own credentials (RFC 6749 §4.4).
    ClientCredentials {
        /// Scopes to ask for.
        scopes: &'a ScopeSet,
        /// RFC 8707.
        resource: Option<&'a str>,
    },
    /// An assertion that the client's key signs anew for each request (RFC 7523 §2.1); nothing is sent
    /// where the credential is no key.
    JwtBearer {
        /// About whom, where not about the client itself.
        subject: Option<&'a str>,
        /// Scopes to ask for.
        scopes: &'a ScopeSet,
        /// RFC 8707.
        resource: Option<&'a str>,
    },
    /// An access token, for another one (RFC 8693 §2.1).
    TokenExchange {
        /// The access token that there is.
        subject_token: &'a Secret,
        /// Scopes to ask for.
        scopes: &'a ScopeSet,
        /// Where the new one is to be used.
        resource: Option<&'a str>,
    },
}

impl ExchangeRequest<'_> {
    /// Which grant type this is.
    #[must_use]
    pub fn grant_type(&self) -> GrantType {
        match self {
            Self::Refresh { .. } => GrantType::RefreshToken,
            Self::Code { .. } => GrantType::AuthorizationCode,
            Self::Device { .. } => GrantType::DeviceCode,
            Self::ClientCredentials { .. } => GrantType::ClientCredentials,
            Self::JwtBearer { .. } => GrantType::JwtBearer,
            Self::TokenExchange { .. } => GrantType::TokenExchange,
        }
    }
}

/// What came of an exchange. It cannot be printed as a whole; `answer` can.
pub struct Exchanged {
    /// The facts, for the engine.
    pub answer: Answer,
    /// The secrets, exactly when `answer` has [`Body::Tokens`].
    pub tokens: Option<Tokens>,
    /// Whether the request that was answered came with a proof of possession (RFC 9449 §5). What it
    /// yielded is then bound to the key, unless `token_type` says otherwise; a public client's refresh
    /// token is bound even so.
    pub proved: bool,
}

/// What else an exchange needs from its caller.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Names an access token (a keyed hash).
    pub fingerprint: &'a (dyn Fn(&str) -> Fingerprint + Send + Sync),
    /// Called once, just before the first byte of the request can leave; not at all when none did.
    pub on_bytes_sent: &'a (dyn Fn() + Send + Sync),
    /// What proofs of possession are made with, where there are any.
    pub dpop: Option<Dpop<'a>>,
}

/// Makes one exchange: exactly one request, never sent again, no redirect followed.
///
/// The one exception are the refusals of RFC 9449, which say that nothing was looked at but the proof:
/// nothing is spent by then, and the request is sent again at once, once for each of them:
/// - `use_dpop_nonce` with a nonce (§8): again with that nonce.
/// - `invalid_dpop_proof` while the server's `Date` is far from the proof's: again with a proof of the
///   server's own date.
/// - either, when no proof was sent and [`Proving::WhenDemanded`](crate::Proving::WhenDemanded) allows one: again with one.
///
/// Never fails: whatever happens is a fact of the [`Answer`]. Dropping the future abandons the
/// request where it stands, so run it as a task of its own.
///
/// Where a login brings an ID token whose claims do not hold (OpenID Connect Core
/// §3.1.3.7), the answer is [`Body::Error`] with [`ID_TOKEN_REJECTED`] and the tokens are dropped:
/// they are another login's. At a refresh such an ID token is only ignored, because the old refresh
/// token is spent by then.
pub async fn exchange(
    http: &Http,
    client: Client<'_>,
    request: ExchangeRequest<'_>,
    surroundings: Surroundings<'_>,
) -> Exchanged {
    let told = AtomicBool::new(false);
    let on_first_byte = || {
        if !told.swap(true, Ordering::AcqRel) {
            (surroundings.on_bytes_sent)();
        }
    };
    let fingerprint = surroundings.fingerprint;
    let mut proofs = Proofs::new(surroundings.dpop);
    loop {
        let called_at = client.ambient.now();
        let first_byte_at = Mutex::new(None);
        let before_first_byte = || {
            if let Ok(mut at) = first_byte_at.lock() {
                *at = Some(client.ambient.now());
            }
            on_first_byte();
        };
        let sent = send(http, client, &request, &mut proofs, &before_first_byte).await;
        let sent_at = first_byte_at
            .into_inner()
            .ok()
            .flatten()
            .unwrap_or(called_at);
        let mut exchanged = match sent {
            Ok(response) => {
                let nonce = dpop::nonce(&response.headers).is_some();
                let exchanged = answered(sent_at, response, client, &request, fingerprint);
                if proofs.may_mend(&exchanged.answer, nonce) {
                    continue;
                }
                exchanged
            }
            Err(error) => nothing(sent_at, error),
        };
        exchanged.proved = proofs.proving();
        return exchanged;
    }
}

/// No whole response. Where it was sent again, what came before it had spent nothing.
fn nothing(sent_at: Now, error: TransportError) -> Exchanged {
    Exchanged {
        answer: Answer {
            sent_at,
            received: Received::Nothing {
                bytes_left: error.bytes_left,
                failure: error.failure.failure(),
            },
            date: None,
            retry_after: None,
            request_id: None,
        },
        tokens: None,
        proved: false,
    }
}

async fn send(
    http: &Http,
    client: Client<'_>,
    request: &ExchangeRequest<'_>,
    proofs: &mut Proofs<'_>,
    before_first_byte: &(dyn Fn() + Send + Sync),
) -> Result<Incoming, TransportError> {
    let url = http.endpoint(&client.provider.endpoints.token)?;
    let scope = match request {
        ExchangeRequest::Refresh { scopes, .. }
        | ExchangeRequest::ClientCredentials { scopes, .. }
        | ExchangeRequest::JwtBearer { scopes, .. }
        | ExchangeRequest::TokenExchange { scopes, .. } => scopes.to_string(),
        ExchangeRequest::Code { .. } | ExchangeRequest::Device { .. } => String::new(),
    };
    let unsent = |failure| TransportError {
        failure,
        bytes_left: false,
    };
    // Outlives the form, which borrows it.
    let assertion;
    let form = match *request {
        ExchangeRequest::Refresh {
            refresh_token,
            resource,
            ..
        } => Form::new()
            .with("grant_type", "refresh_token")
            .with("refresh_token", refresh_token.expose())
            .with_some("resource", resource),
        ExchangeRequest::Code {
            code,
            redirect_uri,
            code_verifier,
            resource,
            ..
        } => Form::new()
            .with("grant_type", "authorization_code")
            .with("code", code.expose())
            .with("redirect_uri", redirect_uri)
            .with("code_verifier", code_verifier.expose())
            .with_some("resource", resource),
        ExchangeRequest::Device {
            device_code,
            resource,
        } => Form::new()
            .with("grant_type", GrantType::DeviceCode.registered_name())
            .with("device_code", device_code.expose())
            .with_some("resource", resource),
        ExchangeRequest::ClientCredentials { resource, .. } => Form::new()
            .with("grant_type", "client_credentials")
            .with_some("resource", resource),
        ExchangeRequest::JwtBearer {
            subject, resource, ..
        } => {
            let Credential::Key(signer) = client.credential else {
                return Err(unsent(TransportFailure::Unsigned));
            };
            assertion = signer
                .grant_assertion(client.provider, subject, &scope, client.ambient)
                .ok_or_else(|| unsent(TransportFailure::Unsigned))?;
            Form::new()
                .with("grant_type", GrantType::JwtBearer.registered_name())
                .with("assertion", assertion.expose())
                .with_some("resource", resource)
                .speaking_for_the_client()
        }
        ExchangeRequest::TokenExchange {
            subject_token,
            resource,
            ..
        } => Form::new()
            .with("grant_type", GrantType::TokenExchange.registered_name())
            .with("subject_token", subject_token.expose())
            .with("subject_token_type", ACCESS_TOKEN)
            .with("requested_token_type", ACCESS_TOKEN)
            .with_some("resource", resource),
    };
    let mut outgoing = form
        .with_some("scope", Some(&scope))
        .post(url.clone(), client)
        .map_err(unsent)?;
    proofs
        .attach(&mut outgoing, client.ambient)
        .map_err(unsent)?;
    let response = http.send(outgoing, before_first_byte).await?;
    proofs.hear(&url, &response.headers, client.ambient.now());
    Ok(response)
}

fn answered(
    sent_at: Now,
    response: Incoming,
    client: Client<'_>,
    request: &ExchangeRequest<'_>,
    fingerprint: &dyn Fn(&str) -> Fingerprint,
) -> Exchanged {
    let content_type = response
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let sent: Vec<&Secret> = request
        .secrets()
        .into_iter()
        .flatten()
        .chain(client.credential.sent())
        .collect();
    let reading = Reading {
        fingerprint,
        sent: &sent,
        error_pointer: client.provider.profile.error_pointer.as_deref(),
    };
    let mut parsed = response::parse(response.status, content_type, &response.body, reading);
    let date = response::date(&response.headers);
    identify(
        &mut parsed,
        client.provider,
        request,
        date.unwrap_or(sent_at.wall),
    );
    Exchanged {
        answer: Answer {
            sent_at,
            received: Received::Response {
                status: response.status,
                body: parsed.body,
            },
            date,
            retry_after: response::retry_after(&response.headers),
            request_id: reading.request_id(&response.headers),
        },
        tokens: parsed.tokens,
        proved: false,
    }
}

/// Adds who the ID token says this is. `now` is the server's own `Date` where it gave one: a wrong
/// clock on this machine must not make logins impossible.
fn identify(parsed: &mut Parsed, provider: &Provider, request: &ExchangeRequest<'_>, now: Wall) {
    let (Body::Tokens(summary), Some(tokens)) = (&mut parsed.body, &parsed.tokens) else {
        return;
    };
    let Some(id_token) = &tokens.id_token else {
        return;
    };
    let nonce = match request {
        ExchangeRequest::Code { nonce, .. } => *nonce,
        _ => None,
    };
    let expected = Expected {
        issuer: provider.issuer.as_deref(),
        issuer_template: provider.profile.issuer_template.as_deref(),
        client_id: &provider.client_id,
        nonce,
        now,
    };
    match id_token::subject(id_token.expose(), expected) {
        Ok(subject) => summary.subject = Some(subject),
        Err(why) => {
            tracing::warn!(%why, "the ID token is not for this login");
            if request.grant_type() != GrantType::RefreshToken {
                let description = Some(why.to_string());
                let code = ID_TOKEN_REJECTED.to_owned();
                *parsed = Body::Error {
                    code,
                    description,
                    detail: None,
                }
                .into();
            }
        }
    }
}

impl ExchangeRequest<'_> {
    /// What was sent and must not come back in a text that is printed.
    fn secrets(&self) -> [Option<&Secret>; 2] {
        match *self {
            Self::Refresh { refresh_token, .. } => [Some(refresh_token), None],
            Self::Code {
                code,
                code_verifier,
                ..
            } => [Some(code), Some(code_verifier)],
            Self::Device { device_code, .. } => [Some(device_code), None],
            Self::ClientCredentials { .. } | Self::JwtBearer { .. } => [None, None],
            Self::TokenExchange { subject_token, .. } => [Some(subject_token), None],
        }
    }
}
