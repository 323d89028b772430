//! `authctl token`: what it prints, what it asks for, how it fails.

use std::process::Stdio;

use crate::daemon::{FakeDaemon, run, token};
use authd_proto::call::Call;
use authd_proto::{ErrorCode, WireError, WireSecret, response::DpopProofReply};

fn serving() -> FakeDaemon {
    FakeDaemon::start(|call, reply| match call {
        Call::TokenGet(_) => reply.ok(&token("at-secret")),
        call => panic!("not expected: {}", call.method().as_str()),
    })
}

fn failing(error: WireError) -> FakeDaemon {
    FakeDaemon::start(move |call, reply| match call {
        Call::TokenGet(_) => reply.error(&error),
        Call::AccountList(_) => reply.ok(&authd_proto::response::AccountListReply {
            accounts: vec![
                crate::daemon::account("work"),
                crate::daemon::account("home"),
            ],
            cursor: None,
        }),
        call => panic!("not expected: {}", call.method().as_str()),
    })
}

#[test]
fn the_token_stands_alone_on_standard_output() {
    let out = run(&mut serving().authctl(["token", "work"]));
    assert_eq!(out, ("at-secret\n".to_owned(), String::new(), Some(0)));
}

#[test]
fn the_header_is_ready_for_a_request() {
    let out = run(&mut serving().authctl(["token", "work", "--format", "header"]));
    assert_eq!(
        out,
        (
            "Authorization: Bearer at-secret\n".to_owned(),
            String::new(),
            Some(0)
        )
    );
}

/// A daemon whose token is bound to a key.
fn serving_bound() -> FakeDaemon {
    FakeDaemon::start(|call, reply| match call {
        Call::TokenGet(_) => {
            let mut bound = token("at-secret");
            bound.renewal.token_type = "DPoP".to_owned();
            reply.ok(&bound);
        }
        Call::DpopProof(ask) => {
            let token = ask.access_token.as_ref().map(|token| token.expose());
            assert_eq!((ask.account.as_str(), token), ("work", Some("at-secret")));
            let nonce = ask.nonce.as_deref().unwrap_or("none");
            let proof = format!("{}.{}.{nonce}", ask.method, ask.url);
            reply.ok(&DpopProofReply {
                proof: WireSecret::new(proof.as_str()),
                account: ask.account,
                jkt: "jkt".to_owned(),
            });
        }
        call => panic!("not expected: {}", call.method().as_str()),
    })
}

#[test]
fn a_bound_token_comes_with_the_proof_for_one_request() {
    let daemon = serving_bound();
    let header = [
        "token",
        "work",
        "--format",
        "header",
        "--url",
        "https://a/b",
    ];
    let out = run(&mut daemon.authctl(header));
    let expected = "Authorization: DPoP at-secret\nDPoP: GET.https://a/b.none\n";
    assert_eq!(out, (expected.to_owned(), String::new(), Some(0)));
    let more = ["--method", "POST", "--nonce", "-n-1"];
    let (out, ..) = run(daemon.authctl(header).args(more));
    assert!(out.ends_with("DPoP: POST.https://a/b.-n-1\n"), "{out}");

    // A plain token needs none.
    let (out, errors, _) = run(&mut serving().authctl(header));
    assert_eq!(
        (out.as_str(), errors.as_str()),
        ("Authorization: Bearer at-secret\n", "")
    );
}

#[test]
fn a_bound_token_alone_is_given_with_a_warning() {
    let daemon = serving_bound();
    for (format, out) in [
        ("text", "at-secret\n"),
        ("header", "Authorization: DPoP at-secret\n"),
    ] {
        let (printed, errors, status) =
            run(&mut daemon.authctl(["token", "work", "--format", format]));
        assert_eq!((printed.as_str(), status), (out, Some(0)));
        assert!(errors.contains("bound to a key"), "{errors}");
        assert!(errors.contains("--url"), "{errors}");
    }
    let (_, errors, status) = run(&mut daemon.authctl(["token", "work", "--json"]));
    assert_eq!((errors.as_str(), status), ("", Some(0)));
    let (.., status) = run(&mut daemon.authctl(["token", "work", "--method", "GET"]));
    assert_eq!(status, Some(2));
}

#[test]
fn json_is_the_map_of_the_wire() {
    let daemon = serving();
    let (json, errors, status) = run(&mut daemon.authctl(["token", "work", "--json"]));
    assert_eq!((errors.as_str(), status), ("", Some(0)));
    insta::assert_snapshot!(json);
    let (other, ..) = run(&mut daemon.authctl(["token", "work", "--format", "json"]));
    assert_eq!(json, other);
    let (.., status) = run(&mut daemon.authctl(["token", "--json", "--format", "header"]));
    assert_eq!(status, Some(2));
}

#[test]
fn the_options_reach_the_daemon() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::TokenGet(get) => {
            assert_eq!(get.account, None);
            assert_eq!(get.scopes, Some(vec!["a", "b", "c"]));
            assert_eq!(get.resource, Some("https://api.example.com"));
            assert_eq!(get.min_ttl_secs, Some(300));
            assert_eq!(get.wait_secs, Some(90));
            reply.ok(&token("t"));
        }
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let (out, ..) = run(&mut daemon.authctl([
        "token",
        "--scope",
        "a b",
        "--scope=c",
        "--resource",
        "https://api.example.com",
        "--min-ttl",
        "5m",
        "--wait",
        "90s",
    ]));
    assert_eq!(out, "t\n");
}

#[test]
fn a_rejected_token_is_read_from_standard_input_and_answered_with_a_newer_one() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::TokenReject(reject) => {
            assert_eq!(reject.account, "work");
            assert_eq!(reject.access_token.map(|t| t.expose()), Some("old-token"));
            assert_eq!(reject.status, Some(401));
            reply.ok(&token("newer"));
        }
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let mut command = daemon.authctl(["token", "work", "--rejected"]);
    let out = run(command.write_stdin("old-token\n"));
    assert_eq!(out, ("newer\n".to_owned(), String::new(), Some(0)));

    let mut command = daemon.authctl(["token", "work", "--rejected"]);
    let (out, errors, status) = run(command.write_stdin(""));
    assert_eq!((out.as_str(), status), ("", Some(2)));
    assert_eq!(
        errors,
        "authctl: the rejected token is missing on standard input: pipe it in\n"
    );
    let (.., status) = run(&mut daemon.authctl(["token", "--rejected"]));
    assert_eq!(status, Some(2), "whose token it is has to be said");
}

#[test]
fn each_code_of_the_daemon_ends_with_its_exit_status_and_one_line() {
    for &code in ErrorCode::ALL {
        let daemon = failing(WireError::new(code, "something happened").with_hint("do this"));
        let (out, errors, status) = run(&mut daemon.authctl(["token", "work"]));
        assert_eq!(status, Some(code.exit_status() as i32), "{code}");
        assert_eq!(out, "", "{code}: standard output is data");
        assert_eq!(errors, "authctl: something happened: do this\n", "{code}");
    }
}

#[test]
fn the_line_names_the_command_that_mends_it() {
    let daemon =
        failing(WireError::new(ErrorCode::LoginRequired, "login expired").with_account("work"));
    let (_, errors, status) = run(&mut daemon.authctl(["token", "work"]));
    assert_eq!(errors, "authctl: login expired: run 'authctl login work'\n");
    assert_eq!(status, Some(4));
}

#[test]
fn an_account_with_a_similar_name_is_suggested() {
    let daemon = failing(
        WireError::new(ErrorCode::UnknownAccount, "there is no account 'wrok'")
            .with_account("wrok"),
    );
    let (_, errors, status) = run(&mut daemon.authctl(["token", "wrok"]));
    assert_eq!(
        errors,
        "authctl: there is no account 'wrok': did you mean 'work'?\n"
    );
    assert_eq!(status, Some(3));
}

#[test]
fn what_a_provider_says_cannot_act_on_the_terminal() {
    let daemon = failing(WireError::new(
        ErrorCode::Unavailable,
        "bad\x1b]0;title\x07 \u{9b}2Jgateway\u{202e}",
    ));
    let (_, errors, _) = run(&mut daemon.authctl(["token", "work"]));
    assert_eq!(errors, "authctl: bad]0;title 2Jgateway: try again\n");
}

#[test]
fn no_daemon_is_7_and_none_is_started_for_a_socket_that_was_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = crate::daemon::authctl(["token", "work"]);
    command.env("AUTHD_SOCKET", directory.path().join("s"));
    let (out, errors, status) = run(&mut command);
    assert_eq!((out.as_str(), status), ("", Some(7)));
    assert!(
        errors.contains("none is started for AUTHD_SOCKET: start that daemon, or unset"),
        "{errors}"
    );
}

#[test]
fn a_daemon_that_hangs_up_is_7() {
    let daemon = FakeDaemon::start(|_, reply| reply.hang_up());
    let (_, errors, status) = run(&mut daemon.authctl(["token", "work"]));
    assert_eq!(status, Some(7), "{errors}");
    assert!(
        errors.contains("it may be stopping, or not serve this user"),
        "{errors}"
    );
}

#[test]
fn a_reader_that_has_gone_away_is_no_failure() {
    let daemon = serving();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_authctl"))
        .args(["token", "work"])
        .env("AUTHD_SOCKET", daemon.socket())
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
