//! The authorization endpoint: RFC 6749 §4.1 with PKCE (RFC 7636) and `iss` (RFC 9207).
//!
//! No person sits here: the settings decide. A request whose client or redirect URI is wrong is
//! told so on a page and redirected nowhere.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use serde_json::json;
use url::Url;

use super::{
    issue::Approved,
    params::{Params, Refusal},
    pushed,
    world::{Shared, World},
};
use crate::{
    ledger::Fingerprint,
    settings::{Consent, SendIss, Support, lay_over},
};

/// An authorization code that was issued, known by its fingerprint.
pub(crate) struct Code {
    pub(super) approved: Approved,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) expires_at: Duration,
    /// The family that its first use founded; a second use revokes it.
    pub(super) family: Option<usize>,
    /// Spent by any attempt, successful or not.
    pub(super) spent: bool,
}

/// `GET /authorize`.
pub(super) async fn authorize(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    match shared.change(|world| answer(world, &query)) {
        Ok(location) => (StatusCode::FOUND, [(LOCATION, location)]).into_response(),
        Err(page) => (
            StatusCode::BAD_REQUEST,
            format!("{}: {}\n", page.error, page.description),
        )
            .into_response(),
    }
}

fn answer(world: &mut World, query: &str) -> Result<String, Refusal> {
    let params = pushed::meant(world, Params::of_query(query)?)?;
    let client = world
        .client(params.required("client_id")?)
        .ok_or_else(|| Refusal::new("invalid_client", "no such client"))?;
    let redirect_uri = params.required("redirect_uri")?;
    if !client.may_redirect_to(redirect_uri) {
        return Err(Refusal::new(
            "invalid_request",
            "this redirect_uri is not registered",
        ));
    }
    let mut location = Url::parse(redirect_uri)
        .map_err(|_| Refusal::new("invalid_request", "redirect_uri is no URI"))?;
    let mut answer = match issue_code(world, &params, redirect_uri) {
        Ok(code) => vec![("code", code)],
        Err(refusal) => vec![
            ("error", refusal.error),
            ("error_description", refusal.description),
        ],
    };
    if let Some(state) = params.optional("state") {
        answer.push(("state", state.to_owned()));
    }
    match &world.settings.send_iss {
        SendIss::Issuer => answer.push(("iss", world.issuer.clone())),
        SendIss::Omitted => {}
        SendIss::Other(issuer) => answer.push(("iss", issuer.clone())),
    }
    if world.settings.jarm != Support::Off && wants_jwt(&params) {
        let client_id = params.required("client_id")?;
        answer = vec![("response", signed(world, client_id, answer))];
    }
    location.query_pairs_mut().extend_pairs(answer);
    Ok(location.into())
}

fn wants_jwt(params: &Params) -> bool {
    matches!(params.optional("response_mode"), Some("jwt" | "query.jwt"))
}

/// The response as one signed token (JARM §2.1).
fn signed(world: &World, client_id: &str, answer: Vec<(&str, String)>) -> String {
    let mut claims = json!({
        "iss": world.issuer,
        "aud": client_id,
        "exp": world.clock.now().as_secs() + 60,
    });
    for (name, value) in answer {
        claims[name] = value.into();
    }
    lay_over(&mut claims, &world.settings.jarm_claims);
    world.signer.sign("JWT", &claims)
}

fn issue_code(world: &mut World, params: &Params, redirect_uri: &str) -> Result<String, Refusal> {
    if world.settings.jarm == Support::Required && !wants_jwt(params) {
        return Err(Refusal::new("invalid_request", "response_mode must be jwt"));
    }
    if params.required("response_type")? != "code" {
        return Err(Refusal::new("unsupported_response_type", "code alone"));
    }
    let challenge = params.required("code_challenge")?.to_owned();
    if params.required("code_challenge_method")? != "S256" {
        return Err(Refusal::new("invalid_request", "S256 alone"));
    }
    // 43 characters: base64url of a SHA-256 without padding (RFC 7636 §4.2).
    let well_formed = challenge.len() == 43
        && challenge
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if !well_formed {
        return Err(Refusal::new("invalid_request", "no S256 code_challenge"));
    }
    let resources = params.resources(world.settings.resources.as_deref())?;
    if let Consent::Deny(error) = &world.settings.consent {
        return Err(Refusal::new(error, "the person declined"));
    }
    let approved = Approved {
        client_id: params.required("client_id")?.to_owned(),
        scopes: world.granted(params.scopes().unwrap_or_default()),
        resources,
        nonce: params.optional("nonce").map(str::to_owned),
        jkt: params
            .optional("dpop_jkt")
            .filter(|_| world.settings.dpop != Support::Off)
            .map(str::to_owned),
    };
    let code = world.signer.token("canary-code-");
    let expires_at = world.clock.now().saturating_add(world.settings.code_ttl);
    world.codes.insert(
        Fingerprint::of(&code),
        Code {
            approved,
            redirect_uri: redirect_uri.to_owned(),
            challenge,
            expires_at,
            family: None,
            spent: false,
        },
    );
    world.ledger.counts.authorizations += 1;
    Ok(code)
}
