//! What `--help` says, at 80 columns: read it when it changes.

fn help(verb: &[&str]) -> String {
    let args = verb.iter().copied().chain(["--help"]);
    let (text, errors, status) = crate::daemon::run(&mut crate::daemon::authctl(args));
    assert_eq!((errors.as_str(), status), ("", Some(0)));
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "wider than 80 columns: {line}");
    }
    text
}

#[test]
fn each_verb_explains_itself() {
    insta::assert_snapshot!("authctl", help(&[]));
    for verb in [
        "login",
        "token",
        "status",
        "list",
        "renew",
        "logout",
        "forget",
        "exec",
        "doctor",
        "events",
        "approve",
        "grant",
        "audit",
        "provider",
        "import",
        "adopt",
        "socket",
        "ssh",
        "lock",
        "unlock",
        "key",
        "service",
        "daemon",
        "completions",
        "man",
    ] {
        insta::assert_snapshot!(verb, help(&[verb]));
    }
    insta::assert_snapshot!("provider_list", help(&["provider", "list"]));
    insta::assert_snapshot!("provider_show", help(&["provider", "show"]));
    insta::assert_snapshot!("socket_create", help(&["socket", "create"]));
    insta::assert_snapshot!("socket_list", help(&["socket", "list"]));
    insta::assert_snapshot!("socket_revoke", help(&["socket", "revoke"]));
    for verb in ["tier", "add", "list", "revoke"] {
        insta::assert_snapshot!(format!("grant_{verb}"), help(&["grant", verb]));
    }
    for verb in ["install", "status", "logs"] {
        insta::assert_snapshot!(format!("service_{verb}"), help(&["service", verb]));
    }
    insta::assert_snapshot!("daemon_restart", help(&["daemon", "restart"]));
    insta::assert_snapshot!("daemon_reload", help(&["daemon", "reload"]));
    insta::assert_snapshot!("daemon_stop", help(&["daemon", "stop"]));
}

#[test]
fn a_wrong_command_line_ends_with_2_and_a_suggestion() {
    let (out, errors, status) = crate::daemon::run(&mut crate::daemon::authctl(["tokn"]));
    assert_eq!((out.as_str(), status), ("", Some(2)));
    assert!(
        errors.contains("similar subcommand exists: 'token'"),
        "{errors}"
    );
}

#[test]
fn the_manual_is_printed_page_by_page_or_written_whole() {
    let man = |args: &[&str]| {
        let args = ["man"].iter().chain(args).copied();
        crate::daemon::run(&mut crate::daemon::authctl(args))
    };
    let (first, errors, status) = man(&[]);
    assert_eq!((errors.as_str(), status), ("", Some(0)));
    for wanted in [
        ".SH SYNOPSIS",
        r"authctl\-provider(1)",
        ".SH \"EXIT STATUS\"",
        "AUTHD_SOCKET",
    ] {
        assert!(first.contains(wanted), "no {wanted} in\n{first}");
    }
    let (page, _, _) = man(&["provider", "show"]);
    assert!(page.contains(r"authctl\-provider\-show \- "), "{page}");

    let (out, errors, status) = man(&["provider", "sow"]);
    assert_eq!((out.as_str(), status), ("", Some(2)));
    assert!(
        errors.contains("no command 'authctl provider sow'"),
        "{errors}"
    );

    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("man1");
    let (out, errors, status) = man(&["--dir", path.to_str().expect("it is text")]);
    assert_eq!((out.as_str(), errors.as_str(), status), ("", "", Some(0)));
    let written = std::fs::read_to_string(path.join("authctl-provider-show.1"));
    assert_eq!(written.expect("it is there"), page);
}

#[test]
fn each_shell_gets_a_completion_script_that_knows_the_verbs() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (script, errors, status) =
            crate::daemon::run(&mut crate::daemon::authctl(["completions", shell]));
        assert_eq!((errors.as_str(), status), ("", Some(0)));
        assert!(
            script.contains("doctor") && script.contains("no-browser"),
            "{shell}"
        );
    }
}
