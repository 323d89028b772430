//! Discovery, the authorization endpoint, codes and clients.

use crate::client::{
    VERIFIER, authorization_url, authorize, bounded, error, login, on_manual_clock, param, ping,
    post, redeem_code, text,
};
use authd_testkit::{
    Browser, Client, ClientAuthentication, Consent, DiscoveryForm, Endpoint, FakeServer, Options,
    Revocation, SendIss,
};
use axum::{Router, extract::RawQuery, http::Method, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

async fn fetch(url: &str) -> authd_testkit::Page {
    bounded(Browser::new().request(Method::GET, url, &[], ""))
        .await
        .unwrap()
}

#[tokio::test]
async fn metadata_is_served_by_insertion_and_by_appending_and_names_the_issuer() {
    let server = FakeServer::start(Options {
        issuer_path: "/tenant/a".to_owned(),
        ..Options::default()
    })
    .unwrap();
    let origin = format!("http://{}", server.address());
    for place in [
        "/tenant/a/.well-known/openid-configuration",
        "/.well-known/openid-configuration/tenant/a",
        "/.well-known/oauth-authorization-server/tenant/a",
        "/tenant/a/.well-known/oauth-authorization-server",
    ] {
        let metadata = fetch(&format!("{origin}{place}")).await.json().unwrap();
        assert_eq!(text(&metadata, "issuer"), server.issuer());
        assert_eq!(
            text(&metadata, "token_endpoint"),
            server.url(Endpoint::Token)
        );
    }
    server.update(|settings| {
        settings.discovery = vec![DiscoveryForm::OauthInsert];
        settings.metadata = json!({"issuer": "https://other.example", "jwks_uri": null})
            .as_object()
            .unwrap()
            .clone();
    });
    let inserted = fetch(&format!(
        "{origin}/.well-known/oauth-authorization-server/tenant/a"
    ))
    .await;
    let metadata = inserted.json().unwrap();
    assert_eq!(text(&metadata, "issuer"), "https://other.example");
    assert_eq!(metadata.get("jwks_uri"), None);
    let appended = fetch(&server.url(Endpoint::Discovery)).await;
    assert_eq!(appended.status, 404);
}

#[tokio::test]
async fn a_login_through_the_browser_ends_at_the_callback() {
    let server = FakeServer::start(Options::default()).unwrap();
    let callback = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redirect_uri = format!("http://{}/callback", callback.local_addr().unwrap());
    let page = get(async |RawQuery(query): RawQuery| query.unwrap_or_default());
    let client =
        tokio::spawn(
            async move { axum::serve(callback, Router::new().route("/callback", page)).await },
        );
    let url = authorization_url(&server, &[("redirect_uri", &redirect_uri)]);
    let page = bounded(Browser::new().follow(&url)).await.unwrap();
    client.abort();
    assert_eq!(page.status, 200);
    assert!(page.body.contains("state=a-state"));
    assert!(page.body.contains("code=canary-code-"));
    assert!(page.body.contains("&iss=http"));
    assert!(!format!("{page:?}").contains("canary"));
}

#[tokio::test]
async fn an_id_token_is_signed_by_the_published_key_and_carries_the_nonce() {
    let server = FakeServer::start(Options::default()).unwrap();
    let tokens = login(&server, &[("nonce", "a-nonce")]).await;
    let id_token = text(&tokens, "id_token");
    let (signed, signature) = id_token.rsplit_once('.').unwrap();
    let jwks = fetch(&server.url(Endpoint::Jwks)).await.json().unwrap();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let mut point = vec![4];
    point.extend(decode(text(&jwks["keys"][0], "x")));
    point.extend(decode(text(&jwks["keys"][0], "y")));
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &decode(signature))
        .expect("the signature is valid");
    let claims: Value =
        serde_json::from_slice(&decode(signed.rsplit_once('.').unwrap().1)).unwrap();
    assert_eq!(text(&claims, "nonce"), "a-nonce");
    assert_eq!(text(&claims, "iss"), server.issuer());
    assert_eq!(text(&claims, "aud"), "native");
}

#[tokio::test]
async fn a_wrong_verifier_is_refused_and_spends_the_code() {
    let server = FakeServer::start(Options::default()).unwrap();
    let params = authorize(&server, &[]).await;
    let code = param(&params, "code").unwrap();
    let wrong = VERIFIER.replace('a', "b");
    assert_eq!(
        error(&redeem_code(&server, code, &wrong).await),
        "invalid_grant"
    );
    assert_eq!(
        error(&redeem_code(&server, code, VERIFIER).await),
        "invalid_grant"
    );
}

#[tokio::test]
async fn an_authorization_request_without_s256_is_refused() {
    let server = FakeServer::start(Options::default()).unwrap();
    for wrong in [("code_challenge", ""), ("code_challenge_method", "plain")] {
        let params = authorize(&server, &[wrong]).await;
        assert_eq!(param(&params, "error"), Some("invalid_request"));
        assert_eq!(param(&params, "state"), Some("a-state"));
        assert_eq!(param(&params, "iss"), Some(server.issuer()));
    }
}

#[tokio::test]
async fn an_unregistered_redirect_uri_is_redirected_nowhere() {
    let server = FakeServer::start(Options::default()).unwrap();
    let url = authorization_url(&server, &[("redirect_uri", "https://evil.example/")]);
    let page = fetch(&url).await;
    assert_eq!(page.status, 400);
    assert_eq!(page.header("location"), None);
}

#[tokio::test]
async fn a_code_used_twice_revokes_what_it_yielded() {
    let server = FakeServer::start(Options::default()).unwrap();
    let params = authorize(&server, &[]).await;
    let code = param(&params, "code").unwrap();
    let tokens = redeem_code(&server, code, VERIFIER).await.json().unwrap();
    assert_eq!(ping(&server, text(&tokens, "access_token")).await, 200);
    assert_eq!(
        error(&redeem_code(&server, code, VERIFIER).await),
        "invalid_grant"
    );
    assert_eq!(ping(&server, text(&tokens, "access_token")).await, 401);
    assert_eq!(
        server.ledger().families[0].revoked,
        Some(Revocation::CodeReuse)
    );
}

#[tokio::test]
async fn a_code_expires() {
    let (server, clock) = on_manual_clock();
    let params = authorize(&server, &[]).await;
    clock.advance(server.settings().code_ttl);
    let page = redeem_code(&server, param(&params, "code").unwrap(), VERIFIER).await;
    assert_eq!(error(&page), "invalid_grant");
}

#[tokio::test]
async fn consent_can_be_denied_and_scopes_withheld() {
    let server = FakeServer::start(Options::default()).unwrap();
    server.update(|settings| settings.grant_only = Some(vec!["read".to_owned()]));
    let tokens = login(&server, &[]).await;
    assert_eq!(text(&tokens, "scope"), "read");
    assert_eq!(tokens.get("id_token"), None);
    server.update(|settings| settings.consent = Consent::Deny("access_denied".to_owned()));
    let params = authorize(&server, &[]).await;
    assert_eq!(param(&params, "error"), Some("access_denied"));
    assert_eq!(param(&params, "code"), None);
}

#[tokio::test]
async fn the_issuer_parameter_can_be_left_out_or_wrong() {
    let server = FakeServer::start(Options::default()).unwrap();
    server.update(|settings| settings.send_iss = SendIss::Omitted);
    assert_eq!(param(&authorize(&server, &[]).await, "iss"), None);
    server.update(|settings| settings.send_iss = SendIss::Other("https://evil.example".to_owned()));
    let params = authorize(&server, &[]).await;
    assert_eq!(param(&params, "iss"), Some("https://evil.example"));
}

#[tokio::test]
async fn a_client_must_authenticate_by_its_registered_method() {
    let server = FakeServer::start(Options::default()).unwrap();
    let basic = ClientAuthentication::Basic("se:cret".to_owned());
    let post = ClientAuthentication::Post("secret".to_owned());
    server.register(Client::native("basic").authenticated_by(basic));
    server.register(Client::native("post").authenticated_by(post));
    // "basic:se%3Acret": each part is form-encoded first.
    let header = format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode("basic:se%3Acret")
    );
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "unknown"),
    ];
    let ask = async |more: &[(&str, &str)], headers: &[(&str, &str)]| {
        let form = [&form[..], more].concat();
        let url = server.url(Endpoint::Token);
        let page = bounded(Browser::new().post_form(&url, &form, headers)).await;
        let page = page.unwrap();
        (page.status, error(&page))
    };
    let refused = (401, "invalid_client".to_owned());
    let passed = (400, "invalid_grant".to_owned());
    let with_header = [("authorization", header.as_str())];
    let in_body = [("client_id", "post"), ("client_secret", "secret")];
    assert_eq!(ask(&[], &with_header).await, passed);
    assert_eq!(ask(&in_body, &[]).await, passed);
    assert_eq!(ask(&[("client_id", "native")], &[]).await, passed);
    let basic_in_body = [("client_id", "basic"), ("client_secret", "se:cret")];
    assert_eq!(ask(&basic_in_body, &[]).await, refused);
    let wrong = [("client_id", "post"), ("client_secret", "wrong")];
    assert_eq!(ask(&wrong, &[]).await, refused);
    assert_eq!(ask(&[("client_id", "post")], &[]).await, refused);
    let needless = [("client_id", "native"), ("client_secret", "x")];
    assert_eq!(ask(&needless, &[]).await, refused);
}

#[tokio::test]
async fn a_resource_is_granted_narrowed_and_never_widened() {
    let server = FakeServer::start(Options::default()).unwrap();
    server.update(|settings| {
        settings.resources = Some(vec!["https://a.example/".to_owned(), "urn:b".to_owned()]);
    });
    let tokens = login(&server, &[("resource", "https://a.example/")]).await;
    let token = text(&tokens, "refresh_token");
    let page = crate::client::refresh_with(&server, token, &[("resource", "urn:b")]).await;
    assert_eq!(error(&page), "invalid_target");
    let page =
        crate::client::refresh_with(&server, token, &[("resource", "https://a.example/")]).await;
    let tokens = page.json().unwrap();
    let form = [("token", text(&tokens, "access_token"))];
    let described = post(&server, Endpoint::Introspection, &form).await;
    assert_eq!(
        described.json().unwrap()["aud"],
        json!(["https://a.example/"])
    );
    let params = authorize(&server, &[("resource", "urn:c")]).await;
    assert_eq!(param(&params, "error"), Some("invalid_target"));
}
