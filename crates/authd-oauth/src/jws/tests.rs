use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// RFC 7515, appendix A.3.
const RFC_P256: &str = r#"{"kty":"EC","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
const RFC_P256_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
/// RFC 8037, appendix A.1.
const RFC_ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519",
    "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
/// Made for these tests and used nowhere else.
const P256_PKCS8: &str = include_str!("keys/p256-pkcs8.pem");
const P256_SEC1: &str = include_str!("keys/p256-sec1.pem");
const P256_LOCKED: &str = include_str!("keys/p256-locked.pem");
const P384: &str = include_str!("keys/p384-pkcs8.pem");
const RSA_PKCS8: &str = include_str!("keys/rsa-pkcs8.pem");
const RSA_PKCS1: &str = include_str!("keys/rsa-pkcs1.pem");
const RSA_JWK: &str = include_str!("keys/rsa.jwk.json");
const ED25519: &str = include_str!("keys/ed25519-pkcs8.pem");

fn key(text: &str) -> SigningKey {
    SigningKey::try_from(&Secret::new(text)).ok().unwrap()
}

fn refused(text: &str) -> Option<BadKey> {
    SigningKey::try_from(&Secret::new(text)).err()
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => panic!("no object"),
    }
}

fn set(keys: &[Map<String, Value>]) -> KeySet {
    KeySet::from_json(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn claims() -> Map<String, Value> {
    members(json!({"sub": "alice", "n": 7}))
}

#[test]
fn the_token_of_rfc_7515_holds_and_no_altered_one_does() {
    let keys = set(&[key(RFC_P256).public_jwk()]);
    let verified = keys.verify(RFC_P256_TOKEN, &Algorithm::ALL).ok().unwrap();
    assert_eq!(verified.claims["iss"], "joe");
    let altered = RFC_P256_TOKEN.replace("DtEh", "DtEi");
    assert_eq!(
        keys.verify(&altered, &Algorithm::ALL).err(),
        Some(SignatureError::Signature)
    );
    let other_claims = RFC_P256_TOKEN.replace("eyJpc3MiOiJqb2Ui", "eyJpc3MiOiJqb2Yi");
    assert_eq!(
        keys.verify(&other_claims, &Algorithm::ALL).err(),
        Some(SignatureError::Signature)
    );
}

#[test]
fn thumbprints_are_those_of_the_rfcs() {
    // RFC 8037, appendix A.3.
    assert_eq!(
        key(RFC_ED25519).thumbprint(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    assert_eq!(
        key(RFC_P256).thumbprint(),
        "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"
    );
}

#[test]
fn every_kind_of_key_signs_what_its_public_half_verifies() {
    for (text, algorithms) in [
        (RFC_P256, &[Algorithm::Es256][..]),
        (P256_PKCS8, &[Algorithm::Es256]),
        (P256_SEC1, &[Algorithm::Es256]),
        (RSA_PKCS8, &[Algorithm::Rs256, Algorithm::Ps256]),
        (RSA_PKCS1, &[Algorithm::Rs256, Algorithm::Ps256]),
        (RSA_JWK, &[Algorithm::Rs256, Algorithm::Ps256]),
        (RFC_ED25519, &[Algorithm::EdDsa]),
        (ED25519, &[Algorithm::EdDsa]),
    ] {
        let key = key(text);
        assert_eq!(key.algorithms(), algorithms);
        let keys = set(&[key.public_jwk()]);
        for algorithm in Algorithm::ALL {
            let header = members(json!({"typ": "JWT", "alg": "none"}));
            let signed = sign(&key, algorithm, header, &claims());
            if !algorithms.contains(&algorithm) {
                assert_eq!(signed.err(), Some(SigningError::Algorithm(algorithm)));
                continue;
            }
            let token = signed.ok().unwrap();
            let verified = keys.verify(token.expose(), &[algorithm]).ok().unwrap();
            assert_eq!(verified.header["alg"], algorithm.name());
            assert_eq!(verified.header["typ"], "JWT");
            assert_eq!(verified.claims, claims());
        }
    }
}

#[test]
fn one_key_in_several_forms_is_one_key() {
    assert_eq!(key(P256_PKCS8).thumbprint(), key(P256_SEC1).thumbprint());
    assert_eq!(key(RSA_PKCS8).thumbprint(), key(RSA_PKCS1).thumbprint());
    assert_eq!(key(RSA_PKCS8).thumbprint(), key(RSA_JWK).thumbprint());
}

#[test]
fn a_key_made_here_is_read_again_and_none_is_made_twice() {
    let (one, other) = (
        SigningKey::generate_p256().unwrap(),
        SigningKey::generate_p256().unwrap(),
    );
    let thumbprint = |der: &[u8]| SigningKey::from_pkcs8(der).ok().unwrap().thumbprint();
    assert_eq!(thumbprint(&one), thumbprint(&one));
    assert_ne!(thumbprint(&one), thumbprint(&other));
}

#[test]
fn what_is_no_usable_key_is_refused_by_its_reason() {
    let halved = P256_PKCS8.replacen("MIG", "MIH", 1);
    let no_primes = {
        let mut jwk = members(serde_json::from_str(RSA_JWK).unwrap());
        jwk.remove("p");
        Value::Object(jwk).to_string()
    };
    let foreign_public = RFC_P256.replace("f83O", "f83P");
    for (text, why) in [
        ("", BadKey::Unreadable),
        ("a password", BadKey::Unreadable),
        ("{}", BadKey::Unreadable),
        ("{", BadKey::Unreadable),
        (r#"{"kty":"oct","k":"c2VjcmV0"}"#, BadKey::Unsupported),
        (r#"{"kty":"EC","crv":"P-256"}"#, BadKey::Unsupported),
        (P256_LOCKED, BadKey::Encrypted),
        (P384, BadKey::Unsupported),
        (&halved, BadKey::Unsupported),
        (&no_primes, BadKey::Unsupported),
        (&foreign_public, BadKey::Unsupported),
    ] {
        assert_eq!(refused(text), Some(why), "{text}");
    }
}

#[test]
fn only_an_allowed_algorithm_and_a_fitting_key_count() {
    let key = key(RFC_P256);
    let token = |header: Value| {
        sign(&key, Algorithm::Es256, members(header), &claims())
            .ok()
            .unwrap()
    };
    let with = |name: &str, value: &str| {
        let mut jwk = key.public_jwk();
        jwk.insert(name.to_owned(), value.into());
        jwk
    };
    let verify = |keys: &[Map<String, Value>], token: &Secret| {
        set(keys)
            .verify(token.expose(), &[Algorithm::Es256])
            .map(|_| ())
    };
    let plain = token(json!({}));
    let named = token(json!({"kid": "2"}));

    assert_eq!(
        verify(&[with("kid", "1"), with("kid", "2")], &named),
        Ok(())
    );
    assert_eq!(
        verify(&[with("kid", "1"), with("kid", "2")], &plain),
        Ok(())
    );
    for keys in [
        vec![],
        vec![with("kid", "1")],
        vec![key.public_jwk()],
        vec![with("use", "enc")],
    ] {
        assert_eq!(verify(&keys, &named), Err(SignatureError::UnknownKey));
    }
    for unfit in [
        with("use", "enc"),
        with("alg", "ES512"),
        with("crv", "P-521"),
    ] {
        assert_eq!(verify(&[unfit], &plain), Err(SignatureError::UnknownKey));
    }
    assert_eq!(
        verify(
            &[key.public_jwk()],
            &token(json!({"crit": ["b64"], "b64": false}))
        ),
        Err(SignatureError::Malformed)
    );
    let keys = set(&[key.public_jwk()]);
    assert_eq!(
        keys.verify(plain.expose(), &[Algorithm::Rs256]).err(),
        Some(SignatureError::Algorithm)
    );
    // Signed by nothing, and by the public key taken for a shared secret.
    for alg in ["none", "HS256", ""] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg}).to_string());
        let forged = format!("{header}.e30.");
        assert_eq!(
            keys.verify(&forged, &Algorithm::ALL).err(),
            Some(SignatureError::Algorithm)
        );
    }
    for bad in [
        "",
        "a.b",
        "a.b.c.d",
        "e30.e30.!",
        "W10.e30.e30",
        "e30.W10.e30",
    ] {
        assert_eq!(
            keys.verify(bad, &Algorithm::ALL).err(),
            Some(SignatureError::Malformed),
            "{bad}"
        );
    }
}

proptest! {
    #[test]
    fn whatever_its_header_says_what_nobody_signed_is_refused(
        name in "(alg|kid|typ|crit|b64|jwk|x5c|zip)",
        value in prop_oneof![
            Just(json!("ES256")),
            Just(json!("none")),
            ".{0,20}".prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(json!(["b64"])),
            Just(json!({"kty": "EC"})),
        ],
        signature in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let keys = set(&[key(RFC_P256).public_jwk()]);
        let mut header = json!({"alg": "ES256"});
        header[name] = value;
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let token = format!("{header}.e30.{}", URL_SAFE_NO_PAD.encode(signature));
        prop_assert!(keys.verify(&token, &Algorithm::ALL).is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,80}", header in ".{0,60}") {
        let keys = set(&[key(RFC_P256).public_jwk()]);
        let token = format!("{}.{text}.{text}", URL_SAFE_NO_PAD.encode(header));
        prop_assert!(keys.verify(&token, &Algorithm::ALL).is_err());
        prop_assert!(refused(&text).is_some());
        let _ = KeySet::from_json(text.as_bytes());
    }
}
