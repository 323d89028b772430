//! What is slow or hostile delays nobody else's cached token.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::Write as _,
    os::unix::net::UnixListener,
    time::{Duration, Instant},
};

use authd_e2e::{
    Instance, PATIENCE, Raw,
    dbus::Bus,
    instance::{call, renewal},
    latency::assert_undelayed,
    raw::frame,
    until,
};
use authd_proto::{
    ErrorCode,
    request::{AccountList, DaemonStatus, TokenGet},
};
use authd_testkit::{Endpoint, FakeServer, Options, Phase};

fn server() -> FakeServer {
    FakeServer::start(Options::default()).unwrap()
}

#[test]
fn a_provider_that_hangs_delays_no_cached_token_of_another_account() {
    let (sick, well) = (server(), server());
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&sick, "sick");
    instance.login(&well, "well");
    sick.close_gate(Endpoint::Token, Phase::BeforeCommit);
    let mut waiting = instance.client();
    std::thread::scope(|scope| {
        let renewing = scope.spawn(move || call(&mut waiting, &renewal("sick")));
        sick.wait_held_blocking(Endpoint::Token, 1, PATIENCE)
            .unwrap();
        assert_undelayed(&instance, "well", "while another account's provider hangs");
        // Its own cached token is not delayed either.
        assert_undelayed(&instance, "sick", "while its own provider hangs");
        assert_eq!(instance.status().exchanges_in_flight, 1, "it still hangs");
        sick.open_gate(Endpoint::Token);
        renewing.join().unwrap().unwrap();
    });
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn a_provider_that_hangs_for_thirty_seconds_delays_no_cached_token_all_the_while() {
    let (sick, well) = (server(), server());
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&sick, "sick");
    instance.login(&well, "well");
    sick.close_gate(Endpoint::Token, Phase::BeforeCommit);
    let mut waiting = instance.client();
    std::thread::scope(|scope| {
        let renewing = scope.spawn(move || call(&mut waiting, &renewal("sick")));
        sick.wait_held_blocking(Endpoint::Token, 1, PATIENCE)
            .unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(31) {
            assert_undelayed(&instance, "well", "while another account's provider hangs");
        }
        renewing.join().unwrap().unwrap_err();
    });
    assert!(
        instance.token("sick", Duration::ZERO).is_ok(),
        "the old token is still good"
    );
}

#[test]
fn a_hundred_clients_with_half_a_frame_delay_no_cached_token() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let whole = frame(
        7,
        &TokenGet {
            account: Some("demo"),
            ..TokenGet::default()
        },
    );
    let _hanging: Vec<_> = (0..100)
        .map(|_| {
            let mut raw = Raw::connect(&instance.socket());
            assert!(raw.send(&whole[..whole.len() / 2]));
            raw
        })
        .collect();
    assert_undelayed(&instance, "demo", "beside 100 clients with half a frame");
    assert!(instance.status().connections > 100, "they are still there");
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn a_client_with_half_a_frame_is_hung_up_on_after_half_a_minute() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let whole = frame(7, &DaemonStatus {});
    let mut raw = Raw::connect(&instance.socket());
    assert!(raw.send(&whole[..whole.len() / 2]));
    assert_eq!(raw.until_closed(2 * PATIENCE), Some(Vec::new()));
}

#[test]
fn a_client_that_does_not_read_is_hung_up_on_and_holds_up_nobody() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let mut deaf = Raw::connect(&instance.socket());
    deaf.stream()
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let list = frame(7, &AccountList::default());
    // Until the answers fill the socket and the daemon stops taking questions.
    while deaf.stream().write_all(&list).is_ok() {}
    assert_undelayed(&instance, "demo", "beside a client that does not read");
    let mut client = instance.client();
    until("it is hung up on", || {
        call(&mut client, &DaemonStatus {}).unwrap().connections == 1
    });
}

#[test]
fn a_store_that_stalls_for_five_seconds_delays_no_cached_token() {
    let (slow, well) = (server(), server());
    let instance = Instance::new();
    // The third commit: two logins come before.
    let _daemon = instance
        .daemon()
        .failpoint("commit_synced=stall:5000@3")
        .ready();
    instance.login(&slow, "slow");
    instance.login(&well, "well");
    let mut waiting = instance.client();
    std::thread::scope(|scope| {
        let start = Instant::now();
        let renewing = scope.spawn(move || call(&mut waiting, &renewal("slow")));
        slow.wait_for_blocking(PATIENCE, |ledger| ledger.counts.refreshes() == 1)
            .unwrap();
        assert_undelayed(&instance, "well", "while the store stalls");
        assert_undelayed(&instance, "slow", "of the stalled account itself");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "measured too late"
        );
        assert!(!renewing.is_finished(), "the renewal waits for the store");
        renewing.join().unwrap().unwrap();
        assert!(start.elapsed() >= Duration::from_secs(5), "it did stall");
    });
}

/// A session bus that accepts and never answers.
fn deaf_bus(instance: &mut Instance) -> UnixListener {
    let path = instance.dir().join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    instance.set_env(
        "DBUS_SESSION_BUS_ADDRESS",
        format!("unix:path={}", path.display()),
    );
    listener
}

#[test]
fn a_key_store_that_hangs_from_the_first_does_not_freeze_the_daemon() {
    let mut instance = Instance::new();
    let _bus = deaf_bus(&mut instance);
    instance.configure("[key]\ntimeout_secs = 1\n");
    let _daemon = instance.start_daemon();
    let start = Instant::now();
    let status = instance.status();
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "it answers at once"
    );
    // Either it fell back to a file and says so, or it waits for the key store and says that.
    let server = server();
    match status.store.state.as_str() {
        "ok" => {
            instance.login(&server, "demo");
            instance.renew("demo").unwrap();
        }
        state => {
            assert_eq!(state, "locked", "{status:?}");
            let refused = instance.token("demo", Duration::ZERO).err().unwrap();
            assert_eq!(refused.code, ErrorCode::Locked);
        }
    }
}

#[test]
fn a_key_store_that_hangs_once_it_gave_the_key_delays_no_commit() {
    let server = server();
    let mut instance = Instance::new();
    let bus = Bus::start(instance.dir());
    instance.set_env("DBUS_SESSION_BUS_ADDRESS", bus.address());
    let keyring = bus.start_keyring();
    let daemon = instance.start_daemon();
    assert_eq!(instance.status().key_protection.kind, "keyring");
    instance.login(&server, "demo");
    keyring.freeze();
    // Each commit has the key store's anchor moved, sometime.
    for generation in 2..=4 {
        let start = Instant::now();
        assert_eq!(instance.renew("demo").unwrap().generation, generation);
        // At least a second apart; the key store's own time-out is five.
        let took = start.elapsed();
        assert!(took < Duration::from_secs(4), "the commit waited: {took:?}");
        assert_undelayed(&instance, "demo", "while the key store hangs");
    }
    keyring.thaw();
    assert!(daemon.stop().success());
    let _daemon = instance.start_daemon();
    let info = instance.account("demo");
    assert_eq!((info.generation, info.flags), (4, vec![]));
}

#[test]
fn a_key_store_that_hangs_delays_no_commit_of_a_store_whose_key_is_a_file() {
    let server = server();
    let mut instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    assert!(daemon.stop().success());
    let _bus = deaf_bus(&mut instance);
    let _daemon = instance.start_daemon();
    let start = Instant::now();
    instance.renew("demo").unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "the commit waited: {:?}",
        start.elapsed()
    );
    assert_undelayed(&instance, "demo", "while the key store hangs");
}
