//! Who signed in, by the ID token (OpenID Connect Core §3.1.3.7).
//!
//! The signature is not checked: the token came straight from the token endpoint over verified TLS
//! (or loopback), and item 6 of that section lets the server's certificate stand for it then. An ID
//! token that came any other way must not be given to this module.

use std::time::Duration;

use authd_core::{grant::Subject, secret::Secret, time::Wall};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    preset::matched,
    response::{Members, moment},
    text::cleaned,
};

/// How far the clocks may differ.
const LEEWAY: Duration = Duration::from_secs(120);
/// Longest `sub`, in bytes (OpenID Connect Core §2).
const SUB_LEN: usize = 255;
/// Longest name shown, in characters.
const NAME_LEN: usize = 128;

/// What the claims must agree with.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// `None` when the endpoints were given by hand and the issuer is not known.
    pub(crate) issuer: Option<&'a str>,
    /// How a multi-tenant provider names the issuer.
    pub(crate) issuer_template: Option<&'a str>,
    pub(crate) client_id: &'a str,
    /// `None` when none was sent.
    pub(crate) nonce: Option<&'a Secret>,
    pub(crate) now: Wall,
}

/// Why an ID token says nothing about this login. The provider must act; a wrong `nonce`, `iss` or
/// `aud` may also be somebody's attempt to pass off another login's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// No JWS of a JSON object.
    #[error("the ID token cannot be read")]
    Malformed,
    /// `iss` is not the issuer.
    #[error("the ID token is another issuer's")]
    Issuer,
    /// `aud` lacks our client, or `azp` is another's.
    #[error("the ID token is for another client")]
    Audience,
    /// `exp` is missing or past.
    #[error("the ID token has expired")]
    Expired,
    /// `nonce` is missing or another's.
    #[error("the ID token belongs to another login attempt")]
    Nonce,
    /// `sub` is missing or no identifier.
    #[error("the ID token names no subject")]
    Subject,
}

/// Checks the claims and takes the subject.
pub(crate) fn subject(id_token: &str, expected: Expected<'_>) -> Result<Subject, IdTokenError> {
    let mut parts = id_token.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(IdTokenError::Malformed);
    };
    let payload = URL_SAFE_NO_PAD
        .decode(payload)
        .map_err(|_| IdTokenError::Malformed)?;
    let claims = Members::from_json(&payload).ok_or(IdTokenError::Malformed)?;

    let issuer = claims.text("iss").ok_or(IdTokenError::Issuer)?;
    check_issuer(&claims, issuer, &expected)?;
    check_audience(&claims, expected.client_id)?;
    let expiry = claims
        .value("exp")
        .and_then(moment)
        .ok_or(IdTokenError::Expired)?;
    if expected.now >= expiry.after(LEEWAY) {
        return Err(IdTokenError::Expired);
    }
    if let Some(nonce) = expected.nonce
        && !claims
            .text("nonce")
            .is_some_and(|claimed| nonce.matches(claimed))
    {
        return Err(IdTokenError::Nonce);
    }
    subject_of(&claims).ok_or(IdTokenError::Subject)
}

/// Item 2. A multi-tenant provider's token names its tenant, which must be the one of its `tid`, and no
/// template: that stands in metadata alone.
fn check_issuer(
    claims: &Members,
    issuer: &str,
    expected: &Expected<'_>,
) -> Result<(), IdTokenError> {
    let exact = expected.issuer.is_none_or(|expected| expected == issuer);
    let by_template = || {
        let tenant = *matched(expected.issuer_template?, issuer)?.first()?;
        let named = claims.text("tid");
        Some(named.is_none_or(|named| named == tenant))
    };
    if exact || by_template() == Some(true) {
        Ok(())
    } else {
        Err(IdTokenError::Issuer)
    }
}

/// Items 3 to 5: our client is among the audiences, and where there are several, or an authorized
/// party is named, it is that party.
fn check_audience(claims: &Members, client_id: &str) -> Result<(), IdTokenError> {
    let audience = claims.value("aud").ok_or(IdTokenError::Audience)?;
    let ours = is_audience(audience, client_id);
    let several = audience.as_array().is_some_and(|list| list.len() > 1);
    let authorized = match claims.value("azp") {
        Some(party) => party.as_str() == Some(client_id),
        None => !several,
    };
    if ours && authorized {
        Ok(())
    } else {
        Err(IdTokenError::Audience)
    }
}

/// Whether `aud` (RFC 7519 §4.1.3) names this client.
pub(crate) fn is_audience(audience: &Value, client_id: &str) -> bool {
    match audience {
        Value::String(audience) => audience == client_id,
        Value::Array(list) => list.iter().any(|one| one.as_str() == Some(client_id)),
        _ => false,
    }
}

/// `sub` and a name to show, of an ID token or a userinfo response.
pub(crate) fn subject_of(claims: &Members) -> Option<Subject> {
    let sub = claims.text("sub")?;
    if sub.len() > SUB_LEN || sub.chars().any(char::is_control) {
        return None;
    }
    let name = ["email", "preferred_username", "name"]
        .iter()
        .find_map(|claim| cleaned(claims.text(claim)?, NAME_LEN));
    Some(Subject {
        sub: sub.to_owned(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn claims() -> Value {
        json!({
            "iss": "https://idp.example", "aud": "client", "sub": "alice-1", "exp": NOW + 60,
            "nonce": "n-1", "email": "alice@example.com", "name": "Alice",
        })
    }

    fn check(claims: &Value) -> Result<Subject, IdTokenError> {
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let nonce = Secret::new("n-1");
        let expected = Expected {
            issuer: Some("https://idp.example"),
            issuer_template: None,
            client_id: "client",
            nonce: Some(&nonce),
            now: Wall::from_unix_secs(NOW),
        };
        subject(&token, expected)
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    #[test]
    fn a_multi_tenant_providers_token_is_of_the_tenant_that_it_names() {
        let token = |iss: &str, tid: Option<&str>| {
            let mut claims = with("iss", json!(iss));
            if let Some(tid) = tid {
                claims["tid"] = json!(tid);
            }
            format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
        };
        let nonce = Secret::new("n-1");
        let mut expected = Expected {
            issuer: Some("https://idp.example/common/v2.0"),
            issuer_template: Some("https://idp.example/{tenantid}/v2.0"),
            client_id: "client",
            nonce: Some(&nonce),
            now: Wall::from_unix_secs(NOW),
        };
        let tenant = "https://idp.example/t-1/v2.0";
        for (iss, tid, holds) in [
            (tenant, Some("t-1"), true),
            (tenant, None, true),
            (tenant, Some("t-2"), false),
            ("https://idp.example/{tenantid}/v2.0", Some("t-1"), false),
            ("https://evil.example/t-1/v2.0", Some("t-1"), false),
            ("https://idp.example/a/b/v2.0", None, false),
        ] {
            assert_eq!(subject(&token(iss, tid), expected).is_ok(), holds, "{iss}");
        }
        expected.issuer_template = None;
        assert!(subject(&token(tenant, Some("t-1")), expected).is_err());
    }

    #[test]
    fn claims_that_hold_name_the_subject() {
        let subject = check(&claims()).unwrap();
        assert_eq!(subject.sub, "alice-1");
        assert_eq!(subject.name.as_deref(), Some("alice@example.com"));
    }

    #[test]
    fn each_claim_is_checked() {
        for (name, value, why) in [
            ("iss", json!("https://idp.example/"), IdTokenError::Issuer),
            ("iss", json!(null), IdTokenError::Issuer),
            ("aud", json!("other"), IdTokenError::Audience),
            ("aud", json!(["other"]), IdTokenError::Audience),
            ("aud", json!(["client", "other"]), IdTokenError::Audience),
            ("aud", json!(7), IdTokenError::Audience),
            ("azp", json!("other"), IdTokenError::Audience),
            ("exp", json!(NOW - 120), IdTokenError::Expired),
            ("exp", json!("soon"), IdTokenError::Expired),
            ("nonce", json!("n-2"), IdTokenError::Nonce),
            ("nonce", json!(null), IdTokenError::Nonce),
            ("sub", json!(""), IdTokenError::Subject),
            ("sub", json!("a\u{1b}b"), IdTokenError::Subject),
            ("sub", json!("x".repeat(256)), IdTokenError::Subject),
        ] {
            assert_eq!(
                check(&with(name, value.clone())),
                Err(why),
                "{name} = {value}"
            );
        }
    }

    #[test]
    fn leeway_and_the_other_forms_of_audience_are_accepted() {
        assert!(check(&with("exp", json!(NOW - 119))).is_ok());
        assert!(check(&with("aud", json!(["client"]))).is_ok());
        let mut several = with("aud", json!(["client", "api"]));
        several["azp"] = json!("client");
        assert!(check(&several).is_ok());
    }

    #[test]
    fn what_is_no_jws_is_malformed() {
        let expected = Expected {
            issuer: None,
            issuer_template: None,
            client_id: "c",
            nonce: None,
            now: Wall::default(),
        };
        for bad in ["", "a.b", "a.b.c.d.e", "e30.!!.x", "e30.W10.x"] {
            assert_eq!(
                subject(bad, expected),
                Err(IdTokenError::Malformed),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_one_claim_says_nothing_panics_and_only_it_is_judged(
            name in proptest::sample::select(vec!["iss", "aud", "azp", "exp", "nonce", "sub", "name"]),
            value in prop_oneof![
                any::<i64>().prop_map(Value::from),
                any::<f64>().prop_map(Value::from),
                ".{0,80}".prop_map(Value::from),
                proptest::collection::vec(".{0,9}", 0..4).prop_map(Value::from),
                Just(Value::Null),
            ],
        ) {
            match check(&with(name, value.clone())) {
                Ok(_) => prop_assert!(
                    name != "iss" && (name != "nonce" || value == claims()[name]),
                    "{name} = {value}"
                ),
                Err(why) => prop_assert_ne!(why, IdTokenError::Malformed),
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", payload in ".{0,80}") {
            let expected =
                Expected { issuer: None, issuer_template: None, client_id: "c", nonce: None, now: Wall(0) };
            let token = format!("{text}.{}.{text}", URL_SAFE_NO_PAD.encode(payload));
            prop_assert!(subject(&token, expected).is_err());
        }
    }
}
