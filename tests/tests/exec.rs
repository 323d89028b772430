//! `authctl exec`: a token in the environment of one command, and that command's own exit status.

use authd_e2e::{Instance, api};
use authd_testkit::{FakeServer, Options};

#[test]
fn exec_hands_over_a_live_token_and_passes_the_exit_status_through() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let printed = instance.authctl(&[
        "exec",
        "demo",
        "--",
        "sh",
        "-c",
        "printf %s \"$AUTHD_TOKEN\"",
    ]);
    assert_eq!(api::ping(&server, printed.line()), 200);
    for status in [0, 1, 42, 124, 255] {
        let exit = format!("exit {status}");
        let child = instance.authctl(&["exec", "demo", "--", "sh", "-c", &exit]);
        assert_eq!(child.code(), status, "{child:?}");
    }
    let killed = instance.authctl(&["exec", "demo", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(killed.code(), -1, "a signal stays a signal: {killed:?}");
    let named = instance.authctl(&[
        "exec",
        "demo",
        "--env",
        "ONE",
        "--env",
        "TWO=demo",
        "--",
        "sh",
        "-c",
        "test -z \"$AUTHD_TOKEN\" && test -n \"$ONE\" && test \"$ONE\" = \"$TWO\"",
    ]);
    assert_eq!(named.code(), 0, "{named:?}");
}

#[test]
fn exec_has_a_status_of_its_own_for_what_it_cannot_do() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let unknown = instance.authctl(&["exec", "nobody", "--", "true"]);
    assert_eq!(unknown.code(), 125, "{unknown:?}");
    let missing = instance.authctl(&["exec", "demo", "--", "/nonexistent/program"]);
    assert_eq!(missing.code(), 125, "{missing:?}");
}
