//! How a daemon ends, and what is still there afterwards.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use authd_e2e::{Instance, PATIENCE, Raw, instance::renewal};
use authd_proto::{
    event::EventKind,
    request::{DaemonStop, EventsQuery},
};
use authd_testkit::{Endpoint, FakeServer, Options, Phase};
use rustix::process::Signal;

fn server() -> FakeServer {
    FakeServer::start(Options::default()).unwrap()
}

#[test]
fn term_with_an_exchange_in_flight_finishes_it_first() {
    let server = server();
    let instance = Instance::new();
    let mut daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let mut idle = Raw::connect(&instance.socket());
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let mut client = instance.client();
    std::thread::scope(|scope| {
        let renewing = scope.spawn(move || client.call(&renewal("demo"), PATIENCE));
        server
            .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
            .unwrap();
        daemon.signal(Signal::TERM);
        let hung_up = idle.until_closed(PATIENCE);
        assert!(
            hung_up.is_some(),
            "who wants nothing is hung up on: it stops"
        );
        assert!(
            !daemon.has_ended(Duration::ZERO),
            "it waits for the provider"
        );
        server.open_gate(Endpoint::Token);
        assert_eq!(renewing.join().unwrap().unwrap().generation, 2);
    });
    assert!(daemon.ended(PATIENCE).success());
    let _daemon = instance.start_daemon();
    let info = instance.account("demo");
    assert_eq!(
        (info.generation, info.flags),
        (2, vec![]),
        "the answer is on disk"
    );
    instance.renew("demo").unwrap();
    assert_eq!(server.counts().reuse_detected, 0);
}

#[test]
fn term_right_after_the_start_is_a_clean_stop() {
    for _ in 0..20 {
        let instance = Instance::new();
        assert!(instance.start_daemon().stop().success());
    }
}

#[test]
fn a_stop_over_the_socket_is_a_stop() {
    let instance = Instance::new();
    let mut daemon = instance.start_daemon();
    let reply = instance.call(&DaemonStop {}).unwrap();
    assert_eq!(reply.pid, daemon.pid());
    assert!(daemon.ended(PATIENCE).success());
    assert!(!instance.socket().exists(), "it leaves no socket");
}

#[test]
fn a_restart_keeps_every_account_with_all_that_is_known_of_it() {
    let server = server();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    for account in ["one", "two", "three"] {
        instance.login(&server, account);
    }
    instance.renew("two").unwrap();
    let known = |instance: &Instance| {
        ["one", "two", "three"].map(|account| {
            let mut info = instance.account(account);
            // What passes by itself.
            info.ttl_secs = None;
            info.leases
                .iter_mut()
                .for_each(|lease| lease.ttl_secs = None);
            info
        })
    };
    let token = |account| {
        let token = instance.token(account, Duration::ZERO).unwrap();
        token.access_token.expose().to_owned()
    };
    let (before, tokens) = (known(&instance), ["one", "two", "three"].map(token));
    assert!(daemon.stop().success());
    let daemon = instance.start_daemon();
    assert_eq!(known(&instance), before);
    assert!(
        ["one", "two", "three"].map(token) == tokens,
        "other tokens after a stop"
    );
    daemon.kill();
    let _daemon = instance.start_daemon();
    assert_eq!(known(&instance), before);
    assert!(
        ["one", "two", "three"].map(token) == tokens,
        "other tokens after a kill"
    );
    let events = instance.call(&EventsQuery::default()).unwrap().events;
    assert!(
        events
            .iter()
            .all(|event| event.event != EventKind::LoginNeeded)
    );
    assert_eq!(server.counts().refreshes(), 1, "a restart renews nothing");
}
