//! `authctl lock` and `authctl unlock`: from one moment to the next nobody is served, nothing is lost, and
//! guessing a passphrase delays nobody but the guesser.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::Write as _,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use authd_client::{Client, ClientError};
use authd_e2e::{
    Finished, Holder, Instance, PATIENCE, Process, binaries, dbus::Bus, instance::call,
    latency::assert_undelayed, until,
};
use authd_proto::{
    ErrorCode, WireSecret,
    event::EventKind,
    key::{DaemonLock, DaemonUnlock, KeyMove, KeyPlace},
    request::{DaemonStatus, EventsQuery, Subscribe, TokenGet, TokenReject},
    response::State,
};
use authd_testkit::{Endpoint, FakeServer, Options, Phase};

const PASSPHRASE: &str = "canary correct horse battery staple";
/// What an honest question may take beside a hundred guesses.
const HONEST: Duration = Duration::from_millis(50);

fn server() -> FakeServer {
    FakeServer::start(Options::default()).unwrap()
}

/// Runs `authctl` with these lines to read.
fn authctl_reading(instance: &Instance, arguments: &[&str], lines: &[&str]) -> Finished {
    let mut file = tempfile::tempfile().unwrap();
    for line in lines {
        writeln!(file, "{line}").unwrap();
    }
    std::io::Seek::rewind(&mut file).unwrap();
    let mut command = instance.command(binaries::authctl());
    command.args(arguments);
    Process::capture_reading(&mut command, Stdio::from(file)).finish(4 * PATIENCE)
}

fn lock(instance: &Instance, wait: Duration) -> bool {
    let ask = DaemonLock {
        wait_secs: Some(wait.as_secs()),
    };
    instance.call(&ask).unwrap().wiped
}

fn guess(client: &mut Client, passphrase: &str) -> ErrorCode {
    let ask = DaemonUnlock {
        passphrase: Some(WireSecret::new(passphrase)),
    };
    match client.call(&ask, 4 * PATIENCE) {
        Err(ClientError::Wire(error)) => error.code,
        Ok(_) => panic!("it was right"),
        Err(other) => panic!("no answer: {other}"),
    }
}

/// An instance whose key a passphrase protects.
fn with_passphrase(server: &FakeServer) -> Instance {
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(server, "demo");
    let arguments = ["key", "move", "--to", "passphrase", "--passphrase-stdin"];
    let moved = authctl_reading(&instance, &arguments, &[PASSPHRASE]);
    assert_eq!(moved.code(), 0, "{moved:?}");
    assert!(daemon.stop().success());
    instance
}

#[test]
fn a_lock_while_requests_wait_lets_no_token_out_and_loses_no_refresh_token() {
    let server = server();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let first = instance.token("demo", Duration::ZERO).unwrap();
    let mut watcher = instance.client();
    call(
        &mut watcher,
        &Subscribe {
            events: Some(vec![EventKind::Token]),
            account: None,
        },
    )
    .unwrap();
    // The provider has rotated, and holds its answer back.
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    std::thread::scope(|scope| {
        let reporting = scope.spawn(|| {
            instance.call(&TokenReject {
                account: "demo",
                fingerprint: Some(&first.renewal.fingerprint),
                access_token: None,
                scopes: None,
                resource: None,
                status: Some(401),
                www_authenticate: None,
                wait_secs: Some(60),
            })
        });
        server
            .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
            .unwrap();
        let getting = scope.spawn(|| instance.token("demo", Duration::from_secs(60)));
        let renewing = scope.spawn(|| instance.renew("demo"));
        until("all three wait", || instance.status().waiters == 3);

        assert!(!lock(&instance, Duration::ZERO), "an exchange is under way");
        let reported = reporting.join().unwrap().err().unwrap();
        let got = getting.join().unwrap().err().unwrap();
        let renewed = renewing.join().unwrap().err().unwrap();
        for refused in [reported, got, renewed] {
            assert_eq!(refused.code, ErrorCode::Locked, "{refused}");
            assert_eq!(refused.hint.as_deref(), Some("run 'authctl unlock'"));
        }
    });
    // Whoever watched heard of it, and no more.
    let mut last = None;
    let ended = loop {
        match watcher.next_event(Some(PATIENCE)) {
            Ok(event) => last = event,
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, ClientError::Closed), "{ended}");
    let last = last.unwrap();
    assert_eq!(
        (last.event, last.outcome.as_deref(), last.code),
        (EventKind::Daemon, Some("locked"), Some(ErrorCode::Locked))
    );
    let status = instance.status();
    assert_eq!(status.store.state, "locked");
    assert_eq!((status.exchanges_in_flight, status.accounts), (1, 0));
    assert_eq!(status.key_protection.kind, "file");

    // The answer comes now, to one who serves nobody: it is kept, and then everything goes.
    server.open_gate(Endpoint::Token);
    assert!(lock(&instance, PATIENCE), "wiped");
    let status = instance.status();
    assert_eq!((status.exchanges_in_flight, status.waiters), (0, 0));
    let refused = instance.token("demo", Duration::ZERO).err().unwrap();
    assert_eq!(refused.code, ErrorCode::Locked);

    let unlocked = instance.call(&DaemonUnlock::default()).unwrap();
    assert!(unlocked.was_locked);
    let token = instance.token("demo", Duration::ZERO).unwrap();
    assert_eq!(token.renewal.generation, 2);
    assert_eq!(server.counts().refreshes(), 1, "no second exchange");
    let info = instance.account("demo");
    assert_eq!((info.state, info.flags), (State::Fresh, vec![]));
    assert_eq!(
        authd_e2e::api::ping(&server, token.access_token.expose()),
        200
    );
    instance.renew("demo").unwrap();
    assert_eq!(server.counts().reuse_detected, 0);
    assert!(daemon.stop().success());
}

#[test]
fn what_finds_out_about_its_provider_while_it_is_locked_ends_and_nothing_of_it_stays() {
    for verb in ["login", "import"] {
        let server = server();
        let instance = Instance::new();
        let daemon = instance.start_daemon();
        let mut holder = Holder::log_in(server.issuer(), "native");
        server.close_gate(Endpoint::Discovery, Phase::BeforeCommit);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut command = instance.command(binaries::authctl());
        command
            .args([verb, "work", "--issuer", server.issuer()])
            .args(["--client-id", "native"]);
        if verb == "import" {
            command.arg("--refresh-token-stdin");
            writeln!(writer, "{}", holder.refresh_token).unwrap();
        }
        drop(writer);
        let begun = Process::capture_reading(&mut command, Stdio::from(reader));
        server
            .wait_held_blocking(Endpoint::Discovery, 1, PATIENCE)
            .unwrap();

        assert!(lock(&instance, PATIENCE), "nothing is in flight");
        server.open_gate(Endpoint::Discovery);
        let ended = begun.finish(PATIENCE);
        assert_eq!(ended.code(), 6, "{ended:?}");
        assert!(ended.stderr.contains("authctl unlock"), "{ended:?}");
        // Once more, all the way: nothing waits for what will never come.
        for _ in 0..2 {
            assert!(instance.call(&DaemonUnlock::default()).unwrap().was_locked);
            assert!(lock(&instance, PATIENCE), "nothing is in flight");
        }
        instance.call(&DaemonUnlock::default()).unwrap();
        assert_eq!(server.counts().refreshes(), 0);
        assert_eq!(holder.refresh(), 200, "it is whose it was");
        instance.login(&server, "work");
        assert!(daemon.stop().success());
    }
}
#[test]
fn a_lock_ends_with_unlock_or_with_a_start_where_no_passphrase_protects_the_key() {
    let server = server();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let before = instance.authctl(&["token", "demo"]);
    let pending = instance.begin_login("other", server.issuer(), &[]);

    let locked = instance.authctl(&["lock"]);
    assert_eq!(locked.code(), 0, "{locked:?}");
    assert!(locked.stderr.contains("out of memory"), "{locked:?}");
    // Somebody who was about to log in hears the same.
    let (_, refused) = pending.finish();
    assert_eq!(refused.code(), 6, "{refused:?}");
    for arguments in [&["token", "demo"][..], &["list"], &["renew", "demo"]] {
        let refused = instance.authctl(arguments);
        assert_eq!(refused.code(), 6, "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains("authctl unlock"), "{refused:?}");
        assert!(
            !refused.stderr.contains("login"),
            "no login is needed: {refused:?}"
        );
    }
    let status = instance.authctl(&["status"]);
    assert_eq!(status.code(), 6);
    assert!(status.stdout.contains("run 'authctl unlock'"), "{status:?}");
    assert_eq!(instance.authctl(&["lock"]).code(), 0, "twice is no error");

    let unlocked = instance.authctl(&["unlock"]);
    assert_eq!(unlocked.code(), 0, "{unlocked:?}");
    assert_eq!(instance.authctl(&["token", "demo"]).line(), before.line());
    let again = instance.authctl(&["unlock"]);
    assert!(again.stderr.contains("not locked"), "{again:?}");

    assert_eq!(instance.authctl(&["lock"]).code(), 0);
    assert!(daemon.stop().success(), "a locked one stops");
    let daemon = instance.start_daemon();
    assert_eq!(instance.authctl(&["token", "demo"]).line(), before.line());
    assert_eq!(server.counts().refreshes(), 0);
    let query = EventsQuery {
        events: Some(vec![EventKind::Daemon]),
        ..EventsQuery::default()
    };
    let events = instance.call(&query).unwrap().events;
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| event.outcome.as_deref())
        .collect();
    assert!(
        told.contains(&"locked") && told.contains(&"unlocked"),
        "{told:?}"
    );
    assert!(daemon.stop().success());
}

#[test]
fn a_daemon_whose_key_a_passphrase_protects_starts_locked_and_opens_with_that_passphrase_alone() {
    let server = server();
    let instance = with_passphrase(&server);
    assert!(!instance.state_dir().join("key").exists());
    let daemon = instance.start_daemon();
    let status = instance.authctl(&["status"]);
    assert_eq!(status.code(), 6, "{status:?}");
    assert!(
        status.stdout.contains("passphrase") && status.stdout.contains("run 'authctl unlock'"),
        "{status:?}"
    );
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 6);
    let key = instance.authctl(&["key", "status", "--json"]);
    assert_eq!(
        (key.code(), &key.json()["place"]),
        (0, &"passphrase".into())
    );
    assert_eq!(key.json()["locked"], true);

    let none = instance.authctl(&["unlock"]);
    assert_eq!(none.code(), 6, "{none:?}");
    assert!(none.stderr.contains("--passphrase-stdin"), "{none:?}");
    let wrong = authctl_reading(&instance, &["unlock", "--passphrase-stdin"], &["wrong"]);
    assert_eq!(wrong.code(), 6, "{wrong:?}");
    assert_eq!(instance.status().store.state, "locked");
    let right = authctl_reading(&instance, &["unlock", "--passphrase-stdin"], &[PASSPHRASE]);
    assert_eq!(right.code(), 0, "{right:?}");
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
    instance.renew("demo").unwrap();

    // It is changed, and the new one alone opens it from then on.
    let arguments = ["key", "move", "--to", "passphrase", "--passphrase-stdin"];
    let new = "canary quite another passphrase";
    let moved = authctl_reading(&instance, &arguments, &[PASSPHRASE, new]);
    assert_eq!(moved.code(), 0, "{moved:?}");
    let rotated = authctl_reading(&instance, &["key", "rotate", "--passphrase-stdin"], &[new]);
    assert_eq!(rotated.code(), 0, "{rotated:?}");
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
    assert!(lock(&instance, PATIENCE));
    let old = authctl_reading(&instance, &["unlock", "--passphrase-stdin"], &[PASSPHRASE]);
    assert_eq!(old.code(), 6, "{old:?}");
    let right = authctl_reading(&instance, &["unlock", "--passphrase-stdin"], &[new]);
    assert_eq!(right.code(), 0, "{right:?}");
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
    assert_eq!(server.counts().reuse_detected, 0);
    assert!(daemon.stop().success());

    // No passphrase anywhere: log, events, state.
    assert!(
        !instance.log().contains("canary "),
        "the log has a passphrase"
    );
    let grep = std::process::Command::new("grep")
        .args([
            "--recursive",
            "--text",
            "--quiet",
            "canary correct\\|canary quite",
        ])
        .arg(instance.dir())
        .status()
        .unwrap();
    assert_eq!(grep.code(), Some(1), "a file has a passphrase");
}

#[test]
fn a_hundred_guesses_at_once_delay_no_honest_client_while_it_is_locked() {
    let server = server();
    let instance = with_passphrase(&server);
    let _daemon = instance.start_daemon();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let guessing: Vec<_> = (0..100)
            .map(|number| {
                let mut client = instance.client();
                scope.spawn(move || guess(&mut client, &format!("a wrong guess, number {number}")))
            })
            .collect();
        // Others beside them, each a process of its own.
        let others: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(|| {
                    authctl_reading(&instance, &["unlock", "--passphrase-stdin"], &["wrong"])
                })
            })
            .collect();
        let honest = scope.spawn(|| {
            let mut client = instance.client();
            let mut took = Vec::new();
            while !over.load(Ordering::Acquire) || took.len() < 200 {
                let begun = Instant::now();
                call(&mut client, &DaemonStatus {}).unwrap();
                took.push(begun.elapsed());
            }
            took.sort();
            took[took.len() * 99 / 100]
        });
        let codes: Vec<_> = guessing
            .into_iter()
            .map(|guess| guess.join().unwrap())
            .collect();
        for other in others {
            assert_eq!(other.join().unwrap().code(), 6);
        }
        over.store(true, Ordering::Release);
        let p99 = honest.join().unwrap();
        assert!(p99 <= HONEST, "p99 of an honest status: {p99:?}");
        let wrong = codes
            .iter()
            .filter(|code| **code == ErrorCode::WrongPassphrase);
        let refused = codes.iter().filter(|code| **code == ErrorCode::Throttled);
        let (wrong, refused) = (wrong.count(), refused.count());
        assert_eq!(wrong + refused, 100, "{codes:?}");
        assert!(
            (1..=5).contains(&wrong),
            "{wrong} of one process were tried"
        );
    });
    // Whoever gave no wrong one does not wait.
    let begun = Instant::now();
    let unlocked = authctl_reading(&instance, &["unlock", "--passphrase-stdin"], &[PASSPHRASE]);
    assert_eq!(unlocked.code(), 0, "{unlocked:?}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
}

#[test]
fn a_hundred_guesses_at_once_delay_no_cached_token() {
    let server = server();
    let instance = with_passphrase(&server);
    let _daemon = instance.start_daemon();
    let unlocked = authctl_reading(&instance, &["unlock", "--passphrase-stdin"], &[PASSPHRASE]);
    assert_eq!(unlocked.code(), 0, "{unlocked:?}");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let guessing: Vec<_> = (0..100)
            .map(|_| {
                let (mut client, over) = (instance.client(), &over);
                scope.spawn(move || {
                    let ask = DaemonUnlock {
                        passphrase: Some(WireSecret::new("a wrong guess")),
                    };
                    let mut replies = 0_u32;
                    while !over.load(Ordering::Acquire) && replies < 200 {
                        // Not looked at: nothing is learned, and nothing is tried.
                        assert!(!call(&mut client, &ask).unwrap().was_locked);
                        replies += 1;
                    }
                    replies
                })
            })
            .collect();
        let mut moving = instance.client();
        let trying = scope.spawn(move || {
            let ask = KeyMove {
                to: KeyPlace::File,
                passphrase: Some(WireSecret::new("a wrong guess")),
                new_passphrase: None,
            };
            match moving.call(&ask, 4 * PATIENCE) {
                Err(ClientError::Wire(error)) => error.code,
                _ => panic!("it was right, or there is no answer"),
            }
        });
        let get = TokenGet {
            account: Some("demo"),
            ..TokenGet::default()
        };
        let mut honest = instance.client();
        let mut took: Vec<_> = (0..2000)
            .map(|_| {
                let begun = Instant::now();
                call(&mut honest, &get).unwrap();
                begun.elapsed()
            })
            .collect();
        assert_eq!(trying.join().unwrap(), ErrorCode::WrongPassphrase);
        over.store(true, Ordering::Release);
        let guesses: u32 = guessing
            .into_iter()
            .map(|guess| guess.join().unwrap())
            .sum();
        assert!(guesses >= 100, "{guesses}");
        took.sort();
        let p99 = took[took.len() * 99 / 100];
        assert!(p99 <= HONEST, "p99 of a cached token: {p99:?}");
    });
    assert_undelayed(&instance, "demo", "after a hundred guesses");
    assert!(
        !instance.state_dir().join("key").exists(),
        "the key did not move"
    );
}

#[test]
fn a_locked_key_store_answers_unlock_with_a_sentence_and_then_it_opens() {
    let server = server();
    let mut instance = Instance::new();
    let bus = Bus::start(instance.dir());
    instance.set_env("DBUS_SESSION_BUS_ADDRESS", bus.address());
    instance.configure("[key]\ntimeout_secs = 1\n");
    let keyring = bus.start_keyring();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let before = instance.authctl(&["token", "demo"]);
    assert!(lock(&instance, PATIENCE));
    keyring.lock();
    let refused = instance.authctl(&["unlock"]);
    assert_eq!(refused.code(), 6, "{refused:?}");
    assert!(refused.stderr.contains("keyring"), "{refused:?}");
    keyring.unlock();
    let unlocked = instance.authctl(&["unlock"]);
    assert_eq!(unlocked.code(), 0, "{unlocked:?}");
    assert_eq!(instance.authctl(&["token", "demo"]).line(), before.line());

    // One that hangs is given up, says so, and freezes nobody; it is found again when it answers.
    assert!(lock(&instance, PATIENCE));
    keyring.freeze();
    let begun = Instant::now();
    let refused = instance.authctl(&["unlock"]);
    assert_eq!(refused.code(), 6, "{refused:?}");
    assert!(refused.stderr.contains("does not answer"), "{refused:?}");
    assert!(begun.elapsed() < PATIENCE);
    let begun = Instant::now();
    assert_eq!(instance.status().store.state, "locked");
    assert!(begun.elapsed() < Duration::from_secs(1), "a frozen daemon");
    let mut watcher = instance.watch();
    keyring.thaw();
    // By itself: nobody asks again.
    watcher.wait_for(Duration::from_secs(60), |event| {
        event.event == EventKind::Daemon && event.outcome.as_deref() == Some("store_opened")
    });
    assert_eq!(instance.authctl(&["token", "demo"]).line(), before.line());
    assert!(daemon.stop().success());
}
