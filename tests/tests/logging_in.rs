//! Logins that go wrong, and that a login goes right all the same.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use authd_e2e::Instance;
use authd_testkit::{Consent, Endpoint, FakeServer, Fault, Options, SendIss};
use serde_json::json;

fn started() -> (FakeServer, Instance, authd_e2e::Daemon) {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    (server, instance, daemon)
}

/// The last line and the exit status of a login that fails before there is anything to open.
fn refused_at_once(instance: &Instance, issuer: &str) -> (serde_json::Value, i32) {
    let pending = instance.begin_login("demo", issuer, &[]);
    let (last, finished) = pending.finish();
    assert_eq!(last["event"], "error", "{finished:?}");
    assert!(last["message"].is_string(), "{finished:?}");
    (last, finished.code())
}

#[test]
fn an_issuer_that_cannot_be_reached_is_named_and_leaves_no_account() {
    let (server, instance, _daemon) = started();
    server.kill();
    let (last, code) = refused_at_once(&instance, server.issuer());
    assert_eq!(last["code"], "unavailable", "{last}");
    assert_eq!(code, 5);
    assert_eq!(instance.authctl(&["list"]).line(), "");
    // Once it is there, the same command works.
    server.restart().unwrap();
    instance.login(&server, "demo");
}

#[test]
fn metadata_of_another_issuer_is_refused() {
    let (server, instance, _daemon) = started();
    server.update(|settings| {
        settings
            .metadata
            .insert("issuer".to_owned(), json!("https://other.example"));
    });
    let (last, code) = refused_at_once(&instance, server.issuer());
    assert_eq!(last["code"], "discovery_failed", "{last}");
    assert_eq!(code, 1);
    assert!(
        last["message"]
            .as_str()
            .unwrap()
            .contains("https://other.example"),
        "{last}"
    );
    assert_eq!(server.counts().requests(Endpoint::Authorization), 0);
}

#[test]
fn metadata_that_is_a_web_page_is_refused() {
    let (server, instance, _daemon) = started();
    server.fault_always(Endpoint::Discovery, Fault::HtmlOk);
    let (last, _) = refused_at_once(&instance, server.issuer());
    assert_eq!(last["code"], "discovery_failed", "{last}");
}

#[test]
fn a_denied_consent_ends_the_login_as_denied() {
    let (server, instance, _daemon) = started();
    server.update(|settings| settings.consent = Consent::Deny("access_denied".to_owned()));
    let mut pending = instance.begin_login("demo", server.issuer(), &[]);
    pending.browse();
    let (last, finished) = pending.finish();
    assert_eq!(
        (&last["event"], &last["code"]),
        (&json!("error"), &json!("denied")),
        "{finished:?}"
    );
    assert_eq!(finished.code(), 6);
    assert_eq!(server.counts().requests(Endpoint::Token), 0);
    server.update(|settings| settings.consent = Consent::Approve);
    instance.login(&server, "demo");
}

#[test]
fn an_answer_in_the_name_of_another_issuer_is_refused() {
    let (server, instance, _daemon) = started();
    server
        .update(|settings| settings.send_iss = SendIss::Other("https://other.example".to_owned()));
    let mut pending = instance.begin_login("demo", server.issuer(), &["--timeout", "2s"]);
    pending.browse();
    let (last, finished) = pending.finish();
    assert_eq!(last["event"], "error", "{finished:?}");
    assert_eq!(server.counts().requests(Endpoint::Token), 0);
}

#[test]
fn a_code_that_the_provider_does_not_exchange_ends_the_login_and_not_the_account() {
    let (server, instance, _daemon) = started();
    instance.login(&server, "demo");
    let before = instance.authctl(&["token", "demo"]);
    for fault in [
        Fault::status(500),
        Fault::HtmlOk,
        Fault::oauth_error("invalid_grant"),
    ] {
        server.fault_always(
            Endpoint::Token,
            fault.before_commit().for_grant_type("authorization_code"),
        );
        let mut pending = instance.begin_login("demo", server.issuer(), &[]);
        pending.browse();
        let (last, finished) = pending.finish();
        assert_eq!(last["event"], "error", "{finished:?}");
        let after = instance.authctl(&["token", "demo"]);
        assert!(before.line() == after.line(), "the account is as it was");
        assert_eq!(instance.account("demo").flags, vec![]);
    }
}
