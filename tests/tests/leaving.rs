//! Accounts that go: with a word to the provider, or without one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use authd_e2e::{Instance, PATIENCE, api, until};
use authd_proto::ErrorCode;
use authd_testkit::{Endpoint, FakeServer, Fault, Options};

fn logged_in() -> (FakeServer, Instance, authd_e2e::Daemon) {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    (server, instance, daemon)
}

fn is_gone(instance: &Instance) {
    let Err(refused) = instance.token("demo", Duration::ZERO) else {
        panic!("a token after the end");
    };
    assert_eq!(refused.code, ErrorCode::UnknownAccount);
}

#[test]
fn logout_revokes_and_removes() {
    let (server, instance, _daemon) = logged_in();
    let token = instance.token("demo", Duration::ZERO).unwrap();
    let logout = instance.authctl(&["logout", "demo"]);
    assert_eq!(logout.code(), 0, "{logout:?}");
    is_gone(&instance);
    assert!(server.ledger().families[0].revoked.is_some());
    assert_eq!(api::ping(&server, token.access_token.expose()), 401);
}

#[test]
fn a_logout_killed_between_its_two_writes_is_finished_at_the_start() {
    let (server, instance, daemon) = logged_in();
    let token = instance.token("demo", Duration::ZERO).unwrap();
    assert!(daemon.stop().success());
    let mut daemon = instance
        .daemon()
        .failpoint("revocations_owed=kill@1")
        .ready();
    let logout = instance.authctl(&["logout", "demo"]);
    assert_ne!(
        logout.code(),
        0,
        "nobody can say that it is done: {logout:?}"
    );
    assert_eq!(daemon.ended(PATIENCE).code(), None, "killed");
    assert_eq!(server.counts().requests(Endpoint::Revocation), 0);

    let daemon = instance.start_daemon();
    is_gone(&instance);
    server
        .wait_for_blocking(PATIENCE, |ledger| {
            let access_token = ledger.access_tokens.iter().all(|token| token.revoked);
            ledger.families[0].revoked.is_some() && access_token
        })
        .unwrap();
    assert_eq!(api::ping(&server, token.access_token.expose()), 401);
    assert_eq!(
        server.counts().refreshes(),
        0,
        "a token that is to be revoked is not used"
    );
    // And it stays so: nothing of it is on the disk.
    assert!(daemon.stop().success());
    let _daemon = instance.start_daemon();
    is_gone(&instance);
    let mirrors = instance.state_dir().join("mirrors");
    until("the header's mirror stands alone", || {
        std::fs::read_dir(&mirrors).unwrap().count() == 1
    });
}

#[test]
fn a_revocation_that_fails_is_told_kept_over_a_restart_and_made_up_for() {
    made_up_for(Fault::status(503));
}

#[test]
fn a_revocation_that_is_refused_is_kept_as_well() {
    made_up_for(Fault::oauth_error("invalid_client"));
    made_up_for(Fault::oauth_error("invalid_request"));
}

fn made_up_for(fault: Fault) {
    let (server, instance, daemon) = logged_in();
    server.fault_always(Endpoint::Revocation, fault);
    let logout = instance.authctl(&["logout", "demo"]);
    assert_eq!(logout.code(), 0, "{logout:?}");
    let said = format!("{}{}", logout.stdout, logout.stderr);
    assert!(
        said.contains("refresh token"),
        "it says what is still owed: {logout:?}"
    );
    is_gone(&instance);
    let tried = server.counts().requests(Endpoint::Revocation);
    assert!(tried >= 1, "it was tried");
    assert!(server.ledger().families[0].revoked.is_none());
    daemon.kill();
    server.clear_faults(Endpoint::Revocation);
    let _daemon = instance.start_daemon();
    server
        .wait_for_blocking(PATIENCE, |ledger| ledger.families[0].revoked.is_some())
        .unwrap();
    is_gone(&instance);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn a_revocation_that_fails_is_tried_again_within_half_a_minute() {
    let (server, instance, _daemon) = logged_in();
    server.fault_next(Endpoint::Revocation, Fault::status(503));
    server.fault_next(Endpoint::Revocation, Fault::status(503));
    assert_eq!(instance.authctl(&["logout", "demo"]).code(), 0);
    server
        .wait_for_blocking(2 * PATIENCE, |ledger| ledger.families[0].revoked.is_some())
        .unwrap();
}

#[test]
fn forget_removes_without_a_word_to_the_provider() {
    let (server, instance, daemon) = logged_in();
    let token = instance.token("demo", Duration::ZERO).unwrap();
    let forget = instance.authctl(&["forget", "demo"]);
    assert_eq!(forget.code(), 0, "{forget:?}");
    is_gone(&instance);
    assert_eq!(server.counts().requests(Endpoint::Revocation), 0);
    assert_eq!(
        api::ping(&server, token.access_token.expose()),
        200,
        "it is still good"
    );
    daemon.kill();
    let _daemon = instance.start_daemon();
    is_gone(&instance);
    assert_eq!(instance.authctl(&["forget", "demo"]).code(), 3);
}
