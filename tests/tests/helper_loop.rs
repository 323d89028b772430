//! A tool that runs a shell helper for its token, as coding tools do, never meets a 401.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use authd_e2e::{Instance, PATIENCE, Process, api, binaries};
use authd_testkit::{FakeServer, Options, Settings};

#[test]
fn three_expiries_of_four_second_tokens_pass_without_a_401() {
    pass_three_expiries(Duration::from_secs(4));
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn three_expiries_of_twenty_second_tokens_pass_without_a_401() {
    pass_three_expiries(Duration::from_secs(20));
}

fn pass_three_expiries(ttl: Duration) {
    let settings = Settings {
        access_token_ttl: ttl,
        ..Settings::default()
    };
    let server = FakeServer::start(Options {
        settings,
        ..Options::default()
    })
    .unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let helper = instance.dir().join("token-helper");
    let script = format!(
        "#!/bin/sh\nexec '{}' token demo\n",
        binaries::authctl().display()
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o700)).unwrap();

    let start = Instant::now();
    let mut calls = 0;
    while start.elapsed() < 3 * ttl + ttl / 2 {
        let printed = Process::capture(&mut instance.command(&helper)).finish(PATIENCE);
        assert_eq!(api::ping(&server, printed.line()), 200, "call {calls}");
        calls += 1;
    }
    let counts = server.counts();
    assert!(counts.refreshes() >= 3, "three expiries passed: {counts:?}");
    assert_eq!(
        (counts.api_expired, counts.api_unknown, counts.api_missing),
        (0, 0, 0)
    );
    assert_eq!(counts.api_ok, calls);
    assert_eq!(server.ledger().presented_twice().count(), 0);
}
