//! The loopback listener among enemies: every hostile request changes nothing, and the genuine
//! login succeeds afterwards.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod common;

use std::{net::SocketAddr, time::Duration};

use authd_core::{
    grant::{Endpoints, Provider},
    scope::ScopeSet,
};
use authd_oauth::{
    AuthorizationAttempt, AuthorizationError, AuthorizationGrant, AuthorizationRequest,
    BadRedirectUri, DEFAULT_REDIRECT_URI, ExchangeRequest, LoopbackError, LoopbackRedirect,
};
use common::bounded;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

const ISSUER: &str = "https://idp.example";

fn attempt(redirect_uri: &str) -> AuthorizationAttempt {
    let provider = Provider {
        issuer: Some(ISSUER.into()),
        client_id: "client".into(),
        endpoints: Endpoints {
            authorization: Some("https://idp.example/authorize".into()),
            token: "https://idp.example/token".into(),
            ..Endpoints::default()
        },
        ..Provider::default()
    };
    let request = AuthorizationRequest {
        provider: &provider,
        redirect_uri,
        scopes: &ScopeSet::default(),
        resources: &[],
        extra: &[],
        scope_separator: None,
        iss_expected: true,
        dpop_jkt: None,
        jarm: None,
    };
    AuthorizationAttempt::begin(request, &mut |bytes| bytes.fill(7)).unwrap()
}

type Outcome = Result<AuthorizationGrant, AuthorizationError>;

/// A login that waits on loopback.
struct Login {
    address: SocketAddr,
    authority: String,
    state: String,
    waiting: JoinHandle<Outcome>,
}

impl Login {
    async fn begin() -> Self {
        Self::begin_at(DEFAULT_REDIRECT_URI).await
    }

    async fn begin_at(redirect_uri: &str) -> Self {
        let loopback = LoopbackRedirect::bind(redirect_uri).await.unwrap();
        let uri = url::Url::parse(loopback.redirect_uri()).unwrap();
        let address = uri.socket_addrs(|| None).unwrap()[0];
        let host = uri.host_str().unwrap();
        // As a browser writes it: port 80 is not named.
        let authority = match uri.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let attempt = attempt(loopback.redirect_uri());
        let url = url::Url::parse(attempt.url()).unwrap();
        let state = url
            .query_pairs()
            .find(|(name, _)| name == "state")
            .unwrap()
            .1
            .into_owned();
        let waiting = tokio::spawn(async move { loopback.wait(&attempt).await });
        Self {
            address,
            authority,
            state,
            waiting,
        }
    }

    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // It may refuse before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        read_all(&mut stream).await
    }

    async fn get(&self, target: &str) -> String {
        self.send(&format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.authority
        ))
        .await
    }

    fn genuine(&self) -> String {
        format!(
            "/callback?code=c-1&state={}&iss=https%3A%2F%2Fidp.example",
            self.state
        )
    }

    /// The genuine answer arrives, and the login succeeds.
    async fn succeeds(self) {
        let page = self.get(&self.genuine()).await;
        assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
        assert!(page.contains("<h1>You are signed in</h1>"), "{page}");
        let grant = self.waiting.await.unwrap().unwrap();
        let ExchangeRequest::Code { code, .. } = grant.exchange_request() else {
            panic!("a code")
        };
        assert!(code.matches("c-1"));
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends what `request` makes of a login; expects `status`; then the login succeeds.
async fn changes_nothing(status: &str, request: impl AsyncFnOnce(&Login) -> String) {
    bounded(async {
        let login = Login::begin().await;
        let answer = request(&login).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        for echoed in ["hostile", login.state.as_str()] {
            assert!(
                !answer.contains(echoed),
                "nothing of the request is echoed: {answer}"
            );
        }
        assert!(!login.waiting.is_finished());
        login.succeeds().await;
    })
    .await;
}

#[tokio::test]
async fn the_genuine_answer_yields_the_code_and_a_safe_page() {
    bounded(async {
        let login = Login::begin().await;
        let page = login.get(&login.genuine()).await;
        let (head, html) = page.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        for line in [
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
            "content-type: text/html; charset=utf-8",
            "connection: close",
        ] {
            assert!(head.lines().any(|seen| seen == line), "{line}: {head}");
        }
        assert!(head.contains("content-security-policy: default-src 'none'; style-src 'sha256-"));
        assert!(head.contains("frame-ancestors 'none'") && !head.contains("unsafe"));
        for part in [
            "<html lang=\"en\">",
            "<title>",
            "<main class=\"good\">",
            "<h1>",
            "color-scheme:light dark",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(
            !html.contains("<script") && !html.contains("http"),
            "nothing is loaded: {html}"
        );
        login.waiting.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_wrong_state_changes_nothing() {
    changes_nothing("400", async |login| {
        login
            .get("/callback?code=hostile&state=guess&iss=https%3A%2F%2Fidp.example")
            .await
    })
    .await;
}

#[tokio::test]
async fn a_missing_state_changes_nothing() {
    changes_nothing("400", async |login| {
        login.get("/callback?code=hostile").await
    })
    .await;
}

#[tokio::test]
async fn an_error_with_a_wrong_state_changes_nothing() {
    changes_nothing("400", async |login| {
        login
            .get("/callback?error=access_denied&error_description=hostile&state=guess")
            .await
    })
    .await;
}

#[tokio::test]
async fn an_error_without_a_state_changes_nothing() {
    changes_nothing("400", async |login| {
        login.get("/callback?error=access_denied").await
    })
    .await;
}

#[tokio::test]
async fn a_duplicate_parameter_changes_nothing() {
    for doubled in [
        "code=hostile",
        "state=hostile",
        "iss=hostile",
        "hostile=1&hostile=2",
    ] {
        changes_nothing("400", async |login| {
            login.get(&format!("{}&{doubled}", login.genuine())).await
        })
        .await;
    }
}

#[tokio::test]
async fn another_method_changes_nothing() {
    for method in ["POST", "HEAD", "PUT", "OPTIONS", "hostile"] {
        changes_nothing("405", async |login| {
            let (target, host) = (login.genuine(), &login.authority);
            login
                .send(&format!(
                    "{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"
                ))
                .await
        })
        .await;
    }
}

#[tokio::test]
async fn another_path_changes_nothing() {
    for path in [
        "/",
        "/callback/",
        "/callback/x",
        "//callback",
        "/Callback",
        "/%63allback",
        "/favicon.ico",
    ] {
        changes_nothing("404", async |login| {
            login.get(&login.genuine().replace("/callback", path)).await
        })
        .await;
    }
}

#[tokio::test]
async fn another_host_changes_nothing() {
    for host in [
        "Host: evil.example\r\n",
        "Host: 127.0.0.1\r\n",
        "Host: localhost:PORT\r\n",
        "Host: 127.0.0.1.evil.example:PORT\r\n",
        "Host: 127.0.0.1:PORT\r\nHost: 127.0.0.1:PORT\r\n",
        "Host: 127.0.0.1:PORT\r\nHost: evil.example\r\n",
        "",
    ] {
        changes_nothing("404", async |login| {
            let host = host.replace("PORT", &login.address.port().to_string());
            login
                .send(&format!("GET {} HTTP/1.1\r\n{host}\r\n", login.genuine()))
                .await
        })
        .await;
    }
}

#[tokio::test]
async fn an_absolute_target_changes_nothing() {
    changes_nothing("404", async |login| {
        login
            .get(&format!("http://evil.example{}", login.genuine()))
            .await
    })
    .await;
}

#[tokio::test]
async fn a_head_beyond_8_kib_changes_nothing() {
    let long = "x".repeat(16 * 1024);
    changes_nothing("431", async |login| {
        login.get(&format!("{}&x={long}", login.genuine())).await
    })
    .await;
    changes_nothing("431", async |login| {
        let (target, host) = (login.genuine(), &login.authority);
        login
            .send(&format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\nx: {long}\r\n\r\n"
            ))
            .await
    })
    .await;
}

#[tokio::test]
async fn what_is_no_http_changes_nothing() {
    changes_nothing("400", async |login| login.send("hostile\r\n\r\n").await).await;
}

#[tokio::test]
async fn a_second_request_on_a_connection_is_not_read() {
    bounded(async {
        let login = Login::begin().await;
        let genuine = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
            login.genuine(),
            login.authority
        );
        let strange = format!("GET /x HTTP/1.1\r\nHost: {}\r\n\r\n", login.authority);
        let answers = login.send(&format!("{strange}{genuine}")).await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
        assert!(!login.waiting.is_finished());
        login.succeeds().await;
    })
    .await;
}

#[tokio::test]
async fn silent_connections_give_way_to_the_browser() {
    bounded(async {
        let login = Login::begin().await;
        let mut idle = Vec::new();
        for number in 0..100 {
            let mut stream = TcpStream::connect(login.address).await.unwrap();
            if number % 2 == 0 {
                let _ = stream.write_all(b"GET /callback?code=").await;
            }
            idle.push(stream);
        }
        let before = std::time::Instant::now();
        login.succeeds().await;
        // Had they not given way, the browser would have waited until their time ran out.
        assert!(
            before.elapsed() < Duration::from_secs(4),
            "{:?}",
            before.elapsed()
        );
        assert_eq!(read_all(&mut idle[0]).await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_lives_five_seconds() {
    let login = Login::begin().await;
    let mut stream = TcpStream::connect(login.address).await.unwrap();
    stream.write_all(b"GET /callback?code=").await.unwrap();
    let before = tokio::time::Instant::now();
    read_all(&mut stream).await;
    assert!(
        before.elapsed() <= Duration::from_secs(6),
        "{:?}",
        before.elapsed()
    );
    assert!(!login.waiting.is_finished());
    login.succeeds().await;
}

#[tokio::test]
async fn many_hostile_requests_at_once_change_nothing() {
    bounded(async {
        let login = Login::begin().await;
        let hostile: Vec<_> = (0..200)
            .map(|number| {
                let (address, authority) = (login.address, login.authority.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = TcpStream::connect(address).await else {
                        return;
                    };
                    let target = format!("/callback?code=hostile&state=guess{number}");
                    let request = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
                    let _ = stream.write_all(request.as_bytes()).await;
                    read_all(&mut stream).await;
                })
            })
            .collect();
        login.succeeds().await;
        for request in hostile {
            request.abort();
        }
    })
    .await;
}

/// The provider's own answer, other than a code.
async fn ends_with(query: &str, heading: &str) -> AuthorizationError {
    bounded(async {
        let login = Login::begin().await;
        let page = login
            .get(&format!("/callback?state={}&{query}", login.state))
            .await;
        assert!(page.contains(heading), "{page}");
        assert!(
            !page.contains("access_denied") && !page.contains("hostile"),
            "{page}"
        );
        login.waiting.await.unwrap().err().unwrap()
    })
    .await
}

#[tokio::test]
async fn a_denied_consent_ends_the_login_with_its_own_page() {
    let error = ends_with(
        "error=access_denied&error_description=no%1b[31m&iss=https%3A%2F%2Fidp.example",
        "<h1>The sign-in was denied</h1>",
    )
    .await;
    assert_eq!(
        error.to_string(),
        "the login was denied: access_denied (no[31m)"
    );
}

#[tokio::test]
async fn another_issuer_ends_the_login_on_errors_too() {
    for query in [
        "code=c&iss=https%3A%2F%2Fhostile.example",
        "code=c&iss=https%3A%2F%2Fidp.example%2F",
        "code=c",
        "error=access_denied&iss=https%3A%2F%2Fhostile.example",
        "error=access_denied",
    ] {
        let error = ends_with(query, "<h1>The sign-in failed</h1>").await;
        assert!(
            matches!(error, AuthorizationError::IssuerMismatch { .. }),
            "{query}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_with_neither_or_both_ends_the_login() {
    let iss = "iss=https%3A%2F%2Fidp.example";
    for query in [
        iss.to_owned(),
        format!("{iss}&code=c&error=x"),
        format!("{iss}&code="),
    ] {
        let error = ends_with(&query, "<h1>The sign-in failed</h1>").await;
        assert_eq!(error, AuthorizationError::Malformed);
    }
}

#[tokio::test]
async fn the_listener_closes_with_the_result_and_with_the_wait() {
    bounded(async {
        let login = Login::begin().await;
        let address = login.address;
        login.succeeds().await;
        assert!(TcpStream::connect(address).await.is_err());

        let login = Login::begin().await;
        login.waiting.abort();
        assert!(login.waiting.await.is_err_and(|error| error.is_cancelled()));
        assert!(TcpStream::connect(login.address).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn it_listens_where_the_client_is_registered() {
    bounded(async {
        // A port that was free a moment ago.
        let free = LoopbackRedirect::bind(DEFAULT_REDIRECT_URI).await.unwrap();
        let uri = free.redirect_uri().to_owned();
        let taken = LoopbackRedirect::bind(&uri).await;
        assert!(matches!(taken, Err(LoopbackError::Bind { .. })));
        drop(free);
        let exact = uri.replace("/callback", "/oauth/Code-1");
        let loopback = LoopbackRedirect::bind(&exact).await.unwrap();
        assert_eq!(loopback.redirect_uri(), exact);
        drop(loopback);

        let login = Login::begin_at("http://localhost:0/callback").await;
        assert!(login.authority.starts_with("localhost:"));
        login.succeeds().await;
        if TcpStream::connect("[::1]:1")
            .await
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        {
            let login = Login::begin_at("http://[::1]/callback").await;
            assert!(login.address.is_ipv6());
            login.succeeds().await;
        }
    })
    .await;
}

#[tokio::test]
async fn it_listens_on_loopback_alone() {
    for (uri, why) in [
        ("https://127.0.0.1/callback", BadRedirectUri::NotHttp),
        ("urn:ietf:wg:oauth:2.0:oob", BadRedirectUri::NotHttp),
        ("callback", BadRedirectUri::NotHttp),
        ("http://0.0.0.0:8080/callback", BadRedirectUri::NotLoopback),
        ("http://127.0.0.2/callback", BadRedirectUri::NotLoopback),
        ("http://192.168.0.1/callback", BadRedirectUri::NotLoopback),
        ("http://idp.example/callback", BadRedirectUri::NotLoopback),
        ("http://user@127.0.0.1/callback", BadRedirectUri::Decorated),
        ("http://127.0.0.1/callback?x=1", BadRedirectUri::Decorated),
        ("http://127.0.0.1/callback#x", BadRedirectUri::Decorated),
    ] {
        match LoopbackRedirect::bind(uri).await {
            Err(LoopbackError::BadRedirectUri(found)) => assert_eq!(found, why, "{uri}"),
            _ => panic!("{uri} was listened on"),
        }
    }
}

#[tokio::test]
async fn a_redirect_to_port_80_is_listened_for_there_or_not_at_all() {
    bounded(async {
        for uri in [
            "http://127.0.0.1:80/callback",
            "http://127.0.0.1:080/callback",
        ] {
            match LoopbackRedirect::bind(uri).await {
                Ok(loopback) => {
                    assert_eq!(loopback.redirect_uri(), uri, "as registered, to the letter");
                    drop(loopback);
                    Login::begin_at(uri).await.succeeds().await;
                }
                // Not everybody may listen there, and somebody may do so already.
                Err(LoopbackError::Bind { address, .. }) => assert_eq!(address.port(), 80),
                Err(other) => panic!("{other}"),
            }
        }
        for uri in ["http://127.0.0.1/callback", "http://127.0.0.1:/callback"] {
            let loopback = LoopbackRedirect::bind(uri).await.unwrap();
            let found = url::Url::parse(loopback.redirect_uri()).unwrap();
            assert!(found.port().is_some(), "{found}");
        }
    })
    .await;
}
