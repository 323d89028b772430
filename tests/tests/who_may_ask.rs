//! Who may ask: tiers, questions, standing approvals, and how callers are told apart. The real daemon and
//! real processes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::symlink, path::PathBuf, time::Duration};

use authd_e2e::{
    Finished, Instance, PATIENCE, Process, Watcher,
    asker::{Asker, Session, Way},
    binaries,
    dbus::Bus,
    notifier::Notifier,
    tool, until,
};
use authd_proto::{
    ErrorCode,
    approval::Question,
    request::{Logout, TokenReject},
};
use authd_testkit::{Endpoint, FakeServer, Options, Phase};
use serde_json::{Value, json};

/// An instance with the account `demo` at a tier.
fn at_tier(instance: &Instance, tier: &str) -> FakeServer {
    let server = FakeServer::start(Options::default()).unwrap();
    instance.login(&server, "demo");
    let set = instance.authctl(&["grant", "tier", "demo", tier]);
    assert_eq!(set.code(), 0, "{set:?}");
    server
}

fn approve(instance: &Instance, question: &Question, how: &[&str]) -> Finished {
    let id = question.approval_id.to_string();
    let mut arguments = vec!["approve", id.as_str()];
    arguments.extend(how);
    instance.authctl(&arguments)
}

/// A command that waits for a token, and the question about it.
fn asked(instance: &Instance, watcher: &mut Watcher) -> (Process, Question) {
    let asker = instance.start_authctl(&["token", "demo", "--wait", "30s"]);
    watcher.wait_for_question();
    let mut questions = instance.questions();
    assert_eq!(questions.len(), 1, "{questions:?}");
    (asker, questions.remove(0))
}

#[test]
fn at_ask_each_every_token_takes_a_yes_of_its_own() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-each");
    let mut watcher = instance.watch_questions();
    let (asker, question) = asked(&instance, &mut watcher);
    assert_eq!(question.claimed.as_deref(), Some("authctl"));
    let said = approve(&instance, &question, &[]);
    assert_eq!(said.code(), 0, "{said:?}");
    assert!(asker.finish(PATIENCE).line().starts_with("canary-"));

    let (asker, question) = asked(&instance, &mut watcher);
    let said = approve(&instance, &question, &["--deny"]);
    assert_eq!(said.code(), 0, "{said:?}");
    let refused = asker.finish(PATIENCE);
    assert_eq!((refused.code(), refused.stdout.as_str()), (6, ""));
    assert!(refused.stderr.contains("you said no"), "{refused:?}");
    let again = approve(&instance, &question, &[]);
    assert_eq!(again.code(), 2, "it is answered: {again:?}");
}

#[test]
fn what_the_login_does_not_cover_is_refused_and_nobody_is_asked_or_told() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-each");
    for (option, misplaced) in [
        ("--resource", "canary-misplaced"),
        ("--scope", "canary-scope"),
    ] {
        let refused = instance.authctl(&["token", "demo", option, misplaced, "--wait", "30s"]);
        assert_eq!((refused.code(), refused.stdout.as_str()), (4, ""));
        assert!(refused.stderr.contains("the login"), "{refused:?}");
    }
    assert!(instance.questions().is_empty());
    let audit = instance.authctl(&["audit", "--json"]);
    assert!(audit.stdout.contains("insufficient_scope"), "{audit:?}");
    assert!(!audit.stdout.contains("canary-"), "{audit:?}");
}

#[test]
fn where_nobody_can_be_asked_a_program_is_refused_at_once_and_told_how_to_go_on() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-once");
    let start = std::time::Instant::now();
    let refused = instance.authctl(&["token", "demo", "--wait", "30s"]);
    assert!(start.elapsed() < Duration::from_secs(10), "it did not wait");
    assert_eq!((refused.code(), refused.stdout.as_str()), (6, ""));
    for part in ["authctl approve 1", "authctl grant add demo"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    let list = instance.authctl(&["approve"]);
    assert!(list.stdout.contains("asks for a token of demo"), "{list:?}");
    let status = instance.authctl(&["status"]);
    assert!(status.stdout.contains("authctl approve"), "{status:?}");
}

#[test]
fn a_yes_at_ask_once_holds_for_the_session_and_no_other() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-once");
    let mut session = Session::begin(&instance, "demo");
    let (_, code) = session.token();
    assert_eq!(code, 6);
    let question = instance.questions().remove(0);
    assert!(
        question.caller.name.starts_with("session:") || question.caller.name.starts_with("unit:"),
        "our command is nobody's name: {question:?}"
    );
    assert_eq!(approve(&instance, &question, &[]).code(), 0);
    for _ in 0..3 {
        let (token, code) = session.token();
        assert_eq!(code, 0);
        assert!(token.starts_with("canary-"));
    }
    if question.caller.name.starts_with("session:") {
        let (text, code) = Session::begin(&instance, "demo").token();
        assert_eq!(code, 6, "{text}");
    }
}

#[test]
fn a_client_is_asked_about_three_times_a_minute_and_no_more() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-each");
    let mut session = Session::begin(&instance, "demo");
    for _ in 0..3 {
        assert_eq!(session.token().1, 6);
        assert_eq!(session.token().1, 6, "it is the same question");
        let question = instance.questions().remove(0);
        assert_eq!(approve(&instance, &question, &[]).code(), 0);
        assert_eq!(session.token().1, 0);
    }
    let (text, code) = session.token();
    assert_eq!(code, 6);
    assert!(text.contains("three times within a minute"), "{text}");
    assert!(instance.questions().is_empty());
}

#[test]
fn a_program_does_not_answer_itself() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-each");
    // This process asks, and what it starts answers.
    let refused = instance.token("demo", Duration::ZERO).err().unwrap();
    assert_eq!(refused.code, ErrorCode::ApprovalRequired);
    let question = instance.questions().remove(0);
    assert_eq!(question.caller.pid, Some(std::process::id()));
    let said = approve(&instance, &question, &[]);
    assert_eq!(said.code(), 6, "{said:?}");
    assert!(said.stderr.contains("does not answer"), "{said:?}");
    assert_eq!(instance.questions().len(), 1, "it waits on");
}

#[test]
fn asking_less_takes_a_yes_and_asking_more_does_not() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-once");
    assert_eq!(
        instance
            .authctl(&["grant", "tier", "demo", "ask-each"])
            .code(),
        0
    );
    let refused = instance.authctl(&["grant", "tier", "demo", "allow"]);
    assert_eq!(refused.code(), 6, "{refused:?}");
    assert_eq!(
        instance.authctl(&["token", "demo", "--wait", "0s"]).code(),
        6
    );
    let question = instance.questions().remove(0);
    assert_eq!(question.change.as_deref(), Some("allow"));
    assert_eq!(approve(&instance, &question, &[]).code(), 0);
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
}

#[test]
fn tiers_and_standing_approvals_are_there_after_a_restart() {
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let server = FakeServer::start(Options::default()).unwrap();
    instance.login(&server, "demo");
    let interpreter = tool::required("python3");
    let refused = instance.authctl(&[
        "grant",
        "add",
        "demo",
        "--exe",
        interpreter.to_str().unwrap(),
    ]);
    assert_eq!(refused.code(), 2, "an interpreter is no name: {refused:?}");
    // Somebody else's program, in a place where they can change it.
    let own = instance.dir().join("program");
    fs::copy("/bin/true", &own).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = instance.authctl(&["grant", "add", "demo", "--exe", own.to_str().unwrap()]);
    assert_eq!(refused.code(), 2, "{refused:?}");
    let added = instance.authctl(&[
        "grant",
        "add",
        "demo",
        "--unit",
        "backup.service",
        "--for",
        "8h",
    ]);
    assert_eq!(added.code(), 0, "{added:?}");
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        // As root's, this test is a program that only root can replace; and it is asked for by a link.
        let link = instance.dir().join("link");
        symlink(std::env::current_exe().unwrap(), &link).unwrap();
        let added = instance.authctl(&["grant", "add", "demo", "--exe", link.to_str().unwrap()]);
        assert_eq!(added.code(), 0, "{added:?}");
    }
    assert_eq!(
        instance
            .authctl(&["grant", "tier", "demo", "ask-each"])
            .code(),
        0
    );
    let before = instance.authctl(&["grant", "list", "--json"]).json();
    let mode = fs::metadata(instance.state_dir().join("approvals.json")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    daemon.kill();
    let _daemon = instance.start_daemon();
    let after = instance.authctl(&["grant", "list", "--json"]).json();
    assert_eq!(before, after);
    assert_eq!(after["accounts"][0]["tier"], "ask_each");
    assert_eq!(
        instance.authctl(&["token", "demo", "--wait", "0s"]).code(),
        6
    );
    if is_root {
        assert!(instance.token("demo", Duration::ZERO).is_ok());
    }
    let grants = after["accounts"][0]["grants"].as_array().unwrap();
    assert_eq!(grants.len(), 1 + usize::from(is_root));
    let revoked = instance
        .authctl(&["grant", "revoke", "demo", "--all", "--json"])
        .json();
    assert_eq!(revoked["revoked"], grants.len());
    assert!(instance.token("demo", Duration::ZERO).is_err());
}

#[test]
fn what_cannot_be_read_makes_every_account_ask() {
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-once");
    assert!(daemon.stop().success());
    fs::write(instance.state_dir().join("approvals.json"), "{").unwrap();
    let _daemon = instance.start_daemon();
    assert_eq!(
        instance.authctl(&["token", "demo", "--wait", "0s"]).code(),
        6
    );
    let doctor: Value = instance.authctl(&["doctor", "--json"]).json();
    let codes: Vec<_> = doctor["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["code"])
        .collect();
    assert!(
        codes.contains(&&Value::from("approvals_unread")),
        "{codes:?}"
    );
    let refused = instance.authctl(&["grant", "tier", "demo", "allow"]);
    assert_ne!(refused.code(), 0, "nobody knows what it would change");
}

#[test]
fn a_tier_that_is_raised_counts_for_whoever_waits_for_the_provider() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let server = at_tier(&instance, "allow");
    let first = instance.token("demo", Duration::ZERO).unwrap();
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let reported = std::thread::scope(|scope| {
        let reporting = scope.spawn(|| {
            instance.call(&TokenReject {
                account: "demo",
                fingerprint: Some(&first.renewal.fingerprint),
                access_token: None,
                scopes: None,
                resource: None,
                status: Some(401),
                www_authenticate: None,
                wait_secs: Some(PATIENCE.as_secs()),
            })
        });
        let held = server.wait_held_blocking(Endpoint::Token, 1, PATIENCE);
        held.unwrap();
        let raised = instance.authctl(&["grant", "tier", "demo", "ask-each"]);
        assert_eq!(raised.code(), 0, "{raised:?}");
        server.open_gate(Endpoint::Token);
        reporting.join().unwrap()
    });
    // It was let in when nobody was to be asked; now somebody is, and there is nobody.
    assert_eq!(reported.err().unwrap().code, ErrorCode::ApprovalRequired);
    assert_eq!(instance.account("demo").leases[0].generation, 2, "renewed");
}

#[test]
fn standing_approvals_end_with_the_login_and_are_told_of_when_a_tier_is_raised() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let server = at_tier(&instance, "allow");
    let grants = || {
        let listed = instance
            .authctl(&["grant", "list", "demo", "--json"])
            .json();
        let account = &listed["accounts"][0];
        let count = account["grants"].as_array().map_or(0, Vec::len);
        (account["tier"].clone(), count)
    };
    let unit = ["grant", "add", "demo", "--unit", "backup.service"];
    assert_eq!(instance.authctl(&unit).code(), 0);
    let raised = instance.authctl(&["grant", "tier", "demo", "ask-each"]);
    let told = "one standing approval lets a program in without a question";
    assert!(raised.stderr.contains(told), "{raised:?}");
    assert_eq!(grants(), ("ask_each".into(), 1));

    // A new login over it is the same login.
    instance.login(&server, "demo");
    assert_eq!(grants(), ("ask_each".into(), 1));
    assert_eq!(instance.authctl(&["forget", "demo"]).code(), 0);
    instance.login(&server, "demo");
    assert_eq!(grants(), ("ask_each".into(), 0));
}

#[test]
fn what_is_approved_while_the_account_goes_is_not_for_the_next_of_that_name() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let server = at_tier(&instance, "allow");
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let renewal = instance.start_authctl(&["renew", "demo"]);
    let held = server.wait_held_blocking(Endpoint::Token, 1, PATIENCE);
    held.unwrap();
    let logout = instance.call(&Logout {
        account: "demo".to_owned(),
        wait_secs: Some(0),
    });
    assert_eq!(logout.err().unwrap().code, ErrorCode::Timeout);
    let unit = ["grant", "add", "demo", "--unit", "backup.service"];
    assert_eq!(instance.authctl(&unit).code(), 0, "it is still there");
    server.open_gate(Endpoint::Token);
    let _answered = renewal.finish(PATIENCE);
    until("the account is gone", || {
        instance.authctl(&["show", "demo"]).code() != 0
    });

    instance.login(&server, "demo");
    until("nothing stands", || {
        let listed = instance.authctl(&["grant", "list", "demo", "--json"]);
        listed.json()["accounts"][0]["grants"] == json!([])
    });
}

#[test]
fn an_interpreter_is_no_name_and_the_dead_are_nobody() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-each");
    let asker = Asker::python(&instance, "demo", "x", Way::Itself);
    assert_eq!(
        asker.answer().err().unwrap().code,
        ErrorCode::ApprovalRequired
    );
    let question = instance.questions().remove(0);
    assert_eq!(question.caller.pid, Some(asker.pid()));
    assert!(question.caller.executable.unwrap().contains("python"));
    assert!(
        !question.caller.name.starts_with("exe:"),
        "{}",
        question.caller.name
    );

    let orphan = Asker::python(&instance, "demo", "x", Way::Orphan);
    assert_eq!(
        orphan.answer().err().unwrap().code,
        ErrorCode::ApprovalRequired
    );
    let question = instance.questions().remove(1);
    assert_eq!(question.caller.name, "unidentified", "{question:?}");
}

#[test]
fn whoever_could_not_answer_raises_no_tier() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "allow");
    let mut command = instance.command(tool::of_everybody("unshare"));
    command
        .args(["--user", "--map-current-user"])
        .arg(binaries::authctl())
        .args(["grant", "tier", "demo", "ask-once"]);
    let refused = Process::capture(&mut command).finish(PATIENCE);
    assert_eq!(refused.code(), 6, "{refused:?}");
    assert!(
        refused.stderr.contains("leave the tier at 'allow'"),
        "{refused:?}"
    );
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
}

#[test]
fn whoever_lives_in_namespaces_of_its_own_is_unidentified() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-each");
    let kinds: [&[&str]; 3] = [
        &["--user", "--map-root-user", "--pid", "--fork"],
        &["--user", "--map-current-user"],
        &[
            "--user",
            "--map-root-user",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
        ],
    ];
    for kinds in kinds {
        let asker = Asker::in_namespaces(&instance, "demo", kinds);
        let refused = asker.answer().err().unwrap();
        assert_eq!(
            refused.code,
            ErrorCode::ApprovalRequired,
            "{kinds:?}: {refused}"
        );
        let question = instance.questions().remove(0);
        assert_eq!(
            question.caller.name, "unidentified",
            "{kinds:?}: {question:?}"
        );
        let forever = approve(&instance, &question, &["--always"]);
        assert_eq!(forever.code(), 2, "nobody would know it again: {forever:?}");
        assert_eq!(approve(&instance, &question, &["--deny"]).code(), 0);
    }
}

#[test]
fn a_yes_is_not_for_whoever_holds_the_connection_afterwards() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-each");
    let mut watcher = instance.watch_questions();
    let mut asker = Asker::python(&instance, "demo", "x", Way::ChildReads);
    watcher.wait_for_question();
    let question = instance.questions().remove(0);
    assert_eq!(question.caller.pid, Some(asker.pid()));
    asker.kill();
    assert_eq!(approve(&instance, &question, &[]).code(), 0);
    let refused = asker.answer().err().unwrap();
    assert_eq!(refused.code, ErrorCode::Denied, "{refused}");
    assert!(refused.message.contains("has ended"), "{refused}");
}

#[test]
fn control_characters_of_a_program_reach_no_terminal() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-each");
    let claimed = "git\u{1b}[2J\u{7}\u{9b}31m\nwho  /usr/bin/git\u{202e}";
    let asker = Asker::python(&instance, "demo", claimed, Way::Itself);
    assert!(asker.answer().is_err());
    assert_nothing_acts_on_a_terminal(&instance);
    let list = instance.authctl(&["approve"]).stdout;
    let claims: Vec<_> = list
        .lines()
        .filter(|line| line.contains("claims"))
        .collect();
    assert!(claims[0].contains("to be \"git"), "{list}");
    let who = list.lines().position(|line| line.contains("who"));
    assert!(
        who < list.lines().position(|line| line.contains("claims")),
        "facts first"
    );
}

#[test]
fn control_characters_in_the_path_of_a_program_reach_no_terminal() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-each");
    let (python, home) = python_at(&instance, "py\u{1b}]0;x\u{7}thon");
    let mut command = instance.command(&python);
    command.env("PYTHONHOME", home);
    let evil = Asker::by(&instance, command, "demo", Way::Itself);
    assert!(evil.answer().is_err());
    let question = instance.questions().remove(0);
    assert!(question.caller.executable.unwrap().contains("thon"));
    assert_nothing_acts_on_a_terminal(&instance);
}

/// A Python of that name, and where what belongs to it is.
fn python_at(instance: &Instance, name: &str) -> (PathBuf, String) {
    let python = instance.dir().join(name);
    // What `python3` is may be a script that looks for it.
    let itself = "import os, sys; print(os.path.realpath(sys.executable)); print(sys.base_prefix)";
    let mut asking = instance.command(tool::required("python3"));
    let said = Process::capture(asking.args(["-c", itself])).finish(PATIENCE);
    let (program, home) = said.line().split_once('\n').unwrap();
    fs::copy(program, &python).unwrap();
    (python, home.to_owned())
}

fn assert_nothing_acts_on_a_terminal(instance: &Instance) {
    for arguments in [
        &["approve"][..],
        &["approve", "--json"],
        &["audit"],
        &["audit", "--json"],
        &["events"],
    ] {
        let told = instance.authctl(arguments);
        assert_eq!(told.code(), 0, "{told:?}");
        let acts = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(
            !told.stdout.contains(acts),
            "{arguments:?}: {:?}",
            told.stdout
        );
    }
}

/// An instance that asks at a desktop.
fn at_desktop(actions: bool) -> (Instance, Bus, Notifier) {
    let mut instance = Instance::new();
    let bus = Bus::start(instance.dir());
    let notifier = Notifier::start(&bus, actions);
    instance.set_env("DBUS_SESSION_BUS_ADDRESS", bus.address());
    instance.configure("[key]\nprotection = \"file\"\n");
    (instance, bus, notifier)
}

#[test]
fn a_notification_is_answered_by_its_buttons_and_by_nothing_else() {
    let (instance, _bus, notifier) = at_desktop(true);
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-each");
    let asker = instance.start_authctl(&["token", "demo", "--wait", "30s"]);
    let shown = notifier.shown();
    assert!(shown.summary.contains("demo"), "{shown:?}");
    let facts = shown.body.find("authctl (pid").unwrap();
    assert!(facts < shown.body.find("claims").unwrap(), "{shown:?}");
    let labels: Vec<_> = shown.actions.iter().skip(1).step_by(2).collect();
    assert_eq!(labels, ["Allow once", "Allow", "Deny"]);
    notifier.press(shown.id, &shown.actions[0]);
    assert!(asker.finish(PATIENCE).line().starts_with("canary-"));

    // Beside the buttons.
    let asker = instance.start_authctl(&["token", "demo", "--wait", "30s"]);
    notifier.press(notifier.shown().id, "default");
    let refused = asker.finish(PATIENCE);
    assert_eq!((refused.code(), refused.stdout.as_str()), (6, ""));
    assert!(refused.stderr.contains("you said no"), "{refused:?}");
}

#[test]
fn a_notification_that_is_closed_is_a_no() {
    let (instance, _bus, notifier) = at_desktop(true);
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-once");
    let asker = instance.start_authctl(&["token", "demo", "--wait", "30s"]);
    notifier.dismiss(notifier.shown().id);
    let refused = asker.finish(PATIENCE);
    assert_eq!((refused.code(), refused.stdout.as_str()), (6, ""));
}

#[test]
fn what_a_program_claims_is_no_markup_and_an_answer_elsewhere_takes_the_notification_away() {
    let (instance, _bus, notifier) = at_desktop(true);
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-once");
    let asker = Asker::python(&instance, "demo", "<b>you & me</b>", Way::Itself);
    let shown = notifier.shown();
    assert!(shown.body.contains("&lt;b&gt;you &amp; me"), "{shown:?}");
    assert!(!shown.body.contains("canary-"));
    let question = instance.questions().remove(0);
    assert_eq!(approve(&instance, &question, &["--once"]).code(), 0);
    assert_eq!(notifier.closed(), shown.id);
    assert!(asker.answer().is_ok());
}

#[test]
fn what_was_said_of_an_account_that_goes_is_not_said_of_the_next_of_that_name() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let server = at_tier(&instance, "ask-once");
    let mut session = Session::begin(&instance, "demo");
    assert_eq!(session.token().1, 6);
    let question = instance.questions().remove(0);
    assert_eq!(approve(&instance, &question, &[]).code(), 0);
    assert_eq!(session.token().1, 0);
    let forget = || {
        assert_eq!(instance.authctl(&["forget", "demo"]).code(), 0);
        instance.login(&server, "demo");
    };
    forget();
    assert_eq!(session.token().1, 6, "it is asked about anew");
    let question = instance.questions().remove(0);
    forget();
    assert!(instance.questions().is_empty());
    let late = approve(&instance, &question, &["--always"]);
    assert!(late.stderr.contains("no such question"), "{late:?}");
    assert_eq!(session.token().1, 6);
}

#[test]
fn the_path_of_a_program_is_no_markup_where_a_question_is_only_shown() {
    let (instance, _bus, notifier) = at_desktop(false);
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-once");
    let (python, home) = python_at(&instance, "<b>python");
    let mut command = instance.command(&python);
    command.env("PYTHONHOME", home);
    let asker = Asker::by(&instance, command, "demo", Way::Itself);
    assert!(asker.answer().is_err());
    let shown = notifier.shown();
    assert!(shown.body.contains("&lt;b&gt;python"), "{shown:?}");
    assert!(shown.body.contains("authctl approve"), "{shown:?}");
}
#[test]
fn a_desktop_that_can_only_show_is_no_one_to_wait_for() {
    let (instance, _bus, notifier) = at_desktop(false);
    let _daemon = instance.start_daemon();
    let _server = at_tier(&instance, "ask-once");
    let refused = instance.authctl(&["token", "demo", "--wait", "30s"]);
    assert_eq!(refused.code(), 6, "{refused:?}");
    let shown = notifier.shown();
    assert!(shown.body.contains("authctl approve 1"), "{shown:?}");
}
