//! The token endpoint: authorization codes, refresh tokens, device codes; what needs no person stands in
//! its neighbour.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{
        HeaderMap,
        header::{CACHE_CONTROL, PRAGMA},
    },
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use serde_json::Value;

use super::{
    device,
    dpop::{self, Proven},
    issue::Approved,
    params::{Params, Refusal, authenticate},
    unattended::{self, JWT_BEARER, TOKEN_EXCHANGE},
    world::{Shared, World},
};
use crate::{
    fault::Endpoint,
    ledger::{Fingerprint, RefreshTokenOutcome, Revocation},
    settings::{RefreshTokenOnRefresh, Support},
};

pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// `POST /token`.
pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let answer = shared.change(|world| {
        let answer = exchange(world, &headers, &body);
        let counts = &mut world.ledger.counts;
        match &answer {
            Ok((grant_type, _)) => {
                *counts.exchanges.entry(grant_type.clone()).or_default() += 1;
            }
            Err(refusal) => {
                *counts
                    .token_errors
                    .entry(refusal.error.clone())
                    .or_default() += 1;
            }
        }
        answer
    });
    match answer {
        Ok((_, body)) => (
            [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")],
            Json(body),
        )
            .into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn exchange(
    world: &mut World,
    headers: &HeaderMap,
    body: &str,
) -> Result<(String, Value), Refusal> {
    let params = Params::of_form(headers, body)?;
    let grant_type = params.required("grant_type")?.to_owned();
    // The assertion may speak for the client (RFC 7521 §4.1).
    let client_id = if grant_type == JWT_BEARER && params.optional("client_id").is_none() {
        String::new()
    } else {
        authenticate(world, headers, &params)?
    };
    // Before anything is looked at that could be spent (RFC 9449 §5, §8).
    let url = Endpoint::Token.url(&world.issuer);
    let request = Proven {
        method: "POST",
        url: &url,
        token: None,
    };
    world.proven = dpop::proven_key(world, headers, &request)?;
    if world.settings.dpop == Support::Required && world.proven.is_none() {
        return Err(Refusal::new("invalid_dpop_proof", "a proof is needed"));
    }
    let response = match grant_type.as_str() {
        "authorization_code" => authorization_code(world, &client_id, &params),
        "refresh_token" => refresh(world, &client_id, &params),
        DEVICE_CODE => device::redeem(world, &client_id, &params),
        "client_credentials" => unattended::client_credentials(world, &client_id, &params),
        JWT_BEARER => unattended::jwt_bearer(world, &params),
        TOKEN_EXCHANGE => unattended::token_exchange(world, &client_id, &params),
        _ => Err(Refusal::new("unsupported_grant_type", grant_type.as_str())),
    }?;
    Ok((grant_type, response))
}

/// RFC 6749 §4.1.3 with RFC 7636 §4.6: any use spends the code, a second one revokes what the first
/// yielded.
fn authorization_code(
    world: &mut World,
    client_id: &str,
    params: &Params,
) -> Result<Value, Refusal> {
    let invalid = |why: &str| Refusal::new("invalid_grant", why);
    let fingerprint = Fingerprint::of(params.required("code")?);
    let now = world.clock.now();
    let code = world
        .codes
        .get_mut(&fingerprint)
        .ok_or_else(|| invalid("no such code"))?;
    if code.approved.client_id != client_id {
        return Err(invalid("the code was issued to another client"));
    }
    if code.spent {
        if let Some(family) = code.family {
            world.revoke_family(family, Revocation::CodeReuse);
        }
        return Err(invalid("the code was used before"));
    }
    if code.approved.jkt.is_some() && code.approved.jkt != world.proven {
        return Err(invalid("the code is bound to another key"));
    }
    code.spent = true;
    if now >= code.expires_at {
        return Err(invalid("the code has expired"));
    }
    if params.required("redirect_uri")? != code.redirect_uri {
        return Err(invalid("not the redirect_uri of the authorization request"));
    }
    if !answers_challenge(params.required("code_verifier")?, &code.challenge) {
        return Err(invalid("the code_verifier does not match"));
    }
    let approved = Approved {
        client_id: code.approved.client_id.clone(),
        scopes: code.approved.scopes.clone(),
        resources: code.approved.resources.clone(),
        nonce: code.approved.nonce.clone(),
        jkt: code.approved.jkt.clone(),
    };
    let resources = narrowed_resources(world, &approved.resources, params)?;
    let family = world.found_family(approved);
    if let Some(code) = world.codes.get_mut(&fingerprint) {
        code.family = Some(family);
    }
    Ok(world.first_response(family, resources))
}

/// RFC 7636 §4.1 and §4.6.
fn answers_challenge(verifier: &str, challenge: &str) -> bool {
    let well_formed = (43..=128).contains(&verifier.len())
        && verifier
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let digest = digest::digest(&digest::SHA256, verifier.as_bytes());
    well_formed && URL_SAFE_NO_PAD.encode(digest) == challenge
}

/// RFC 6749 §6, with rotation and reuse detection as RFC 9700 §4.14.2 describes them.
fn refresh(world: &mut World, client_id: &str, params: &Params) -> Result<Value, Refusal> {
    let presented = params.required("refresh_token")?;
    let fingerprint = Fingerprint::of(presented);
    let verdict = judge(world, client_id, &fingerprint, params);
    let now = world.clock.now();
    let outcome = match &verdict {
        Ok(accepted) => accepted.outcome,
        Err((outcome, _)) => *outcome,
    };
    world.ledger.record_use(&fingerprint, now, outcome);
    if outcome == RefreshTokenOutcome::ReuseDetected {
        world.ledger.counts.reuse_detected += 1;
        if let Some(family) = world.ledger.refresh_token(&fingerprint).map(|t| t.family) {
            world.revoke_family(family, Revocation::RefreshTokenReuse);
        }
    }
    let accepted = verdict.map_err(|(_, refusal)| refusal)?;
    if world.settings.refresh_revokes_access_tokens {
        world
            .ledger
            .revoke_access_tokens(|token| token.family == accepted.family);
    }
    let rotated = (accepted.outcome != RefreshTokenOutcome::Kept).then(|| {
        if let Some(token) = world.ledger.refresh_token_mut(&fingerprint) {
            token.superseded_at.get_or_insert(now);
        }
        world.issue_refresh_token(accepted.family, accepted.generation + 1)
    });
    Ok(world.refresh_response(
        accepted.family,
        accepted.scopes,
        accepted.resources,
        presented,
        rotated,
    ))
}

/// A refresh that may go ahead.
struct Accepted {
    outcome: RefreshTokenOutcome,
    family: usize,
    generation: u32,
    scopes: Vec<String>,
    resources: Vec<String>,
}

/// Decides over a presented refresh token without changing anything.
fn judge(
    world: &World,
    client_id: &str,
    fingerprint: &Fingerprint,
    params: &Params,
) -> Result<Accepted, (RefreshTokenOutcome, Refusal)> {
    use RefreshTokenOutcome as Outcome;

    let dead = |outcome, why: &str| (outcome, Refusal::new("invalid_grant", why));
    let bad = |refusal| (Outcome::BadRequest, refusal);
    let settings = &world.settings;
    let now = world.clock.now();
    let token = world
        .ledger
        .refresh_token(fingerprint)
        .ok_or_else(|| dead(Outcome::BadRequest, "no such refresh token"))?;
    let family = &world.ledger.families[token.family];
    if family.client_id != client_id {
        return Err(dead(Outcome::WrongClient, "issued to another client"));
    }
    if family.revoked.is_some() {
        return Err(dead(Outcome::FamilyRevoked, "the grant was revoked"));
    }
    if family.jkt.is_some() && family.jkt != world.proven {
        return Err(bad(Refusal::new(
            "invalid_grant",
            "the refresh token is bound to another key",
        )));
    }
    let expired = settings
        .refresh_token_ttl
        .is_some_and(|ttl| now >= token.issued_at.saturating_add(ttl));
    if expired {
        return Err(dead(Outcome::Expired, "the refresh token has expired"));
    }
    let in_leeway = match token.superseded_at {
        None => false,
        Some(at) if now.saturating_sub(at) < settings.leeway => true,
        Some(_) if settings.reuse_detection => {
            return Err(dead(
                Outcome::ReuseDetected,
                "the refresh token was used before; the grant is revoked",
            ));
        }
        Some(_) => {
            return Err(dead(
                Outcome::Superseded,
                "the refresh token was used before",
            ));
        }
    };
    let scopes = params.scopes().unwrap_or_else(|| family.scopes.clone());
    if !scopes.iter().all(|scope| family.scopes.contains(scope)) {
        return Err(bad(Refusal::new(
            "invalid_scope",
            "a refresh cannot widen the scope",
        )));
    }
    let resources = narrowed_resources(world, &family.resources, params).map_err(bad)?;
    let rotates =
        settings.rotation && settings.refresh_token_on_refresh == RefreshTokenOnRefresh::Rendered;
    Ok(Accepted {
        outcome: match (in_leeway, rotates) {
            (true, _) => Outcome::AcceptedInLeeway,
            (false, true) => Outcome::Rotated,
            (false, false) => Outcome::Kept,
        },
        family: token.family,
        generation: token.generation,
        scopes,
        resources,
    })
}

/// The resources of this access token: those asked for, which must be among those granted.
fn narrowed_resources(
    world: &World,
    granted: &[String],
    params: &Params,
) -> Result<Vec<String>, Refusal> {
    let asked = params.resources(world.settings.resources.as_deref())?;
    if asked.is_empty() {
        return Ok(granted.to_vec());
    }
    if granted.is_empty() || asked.iter().all(|resource| granted.contains(resource)) {
        return Ok(asked);
    }
    Err(Refusal::new(
        "invalid_target",
        "the resource was not part of the grant",
    ))
}
