//! One program begins logins without end: the daemon's memory and everybody else's logins are as before.

#![cfg(target_os = "linux")]

use std::fs;

use authd_client::Client;
use authd_e2e::{Instance, PATIENCE, PendingLogin, binaries, instance::call};
use authd_proto::{
    ErrorCode,
    request::{LoginCancel, LoginStart, LoginWait},
    response::LoginStartReply,
};

/// Bytes of the address that the browser would open: nearly a frame.
const LONG: usize = 200_000;

/// A login that needs no network.
fn by_hand(account: &str) -> LoginStart {
    LoginStart {
        account: account.to_owned(),
        authorization_endpoint: Some("http://127.0.0.1:1/a".to_owned()),
        token_endpoint: Some("http://127.0.0.1:1/t".to_owned()),
        client_id: Some("c".to_owned()),
        ..LoginStart::default()
    }
}

fn begin(client: &mut Client, start: &LoginStart) -> LoginStartReply {
    call(client, start).expect("a login that begins")
}

/// The same by the command.
const BY_HAND: [&str; 4] = [
    "--authorization-endpoint",
    "http://127.0.0.1:1/a",
    "--token-endpoint",
    "http://127.0.0.1:1/t",
];

/// Why the login ended, as far as that is still known.
fn end(client: &mut Client, login_id: &str) -> ErrorCode {
    let wait = LoginWait {
        login_id: login_id.to_owned(),
        wait_secs: Some(PATIENCE.as_secs()),
    };
    call(client, &wait)
        .expect_err("no login to have succeeded")
        .code
}

/// Resident memory of the process, in bytes.
fn resident(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.expect("a size") * 1024
}

#[test]
fn one_process_has_not_all_the_places_for_logins() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let client = &mut instance.client();
    let started: Vec<_> = (0..16)
        .map(|number| begin(client, &by_hand(&format!("a{number}"))))
        .collect();
    let refused = call(client, &by_hand("more")).expect_err("no place");
    assert_eq!(refused.code, ErrorCode::Busy);
    // Another process has places still, and so has this one when a login of its own is over.
    let mut other = instance.command(binaries::authctl());
    other.args([
        "login",
        "other",
        "--no-browser",
        "--json",
        "--client-id",
        "c",
    ]);
    let pending = PendingLogin::start(other.args(BY_HAND));
    assert_eq!(pending.authorize()["event"], "authorize");
    let login_id = started[0].login_id.clone();
    call(
        client,
        &LoginCancel {
            login_id: login_id.clone(),
        },
    )
    .expect("a login under way");
    assert_eq!(end(client, &login_id), ErrorCode::LoginCancelled);
    begin(client, &by_hand("more"));
}

#[test]
fn logins_that_ended_leave_no_more_than_their_results_and_not_all_of_those() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let pid = instance.status().pid;
    let client = &mut instance.client();
    let start = LoginStart {
        extra: [("p".to_owned(), "A".repeat(LONG))].into(),
        ..by_hand("x")
    };
    let first = begin(client, &start);
    for _ in 0..20 {
        begin(client, &start);
    }
    let before = resident(pid);
    let mut last = begin(client, &start);
    for _ in 0..300 {
        let next = begin(client, &start);
        // Each ends the one before, which is told to whoever asks.
        assert_eq!(end(client, &last.login_id), ErrorCode::LoginCancelled);
        last = next;
    }
    let grown = resident(pid).saturating_sub(before);
    assert!(
        grown < 150 * LONG,
        "{grown} bytes for 300 logins that are over"
    );
    assert_eq!(end(client, &first.login_id), ErrorCode::UnknownLogin);
}
