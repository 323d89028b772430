//! The shortest whole story: a login, a token, a renewal, a restart.

use authd_e2e::{Instance, api};
use authd_testkit::{FakeServer, Options};

#[test]
fn a_login_yields_tokens_that_an_api_accepts_and_outlives_a_kill_of_the_daemon() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let done = instance.login(&server, "demo");
    assert_eq!(done["subject"], "user-1");
    let before = instance.authctl(&["token", "demo"]);
    assert_eq!(api::ping(&server, before.line()), 200);
    daemon.kill();
    let daemon = instance.start_daemon();
    let after = instance.authctl(&["token", "demo"]);
    assert!(
        before.line() == after.line(),
        "another token after a restart"
    );
    assert_eq!(server.counts().refreshes(), 0);
    assert!(daemon.stop().success());
}
