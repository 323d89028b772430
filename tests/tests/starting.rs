//! How a daemon comes to be, and how it does not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{PermissionsExt as _, chown},
            net::UnixListener,
        },
    },
    path::Path,
    process::Stdio,
};

use authd_e2e::{Daemon, Instance, PATIENCE, Process, Raw, binaries, may_change_users, raw::frame};
use authd_proto::request::DaemonStatus;
use authd_testkit::{FakeServer, Options};
use rustix::process::{Uid, geteuid};

/// A user that is nobody here.
const NOBODY: u32 = 65534;

#[test]
fn status_without_a_daemon_says_so_and_starts_none() {
    let instance = Instance::new();
    let status = instance.authctl(&["status"]);
    assert_eq!(status.code(), 7, "{status:?}");
    assert_eq!(status.stdout, "");
    assert!(!instance.socket().exists());
}

#[test]
fn an_unknown_account_has_an_exit_status_and_a_way_out() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let token = instance.authctl(&["token", "nobody"]);
    assert_eq!(token.code(), 3, "{token:?}");
    assert_eq!(token.stdout, "");
    assert!(
        token.stderr.contains("'nobody'") && token.stderr.contains("authctl l"),
        "{token:?}"
    );
    assert_eq!(token.stderr.lines().count(), 1, "{token:?}");
}

#[test]
fn commands_at_once_start_one_daemon() {
    let instance = Instance::new();
    let commands: Vec<_> = (0..8).map(|_| instance.start_authctl(&["list"])).collect();
    for command in commands {
        let list = command.finish(PATIENCE);
        assert_eq!(list.code(), 0, "{list:?}");
    }
    assert_eq!(instance.log().matches("serving").count(), 1);
}

#[test]
fn a_second_daemon_is_refused_and_told_who_runs() {
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let second = instance.daemon().refused();
    assert_eq!(second.code(), 1, "{second:?}");
    let words = format!("already running (pid {})", daemon.pid());
    assert!(second.stderr.contains(&words), "{second:?}");
    assert_eq!(instance.status().pid, daemon.pid(), "the first goes on");
}

#[test]
fn the_socket_of_a_killed_daemon_is_no_daemon_and_no_obstacle() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    daemon.kill();
    assert!(instance.socket().exists(), "it is left behind");
    assert_eq!(instance.authctl(&["status"]).code(), 7);
    // A command that needs a daemon starts one.
    let token = instance.authctl(&["token", "demo"]);
    assert_eq!(token.code(), 0, "{token:?}");
    let daemon_stop = instance.authctl(&["daemon", "stop"]);
    assert_eq!(daemon_stop.code(), 0, "{daemon_stop:?}");
    // It may still be on its way out: the lock is what says that it has gone.
    let lock = fs::File::open(instance.state_dir().join("authd.lock")).unwrap();
    lock.lock_shared().unwrap();
    lock.unlock().unwrap();
    let daemon = instance.start_daemon();
    assert_eq!(instance.status().pid, daemon.pid());
}

/// Gives all of the instance's directories to another user.
fn give_away(dir: &Path, uid: u32) {
    chown(dir, Some(uid), Some(uid)).unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            give_away(&path, uid);
        } else {
            chown(&path, Some(uid), Some(uid)).unwrap();
        }
    }
}

#[test]
fn a_daemon_of_another_user_is_not_talked_to_and_talks_to_nobody_else() {
    if !may_change_users() {
        return;
    }
    let instance = Instance::new();
    // Loosened on purpose: what refuses must be the checks of the peers alone.
    give_away(instance.dir(), NOBODY);
    let daemon = instance.daemon().user(NOBODY).ready();
    let loose = fs::Permissions::from_mode(0o777);
    for path in [
        instance.dir(),
        &instance.state_dir(),
        instance.socket().parent().unwrap(),
    ] {
        fs::set_permissions(path, loose.clone()).unwrap();
    }
    fs::set_permissions(instance.socket(), loose.clone()).unwrap();

    // The client looks at whose the place is.
    let status = instance.authctl(&["status"]);
    assert_eq!(status.code(), 7, "{status:?}");
    assert!(status.stderr.contains("belongs to uid 65534"), "{status:?}");

    // With the place made ours, whose the server is.
    let own = geteuid().as_raw();
    chown(instance.socket().parent().unwrap(), Some(own), None).unwrap();
    chown(instance.socket(), Some(own), None).unwrap();
    fs::set_permissions(
        instance.socket().parent().unwrap(),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let status = instance.authctl(&["status"]);
    assert_eq!(status.code(), 7, "{status:?}");
    assert!(status.stderr.contains("runs as uid 65534"), "{status:?}");

    // A client without manners is refused by the daemon: root as well.
    assert_eq!(ask(&instance.socket()), b"", "root is refused");
    assert_eq!(ask_as(&instance, 12345), b"", "a third user is refused");
    assert!(!ask_as(&instance, NOBODY).is_empty(), "its own user is not");
    drop(daemon);
}

/// What the daemon answers to a request for its status.
fn ask(socket: &Path) -> Vec<u8> {
    let mut raw = Raw::connect(socket);
    // It may have hung up already.
    raw.send(&frame(1, &DaemonStatus {}));
    let _ = raw.stream().shutdown(std::net::Shutdown::Write);
    raw.until_closed(PATIENCE)
        .expect("an end of the connection")
}

fn ask_as(instance: &Instance, uid: u32) -> Vec<u8> {
    let socket = instance.socket();
    // On Linux a user is a thread's own, and ends with it.
    let asking = std::thread::spawn(move || {
        rustix::thread::set_thread_uid(Uid::from_raw(uid)).unwrap();
        ask(&socket)
    });
    asking.join().unwrap()
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named_and_nothing_starts() {
    let instance = Instance::new();
    let mut start = instance.daemon();
    if geteuid().is_root() {
        // Root writes everywhere.
        give_away(instance.dir(), NOBODY);
        start = start.user(NOBODY);
    }
    fs::set_permissions(instance.state_dir(), fs::Permissions::from_mode(0o500)).unwrap();
    let refused = start.refused();
    assert_eq!(refused.code(), 1, "{refused:?}");
    let state_dir = instance.state_dir().display().to_string();
    assert!(refused.stderr.contains(&state_dir), "{refused:?}");
    assert!(refused.stderr.contains("Permission denied"), "{refused:?}");
}

/// What an activated daemon does, whoever passed the socket.
fn assert_adopted(instance: &Instance, socket: &Path, process: Process) {
    // The connection waits in the socket until the daemon is there.
    assert!(!ask(socket).is_empty(), "an answer of the activated daemon");
    assert!(!instance.socket().exists(), "it listens nowhere else");
    assert!(Daemon::of(process).stop().success());
}

#[test]
fn a_socket_that_was_passed_is_adopted() {
    let instance = Instance::new();
    let socket = instance.dir().join("passed.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // The variables name the process that adopts, which only that process can.
    let pass = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0""#;
    let mut shell = instance.command("/bin/sh");
    shell
        .args(["-c", pass])
        .arg(binaries::authd())
        .env("AUTHD_SOCKET", &socket)
        .stdin(OwnedFd::from(listener))
        .stderr(Stdio::null());
    assert_adopted(&instance, &socket, Process::spawn(&mut shell));
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
fn a_socket_of_systemds_is_adopted() {
    let activate = Path::new("/usr/bin/systemd-socket-activate");
    if !activate.exists() {
        eprintln!("SKIPPED: there is no {}", activate.display());
        return;
    }
    let instance = Instance::new();
    let socket = instance.dir().join("activated.sock");
    let mut command = instance.command(activate);
    command
        .env("AUTHD_SOCKET", &socket)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .args(["-E", "AUTHD_SOCKET"]);
    // It passes on what it is told to, and nothing else.
    for (name, _) in instance.command(activate).get_envs() {
        command.arg("-E").arg(name);
    }
    command.arg("--listen").arg(&socket).arg(binaries::authd());
    let mut process = Process::spawn(&mut command);
    let stderr = process.child().stderr.take().unwrap();
    let mut lines = BufReader::new(stderr).lines();
    let listening = lines.next().unwrap().unwrap();
    assert!(listening.contains("Listening on"), "{listening}");
    let _rest = std::thread::spawn(move || lines.for_each(drop));
    assert_adopted(&instance, &socket, process);
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused_with_the_key_that_was_meant() {
    let instance = Instance::new();
    instance.configure("[network]\nrequest_timeout_sec = 10\n");
    let refused = instance.daemon().refused();
    assert_eq!(refused.code(), 1, "{refused:?}");
    let words = "line 2: unknown key `request_timeout_sec`, did you mean `request_timeout_secs`?";
    assert!(refused.stderr.contains(words), "{refused:?}");
    // The command that would have started it passes the reason on.
    let list = instance.authctl(&["list"]);
    assert_eq!(list.code(), 7, "{list:?}");
    assert!(list.stderr.contains("did you mean"), "{list:?}");
}
