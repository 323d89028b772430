//! No secret in any log, at any level, of any crate; and in nothing that can be printed.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod common;

use std::{
    io,
    sync::{Arc, Mutex},
};

use authd_core::{grant::ClientAuth, scope::ScopeSet, secret::Secret};
use authd_oauth::{
    AuthorizationAttempt, AuthorizationRequest, Credential, DEFAULT_REDIRECT_URI, ExplicitProxy,
    HostList, HttpConfig, LoopbackRedirect, ProxyConfig, TokenTypeHint, authorize_device, discover,
    exchange, introspect, push, revoke, userinfo,
};
use authd_testkit::{Browser, Client, ClientAuthentication, FakeServer, Options};
use common::{Server, bounded, client, fingerprint, http, http_with, provider, refresh, response};
use tracing_subscriber::fmt::MakeWriter;

/// In every secret of these tests.
const CANARY: &str = "canary";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

#[tokio::test]
async fn no_log_and_nothing_printable_has_a_secret() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .init();
    bounded(a_login_and_everything_after(&log)).await;
    bounded(failures(&log)).await;
    assert!(
        log.text().contains("authd_oauth"),
        "the log was listened to"
    );
    assert!(log.text().contains(" TRACE "), "at every level");
}

async fn a_login_and_everything_after(log: &Log) {
    let registered = Client::native("client")
        .authenticated_by(ClientAuthentication::Basic("canary-client-secret".into()));
    let server = FakeServer::start(Options {
        clients: vec![registered],
        ..Options::default()
    })
    .unwrap();
    let credential = Credential::Secret(Secret::new("canary-client-secret"));
    let metadata = discover(&http(), server.issuer(), None).await.unwrap();
    let mut provider = provider("");
    provider.issuer = Some(metadata.issuer.clone());
    provider.endpoints = metadata.endpoints.clone();
    provider.client_auth = metadata.client_auth(true);
    let loopback = LoopbackRedirect::bind(DEFAULT_REDIRECT_URI).await.unwrap();
    let request = AuthorizationRequest {
        provider: &provider,
        redirect_uri: loopback.redirect_uri(),
        scopes: &ScopeSet::parse("openid offline_access"),
        resources: &[],
        extra: &[],
        scope_separator: None,
        iss_expected: true,
        dpop_jkt: None,
        jarm: None,
    };
    let attempt = AuthorizationAttempt::begin(request, &mut |bytes| bytes.fill(0xff)).unwrap();
    let url = attempt.url().to_owned();
    let mut browser = Browser::new();
    let (grant, page) = tokio::join!(loopback.wait(&attempt), browser.follow(&url));
    page.unwrap();
    let grant = grant.ok().unwrap();

    let surroundings = authd_oauth::Surroundings {
        fingerprint: &fingerprint,
        on_bytes_sent: &|| (),
        dpop: None,
    };
    let exchanged = exchange(
        &http(),
        client(&provider, &credential),
        grant.exchange_request(),
        surroundings,
    )
    .await;
    let tokens = exchanged.tokens.unwrap();
    let hint = TokenTypeHint::AccessToken;
    let http = http();
    let known = client(&provider, &credential);
    let unknown = client(&provider, &Credential::None);
    let said = [
        format!("{:?}", exchanged.answer),
        format!(
            "{:?}",
            userinfo(&http, known, &tokens.access_token, None).await
        ),
        format!(
            "{:?}",
            introspect(&http, known, &tokens.access_token, hint).await
        ),
        format!(
            "{:?}",
            revoke(&http, known, &tokens.access_token, hint).await
        ),
        // Refused, for want of the client's secret.
        format!(
            "{:?}",
            introspect(&http, unknown, &tokens.access_token, hint).await
        ),
        format!(
            "{:?}",
            exchange(&http, unknown, grant.exchange_request(), surroundings)
                .await
                .answer
        ),
        format!("{provider:?} {metadata:?}"),
    ];
    // `state`, `nonce` and the verifier are all of this.
    let drawn = "_".repeat(42);
    for text in said.into_iter().chain([log.text()]) {
        assert!(!text.contains(CANARY) && !text.contains(&drawn), "{text}");
        assert!(!text.contains(tokens.access_token.expose()), "{text}");
    }
}

async fn failures(log: &Log) {
    let echo = r#"{"error":"invalid_grant","error_description":"canary-rt-sent is dead",
        "suberror":"canary-rt-sent"}"#;
    let headers = "x-request-id: canary-rt-sent\r\nset-cookie: canary\r\nx: canary\r\n";
    let error_text = r#"{"access_token":"error: canary"}"#;
    for body in [
        echo,
        error_text,
        "<html>canary</html>",
        "canary",
        r#"{"error":{"x":"canary"}}"#,
    ] {
        let server = Server::answering(response("400 Bad", headers, body)).await;
        let (exchanged, _) = refresh(&http(), &provider(server.url("/token"))).await;
        let text = format!("{:?}", exchanged.answer);
        assert!(!text.contains(CANARY), "{text}");
    }
    a_provider_that_quotes_the_request().await;
    let config = HttpConfig {
        proxy: ProxyConfig::Explicit(ExplicitProxy {
            proxy: "http://user:canary@127.0.0.1:1".into(),
            except: HostList::default(),
            login: None,
        }),
        ..HttpConfig::default()
    };
    assert!(!format!("{config:?}").contains(CANARY));
    let http = http_with(|http| http.proxy = config.proxy);
    let unreachable = provider("https://idp.example/token?x=canary");
    let text = format!("{:?}", refresh(&http, &unreachable).await.0.answer);
    assert!(!text.contains(CANARY), "{text}");
    assert!(!log.text().contains(CANARY), "{}", log.text());
}

/// Whatever was sent in a request's body may come back in its refusal.
async fn a_provider_that_quotes_the_request() {
    let echo = r#"{"error":"invalid_request","error_description":
        "in client_id=client&client_secret=canary-client-secret&token=canary-token"}"#;
    let server = Server::answering(response("400 Bad", "", echo)).await;
    let credential = Credential::Secret(Secret::new("canary-client-secret"));
    let url = || Some(server.url("/there"));
    let mut provider = provider(server.url("/token"));
    provider.client_auth = ClientAuth::Post;
    provider.endpoints.authorization = url();
    provider.endpoints.pushed_authorization_request = url();
    provider.endpoints.introspection = url();
    provider.endpoints.revocation = url();
    provider.endpoints.device_authorization = url();
    let client = client(&provider, &credential);
    let (scopes, token) = (ScopeSet::default(), Secret::new("canary-token"));

    let request = AuthorizationRequest {
        provider: &provider,
        redirect_uri: "http://127.0.0.1:1/callback",
        scopes: &scopes,
        resources: &[],
        extra: &[],
        scope_separator: None,
        iss_expected: false,
        dpop_jkt: None,
        jarm: None,
    };
    let mut attempt = AuthorizationAttempt::begin(request, &mut |bytes| bytes.fill(0xfe)).unwrap();
    let http = http();
    let pushed = push(&http, client, &mut attempt).await.err().unwrap();
    let hint = TokenTypeHint::AccessToken;
    let introspected = introspect(&http, client, &token, hint).await.unwrap_err();
    let begun = authorize_device(&http, client, &scopes, &[]).await;
    let begun = begun.err().unwrap();
    let revoked = revoke(&http, client, &token, hint).await;
    for text in [pushed, introspected, begun].map(|error| format!("{error} {error:?}")) {
        assert!(text.contains("invalid_request"), "{text}");
        // The token is none of a pushed or a device request's secrets.
        assert!(!text.contains("canary-client-secret"), "{text}");
    }
    let text = format!("{revoked:?}");
    assert!(!text.contains(CANARY), "{text}");
}
