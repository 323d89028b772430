//! The device authorization grant.

use std::time::Duration;

use crate::client::{bounded, error, on_manual_clock, ping, post, text};
use authd_testkit::{Browser, DeviceConsent, Endpoint, FakeServer, NoSuchUserCode, Page};
use serde_json::{Value, json};

async fn start(server: &FakeServer) -> Value {
    let page = post(server, Endpoint::DeviceAuthorization, &[("scope", "read")]).await;
    assert_eq!(page.status, 200);
    page.json().unwrap()
}

async fn poll(server: &FakeServer, device: &Value) -> Page {
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", text(device, "device_code")),
    ];
    post(server, Endpoint::Token, &form).await
}

#[tokio::test]
async fn a_device_waits_and_gets_its_tokens_once() {
    let (server, clock) = on_manual_clock();
    let device = start(&server).await;
    assert_eq!(device["interval"], json!(5));
    assert_eq!(
        error(&poll(&server, &device).await),
        "authorization_pending"
    );
    let (uri, code) = (
        text(&device, "verification_uri"),
        text(&device, "user_code"),
    );
    let page = bounded(Browser::new().approve_device(uri, code))
        .await
        .unwrap();
    assert_eq!(page.status, 200);
    clock.advance(Duration::from_secs(5));
    let tokens = poll(&server, &device).await.json().unwrap();
    assert_eq!(ping(&server, text(&tokens, "access_token")).await, 200);
    clock.advance(Duration::from_secs(5));
    assert_eq!(error(&poll(&server, &device).await), "invalid_grant");
}

#[tokio::test]
async fn polling_too_soon_slows_down_by_five_seconds() {
    let (server, clock) = on_manual_clock();
    let device = start(&server).await;
    poll(&server, &device).await;
    clock.advance(Duration::from_secs(4));
    assert_eq!(error(&poll(&server, &device).await), "slow_down");
    clock.advance(Duration::from_secs(9));
    assert_eq!(error(&poll(&server, &device).await), "slow_down");
    clock.advance(Duration::from_secs(15));
    assert_eq!(
        error(&poll(&server, &device).await),
        "authorization_pending"
    );
}

#[tokio::test]
async fn a_device_code_expires_and_a_denial_is_told() {
    let (server, clock) = on_manual_clock();
    let device = start(&server).await;
    server.deny_device(text(&device, "user_code")).unwrap();
    assert_eq!(error(&poll(&server, &device).await), "access_denied");
    let late = start(&server).await;
    clock.advance(server.settings().device_code_ttl);
    assert_eq!(error(&poll(&server, &late).await), "expired_token");
    assert_eq!(
        server.approve_device(text(&late, "user_code")),
        Err(NoSuchUserCode)
    );
}

#[tokio::test]
async fn a_device_can_be_approved_from_the_start_and_polled_without_pause() {
    let (server, _) = on_manual_clock();
    server.update(|settings| {
        settings.device_interval = Duration::ZERO;
        settings.device_consent = DeviceConsent::Approve;
    });
    let device = start(&server).await;
    assert_eq!(device["interval"], json!(0));
    assert_eq!(poll(&server, &device).await.status, 200);
    assert_eq!(error(&poll(&server, &device).await), "invalid_grant");
}
