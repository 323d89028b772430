//! A new daemon takes the place of one that runs: no call fails, nothing is done twice.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use authd_client::{Client, Directories, Environment, SocketPath, Who, spawn};
use authd_e2e::{Instance, PATIENCE, instance::renewal, until};
use authd_proto::request::{DaemonStop, TokenGet};
use authd_testkit::{Endpoint, FakeServer, Options, Phase};

const WHO: Who = Who {
    name: "authd-e2e",
    version: "1",
};
const CLIENTS: usize = 8;
const RESTARTS: usize = 5;

fn server() -> FakeServer {
    FakeServer::start(Options::default()).unwrap()
}

/// The instance as the client library finds it.
fn found(instance: &Instance) -> authd_client::Instance {
    let environment = Environment {
        state_dir: Some(instance.state_dir().into()),
        config_dir: Some(instance.config_dir().into()),
        ..Environment::default()
    };
    let directories = Directories::locate(&environment).unwrap();
    let socket = SocketPath::locate(&environment, &directories).unwrap();
    authd_client::Instance {
        socket,
        directories,
    }
}

fn wanted() -> TokenGet<'static> {
    TokenGet {
        account: Some("demo"),
        ..TokenGet::default()
    }
}

/// Whose place the next one takes.
fn restart(instance: &Instance) -> u32 {
    let restarted = instance.authctl(&["daemon", "restart", "--json"]);
    assert_eq!(restarted.code(), 0, "{restarted:?}");
    let report = restarted.json();
    assert_ne!(report["before"]["pid"], report["now"]["pid"], "{report}");
    report["now"]["pid"].as_u64().unwrap().try_into().unwrap()
}

#[test]
fn clients_that_call_without_pause_notice_nothing_of_five_restarts() {
    let server = server();
    let instance = Instance::new();
    // By a command, as a person would have it.
    instance.login(&server, "demo");
    let token = instance.authctl(&["token", "demo"]).line().to_owned();
    let library = found(&instance);
    let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let going = || !over.load(Ordering::Relaxed);
    let served = |got: &str| {
        assert!(got == token, "another token");
        calls.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (instance, library) = (&instance, &library);
            scope.spawn(move || match number {
                // As commands, ...
                0 | 1 => {
                    while going() {
                        served(instance.authctl(&["token", "demo"]).line());
                    }
                }
                // ... with a connection for each call, ...
                2..5 => {
                    while going() {
                        let mut client = spawn::connect_or_start(library, WHO, PATIENCE).unwrap();
                        let reply = client.call(&wanted(), PATIENCE).unwrap();
                        served(reply.access_token.expose());
                    }
                }
                // ... and with one for all calls, that has no way to start a daemon.
                _ => {
                    let mut client = Client::connect(&library.socket, WHO, PATIENCE).unwrap();
                    while going() {
                        let reply = client.call(&wanted(), PATIENCE).unwrap();
                        served(reply.access_token.expose());
                    }
                }
            });
        }
        for _ in 0..RESTARTS {
            let before = calls.load(Ordering::Relaxed);
            restart(&instance);
            until("clients go on", || {
                calls.load(Ordering::Relaxed) > before + 10 * CLIENTS
            });
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(instance.log().matches("serving").count(), 1 + RESTARTS);
    assert_eq!(server.counts().refreshes(), 0, "no call cost an exchange");
}

#[test]
fn two_who_restart_it_at_once_leave_one_that_is_reached() {
    let server = server();
    let instance = Instance::new();
    instance.login(&server, "demo");
    let token = instance.authctl(&["token", "demo"]).line().to_owned();
    for _ in 0..RESTARTS {
        let both = [0, 1].map(|_| instance.start_authctl(&["daemon", "restart"]));
        for one in both {
            let restarted = one.finish(PATIENCE);
            assert_eq!(restarted.code(), 0, "{restarted:?}");
        }
        assert_eq!(instance.authctl(&["token", "demo"]).line(), token);
    }
    let stopped = instance.authctl(&["daemon", "stop"]);
    assert_eq!(stopped.code(), 0, "{stopped:?}");
    // None is left that nobody reaches: it would hold the lock.
    let _daemon = instance.start_daemon();
    assert_eq!(server.counts().refreshes(), 0);
}

#[test]
fn a_daemon_that_serves_is_not_ended_for_one_that_could_not_start() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let pid = instance.status().pid;
    instance.configure("[renewal]\nidle_after_sec = 5\n");
    let refused = instance.authctl(&["daemon", "restart"]);
    assert_eq!(refused.code(), 1, "{refused:?}");
    for told in [
        "nothing was stopped",
        "line 2",
        "idle_after_secs",
        "run it again",
    ] {
        assert!(refused.stderr.contains(told), "{told}: {refused:?}");
    }
    assert_eq!(instance.status().pid, pid);
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);

    instance.configure("[renewal]\nidle_after_secs = 500\n");
    restart(&instance);
}

#[test]
fn what_is_in_flight_is_finished_and_what_comes_meanwhile_waits() {
    let server = server();
    let instance = Instance::new();
    instance.login(&server, "demo");
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let mut renewing = instance.client();
    let mut idle = instance.client();
    std::thread::scope(|scope| {
        let renewed = scope.spawn(move || renewing.call(&renewal("demo"), PATIENCE));
        server
            .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
            .unwrap();
        let place = fs::metadata(instance.socket()).unwrap().ino();
        let restarting = scope.spawn(|| restart(&instance));
        until("the place is taken", || {
            fs::metadata(instance.socket()).unwrap().ino() != place
        });
        // One comes to the new place, and one has been there all along.
        let waiting = scope.spawn(|| instance.token("demo", Duration::ZERO).unwrap());
        let asked_again = scope.spawn(move || idle.call(&wanted(), PATIENCE).unwrap());
        server.open_gate(Endpoint::Token);
        assert_eq!(renewed.join().unwrap().unwrap().generation, 2);
        assert_eq!(waiting.join().unwrap().renewal.generation, 2);
        asked_again.join().unwrap();
        restarting.join().unwrap();
    });
    assert_eq!(
        server.counts().refreshes(),
        1,
        "the exchange is not doubled"
    );
    assert_eq!(server.counts().reuse_detected, 0);
}

#[test]
fn the_place_of_a_successor_is_like_any_other() {
    let instance = Instance::new();
    let started = instance.authctl(&["daemon", "start"]);
    assert_eq!(started.code(), 0, "{started:?}");
    let pid = restart(&instance);
    let meta = fs::metadata(instance.socket()).unwrap();
    assert_eq!(meta.mode() & 0o777, 0o600);
    let second = instance.daemon().refused();
    assert!(
        second.stderr.contains(&format!("(pid {pid})")),
        "{second:?}"
    );
    let stop = instance.authctl(&["daemon", "stop"]);
    assert_eq!(stop.code(), 0, "{stop:?}");
    until("no name is left", || {
        let names = fs::read_dir(instance.socket().parent().unwrap()).unwrap();
        names.count() == 0
    });
}

#[test]
fn what_nobody_would_start_nobody_replaces() {
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let mut command = instance.command(authd_e2e::binaries::authctl());
    command
        .env("AUTHD_SOCKET", instance.socket())
        .args(["daemon", "restart"]);
    let refused = authd_e2e::Process::capture(&mut command).finish(PATIENCE);
    assert_eq!(refused.code(), 7, "{refused:?}");
    assert!(refused.stderr.contains("someone else's"), "{refused:?}");
    assert_eq!(instance.status().pid, daemon.pid(), "it goes on");
}

#[test]
fn a_command_that_comes_upon_a_daemon_that_ends_waits_for_its_end() {
    let server = server();
    let instance = Instance::new();
    instance.login(&server, "demo");
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let mut renewing = instance.client();
    std::thread::scope(|scope| {
        scope.spawn(move || renewing.call(&renewal("demo"), PATIENCE));
        server
            .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
            .unwrap();
        instance.call(&DaemonStop {}).unwrap();
        until("nobody listens", || !instance.socket().exists());
        // It starts one, which finds the lock held.
        let token = instance.start_authctl(&["token", "demo"]);
        until("it waits", || {
            instance.log().contains("waiting for its end")
        });
        server.open_gate(Endpoint::Token);
        let token = token.finish(PATIENCE);
        assert_eq!(token.code(), 0, "{token:?}");
    });
    assert_eq!(server.counts().refreshes(), 1);
    assert_eq!(instance.account("demo").generation, 2);
}
