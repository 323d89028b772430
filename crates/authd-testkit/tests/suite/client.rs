//! A client with just enough OAuth to test the server with.

use std::time::Duration;

use authd_testkit::{Browser, Endpoint, FakeServer, ManualClock, Options, Page};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use serde_json::Value;
use url::Url;

pub(crate) const VERIFIER: &str = "a-verifier-that-is-long-enough-for-rfc-7636-section-4.1";

/// A server on a clock that stands still.
pub(crate) fn on_manual_clock() -> (FakeServer, ManualClock) {
    let clock = ManualClock::starting_now();
    let server = FakeServer::start(Options {
        clock: clock.clone().into(),
        ..Options::default()
    })
    .unwrap();
    (server, clock)
}

pub(crate) fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes()))
}

/// An authorization URL for the client `native`; `more` replaces or adds parameters, an empty value
/// removes one.
pub(crate) fn authorization_url(server: &FakeServer, more: &[(&str, &str)]) -> String {
    let challenge = challenge();
    let mut params = vec![
        ("response_type", "code"),
        ("client_id", "native"),
        ("redirect_uri", "http://127.0.0.1:1/callback"),
        ("scope", "openid read write"),
        ("state", "a-state"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    params.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    params.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    Url::parse_with_params(&server.url(Endpoint::Authorization), params)
        .unwrap()
        .into()
}

/// The parameters of the redirect that answers an authorization request, unfollowed.
pub(crate) async fn authorize(server: &FakeServer, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let url = authorization_url(server, more);
    let page = bounded(Browser::new().request(axum::http::Method::GET, &url, &[], ""))
        .await
        .unwrap();
    assert_eq!(page.status, 302, "{}", page.body);
    let location = Url::parse(page.header("location").unwrap()).unwrap();
    location.query_pairs().into_owned().collect()
}

pub(crate) fn param<'a>(params: &'a [(String, String)], name: &str) -> Option<&'a str> {
    params
        .iter()
        .find(|(given, _)| given == name)
        .map(|(_, value)| value.as_str())
}

/// Posts a form of the public client `native`.
pub(crate) async fn post(server: &FakeServer, endpoint: Endpoint, form: &[(&str, &str)]) -> Page {
    let mut whole = vec![("client_id", "native")];
    whole.extend_from_slice(form);
    bounded(Browser::new().post_form(&server.url(endpoint), &whole, &[]))
        .await
        .unwrap()
}

pub(crate) async fn redeem_code(server: &FakeServer, code: &str, verifier: &str) -> Page {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", "http://127.0.0.1:1/callback"),
        ("code_verifier", verifier),
    ];
    post(server, Endpoint::Token, &form).await
}

/// A whole login: the token response.
pub(crate) async fn login(server: &FakeServer, more: &[(&str, &str)]) -> Value {
    let params = authorize(server, more).await;
    let page = redeem_code(server, param(&params, "code").unwrap(), VERIFIER).await;
    assert_eq!(page.status, 200, "{}", page.body);
    page.json().unwrap()
}

pub(crate) async fn refresh(server: &FakeServer, token: &str) -> Page {
    refresh_with(server, token, &[]).await
}

pub(crate) async fn refresh_with(server: &FakeServer, token: &str, more: &[(&str, &str)]) -> Page {
    let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
    form.extend_from_slice(more);
    post(server, Endpoint::Token, &form).await
}

/// Calls the demo API: the status.
pub(crate) async fn ping(server: &FakeServer, access_token: &str) -> u16 {
    let authorization = format!("Bearer {access_token}");
    let headers = [("authorization", authorization.as_str())];
    let url = server.url(Endpoint::Api);
    bounded(Browser::new().request(axum::http::Method::GET, &url, &headers, ""))
        .await
        .unwrap()
        .status
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no text {name}"))
}

/// The error code of an OAuth error answer.
pub(crate) fn error(page: &Page) -> String {
    text(&page.json().unwrap(), "error").to_owned()
}

/// Nothing here takes longer than this, whatever breaks.
pub(crate) async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it should have ended by now")
}
