//! Grants without a person: the client's own credentials, assertions, and tokens for tokens.

use serde_json::{Value, json};

use super::{
    assertion::{self, Use},
    issue::Approved,
    params::{Params, Refusal},
    world::World,
};
use crate::{client::ClientAuthentication, ledger::Fingerprint};

pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// RFC 6749 §4.4: for confidential clients alone, and never with a refresh token.
pub(super) fn client_credentials(
    world: &mut World,
    client_id: &str,
    params: &Params,
) -> Result<Value, Refusal> {
    let public = world
        .client(client_id)
        .is_none_or(|client| matches!(client.authentication, ClientAuthentication::None));
    if public {
        let why = "a public client has no credentials";
        return Err(Refusal::new("unauthorized_client", why));
    }
    issue(world, client_id.to_owned(), client_id.to_owned(), params)
}

/// RFC 7523 §2.1: the assertion's signer must be a registered client, and is the one who asks.
pub(super) fn jwt_bearer(world: &mut World, params: &Params) -> Result<Value, Refusal> {
    let assertion = params.required("assertion")?.to_owned();
    let claims = assertion::verify(world, &assertion, Use::Grant)
        .map_err(|why| Refusal::new("invalid_grant", why))?;
    let text = |name: &str| claims[name].as_str().map(str::to_owned);
    let missing = || Refusal::new("invalid_grant", "the assertion has no sub");
    let (client_id, subject) = text("iss").zip(text("sub")).ok_or_else(missing)?;
    issue(world, client_id, subject, params)
}

/// RFC 8693 §2: a living access token of this client, for one with a resource of its own.
pub(super) fn token_exchange(
    world: &mut World,
    client_id: &str,
    params: &Params,
) -> Result<Value, Refusal> {
    let invalid = |why: &str| Refusal::new("invalid_request", why);
    if params.required("subject_token_type")? != ACCESS_TOKEN {
        return Err(invalid("only access tokens are exchanged"));
    }
    let requested = params.optional("requested_token_type");
    if requested.is_some_and(|requested| requested != ACCESS_TOKEN) {
        return Err(invalid("only access tokens are given"));
    }
    let now = world.clock.now();
    let subject_token = Fingerprint::of(params.required("subject_token")?);
    let token = world
        .ledger
        .access_token(&subject_token)
        .filter(|token| !token.revoked && now < token.expires_at)
        .ok_or_else(|| invalid("the subject_token is not valid"))?;
    let (family, held) = (token.family, token.scopes.clone());
    if world.ledger.families[family].client_id != client_id {
        return Err(invalid("the subject_token was issued to another client"));
    }
    let scopes = params.scopes().unwrap_or_else(|| held.clone());
    if !scopes.iter().all(|scope| held.contains(scope)) {
        let why = "an exchange cannot widen the scope";
        return Err(Refusal::new("invalid_scope", why));
    }
    let resources = params.resources(world.settings.resources.as_deref())?;
    if resources.is_empty() {
        return Err(Refusal::new("invalid_target", "for which resource?"));
    }
    let mut response = world.response(family, &scopes, resources);
    response.insert("issued_token_type".to_owned(), json!(ACCESS_TOKEN));
    Ok(Value::Object(response))
}

fn issue(
    world: &mut World,
    client_id: String,
    subject: String,
    params: &Params,
) -> Result<Value, Refusal> {
    let resources = params.resources(world.settings.resources.as_deref())?;
    let scopes = world.granted(params.scopes().unwrap_or_default());
    let family = world.found_family(Approved {
        client_id,
        scopes: scopes.clone(),
        resources: resources.clone(),
        nonce: None,
        jkt: None,
    });
    world.ledger.families[family].subject = subject;
    Ok(Value::Object(world.response(family, &scopes, resources)))
}
