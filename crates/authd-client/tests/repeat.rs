//! Requests that come to a daemon's last moment: made again when nothing was done, and only then.
#![cfg(unix)]

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use authd_client::{Client, ClientError, SocketPath, Who};
use authd_proto::encode;
use authd_proto::error::{ErrorCode, ErrorShape, WireError};
use authd_proto::frame::FrameBuffer;
use authd_proto::message::Message;
use authd_proto::request::{AccountForget, DaemonStop, Subscribe};
use authd_proto::response::{AccountForgetReply, SubscribeReply};

const WHO: Who = Who {
    name: "test",
    version: "0",
};
const SOON: Duration = Duration::from_secs(10);

/// What becomes of a connection.
enum Fate {
    /// It is closed with its bytes unread.
    Unread,
    /// Everything is read, and there is no answer.
    Read,
    /// The daemon says that it stops.
    Stopping,
    /// It is answered.
    Answered,
    /// The same, and the next request is left unread.
    AnsweredOnce,
}

/// A daemon for which each connection has its fate; it ends with the last.
fn daemon(socket: &Path, fates: Vec<Fate>) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).expect("bound");
    thread::spawn(move || {
        for fate in fates {
            let (mut stream, _) = listener.accept().expect("a client comes");
            meet(&mut stream, &fate);
        }
    })
}

fn meet(stream: &mut UnixStream, fate: &Fate) {
    match fate {
        Fate::Unread => wait_for_bytes(stream),
        Fate::Read => drop(method_of_request(stream)),
        Fate::Stopping => {
            let (id, _) = method_of_request(stream);
            let error = WireError::new(ErrorCode::ShuttingDown, "the daemon stops");
            let mut out = Vec::new();
            encode::error(&mut out, id, &error, ErrorShape::Map);
            stream.write_all(&out).expect("the client reads");
        }
        Fate::Answered => answer(stream),
        Fate::AnsweredOnce => {
            answer(stream);
            wait_for_bytes(stream);
        }
    }
}

/// Leaves them where they are.
fn wait_for_bytes(stream: &UnixStream) {
    rustix::net::recv(stream, &mut [0; 1], rustix::net::RecvFlags::PEEK).expect("bytes come");
}

fn answer(stream: &mut UnixStream) {
    let (id, method) = method_of_request(stream);
    let mut out = Vec::new();
    if method == "subscribe" {
        let reply = SubscribeReply { events: Vec::new() };
        encode::response(&mut out, id, &reply).expect("small");
    } else {
        let account = "work".into();
        encode::response(&mut out, id, &AccountForgetReply { account }).expect("small");
    }
    stream.write_all(&out).expect("the client reads");
}

/// The request after `hello`, which is not answered: nothing here depends on it.
fn method_of_request(stream: &mut UnixStream) -> (u32, String) {
    let mut incoming = FrameBuffer::new();
    loop {
        while let Some(frame) = incoming.next_frame().expect("frames") {
            let Ok(Message::Request { id, method, .. }) = Message::parse(frame) else {
                panic!("the client sends requests")
            };
            if method != "hello" {
                return (id, method.to_owned());
            }
        }
        assert_ne!(incoming.read_from(stream).expect("readable"), 0);
    }
}

fn forget() -> AccountForget {
    AccountForget {
        account: "work".into(),
    }
}

/// Makes a call of a daemon whose connections have these fates: all of them are needed.
fn call_with(fates: Vec<Fate>) -> Result<AccountForgetReply, ClientError> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = SocketPath::explicit(dir.path().join("s")).expect("short");
    let daemon = daemon(socket.path(), fates);
    let mut client = Client::connect(&socket, WHO, SOON).expect("it listens");
    let result = client.call(&forget(), SOON);
    daemon.join().expect("its assertions hold");
    result
}

#[test]
fn what_was_not_read_and_what_came_too_late_is_asked_again() {
    let fates = vec![Fate::Unread, Fate::Stopping, Fate::Unread, Fate::Answered];
    let reply = call_with(fates).expect("the last one answers");
    assert_eq!(reply.account, "work");
}

#[test]
fn what_was_read_may_have_been_done_and_is_not_asked_again() {
    let lost = call_with(vec![Fate::Read]).expect_err("no answer");
    assert!(matches!(lost, ClientError::Closed), "{lost}");
}

#[test]
fn there_is_an_end_to_asking() {
    let fates = (0..4).map(|_| Fate::Stopping).collect();
    let refused = call_with(fates).expect_err("all of them stop");
    let ClientError::Wire(refused) = refused else {
        panic!("{refused}")
    };
    assert_eq!(refused.code, ErrorCode::ShuttingDown);
}

#[test]
fn a_stop_is_for_the_daemon_that_it_was_sent_to() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = SocketPath::explicit(dir.path().join("s")).expect("short");
    let daemon = daemon(socket.path(), vec![Fate::Stopping]);
    let mut client = Client::connect(&socket, WHO, SOON).expect("it listens");
    let refused = client
        .call(&DaemonStop {}, SOON)
        .expect_err("it stops anyway");
    assert!(matches!(refused, ClientError::Wire(_)), "{refused}");
    daemon.join().expect("nobody came a second time");
}

#[test]
fn one_who_waits_for_events_hears_of_the_end() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = SocketPath::explicit(dir.path().join("s")).expect("short");
    let daemon = daemon(socket.path(), vec![Fate::AnsweredOnce]);
    let mut client = Client::connect(&socket, WHO, SOON).expect("it listens");
    client
        .subscribe(&Subscribe::default(), SOON)
        .expect("subscribed");
    let lost = client.call(&forget(), SOON).expect_err("no answer");
    assert!(matches!(lost, ClientError::Closed), "{lost}");
    daemon.join().expect("its assertions hold");
}
