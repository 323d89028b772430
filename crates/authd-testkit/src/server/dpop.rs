//! Proof of possession (RFC 9449), checked strictly: signature, method, address, date, token, nonce, and
//! each proof once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE},
    middleware::Next,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use serde_json::Value;

use super::{
    params::Refusal,
    world::{Shared, World},
};
use crate::settings::Support;

/// The proofs seen, by `jti`, and until when each could be sent again.
#[derive(Default)]
pub(crate) struct Seen(BTreeMap<String, Duration>);

/// The request that a proof must be for.
pub(super) struct Proven<'a> {
    pub(super) method: &'a str,
    /// Without query and fragment.
    pub(super) url: &'a str,
    /// The access token beside it, at a protected resource.
    pub(super) token: Option<&'a str>,
}

/// The thumbprint of the key (RFC 7638) that `headers` prove to hold; `None` without a proof, or where
/// the server knows nothing of proofs.
pub(super) fn proven_key(
    world: &mut World,
    headers: &HeaderMap,
    of: &Proven<'_>,
) -> Result<Option<String>, Refusal> {
    if world.settings.dpop == Support::Off {
        return Ok(None);
    }
    let mut proofs = headers.get_all("dpop").iter();
    let Some(proof) = proofs.next() else {
        return Ok(None);
    };
    let invalid = |why: &str| Refusal::new("invalid_dpop_proof", why);
    if proofs.next().is_some() {
        return Err(invalid("more than one proof"));
    }
    let proof = proof.to_str().map_err(|_| invalid("no text"))?;
    check(world, proof, of).map(Some)
}

fn check(world: &mut World, proof: &str, of: &Proven<'_>) -> Result<String, Refusal> {
    let invalid = |why: &str| Refusal::new("invalid_dpop_proof", why);
    let mut parts = proof.split('.');
    let (Some(head), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid("no compact JWS"));
    };
    let bytes = |part: &str| {
        URL_SAFE_NO_PAD
            .decode(part)
            .map_err(|_| invalid("no base64url"))
    };
    let json = |part: &str| -> Result<Value, Refusal> {
        serde_json::from_slice(&bytes(part)?).map_err(|_| invalid("no JSON"))
    };
    let (header, claims) = (json(head)?, json(body)?);
    if header["typ"] != "dpop+jwt" || header["alg"] != "ES256" {
        return Err(invalid("typ must be dpop+jwt and alg ES256"));
    }
    let jwk = &header["jwk"];
    if jwk["kty"] != "EC" || jwk["crv"] != "P-256" || jwk.get("d").is_some() {
        return Err(invalid("jwk must be a public key of P-256"));
    }
    let coordinate = |name: &str| bytes(jwk[name].as_str().unwrap_or_default());
    let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(format!("{head}.{body}").as_bytes(), &bytes(signature)?)
        .map_err(|_| invalid("the signature does not hold"))?;

    if claims["htm"] != of.method {
        return Err(invalid("htm is another method"));
    }
    if claims["htu"] != of.url {
        return Err(invalid("htu is another address"));
    }
    let hash =
        |token: &str| URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes()));
    if claims.get("ath").and_then(Value::as_str) != of.token.map(hash).as_deref() {
        return Err(invalid("ath is not the hash of the token"));
    }
    let wanted = world.settings.dpop_nonce.as_deref();
    if wanted.is_some() && claims.get("nonce").and_then(Value::as_str) != wanted {
        return Err(Refusal::new(
            "use_dpop_nonce",
            "the nonce is not the newest",
        ));
    }
    let now = world.clock.now();
    let dated = Duration::from_secs(claims["iat"].as_u64().unwrap_or(0));
    let window = world.settings.dpop_window;
    if dated.abs_diff(now) > window {
        return Err(invalid("iat is too far off"));
    }
    let jti = claims["jti"].as_str().unwrap_or_default();
    if jti.len() < 16 {
        return Err(invalid("jti is missing or guessable"));
    }
    world.proofs.0.retain(|_, until| *until > now);
    // As long as its date lets it in.
    let until = dated
        .saturating_add(window)
        .saturating_add(Duration::from_secs(1));
    if world.proofs.0.insert(jti.to_owned(), until).is_some() {
        world.ledger.counts.dpop_replays += 1;
        return Err(invalid("the proof was sent before"));
    }
    world.ledger.counts.dpop_proofs += 1;
    let text = |name: &str| jwk[name].as_str().unwrap_or_default();
    let canonical = format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
        text("x"),
        text("y")
    );
    Ok(hash(&canonical))
}

/// The challenge of a protected resource (RFC 9449 §7.1, §9).
pub(super) fn challenge(response: &mut Response, error: &str) {
    let challenge = format!("DPoP realm=\"fake-as\", error=\"{error}\", algs=\"ES256\"");
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
}

/// Every response tells the nonce in force (RFC 9449 §8.2), the injected ones among them.
pub(super) async fn with_nonce(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    let nonce = shared.read(|world| {
        let on = world.settings.dpop != Support::Off;
        world.settings.dpop_nonce.clone().filter(|_| on)
    });
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::from_str(&nonce).ok()) {
        response.headers_mut().insert("dpop-nonce", nonce);
    }
    response
}
