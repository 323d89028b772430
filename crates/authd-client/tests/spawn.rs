//! Starting a daemon: a stand-in that locks, listens and reports ready, as the real one does.
#![cfg(unix)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use authd_client::spawn::{connect_or_start, start};
use authd_client::{ClientError, Directories, Environment, Instance, SocketPath, StartError, Who};

const SOON: Duration = Duration::from_secs(20);

/// An instance of its own, and the program to start for it.
struct Place {
    dir: tempfile::TempDir,
    instance: Instance,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let state = dir.path().join("state");
        let environment = Environment {
            state_dir: Some(state.clone().into()),
            ..Environment::default()
        };
        let directories = Directories {
            state,
            config: dir.path().join("config"),
        };
        let socket = SocketPath::locate(&environment, &directories).expect("short");
        Self {
            dir,
            instance: Instance {
                socket,
                directories,
            },
        }
    }

    /// A program that runs `script`; `$2` is the descriptor to report ready on.
    fn program(&self, script: &str) -> PathBuf {
        let path = self.dir.path().join("authd");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        path
    }

    /// A stand-in daemon that ends when somebody connects and sends a byte.
    fn daemon(&self) -> PathBuf {
        let own = std::env::current_exe().expect("known on Linux");
        let state = self.instance.directories.state.display();
        self.program(&format!(
            "env > {state}/environment; echo \"$*\" >> {state}/starts; \
             READY_FD=$2 PLACE={state} exec {} --exact child_daemon --ignored --nocapture",
            own.display()
        ))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.instance.directories.state.join(name))
            .expect("the child wrote it")
    }

    /// Lets the stand-in end, and waits until it has.
    fn end(&self) {
        let mut stream = authd_ipc::connect(&self.instance.socket, SOON).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("set");
        stream.write_all(b"x").expect("it reads");
        assert_eq!(stream.read(&mut [0]).expect("it hangs up"), 0);
    }
}

#[test]
#[expect(unsafe_code, reason = "the descriptor comes by number")]
#[ignore = "the body of a child"]
fn child_daemon() {
    let place = PathBuf::from(std::env::var_os("PLACE").expect("the body of a child"));
    let run = place.join("run");
    std::fs::create_dir_all(&run).expect("ours");
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o700)).expect("ours");
    let listener = UnixListener::bind(run.join("authd.sock")).expect("nobody listens");
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    std::fs::write(place.join("stat"), stat).expect("ours");
    let fd = std::env::var("READY_FD")
        .expect("given")
        .parse()
        .expect("a number");
    // SAFETY: the parent passed this descriptor, and nothing else in this process owns it.
    let mut ready = unsafe { File::from_raw_fd(fd) };
    ready.write_all(b"1").expect("the parent waits");
    drop(ready);
    for stream in listener.incoming() {
        if stream.expect("accepted").read(&mut [0]).expect("readable") > 0 {
            return;
        }
    }
}

#[test]
fn the_daemon_gets_a_session_a_scrubbed_environment_and_its_log() {
    let place = Place::new();
    start(&place.instance, &place.daemon(), SOON).expect("it starts");
    let stat = place.read("stat");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("one")
        .split_whitespace()
        .collect();
    let pid = stat.split(' ').next().expect("one");
    assert_eq!(fields[3], pid, "it leads a session of its own");
    let environment = place.read("environment");
    assert!(environment.lines().any(|line| line.starts_with("PATH=")));
    assert!(!environment.contains("CARGO"), "{environment}");
    assert!(
        place.read("authd.log").contains("running 1 test"),
        "its output goes to its log"
    );
    let mode = place
        .instance
        .directories
        .log()
        .metadata()
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    place.end();
}

#[test]
fn of_many_at_once_one_starts_it_and_all_find_it() {
    let place = Place::new();
    let program = place.daemon();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| start(&place.instance, &program, SOON)))
            .collect();
        for one in all {
            one.join().expect("no panic").expect("it is there");
        }
    });
    assert_eq!(place.read("starts").lines().count(), 1);
    place.end();
}

#[test]
fn a_daemon_that_fails_shows_the_end_of_this_starts_log() {
    let place = Place::new();
    std::fs::create_dir_all(&place.instance.directories.state).expect("created");
    std::fs::write(place.instance.directories.log(), "an old story\n").expect("written");
    let program = place.program("printf 'config.toml: unknown \\033[31mkey\\n' >&2; exit 1");
    let error = start(&place.instance, &program, SOON).expect_err("it fails");
    let StartError::Failed { tail, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(tail, "config.toml: unknown [31mkey");
    assert!(
        error
            .to_string()
            .ends_with("says:\nconfig.toml: unknown [31mkey")
    );
}

#[test]
fn a_daemon_that_hangs_is_given_up_in_time_and_named() {
    let place = Place::new();
    let fifo = place.dir.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .expect("made");
    // Held open until the end of the test: then the stand-in's `cat` ends too.
    let _held = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo)
        .expect("opened");
    let program = place.program(&format!(
        "echo waiting for the keyring; exec cat {}",
        fifo.display()
    ));
    let error = start(&place.instance, &program, Duration::from_millis(300)).expect_err("it hangs");
    assert!(matches!(error, StartError::NotReady { .. }), "{error}");
    assert!(
        error.to_string().contains("is not ready after 0 s"),
        "{error}"
    );
}

#[test]
fn a_socket_that_was_named_starts_nothing() {
    let mut place = Place::new();
    let named = place.dir.path().join("named.sock");
    place.instance.socket = SocketPath::explicit(named.clone()).expect("short");
    let who = Who {
        name: "test",
        version: "0",
    };
    let Err(error) = connect_or_start(&place.instance, who, SOON) else {
        panic!("nobody listens")
    };
    let ClientError::Start(StartError::Explicit(path)) = &error else {
        panic!("{error}")
    };
    assert_eq!(path, &named);
    assert_eq!(error.exit_status() as u8, 7);
    assert!(
        !Path::new(&place.instance.directories.state).exists(),
        "nothing was touched"
    );
}

#[test]
fn a_program_that_cannot_run_is_named() {
    let place = Place::new();
    let error = start(&place.instance, Path::new("/nonexistent/authd"), SOON).expect_err("missing");
    assert!(
        error
            .to_string()
            .starts_with("'/nonexistent/authd' cannot be run"),
        "{error}"
    );
}
