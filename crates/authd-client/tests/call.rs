//! Calls against a server that speaks the real protocol, and against servers that do not.
#![cfg(unix)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use authd_client::{Client, ClientError, ConnectError, SocketPath, Who};
use authd_proto::call::Call;
use authd_proto::encode;
use authd_proto::error::{ErrorCode, ErrorShape, ExitStatus, WireError};
use authd_proto::event::{Event, EventKind};
use authd_proto::frame::FrameBuffer;
use authd_proto::message::Message;
use authd_proto::request::{AccountForget, AccountGet, Hello, Subscribe};
use authd_proto::response::{AccountForgetReply, HelloReply, SubscribeReply};

const WHO: Who = Who {
    name: "test",
    version: "0",
};
const SOON: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_millis(30);

/// The daemon's end of one connection.
struct Server {
    stream: UnixStream,
    incoming: FrameBuffer,
}

impl Server {
    /// The next request as (id, method).
    fn request(&mut self) -> (u32, String) {
        loop {
            if let Some(frame) = self.incoming.next_frame().expect("the client sends frames") {
                let Ok(Message::Request { id, method, params }) = Message::parse(frame) else {
                    panic!("the client sends requests")
                };
                assert!(
                    Call::decode(method, params).is_ok(),
                    "the client sends valid requests"
                );
                return (id, method.to_owned());
            }
            assert_ne!(
                self.incoming.read_from(&mut self.stream).expect("readable"),
                0,
                "the client left"
            );
        }
    }

    /// Takes `hello` and the request behind it, answers the first, and returns the id of the second.
    fn greet(&mut self) -> u32 {
        let (hello, method) = self.request();
        assert_eq!((hello, method.as_str()), (0, "hello"));
        let reply = HelloReply {
            version: 1,
            min_version: 1,
            max_version: 1,
            daemon_version: "0.1.0".into(),
            max_frame: 262_144,
            max_depth: 16,
            max_wait_secs: 300,
        };
        self.send(|out| encode::response(out, hello, &reply).expect("small"));
        self.request().0
    }

    fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.stream.write_all(&out).expect("the client reads");
    }
}

/// Runs `serve` for one connection, and connects to it.
fn with_server<T: Send + 'static>(
    serve: impl FnOnce(&mut Server) -> T + Send + 'static,
) -> (Client, JoinHandle<T>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = SocketPath::explicit(dir.path().join("s")).expect("short");
    let listener = UnixListener::bind(socket.path()).expect("bound");
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        serve(&mut Server {
            stream,
            incoming: FrameBuffer::new(),
        })
    });
    let client = Client::connect(&socket, WHO, SOON).expect("it listens");
    (client, server, dir)
}

fn forget() -> AccountForget {
    AccountForget {
        account: "work".into(),
    }
}

fn forgotten() -> AccountForgetReply {
    AccountForgetReply {
        account: "work".into(),
    }
}

#[test]
fn hello_rides_in_the_same_write_as_the_first_call() {
    let (mut client, server, _dir) = with_server(|server| {
        let mut bytes = vec![0; 4096];
        let count = server.stream.read(&mut bytes).expect("readable");
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            server.incoming.read_from(&mut rest).expect("memory");
        }
        let id = server.greet();
        server.send(|out| encode::response(out, id, &forgotten()).expect("small"));
        let (id, _) = server.request();
        server.send(|out| encode::response(out, id, &forgotten()).expect("small"));
        id
    });
    assert_eq!(client.call(&forget(), SOON).expect("answered"), forgotten());
    assert_eq!(client.call(&forget(), SOON).expect("answered"), forgotten());
    assert_eq!(server.join().expect("the server is content"), 2);
}

#[test]
fn an_error_keeps_its_code_hint_and_exit_status_and_the_connection() {
    let error = WireError::new(ErrorCode::LoginRequired, "the login of 'work' has expired")
        .with_hint("run 'authctl login work'")
        .with_account("work");
    let sent = error.clone();
    let (mut client, server, _dir) = with_server(move |server| {
        let id = server.greet();
        server.send(|out| encode::error(out, id, &sent, ErrorShape::Map));
        let (id, _) = server.request();
        server.send(|out| encode::response(out, id, &forgotten()).expect("small"));
    });
    let refused = client
        .call(
            &AccountGet {
                account: "work".into(),
            },
            SOON,
        )
        .expect_err("refused");
    assert_eq!(refused.exit_status(), ExitStatus::LoginRequired);
    let ClientError::Wire(received) = refused else {
        panic!("{refused}")
    };
    assert_eq!(received, error);
    assert_eq!(
        client.call(&forget(), SOON).expect("still in step"),
        forgotten()
    );
    server.join().expect("the server is content");
}

#[test]
fn a_version_mismatch_comes_back_from_the_first_call() {
    let (mut client, server, _dir) = with_server(|server| {
        let (hello, _) = server.request();
        let error = WireError::new(ErrorCode::VersionMismatch, "1 to 1 and 2 to 2");
        server.send(|out| encode::error(out, hello, &error, ErrorShape::Text));
    });
    let Err(ClientError::Wire(error)) = client.call(&forget(), SOON) else {
        panic!("no error")
    };
    assert_eq!(error.code, ErrorCode::VersionMismatch);
    server.join().expect("the server is content");
}

#[test]
fn events_that_come_between_are_kept_in_order() {
    let event = |seq| Event::new(seq, 1_800_000_000, EventKind::State);
    let (mut client, server, _dir) = with_server(move |server| {
        let id = server.greet();
        let reply = SubscribeReply {
            events: EventKind::ALL.to_vec(),
        };
        server.send(|out| encode::response(out, id, &reply).expect("small"));
        let (id, _) = server.request();
        server.send(|out| {
            encode::event(out, &event(1)).expect("small");
            encode::event(out, &event(2)).expect("small");
            encode::response(out, id, &forgotten()).expect("small");
            encode::event(out, &event(3)).expect("small");
        });
    });
    client
        .subscribe(&Subscribe::default(), SOON)
        .expect("subscribed");
    client.call(&forget(), SOON).expect("answered");
    server.join().expect("the server is content");
    let got: Vec<_> = client.events().collect();
    let seqs: Vec<u64> = got.iter().flatten().map(|event| event.seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert!(
        matches!(got.last(), Some(Err(ClientError::Closed))),
        "the server has left"
    );
}

#[test]
fn a_daemon_that_never_answers_costs_no_more_than_the_deadline() {
    let (mut client, server, dir) =
        with_server(|server| server.stream.try_clone().expect("cloned"));
    let open = server.join().expect("the server is content");
    assert!(matches!(
        client.call(&forget(), NEVER),
        Err(ClientError::TimedOut(0))
    ));
    drop((open, dir));
}

#[test]
fn no_event_within_the_time_is_no_error() {
    let (mut client, server, _dir) =
        with_server(|server| server.stream.try_clone().expect("cloned"));
    let _open = server.join().expect("the server is content");
    assert!(client.next_event(Some(NEVER)).expect("no error").is_none());
}

#[test]
fn a_daemon_that_hangs_up_says_so() {
    let (mut client, server, _dir) = with_server(|_| ());
    server.join().expect("the server is content");
    let error = client.call(&forget(), SOON).expect_err("nobody is there");
    assert!(matches!(error, ClientError::Closed), "{error}");
    assert_eq!(error.exit_status(), ExitStatus::DaemonUnreachable);
}

#[test]
fn an_answer_to_nothing_and_an_answer_of_nonsense_are_refused() {
    let (mut client, server, _dir) = with_server(|server| {
        let id = server.greet();
        server.send(|out| encode::response(out, id + 9, &forgotten()).expect("small"));
    });
    assert!(matches!(
        client.call(&forget(), SOON),
        Err(ClientError::Unasked)
    ));
    server.join().expect("the server is content");

    let (mut client, server, _dir) = with_server(|server| {
        let id = server.greet();
        server.send(|out| encode::response(out, id, &"a string").expect("small"));
    });
    assert!(matches!(
        client.call(&forget(), SOON),
        Err(ClientError::BadResponse(_))
    ));
    server.join().expect("the server is content");

    let (mut client, server, _dir) = with_server(|server| {
        server.greet();
        server.send(|out| out.extend_from_slice(&[0xdd, 0xff, 0xff, 0xff, 0xff]));
    });
    assert!(matches!(
        client.call(&forget(), SOON),
        Err(ClientError::Frame(_))
    ));
    server.join().expect("the server is content");
}

#[test]
fn a_request_from_the_server_is_not_executed() {
    let (mut client, server, _dir) = with_server(|server| {
        let id = server.greet();
        server.send(|out| {
            encode::request(out, id, &Hello::default()).expect("small");
            encode::response(out, id, &forgotten()).expect("small");
        });
        server.stream.set_read_timeout(Some(NEVER)).expect("set");
        server.stream.read(&mut [0; 8]).is_err()
    });
    assert_eq!(client.call(&forget(), SOON).expect("answered"), forgotten());
    assert!(
        server.join().expect("the server is content"),
        "the client sent nothing back"
    );
}

#[test]
fn without_a_daemon_the_exit_status_is_seven() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = SocketPath::explicit(dir.path().join("s")).expect("short");
    let Err(error) = Client::connect(&socket, WHO, SOON) else {
        panic!("nobody listens")
    };
    assert!(matches!(
        error,
        ClientError::Connect(ConnectError::NotRunning(_))
    ));
    assert_eq!(error.exit_status() as u8, 7);
}
