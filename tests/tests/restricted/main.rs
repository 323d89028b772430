//! Sockets that give one account's token and nothing else: on this machine, in a container's place, and on
//! another host that `ssh` carries them to.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and one that needs root says so"
)]

mod asked;
mod ends;
mod forwarded;
mod others;

use std::{
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use authd_client::{Client, ClientError, SocketPath, Who};
use authd_e2e::{Instance, PATIENCE, Raw, api, binaries, instance::call};
use authd_proto::{
    ErrorCode,
    error::WireError,
    frame::FrameBuffer,
    message::Message,
    request::TokenGet,
    response::TokenReply,
    socket::{SocketCreate, SocketInfo, SocketList},
};
use authd_testkit::{FakeServer, Options};
use serde::de::IgnoredAny;

const HOUR: u64 = 3600;
const WHO: Who = Who {
    name: "restricted",
    version: "0",
};

fn server() -> FakeServer {
    FakeServer::start(Options::default()).unwrap()
}

fn for_api() -> SocketCreate {
    SocketCreate {
        account: Some("demo".to_owned()),
        scopes: Some(vec!["api".to_owned()]),
        ttl_secs: Some(HOUR),
        ..SocketCreate::default()
    }
}

fn create(instance: &Instance, wanted: &SocketCreate) -> SocketInfo {
    instance.call(wanted).unwrap()
}

fn sockets(instance: &Instance) -> Vec<SocketInfo> {
    instance.call(&SocketList::default()).unwrap().sockets
}

fn connect(path: impl Into<PathBuf>) -> Result<Client, ClientError> {
    Client::connect(&SocketPath::explicit(path.into()).unwrap(), WHO, PATIENCE)
}

fn get(client: &mut Client, get: &TokenGet<'_>) -> Result<TokenReply, WireError> {
    call(client, get)
}

fn denied(reply: Result<TokenReply, WireError>) -> WireError {
    let error = reply.err().expect("no token");
    assert_eq!(error.code, ErrorCode::Denied, "{error}");
    error
}

/// Whether nothing is answered there any more.
fn is_dead(path: impl Into<PathBuf>) -> bool {
    match connect(path) {
        Err(_) => true,
        Ok(mut client) => client.call(&TokenGet::default(), PATIENCE).is_err(),
    }
}

/// The code of the one answer that comes next, `None` where that is no error.
fn answer(connection: &mut Raw) -> Option<ErrorCode> {
    let mut buffer = FrameBuffer::new();
    loop {
        if let Some(frame) = buffer.next_frame().unwrap() {
            let Ok(Message::Response { outcome, .. }) = Message::parse(frame) else {
                panic!("no response");
            };
            let outcome = outcome.decode::<IgnoredAny>().unwrap();
            return outcome.err().map(|error| error.code);
        }
        assert!(
            buffer.read_from(connection.stream()).unwrap() > 0,
            "hung up"
        );
    }
}

/// What every method of the protocol, called as in its golden vector, is answered there.
fn every_method(path: &Path) -> Vec<(String, Option<ErrorCode>)> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/vectors");
    let mut answers = Vec::new();
    let mut raw = Raw::connect(path);
    for entry in fs::read_dir(vectors).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let Some(method) = name
            .strip_prefix("request-")
            .and_then(|name| name.strip_suffix(".msgpack"))
        else {
            continue;
        };
        assert!(raw.send(&fs::read(&file).unwrap()), "{method}");
        answers.push((method.to_owned(), answer(&mut raw)));
    }
    assert!(answers.len() > 30, "these are not the vectors: {answers:?}");
    answers
}

/// All that a restricted socket must refuse, and the one thing that it gives.
fn gives_one_token_and_nothing_else(path: &Path, server: &FakeServer) {
    let mut client = connect(path).unwrap();
    let token = get(&mut client, &TokenGet::default()).unwrap();
    assert_eq!(api::ping(server, token.access_token.expose()), 200);
    assert_eq!(token.renewal.account, "demo");
    assert_eq!(token.renewal.scopes, ["api"], "no more than the socket has");

    let of = |account| TokenGet {
        account: Some(account),
        ..TokenGet::default()
    };
    assert!(get(&mut client, &of("demo")).is_ok());
    let other = denied(get(&mut client, &of("other")));
    let unknown = denied(get(&mut client, &of("nobody")));
    assert_eq!(other, unknown, "nobody learns which accounts there are");
    assert!(!other.to_string().contains("other"), "{other}");
    for wider in [vec!["api", "openid"], vec!["openid"], vec!["admin"]] {
        denied(get(
            &mut client,
            &TokenGet {
                scopes: Some(wider),
                ..TokenGet::default()
            },
        ));
    }
    denied(get(
        &mut client,
        &TokenGet {
            resource: Some("https://elsewhere.example"),
            ..TokenGet::default()
        },
    ));
    for (method, code) in every_method(path) {
        let expected = match method.as_str() {
            "hello" | "token.get-empty" => None,
            _ => Some(ErrorCode::Denied),
        };
        assert_eq!(code, expected, "{method}");
    }
}

/// A directory that every user gets into.
fn open_directory() -> tempfile::TempDir {
    let room = tempfile::Builder::new()
        .prefix("authd-open-")
        .tempdir()
        .unwrap();
    open(room.path());
    room
}

fn open(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Where it was built, another user may have no way in.
fn bring_authctl(room: &Path) -> String {
    let there = room.join("authctl");
    fs::copy(binaries::authctl(), &there).unwrap();
    there.display().to_string()
}

/// Whether the daemon has hung up on it by now, and sent nothing.
fn is_hung_up(connection: &mut Raw) -> bool {
    let stream = connection.stream();
    stream.set_nonblocking(true).unwrap();
    matches!(stream.read(&mut [0]), Ok(0))
}
