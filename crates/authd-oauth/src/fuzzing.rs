//! What fuzz targets reach: the readers of what providers and browsers send, which nobody else is to call.
//! Each asserts what holds whatever comes.

use std::sync::LazyLock;

use authd_core::{
    answer::Body,
    id::Fingerprint,
    secret::Secret,
    time::{Now, Wall},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    Algorithm, AuthorizationAttempt, Challenge, DpopServers, Http, HttpConfig, KeySet, ProxyConfig,
    dpop,
    http::{Incoming, PrivateAddresses},
    id_token, jarm, loopback, metadata, protected_resource,
    response::{self, CODE_LEN, DESCRIPTION_LEN, Members, Reading},
};

static HTTP: LazyLock<Http> = LazyLock::new(|| {
    let http = Http::new(HttpConfig {
        proxy: ProxyConfig::Off,
        ..HttpConfig::default()
    });
    http.expect("no proxy, no trouble")
});

fn assert_printable(text: &str, most: usize) {
    assert!(text.chars().count() <= most, "{} is too long", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// A token endpoint's response: status, content type, headers and body.
pub fn token_response(status: u16, content_type: Option<&str>, headers: &[u8], body: &[u8]) {
    let sent = Secret::new("sent-secret");
    let reading = Reading {
        fingerprint: &|_| Fingerprint::default(),
        sent: &[&sent],
        error_pointer: Some("/error/code"),
    };
    let parsed = response::parse(status, content_type, body, reading);
    match &parsed.body {
        Body::Tokens(summary) => {
            let tokens = parsed.tokens.as_ref().expect("tokens with their summary");
            assert!(!tokens.access_token.is_empty());
            assert_eq!(summary.refresh_token, tokens.refresh_token.is_some());
            assert_printable(&summary.token_type, 64);
        }
        Body::Error {
            code,
            description,
            detail,
        } => {
            assert!(parsed.tokens.is_none());
            assert_printable(code, CODE_LEN);
            for text in [description, detail].into_iter().flatten() {
                assert_printable(text, 3 * DESCRIPTION_LEN);
                assert!(!text.contains("sent-secret"), "what was sent is repeated");
            }
        }
        _ => assert!(parsed.tokens.is_none()),
    }
    let headers = header_map(headers);
    let _ = response::date(&headers);
    let _ = response::retry_after(&headers);
    if let Some(id) = reading.request_id(&headers) {
        assert_printable(&id, 128);
    }
}

/// An authorization server's metadata (RFC 8414), and all that is made of it.
pub fn metadata(body: &[u8]) {
    const ISSUER: &str = "https://idp.example/tenant";
    let url = Url::parse(ISSUER).expect("an address");
    let response = Incoming {
        status: 200,
        headers: HeaderMap::new(),
        body: Zeroizing::new(body.to_vec()),
    };
    let private = PrivateAddresses::Refused;
    for template in [None, Some("https://idp.example/{tenant}")] {
        let Ok(found) = metadata::read(&response, ISSUER, template, &url, &private) else {
            continue;
        };
        // A template allows other tenants of the same provider.
        let is_issuer = found.issuer == ISSUER || template.is_some();
        assert!(is_issuer && found.issuer.starts_with("https://idp.example/"));
        let _ = (found.takes_dpop(), found.insists_on_jarm());
        let _ = found.rules_out("refresh_token");
        for has_secret in [false, true] {
            let client_auth = found.client_auth(has_secret);
            drop(found.for_client(client_auth));
            let endpoints = found.endpoints_for(client_auth);
            let checked = metadata::check_endpoints(&HTTP, &endpoints);
            assert_eq!(checked, Ok(()), "an endpoint that must not be spoken to");
        }
    }
}

/// A protected resource's metadata (RFC 9728).
pub fn resource(body: &[u8]) {
    let Some(document) = Members::from_json(body) else {
        return;
    };
    for is_of_host in [false, true] {
        let address = "https://api.example/v1";
        let read = protected_resource::read_for(address, &HTTP, is_of_host, &document);
        if let Ok(found) = read {
            assert!(!found.authorization_servers.is_empty());
        }
    }
}

/// The headers of a resource's or a token endpoint's response: challenges, nonces, dates.
pub fn headers(bytes: &[u8]) {
    let headers = header_map(bytes);
    let _ = Challenge::of(&headers);
    if let Some(nonce) = dpop::nonce(&headers) {
        assert!(nonce.bytes().all(|byte| byte.is_ascii_graphic()));
        // What is heard goes into the next proof.
        assert!(HeaderValue::from_str(&nonce).is_ok());
    }
    let servers = DpopServers::default();
    let now = Now::default();
    let url = Url::parse("https://idp.example/token").expect("an address");
    servers.hear(&url, &headers, now);
    let _ = (servers.nonce(&url), servers.time(&url, now));
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Challenge::parse(text);
    }
}

/// An ID token, a signed authorization response and a key set: anything between two lines' ends.
pub fn signed(text: &str) {
    let (token, keys) = text.split_once('\n').unwrap_or((text, ""));
    let nonce = Secret::new("nonce");
    for nonce in [None, Some(&nonce)] {
        let expected = id_token::Expected {
            issuer: Some("https://idp.example"),
            issuer_template: Some("https://{tenant}.example"),
            client_id: "client",
            nonce,
            now: Wall::default(),
        };
        if let Ok(subject) = id_token::subject(token, expected) {
            assert_printable(&subject.sub, 255);
        }
    }
    let _ = jarm::Jarm::claimed_state(&Secret::new(token));
    if let Some(keys) = KeySet::from_json(keys.as_bytes()) {
        let _ = keys.verify(token, &Algorithm::ALL);
    }
}

/// One connection to the listener of a login that began with `state`: the HTTP request, its answer, and
/// what becomes of the login.
pub fn callback(attempt: &AuthorizationAttempt, state: &str, bytes: &[u8]) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
    }
    let connection = loopback::fuzzing::connection(attempt, "127.0.0.1:1234", "/callback", bytes);
    let (answer, outcome) = RUNTIME.with(|runtime| runtime.block_on(connection));
    let knows = |word: &str| {
        bytes
            .windows(word.len())
            .any(|seen| seen == word.as_bytes())
    };
    if let Some(Ok(_)) = outcome {
        assert!(knows("GET /callback?") && knows("127.0.0.1:1234"));
    }
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
    let text = String::from_utf8(answer).expect("a page of ours");
    assert!(text.matches("HTTP/1.").count() <= 1, "more than one answer");
    assert!(!text.contains(state), "the request is echoed");
}

/// Lines of `name: value`, as far as they are headers.
fn header_map(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}
