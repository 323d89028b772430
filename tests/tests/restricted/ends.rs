//! When they end, and what ends with them.

use std::{fs, path::Path, time::Duration};

use authd::Alarms;
use authd_e2e::{
    Instance, PATIENCE, Raw,
    driven::{DrivenDaemon, Time},
    raw::frame,
    until,
};
use authd_proto::{
    ErrorCode,
    approval::Asks,
    audit::AuditQuery,
    request::{AccountForget, DaemonStatus, TokenGet},
    socket::{SocketInfo, SocketRevoke},
};
use authd_testkit::{Endpoint, FakeServer, Phase, Settings};

use super::{
    HOUR, answer, connect, create, denied, for_api, get, is_dead, is_hung_up, server, sockets,
};

#[test]
fn sockets_outlive_the_daemon_and_their_revocation_does_too() {
    let server = server();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let kept = create(&instance, &for_api());
    let revoked = create(&instance, &for_api());
    assert_ne!(kept.path, revoked.path);
    let name = Some(revoked.name.clone());
    instance.call(&SocketRevoke { name }).unwrap();
    daemon.kill();

    let daemon = instance.start_daemon();
    let left = sockets(&instance);
    assert_eq!(left.len(), 1);
    assert_eq!((&left[0].name, &left[0].path), (&kept.name, &kept.path));
    assert_eq!(
        (
            left[0].scopes.len(),
            left[0].expires_at.abs_diff(kept.expires_at) <= 1
        ),
        (1, true)
    );
    let mut client = connect(&kept.path).unwrap();
    assert!(get(&mut client, &TokenGet::default()).is_ok());
    assert!(!Path::new(&revoked.path).exists());
    drop(client);

    // An orderly stop takes the file away and keeps the directory, which may be mounted.
    assert!(daemon.stop().success());
    assert!(!Path::new(&kept.path).exists());
    assert!(Path::new(&kept.path).parent().unwrap().is_dir());
    let _daemon = instance.start_daemon();
    assert!(get(&mut connect(&kept.path).unwrap(), &TokenGet::default()).is_ok());

    // The account goes, and they with it.
    let account = "demo".to_owned();
    instance.call(&AccountForget { account }).unwrap();
    assert_eq!(sockets(&instance), []);
    assert!(!Path::new(&kept.path).parent().unwrap().exists());
}

#[test]
fn a_revocation_that_the_disk_did_not_take_is_made_up_for_by_the_next() {
    let server = server();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    let list = instance.state_dir().join("sockets.json");
    let kept = fs::read(&list).unwrap();
    // In the place of a file there is a directory, which no file can replace.
    fs::remove_file(&list).unwrap();
    fs::create_dir(&list).unwrap();
    let name = Some(socket.name.clone());
    let revoke = SocketRevoke { name };
    let failed = instance.call(&revoke).unwrap_err();
    assert_eq!(failed.code, ErrorCode::StoreFailed, "{failed}");
    assert!(is_dead(&socket.path), "closed all the same");
    // Mended: it is there as it was, with the socket in it.
    fs::remove_dir(&list).unwrap();
    fs::write(&list, kept).unwrap();
    let again = instance.call(&revoke).unwrap();
    assert_eq!(again.revoked.as_slice(), std::slice::from_ref(&socket.name));
    assert!(daemon.stop().success());
    let _daemon = instance.start_daemon();
    assert_eq!(sockets(&instance), []);
    assert!(is_dead(&socket.path));
}

#[test]
fn a_socket_that_nobody_waits_for_is_written_down_all_the_same() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    // One who hangs up before it is looked at may get nothing.
    until("one is opened", || {
        let mut raw = Raw::connect(&instance.socket());
        assert!(raw.send(&frame(1, &for_api())));
        drop(raw);
        !sockets(&instance).is_empty()
    });
    until("whatever is opened is written down", || {
        let lines = instance.call(&AuditQuery::default()).unwrap().lines;
        let told = lines.iter().filter(|line| line.asks == Some(Asks::Socket));
        told.count() == sockets(&instance).len()
    });
}

/// A connection whose request waits for the provider, which does not answer; and one that says nothing.
fn waiting_and_silent(server: &FakeServer, socket: &SocketInfo) -> (Raw, Raw) {
    // A token with so few scopes is still to be fetched.
    server.close_gate(Endpoint::Token, Phase::BeforeCommit);
    let silent = Raw::connect(Path::new(&socket.path));
    let mut waiting = Raw::connect(Path::new(&socket.path));
    let wait = TokenGet {
        wait_secs: Some(60),
        ..TokenGet::default()
    };
    assert!(waiting.send(&frame(7, &wait)));
    server
        .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
        .unwrap();
    (waiting, silent)
}

#[test]
fn a_revocation_ends_every_connection_before_it_is_answered_and_no_token_comes() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    let (mut waiting, mut silent) = waiting_and_silent(&server, &socket);
    instance.call(&SocketRevoke { name: None }).unwrap();
    assert!(is_hung_up(&mut waiting) && is_hung_up(&mut silent));
    server.open_gate(Endpoint::Token);
    until("nobody waits", || {
        let status = instance.call(&DaemonStatus {}).unwrap();
        (status.waiters, status.exchanges_in_flight) == (0, 0)
    });
    until("they are counted right", || {
        instance.status().connections == 1
    });
}

#[test]
fn a_lock_ends_its_connections_and_it_answers_locked_until_unlocked() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    let (mut waiting, mut silent) = waiting_and_silent(&server, &socket);

    let locked = instance.start_authctl(&["lock"]);
    assert_eq!(waiting.until_closed(PATIENCE), Some(Vec::new()), "no token");
    assert_eq!(silent.until_closed(PATIENCE), Some(Vec::new()));
    server.open_gate(Endpoint::Token);
    let locked = locked.finish(PATIENCE);
    assert_eq!(locked.code(), 0, "{locked:?}");
    let mut client = connect(&socket.path).unwrap();
    let error = get(&mut client, &TokenGet::default()).err().unwrap();
    assert_eq!(error.code, ErrorCode::Locked, "{error}");

    let unlocked = instance.authctl(&["unlock"]);
    assert_eq!(unlocked.code(), 0, "{unlocked:?}");
    assert!(get(&mut client, &TokenGet::default()).is_ok());
}

/// A daemon on a clock that stands still, with a socket for an hour.
fn for_an_hour(alarms: Alarms, during: impl FnOnce(&Instance, &Time, &FakeServer, &SocketInfo)) {
    let time = Time::stopped(alarms);
    let server = time.server(Settings {
        access_token_ttl: Duration::from_secs(24 * HOUR),
        ..Settings::default()
    });
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    during(&instance, &time, &server, &socket);
}

#[test]
fn neither_a_suspend_nor_a_calendar_set_back_lengthens_its_time() {
    for_an_hour(Alarms::ThroughSuspend, |instance, time, _, socket| {
        let mut client = connect(&socket.path).unwrap();
        assert!(get(&mut client, &TokenGet::default()).is_ok());
        time.suspend(Duration::from_secs(HOUR / 2));
        let back = time.machine.wall() - Duration::from_secs(24 * HOUR);
        time.machine.set_wall(back);
        assert_eq!(sockets(instance)[0].ttl_secs, HOUR / 2);
        time.advance(Duration::from_secs(HOUR / 2 - 1));
        assert!(get(&mut client, &TokenGet::default()).is_ok());
        time.advance(Duration::from_secs(1));
        until("it is closed", || is_dead(&socket.path));
        assert_eq!(sockets(instance), []);
    });
}

#[test]
fn where_no_alarm_rings_through_a_suspend_no_token_leaves_after_its_time_all_the_same() {
    for_an_hour(Alarms::Rechecked, |_, time, server, socket| {
        time.advance(Duration::from_secs(HOUR - 5));
        let (mut waiting, _silent) = waiting_and_silent(server, socket);
        let mut client = connect(&socket.path).unwrap();
        time.suspend(Duration::from_secs(5));
        denied(get(&mut client, &TokenGet::default()));
        // Nor what was asked for before.
        server.open_gate(Endpoint::Token);
        assert_eq!(answer(&mut waiting), Some(ErrorCode::Denied));
    });
}

#[test]
fn its_end_ends_the_wait_of_a_request_and_no_token_comes() {
    for_an_hour(Alarms::ThroughSuspend, |_, time, server, socket| {
        time.advance(Duration::from_secs(HOUR - 5));
        let (mut waiting, mut silent) = waiting_and_silent(server, socket);
        time.advance(Duration::from_secs(5));
        assert_eq!(waiting.until_closed(PATIENCE), Some(Vec::new()));
        assert_eq!(silent.until_closed(PATIENCE), Some(Vec::new()));
        server.open_gate(Endpoint::Token);
    });
}
