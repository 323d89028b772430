//! What tokens are good for: the demo API and userinfo, introspection and revocation.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Method, StatusCode, header::WWW_AUTHENTICATE},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    dpop::{self, Proven},
    params::{Params, Refusal, authenticate, presented},
    world::{Shared, World},
};
use crate::{
    fault::Endpoint,
    ledger::{Fingerprint, Revocation},
};

/// A call of something that is protected.
struct Call<'a> {
    method: &'a Method,
    endpoint: Endpoint,
    headers: &'a HeaderMap,
}

/// How the token of a call stands.
enum Standing {
    Live {
        family: usize,
    },
    /// Alive, but bound to a key that the call does not prove to hold.
    Unproven(Refusal),
    Expired,
    Unknown,
    Missing,
}

fn standing(world: &mut World, call: &Call<'_>) -> (Standing, Option<Fingerprint>) {
    let Some((scheme, token)) = presented(call.headers) else {
        return (Standing::Missing, None);
    };
    let fingerprint = Fingerprint::of(token);
    let known = world.ledger.access_token(&fingerprint).cloned();
    let standing = match known {
        None => Standing::Unknown,
        Some(known) if known.revoked => Standing::Unknown,
        Some(known) if world.clock.now() >= known.expires_at => Standing::Expired,
        Some(known) => match unproven(world, call, scheme, token, known.jkt.as_deref()) {
            Some(refusal) => Standing::Unproven(refusal),
            None => Standing::Live {
                family: known.family,
            },
        },
    };
    (standing, Some(fingerprint))
}

/// Why a call does not prove to hold the key that its token is bound to (RFC 9449 §7).
fn unproven(
    world: &mut World,
    call: &Call<'_>,
    scheme: &str,
    token: &str,
    bound_to: Option<&str>,
) -> Option<Refusal> {
    let invalid = |why: &str| Some(Refusal::new("invalid_token", why));
    match (bound_to, scheme) {
        (None, "Bearer") => return None,
        (None, _) => return invalid("the token is bound to no key"),
        (Some(_), "DPoP") => {}
        (Some(_), _) => return invalid("the token is bound to a key"),
    }
    let url = call.endpoint.url(&world.issuer);
    let request = Proven {
        method: call.method.as_str(),
        url: &url,
        token: Some(token),
    };
    match dpop::proven_key(world, call.headers, &request) {
        Err(refusal) => Some(refusal),
        Ok(None) => Some(Refusal::new("invalid_dpop_proof", "a proof is needed")),
        Ok(Some(key)) if Some(key.as_str()) != bound_to => {
            invalid("the token is bound to another key")
        }
        Ok(Some(_)) => None,
    }
}

/// The 401 of RFC 6750 §3.1: without a token it names no error.
fn unauthorized(description: Option<&str>) -> Response {
    match description {
        None => (
            StatusCode::UNAUTHORIZED,
            [(WWW_AUTHENTICATE, "Bearer realm=\"fake-as\"".to_owned())],
        )
            .into_response(),
        Some(description) => (
            StatusCode::UNAUTHORIZED,
            [(
                WWW_AUTHENTICATE,
                format!(
                    "Bearer realm=\"fake-as\", error=\"invalid_token\", \
                     error_description=\"{description}\""
                ),
            )],
            Json(json!({"error": "invalid_token", "error_description": description})),
        )
            .into_response(),
    }
}

fn refused(standing: &Standing) -> Response {
    if let Standing::Unproven(refusal) = standing {
        let mut response = unauthorized(Some(&refusal.description));
        dpop::challenge(&mut response, &refusal.error);
        return response;
    }
    unauthorized(match standing {
        Standing::Missing => None,
        Standing::Expired => Some("OAuth token has expired"),
        _ => Some("OAuth token is not known"),
    })
}

/// `GET /api/ping`, the protected demo API.
pub(super) async fn ping(
    State(shared): State<Arc<Shared>>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    shared.change(|world| {
        let call = Call {
            method: &method,
            endpoint: Endpoint::Api,
            headers: &headers,
        };
        let (standing, fingerprint) = standing(world, &call);
        let counts = &mut world.ledger.counts;
        match standing {
            Standing::Live { family } => {
                counts.api_ok += 1;
                if let Some(token) = fingerprint.and_then(|of| world.ledger.access_token_mut(&of)) {
                    token.accepted += 1;
                }
                let subject = &world.ledger.families[family].subject;
                return Json(json!({"pong": true, "sub": subject})).into_response();
            }
            Standing::Unproven(_) => counts.api_unproven += 1,
            Standing::Expired => counts.api_expired += 1,
            Standing::Unknown => counts.api_unknown += 1,
            Standing::Missing => counts.api_missing += 1,
        }
        refused(&standing)
    })
}

/// `GET` or `POST /userinfo` (OIDC Core §5.3).
pub(super) async fn userinfo(
    State(shared): State<Arc<Shared>>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let call = Call {
        method: &method,
        endpoint: Endpoint::Userinfo,
        headers: &headers,
    };
    shared.change(|world| match standing(world, &call).0 {
        Standing::Live { family } => {
            let subject = &world.ledger.families[family].subject;
            Json(json!({
                "sub": subject,
                "name": format!("User {subject}"),
                "email": format!("{subject}@example.test"),
            }))
            .into_response()
        }
        other => refused(&other),
    })
}

/// `POST /introspect` (RFC 7662).
pub(super) async fn introspect(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    shared.change(|world| {
        let token = Params::of_form(&headers, &body).and_then(|params| {
            authenticate(world, &headers, &params)?;
            Ok(Fingerprint::of(params.required("token")?))
        });
        match token {
            Ok(token) => Json(description(world, &token)).into_response(),
            Err(refusal) => refusal.into_response(),
        }
    })
}

fn description(world: &World, of: &Fingerprint) -> Value {
    let now = world.clock.now();
    if let Some(token) = world.ledger.access_token(of)
        && !token.revoked
        && now < token.expires_at
    {
        let family = &world.ledger.families[token.family];
        return json!({
            "active": true,
            "token_type": if token.jkt.is_some() { "DPoP" } else { "Bearer" },
            "iss": world.issuer,
            "sub": family.subject,
            "client_id": family.client_id,
            "scope": token.scopes.join(" "),
            "aud": token.resources,
            "iat": token.issued_at.as_secs(),
            "exp": token.expires_at.as_secs(),
        });
    }
    if let Some(token) = world.ledger.refresh_token(of)
        && token.superseded_at.is_none()
        && world.ledger.families[token.family].revoked.is_none()
    {
        let family = &world.ledger.families[token.family];
        return json!({
            "active": true,
            "iss": world.issuer,
            "sub": family.subject,
            "client_id": family.client_id,
            "scope": family.scopes.join(" "),
            "iat": token.issued_at.as_secs(),
        });
    }
    json!({"active": false})
}

/// `POST /revoke` (RFC 7009): a refresh token takes its family along; a token never issued is a
/// success.
pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let revoked = shared.change(|world| {
        let params = Params::of_form(&headers, &body)?;
        let client_id = authenticate(world, &headers, &params)?;
        let fingerprint = Fingerprint::of(params.required("token")?);
        let refresh_family = world.ledger.refresh_token(&fingerprint).map(|t| t.family);
        let access_family = world.ledger.access_token(&fingerprint).map(|t| t.family);
        let Some(family) = refresh_family.or(access_family) else {
            return Ok(());
        };
        if world.ledger.families[family].client_id != client_id {
            return Err(Refusal::new(
                "unauthorized_client",
                "the token was issued to another client",
            ));
        }
        world.ledger.counts.revocations += 1;
        if refresh_family.is_some() {
            world.revoke_family(family, Revocation::Client);
        } else {
            world
                .ledger
                .revoke_access_tokens(|token| token.fingerprint == fingerprint);
        }
        Ok(())
    });
    match revoked {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}
