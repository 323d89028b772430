//! What the transport reports: which failure, and whether a byte of the request may have left.

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use authd_core::{
    answer::{Body, Failure, Received},
    grant::ClientAuth,
    scope::ScopeSet,
    secret::Secret,
    time::{Boot, Now, Wall},
};
use authd_oauth::{Client, Credential, ExchangeRequest, Surroundings, exchange};
use common::{
    At, Server, bounded, client, fingerprint, http, http_with, provider, read_request, refresh,
    response,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const TOKENS: &str = r#"{"access_token":"AT","token_type":"Bearer","expires_in":60}"#;

/// Expects no whole response; checks that whoever waits for the first byte was told once exactly
/// when a byte may have left.
#[track_caller]
fn check((exchanged, told): (authd_oauth::Exchanged, usize), failure: Failure, bytes_left: bool) {
    assert_eq!(
        exchanged.answer.received,
        Received::Nothing {
            bytes_left,
            failure
        }
    );
    assert_eq!(told, usize::from(bytes_left));
    assert!(exchanged.tokens.is_none());
}

#[track_caller]
fn check_response((exchanged, told): (authd_oauth::Exchanged, usize), status: u16, body: Body) {
    assert_eq!(
        exchanged.answer.received,
        Received::Response { status, body }
    );
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_refused_connection_leaves_the_token_unspent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    drop(listener);
    check(
        bounded(refresh(&http(), &provider(url))).await,
        Failure::Connect,
        false,
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_leaves_the_token_unspent() {
    let provider = provider("https://no-such-host.invalid/token");
    check(
        bounded(refresh(&http(), &provider)).await,
        Failure::Dns,
        false,
    );
}

#[tokio::test]
async fn endpoints_that_must_not_be_spoken_to_are_not() {
    for url in [
        "http://idp.example/token",
        "https://10.0.0.1/token",
        "no URL",
    ] {
        check(
            bounded(refresh(&http(), &provider(url))).await,
            Failure::Connect,
            false,
        );
    }
}

#[tokio::test]
async fn a_hang_after_the_request_is_a_time_out_with_bytes_left() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        // Until the client gives up.
        let _ = stream.read_u8().await;
    })
    .await;
    let http = http_with(|config| config.request_timeout = Duration::from_millis(300));
    check(
        bounded(refresh(&http, &provider(server.url("/")))).await,
        Failure::Timeout,
        true,
    );
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_hang_in_the_handshake_is_a_time_out_with_nothing_left() {
    let server = Server::start(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let http = http_with(|config| config.connect_timeout = Duration::from_millis(300));
    let provider = provider(format!("https://{}/token", server.address));
    check(
        bounded(refresh(&http, &provider)).await,
        Failure::Timeout,
        false,
    );
}

#[tokio::test]
async fn a_body_that_hangs_half_way_is_a_time_out() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n{\"acc")
            .await;
        let _ = stream.read_u8().await;
    })
    .await;
    let http = http_with(|config| config.request_timeout = Duration::from_millis(300));
    check(
        bounded(refresh(&http, &provider(server.url("/")))).await,
        Failure::Timeout,
        true,
    );
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_is_not_tried_again() {
    // Closed without an answer, with the request read and unread (a reset), and in the middle of one.
    let closing = Server::answering("").await;
    let resetting = Server::start(|stream| async move {
        // What was sent is waiting unread, so the system answers with a reset.
        let _ = stream.readable().await;
    })
    .await;
    let garbling = Server::answering("SMTP ready\r\n\r\n").await;
    let halving = Server::answering(&response("200 OK", "", TOKENS).as_bytes()[..60]).await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{\"access_";
    let chunking = Server::answering(chunked).await;
    for server in [closing, resetting, garbling, halving, chunking] {
        check(
            bounded(refresh(&http(), &provider(server.url("/")))).await,
            Failure::Broken,
            true,
        );
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test]
async fn responses_are_capped() {
    let stated = response("200 OK", "", &"x".repeat(64 * 1024 + 1));
    let mut unstated = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for _ in 0..65 {
        unstated.push_str(&format!("400\r\n{}\r\n", "x".repeat(1024)));
    }
    let head = response(
        "200 OK",
        &format!("x: {}\r\n", "x".repeat(40 * 1024)),
        TOKENS,
    );
    let fields = response("200 OK", &"x: y\r\n".repeat(101), TOKENS);
    for answer in [stated, unstated, head, fields] {
        let server = Server::answering(answer).await;
        check(
            bounded(refresh(&http(), &provider(server.url("/")))).await,
            Failure::TooLarge,
            true,
        );
    }
    let largest = Server::answering(response("200 OK", "", &" ".repeat(64 * 1024))).await;
    let exchanged = bounded(refresh(&http(), &provider(largest.url("/")))).await;
    check_response(exchanged, 200, Body::Empty);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Server::answering(response("200 OK", "", TOKENS)).await;
    for status in ["301 M", "302 F", "303 S", "307 T", "308 P"] {
        let location = format!("location: {}\r\n", elsewhere.url("/token"));
        let server = Server::answering(response(status, &location, "")).await;
        let exchanged = bounded(refresh(&http(), &provider(server.url("/")))).await;
        check_response(exchanged, status[..3].parse().unwrap(), Body::Empty);
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn facts_of_the_response_are_kept() {
    let headers = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: 7\r\nx-request-id: r-1\r\n\
                   content-type: text/html\r\n";
    let server = Server::answering(response("503 No", headers, "<html>down</html>")).await;
    let (exchanged, told) = bounded(refresh(&http(), &provider(server.url("/")))).await;
    assert_eq!(
        exchanged.answer.date,
        Some(Wall::from_unix_secs(784_111_777))
    );
    assert_eq!(
        exchanged.answer.retry_after,
        Some(authd_core::answer::RetryAfter::Delay(Duration::from_secs(
            7
        )))
    );
    assert_eq!(exchanged.answer.request_id.as_deref(), Some("r-1"));
    check_response((exchanged, told), 503, Body::Html);
}

#[tokio::test]
async fn an_early_answer_and_an_informational_one_do_not_confuse_it() {
    let tokens = response("200 OK", "", TOKENS);
    let server = Server::answering(format!(
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{tokens}"
    ))
    .await;
    let (exchanged, _) = bounded(refresh(&http(), &provider(server.url("/")))).await;
    assert!(exchanged.tokens.unwrap().access_token.matches("AT"));

    // Answered before the request was read, and closed.
    let hasty = Server::start(|mut stream| async move {
        let _ = stream
            .write_all(response("429 Slow", "retry-after: 1\r\n", "{}").as_bytes())
            .await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let exchanged = bounded(refresh(&http(), &provider(hasty.url("/")))).await;
    let may_be = [
        Received::Response {
            status: 429,
            body: Body::Unintelligible,
        },
        Received::Nothing {
            bytes_left: true,
            failure: Failure::Broken,
        },
    ];
    assert!(
        may_be.contains(&exchanged.0.answer.received),
        "{:?}",
        exchanged.0.answer
    );
}

#[tokio::test]
async fn an_exchange_can_be_a_task_of_its_own() {
    let server = Server::answering(response("200 OK", "", TOKENS)).await;
    let provider = provider(server.url("/"));
    let task = tokio::spawn(async move { refresh(&http(), &provider).await.1 });
    assert_eq!(bounded(task).await.unwrap(), 1);
}

#[tokio::test]
async fn a_token_lives_from_the_moment_the_request_left() {
    let server = Server::answering(response("200 OK", "", TOKENS)).await;
    let readings = AtomicU64::new(0);
    let clock = || Now {
        boot: Boot(readings.fetch_add(1, Ordering::Relaxed)),
        wall: Wall(0),
    };
    let refresh_token = Secret::new("RT");
    let scopes = ScopeSet::default();
    let surroundings = Surroundings {
        fingerprint: &fingerprint,
        on_bytes_sent: &|| (),
    };
    let exchanged = bounded(exchange(
        &http(),
        Client {
            provider: &provider(server.url("/")),
            credential: &Credential::None,
            ambient: &At(clock),
        },
        ExchangeRequest::Refresh {
            refresh_token: &refresh_token,
            scopes: &scopes,
            resource: None,
        },
        surroundings,
    ))
    .await;
    // The first reading is the call, the second the first byte.
    assert_eq!(exchanged.answer.sent_at.boot, Boot(1));
}

#[tokio::test]
async fn each_grant_type_sends_its_own_form() {
    let seen = Arc::new(Mutex::new(String::new()));
    let sink = seen.clone();
    let server = Server::start(move |mut stream| {
        let sink = sink.clone();
        async move {
            *sink.lock().unwrap() = read_request(&mut stream).await;
            let _ = stream
                .write_all(response("200 OK", "", TOKENS).as_bytes())
                .await;
        }
    })
    .await;
    let mut provider = provider(server.url("/t/token?v=1"));
    let (refresh_token, code, verifier, device) = (
        Secret::new("r t"),
        Secret::new("c/1"),
        Secret::new("v"),
        Secret::new("d"),
    );
    let (none, two) = (ScopeSet::default(), ScopeSet::parse("b a"));
    let resource = Some("https://api.example/");
    let requests = [
        (
            ExchangeRequest::Refresh {
                refresh_token: &refresh_token,
                scopes: &none,
                resource: None,
            },
            "grant_type=refresh_token&refresh_token=r+t&client_id=client",
        ),
        (
            ExchangeRequest::Refresh {
                refresh_token: &refresh_token,
                scopes: &two,
                resource,
            },
            "grant_type=refresh_token&refresh_token=r+t&resource=https%3A%2F%2Fapi.example%2F\
             &scope=a+b&client_id=client",
        ),
        (
            ExchangeRequest::Code {
                code: &code,
                redirect_uri: "http://127.0.0.1:7/cb",
                code_verifier: &verifier,
                resource,
                nonce: None,
            },
            "grant_type=authorization_code&code=c%2F1&redirect_uri=http%3A%2F%2F127.0.0.1%3A7%2Fcb\
             &code_verifier=v&resource=https%3A%2F%2Fapi.example%2F&client_id=client",
        ),
        (
            ExchangeRequest::Device {
                device_code: &device,
                resource: None,
            },
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=d\
             &client_id=client",
        ),
        (
            ExchangeRequest::ClientCredentials {
                scopes: &two,
                resource: None,
            },
            "grant_type=client_credentials&scope=a+b&client_id=client",
        ),
    ];
    let surroundings = Surroundings {
        fingerprint: &fingerprint,
        on_bytes_sent: &|| (),
    };
    for (request, form) in requests {
        bounded(exchange(
            &http(),
            client(&provider, &Credential::None),
            request,
            surroundings,
        ))
        .await;
        let request = seen.lock().unwrap().clone();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, form);
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("post /t/token?v=1 http/1.1\r\n"), "{head}");
        for line in [
            format!("host: {}", server.address),
            "content-type: application/x-www-form-urlencoded".into(),
            "accept: application/json".into(),
            format!("content-length: {}", form.len()),
        ] {
            assert_eq!(
                head.lines().filter(|seen| **seen == line).count(),
                1,
                "{line}\n{head}"
            );
        }
        assert!(!head.contains("authorization:"));
    }

    provider.client_auth = ClientAuth::Basic;
    let secret = Credential::Secret(Secret::new("s3"));
    let request = ExchangeRequest::ClientCredentials {
        scopes: &none,
        resource: None,
    };
    bounded(exchange(
        &http(),
        client(&provider, &secret),
        request,
        surroundings,
    ))
    .await;
    let request = seen.lock().unwrap().clone();
    assert!(
        request.contains("authorization: Basic Y2xpZW50OnMz\r\n"),
        "{request}"
    );
    assert!(
        request.ends_with("\r\n\r\ngrant_type=client_credentials"),
        "{request}"
    );
}
