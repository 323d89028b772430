//! `authctl doctor`: what it finds, and that it shows no secret.

use std::os::unix::fs::PermissionsExt;

use authd_proto::response::{Flag, FlagName, State};
use serde_json::Value;

use crate::daemon::{FakeDaemon, account, daemon_status, run, state_of};

/// The findings of a check, as level and fix.
fn found<'a>(diagnosis: &'a Value, check: &str) -> Vec<(&'a str, &'a str)> {
    let findings = diagnosis["findings"].as_array().expect("a list");
    let of_check = findings.iter().filter(|finding| finding["check"] == check);
    of_check
        .map(|finding| {
            let text = |member: &str| finding[member].as_str().unwrap_or_default();
            (text("level"), text("fix"))
        })
        .collect()
}

#[test]
fn what_is_not_well_is_found_with_its_cure() {
    let mut status = daemon_status();
    status.key_protection.kind = "file".to_owned();
    let mut ended = account("work");
    ended.state = State::NeedsLogin;
    let mut copied = account("copied");
    copied.flags = vec![Flag {
        flag: FlagName::StaleStore,
        reason: "other machine".to_owned(),
        since_at: None,
    }];
    let daemon = FakeDaemon::start(state_of(status, vec![ended, copied, account("fine")]));
    let mut command = daemon.authctl(["doctor", "--json"]);
    command.env("GH_TOKEN", "gho_canary");
    let (out, errors, exit) = run(&mut command);
    assert_eq!((errors.as_str(), exit), ("", Some(1)));
    assert!(!out.contains("gho_canary"));
    let diagnosis: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(diagnosis["level"], "fail");
    assert_eq!(
        found(&diagnosis, "environment"),
        [("warn", "unset GH_TOKEN")]
    );
    assert_eq!(found(&diagnosis, "key")[0].0, "warn");
    assert_eq!(found(&diagnosis, "store"), [("ok", "")]);
    assert_eq!(found(&diagnosis, "socket"), [("ok", "")]);
    assert_eq!(
        found(&diagnosis, "accounts"),
        [
            ("fail", "run 'authctl login work'"),
            (
                "fail",
                "if no other copy is in use, run 'authctl adopt copied'; else 'authctl login copied'"
            )
        ]
    );
}

#[test]
fn places_that_others_can_reach_fail() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    let open = directory.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = crate::daemon::authctl(["doctor", "--json"]);
    command
        .env("AUTHD_STATE_DIR", &state)
        .env("AUTHD_CONFIG_DIR", &state)
        .env("AUTHD_SOCKET", open.join("s"));
    let (out, _, exit) = run(&mut command);
    assert_eq!(exit, Some(1));
    let diagnosis: Value = serde_json::from_str(&out).unwrap();
    let chmod = format!("chmod 700 '{}'", state.display());
    assert_eq!(found(&diagnosis, "state"), [("fail", chmod.as_str())]);
    let chmod = format!("chmod go-w '{}'", open.display());
    assert_eq!(found(&diagnosis, "socket"), [("fail", chmod.as_str())]);
}

#[test]
fn a_person_reads_a_line_each_and_the_cure_beneath() {
    let daemon = FakeDaemon::start(state_of(daemon_status(), vec![account("work")]));
    let mut command = daemon.authctl(["doctor"]);
    command.env("HF_TOKEN", "x");
    let (out, ..) = run(&mut command);
    assert!(
        out.contains("\nok    accounts     the one account is well\n"),
        "{out}"
    );
    assert!(
        out.contains(
            "\nwarn  environment  HF_TOKEN is set, and counts before any login for huggingface_hub"
        ),
        "{out}"
    );
    assert!(
        out.ends_with("\n                   -> unset HF_TOKEN\n"),
        "{out}"
    );
}
