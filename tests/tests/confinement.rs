//! What a daemon that runs can still do, and what is done for it by its launcher.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::{
        fd::AsFd as _,
        unix::{fs::PermissionsExt as _, net::UnixListener},
    },
    path::{Path, PathBuf},
    process::Command,
};

use authd_e2e::{
    Daemon, Instance, PATIENCE, Raw,
    asker::{Asker, Way},
    may_change_users,
    raw::frame,
    tool, until,
};
use authd_proto::request::DaemonStatus;
use authd_testkit::{Client, ClientAuthentication, FakeServer, Options};
use rustix::{
    io::FdFlags,
    process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit},
};
use serde_json::Value;

/// Nobody else's, here or in another test.
const SOMEBODY: u32 = 61_235;

fn of(id: u32, file: &str) -> PathBuf {
    Path::new("/proc").join(id.to_string()).join(file)
}

/// A line of a `status` file in `/proc`.
fn fact<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim_start_matches(':').trim()
}

/// The daemon's one child.
fn launcher(daemon: &Daemon) -> Pid {
    let own = daemon.pid().to_string();
    let mut found = None;
    until("there is a launcher", || {
        let entries = fs::read_dir("/proc").unwrap();
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        found = ids.into_iter().find(|id: &u32| {
            let status = fs::read_to_string(of(*id, "status")).unwrap_or_default();
            fact(&status, "PPid") == own && fact(&status, "Name") == "authd-launcher"
        });
        found.is_some()
    });
    Pid::from_raw(found.unwrap().cast_signed()).unwrap()
}

fn is_gone(pid: Pid) -> bool {
    let status = fs::read_to_string(of(pid.as_raw_nonzero().get().cast_unsigned(), "status"));
    // One that nobody has waited for is gone too.
    status.is_err() || status.is_ok_and(|status| fact(&status, "State").starts_with('Z'))
}

/// A protection of `status --json`.
fn protection<'a>(status: &'a Value, name: &str) -> &'a Value {
    let all = status["daemon"]["protections"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == name);
    one.unwrap_or_else(|| panic!("{name} in {status:#}"))
}

fn status(instance: &Instance) -> Value {
    instance.authctl(&["status", "--json"]).json()
}

/// A provider whose one client is confidential.
fn provider(secret: &str) -> FakeServer {
    let client = Client::native("service");
    let client = client.authenticated_by(ClientAuthentication::Basic(secret.to_owned()));
    let server = FakeServer::start(Options {
        clients: vec![client],
        ..Options::default()
    });
    server.unwrap()
}

/// Logs in an account whose secret a script prints.
fn login_by_script(instance: &Instance, server: &FakeServer, script: &Path) -> authd_e2e::Finished {
    instance.authctl(&[
        "login",
        "ci",
        "--issuer",
        server.issuer(),
        "--client-id",
        "service",
        "--client-credentials",
        "--client-secret-command",
        &script.display().to_string(),
    ])
}

/// A script of the instance's.
fn script(instance: &Instance, name: &str, text: &str) -> PathBuf {
    let path = instance.dir().join("home").join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn every_thread_is_confined_and_everything_works() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    instance.renew("demo").unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(of(daemon.pid(), "task")).unwrap() {
        let status = fs::read_to_string(entry.unwrap().path().join("status")).unwrap();
        assert_eq!(fact(&status, "NoNewPrivs"), "1", "{status}");
        assert_eq!(fact(&status, "Seccomp"), "2", "{status}");
        assert_eq!(fact(&status, "Seccomp_filters"), "2", "{status}");
        names.push(fact(&status, "Name").to_owned());
    }
    for expected in ["authd", "network", "store", "events"] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
    // The launcher is not: what it starts may be anything.
    let apart = launcher(&daemon).as_raw_nonzero().get().cast_unsigned();
    let status = fs::read_to_string(of(apart, "status")).unwrap();
    assert_eq!(fact(&status, "NoNewPrivs"), "0");
    assert_eq!(fact(&status, "Seccomp"), "0");

    let report = self::status(&instance);
    assert_eq!(report["daemon"]["sandbox"], "full", "{report:#}");
    for name in [
        "undumpable",
        "no_core_file",
        "no_new_privileges",
        "locked_keys",
        "files",
        "system_calls",
        "launcher",
    ] {
        assert_eq!(protection(&report, name)["in_force"], true, "{report:#}");
    }
    // Nothing is missing, and nothing is said.
    let shown = instance.authctl(&["status"]);
    assert!(!shown.stdout.contains("not in force"), "{shown:?}");
    assert!(
        instance
            .authctl(&["doctor"])
            .stdout
            .contains("ok    sandbox")
    );
}

#[test]
fn whoever_breaks_in_writes_nothing_outside_and_runs_nothing_on_any_thread() {
    let server = FakeServer::start(Options::default()).unwrap();
    for boundary in ["before_intent", "bytes_sent", "commit_synced"] {
        let instance = Instance::new();
        let (inside, outside) = (instance.state_dir(), instance.dir().join("home"));
        // Inside first: there it can be seen to write.
        for (directory, wrote) in [(&inside, "yes"), (&outside, "permission denied")] {
            let order = format!("{boundary}=escape:{}@1", directory.display());
            let daemon = instance.daemon().failpoint(&order).ready();
            if wrote == "yes" {
                instance.login(&server, "demo");
            }
            // A login passes some of the boundaries, a renewal all of them.
            instance.renew("demo").unwrap();
            let words = format!("escape at {boundary} wrote=\"{wrote}\" ran=\"permission denied\"");
            assert!(instance.log().contains(&words), "no {words:?}");
            assert_eq!(directory.join(boundary).exists(), wrote == "yes");
            assert!(daemon.stop().success());
        }
    }
}

#[test]
fn a_secret_command_runs_unconfined_with_a_scrubbed_environment_and_no_descriptors() {
    let server = provider("hush");
    let mut instance = Instance::new();
    instance.set_env("LEAK", "canary-leak");
    let home = instance.dir().join("home");
    // It writes where the daemon could not, and says what it was given.
    let seen = home.join("seen");
    let text = format!(
        "{{ env; ls -l /proc/self/fd; cat; grep NoNewPrivs /proc/self/status; }} >{} 2>&1\necho hush",
        seen.display()
    );
    let script = script(&instance, "secret", &text);
    // Something that whoever starts the daemon forgot to close.
    let open = UnixListener::bind(instance.dir().join("forgotten")).unwrap();
    rustix::io::fcntl_setfd(open.as_fd(), FdFlags::empty()).unwrap();
    let _daemon = instance.start_daemon();
    let logged_in = login_by_script(&instance, &server, &script);
    assert_eq!(logged_in.code(), 0, "{logged_in:?}");
    assert_eq!(instance.authctl(&["renew", "ci"]).code(), 0);

    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains("HOME=") && !seen.contains("canary"), "{seen}");
    assert!(!seen.contains("AUTHD_"), "{seen}");
    assert!(seen.contains("NoNewPrivs:\t0"), "{seen}");
    let descriptors: Vec<_> = seen.lines().filter(|line| line.contains(" -> ")).collect();
    // The three that every program has, and the directory that is being listed.
    assert_eq!(descriptors.len(), 4, "{descriptors:?}");
    assert!(
        descriptors[0].ends_with("0 -> /dev/null"),
        "{descriptors:?}"
    );
    assert!(!seen.contains("socket:"), "{seen}");
    let log = instance.log();
    assert!(!log.contains("hush"), "the secret is in the log");
}

#[test]
fn without_its_launcher_the_daemon_goes_on_and_says_what_is_missing() {
    let server = provider("hush");
    let instance = Instance::new();
    let script = script(&instance, "secret", "echo hush");
    let daemon = instance.start_daemon();
    let logged_in = login_by_script(&instance, &server, &script);
    assert_eq!(logged_in.code(), 0, "{logged_in:?}");
    assert!(daemon.stop().success());

    // What it printed is not known to this one.
    let daemon = instance.start_daemon();
    let launcher = launcher(&daemon);
    // What is for all that is called authd is not for it.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        kill_process(launcher, signal).unwrap();
    }
    assert_eq!(protection(&status(&instance), "launcher")["in_force"], true);
    kill_process(launcher, Signal::KILL).unwrap();
    until("it is gone", || is_gone(launcher));

    let renewed = instance.authctl(&["renew", "ci", "--wait", "5s"]);
    assert_ne!(renewed.code(), 0, "{renewed:?}");
    let shown = instance.authctl(&["status", "ci"]);
    assert!(shown.stdout.contains("not in force: launcher"), "{shown:?}");
    assert!(shown.stdout.contains("authctl daemon stop"), "{shown:?}");
    let doctor = instance.authctl(&["doctor", "--json"]).json();
    let findings = doctor["findings"].as_array().unwrap();
    let gone = findings.iter().find(|one| one["code"] == "launcher_gone");
    let fix = gone.unwrap()["fix"].as_str().unwrap();
    assert!(fix.starts_with("authctl daemon stop"), "{fix}");
    // The token that is there is handed out.
    assert_eq!(instance.authctl(&["token", "ci"]).code(), 0);

    assert!(daemon.stop().success());
    let _daemon = instance.start_daemon();
    let renewed = instance.authctl(&["renew", "ci"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");
}

#[test]
fn the_launcher_and_what_it_started_end_with_the_daemon_however_that_ends() {
    let server = provider("hush");
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let script = script(&instance, "secret", "echo hush");
    let logged_in = login_by_script(&instance, &server, &script);
    assert_eq!(logged_in.code(), 0, "{logged_in:?}");
    let apart = launcher(&daemon);
    assert!(daemon.stop().success());
    until("it ends with a daemon that stops", || is_gone(apart));

    let started = instance.dir().join("home").join("started");
    let text = format!("sleep 1000 & echo $$ $! >{}; wait", started.display());
    self::script(&instance, "secret", &text);
    let daemon = instance.start_daemon();
    let apart = launcher(&daemon);
    let renewing = instance.start_authctl(&["renew", "ci", "--wait", "20s"]);
    let mut ids = Vec::new();
    until("the command runs", || {
        let text = fs::read_to_string(&started).unwrap_or_default();
        ids = text
            .split_whitespace()
            .map(|id| id.parse().unwrap())
            .collect();
        ids.len() == 2
    });
    let pids: Vec<_> = ids.into_iter().filter_map(Pid::from_raw).collect();
    assert!(pids.iter().all(|pid| !is_gone(*pid)));
    daemon.kill();
    until("all of them end", || {
        is_gone(apart) && pids.iter().all(|pid| is_gone(*pid))
    });
    drop(renewing);
}

#[test]
fn where_nothing_can_be_locked_the_daemon_runs_and_says_so() {
    if !may_change_users() {
        return;
    }
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::of_user(SOMEBODY);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Inherited by what is started from here; root is not bound by it.
    prlimit(None, Resource::Memlock, none).unwrap();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let report = status(&instance);
    let keys = protection(&report, "locked_keys");
    assert_eq!(keys["in_force"], false, "{report:#}");
    assert!(keys["fix"].as_str().unwrap().contains("LimitMEMLOCK"));
    assert_eq!(report["daemon"]["sandbox"], "full", "{report:#}");
    let shown = instance.authctl(&["status"]);
    let line = "not in force: locked keys; see 'authctl doctor'";
    assert!(shown.stdout.contains(line), "{shown:?}");
    let doctor = instance.authctl(&["doctor"]);
    assert!(doctor.stdout.contains("warn  sandbox"), "{doctor:?}");
}

/// Python in a root of its own making, where `/.flatpak-info` is a pipe that nobody writes into.
fn python_beside_a_pipe(instance: &Instance) -> Command {
    const PREPARE: &str = r#"
        set -e
        mount -t tmpfs none "$0"
        for dir in bin lib lib64 usr etc proc dev tmp; do
            test -e "/$dir" || continue
            mkdir "$0/$dir"
            mount --rbind "/$dir" "$0/$dir"
        done
        mkfifo "$0/.flatpak-info"
        exec chroot "$0" /usr/bin/python3 "$@"
    "#;
    let mut command = instance.command(tool::of_everybody("unshare"));
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", PREPARE])
        .arg(instance.dir().join("home"));
    command
}

#[test]
fn a_sandbox_that_does_not_say_what_it_is_keeps_nobody_waiting() {
    if !may_change_users() {
        return;
    }
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::of_user(SOMEBODY);
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let launcher = launcher(&daemon).as_raw_nonzero().get().cast_unsigned();
    // More than are looked into at once.
    for _ in 0..12 {
        let strange = python_beside_a_pipe(&instance);
        let asker = Asker::by(&instance, strange, "demo", Way::Itself);
        asker.answer().unwrap();
    }
    let python = Asker::python(&instance, "demo", "x", Way::Itself);
    python.answer().unwrap();
    let known = callers(&instance);
    assert_eq!(known.len(), 13, "{known:#?}");
    let (last, strange) = known.split_last().unwrap();
    assert!(strange.iter().all(|one| one["name"] == "unidentified"));
    let program = last["executable"].as_str().unwrap();
    assert!(program.contains("python"), "{last:#}");
    until("nobody looks any more", || {
        fs::read_dir(of(launcher, "task")).unwrap().count() == 1
    });
}

/// The callers in the audit log that were given a token, the oldest first.
fn callers(instance: &Instance) -> Vec<Value> {
    let log = instance.authctl(&["audit", "--json"]);
    assert_eq!(log.code(), 0, "{log:?}");
    let lines = log.stdout.lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let given = lines.filter(|line| line["decision"] == "handed_out");
    given.map(|line| line["caller"].clone()).collect()
}

#[test]
fn who_asks_is_seen_by_the_launcher_for_a_daemon_that_cannot_look() {
    // To root's daemon nothing is hidden.
    if !may_change_users() {
        return;
    }
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::of_user(SOMEBODY);
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let python = Asker::python(&instance, "demo", "x", Way::Itself);
    python.answer().unwrap();
    let elsewhere = ["--user", "--map-root-user", "--pid", "--fork"];
    let elsewhere = Asker::in_namespaces(&instance, "demo", &elsewhere);
    elsewhere.answer().unwrap();
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);

    let known = callers(&instance);
    assert_eq!(known.len(), 3, "{known:#?}");
    let program = known[0]["executable"].as_str().unwrap();
    assert!(program.contains("python"), "{known:#?}");
    assert_eq!(known[0]["pid"], python.pid());
    assert_eq!(known[1]["name"], "unidentified", "{known:#?}");
    let program = known[2]["executable"].as_str().unwrap();
    assert!(program.ends_with("/authctl"), "{known:#?}");

    // Without it nobody is taken for another, and everybody is served.
    let launcher = launcher(&daemon);
    kill_process(launcher, Signal::KILL).unwrap();
    until("it is gone", || is_gone(launcher));
    let python = Asker::python(&instance, "demo", "x", Way::Itself);
    python.answer().unwrap();
    // Where nobody answers who it is, its line is written a little later.
    let mut last = Value::Null;
    until("it is written down", || {
        last = callers(&instance).pop().unwrap();
        last["pid"] == python.pid()
    });
    assert_eq!(last.get("executable"), None, "{last:#}");
    let name = last["name"].as_str().unwrap();
    assert!(!name.starts_with("exe:"), "{last:#}");
}

#[test]
fn root_is_let_in_by_leave_alone() {
    if !may_change_users() {
        return;
    }
    let ask = |instance: &Instance| {
        let mut raw = Raw::connect(&instance.socket());
        // It may have hung up already.
        raw.send(&frame(1, &DaemonStatus {}));
        let _ = raw.stream().shutdown(std::net::Shutdown::Write);
        raw.until_closed(PATIENCE).unwrap()
    };
    let instance = Instance::of_user(SOMEBODY);
    let daemon = instance.start_daemon();
    assert_eq!(ask(&instance), b"", "refused");
    assert!(daemon.stop().success());
    instance.configure("allow_root = true\n");
    let config = instance.config_dir().join("config.toml");
    std::os::unix::fs::chown(config, Some(SOMEBODY), None).unwrap();
    let _daemon = instance.start_daemon();
    assert!(!ask(&instance).is_empty(), "let in");
}
