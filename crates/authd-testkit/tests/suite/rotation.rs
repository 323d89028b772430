//! Refresh tokens and what the ledger says of them.

use std::time::Duration;

use crate::client::{
    bounded, error, login, on_manual_clock, ping, post, refresh, refresh_with, text,
};
use authd_testkit::{
    AccessTokenFormat, Endpoint, ExpiresIn, Fingerprint, RefreshTokenOnRefresh,
    RefreshTokenOutcome as Outcome, RefreshTokens, Revocation,
};
use serde_json::{Value, json};

fn outcomes(server: &authd_testkit::FakeServer, token: &str) -> Vec<Outcome> {
    let ledger = server.ledger();
    let entry = ledger.refresh_token(&Fingerprint::of(token)).unwrap();
    entry.uses.iter().map(|used| used.outcome).collect()
}

#[tokio::test]
async fn each_refresh_yields_a_new_refresh_token_of_the_next_generation() {
    let (server, _) = on_manual_clock();
    let mut token = text(&login(&server, &[]).await, "refresh_token").to_owned();
    for generation in 1..=3 {
        let tokens = refresh(&server, &token).await.json().unwrap();
        assert_eq!(outcomes(&server, &token), [Outcome::Rotated]);
        assert_eq!(ping(&server, text(&tokens, "access_token")).await, 200);
        token = text(&tokens, "refresh_token").to_owned();
        let ledger = server.ledger();
        let newest = ledger.current_refresh_token(0).unwrap();
        assert_eq!(newest.fingerprint, Fingerprint::of(&token));
        assert_eq!(newest.generation, generation);
    }
    assert_eq!(server.counts().refreshes(), 3);
    assert_eq!(server.counts().exchanges("authorization_code"), 1);
    assert_eq!(server.ledger().presented_twice().count(), 0);
}

#[tokio::test]
async fn a_spent_refresh_token_revokes_its_whole_family_and_no_other() {
    let (server, _) = on_manual_clock();
    let other = login(&server, &[]).await;
    let first = login(&server, &[]).await;
    let spent = text(&first, "refresh_token");
    let second = refresh(&server, spent).await.json().unwrap();
    assert_eq!(error(&refresh(&server, spent).await), "invalid_grant");
    let successor = text(&second, "refresh_token");
    assert_eq!(error(&refresh(&server, successor).await), "invalid_grant");
    assert_eq!(ping(&server, text(&second, "access_token")).await, 401);
    assert_eq!(
        outcomes(&server, spent),
        [Outcome::Rotated, Outcome::ReuseDetected]
    );
    assert_eq!(outcomes(&server, successor), [Outcome::FamilyRevoked]);
    let counts = server.counts();
    assert_eq!((counts.reuse_detected, counts.families_revoked), (1, 1));
    assert_eq!(server.ledger().presented_twice().count(), 1);
    let why = server.ledger().families[1].revoked;
    assert_eq!(why, Some(Revocation::RefreshTokenReuse));
    assert_eq!(
        refresh(&server, text(&other, "refresh_token")).await.status,
        200
    );
}

#[tokio::test]
async fn within_the_leeway_a_spent_refresh_token_is_accepted_again() {
    let (server, clock) = on_manual_clock();
    server.update(|settings| settings.leeway = Duration::from_secs(10));
    let first = login(&server, &[]).await;
    let spent = text(&first, "refresh_token");
    assert_eq!(refresh(&server, spent).await.status, 200);
    clock.advance(Duration::from_millis(9_999));
    let again = refresh(&server, spent).await;
    assert_eq!(again.status, 200);
    clock.advance(Duration::from_millis(1));
    assert_eq!(error(&refresh(&server, spent).await), "invalid_grant");
    assert_eq!(
        outcomes(&server, spent),
        [
            Outcome::Rotated,
            Outcome::AcceptedInLeeway,
            Outcome::ReuseDetected
        ]
    );
}

#[tokio::test]
async fn without_reuse_detection_a_spent_token_is_refused_and_its_successor_lives() {
    let (server, _) = on_manual_clock();
    server.update(|settings| settings.reuse_detection = false);
    let first = login(&server, &[]).await;
    let spent = text(&first, "refresh_token");
    let second = refresh(&server, spent).await.json().unwrap();
    assert_eq!(error(&refresh(&server, spent).await), "invalid_grant");
    assert_eq!(
        outcomes(&server, spent),
        [Outcome::Rotated, Outcome::Superseded]
    );
    assert_eq!(
        refresh(&server, text(&second, "refresh_token"))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn without_rotation_one_refresh_token_serves_for_good() {
    let (server, _) = on_manual_clock();
    server.update(|settings| settings.rotation = false);
    let first = login(&server, &[]).await;
    let token = text(&first, "refresh_token");
    for _ in 0..2 {
        let tokens = refresh(&server, token).await.json().unwrap();
        assert_eq!(text(&tokens, "refresh_token"), token);
    }
    assert_eq!(outcomes(&server, token), [Outcome::Kept, Outcome::Kept]);
}

#[tokio::test]
async fn a_response_without_a_refresh_token_leaves_the_old_one_in_force() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    let token = text(&first, "refresh_token");
    for (how, rendered) in [
        (RefreshTokenOnRefresh::Omitted, None),
        (RefreshTokenOnRefresh::Null, Some(Value::Null)),
        (RefreshTokenOnRefresh::Empty, Some("".into())),
    ] {
        server.update(|settings| settings.refresh_token_on_refresh = how);
        let tokens = refresh(&server, token).await.json().unwrap();
        assert_eq!(tokens.get("refresh_token"), rendered.as_ref());
    }
    server.update(|s| s.refresh_token_on_refresh = RefreshTokenOnRefresh::Rendered);
    assert_eq!(refresh(&server, token).await.status, 200);
}

#[tokio::test]
async fn an_access_token_expires_by_the_clock_and_the_api_counts_it() {
    let (server, clock) = on_manual_clock();
    server.update(|settings| settings.access_token_ttl = Duration::from_millis(2_500));
    let tokens = login(&server, &[]).await;
    let token = text(&tokens, "access_token");
    assert!(token.starts_with("canary-at-"));
    assert!(text(&tokens, "refresh_token").starts_with("canary-rt-"));
    assert_eq!(tokens["expires_in"], json!(2));
    clock.advance(Duration::from_millis(2_499));
    assert_eq!(ping(&server, token).await, 200);
    clock.advance(Duration::from_millis(1));
    assert_eq!(ping(&server, token).await, 401);
    assert_eq!(ping(&server, "never-issued").await, 401);
    let counts = server.counts();
    assert_eq!(
        (counts.api_ok, counts.api_expired, counts.api_unknown),
        (1, 1, 1)
    );
    let ledger = server.ledger();
    assert_eq!(
        ledger
            .access_token(&Fingerprint::of(token))
            .unwrap()
            .accepted,
        1
    );
}

#[tokio::test]
async fn the_lifetime_is_rendered_as_told() {
    let (server, _) = on_manual_clock();
    for (how, rendered) in [
        (ExpiresIn::Number, Some(json!(3600))),
        (ExpiresIn::String, Some(json!("3600"))),
        (ExpiresIn::Float, Some(json!(3600.0))),
        (ExpiresIn::Missing, None),
        (ExpiresIn::Null, Some(Value::Null)),
        (ExpiresIn::Fixed(0), Some(json!(0))),
        (ExpiresIn::Fixed(-1), Some(json!(-1))),
        (ExpiresIn::Fixed(i64::MAX), Some(json!(i64::MAX))),
    ] {
        server.update(|settings| {
            settings.expires_in = how;
            settings.token_type = "bearer".to_owned();
            settings.refresh_in = Some(1.5);
        });
        let tokens = login(&server, &[]).await;
        assert_eq!(tokens.get("expires_in"), rendered.as_ref());
        assert_eq!(text(&tokens, "token_type"), "bearer");
        assert_eq!(tokens["refresh_in"], json!(1.5));
    }
}

#[tokio::test]
async fn a_refresh_can_kill_the_access_tokens_before_it() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    let token = text(&first, "refresh_token");
    let second = refresh(&server, token).await.json().unwrap();
    assert_eq!(ping(&server, text(&first, "access_token")).await, 200);
    server.update(|settings| settings.refresh_revokes_access_tokens = true);
    let third = refresh(&server, text(&second, "refresh_token")).await;
    assert_eq!(ping(&server, text(&first, "access_token")).await, 401);
    assert_eq!(ping(&server, text(&second, "access_token")).await, 401);
    let third = third.json().unwrap();
    assert_eq!(ping(&server, text(&third, "access_token")).await, 200);
}

#[tokio::test]
async fn a_refresh_narrows_the_scope_of_one_access_token_and_cannot_widen_it() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    let token = text(&first, "refresh_token");
    let wider = refresh_with(&server, token, &[("scope", "read admin")]).await;
    assert_eq!(error(&wider), "invalid_scope");
    let narrow = refresh_with(&server, token, &[("scope", "read")]).await;
    let narrow = narrow.json().unwrap();
    assert_eq!(text(&narrow, "scope"), "read");
    let whole = refresh(&server, text(&narrow, "refresh_token")).await;
    assert_eq!(text(&whole.json().unwrap(), "scope"), "openid read write");
    assert_eq!(
        outcomes(&server, token),
        [Outcome::BadRequest, Outcome::Rotated]
    );
}

#[tokio::test]
async fn a_refresh_token_expires_and_belongs_to_one_client() {
    let (server, clock) = on_manual_clock();
    server.register(authd_testkit::Client::native("other"));
    server.update(|settings| settings.refresh_token_ttl = Some(Duration::from_secs(60)));
    let first = login(&server, &[]).await;
    let token = text(&first, "refresh_token");
    let form = [
        ("client_id", "other"),
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
    ];
    let url = server.url(Endpoint::Token);
    let stolen = bounded(authd_testkit::Browser::new().post_form(&url, &form, &[])).await;
    assert_eq!(error(&stolen.unwrap()), "invalid_grant");
    clock.advance(Duration::from_secs(60));
    assert_eq!(error(&refresh(&server, token).await), "invalid_grant");
    assert_eq!(
        outcomes(&server, token),
        [Outcome::WrongClient, Outcome::Expired]
    );
}

#[tokio::test]
async fn refresh_tokens_can_depend_on_offline_access() {
    let (server, _) = on_manual_clock();
    server.update(|settings| settings.refresh_tokens = RefreshTokens::WithOfflineAccess);
    assert_eq!(login(&server, &[]).await.get("refresh_token"), None);
    let offline = login(&server, &[("scope", "offline_access")]).await;
    assert!(offline.get("refresh_token").is_some());
}

#[tokio::test]
async fn a_jwt_access_token_tells_its_expiry_and_works() {
    let (server, _) = on_manual_clock();
    server.update(|settings| settings.access_token_format = AccessTokenFormat::Jwt);
    let tokens = login(&server, &[]).await;
    let token = text(&tokens, "access_token");
    assert_eq!(token.split('.').count(), 3);
    assert_eq!(ping(&server, token).await, 200);
}

#[tokio::test]
async fn revocation_takes_the_family_along_and_an_unknown_token_is_a_success() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    let (access, token) = (text(&first, "access_token"), text(&first, "refresh_token"));
    let active = async |token: &str| {
        let page = post(&server, Endpoint::Introspection, &[("token", token)]).await;
        page.json().unwrap()["active"].clone()
    };
    assert_eq!(
        (active(access).await, active(token).await),
        (json!(true), json!(true))
    );
    let unknown = post(&server, Endpoint::Revocation, &[("token", "unknown")]).await;
    assert_eq!(unknown.status, 200);
    assert_eq!(server.counts().revocations, 0);
    let revoked = post(&server, Endpoint::Revocation, &[("token", token)]).await;
    assert_eq!(revoked.status, 200);
    assert_eq!(
        (active(access).await, active(token).await),
        (json!(false), json!(false))
    );
    assert_eq!(error(&refresh(&server, token).await), "invalid_grant");
    assert_eq!(
        server.ledger().families[0].revoked,
        Some(Revocation::Client)
    );
}

#[tokio::test]
async fn the_ledger_reveals_no_token() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    refresh(&server, text(&first, "refresh_token")).await;
    let ledger = server.ledger();
    assert_eq!(ledger.refresh_tokens.len(), 2);
    let shown = format!("{ledger:?}{}", serde_json::to_string(&ledger).unwrap());
    assert!(!shown.contains("canary"));
}

#[tokio::test]
async fn a_refresh_can_change_subject_and_scope_behind_the_clients_back() {
    let (server, _) = on_manual_clock();
    let first = login(&server, &[]).await;
    server.update(|settings| {
        settings.subject = "user-2".to_owned();
        settings.id_token_on_refresh = true;
        settings.scope_on_refresh = Some(vec!["everything".to_owned()]);
    });
    let second = refresh(&server, text(&first, "refresh_token")).await;
    let second = second.json().unwrap();
    assert_eq!(text(&second, "scope"), "everything");
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = text(&second, "id_token").split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(text(&claims, "sub"), "user-2");
}
