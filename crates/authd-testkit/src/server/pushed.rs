//! Pushed authorization requests (RFC 9126).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    params::{Params, Refusal, authenticate},
    world::{Shared, World},
};
use crate::settings::Support;

/// Requests that were pushed and not used yet, by `request_uri`.
#[derive(Default)]
pub(crate) struct PushedRequests(BTreeMap<String, Pushed>);

struct Pushed {
    client_id: String,
    params: Params,
    expires_at: Duration,
}

/// `POST /par`.
pub(super) async fn push(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    match shared.change(|world| keep(world, &headers, &body)) {
        Ok(body) => (
            StatusCode::CREATED,
            [(CACHE_CONTROL, "no-store")],
            Json(body),
        )
            .into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// RFC 9126 §2.1: the client is authenticated as at the token endpoint, and the request is checked as
/// at the authorization endpoint.
fn keep(world: &mut World, headers: &HeaderMap, body: &str) -> Result<Value, Refusal> {
    if world.settings.pushed_authorization_requests == Support::Off {
        return Err(Refusal::new(
            "invalid_request",
            "no requests are pushed here",
        ));
    }
    let params = Params::of_form(headers, body)?;
    let client_id = authenticate(world, headers, &params)?;
    if params.optional("request_uri").is_some() {
        return Err(Refusal::new("invalid_request", "request_uri is made here"));
    }
    let redirect_uri = params.required("redirect_uri")?;
    let known = world
        .client(&client_id)
        .is_some_and(|client| client.may_redirect_to(redirect_uri));
    if !known {
        return Err(Refusal::new(
            "invalid_request",
            "this redirect_uri is not registered",
        ));
    }
    let ttl = world.settings.request_uri_ttl;
    let request_uri = world.signer.token("urn:ietf:params:oauth:request_uri:");
    world.pushed.0.insert(
        request_uri.clone(),
        Pushed {
            client_id,
            params,
            expires_at: world.clock.now().saturating_add(ttl),
        },
    );
    Ok(json!({"request_uri": request_uri, "expires_in": ttl.as_secs()}))
}

/// The request that a query at the authorization endpoint means: the pushed one that it names, once, or
/// itself (RFC 9126 §4).
pub(super) fn meant(world: &mut World, query: Params) -> Result<Params, Refusal> {
    let invalid = |why: &str| Refusal::new("invalid_request", why);
    let Some(request_uri) = query.optional("request_uri") else {
        return match world.settings.pushed_authorization_requests {
            Support::Required => Err(invalid("the request must be pushed")),
            Support::Off | Support::Offered => Ok(query),
        };
    };
    if query.len() > 2 {
        return Err(invalid(
            "a pushed request is named by client_id and request_uri alone",
        ));
    }
    let client_id = query.required("client_id")?;
    let pushed = world
        .pushed
        .0
        .remove(request_uri)
        .ok_or_else(|| invalid("no such request_uri, or it was used before"))?;
    if pushed.client_id != client_id {
        return Err(invalid("the request was pushed by another client"));
    }
    if world.clock.now() >= pushed.expires_at {
        return Err(invalid("the request_uri has expired"));
    }
    Ok(pushed.params.with_client(client_id))
}
