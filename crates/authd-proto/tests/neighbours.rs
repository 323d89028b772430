//! Neighbouring releases understand each other (PROTOCOL.md, section 5).
//!
//! `neighbours/frames.txt` holds frames as an earlier release sent them, a name and hexadecimal digits a
//! line. They are never made anew: what is in there, this release must read, from an older client and from
//! an older daemon. When a release is made, its vectors are added under names of their own. The other
//! direction is tested with what a later release might send: more members, other words.

use std::fs;
use std::path::Path;

use authd_proto::call::{Call, Method, Request};
use authd_proto::error::ErrorCode;
use authd_proto::event::{Event, EventKind};
use authd_proto::frame::FrameBuffer;
use authd_proto::message::{Message, Outcome, Params};
use authd_proto::response::{self as res, FlagName, State};
use authd_proto::{doctor as doc, provider as pro, request as req};
use rmpv::Value;

/// What an older release sent.
fn recorded() -> Vec<(&'static str, Vec<u8>)> {
    let lines = include_str!("neighbours/frames.txt").lines();
    let frames: Vec<_> = lines
        .map(|line| {
            let (name, digits) = line.split_once(' ').expect("a name and digits");
            let pairs = digits.as_bytes().chunks(2);
            let bytes = pairs.map(|pair| {
                let pair = str::from_utf8(pair).expect("ASCII");
                u8::from_str_radix(pair, 16).expect("hexadecimal")
            });
            (name, bytes.collect())
        })
        .collect();
    assert!(frames.len() > 80, "not all are there");
    frames
}

type Reader = fn(&str, Outcome<'_>);

/// Decodes a result as the client does; panics when it cannot.
fn read_result(name: &str, outcome: Outcome<'_>) {
    fn reads<R: Request>(name: &str, outcome: Outcome<'_>) {
        match outcome.decode::<R::Reply>() {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => panic!("{name} is an error: {error}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    // Those that there were when frames were first recorded.
    let readers: [(Method, Reader); 25] = [
        (Method::Hello, reads::<req::Hello>),
        (Method::TokenGet, reads::<req::TokenGet<'_>>),
        (Method::TokenReject, reads::<req::TokenReject<'_>>),
        (Method::DpopProof, reads::<req::DpopProof>),
        (Method::AccountList, reads::<req::AccountList>),
        (Method::AccountGet, reads::<req::AccountGet>),
        (Method::AccountCheck, reads::<req::AccountCheck>),
        (Method::AccountForget, reads::<req::AccountForget>),
        (Method::AccountAdopt, reads::<req::AccountAdopt>),
        (Method::AccountImport, reads::<req::AccountImport>),
        (Method::LoginStart, reads::<req::LoginStart>),
        (Method::LoginWait, reads::<req::LoginWait>),
        (Method::LoginComplete, reads::<req::LoginComplete>),
        (Method::LoginCancel, reads::<req::LoginCancel>),
        (Method::ProviderList, reads::<pro::ProviderList>),
        (Method::ProviderShow, reads::<pro::ProviderShow>),
        (Method::Logout, reads::<req::Logout>),
        (Method::Renew, reads::<req::Renew>),
        (Method::Subscribe, reads::<req::Subscribe>),
        (Method::Unsubscribe, reads::<req::Unsubscribe>),
        (Method::EventsQuery, reads::<req::EventsQuery>),
        (Method::DoctorCheck, reads::<doc::DoctorCheck>),
        (Method::DaemonStatus, reads::<req::DaemonStatus>),
        (Method::DaemonReload, reads::<req::DaemonReload>),
        (Method::DaemonStop, reads::<req::DaemonStop>),
    ];
    let method = name.strip_prefix("response-").and_then(|name| {
        let name = name.split('-').next()?;
        Method::parse(name)
    });
    let reader = readers.iter().find(|(of, _)| Some(*of) == method);
    let (_, read) = reader.unwrap_or_else(|| panic!("{name}: nothing reads it here"));
    read(name, outcome);
}

/// Reads a frame as the one it is for does; panics when it cannot.
fn read(name: &str, bytes: &[u8]) {
    let mut buffer = FrameBuffer::new();
    buffer.read_from(&mut &bytes[..]).expect("bytes in memory");
    let frame = buffer.next_frame().expect("well formed");
    let message = Message::parse(frame.expect("whole")).unwrap_or_else(|_| panic!("{name}"));
    match message {
        Message::Request { method, params, .. } => {
            if let Err(error) = Call::decode(method, params) {
                panic!("{name}: {error}");
            }
        }
        Message::Response {
            outcome: outcome @ Outcome::Ok(_),
            ..
        } => read_result(name, outcome),
        Message::Response { outcome, .. } => {
            let Ok(Err(error)) = outcome.decode::<res::HelloReply>() else {
                panic!("{name} is no error");
            };
            assert_ne!(error.code, ErrorCode::Internal, "{name}");
        }
        Message::Notification { params, .. } => {
            let event: Event = params
                .decode()
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_ne!(event.event, EventKind::Unknown, "{name}");
        }
    }
}

#[test]
fn whatever_an_earlier_release_sent_is_read() {
    for (name, bytes) in recorded() {
        read(name, &bytes);
    }
}

/// The frame as a later release might send it: a member more in every map.
fn with_more_members(bytes: &[u8]) -> Vec<u8> {
    /// Whose names are the client's own: nothing is added there by a release.
    const FREE: [&str; 2] = ["variables", "extra"];
    fn grow(value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(grow),
            Value::Map(members) => {
                for (name, value) in members.iter_mut() {
                    if !name.as_str().is_some_and(|name| FREE.contains(&name)) {
                        grow(value);
                    }
                }
                let more = Value::Map(vec![("deep".into(), Value::Array(vec![1.into()]))]);
                members.insert(0, ("member_of_a_later_release".into(), more));
            }
            _ => {}
        }
    }
    let mut value = rmpv::decode::read_value(&mut &bytes[..]).expect("MessagePack");
    grow(&mut value);
    let mut grown = Vec::new();
    rmpv::encode::write_value(&mut grown, &value).expect("memory");
    grown
}

#[test]
fn members_of_a_later_release_are_passed_over() {
    for (name, bytes) in recorded() {
        read(name, &with_more_members(&bytes));
    }
    // And those of this release, but for results of methods that are newer than the recording.
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/vectors");
    for entry in fs::read_dir(vectors).expect("the vectors are there") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        let is_result = name.starts_with("response-");
        if path.extension().is_some_and(|ending| ending == "msgpack")
            && (!is_result || recorded().iter().any(|(recorded, _)| *recorded == name))
        {
            read(
                &name,
                &with_more_members(&fs::read(&path).expect("readable")),
            );
        }
    }
}

/// The same map with another value of this member, wherever it has one.
fn with(bytes: &[u8], member: &str, value: &str) -> Vec<u8> {
    fn change(value: &mut Value, member: &str, to: &str) {
        match value {
            Value::Array(values) => values
                .iter_mut()
                .for_each(|value| change(value, member, to)),
            Value::Map(members) => {
                for (name, value) in members {
                    if name.as_str() == Some(member) && value.is_str() {
                        *value = to.into();
                    } else {
                        change(value, member, to);
                    }
                }
            }
            _ => {}
        }
    }
    let mut message = rmpv::decode::read_value(&mut &bytes[..]).expect("MessagePack");
    change(&mut message, member, value);
    let mut changed = Vec::new();
    rmpv::encode::write_value(&mut changed, &message).expect("memory");
    assert_ne!(changed, bytes, "there is no '{member}'");
    changed
}

fn frame(name: &str) -> Vec<u8> {
    let mut frames = recorded().into_iter();
    frames
        .find(|(recorded, _)| *recorded == name)
        .expect(name)
        .1
}

#[test]
fn words_of_a_later_release_are_unknown_and_no_fault() {
    let event = with(&frame("notification-event"), "event", "eclipse");
    let Ok(Message::Notification { params, .. }) = Message::parse(&event) else {
        panic!("no event");
    };
    let event: Event = params.decode().expect("it reads");
    assert_eq!(event.event, EventKind::Unknown);

    let account = frame("response-account.get");
    let account = with(&with(&account, "state", "dreaming"), "flag", "ENCHANTED");
    let Ok(Message::Response { outcome, .. }) = Message::parse(&account) else {
        panic!("no response");
    };
    let account = outcome.decode::<res::AccountInfo>().expect("it reads");
    let account = account.expect("no error");
    assert_eq!(account.state, State::Unknown);
    assert!(
        account
            .flags
            .iter()
            .all(|flag| flag.flag == FlagName::Unknown)
    );

    let error = with(&frame("error-map"), "code", "out_of_patience");
    let Ok(Message::Response { outcome, .. }) = Message::parse(&error) else {
        panic!("no response");
    };
    let Ok(Err(error)) = outcome.decode::<res::HelloReply>() else {
        panic!("no error");
    };
    assert_eq!(error.code, ErrorCode::Internal);
}

#[test]
fn a_method_of_a_later_release_is_refused_by_its_name() {
    let call = with_method(&frame("request-daemon.status"), "daemon.dream");
    let Ok(Message::Request { method, params, .. }) = Message::parse(&call) else {
        panic!("no request");
    };
    let error = refused(method, params);
    assert_eq!(error.code, ErrorCode::UnknownMethod);
    assert!(error.message.contains("daemon.dream"), "{error}");
}

fn refused(method: &str, params: Params<'_>) -> authd_proto::WireError {
    match Call::decode(method, params) {
        Ok(_) => panic!("'{method}' is known"),
        Err(error) => error,
    }
}

fn with_method(bytes: &[u8], method: &str) -> Vec<u8> {
    let mut message = rmpv::decode::read_value(&mut &bytes[..]).expect("MessagePack");
    if let Value::Array(members) = &mut message {
        members[2] = method.into();
    }
    let mut changed = Vec::new();
    rmpv::encode::write_value(&mut changed, &message).expect("memory");
    changed
}
