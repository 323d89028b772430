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
        "provider",
        "import",
        "adopt",
        "socket",
        "ssh",
        "daemon",
        "completions",
    ] {
        insta::assert_snapshot!(verb, help(&[verb]));
    }
    insta::assert_snapshot!("provider_list", help(&["provider", "list"]));
    insta::assert_snapshot!("provider_show", help(&["provider", "show"]));
    insta::assert_snapshot!("socket_create", help(&["socket", "create"]));
    insta::assert_snapshot!("socket_list", help(&["socket", "list"]));
    insta::assert_snapshot!("socket_revoke", help(&["socket", "revoke"]));
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
