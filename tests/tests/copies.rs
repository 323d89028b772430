//! A state directory that was copied or restored exchanges nothing until its owner says that it may.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use authd_e2e::{
    Instance, PATIENCE, api,
    instance::{is_flagged, private_directory},
    until,
};
use authd_proto::{
    ErrorCode,
    response::{FlagName, State},
};
use authd_testkit::{Endpoint, FakeServer, Options, Settings};
use rustix::process::geteuid;

/// Copies what is in a directory, sockets apart, into one that is there.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            if !target.exists() {
                private_directory(&target);
            }
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Where the state directory of today was, there is the one of `backup`.
fn restore(backup: &Path, instance: &Instance) {
    fs::remove_dir_all(instance.state_dir()).unwrap();
    private_directory(&instance.state_dir());
    copy(backup, &instance.state_dir());
}

fn backup(instance: &Instance) -> PathBuf {
    let backup = instance.dir().join("backup");
    private_directory(&backup);
    copy(&instance.state_dir(), &backup);
    backup
}

fn server(rotation: bool) -> FakeServer {
    let settings = Settings {
        rotation,
        ..Settings::default()
    };
    let options = Options {
        settings,
        ..Options::default()
    };
    FakeServer::start(options).unwrap()
}

/// It serves what is alive, and asks the provider for nothing.
fn exchanges_nothing(instance: &Instance, server: &FakeServer) {
    let before = server.counts().requests(Endpoint::Token);
    let info = instance.account("demo");
    assert!(is_flagged(&info, FlagName::StaleStore), "{:?}", info.flags);
    let refused = instance.renew("demo").unwrap_err();
    assert_eq!(refused.code, ErrorCode::AdoptionRequired, "{refused}");
    let hint = refused.hint.clone().unwrap_or_default();
    assert!(hint.contains("authctl adopt"), "{refused:?}");
    let status = instance.authctl(&["status"]);
    assert!(status.stdout.contains("adopt"), "{status:?}");
    let token = instance.token("demo", Duration::ZERO).unwrap();
    assert_eq!(api::ping(server, token.access_token.expose()), 200);
    assert_eq!(server.counts().requests(Endpoint::Token), before);
}

/// A second machine, with a copy of the first's store.
#[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
fn second_machine(first: &Instance) -> Option<(Instance, PathBuf)> {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can give a process another /etc/machine-id");
        return None;
    }
    let second = Instance::new();
    copy(&first.state_dir(), &second.state_dir());
    copy(&first.config_dir(), &second.config_dir());
    let machine_id = second.dir().join("machine-id");
    fs::write(&machine_id, "0123456789abcdef0123456789abcdef\n").unwrap();
    Some((second, machine_id))
}

#[test]
fn inv_19_of_two_daemons_on_a_copied_store_the_copy_exchanges_nothing() {
    let server = server(true);
    let first = Instance::new();
    let daemon = first.start_daemon();
    first.login(&server, "demo");
    assert!(daemon.stop().success());
    let Some((second, machine_id)) = second_machine(&first) else {
        return;
    };
    let _first_daemon = first.start_daemon();
    let daemon = second.daemon().machine_id(&machine_id).ready();
    exchanges_nothing(&second, &server);
    // The original goes on, over and over; the copy stays as it is, also after its own restart.
    for _ in 0..3 {
        first.renew("demo").unwrap();
    }
    assert!(daemon.stop().success());
    let _second_daemon = second.daemon().machine_id(&machine_id).ready();
    let refused = second.renew("demo").unwrap_err();
    assert_eq!(refused.code, ErrorCode::AdoptionRequired);
    // A login of its own is what the copy needs, and harms nobody.
    second.login(&server, "demo");
    second.renew("demo").unwrap();
    first.renew("demo").unwrap();
    assert_eq!(server.counts().reuse_detected, 0);
    assert_eq!(server.ledger().families.len(), 2);
    assert_eq!(first.account("demo").flags, vec![]);
    assert_eq!(second.account("demo").flags, vec![]);
}

#[test]
fn inv_19_a_store_that_moved_to_another_machine_goes_on_once_it_is_adopted() {
    let server = server(true);
    let first = Instance::new();
    let daemon = first.start_daemon();
    first.login(&server, "demo");
    assert!(daemon.stop().success());
    let Some((second, machine_id)) = second_machine(&first) else {
        return;
    };
    let daemon = second.daemon().machine_id(&machine_id).ready();
    exchanges_nothing(&second, &server);
    let adopt = second.authctl(&["adopt", "demo"]);
    assert_eq!(adopt.code(), 0, "{adopt:?}");
    second.renew("demo").unwrap();
    assert!(daemon.stop().success());
    let _daemon = second.daemon().machine_id(&machine_id).ready();
    second.renew("demo").unwrap();
    assert_eq!(second.account("demo").flags, vec![]);
    // Now the first is the copy, and knows: its own anchor is older, but the machine was told.
    assert_eq!(server.counts().refreshes(), 2);
    assert_eq!(server.counts().reuse_detected, 0);
}

#[test]
fn inv_19_yesterdays_store_restored_over_todays_exchanges_nothing_until_it_is_adopted() {
    // With a provider that does not rotate, what was adopted can go on as well.
    let server = server(false);
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    assert!(daemon.stop().success());
    let yesterday = backup(&instance);
    let daemon = instance.start_daemon();
    instance.renew("demo").unwrap();
    assert!(daemon.stop().success());

    restore(&yesterday, &instance);
    let daemon = instance.start_daemon();
    assert_eq!(instance.account("demo").generation, 1);
    exchanges_nothing(&instance, &server);
    // Nor after a kill and one more start.
    daemon.kill();
    let daemon = instance.start_daemon();
    exchanges_nothing(&instance, &server);
    let adopt = instance.authctl(&["adopt", "--all"]);
    assert_eq!(adopt.code(), 0, "{adopt:?}");
    instance.renew("demo").unwrap();
    assert!(daemon.stop().success());
    let _daemon = instance.start_daemon();
    instance.renew("demo").unwrap();
    assert_eq!(instance.account("demo").flags, vec![]);
}

#[test]
fn inv_19_a_token_spent_since_the_backup_is_never_sent_by_itself() {
    let settings = Settings {
        access_token_ttl: Duration::from_secs(3),
        ..Settings::default()
    };
    let options = Options {
        settings,
        ..Options::default()
    };
    let server = FakeServer::start(options).unwrap();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    assert!(daemon.stop().success());
    let yesterday = backup(&instance);
    let daemon = instance.start_daemon();
    instance.renew("demo").unwrap();
    assert!(daemon.stop().success());
    restore(&yesterday, &instance);
    let before = server.counts().requests(Endpoint::Token);
    let _daemon = instance.start_daemon();
    // The token at hand runs out, and whoever waits for another waits in vain.
    until("the token is spent", || {
        instance.account("demo").state == State::Expired
    });
    let refused = instance.token("demo", PATIENCE).err().unwrap();
    assert_eq!(refused.code, ErrorCode::AdoptionRequired, "{refused}");
    assert_eq!(server.counts().requests(Endpoint::Token), before);
    assert_eq!(server.counts().reuse_detected, 0);
    instance.login(&server, "demo");
    assert_eq!(instance.account("demo").flags, vec![]);
}

#[test]
fn a_second_daemon_on_the_same_directory_is_refused_wherever_it_would_listen() {
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let elsewhere = instance.dir().join("elsewhere.sock");
    let second = instance.daemon().env("AUTHD_SOCKET", &elsewhere).refused();
    assert_eq!(second.code(), 1, "{second:?}");
    let words = format!("already running (pid {})", daemon.pid());
    assert!(second.stderr.contains(&words), "{second:?}");
    assert!(!elsewhere.exists());
    assert_eq!(instance.status().pid, daemon.pid());
}
