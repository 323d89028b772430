//! `authctl status`: the table, the JSON, the exit status, the watch.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use authd_proto::call::Call;
use authd_proto::event::EventKind;
use authd_proto::response::{
    AccountInfo, DaemonStatusReply, Flag, FlagName, LastError, OwedRevocation, State,
    SubscribeReply, TokenKind,
};
use authd_proto::{ErrorCode, WireError};

use crate::daemon::{FakeDaemon, account, daemon_status, run, state_of};

/// One account of each kind a person may meet. No time depends on when the test runs: all are long past.
fn motley() -> Vec<AccountInfo> {
    let mut offline = account("offline");
    offline.state = State::Late;
    offline.ttl_secs = Some(40);
    offline.flags = vec![Flag {
        flag: FlagName::Offline,
        reason: "connection refused".to_owned(),
        since_at: None,
    }];
    let mut ended = account("home");
    ended.state = State::NeedsLogin;
    ended.ttl_secs = None;
    ended.next_renewal_at = None;
    ended.flags = vec![Flag {
        flag: FlagName::NeedsLogin,
        reason: "invalid_grant: \x1b[2Jthe \u{9b}31mend".to_owned(),
        since_at: None,
    }];
    vec![ended, offline, account("work")]
}

fn weak() -> DaemonStatusReply {
    let mut status = daemon_status();
    status.key_protection.kind = "file".to_owned();
    status.key_protection.detail = "/home/alice/.local/state/authd/key".to_owned();
    status
}

#[test]
fn all_is_well() {
    let daemon = FakeDaemon::start(state_of(daemon_status(), vec![account("work")]));
    let (out, errors, status) = run(&mut daemon.authctl(["status"]));
    assert_eq!((errors.as_str(), status), ("", Some(0)));
    insta::assert_snapshot!(out);
}

#[test]
fn what_is_still_owed_to_a_provider_is_shown_after_the_account_is_gone() {
    let mut status = daemon_status();
    status.revocations = vec![OwedRevocation {
        account: "old\u{1b}[2J".to_owned(),
        tokens: vec![TokenKind::RefreshToken, TokenKind::AccessToken],
    }];
    let daemon = FakeDaemon::start(state_of(status, vec![account("work")]));
    let (out, _, status) = run(&mut daemon.authctl(["status"]));
    assert_eq!(status, Some(0));
    let line = "not revoked yet: of 'old[2J', which is logged out: the refresh token and the access token; \
                authd keeps trying\n";
    assert!(out.contains(line), "{out}");
    let (json, ..) = run(&mut daemon.authctl(["status", "--json"]));
    assert!(
        json.contains(r#""tokens":["refresh_token","access_token"]"#),
        "{json}"
    );
}

#[test]
fn what_is_not_well_is_explained_with_the_command_that_mends_it() {
    let daemon = FakeDaemon::start(state_of(weak(), motley()));
    let (out, errors, status) = run(&mut daemon.authctl(["status"]));
    assert_eq!(
        (errors.as_str(), status),
        ("", Some(4)),
        "an account needs a login"
    );
    assert!(
        !out.contains(['\x1b', '\u{9b}']),
        "nothing acts on the terminal"
    );
    insta::assert_snapshot!(out);
}

/// What the daemon says of each flag; see its `handler/flag.rs`.
const REASONS: &[(FlagName, &str)] = &[
    (FlagName::Offline, "the provider's name cannot be resolved"),
    (
        FlagName::Throttled,
        "the provider asked for a pause, for another 2m",
    ),
    (
        FlagName::Ambiguous,
        "the provider's answer to a renewal was lost",
    ),
    (
        FlagName::Suspect,
        "the provider refused the login once (invalid_grant)",
    ),
    (
        FlagName::NeedsLogin,
        "the login has ended: the provider refused it twice",
    ),
    (
        FlagName::NeedsLogin,
        "the provider wants you to sign in again",
    ),
    (
        FlagName::NeedsLogin,
        "the login has expired, and the provider gave nothing to renew it with",
    ),
    (
        FlagName::NeedsLogin,
        "the provider answered for someone else",
    ),
    (
        FlagName::NeedsLogin,
        "the provider refuses again and again without saying why",
    ),
    (
        FlagName::ProviderRejects,
        "several clients report even new tokens as refused",
    ),
    (
        FlagName::StoreDegraded,
        "the newest tokens are not in the database: no space left on device",
    ),
    (
        FlagName::Misconfigured,
        "the provider answered 401 invalid_client: unknown client",
    ),
    (
        FlagName::StaleStore,
        "the store was copied from another machine",
    ),
    (
        FlagName::ScopeChanged,
        "the latest token has other scopes than the login: api",
    ),
    (
        FlagName::MetadataChanged,
        "the provider is not what it was at login: the grant type refresh_token is not offered any more",
    ),
    (FlagName::Locked, ""),
    (FlagName::Unknown, ""),
];

#[test]
fn each_flag_has_a_sentence_and_what_mends_it_in_status_and_in_doctor() {
    let flagged = |(flag, reason): &(FlagName, &str)| {
        let mut account = account("work");
        account.next_renewal_at = None;
        account.flags = vec![Flag {
            flag: *flag,
            reason: (*reason).to_owned(),
            since_at: None,
        }];
        account
    };
    let mut learned = account("work");
    learned.leases[0].learned_lifetime_secs = Some(1800);
    learned.leases[0].stated_lifetime_secs = Some(3600);
    let accounts: Vec<_> = REASONS.iter().map(flagged).chain([learned]).collect();
    let daemon = FakeDaemon::start(state_of(daemon_status(), accounts));
    let (out, errors, _) = run(&mut daemon.authctl(["status"]));
    assert_eq!(errors, "");
    let sentences = out
        .lines()
        .skip_while(|line| !line.contains(": ") || line.contains("key"));
    let sentences = sentences.collect::<Vec<_>>().join("\n");
    let (out, ..) = run(&mut daemon.authctl(["doctor"]));
    let findings = out.lines().skip_while(|line| !line.contains("accounts"));
    let findings = findings.take_while(|line| !line.contains("environment"));
    let findings = findings.collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(format!("{sentences}\n\n{findings}"));
}

#[test]
fn the_table_fits_eighty_columns() {
    let mut accounts = motley();
    accounts[1].account =
        "a.name.as.long.as.names.may.be-a.name.as.long.as.names.may.be-xx".to_owned();
    accounts[1].flags.clear();
    accounts[1].last_error = Some(LastError {
        code: ErrorCode::ProviderRefused,
        message: "a message of the provider that goes on and on".repeat(5),
        at: u64::MAX,
    });
    let daemon = FakeDaemon::start(state_of(daemon_status(), accounts));
    let (out, ..) = run(&mut daemon.authctl(["status"]));
    for line in out
        .lines()
        .take_while(|line| !line.contains(": ") || line.starts_with("key"))
    {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn one_account_is_shown_in_detail() {
    let daemon = FakeDaemon::start(state_of(daemon_status(), motley()));
    let (out, _, status) = run(&mut daemon.authctl(["status", "work"]));
    assert_eq!(status, Some(0));
    let fixed: String = out
        .lines()
        .map(|line| match line.split_once("since the login ") {
            Some((before, _)) => format!("{before}since the login [long] ago\n"),
            None => format!("{line}\n"),
        })
        .collect();
    insta::assert_snapshot!(fixed);
    let (_, errors, status) = run(&mut daemon.authctl(["status", "offlin"]));
    assert_eq!(status, Some(3));
    assert_eq!(
        errors,
        "authctl: there is no account 'offlin': did you mean 'offline'?\n"
    );
}

#[test]
fn json_has_the_daemon_and_the_accounts() {
    let daemon = FakeDaemon::start(state_of(weak(), motley()));
    let (out, errors, status) = run(&mut daemon.authctl(["status", "--json"]));
    assert_eq!((errors.as_str(), status), ("", Some(4)));
    assert!(!out.contains(['\x1b', '\u{9b}']));
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn no_daemon_is_7_and_none_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = crate::daemon::authctl(["status", "--json"]);
    command
        .env("AUTHD_STATE_DIR", directory.path())
        .env("AUTHD_CONFIG_DIR", directory.path());
    let (out, errors, status) = run(&mut command);
    assert_eq!(status, Some(7));
    assert_eq!(out, "{\"daemon\":null,\"accounts\":[]}\n");
    assert!(
        errors.starts_with("authctl: no daemon is listening on '"),
        "{errors}"
    );
    assert_eq!(
        directory.path().read_dir().unwrap().count(),
        0,
        "nothing was touched"
    );
    assert!(
        errors.ends_with(": 'authctl login' and 'authctl token' start it\n"),
        "{errors}"
    );
    command.env("AUTHD_SOCKET", directory.path().join("authd.sock"));
    let (_, errors, status) = run(&mut command);
    assert_eq!(status, Some(7));
    assert!(
        errors.ends_with(": start that daemon, or unset AUTHD_SOCKET\n"),
        "{errors}"
    );
}

#[test]
fn no_account_yet_says_how_to_begin() {
    let daemon = FakeDaemon::start(state_of(daemon_status(), Vec::new()));
    let (out, _, status) = run(&mut daemon.authctl(["status"]));
    assert_eq!(status, Some(0));
    assert!(
        out.contains("no account yet: run 'authctl login NAME"),
        "{out}"
    );
}

#[test]
fn pages_are_put_together() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::AccountList(list) => reply.ok(&authd_proto::response::AccountListReply {
            accounts: vec![account(list.cursor.as_deref().unwrap_or("first"))],
            cursor: list.cursor.is_none().then(|| "second".to_owned()),
        }),
        call => panic!("not expected: {}", call.method().as_str()),
    });
    assert_eq!(run(&mut daemon.authctl(["list"])).0, "first\nsecond\n");
}

#[test]
fn a_watch_shows_each_change_and_ends_with_the_daemon() {
    let state = state_of(daemon_status(), vec![account("work")]);
    let daemon = FakeDaemon::start(move |call, reply| match call {
        Call::Subscribe(_) => {
            reply.ok(&SubscribeReply { events: Vec::new() });
            reply.event(EventKind::Token);
        }
        call => state(call, reply),
    });
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_authctl"))
        .args(["status", "--watch", "--json"])
        .env("AUTHD_SOCKET", daemon.socket())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for what in ["at first", "after the event"] {
        let line = lines.next().expect(what).unwrap();
        let report: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(report["accounts"][0]["account"], "work", "{what}");
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::Subscribe(_) => reply.error(&WireError::new(ErrorCode::ShuttingDown, "stopping")),
        _ => reply.hang_up(),
    });
    let (_, errors, status) = run(&mut daemon.authctl(["status", "--watch"]));
    assert_eq!(
        (errors.as_str(), status),
        ("authctl: stopping: run it again\n", Some(7))
    );
}

#[test]
fn a_daemon_of_another_release_is_named_with_what_mends_it() {
    let mut older = daemon_status();
    older.version = "0.0.9".to_owned();
    let daemon = FakeDaemon::start(state_of(older, vec![account("work")]));
    let (out, _, status) = run(&mut daemon.authctl(["status"]));
    assert_eq!(status, Some(0));
    assert!(
        out.contains("\n  -> authctl daemon restart\n"),
        "no way out: {out}"
    );
    let (out, ..) = run(&mut daemon.authctl(["doctor"]));
    assert!(out.contains("authctl daemon restart"), "no way out: {out}");
}
