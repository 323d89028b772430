//! The story of a login, as `authctl events` tells it: in order, with cause, answer and next step, over a
//! restart, and without a secret.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, time::Duration};

use authd::Alarms;
use authd_e2e::{
    Instance, PATIENCE, Watcher,
    driven::{DrivenDaemon, Time},
};
use authd_proto::{
    ErrorCode,
    event::{Event, EventKind},
};
use authd_testkit::{Endpoint, Fault, Settings};

/// In every token of this test's.
const MARK: &str = "storymark";

/// The end of the next exchange.
fn ended(watcher: &mut Watcher, outcome: &str) -> Event {
    watcher.wait_for(PATIENCE, |event| {
        event.event == EventKind::Exchange && event.outcome.as_deref() == Some(outcome)
    })
}

/// Time passes until what the event announced has come.
fn go_on(time: &Time, event: &Event, next: &str) {
    assert_eq!(event.next.as_deref(), Some(next), "{event:?}");
    time.advance_past(event.next_at.unwrap());
}

fn settings() -> Settings {
    Settings {
        access_token_prefix: format!("canary-at-{MARK}-"),
        refresh_token_prefix: format!("canary-rt-{MARK}-"),
        ..Settings::default()
    }
}

/// A renewal in time; one that fails and is tried again; one that the provider puts off; and a login
/// that ends and is made anew.
fn live_through_it_all(instance: &Instance, time: &Time) {
    let server = time.server(settings());
    let mut watcher = instance.watch();
    instance.login(&server, "work");
    let login = ended(&mut watcher, "ok");
    go_on(time, &login, "renewal");
    let renewed = ended(&mut watcher, "ok");

    let busy = Fault::OauthError {
        status: 503,
        error: "temporarily_unavailable".to_owned(),
        description: Some("back in a \u{1b}[5mminute".to_owned()),
    };
    server.fault_next(Endpoint::Token, busy.before_commit());
    go_on(time, &renewed, "renewal");
    let failed = ended(&mut watcher, "failed");
    go_on(time, &failed, "retry");
    let renewed = ended(&mut watcher, "ok");

    server.fault_next(
        Endpoint::Token,
        Fault::too_many_requests(120).before_commit(),
    );
    go_on(time, &renewed, "renewal");
    let put_off = ended(&mut watcher, "failed");
    assert_eq!(put_off.code, Some(ErrorCode::Throttled));
    let pause = put_off.next_at.unwrap() - put_off.at;
    assert!((119..=121).contains(&pause), "{put_off:?}");
    go_on(time, &put_off, "pause");
    let renewed = ended(&mut watcher, "ok");

    let over = Fault::OauthError {
        status: 400,
        error: "invalid_grant".to_owned(),
        description: Some("Token has been revoked".to_owned()),
    };
    server.fault_always(Endpoint::Token, over.before_commit());
    go_on(time, &renewed, "renewal");
    let refused = ended(&mut watcher, "failed");
    let wait = refused.next_at.unwrap() - refused.at;
    assert!((60..=120).contains(&wait), "{refused:?}");
    go_on(time, &refused, "confirming");
    let confirmed = ended(&mut watcher, "failed");
    assert_eq!(confirmed.next, None, "{confirmed:?}");
    let needed = watcher.wait_for(PATIENCE, |event| event.event == EventKind::LoginNeeded);
    assert_eq!(needed.next.as_deref(), Some("login"));

    server.clear_faults(Endpoint::Token);
    instance.login(&server, "work");
    let again = ended(&mut watcher, "ok");
    assert_ne!(again.grant, login.grant, "a new login is a new grant");
}

/// What each line of the story must say, in this order.
const STORY: &[&[&str]] = &[
    &["logged in (by authctl); next renewal in", "% of its life"],
    &["renewing: its renew point has come"],
    &["renewed; next renewal in", "% of its life"],
    &["renewing: its renew point has come"],
    &[
        "the provider answered 503 temporarily_unavailable: back in a",
        "that passes, and nothing is lost",
        "tries again",
    ],
    &["renewing: its renew point has come"],
    &["renewed; next renewal in"],
    &["renewing: its renew point has come"],
    &["the provider answered 429; it asks for a pause; goes on in 2m"],
    &["renewing: its renew point has come"],
    &["renewed; next renewal in"],
    &["renewing: its renew point has come"],
    &[
        "the provider answered 400 invalid_grant: Token has been revoked",
        "the login may have ended",
        "asks once more in 1m",
    ],
    &["asking again: to confirm that the login has ended"],
    &["the provider answered 400 invalid_grant: Token has been revoked"],
    &[
        "the login has ended: the provider refused it twice",
        "run 'authctl login work'",
    ],
    &["logged in (by authctl); next renewal in"],
];

#[test]
fn events_tell_why_what_the_provider_said_and_what_comes_next_also_after_a_restart() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let instance = Instance::new();
    let daemon = DrivenDaemon::start(&instance, &time.machine);
    live_through_it_all(&instance, &time);
    let told = instance.authctl(&["events", "work"]);
    assert_eq!((told.code(), told.stderr.as_str()), (0, ""));
    let mut lines = told.stdout.lines();
    for parts in STORY {
        let line = lines.next().expect("a further line");
        for part in *parts {
            assert!(line.contains(part), "{part:?} is not in {line:?}");
        }
    }
    assert_eq!(lines.next(), None);
    assert!(!told.stdout.contains('\u{1b}'));

    drop(daemon);
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    let again = instance.authctl(&["events", "work"]);
    assert_eq!(again.stdout, told.stdout, "it is all still there");
    let all = instance.authctl(&["events", "--all"]);
    let ends: Vec<&str> = all.stdout.lines().rev().take(1).collect();
    assert!(ends[0].contains("the daemon started"), "{ends:?}");
}

#[test]
fn inv_21_every_event_names_grant_generation_attempt_and_trace_and_never_a_secret() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let instance = Instance::new();
    let daemon = DrivenDaemon::start(&instance, &time.machine);
    live_through_it_all(&instance, &time);
    let told = instance.authctl(&["events", "--json", "--limit", "10000"]);
    assert_eq!(told.code(), 0);
    assert!(!told.stdout.contains(MARK), "a token in an event");
    let mut seen = 0;
    let mut answers = 0;
    let mut before = 0;
    for line in told.stdout.lines() {
        let event: Event = serde_json::from_str(line).unwrap();
        assert!(event.seq > before, "out of order: {event:?}");
        before = event.seq;
        let about_auth = [
            EventKind::Exchange,
            EventKind::Decision,
            EventKind::Token,
            EventKind::LoginNeeded,
        ];
        if !about_auth.contains(&event.event) {
            continue;
        }
        seen += 1;
        assert!(event.grant.is_some(), "{event:?}");
        assert!(event.generation.is_some(), "{event:?}");
        assert!(event.attempt_id.is_some(), "{event:?}");
        assert!(event.trace_id.is_some(), "{event:?}");
        if event.outcome.as_deref() != Some("started") {
            answers += 1;
            assert!(event.provider_request_id.is_some(), "{event:?}");
        }
    }
    assert!(
        seen > 20 && answers > 10,
        "{seen} events, {answers} answers"
    );

    drop(daemon);
    let folder = instance.state_dir().join("events");
    let files: Vec<_> = fs::read_dir(&folder).unwrap().collect();
    assert!(!files.is_empty(), "nothing is kept");
    for file in files {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(text.contains("\"exchange\"") && !text.contains(MARK));
    }
}

#[test]
fn a_follower_goes_on_over_a_restart_of_the_daemon() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(settings());
    let instance = Instance::new();
    let daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "work");
    let follower = instance.start_authctl(&["events", "--follow", "--json"]);
    // It has listed and is listening when the daemon counts a watcher.
    authd_e2e::until("the follower subscribes", || {
        instance.status().watchers == 1
    });
    drop(daemon);
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    authd_e2e::until("it is back", || instance.status().watchers == 1);
    instance.renew("work").unwrap();
    authd_e2e::until("it is told", || {
        let told = instance.authctl(&["events", "work", "--limit", "1"]);
        told.stdout.contains("renewed")
    });
    follower.signal(rustix::process::Signal::INT);
    let ended = follower.finish(Duration::from_secs(10));
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("waiting for it to come back"));
    let seqs: Vec<u64> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Event>(line).unwrap().seq)
        .collect();
    let all = instance.authctl(&["events", "--json", "--limit", "10000"]);
    let expected: Vec<u64> = all
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Event>(line).unwrap().seq)
        .collect();
    assert_eq!(seqs, expected[..seqs.len()], "no gap and no double");
    assert!(
        seqs.last() > Some(&1_000_000),
        "and it heard of the second run"
    );
}
