//! Every fault at least once, gates, and a server that goes away.

use std::time::Duration;

use crate::client::{bounded, error, login, on_manual_clock, ping, refresh, text};
use authd_testkit::{
    Browser, BrowserError, Endpoint, FakeServer, Fault, Fingerprint, Options, Page, Phase,
    RefreshTokenOutcome as Outcome, RetryAfter, send_raw,
};

const HOUR: Duration = Duration::from_secs(3600);

async fn try_refresh(server: &FakeServer, token: &str) -> Result<Page, BrowserError> {
    let form = [
        ("client_id", "native"),
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
    ];
    let url = server.url(Endpoint::Token);
    bounded(Browser::new().post_form(&url, &form, &[])).await
}

fn outcomes(server: &FakeServer, token: &str) -> Vec<Outcome> {
    let ledger = server.ledger();
    let entry = ledger.refresh_token(&Fingerprint::of(token)).unwrap();
    entry.uses.iter().map(|used| used.outcome).collect()
}

#[tokio::test]
async fn a_queue_of_faults_strikes_in_order_and_then_the_truth_is_told() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    let token = text(&first, "refresh_token");
    for fault in [
        Fault::status(500),
        Fault::too_many_requests(7),
        Fault::oauth_error("invalid_grant"),
        Fault::EmptyBadRequest,
        Fault::HtmlForbidden,
        Fault::HtmlOk,
        Fault::MalformedJson,
        Fault::Redirect {
            status: 307,
            location: "http://127.0.0.1:1/elsewhere".to_owned(),
        },
        Fault::ErrorInAccessToken,
        Fault::EmptyAccessToken,
        Fault::NotOk {
            error: "token_revoked".to_owned(),
        },
        Fault::ErrorMember {
            error: "bad_refresh_token".to_owned(),
        },
        Fault::FormEncodedError {
            error: "bad_refresh_token".to_owned(),
        },
    ] {
        server.fault_next(Endpoint::Token, fault);
    }
    let expected = [
        (500, "injected fault"),
        (429, "slow down"),
        (400, r#"{"error":"invalid_grant"}"#),
        (400, ""),
        (403, "<!doctype html>"),
        (200, "<!doctype html>"),
        (200, r#"{"access_token":"never"#),
        (307, ""),
        (200, r#"{"access_token":"error:"#),
        (200, r#"{"access_token":"","#),
        (200, r#"{"error":"token_revoked","ok":false}"#),
        (200, r#"{"error":"bad_refresh_token","#),
        (200, "error=bad_refresh_token"),
    ];
    let mut pages = Vec::new();
    for (status, begins) in expected {
        let page = refresh(&server, token).await;
        assert_eq!(page.status, status);
        assert!(page.body.starts_with(begins), "{} {begins}", page.body);
        assert_eq!(page.body.is_empty(), begins.is_empty());
        pages.push(page);
    }
    assert_eq!(pages[1].header("retry-after"), Some("7"));
    assert_eq!(
        pages[7].header("location"),
        Some("http://127.0.0.1:1/elsewhere")
    );
    assert!(pages[6].json().is_err());
    assert_eq!(refresh(&server, token).await.status, 200);
    let outcomes = outcomes(&server, token);
    assert_eq!(outcomes.len(), 14);
    assert!(outcomes[..13].iter().all(|o| *o == Outcome::NotProcessed));
    assert_eq!(outcomes[13], Outcome::Rotated);
    assert_eq!(server.counts().faulted[&Endpoint::Token], 13);
}

#[tokio::test]
async fn a_retry_after_date_is_told_by_the_servers_clock() {
    let (server, clock) = on_manual_clock();
    clock.set(Duration::from_secs(784_111_777 - 60));
    let after = RetryAfter::DateIn(60);
    server.fault_next(Endpoint::Token, Fault::RetryAfter { status: 503, after });
    let page = refresh(&server, "any").await;
    assert_eq!(page.status, 503);
    assert_eq!(
        page.header("retry-after"),
        Some("Sun, 06 Nov 1994 08:49:37 GMT")
    );
    assert_eq!(page.header("date"), Some("Sun, 06 Nov 1994 08:48:37 GMT"));
    assert_eq!(page.header("x-request-id"), Some("req-1"));
}

#[tokio::test]
async fn dropped_before_commit_the_refresh_token_is_unspent_after_commit_it_is_spent() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    let token = text(&first, "refresh_token");
    server.fault_next(Endpoint::Token, Fault::Drop);
    let dropped = try_refresh(&server, token).await;
    assert!(matches!(dropped, Err(BrowserError::Http(_))), "{dropped:?}");
    server.fault_next(Endpoint::Token, Fault::Drop.after_commit());
    let dropped = try_refresh(&server, token).await;
    assert!(matches!(dropped, Err(BrowserError::Http(_))), "{dropped:?}");
    assert_eq!(
        outcomes(&server, token),
        [Outcome::NotProcessed, Outcome::Rotated]
    );
    assert_eq!(error(&refresh(&server, token).await), "invalid_grant");
    assert_eq!(server.counts().reuse_detected, 1);
}

#[tokio::test]
async fn a_dropped_connection_carries_no_byte_and_half_a_body_carries_half() {
    let (server, _) = on_manual_clock();
    let request = b"GET /jwks HTTP/1.1\r\nHost: x\r\n\r\n";
    server.fault_next(Endpoint::Jwks, Fault::Drop);
    let dropped = bounded(send_raw(server.address(), request, HOUR))
        .await
        .unwrap();
    assert!(dropped.closed);
    assert_eq!(dropped.bytes, b"");
    server.fault_next(Endpoint::Jwks, Fault::HalfBody.after_commit());
    let half = bounded(send_raw(server.address(), request, HOUR))
        .await
        .unwrap();
    assert!(half.closed);
    let half = String::from_utf8(half.bytes).unwrap();
    let (head, body) = half.split_once("\r\n\r\n").unwrap();
    let promised = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    let promised: usize = promised.unwrap();
    assert_eq!(body.len(), promised / 2);
    assert!(body.starts_with(r#"{"keys":"#));
    server.fault_next(Endpoint::Token, Fault::HalfBody);
    let broken = try_refresh(&server, "any").await;
    assert!(matches!(broken, Err(BrowserError::Body)), "{broken:?}");
}

#[tokio::test]
async fn a_delayed_answer_is_the_true_one() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    let by = Duration::from_millis(30);
    server.fault_next(Endpoint::Token, Fault::Delay { by });
    let began = std::time::Instant::now();
    assert_eq!(
        refresh(&server, text(&first, "refresh_token")).await.status,
        200
    );
    assert!(began.elapsed() >= by);
}

#[tokio::test]
async fn a_standing_rule_lasts_until_it_is_cleared_and_spares_other_grant_types() {
    let (server, _) = on_manual_clock();
    let rule = Fault::status(503)
        .before_commit()
        .for_grant_type("refresh_token");
    server.fault_always(Endpoint::Token, rule);
    let first = login(&server, &[]).await;
    let token = text(&first, "refresh_token");
    for _ in 0..3 {
        assert_eq!(refresh(&server, token).await.status, 503);
    }
    server.fault_next(Endpoint::Token, Fault::Pass);
    let second = refresh(&server, token).await.json().unwrap();
    let token = text(&second, "refresh_token");
    assert_eq!(refresh(&server, token).await.status, 503);
    server.clear_faults(Endpoint::Token);
    assert_eq!(refresh(&server, token).await.status, 200);
}

#[tokio::test]
async fn a_gate_holds_answers_after_commit_until_it_opens() {
    let (server, _) = on_manual_clock();
    let tokens = [login(&server, &[]).await, login(&server, &[]).await];
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let waiting: Vec<_> = tokens
        .into_iter()
        .map(|login| {
            let server = server.clone();
            tokio::spawn(async move { try_refresh(&server, text(&login, "refresh_token")).await })
        })
        .collect();
    bounded(server.wait_held(Endpoint::Token, 2)).await;
    assert_eq!(server.counts().refreshes(), 2);
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    assert_eq!(server.open_gate(Endpoint::Token), 2);
    for waiting in waiting {
        assert_eq!(bounded(waiting).await.unwrap().unwrap().status, 200);
    }
    assert_eq!(server.held(Endpoint::Token), 0);
}

#[tokio::test]
async fn a_client_that_dies_at_the_gate_finds_its_rotation_done() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    let token = text(&first, "refresh_token").to_owned();
    server.close_gate(Endpoint::Token, Phase::BeforeCommit);
    let client = {
        let (server, token) = (server.clone(), token.clone());
        tokio::spawn(async move { try_refresh(&server, &token).await })
    };
    bounded(server.wait_held(Endpoint::Token, 1)).await;
    assert_eq!(server.counts().refreshes(), 0);
    client.abort();
    assert!(bounded(client).await.unwrap_err().is_cancelled());
    server.open_gate(Endpoint::Token);
    bounded(server.wait_for(|ledger| ledger.counts.refreshes() == 1)).await;
    assert_eq!(outcomes(&server, &token), [Outcome::Rotated]);
}

#[tokio::test]
async fn a_held_request_can_be_dropped_unprocessed() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    let token = text(&first, "refresh_token").to_owned();
    server.fault_next(Endpoint::Token, Fault::Hold);
    let client = {
        let (server, token) = (server.clone(), token.clone());
        tokio::spawn(async move { try_refresh(&server, &token).await })
    };
    let within = Duration::from_secs(20);
    let waiting = server.clone();
    bounded(tokio::task::spawn_blocking(move || {
        waiting.wait_held_blocking(Endpoint::Token, 1, within)
    }))
    .await
    .unwrap()
    .unwrap();
    assert_eq!(server.drop_held(Endpoint::Token, 1), 1);
    assert!(bounded(client).await.unwrap().is_err());
    assert_eq!(outcomes(&server, &token), [Outcome::NotProcessed]);
}

#[tokio::test]
async fn the_other_endpoints_can_be_faulted_too() {
    let server = FakeServer::start(Options::default()).unwrap();
    for endpoint in [
        Endpoint::Discovery,
        Endpoint::Authorization,
        Endpoint::Token,
        Endpoint::DeviceAuthorization,
        Endpoint::DeviceVerification,
        Endpoint::Revocation,
        Endpoint::Introspection,
        Endpoint::Userinfo,
        Endpoint::Jwks,
        Endpoint::Api,
    ] {
        server.fault_next(endpoint, Fault::status(500));
        let url = server.url(endpoint);
        let get = !matches!(
            endpoint,
            Endpoint::Token
                | Endpoint::DeviceAuthorization
                | Endpoint::Revocation
                | Endpoint::Introspection
        );
        let page = if get {
            bounded(Browser::new().follow(&url)).await
        } else {
            bounded(Browser::new().post_form(&url, &[], &[])).await
        };
        assert_eq!(page.unwrap().status, 500, "{endpoint:?}");
        assert_eq!(server.counts().requests(endpoint), 1);
    }
}

#[tokio::test]
async fn a_killed_server_breaks_connections_and_comes_back_on_its_port_with_its_state() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    let (access, token) = (text(&first, "access_token"), text(&first, "refresh_token"));
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let client = {
        let (server, token) = (server.clone(), token.to_owned());
        tokio::spawn(async move { try_refresh(&server, &token).await })
    };
    bounded(server.wait_held(Endpoint::Token, 1)).await;
    server.kill();
    assert!(bounded(client).await.unwrap().is_err());
    assert!(!server.is_running());
    assert_eq!(server.held(Endpoint::Token), 0);
    let refused = try_refresh(&server, token).await;
    assert!(matches!(refused, Err(BrowserError::Connect(_))));
    server.open_gate(Endpoint::Token);
    server.restart().unwrap();
    assert!(server.restart().is_err());
    assert_eq!(ping(&server, access).await, 200);
    assert_eq!(error(&refresh(&server, token).await), "invalid_grant");
    assert_eq!(
        outcomes(&server, token),
        [Outcome::Rotated, Outcome::ReuseDetected]
    );
}

#[tokio::test]
async fn a_graceful_stop_lets_open_requests_end() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    let token = text(&first, "refresh_token").to_owned();
    server.fault_next(Endpoint::Token, Fault::Hold.after_commit());
    let client = {
        let server = server.clone();
        tokio::spawn(async move { try_refresh(&server, &token).await })
    };
    bounded(server.wait_held(Endpoint::Token, 1)).await;
    let stopping = {
        let server = server.clone();
        tokio::spawn(async move { server.stop().await })
    };
    // The port is closed first; only then is the held request let go.
    bounded(async {
        while Browser::new()
            .follow(&server.url(Endpoint::Jwks))
            .await
            .is_ok()
        {}
    })
    .await;
    server.release(Endpoint::Token, 1);
    assert_eq!(bounded(client).await.unwrap().unwrap().status, 200);
    bounded(stopping).await.unwrap();
    assert!(!server.is_running());
}

#[test]
fn a_blocking_wait_gives_up_in_time() {
    let server = FakeServer::start(Options::default()).unwrap();
    let within = Duration::from_millis(10);
    let waited = server.wait_for_blocking(within, |ledger| ledger.counts.api_ok > 0);
    assert_eq!(waited, Err(authd_testkit::TimedOut { within }));
    let page = Browser::new().follow_blocking(&server.url(Endpoint::Api));
    assert_eq!(page.unwrap().status, 401);
    let within = Duration::from_secs(20);
    server
        .wait_for_blocking(within, |ledger| ledger.counts.api_missing == 1)
        .unwrap();
}

#[tokio::test]
async fn revoking_at_the_server_is_seen_by_the_api_before_the_expiry() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    server.revoke_access_tokens();
    assert_eq!(ping(&server, text(&first, "access_token")).await, 401);
    let second = refresh(&server, text(&first, "refresh_token")).await;
    let second = second.json().unwrap();
    assert_eq!(ping(&server, text(&second, "access_token")).await, 200);
    server.revoke_families();
    let dead = refresh(&server, text(&second, "refresh_token")).await;
    assert_eq!(error(&dead), "invalid_grant");
}
