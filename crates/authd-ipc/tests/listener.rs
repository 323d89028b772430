//! The daemon's end: binding, adopting, and who gets in.
#![cfg(unix)]

use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use authd_ipc::process::Process;
use authd_ipc::{
    ListenError, Listener, Peer, PeerRule, Reach, Refused, RestrictedDirectory, SocketPath,
    activation, connect,
};
use tokio::io::AsyncReadExt;

mod child;
mod common;
use child::{place, ready, spawn};
use common::{NOBODY, is_root, private_dir, set_mode};

const SOON: Duration = Duration::from_secs(10);

fn socket_in(dir: &std::path::Path) -> SocketPath {
    SocketPath::explicit(dir.join("s")).expect("short")
}

async fn accepted(listener: &Listener) -> Peer {
    let next = tokio::time::timeout(SOON, listener.accept());
    let (_, peer) = next.await.expect("in time").expect("accepted");
    peer.expect("the kernel knows")
}

#[tokio::test]
async fn a_peer_of_our_own_is_admitted() {
    let dir = private_dir();
    let socket = socket_in(dir.path());
    let listener = Listener::bind(&socket).expect("bound");
    let _client = connect(&socket, SOON).expect("it listens");
    let peer = accepted(&listener).await;
    assert_eq!(peer.pid, Some(std::process::id()));
    assert_eq!(PeerRule::of_process(false).admit(peer), Ok(()));
}

#[tokio::test]
async fn with_loosened_modes_another_user_is_refused_by_the_peer_check_alone() {
    if !is_root() {
        return;
    }
    let dir = private_dir();
    let socket = socket_in(dir.path());
    let listener = Listener::bind(&socket).expect("bound");
    set_mode(dir.path(), 0o777);
    set_mode(socket.path(), 0o777);
    let child = spawn("child_connects", dir.path(), Some(NOBODY));
    let peer = accepted(&listener).await;
    assert_eq!(peer.pid, Some(child.pid()));
    assert_eq!(
        PeerRule::of_process(true).admit(peer),
        Err(Refused::OtherUser(NOBODY))
    );
    assert!(child.finish());
}

#[test]
#[ignore = "the body of a child"]
fn child_connects() {
    let _client = UnixStream::connect(place().join("s")).expect("the modes let us");
    ready();
}

#[tokio::test]
async fn a_pinned_peer_is_alive_until_it_ends_and_nobody_else_afterwards() {
    let dir = private_dir();
    let socket = socket_in(dir.path());
    let listener = Listener::bind(&socket).expect("bound");
    let mut child = spawn("child_connects", dir.path(), None);
    let next = tokio::time::timeout(SOON, listener.accept());
    let (stream, peer) = next.await.expect("in time").expect("accepted");
    let peer = peer.expect("the kernel knows");
    let process = Process::pin(&stream, peer).expect("it lives");
    assert_eq!(process.pid(), child.pid());
    assert!(process.is_alive());
    child.kill();
    assert!(!process.is_alive());
    assert!(Process::pin(&stream, peer).is_none(), "the dead are nobody");
    let nobody = Peer { pid: None, ..peer };
    assert!(Process::pin(&stream, nobody).is_none());
}

#[tokio::test]
async fn a_socket_left_by_a_killed_daemon_is_replaced() {
    let dir = private_dir();
    let socket = socket_in(dir.path());
    let mut child = spawn("child_binds", dir.path(), None);
    assert!(
        matches!(Listener::bind(&socket), Err(ListenError::InUse(_))),
        "it is alive"
    );
    assert!(
        UnixStream::connect(socket.path()).is_ok(),
        "and was not displaced"
    );
    child.kill();
    assert!(socket.path().exists(), "a killed process leaves its socket");
    let listener = Listener::bind(&socket).expect("nobody answers");
    let _client = connect(&socket, SOON).expect("it listens");
    accepted(&listener).await;
}

#[test]
#[ignore = "the body of a child"]
fn child_binds() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let _listener = Listener::bind(&socket_in(&place())).expect("bound");
    ready();
}

#[tokio::test]
async fn a_daemon_whose_backlog_is_full_is_not_displaced() {
    let dir = private_dir();
    let socket = socket_in(dir.path());
    let busy = UnixListener::bind(socket.path()).expect("bound");
    rustix::net::listen(&busy, 0).expect("a backlog of one");
    let _first = UnixStream::connect(socket.path()).expect("the backlog takes one");
    assert!(matches!(
        Listener::bind(&socket),
        Err(ListenError::InUse(_))
    ));
}

#[tokio::test]
async fn a_file_in_the_sockets_place_is_left_alone() {
    let dir = private_dir();
    let socket = socket_in(dir.path());
    std::fs::write(socket.path(), "precious").expect("written");
    assert!(matches!(Listener::bind(&socket), Err(ListenError::Path(_))));
    assert_eq!(std::fs::read(socket.path()).expect("there"), b"precious");
}

#[tokio::test]
async fn dropping_removes_the_socket_unless_it_is_anothers() {
    let dir = private_dir();
    let socket = socket_in(dir.path());
    drop(Listener::bind(&socket).expect("bound"));
    assert!(!socket.path().exists());

    let listener = Listener::bind(&socket).expect("bound");
    std::fs::rename(socket.path(), dir.path().join("moved")).expect("ours");
    let _other = UnixListener::bind(socket.path()).expect("bound");
    drop(listener);
    assert!(socket.path().exists(), "another's by now");
}

/// Starts this program again with `fd` as descriptor 3, as the service manager does. The shell gives the
/// process its pid to compare with before it becomes the child.
fn activate(body: &str, fd: OwnedFd) -> bool {
    let script = r#"LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" --exact "$1" --ignored 3<&0"#;
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(std::env::current_exe().expect("known on Linux"))
        .arg(body);
    command
        .stdin(Stdio::from(fd))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().expect("a shell").success()
}

#[test]
fn an_activated_socket_is_adopted_and_its_variables_are_removed() {
    let dir = private_dir();
    let listener = UnixListener::bind(dir.path().join("s")).expect("bound");
    let mut client = UnixStream::connect(dir.path().join("s")).expect("it listens");
    assert!(activate("child_is_activated", listener.into()));
    let mut got = Vec::new();
    std::io::Read::read_to_end(&mut client, &mut got).expect("the child has ended");
    assert_eq!(got, b"adopted");
    assert!(
        dir.path().join("s").exists(),
        "the service manager's, not ours to remove"
    );
}

#[test]
#[expect(unsafe_code, reason = "activation takes descriptors by number")]
#[ignore = "the body of a child"]
fn child_is_activated() {
    // SAFETY: the harness runs this one test and touches neither descriptor 3 nor the environment.
    let activated = unsafe { activation::take() }
        .expect("one listening socket")
        .expect("activated");
    assert!(
        ["LISTEN_FDS", "LISTEN_PID"]
            .iter()
            .all(|name| std::env::var_os(name).is_none())
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let socket = SocketPath::explicit("/nowhere".into()).expect("short");
        let listener = Listener::adopt(activated, &socket).expect("adopted");
        let (stream, peer) = listener.accept().await.expect("the parent waits");
        assert_eq!(
            PeerRule::of_process(false).admit(peer.expect("known")),
            Ok(())
        );
        tokio::io::AsyncWriteExt::write_all(&mut &stream, b"adopted")
            .await
            .expect("written");
    });
}

#[test]
fn what_does_not_listen_is_not_adopted() {
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    assert!(activate("child_refuses_activation", ours.into()));
}

#[test]
#[expect(unsafe_code, reason = "activation takes descriptors by number")]
#[ignore = "the body of a child"]
fn child_refuses_activation() {
    // SAFETY: the harness runs this one test and touches neither descriptor 3 nor the environment.
    let refused = unsafe { activation::take() };
    assert!(matches!(refused, Err(ListenError::Activation(_))));
}

#[tokio::test]
#[expect(unsafe_code, reason = "a descriptor by its number")]
async fn a_successor_gets_the_clients_that_come_and_the_old_one_keeps_its_own() {
    let dir = private_dir();
    let socket = socket_in(dir.path());
    let old = Listener::bind(&socket).expect("bound");
    let _early = connect(&socket, SOON).expect("it listens");
    let place = authd_ipc::take_place(&socket).expect("taken");
    let _late = connect(&socket, SOON).expect("the successor's");
    let (_, peer) = old.accept_last().expect("who came before");
    assert_eq!(peer.expect("known").pid, Some(std::process::id()));
    assert!(old.accept_last().is_none(), "nobody more comes here");
    drop(old);
    assert!(socket.path().exists(), "the name is the successor's");
    // SAFETY: the descriptor is open, and given up here.
    let handed = unsafe { activation::handed(place.into_raw_fd()) }.expect("it listens");
    let new = Listener::adopt(handed, &socket).expect("adopted");
    accepted(&new).await;
    drop(new);
    assert!(!socket.path().exists(), "it was its own to remove");
}

#[test]
#[expect(unsafe_code, reason = "a descriptor by its number")]
fn what_is_handed_over_must_listen() {
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    // SAFETY: the descriptor is open, and given up here.
    let refused = unsafe { activation::handed(OwnedFd::from(ours).into_raw_fd()) };
    assert!(matches!(refused, Err(ListenError::Activation(_))));
}

#[tokio::test]
async fn a_client_that_hangs_up_reads_as_the_end() {
    let dir = private_dir();
    let socket = socket_in(dir.path());
    let listener = Listener::bind(&socket).expect("bound");
    drop(connect(&socket, SOON).expect("it listens"));
    let (stream, _) = listener.accept().await.expect("accepted");
    let read = tokio::time::timeout(SOON, (&stream).read(&mut [0; 8]))
        .await
        .expect("in time");
    assert_eq!(read.expect("a clean end"), 0);
}

/// A place for restricted sockets in `dir`, which is that of a named socket.
fn restricted(dir: &std::path::Path) -> RestrictedDirectory {
    RestrictedDirectory::locate(&socket_in(dir), dir)
}

#[tokio::test]
async fn a_restricted_socket_is_alone_in_its_directory_which_outlives_it() {
    let dir = private_dir();
    let place = restricted(dir.path());
    let listener = Listener::bind_restricted(&place, "a-1", Reach::Own).expect("bound");
    let path = place.socket("a-1");
    assert!(path.starts_with(dir.path().join("run/restricted/a-1")));
    let socket = SocketPath::explicit(path.clone()).expect("short");
    let _client = connect(&socket, SOON).expect("it listens, and is ours");
    accepted(&listener).await;
    drop(listener);
    assert!(!path.exists());
    assert_eq!(place.names().expect("ours"), ["a-1"]);
    let _listener = Listener::bind_restricted(&place, "a-1", Reach::Own).expect("bound again");
    assert!(path.exists());
    place.remove("a-1").expect("nothing else is in there");
    assert!(place.names().expect("ours").is_empty());
    place.remove("a-1").expect("it is gone already");
}

#[tokio::test]
async fn what_somebody_put_where_a_restricted_socket_is_to_be_is_not_followed() {
    use std::os::unix::fs::PermissionsExt;
    let dir = private_dir();
    let place = restricted(dir.path());
    drop(Listener::bind_restricted(&place, "a-1", Reach::Others).expect("bound"));
    let precious = dir.path().join("precious");
    std::fs::write(&precious, "mine").expect("written");
    set_mode(&precious, 0o600);
    std::os::unix::fs::symlink(&precious, place.socket("a-1")).expect("linked");
    let _listener = Listener::bind_restricted(&place, "a-1", Reach::Others).expect("bound");
    let meta = precious.symlink_metadata().expect("still there");
    assert_eq!(meta.permissions().mode() & 0o777, 0o600, "as it was");
    assert_eq!(std::fs::read(&precious).expect("readable"), b"mine");
    let socket = place.socket("a-1").symlink_metadata().expect("there");
    assert_eq!(
        socket.permissions().mode() & 0o777,
        0o666,
        "a socket of ours"
    );
    // What is left beside it keeps its directory, and is nobody's harm.
    let file = place.socket("a-1").with_file_name("x");
    std::fs::write(file, "").expect("written");
    assert!(place.remove("a-1").is_err());
}
