//! The golden vectors: what is committed is what the code makes, and the code reads it back.

mod golden;

use std::collections::BTreeSet;
use std::fs;

use authd_proto::call::{Call, Method, Request};
use authd_proto::encode::{self, EncodedToken, TokenTail};
use authd_proto::error::{ErrorCode, ErrorShape};
use authd_proto::event::Event;
use authd_proto::message::{Message, Outcome};
use authd_proto::{
    approval as app, audit, doctor as doc, key, provider as pro, request as req, response as res,
    socket as soc,
};

fn read(name: &str) -> Vec<u8> {
    fs::read(golden::directory().join(format!("{name}.msgpack"))).expect("the vector is committed")
}

#[test]
fn the_committed_vectors_are_the_generated_ones() {
    let mut expected = BTreeSet::new();
    for vector in golden::vectors() {
        let path = golden::directory();
        let committed = |ending: &str| fs::read(path.join(format!("{}.{ending}", vector.name)));
        assert_eq!(
            committed("msgpack").expect("committed"),
            vector.bytes,
            "{}",
            vector.name
        );
        let twin = golden::twin(&vector.bytes).into_bytes();
        assert_eq!(
            committed("json").expect("committed"),
            twin,
            "{}",
            vector.name
        );
        for ending in ["msgpack", "json"] {
            assert!(
                expected.insert(format!("{}.{ending}", vector.name)),
                "two of one name"
            );
        }
    }
    let found: BTreeSet<String> = fs::read_dir(golden::directory())
        .expect("the vectors are there")
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_method_has_a_request_a_response_and_rules_in_the_schema() {
    let names: BTreeSet<String> = golden::vectors()
        .into_iter()
        .map(|vector| vector.name)
        .collect();
    let schema = include_str!("../../../proto/authd.cddl");
    let prose = include_str!("../../../proto/PROTOCOL.md");
    for method in Method::ALL {
        let name = method.as_str();
        assert!(
            names.contains(&format!("request-{name}")),
            "no request of {name}"
        );
        assert!(
            names.contains(&format!("response-{name}")),
            "no response of {name}"
        );
        let rule = name.replace('.', "-");
        assert!(
            schema.contains(&format!("\n{rule}-params = ")),
            "no rule for the parameters of {name}"
        );
        assert!(
            schema.contains(&format!("\n{rule}-result = ")),
            "no rule for the result of {name}"
        );
        assert!(
            prose.contains(&format!("\n### {name}\n")),
            "no section on {name}"
        );
    }
}

/// Decodes a request and encodes it again.
fn again(call: &Call<'_>) -> Vec<u8> {
    fn encoded<R: Request>(request: &R) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, 1, request).expect("encodes");
        bytes
    }
    match call {
        Call::Hello(request) => encoded(request),
        Call::TokenGet(request) => encoded(request),
        Call::TokenReject(request) => encoded(request),
        Call::DpopProof(request) => encoded(request),
        Call::AccountList(request) => encoded(request),
        Call::AccountGet(request) => encoded(request),
        Call::AccountCheck(request) => encoded(request),
        Call::AccountForget(request) => encoded(request),
        Call::AccountAdopt(request) => encoded(request),
        Call::AccountImport(request) => encoded(request),
        Call::LoginStart(request) => encoded(request),
        Call::LoginWait(request) => encoded(request),
        Call::LoginComplete(request) => encoded(request),
        Call::LoginCancel(request) => encoded(request),
        Call::ProviderList(request) => encoded(request),
        Call::ProviderShow(request) => encoded(request),
        Call::Logout(request) => encoded(request),
        Call::Renew(request) => encoded(request),
        Call::Subscribe(request) => encoded(request),
        Call::Unsubscribe(request) => encoded(request),
        Call::EventsQuery(request) => encoded(request),
        Call::SocketCreate(request) => encoded(request),
        Call::SocketList(request) => encoded(request),
        Call::SocketRevoke(request) => encoded(request),
        Call::DoctorCheck(request) => encoded(request),
        Call::ApprovalList(request) => encoded(request),
        Call::ApprovalAnswer(request) => encoded(request),
        Call::GrantList(request) => encoded(request),
        Call::GrantTier(request) => encoded(request),
        Call::GrantAdd(request) => encoded(request),
        Call::GrantRevoke(request) => encoded(request),
        Call::AuditQuery(request) => encoded(request),
        Call::DaemonStatus(request) => encoded(request),
        Call::DaemonReload(request) => encoded(request),
        Call::DaemonStop(request) => encoded(request),
        Call::DaemonLock(request) => encoded(request),
        Call::DaemonUnlock(request) => encoded(request),
        Call::KeyStatus(request) => encoded(request),
        Call::KeyRotate(request) => encoded(request),
        Call::KeyMove(request) => encoded(request),
    }
}

#[test]
fn every_request_decodes_and_encodes_to_the_same_bytes() {
    for vector in golden::vectors()
        .iter()
        .filter(|vector| vector.name.starts_with("request-"))
    {
        let Ok(Message::Request {
            id: 1,
            method,
            params,
        }) = Message::parse(&vector.bytes)
        else {
            panic!("{} is no request", vector.name)
        };
        let Ok(call) = Call::decode(method, params) else {
            panic!("{} does not decode", vector.name)
        };
        assert_eq!(again(&call), vector.bytes, "{}", vector.name);
    }
}

#[test]
fn the_tolerated_shapes_all_mean_the_empty_map() {
    for name in ["no-params", "nil-params", "array-params", "map-params"] {
        let bytes = read(&format!("tolerated-{name}"));
        let Ok(Message::Request { method, params, .. }) = Message::parse(&bytes) else {
            panic!("{name}")
        };
        let Ok(Call::TokenGet(get)) = Call::decode(method, params) else {
            panic!("{name}")
        };
        assert_eq!(get, req::TokenGet::default(), "{name}");
    }
    // However long the length of it is written.
    for empty in [&[0x90][..], &[0xdc, 0, 0], &[0xdd, 0, 0, 0, 0]] {
        let bytes = [&[0x94, 0, 1, 0xa9], b"token.get".as_slice(), &[0x91], empty].concat();
        let Ok(Message::Request { method, params, .. }) = Message::parse(&bytes) else {
            panic!("{empty:?}")
        };
        assert!(
            matches!(Call::decode(method, params), Ok(Call::TokenGet(_))),
            "{empty:?}"
        );
    }
}

#[test]
fn unknown_members_are_ignored_and_traceparent_is_found() {
    let bytes = read("tolerated-unknown-members");
    let Ok(Message::Request { method, params, .. }) = Message::parse(&bytes) else {
        panic!()
    };
    let Ok(Call::TokenGet(get)) = Call::decode(method, params) else {
        panic!()
    };
    assert_eq!(
        get,
        req::TokenGet {
            account: Some("work"),
            ..req::TokenGet::default()
        }
    );
    assert_eq!(params.trace_id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
}

fn response_again<R: Request>(bytes: &[u8]) -> Vec<u8>
where
    R::Reply: serde::Serialize,
{
    let Ok(Message::Response { id, outcome }) = Message::parse(bytes) else {
        panic!("no response")
    };
    let Ok(Ok(reply)) = outcome.decode::<R::Reply>() else {
        panic!("no result of {:?}", R::METHOD)
    };
    let mut again = Vec::new();
    encode::response(&mut again, id, &reply).expect("encodes");
    again
}

#[test]
fn every_response_decodes_and_encodes_to_the_same_bytes() {
    for vector in golden::vectors() {
        let Some(rest) = vector.name.strip_prefix("response-") else {
            continue;
        };
        let method = Method::parse(rest.split('-').next().expect("split yields one"));
        let again = match method.expect("named after a method") {
            Method::Hello => response_again::<req::Hello>(&vector.bytes),
            Method::TokenGet => response_again::<req::TokenGet<'_>>(&vector.bytes),
            Method::TokenReject => response_again::<req::TokenReject<'_>>(&vector.bytes),
            Method::DpopProof => response_again::<req::DpopProof>(&vector.bytes),
            Method::AccountList => response_again::<req::AccountList>(&vector.bytes),
            Method::AccountGet => response_again::<req::AccountGet>(&vector.bytes),
            Method::AccountCheck => response_again::<req::AccountCheck>(&vector.bytes),
            Method::AccountForget => response_again::<req::AccountForget>(&vector.bytes),
            Method::AccountAdopt => response_again::<req::AccountAdopt>(&vector.bytes),
            Method::AccountImport => response_again::<req::AccountImport>(&vector.bytes),
            Method::LoginStart => response_again::<req::LoginStart>(&vector.bytes),
            Method::LoginWait => response_again::<req::LoginWait>(&vector.bytes),
            Method::LoginComplete => response_again::<req::LoginComplete>(&vector.bytes),
            Method::LoginCancel => response_again::<req::LoginCancel>(&vector.bytes),
            Method::ProviderList => response_again::<pro::ProviderList>(&vector.bytes),
            Method::ProviderShow => response_again::<pro::ProviderShow>(&vector.bytes),
            Method::Logout => response_again::<req::Logout>(&vector.bytes),
            Method::Renew => response_again::<req::Renew>(&vector.bytes),
            Method::Subscribe => response_again::<req::Subscribe>(&vector.bytes),
            Method::Unsubscribe => response_again::<req::Unsubscribe>(&vector.bytes),
            Method::EventsQuery => response_again::<req::EventsQuery>(&vector.bytes),
            Method::SocketCreate => response_again::<soc::SocketCreate>(&vector.bytes),
            Method::SocketList => response_again::<soc::SocketList>(&vector.bytes),
            Method::SocketRevoke => response_again::<soc::SocketRevoke>(&vector.bytes),
            Method::DoctorCheck => response_again::<doc::DoctorCheck>(&vector.bytes),
            Method::ApprovalList => response_again::<app::ApprovalList>(&vector.bytes),
            Method::ApprovalAnswer => response_again::<app::ApprovalAnswer>(&vector.bytes),
            Method::GrantList => response_again::<app::GrantList>(&vector.bytes),
            Method::GrantTier => response_again::<app::GrantTier>(&vector.bytes),
            Method::GrantAdd => response_again::<app::GrantAdd>(&vector.bytes),
            Method::GrantRevoke => response_again::<app::GrantRevoke>(&vector.bytes),
            Method::AuditQuery => response_again::<audit::AuditQuery>(&vector.bytes),
            Method::DaemonStatus => response_again::<req::DaemonStatus>(&vector.bytes),
            Method::DaemonReload => response_again::<req::DaemonReload>(&vector.bytes),
            Method::DaemonStop => response_again::<req::DaemonStop>(&vector.bytes),
            Method::DaemonLock => response_again::<key::DaemonLock>(&vector.bytes),
            Method::DaemonUnlock => response_again::<key::DaemonUnlock>(&vector.bytes),
            Method::KeyStatus => response_again::<key::KeyStatus>(&vector.bytes),
            Method::KeyRotate => response_again::<key::KeyRotate>(&vector.bytes),
            Method::KeyMove => response_again::<key::KeyMove>(&vector.bytes),
        };
        assert_eq!(again, vector.bytes, "{}", vector.name);
    }
}

#[test]
fn a_cached_token_is_the_same_bytes_as_an_encoded_one() {
    let without_expiry = golden::token_without_expiry();
    for (name, token) in [("", golden::token()), ("-without-expiry", without_expiry)] {
        let about = &token.renewal;
        let tail = TokenTail {
            ttl_secs: about.ttl_secs,
            low: about.low,
            renewed: about.renewed,
        };
        let mut bytes = Vec::new();
        EncodedToken::new(&token).response(&mut bytes, 1, tail);
        assert_eq!(bytes, read(&format!("response-token.get{name}")));
    }
}

#[test]
fn errors_read_back_in_both_shapes() {
    for vector in golden::vectors()
        .iter()
        .filter(|vector| vector.name.starts_with("error-"))
    {
        let Ok(Message::Response {
            id,
            outcome: outcome @ Outcome::Err(_),
        }) = Message::parse(&vector.bytes)
        else {
            panic!("{} is no error", vector.name)
        };
        let Ok(Err(error)) = outcome.decode::<res::HelloReply>() else {
            panic!("{}", vector.name)
        };
        assert_ne!(error.code, ErrorCode::Internal, "{}", vector.name);
        let shape = if vector.name.contains("text") {
            ErrorShape::Text
        } else {
            ErrorShape::Map
        };
        let mut again = Vec::new();
        encode::error(&mut again, id, &error, shape);
        assert_eq!(again, vector.bytes, "{}", vector.name);
    }
}

#[test]
fn notifications_decode_and_encode_to_the_same_bytes() {
    for name in [
        "notification-event",
        "notification-event-failed",
        "notification-event-lagged",
    ] {
        let bytes = read(name);
        let Ok(Message::Notification {
            method: "event",
            params,
        }) = Message::parse(&bytes)
        else {
            panic!("{name} is no event")
        };
        let event: Event = params.decode().expect("decodes");
        let mut again = Vec::new();
        encode::event(&mut again, &event).expect("encodes");
        assert_eq!(again, bytes);
    }
}
