//! What is taken from a metadata document, and what is refused.

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::json;
use zeroize::Zeroizing;

use super::*;

fn read_document(issuer: &str, document: &Value) -> Result<Metadata, DiscoveryError> {
    let response = Incoming {
        status: 200,
        headers: HeaderMap::new(),
        body: Zeroizing::new(document.to_string().into_bytes()),
    };
    read(
        &response,
        issuer,
        None,
        &Url::parse(issuer).unwrap(),
        &PrivateAddresses::Refused,
    )
}

#[test]
fn every_place_is_asked_once_in_the_documented_order() {
    let of = |issuer: &str| -> Vec<String> {
        places(&Url::parse(issuer).unwrap())
            .into_iter()
            .map(String::from)
            .collect()
    };
    assert_eq!(
        of("https://idp.example/tenant/"),
        [
            "https://idp.example/.well-known/oauth-authorization-server/tenant",
            "https://idp.example/.well-known/openid-configuration/tenant",
            "https://idp.example/tenant/.well-known/openid-configuration",
            "https://idp.example/tenant/.well-known/oauth-authorization-server",
        ]
    );
    assert_eq!(
        of("https://idp.example:8443"),
        [
            "https://idp.example:8443/.well-known/oauth-authorization-server",
            "https://idp.example:8443/.well-known/openid-configuration",
        ]
    );
}

#[test]
fn the_issuer_must_be_byte_identical() {
    for found in [
        "https://idp.example/",
        "https://IDP.example",
        "https://idp.example:443",
    ] {
        let document = json!({ "issuer": found, "token_endpoint": "https://idp.example/t" });
        let error = read_document("https://idp.example", &document).unwrap_err();
        assert!(
            matches!(error, DiscoveryError::IssuerMismatch { .. }),
            "{found}"
        );
    }
}

#[test]
fn required_endpoints_are_refused_and_optional_ones_left_out() {
    let document = json!({
        "issuer": "https://idp.example",
        "token_endpoint": "https://other.example/t",
        "authorization_endpoint": "https://idp.example/a",
        "revocation_endpoint": "http://idp.example/r",
        "userinfo_endpoint": "https://127.0.0.1/u",
        "introspection_endpoint": 7,
        "scopes_supported": ["a", 1, "b"],
    });
    let metadata = read_document("https://idp.example", &document).unwrap();
    assert_eq!(
        metadata.endpoints,
        Endpoints {
            token: "https://other.example/t".into(),
            authorization: Some("https://idp.example/a".into()),
            ..Endpoints::default()
        }
    );
    assert_eq!(
        metadata.scopes_supported,
        Some(vec!["a".into(), "b".into()])
    );

    for (member, url) in [
        ("token_endpoint", "http://idp.example/t"),
        ("token_endpoint", "https://10.0.0.1/t"),
        ("token_endpoint", "http://127.0.0.1/t"),
        ("authorization_endpoint", "javascript:alert(1)"),
    ] {
        let mut document = document.clone();
        document[member] = json!(url);
        let error = read_document("https://idp.example", &document).unwrap_err();
        assert!(
            matches!(error, DiscoveryError::Unusable { member: at, why: Unusable::Endpoint(_) }
                if at == member),
            "{url}: {error:?}"
        );
    }
}

#[test]
fn a_client_proves_itself_as_the_provider_offers() {
    let offering = |methods: Option<&[&str]>| Metadata {
        token_endpoint_auth_methods_supported: methods
            .map(|methods| methods.iter().map(|&method| method.to_owned()).collect()),
        ..Metadata::default()
    };
    for (methods, has_secret, auth) in [
        (None, true, ClientAuth::Basic),
        (None, false, ClientAuth::None),
        (Some(&["client_secret_post"][..]), true, ClientAuth::Post),
        (
            Some(&["client_secret_post", "client_secret_basic"]),
            true,
            ClientAuth::Basic,
        ),
        (Some(&["private_key_jwt"]), true, ClientAuth::Basic),
    ] {
        assert_eq!(
            offering(methods).client_auth(has_secret),
            auth,
            "{methods:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_document_makes_it_panic(
        token in ".{0,60}",
        userinfo in prop_oneof![any::<String>(), "[a-z]{0,5}://[0-9a-z.:@\\[\\]#?/]{0,30}"],
        body in any::<Vec<u8>>(),
    ) {
        let issuer = "https://idp.example";
        let document =
            json!({ "issuer": issuer, "token_endpoint": token, "userinfo_endpoint": userinfo });
        if let Ok(metadata) = read_document(issuer, &document) {
            prop_assert!(metadata.endpoints.token.to_ascii_lowercase().trim().starts_with("https"));
        }
        let raw = Incoming { status: 200, headers: HeaderMap::new(), body: Zeroizing::new(body) };
        prop_assert!(read(&raw, issuer, None, &Url::parse(issuer).unwrap(), &PrivateAddresses::Refused).is_err());
    }
}
