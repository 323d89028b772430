use authd_core::{
    grant::{Endpoints, Profile},
    time::{Now, Wall},
};
use serde_json::json;

use super::*;
use crate::jws::KeySet;

const P256: &str = include_str!("../jws/keys/p256-pkcs8.pem");
const RSA: &str = include_str!("../jws/keys/rsa-pkcs8.pem");
const RSA_JWK: &str = include_str!("../jws/keys/rsa.jwk.json");
const ED25519: &str = include_str!("../jws/keys/ed25519-pkcs8.pem");

struct Drawn(Option<u128>);

impl Ambient for Drawn {
    fn now(&self) -> Now {
        Now {
            wall: Wall::from_unix_secs(1_700_000_000),
            ..Now::default()
        }
    }

    fn random(&self) -> Option<u128> {
        self.0
    }
}

fn provider() -> Provider {
    Provider {
        issuer: Some("https://idp.example/tenant".into()),
        client_id: "the client".into(),
        endpoints: Endpoints {
            token: "https://idp.example/token".into(),
            ..Endpoints::default()
        },
        ..Provider::default()
    }
}

fn signer(text: &str, options: SignerOptions) -> Result<Signer, BadSigner> {
    Signer::new(&Secret::new(text), options)
}

fn verified(signer: &Signer, assertion: &Secret) -> (Value, Value) {
    let keys = json!({ "keys": [signer.public_jwk()] }).to_string();
    let keys = KeySet::from_json(keys.as_bytes()).unwrap();
    let verified = keys
        .verify(assertion.expose(), &Algorithm::ALL)
        .ok()
        .unwrap();
    (verified.header.into(), verified.claims.into())
}

#[test]
fn a_client_assertion_says_what_rfc_7523_asks_for_and_lives_a_minute() {
    for (text, algorithm) in [(P256, "ES256"), (RSA, "RS256"), (ED25519, "EdDSA")] {
        let options = SignerOptions {
            key_id: Some("k1".into()),
            ..SignerOptions::default()
        };
        let signer = signer(text, options).ok().unwrap();
        let assertion = signer
            .client_assertion(&provider(), &Drawn(Some(7)))
            .unwrap();
        let (header, claims) = verified(&signer, &assertion);
        assert_eq!(header, json!({"alg": algorithm, "kid": "k1", "typ": "JWT"}));
        assert_eq!(
            claims,
            json!({
                "iss": "the client", "sub": "the client", "aud": "https://idp.example/tenant",
                "jti": "AAAAAAAAAAAAAAAAAAAABw", "iat": 1_700_000_000, "exp": 1_700_000_060,
            })
        );
    }
}

#[test]
fn the_audience_is_the_issuer_unless_the_profile_or_the_user_says_otherwise() {
    let audience = |provider: &Provider, audience: Option<&str>| {
        let options = SignerOptions {
            audience: audience.map(str::to_owned),
            ..SignerOptions::default()
        };
        let signer = signer(P256, options).ok().unwrap();
        let assertion = signer.client_assertion(provider, &Drawn(Some(0))).unwrap();
        verified(&signer, &assertion).1["aud"].clone()
    };
    let mut provider = provider();
    assert_eq!(audience(&provider, Some("https://else")), "https://else");
    provider.profile = Profile {
        assertion_audience: AssertionAudience::TokenEndpoint,
        ..Profile::default()
    };
    assert_eq!(audience(&provider, None), "https://idp.example/token");
    provider.profile = Profile::default();
    provider.issuer = None;
    assert_eq!(audience(&provider, None), "https://idp.example/token");
}

#[test]
fn a_grant_assertion_is_for_the_token_endpoint_and_names_scope_and_subject() {
    let signer = signer(RSA, SignerOptions::default()).ok().unwrap();
    let assert = |subject, scope| {
        let assertion = signer
            .grant_assertion(&provider(), subject, scope, &Drawn(Some(1)))
            .unwrap();
        verified(&signer, &assertion).1
    };
    let own = assert(None, "a b");
    assert_eq!(own["sub"], "the client");
    assert_eq!(own["scope"], "a b");
    assert_eq!(own["aud"], "https://idp.example/token");
    let other = assert(Some("jane@example.com"), "");
    assert_eq!(other["sub"], "jane@example.com");
    assert_eq!(other.get("scope"), None);
}

#[test]
fn a_jwk_speaks_for_itself_and_is_overruled_by_the_user() {
    let mut jwk: Map<String, Value> = serde_json::from_str(RSA_JWK).unwrap();
    jwk.insert("kid".into(), "own".into());
    jwk.insert("alg".into(), "PS256".into());
    let jwk = Value::Object(jwk).to_string();
    let header = |options| {
        let signer = signer(&jwk, options).ok().unwrap();
        let assertion = signer
            .client_assertion(&provider(), &Drawn(Some(1)))
            .unwrap();
        verified(&signer, &assertion).0
    };
    let own = header(SignerOptions::default());
    assert_eq!((&own["kid"], &own["alg"]), (&"own".into(), &"PS256".into()));
    let given = header(SignerOptions {
        key_id: Some("other".into()),
        algorithm: Some("RS256".into()),
        audience: None,
    });
    assert_eq!(
        (&given["kid"], &given["alg"]),
        (&"other".into(), &"RS256".into())
    );
}

#[test]
fn a_key_of_a_wrong_type_and_an_unknown_algorithm_are_refused() {
    let by = |algorithm: &str| {
        let options = SignerOptions {
            algorithm: Some(algorithm.into()),
            ..SignerOptions::default()
        };
        signer(P256, options).err()
    };
    assert_eq!(by("RS256"), Some(BadSigner::WrongType(Algorithm::Rs256)));
    assert_eq!(by("HS256"), Some(BadSigner::UnknownAlgorithm));
    assert_eq!(by("none"), Some(BadSigner::UnknownAlgorithm));
    assert_eq!(
        signer("a password", SignerOptions::default()).err(),
        Some(BadSigner::Key(BadKey::Unreadable))
    );
    assert_eq!(
        BadSigner::WrongType(Algorithm::Rs256).to_string(),
        "the key is of a type that cannot sign by RS256"
    );
}

#[test]
fn without_randomness_nothing_is_signed() {
    let signer = signer(P256, SignerOptions::default()).ok().unwrap();
    assert!(signer.client_assertion(&provider(), &Drawn(None)).is_none());
}
