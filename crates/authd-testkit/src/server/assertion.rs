//! Assertions that a client signs (RFC 7523): checked strictly, by code of this crate's own.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

use super::{
    params::{Params, Refusal},
    world::World,
};
use crate::fault::Endpoint;

/// `client_assertion_type` (RFC 7523 §2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// An assertion may be good for so long at most: it is made to be used at once.
const LONGEST: Duration = Duration::from_secs(300);
/// How far the clocks may be apart.
const SKEW: u64 = 10;

/// What an assertion is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// To prove who the client is.
    Client,
    /// To be exchanged for tokens.
    Grant,
}

/// The client that the posted assertion proves, if one was posted.
pub(super) fn client(world: &mut World, params: &Params) -> Result<Option<String>, Refusal> {
    let Some(assertion) = params.optional("client_assertion") else {
        return Ok(None);
    };
    if params.optional("client_assertion_type") != Some(JWT_BEARER) {
        return Err(Refusal::invalid_client("not the client_assertion_type"));
    }
    let claims = verify(world, assertion, Use::Client).map_err(Refusal::invalid_client)?;
    let id = claims["iss"].as_str().unwrap_or_default();
    if claims["sub"] != id {
        return Err(Refusal::invalid_client(
            "iss and sub must both be the client",
        ));
    }
    if params.optional("client_id").is_some_and(|also| also != id) {
        return Err(Refusal::invalid_client("the assertion is another client's"));
    }
    Ok(Some(id.to_owned()))
}

/// The claims of an assertion of a registered client, whose signature, audience and times hold, and
/// which was never seen before.
pub(super) fn verify(
    world: &mut World,
    assertion: &str,
    used_for: Use,
) -> Result<Value, &'static str> {
    let mut parts = assertion.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("the assertion is no compact JWS");
    };
    let json = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    };
    let (header, claims) = json(header)
        .zip(json(payload))
        .ok_or("the assertion is no JWT")?;
    let issuer = claims["iss"].as_str().ok_or("the assertion has no iss")?;
    let client = world.client(issuer).ok_or("no such client")?;
    let key = client.jwk.as_ref().ok_or("the client has no key here")?;
    if key.get("kid").is_some_and(|kid| header["kid"] != *kid) {
        return Err("the assertion's kid is not that of the client's key");
    }
    let signed = &assertion[..assertion.len() - signature.len() - 1];
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    holds(
        key,
        header["alg"].as_str().unwrap_or_default(),
        signed,
        &signature,
    )
    .ok_or("the assertion's signature does not hold")?;

    let token_endpoint = Endpoint::Token.url(&world.issuer);
    let audience = match used_for {
        Use::Client if world.settings.assertion_audience_is_token_endpoint => &token_endpoint,
        Use::Client => &world.issuer,
        Use::Grant => &token_endpoint,
    };
    // A list would let one assertion be good in two places.
    if claims["aud"] != *audience.as_str() {
        return Err("the assertion is for somebody else");
    }
    let now = world.clock.now().as_secs();
    let (issued, expires) = claims["iat"]
        .as_u64()
        .zip(claims["exp"].as_u64())
        .ok_or("the assertion has no iat or no exp")?;
    if expires <= now {
        return Err("the assertion has expired");
    }
    if issued > now + SKEW || expires - issued.min(expires) > LONGEST.as_secs() {
        return Err("the assertion is of the future, or lives too long");
    }
    let id = claims["jti"].as_str().filter(|id| id.len() >= 16);
    let id = id.ok_or("the assertion has no jti worth the name")?;
    if !world.assertions.insert(format!("{issuer} {id}")) {
        return Err("the assertion was used before");
    }
    Ok(claims)
}

fn holds(key: &Value, algorithm: &str, signed: &str, signature: &[u8]) -> Option<()> {
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str()?).ok();
    let plain = |algorithm: &'static dyn VerificationAlgorithm, key: Vec<u8>| {
        UnparsedPublicKey::new(algorithm, key)
            .verify(signed.as_bytes(), signature)
            .ok()
    };
    match (key["kty"].as_str()?, algorithm) {
        ("EC", "ES256") if key["crv"] == "P-256" => plain(
            &ECDSA_P256_SHA256_FIXED,
            [vec![4], part("x")?, part("y")?].concat(),
        ),
        ("OKP", "EdDSA") if key["crv"] == "Ed25519" => plain(&ED25519, part("x")?),
        ("RSA", "RS256" | "PS256") => {
            let parameters = match algorithm {
                "RS256" => &RSA_PKCS1_2048_8192_SHA256,
                _ => &RSA_PSS_2048_8192_SHA256,
            };
            let key = RsaPublicKeyComponents {
                n: part("n")?,
                e: part("e")?,
            };
            key.verify(parameters, signed.as_bytes(), signature).ok()
        }
        _ => None,
    }
}
