//! `authctl service` with a real user manager of systemd's: what it installs serves, survives, and goes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use authd_e2e::{Instance, PATIENCE, Process, until, user_manager::UserManager};
use authd_testkit::{FakeServer, Options};
use serde_json::Value;

fn server() -> FakeServer {
    FakeServer::start(Options::default()).unwrap()
}

fn status(user: &UserManager) -> Value {
    user.authctl(&["service", "status", "--json"]).json()
}

fn succeed(user: &UserManager, arguments: &[&str]) -> String {
    let finished = user.authctl(arguments);
    assert_eq!(finished.code(), 0, "{arguments:?}: {finished:?}");
    finished.stderr
}

#[test]
fn a_service_takes_over_from_the_daemon_of_a_command_and_goes_again() {
    let Some(user) = UserManager::start() else {
        return;
    };
    let server = server();
    user.login(&server, "demo");
    let before = user.authctl(&["token", "demo"]).line().to_owned();
    let spawned = user.authctl(&["status", "--json"]).json()["daemon"]["pid"].clone();
    assert_eq!(
        user.authctl(&["service", "status"]).code(),
        1,
        "there is none"
    );
    assert_eq!(
        user.authctl(&["service", "start"]).code(),
        1,
        "there is none"
    );

    let said = succeed(&user, &["service", "install"]);
    assert!(
        said.contains(&format!("(pid {spawned}) gives way")),
        "{said}"
    );
    assert!(said.contains("from now on at every login"), "{said}");
    let report = status(&user);
    for (member, value) in [
        ("manager", Value::from("systemd")),
        ("installed", true.into()),
        ("packaged", false.into()),
        ("hardened", false.into()),
        ("at_login", true.into()),
        ("state", "active (running)".into()),
        ("listens_at", user.socket().to_str().unwrap().into()),
    ] {
        assert_eq!(report[member], value, "{member}: {report}");
    }
    assert_ne!(report["pid"], spawned);
    assert_eq!(report["pid"], report["daemon"]["pid"]);
    assert_eq!(
        user.authctl(&["token", "demo"]).line(),
        before,
        "nothing is lost"
    );
    assert_eq!(
        server.counts().refreshes(),
        0,
        "and nothing was renewed for it"
    );

    // Again: nothing changes, nothing is restarted.
    let said = succeed(&user, &["service", "install"]);
    assert!(said.contains("was installed already"), "{said}");
    assert_eq!(status(&user)["pid"], report["pid"]);

    succeed(&user, &["service", "stop"]);
    assert!(!user.socket().exists(), "nobody listens");
    assert_eq!(user.authctl(&["service", "status"]).code(), 7);
    succeed(&user, &["service", "start"]);
    assert_eq!(user.authctl(&["service", "status"]).code(), 0);

    let units = user.home().join(".config/systemd/user");
    let drop_in = units.join("authd.service.d/mine.conf");
    fs::create_dir(drop_in.parent().unwrap()).unwrap();
    fs::write(&drop_in, "[Service]\n").unwrap();
    let said = succeed(&user, &["service", "uninstall"]);
    assert!(said.contains("logins are kept"), "{said}");
    assert!(!units.join("authd.service").exists() && !units.join("authd.socket").exists());
    assert!(drop_in.exists(), "what others wrote stays");
    assert_eq!(user.authctl(&["service", "status"]).code(), 1);
    let left = user.systemctl(&["show", "--property=LoadState", "authd.service"]);
    assert_eq!(left.stdout, "LoadState=not-found\n");
    let said = succeed(&user, &["service", "uninstall"]);
    assert!(said.contains("was not installed"), "{said}");
    // Commands start the daemon as before.
    assert_eq!(user.authctl(&["token", "demo"]).line(), before);
}

#[test]
fn systemd_starts_it_at_the_first_call_and_again_after_a_crash() {
    let Some(user) = UserManager::start() else {
        return;
    };
    let server = server();
    succeed(&user, &["service", "install"]);
    user.login(&server, "demo");
    let stop = user.systemctl(&["stop", "authd.service"]);
    assert_eq!(stop.code(), 0, "{stop:?}");
    assert_eq!(status(&user)["pid"], Value::Null);
    // It listens all the same.
    let token = user.authctl(&["token", "demo"]);
    assert_eq!(token.code(), 0, "{token:?}");
    let pid = status(&user)["pid"].as_u64().unwrap();
    let killed = user.systemctl(&["kill", "--signal=KILL", "authd.service"]);
    assert_eq!(killed.code(), 0, "{killed:?}");
    assert_eq!(user.authctl(&["token", "demo"]).line(), token.line());
    assert_ne!(status(&user)["pid"].as_u64().unwrap(), pid);
}

#[test]
fn systemd_replaces_a_daemon_that_hangs() {
    let Some(user) = UserManager::start() else {
        return;
    };
    let server = server();
    succeed(&user, &["service", "install"]);
    user.login(&server, "demo");
    let drop_ins = user.home().join(".config/systemd/user/authd.service.d");
    fs::create_dir(&drop_ins).unwrap();
    // In place of minutes.
    let soon = "[Service]\nWatchdogSec=1s\nTimeoutAbortSec=1s\n";
    fs::write(drop_ins.join("soon.conf"), soon).unwrap();
    for arguments in [&["daemon-reload"][..], &["restart", "authd.service"]] {
        let done = user.systemctl(arguments);
        assert_eq!(done.code(), 0, "{done:?}");
    }
    let pid = status(&user)["pid"].clone();
    // Alive for longer than it may be silent: it is not.
    let before = Instant::now();
    until("the watchdog would have bitten", || {
        assert_eq!(user.authctl(&["token", "demo"]).code(), 0);
        before.elapsed() > Duration::from_secs(3)
    });
    assert_eq!(status(&user)["pid"], pid);
    let hung = user.systemctl(&["kill", "--signal=STOP", "authd.service"]);
    assert_eq!(hung.code(), 0, "{hung:?}");
    // Whoever asks waits for the next one.
    let token = user.authctl(&["token", "demo", "--wait", "25s"]);
    assert_eq!(token.code(), 0, "{token:?}");
    assert_ne!(status(&user)["pid"], pid);
}

#[test]
fn a_restart_of_the_service_fails_no_call() {
    let Some(user) = UserManager::start() else {
        return;
    };
    let server = server();
    succeed(&user, &["service", "install"]);
    user.login(&server, "demo");
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let token = user.authctl(&["token", "demo"]);
                    assert_eq!(token.code(), 0, "{token:?}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut pids = vec![status(&user)["pid"].clone()];
        for verb in ["service", "daemon", "service"] {
            let so_far = served.load(Ordering::Relaxed);
            let restart = user.authctl(&[verb, "restart"]);
            assert_eq!(restart.code(), 0, "{restart:?}");
            let report = status(&user);
            assert_eq!(
                report["pid"], report["daemon"]["pid"],
                "it is still systemd's"
            );
            pids.push(report["pid"].clone());
            until("others are served", || {
                served.load(Ordering::Relaxed) > so_far + 8
            });
        }
        over.store(true, Ordering::Relaxed);
        pids.dedup();
        assert_eq!(pids.len(), 4, "{pids:?}");
    });
    assert_eq!(server.counts().refreshes(), 0, "no call cost an exchange");
}

#[test]
fn its_log_is_the_journal_and_that_of_another_daemon_a_file() {
    let Some(user) = UserManager::start() else {
        return;
    };
    let logs = |more: &[&str]| {
        let arguments = [&["service", "logs"], more].concat();
        let mut command = user.authctl_beside_the_journal(&arguments);
        Process::capture(&mut command).finish(PATIENCE)
    };
    assert_eq!(user.authctl(&["list"]).code(), 0);
    let file = logs(&[]);
    assert_eq!(file.stdout.matches("serving").count(), 1, "{file:?}");
    assert!(!file.stdout.contains("authd["), "{file:?}");

    succeed(&user, &["service", "install"]);
    until("the journal has it", || {
        logs(&[]).stdout.contains("serving")
    });
    let journal = logs(&[]);
    assert_eq!(journal.code(), 0);
    // The journal says who wrote a line, and the file does not.
    assert!(journal.stdout.contains("authd["), "{journal:?}");
    let later = logs(&["--since", "2100-01-01T00:00:00Z"]);
    assert!(!later.stdout.contains("serving"), "{later:?}");

    let mut follow = user.authctl_beside_the_journal(&["service", "logs", "--follow"]);
    follow.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut follow = Process::spawn(&mut follow);
    let stdout = follow.child().stdout.take().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        // The test may have seen enough.
        lines.for_each(|line| drop(tell.send(line)));
    });
    succeed(&user, &["service", "restart"]);
    for word in ["stopped", "serving"] {
        while !told.recv_timeout(PATIENCE).unwrap().contains(word) {}
    }
}

#[test]
fn the_drop_in_is_put_there_serves_and_goes() {
    let Some(user) = UserManager::start() else {
        return;
    };
    let server = server();
    let said = succeed(&user, &["service", "install", "--hardened"]);
    assert!(said.contains("authd-hardening.conf"), "{said}");
    assert_eq!(status(&user)["hardened"], true);
    user.login(&server, "demo");
    assert_eq!(user.authctl(&["token", "demo"]).code(), 0);
    assert_eq!(user.authctl(&["renew", "demo"]).code(), 0, "it can write");
    succeed(&user, &["service", "uninstall"]);
    let drop_ins = user.home().join(".config/systemd/user/authd.service.d");
    assert!(!drop_ins.exists());
}

#[test]
fn units_that_are_enabled_for_everybody_are_said_to_come_again() {
    let Some(user) = UserManager::start() else {
        return;
    };
    user.enable_for_everybody(&[
        ("authd.socket", include_str!("../../systemd/authd.socket")),
        ("authd.service", include_str!("../../systemd/authd.service")),
    ]);
    // Where those files are.
    let authctl = |arguments: &[&str]| {
        Process::capture(&mut user.authctl_beside_the_journal(arguments)).finish(PATIENCE)
    };
    let installed = authctl(&["service", "install"]);
    assert_eq!(installed.code(), 0, "{installed:?}");
    let report = authctl(&["service", "status", "--json"]).json();
    assert_eq!(report["packaged"], true, "{report}");
    assert_eq!(report["at_login"], true, "{report}");

    let said = authctl(&["service", "uninstall"]).stderr;
    assert!(!said.contains("disabled"), "{said}");
    assert!(said.contains("starts again at the next login"), "{said}");
    assert!(!user.socket().exists(), "nobody listens");
    // What it says keeps them away does.
    let (_, rest) = said.split_once("'systemctl --user ").unwrap();
    let (advice, _) = rest.split_once('\'').unwrap();
    let advice: Vec<&str> = advice.split(' ').collect();
    let masked = user.systemctl(&advice);
    assert_eq!(masked.code(), 0, "{masked:?}");
    let reloaded = user.systemctl(&["daemon-reload"]);
    assert_eq!(reloaded.code(), 0, "{reloaded:?}");
    let again = authctl(&["service", "uninstall"]);
    assert!(again.stderr.contains("was not installed"), "{again:?}");
}

#[test]
fn a_credential_that_the_manager_hands_over_opens_the_store_and_nothing_else_does() {
    let Some(user) = UserManager::start() else {
        return;
    };
    let server = server();
    succeed(&user, &["service", "install"]);
    user.login(&server, "demo");
    let before = user.authctl(&["token", "demo"]).line().to_owned();

    let credential = user.home().join("credential");
    fs::write(&credential, "canary: thirty-two bytes or more").unwrap();
    let drop_in = user
        .home()
        .join(".config/systemd/user/authd.service.d/credential.conf");
    fs::create_dir(drop_in.parent().unwrap()).unwrap();
    let handed_over = format!(
        "[Service]\nLoadCredential=authd-key:{}\n",
        credential.display()
    );
    let restart_with = |setting: &str| {
        fs::write(&drop_in, setting).unwrap();
        let reloaded = user.systemctl(&["daemon-reload"]);
        assert_eq!(reloaded.code(), 0, "{reloaded:?}");
        succeed(&user, &["service", "restart"]);
    };
    let refused = user.authctl(&["key", "move", "--to", "credential"]);
    assert_ne!(refused.code(), 0, "nobody hands one over yet");
    restart_with(&handed_over);
    succeed(&user, &["key", "move", "--to", "credential"]);
    for _ in 0..2 {
        let key = user.authctl(&["key", "status", "--json"]).json();
        assert_eq!(key["place"], "credential", "{key}");
        assert_eq!(key["locked"], false, "{key}");
        assert_eq!(user.authctl(&["token", "demo"]).line(), before);
        restart_with(&handed_over);
    }

    restart_with("");
    let locked = user.authctl(&["token", "demo"]);
    assert_eq!(locked.code(), 6, "{locked:?}");
    assert!(locked.stderr.contains("credential"), "{locked:?}");
    restart_with(&handed_over);
    assert_eq!(user.authctl(&["token", "demo"]).line(), before);
    assert_eq!(server.counts().refreshes(), 0, "nothing was lost");
}

#[test]
fn units_of_others_are_not_touched() {
    let Some(user) = UserManager::start() else {
        return;
    };
    let units = user.home().join(".config/systemd/user");
    fs::create_dir_all(&units).unwrap();
    let unit = units.join("authd.service");
    let theirs = "[Service]\nExecStart=/bin/true\n";
    fs::write(&unit, theirs).unwrap();
    for path in [&unit, &units, &user.home().join(".config")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let refused = user.authctl(&["service", "install"]);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(refused.stderr.contains("was not written by"), "{refused:?}");
    assert_eq!(fs::read_to_string(&unit).unwrap(), theirs);
}

#[test]
fn where_no_user_manager_is_reached_it_says_what_to_do() {
    let instance = Instance::new();
    let mut command = instance.command(authd_e2e::binaries::authctl());
    // A shell of the ordinary places, and none of a session.
    for name in ["AUTHD_STATE_DIR", "AUTHD_CONFIG_DIR"] {
        command.env_remove(name);
    }
    command
        .env("XDG_RUNTIME_DIR", instance.dir())
        .args(["service", "install"]);
    let refused = Process::capture(&mut command).finish(PATIENCE);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(refused.stderr.contains("cannot be reached"), "{refused:?}");
    assert!(refused.stderr.contains("enable-linger"), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    let config = instance.dir().join("home/.config");
    assert!(!config.exists(), "nothing was written");
}

#[test]
fn a_shell_of_an_isolated_instance_installs_nothing() {
    let instance = Instance::new();
    let refused = instance.authctl(&["service", "install"]);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(
        refused.stderr.contains("AUTHD_STATE_DIR is set"),
        "{refused:?}"
    );
}
