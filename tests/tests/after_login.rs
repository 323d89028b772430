//! The first minute after a login, when what the login needed is still in memory.

use std::time::Duration;

use authd_e2e::Instance;
use authd_proto::request::TokenGet;
use authd_testkit::{FakeServer, Options, RefreshTokenOnRefresh};

const ONE: &str = "https://one.example";
const TWO: &str = "https://two.example";

#[test]
fn a_renewal_right_after_the_login_keeps_a_refresh_token_that_was_not_replaced() {
    let server = FakeServer::start(Options::default()).unwrap();
    server.update(|settings| {
        settings.rotation = false;
        settings.refresh_token_on_refresh = RefreshTokenOnRefresh::Omitted;
    });
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    for generation in 2..5 {
        let renewed = instance.renew("demo").unwrap();
        assert_eq!(renewed.generation, generation);
    }
    daemon.kill();
    let _daemon = instance.start_daemon();
    assert_eq!(instance.renew("demo").unwrap().generation, 5);
    assert_eq!(server.ledger().refresh_tokens.len(), 1);
}

#[test]
fn a_renewal_right_after_the_login_keeps_the_other_tokens() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let more = ["--resource", ONE, "--resource", TWO];
    let mut login = instance.begin_login("demo", server.issuer(), &more);
    login.browse();
    let (done, finished) = login.finish();
    assert_eq!(finished.code(), 0, "{done}");
    let own = instance.token("demo", Duration::ZERO).unwrap();
    let two = TokenGet {
        account: Some("demo"),
        resource: Some(TWO),
        ..TokenGet::default()
    };
    let other = instance.call(&two).unwrap();
    assert_ne!(own.renewal.fingerprint, other.renewal.fingerprint);
    daemon.kill();
    let _daemon = instance.start_daemon();
    let exchanges = server.counts().refreshes();
    let own_again = instance.token("demo", Duration::ZERO).unwrap();
    let other_again = instance.call(&two).unwrap();
    assert_eq!(own_again.renewal.fingerprint, own.renewal.fingerprint);
    assert_eq!(other_again.renewal.fingerprint, other.renewal.fingerprint);
    assert_eq!(server.counts().refreshes(), exchanges);
}
