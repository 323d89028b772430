//! The audit log: who was given what, in few lines, without a secret, and without delaying anybody.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::PathBuf, time::Duration};

use authd_e2e::{
    Instance, PATIENCE,
    asker::{Asker, Way},
    instance::call,
    latency, until,
};
use authd_proto::{
    audit::{AuditLine, AuditQuery, Because, Decision},
    request::TokenGet,
};
use authd_testkit::{FakeServer, Options};

fn logged_in(instance: &Instance) -> FakeServer {
    let server = FakeServer::start(Options::default()).unwrap();
    instance.login(&server, "demo");
    server
}

fn lines(instance: &Instance) -> Vec<AuditLine> {
    let query = AuditQuery {
        limit: Some(500),
        ..AuditQuery::default()
    };
    instance.call(&query).unwrap().lines
}

/// The log, once there are so many lines.
fn awaited(instance: &Instance, count: usize) -> Vec<AuditLine> {
    until("the lines are written", || lines(instance).len() >= count);
    lines(instance)
}

fn files(instance: &Instance) -> Vec<PathBuf> {
    let folder = fs::read_dir(instance.state_dir().join("audit")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_thousand_cached_tokens_are_two_lines_that_name_the_program() {
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let _server = logged_in(&instance);
    let get = TokenGet {
        account: Some("demo"),
        ..TokenGet::default()
    };
    let mut client = instance.client();
    let token = call(&mut client, &get).unwrap();
    for _ in 0..999 {
        call(&mut client, &get).unwrap();
    }
    let found = awaited(&instance, 1);
    assert_eq!(found.len(), 1, "{found:?}");
    drop(client);
    let found = awaited(&instance, 2);
    let counts: Vec<_> = found.iter().map(|line| line.count).collect();
    assert_eq!(counts, [1, 999]);
    for line in &found {
        assert_eq!(line.decision, Decision::HandedOut);
        assert_eq!(line.because, Some(Because::Tier));
        assert_eq!(line.fingerprint.as_ref(), Some(&token.renewal.fingerprint));
        assert_eq!(line.claimed.as_deref(), Some("authd-e2e"));
        assert_eq!(line.scopes, token.renewal.scopes);
        let caller = line.caller.as_ref().unwrap();
        let own = std::env::current_exe().unwrap();
        assert_eq!(caller.pid, Some(std::process::id()));
        assert_eq!(caller.executable.as_deref(), own.to_str());
    }
    assert!(daemon.stop().success());
    let _daemon = instance.start_daemon();
    assert_eq!(lines(&instance), found, "it is all still there");
}

#[test]
fn a_process_that_connects_for_each_token_pushes_nobody_elses_lines_out() {
    let instance = Instance::new();
    let mut daemon = instance.start_daemon();
    let _server = logged_in(&instance);
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
    let get = TokenGet {
        account: Some("demo"),
        ..TokenGet::default()
    };
    for _ in 0..300 {
        instance.call(&get).unwrap();
    }
    // What is counted is not lost with the daemon, though whoever asks it to stop waits until it has.
    assert_eq!(instance.authctl(&["daemon", "stop"]).code(), 0);
    assert!(daemon.ended(PATIENCE).success());
    let _daemon = instance.start_daemon();
    let found = lines(&instance);
    let (ours, others): (Vec<_>, Vec<_>) = found.iter().partition(|line| {
        let caller = line.caller.as_ref().unwrap();
        caller.pid == Some(std::process::id())
    });
    assert_eq!(others.len(), 1);
    assert_eq!(ours.iter().map(|line| line.count).sum::<u64>(), 300);
    assert!(ours.len() < 40, "{} lines", ours.len());
}

#[test]
fn the_log_is_private_and_holds_no_secret() {
    use std::os::unix::fs::PermissionsExt as _;
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = logged_in(&instance);
    let token = instance.authctl(&["token", "demo"]).line().to_owned();
    instance.renew("demo").unwrap();
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
    assert_eq!(
        instance
            .authctl(&["grant", "tier", "demo", "ask-each"])
            .code(),
        0
    );
    assert_eq!(
        instance.authctl(&["token", "demo", "--wait", "0s"]).code(),
        6
    );
    assert_eq!(instance.authctl(&["approve", "1", "--deny"]).code(), 0);
    let found = awaited(&instance, 5);
    let decisions: Vec<_> = found.iter().map(|line| line.decision).collect();
    use Decision::{Answered, Changed, HandedOut, Refused};
    assert_eq!(
        decisions,
        [HandedOut, HandedOut, Changed, Refused, Answered]
    );
    assert_ne!(found[0].fingerprint, found[1].fingerprint);
    let answered = found[4].message.as_deref().unwrap();
    assert!(
        answered.starts_with("denied, by ") && answered.contains("authctl"),
        "{answered}"
    );
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&instance.state_dir().join("audit")), 0o700);
    for file in files(&instance) {
        assert_eq!(mode(&file), 0o600);
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains("canary-") && !text.contains(&token));
    }
}

#[test]
fn audit_shows_what_is_asked_for_and_follows() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = logged_in(&instance);
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
    // There until it has been looked at.
    let snake = Asker::python(&instance, "demo", "snake", Way::Itself);
    assert!(snake.answer().is_ok());
    awaited(&instance, 2);
    let shown = |arguments: &[&str]| {
        let told = instance.authctl(arguments);
        assert_eq!(told.code(), 0, "{told:?}");
        told.stdout.lines().count()
    };
    assert_eq!(shown(&["audit"]), 2);
    assert_eq!(shown(&["audit", "demo", "--since", "1h"]), 2);
    assert_eq!(shown(&["audit", "other"]), 0);
    assert_eq!(shown(&["audit", "--client", "snake"]), 1);
    assert_eq!(shown(&["audit", "--client", "python"]), 1);
    assert_eq!(shown(&["audit", "--limit", "1"]), 1);
    let text = instance.authctl(&["audit", "--client", "snake"]).stdout;
    assert!(
        text.contains("gave a token:") && text.contains("claims \"snake\""),
        "{text}"
    );

    let query = AuditQuery {
        after_seq: Some(2),
        wait_secs: Some(PATIENCE.as_secs()),
        ..AuditQuery::default()
    };
    let mut waiting = instance.client();
    std::thread::scope(|scope| {
        let following = scope.spawn(move || call(&mut waiting, &query).unwrap().lines);
        assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
        assert_eq!(following.join().unwrap()[0].seq, 3);
    });
}

#[test]
fn a_disk_that_does_not_take_the_log_delays_no_cached_token_and_what_is_lost_is_told() {
    let instance = Instance::new();
    fs::write(instance.state_dir().join("audit"), "in the way").unwrap();
    let _daemon = instance.start_daemon();
    let _server = logged_in(&instance);
    latency::assert_undelayed(&instance, "demo", "while the audit log cannot be written");
    until("the loss is counted", || instance.status().audit_lost > 0);
    let doctor = instance.authctl(&["doctor", "--json"]);
    assert!(doctor.stdout.contains("audit_lost"), "{doctor:?}");
    assert!(instance.token("demo", Duration::ZERO).is_ok());
}
