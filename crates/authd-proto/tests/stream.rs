//! The frame layer under hostile input: caps, splits, arbitrary bytes.

use std::io::Read;

use authd_proto::call::Call;
use authd_proto::encode;
use authd_proto::error::{ErrorCode, ErrorShape, WireError};
use authd_proto::frame::{FrameBuffer, FrameError, Scanner};
use authd_proto::limits::{MAX_DEPTH, MAX_FRAME};
use authd_proto::message::Message;
use authd_proto::request::{LoginStart, TokenGet};
use proptest::prelude::*;

/// rmpv counts each array and map twice, and a string or ext up to three times more.
const RMPV_LEVELS: usize = 2 * MAX_DEPTH + 3;

/// Feeds `bytes` in pieces of at most `piece` and returns the frames, and the error that ended it.
fn frames(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let mut buffer = FrameBuffer::new();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        let mut piece = piece;
        while !piece.is_empty() {
            buffer.read_from(&mut piece).expect("reading from memory");
            loop {
                match buffer.next_frame() {
                    Ok(Some(frame)) => found.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (found, Some(error)),
                }
            }
        }
    }
    (found, None)
}

fn array_of_depth(depth: usize) -> Vec<u8> {
    let mut bytes = vec![0x91; depth - 1];
    bytes.push(0x90);
    bytes
}

#[test]
fn the_deepest_frame_passes_and_one_level_more_is_refused() {
    assert_eq!(frames(&array_of_depth(MAX_DEPTH), 1).0.len(), 1);
    assert_eq!(
        frames(&array_of_depth(MAX_DEPTH + 1), 1).1,
        Some(FrameError::TooDeep)
    );
}

#[test]
fn the_largest_frame_passes_and_one_byte_more_is_refused_at_its_header() {
    let largest = |payload: usize| {
        let mut bytes = vec![0xdb];
        bytes.extend_from_slice(&u32::try_from(payload).expect("fits").to_be_bytes());
        bytes
    };
    let mut fits = largest(MAX_FRAME - 5);
    fits.resize(MAX_FRAME, b'x');
    assert_eq!(frames(&fits, 7000).0, [fits]);
    assert_eq!(
        Scanner::default().scan(&largest(MAX_FRAME - 4)),
        Err(FrameError::TooLarge)
    );
}

#[test]
fn claimed_lengths_are_refused_before_anything_comes() {
    for marker in [0xc6, 0xc9, 0xdb, 0xdd, 0xdf] {
        let claim = [marker, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            Scanner::default().scan(&claim),
            Err(FrameError::TooLarge),
            "{marker:#x}"
        );
    }
    // Many small claims add up: an array of 65,535 strings of 65,535 bytes.
    let mut bytes = vec![0xdc, 0xff, 0xff];
    for _ in 0..4 {
        bytes.extend_from_slice(&[0xda, 0xff, 0xff]);
        bytes.resize(bytes.len() + 0xffff, b'x');
    }
    assert_eq!(frames(&bytes, 4096).1, Some(FrameError::TooLarge));
}

#[test]
fn the_byte_that_messagepack_never_uses_ends_the_stream() {
    assert_eq!(frames(&[0x93, 0xc1], 1).1, Some(FrameError::NotMessagePack));
}

#[test]
fn a_dripped_frame_is_scanned_once() {
    // 200,000 one-byte members: a scanner that starts over at each byte would take 2·10¹⁰ steps here,
    // far beyond the time limit of a test.
    let mut bytes = vec![0xdd, 0, 3, 0x0d, 0x40];
    bytes.resize(bytes.len() + 200_000, 1);
    let (found, error) = frames(&bytes, 1);
    assert_eq!((found.len(), error), (1, None));
}

#[test]
fn what_is_no_rpc_message_is_refused() {
    let cases: [&[u8]; 8] = [
        &[0x01],
        &[0x80],
        &[0x90],
        &[0x94, 3, 1, 0xa1, b'x', 0x90],
        &[0x93, 0, 1, 0xa1, b'x'],
        &[0x94, 0, 0xff, 0xa1, b'x', 0x90],
        &[0x94, 0, 1, 2, 0x90],
        &[0x94, 0, 0xcf, 1, 0, 0, 0, 0, 0, 0, 0, 0xa1, b'x', 0x90],
    ];
    for case in cases {
        assert!(
            matches!(Message::parse(case), Err(FrameError::NotRpc)),
            "{case:x?}"
        );
    }
}

fn bad_request(params: &[u8]) -> WireError {
    let Err(error) = call("login.start", params) else {
        panic!("{params:x?} was accepted")
    };
    error
}

fn call(method: &str, params: &[u8]) -> Result<(), WireError> {
    let mut bytes = vec![
        0x94,
        0,
        1,
        0xa0 | u8::try_from(method.len()).expect("short"),
    ];
    bytes.extend_from_slice(method.as_bytes());
    bytes.extend_from_slice(params);
    let Ok(Message::Request { method, params, .. }) = Message::parse(&bytes) else {
        panic!("no request")
    };
    Call::decode(method, params).map(drop)
}

#[test]
fn parameters_by_position_are_refused() {
    for params in [
        &[0x91, 0x91, 0xa1, b'x'][..],
        &[0x92, 0x80, 0x80],
        &[0x91, 0x01],
        &[0x80],
        &[0xc0],
    ] {
        assert_eq!(
            bad_request(params).code,
            ErrorCode::BadRequest,
            "{params:x?}"
        );
    }
}

#[test]
fn a_refusal_never_repeats_a_value() {
    let mut params = vec![0x91, 0x82, 0xa7];
    params.extend_from_slice(b"account\xa1x\xa5extra\xa6s3cret");
    let error = bad_request(&params);
    assert!(!error.to_string().contains("s3cret"), "{error}");
    assert_eq!(error.message, "invalid type: string, expected a map");
    let mut flow = vec![0x91, 0x82, 0xa7];
    flow.extend_from_slice(b"account\xa1x\xa4flow\xa6s3cret");
    assert!(!bad_request(&flow).to_string().contains("s3cret"));
    assert_eq!(
        bad_request(&[0x91, 0x80]).message,
        "missing field `account`"
    );
}

#[test]
fn reserved_methods_are_unsupported_and_others_unknown() {
    for name in ["grant.create", "approval.x", "sink.x", "audit.forget"] {
        assert_eq!(
            call(name, &[0x90]).map_err(|error| error.code),
            Err(ErrorCode::Unsupported),
            "{name}"
        );
    }
    for name in ["", "lockx", "grant", "token.GET"] {
        assert_eq!(
            call(name, &[0x90]).map_err(|error| error.code),
            Err(ErrorCode::UnknownMethod),
            "{name}"
        );
    }
}

#[test]
fn an_answer_too_large_is_refused_and_leaves_the_buffer_alone() {
    let mut out = b"before".to_vec();
    let huge = "x".repeat(MAX_FRAME);
    assert!(encode::response(&mut out, 1, &huge).is_err());
    assert_eq!(out, b"before");
    // The cap is a frame's, whatever stands before it: four bytes of head, five of the text's length.
    let largest = &huge[9..];
    assert!(encode::response(&mut out, 1, &largest).is_ok());
    assert_eq!(out.len(), b"before".len() + MAX_FRAME);
    assert!(encode::response(&mut out, 1, &&huge[8..]).is_err());
    out.clear();
    encode::error(
        &mut out,
        1,
        &WireError::new(ErrorCode::Internal, huge),
        ErrorShape::Map,
    );
    let Ok(Message::Response { outcome, .. }) = Message::parse(&out) else {
        panic!("no response")
    };
    let Ok(Err(error)) = outcome.decode::<()>() else {
        panic!("no error")
    };
    assert_eq!(error.code, ErrorCode::Internal);
}

#[test]
fn a_buffer_gives_its_memory_back_after_a_burst() {
    let mut buffer = FrameBuffer::new();
    let mut big = vec![0xc6, 0, 3, 0, 0];
    big.resize(5 + 0x30000, 0);
    let mut source = &*big;
    while buffer.next_frame().expect("valid").is_none() {
        assert_ne!(buffer.read_from(&mut source).expect("memory"), 0);
    }
    assert!(buffer.is_empty());
    assert!(buffer.spare().len() <= 4096);
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äß日]{0,40}"
}

proptest! {
    #[test]
    fn token_get_round_trips(
        account in proptest::option::of(text()),
        scopes in proptest::option::of(proptest::collection::vec(text(), 0..40)),
        wait_secs: Option<u64>,
        id: u32,
    ) {
        let get = TokenGet {
            account: account.as_deref(),
            scopes: scopes.as_ref().map(|list| list.iter().map(String::as_str).collect()),
            wait_secs,
            ..TokenGet::default()
        };
        let mut bytes = Vec::new();
        encode::request(&mut bytes, id, &get).expect("small");
        let Ok(Message::Request { id: back, method, params }) = Message::parse(&bytes) else { panic!() };
        prop_assert_eq!(back, id);
        let Ok(Call::TokenGet(back)) = Call::decode(method, params) else { panic!() };
        prop_assert_eq!(back, get);
    }

    #[test]
    fn any_split_yields_the_same_frames(
        texts in proptest::collection::vec(text(), 1..6),
        piece in 1usize..200,
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (id, account) in texts.into_iter().enumerate() {
            let start = bytes.len();
            let request = LoginStart { account, ..LoginStart::default() };
            encode::request(&mut bytes, u32::try_from(id).expect("few"), &request).expect("small");
            expected.push(bytes[start..].to_vec());
        }
        prop_assert_eq!(frames(&bytes, piece), (expected.clone(), None));
        for split in 0..=bytes.len() {
            let mut buffer = FrameBuffer::new();
            let mut found = Vec::new();
            let mut source = bytes[..split].chain(&bytes[split..]);
            while buffer.read_from(&mut source).expect("memory") > 0 {
                while let Some(frame) = buffer.next_frame().expect("valid") {
                    found.push(frame.to_vec());
                }
            }
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_exceed_the_caps(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        piece in 1usize..300,
    ) {
        let (found, _) = frames(&bytes, piece);
        for frame in found {
            prop_assert!(frame.len() <= MAX_FRAME);
            let mut rest = &*frame;
            prop_assert!(rmpv::decode::read_value_with_max_depth(&mut rest, RMPV_LEVELS).is_ok());
            prop_assert!(rest.is_empty());
            if let Ok(message) = Message::parse(&frame) {
                decode(message);
            }
        }
    }

    #[test]
    fn arbitrary_parameters_never_panic(
        method in prop_oneof![Just("token.get"), Just("login.start"), Just("hello"), Just("subscribe")],
        params in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = vec![0x94, 0, 1, 0xa0 | u8::try_from(method.len()).expect("short")];
        bytes.extend_from_slice(method.as_bytes());
        bytes.extend_from_slice(&params);
        if let Ok(message) = Message::parse(&bytes) {
            decode(message);
        }
    }

    #[test]
    fn arbitrary_bytes_as_one_message_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::parse(&bytes) {
            decode(message);
        }
    }
}

fn decode(message: Message<'_>) {
    match message {
        Message::Request { method, params, .. } | Message::Notification { method, params } => {
            let _ = params.trace_id();
            let _ = Call::decode(method, params).map(drop);
        }
        Message::Response { outcome, .. } => {
            let _ = outcome.decode::<authd_proto::response::AccountInfo>();
        }
    }
}
