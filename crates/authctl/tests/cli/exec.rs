//! `authctl exec`: what the command gets, and whose the exit status is.

use authd_proto::call::Call;
use authd_proto::{ErrorCode, WireError};

use crate::daemon::{FakeDaemon, run, token};

/// Each account's token is its name with `at-` before it.
fn serving() -> FakeDaemon {
    FakeDaemon::start(|call, reply| match call {
        Call::TokenGet(get) => match get.account {
            Some("gone") => reply.error(&WireError::new(ErrorCode::LoginRequired, "login expired")),
            Some("bound") => {
                let mut bound = token("at-bound");
                bound.renewal.token_type = "DPoP".to_owned();
                bound.renewal.account = "bound".to_owned();
                reply.ok(&bound);
            }
            account => reply.ok(&token(&format!("at-{}", account.unwrap_or_default()))),
        },
        call => panic!("not expected: {}", call.method().as_str()),
    })
}

fn shell(args: &[&'static str], script: &'static str) -> (String, String, Option<i32>) {
    let args = ["exec"]
        .iter()
        .chain(args)
        .copied()
        .chain(["--", "sh", "-c", script]);
    run(&mut serving().authctl(args))
}

#[test]
fn the_command_finds_the_token_in_its_environment() {
    let (out, errors, status) = shell(&["work"], "echo $AUTHD_TOKEN");
    assert_eq!(
        (out.as_str(), errors.as_str(), status),
        ("at-work\n", "", Some(0))
    );
}

#[test]
fn variables_are_named_and_may_name_their_account() {
    let (out, ..) = shell(
        &["work", "--env", "GH_TOKEN", "--env", "NPM_TOKEN=npm"],
        "echo $GH_TOKEN $NPM_TOKEN ${AUTHD_TOKEN-none}",
    );
    assert_eq!(out, "at-work at-npm none\n");
}

#[test]
fn a_token_that_needs_proofs_is_not_put_where_nobody_could_use_it() {
    let (out, errors, status) = shell(&["work", "--env", "A", "--env", "B=bound"], "echo ran");
    assert_eq!((out.as_str(), status), ("", Some(125)));
    assert!(
        errors.starts_with("authctl: the token of 'bound' is bound to a key")
            && errors.contains("authctl token bound --format header")
            && !errors.contains("at-bound"),
        "{errors}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn the_token_stands_on_no_command_line() {
    let (out, ..) = shell(&["work"], "tr '\\0' ' ' < /proc/$$/cmdline");
    assert!(out.starts_with("sh -c tr"), "{out}");
    assert!(!out.contains("at-work"), "{out}");
}

#[test]
fn the_exit_status_is_that_of_the_command() {
    assert_eq!(shell(&["work"], "exit 42").2, Some(42));
    assert_eq!(shell(&["work"], "exit 2").2, Some(2));
}

#[test]
fn a_command_killed_by_a_signal_looks_so_to_a_shell() {
    let daemon = serving();
    let script = format!(
        "'{}' exec work -- sh -c 'kill -TERM $$'; echo $?",
        env!("CARGO_BIN_EXE_authctl")
    );
    let mut command = assert_cmd::Command::new("sh");
    command
        .args(["-c", &script])
        .env("AUTHD_SOCKET", daemon.socket())
        .timeout(crate::daemon::PATIENCE);
    assert_eq!(run(&mut command).0, "143\n");
}

#[test]
fn failures_of_its_own_are_125() {
    let daemon = serving();
    let (_, errors, status) = run(&mut daemon.authctl(["exec", "work", "--", "/no/such/program"]));
    assert_eq!(status, Some(125));
    assert!(
        errors.starts_with("authctl: cannot run '/no/such/program': "),
        "{errors}"
    );
    let (out, errors, status) = run(&mut daemon.authctl(["exec", "gone", "--", "echo", "ran"]));
    assert_eq!((out.as_str(), status), ("", Some(125)));
    assert_eq!(
        errors,
        "authctl: login expired: run 'authctl login ACCOUNT'\n"
    );
}
