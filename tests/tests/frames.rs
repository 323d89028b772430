//! Frames that are none, too large or broken: they close their own connection and harm no other.

use authd_e2e::{Instance, PATIENCE, Raw, instance::call, raw::frame};
use authd_proto::{
    ErrorCode,
    limits::MAX_FRAME,
    request::{DaemonStatus, TokenGet},
};

/// A string of `length` bytes, as its head claims.
fn claimed_string(length: u32) -> Vec<u8> {
    [&[0xdb], &length.to_be_bytes()[..]].concat()
}

#[test]
fn what_is_no_frame_closes_its_own_connection_alone() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let mut honest = instance.client();
    let request_head = [0x94, 0x00, 0x01];
    let deep = [&request_head[..], &[0xa1, b'x'], &[0x91; 100]].concat();
    let oversized = [
        &request_head[..],
        &claimed_string(u32::try_from(2 * MAX_FRAME).unwrap()),
        &vec![b'x'; 2 * MAX_FRAME],
    ]
    .concat();
    let nonsense: [(&str, Vec<u8>); 8] = [
        ("a byte that MessagePack never uses", vec![0xc1]),
        ("a number", vec![0x07]),
        ("a map", vec![0x80]),
        ("an empty array", vec![0x90]),
        ("an array of the wrong length", vec![0x92, 0x00, 0x01]),
        (
            "a type that does not exist",
            vec![0x94, 0x09, 0x01, 0xa1, b'x', 0x90],
        ),
        ("deeper than allowed", deep),
        ("larger than allowed", oversized),
    ];
    for (what, bytes) in nonsense {
        let mut raw = Raw::connect(&instance.socket());
        // It may hang up before all of it is there.
        raw.send(&bytes);
        assert_eq!(raw.until_closed(PATIENCE), Some(vec![]), "{what}");
        assert!(call(&mut honest, &DaemonStatus {}).is_ok(), "{what}");
    }
    // A head that claims 4 GB: nothing is set aside for it, and the connection ends at the cap.
    let mut raw = Raw::connect(&instance.socket());
    assert!(raw.send(&[&request_head[..], &claimed_string(u32::MAX)].concat()));
    raw.send(&vec![b'x'; MAX_FRAME + 1]);
    assert_eq!(
        raw.until_closed(PATIENCE),
        Some(vec![]),
        "a head that claims 4 GB"
    );
    assert!(call(&mut honest, &DaemonStatus {}).is_ok());
}

#[test]
fn a_request_is_answered_even_when_nonsense_follows_it() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let mut raw = Raw::connect(&instance.socket());
    let bytes = [frame(1, &DaemonStatus {}), vec![0xc1]].concat();
    assert!(raw.send(&bytes));
    raw.until_closed(PATIENCE)
        .expect("an end of the connection");
    assert!(instance.call(&DaemonStatus {}).is_ok());
}

#[test]
fn half_a_frame_and_an_end_is_no_request() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let whole = frame(1, &DaemonStatus {});
    for length in 1..whole.len() {
        let mut raw = Raw::connect(&instance.socket());
        assert!(raw.send(&whole[..length]));
        raw.stream().shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(raw.until_closed(PATIENCE), Some(vec![]), "{length} bytes");
    }
}

#[test]
fn parameters_out_of_range_are_a_typed_error_and_the_connection_goes_on() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let mut client = instance.client();
    let long = "x".repeat(100_000);
    let scopes = vec!["s"; 1000];
    for get in [
        TokenGet {
            account: Some(""),
            ..TokenGet::default()
        },
        TokenGet {
            account: Some(&long),
            ..TokenGet::default()
        },
        TokenGet {
            account: Some("demo\n"),
            ..TokenGet::default()
        },
        TokenGet {
            account: Some("demo"),
            scopes: Some(scopes),
            ..TokenGet::default()
        },
    ] {
        let Err(refused) = call(&mut client, &get) else {
            panic!("a token")
        };
        let code = refused.code;
        assert!(
            matches!(code, ErrorCode::BadRequest | ErrorCode::UnknownAccount),
            "{refused}"
        );
        let text = refused.to_string();
        assert!(
            text.len() < 2000 && !text.contains(char::is_control),
            "{text}"
        );
    }
    assert!(call(&mut client, &DaemonStatus {}).is_ok());
}
