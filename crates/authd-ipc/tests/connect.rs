//! The lock, and the client's end of a connection.
#![cfg(unix)]

use std::io::{Read, Write};
use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use authd_ipc::{ConnectError, InstanceLock, LockError, PathError, SocketPath, connect};

mod child;
mod common;
use child::{place, ready, spawn};
use common::{NOBODY, is_root, private_dir, set_mode};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_second_lock_is_refused_and_names_the_holder() {
    let dir = private_dir();
    let state = dir.path().join("a/state");
    let first = InstanceLock::acquire(&state).expect("nobody has it");
    let refused = InstanceLock::acquire(&state).expect_err("we have it");
    assert!(
        matches!(refused, LockError::Held { pid } if pid == Some(std::process::id())),
        "{refused}"
    );
    assert_eq!(
        refused.to_string(),
        format!("authd is already running (pid {})", std::process::id())
    );
    drop(first);
    InstanceLock::acquire(&state).expect("given up");
}

#[test]
fn a_successor_waits_for_the_lock_of_the_one_before() {
    let dir = private_dir();
    let first = InstanceLock::acquire(dir.path()).expect("nobody has it");
    let (tell, waits) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let second = scope.spawn(move || {
            InstanceLock::succeed(dir.path(), SOON, |pid| tell.send(pid).expect("we listen"))
                .expect("it is given up")
        });
        let of = waits.recv_timeout(SOON).expect("it waits");
        assert_eq!(of, Some(std::process::id()));
        drop(first);
        second.join().expect("it has the lock");
    });
}

#[test]
fn a_successor_does_not_wait_for_ever() {
    let dir = private_dir();
    let _first = InstanceLock::acquire(dir.path()).expect("nobody has it");
    let a_moment = Duration::from_millis(20);
    let refused = InstanceLock::succeed(dir.path(), a_moment, |_| {}).expect_err("we have it");
    assert!(matches!(refused, LockError::Held { .. }), "{refused}");
}

#[test]
fn a_lock_dies_with_its_process() {
    let dir = private_dir();
    let mut child = spawn("child_locks", dir.path(), None);
    let refused = InstanceLock::acquire(dir.path()).expect_err("the child has it");
    assert!(
        matches!(refused, LockError::Held { pid } if pid == Some(child.pid())),
        "{refused}"
    );
    child.kill();
    InstanceLock::acquire(dir.path()).expect("the kernel has dropped it");
}

#[test]
#[ignore = "the body of a child"]
fn child_locks() {
    let _lock = InstanceLock::acquire(&place()).expect("nobody has it");
    ready();
}

#[test]
fn a_lock_file_that_is_a_symbolic_link_is_refused() {
    let dir = private_dir();
    symlink(dir.path().join("elsewhere"), dir.path().join("authd.lock")).expect("linked");
    assert!(matches!(
        InstanceLock::acquire(dir.path()),
        Err(LockError::Path(PathError::Io { .. }))
    ));
    assert!(!dir.path().join("elsewhere").exists());
}

#[test]
fn a_lock_file_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let dir = private_dir();
    std::fs::write(dir.path().join("authd.lock"), "").expect("written");
    chown(dir.path().join("authd.lock"), Some(NOBODY), None).expect("root may");
    assert!(matches!(
        InstanceLock::acquire(dir.path()),
        Err(LockError::Path(PathError::Owner { .. }))
    ));
}

#[test]
fn bytes_go_both_ways() {
    let dir = private_dir();
    let socket = SocketPath::explicit(dir.path().join("s")).expect("short");
    let listener = UnixListener::bind(socket.path()).expect("bound");
    let mut client = connect(&socket, SOON).expect("it listens");
    let (mut server, _) = listener.accept().expect("it connected");
    client.write_all(b"ping").expect("written");
    let mut got = [0; 4];
    server.read_exact(&mut got).expect("it wrote");
    assert_eq!(&got, b"ping");
    client
        .set_read_timeout(Some(Duration::from_millis(1)))
        .expect("set");
    let kind = client.read(&mut got).expect_err("nothing comes").kind();
    assert!(matches!(
        kind,
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    ));
    server.write_all(b"pong").expect("written");
    client.set_read_timeout(Some(SOON)).expect("set");
    client.read_exact(&mut got).expect("it answered");
    assert_eq!(&got, b"pong");
}

#[test]
fn without_a_socket_or_behind_a_dead_one_nothing_is_running() {
    let dir = private_dir();
    let socket = SocketPath::explicit(dir.path().join("s")).expect("short");
    assert!(
        matches!(connect(&socket, SOON), Err(ConnectError::NotRunning(_))),
        "no socket"
    );
    drop(UnixListener::bind(socket.path()).expect("bound"));
    assert!(
        matches!(connect(&socket, SOON), Err(ConnectError::NotRunning(_))),
        "a dead one"
    );
    let nowhere = SocketPath::explicit(dir.path().join("no/where/s")).expect("short");
    assert!(
        matches!(connect(&nowhere, SOON), Err(ConnectError::NotRunning(_))),
        "no directory"
    );
}

#[test]
fn a_daemon_that_accepts_nothing_costs_no_more_than_the_deadline() {
    let dir = private_dir();
    let socket = SocketPath::explicit(dir.path().join("s")).expect("short");
    let listener = UnixListener::bind(socket.path()).expect("bound");
    rustix::net::listen(&listener, 0).expect("a backlog of one");
    let _first = UnixStream::connect(socket.path()).expect("the backlog takes one");
    let start = Instant::now();
    assert!(matches!(
        connect(&socket, Duration::from_millis(50)),
        Err(ConnectError::TimedOut(_))
    ));
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_server_of_another_user_is_refused_by_the_client() {
    if !is_root() {
        return;
    }
    let dir = private_dir();
    chown(dir.path(), Some(NOBODY), None).expect("root may");
    let child = spawn("child_listens", dir.path(), Some(NOBODY));
    // Everything on disk looks like ours: the server's uid alone tells.
    chown(dir.path(), Some(0), None).expect("root may");
    chown(dir.path().join("s"), Some(0), None).expect("root may");
    let socket = SocketPath::explicit(dir.path().join("s")).expect("short");
    let refused = connect(&socket, SOON).expect_err("nobody listens");
    let ConnectError::ServerUser { found, own, .. } = refused else {
        panic!("{refused}")
    };
    assert_eq!((found.as_str(), own.as_str()), ("uid 65534", "uid 0"));
    assert!(child.finish());
}

#[test]
#[ignore = "the body of a child"]
fn child_listens() {
    let path = place().join("s");
    let _listener = UnixListener::bind(&path).expect("bound");
    set_mode(&path, 0o777);
    ready();
}
