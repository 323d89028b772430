//! Logins that another tool held: taken over, with nothing lost and nothing half-made.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use authd_client::ClientError;
use authd_e2e::{
    Finished, Holder, Instance, PATIENCE, Process, api, binaries, instance::is_flagged,
    provider::Provider, until,
};
use authd_proto::{
    ErrorCode,
    request::{AccountImport, LoginStart},
    response::{FlagName, State},
    secret::WireSecret,
};
use authd_testkit::{Client, Endpoint, FakeServer, Fault, Options, Phase, Settings};
use serde_json::{Value, json};

fn started() -> (FakeServer, Instance, authd_e2e::Daemon) {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    (server, instance, daemon)
}

/// `authctl import` with `input` on its standard input.
fn import(instance: &Instance, arguments: &[&str], input: &str) -> Finished {
    let mut command = instance.command(binaries::authctl());
    command.arg("import").args(arguments);
    finish(&mut command, input)
}

fn finish(command: &mut Command, input: &str) -> Finished {
    begin(command, input).finish(PATIENCE)
}

fn begin(command: &mut Command, input: &str) -> Process {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(input.as_bytes()).unwrap();
    drop(writer);
    Process::capture_reading(command, Stdio::from(reader))
}

fn at<'a>(server: &'a FakeServer, account: &'a str) -> [&'a str; 6] {
    let issuer = server.issuer();
    [
        account,
        "--issuer",
        issuer,
        "--client-id",
        "native",
        "--refresh-token-stdin",
    ]
}

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}

#[test]
fn a_login_is_taken_over_and_authd_holds_the_newest_link_of_its_chain() {
    let (server, instance, daemon) = started();
    let mut holder = Holder::log_in(server.issuer(), "native");
    let arguments = with(&at(&server, "work"), &["--json"]);
    let imported = import(&instance, &arguments, &holder.refresh_token);
    assert_eq!(imported.code(), 0, "{imported:?}");
    assert!(
        imported
            .stderr
            .contains("authd alone may use this refresh token"),
        "{imported:?}"
    );
    let done: Value = serde_json::from_str(&imported.stdout).unwrap();
    assert_eq!(
        (&done["event"], &done["subject"]),
        (&"done".into(), &"user-1".into())
    );
    assert_eq!(
        server.counts().refreshes(),
        1,
        "exchanged at once, and once"
    );
    let info = instance.account("work");
    assert_eq!((info.state, info.flags), (State::Fresh, vec![]));
    let token = instance.token("work", Duration::ZERO).unwrap();
    assert_eq!(api::ping(&server, token.access_token.expose()), 200);
    // The same once more would spend what is spent already, and end the login.
    let twice = import(&instance, &at(&server, "other"), &holder.refresh_token);
    assert_eq!(twice.code(), 1, "{twice:?}");
    assert!(twice.stderr.contains("already, as 'work'"), "{twice:?}");
    assert_eq!(server.counts().refreshes(), 1, "nothing was sent");
    daemon.kill();
    let _daemon = instance.start_daemon();
    instance.renew("work").unwrap();
    // What the note warns of: one of the two is one too many.
    assert_eq!(holder.refresh(), 400);
    assert!(server.ledger().families[0].revoked.is_some());
}

#[test]
fn a_refresh_token_that_was_used_up_leaves_nothing_behind() {
    let (server, instance, daemon) = started();
    server.update(|settings| settings.reuse_detection = false);
    let mut holder = Holder::log_in(server.issuer(), "native");
    let stale = holder.refresh_token.clone();
    assert_eq!(holder.refresh(), 200);
    let refused = import(&instance, &at(&server, "work"), &stale);
    assert_eq!(refused.code(), 1, "{refused:?}");
    for words in ["invalid_grant", "stop it and import its newest one"] {
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    assert_eq!(instance.authctl(&["status", "work"]).code(), 3);
    daemon.kill();
    let _daemon = instance.start_daemon();
    assert_eq!(
        instance.authctl(&["status", "work"]).code(),
        3,
        "not on the disk either"
    );
    // The newest is taken, under the same name.
    let imported = import(&instance, &at(&server, "work"), &holder.refresh_token);
    assert_eq!(imported.code(), 0, "{imported:?}");
}

#[test]
fn a_login_that_works_is_replaced_when_that_is_said_and_only_by_one_that_works() {
    let (server, instance, _daemon) = started();
    server.update(|settings| settings.reuse_detection = false);
    instance.login(&server, "work");
    let mut holder = Holder::log_in(server.issuer(), "native");
    let before = instance.token("work", Duration::ZERO).unwrap();
    let unasked = import(&instance, &at(&server, "work"), &holder.refresh_token);
    assert_eq!(unasked.code(), 1, "{unasked:?}");
    assert!(unasked.stderr.contains("--replace"), "{unasked:?}");
    assert_eq!(server.counts().refreshes(), 0, "nothing was sent");

    let stale = holder.refresh_token.clone();
    assert_eq!(holder.refresh(), 200);
    let replacing = with(&at(&server, "work"), &["--replace"]);
    let refused = import(&instance, &replacing, &stale);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(refused.stderr.contains("invalid_grant"), "{refused:?}");
    let still = instance.token("work", Duration::ZERO).unwrap();
    assert!(
        still.access_token.expose() == before.access_token.expose(),
        "it stayed"
    );

    let replaced = import(&instance, &replacing, &holder.refresh_token);
    assert_eq!(replaced.code(), 0, "{replaced:?}");
    let after = instance.token("work", Duration::ZERO).unwrap();
    assert!(after.access_token.expose() != before.access_token.expose());
    instance.renew("work").unwrap();
    assert_eq!(api::ping(&server, after.access_token.expose()), 200);
}

#[test]
fn one_that_is_to_replace_a_login_and_is_not_taken_yet_is_not_said_to_be_safe() {
    let (server, instance, daemon) = started();
    instance.login(&server, "work");
    let before = instance.token("work", Duration::ZERO).unwrap();
    let mut holder = Holder::log_in(server.issuer(), "native");
    server.fault_next(Endpoint::Token, Fault::too_many_requests(3600));
    let replacing = with(&at(&server, "work"), &["--replace", "--wait", "1s"]);
    let not_yet = import(&instance, &replacing, &holder.refresh_token);
    assert_eq!(not_yet.code(), 5, "{not_yet:?}");
    assert!(!not_yet.stderr.contains("safe"), "{not_yet:?}");
    assert!(
        not_yet.stderr.contains("leave what holds it as it is"),
        "{not_yet:?}"
    );
    // And so it is: this daemon has not kept it, and what held it still can use it.
    daemon.kill();
    let _daemon = instance.start_daemon();
    let still = instance.token("work", Duration::ZERO).unwrap();
    assert!(still.access_token.expose() == before.access_token.expose());
    assert_eq!(holder.refresh(), 200);
}
#[test]
fn while_the_provider_cannot_be_reached_the_refresh_token_is_kept_and_tried_by_itself() {
    let (server, instance, daemon) = started();
    let holder = Holder::log_in(server.issuer(), "native");
    server.kill();
    let arguments = [
        "work",
        "--token-endpoint",
        &holder.token_endpoint,
        "--client-id",
        "native",
        "--refresh-token-stdin",
        "--wait",
        "1s",
    ];
    let pending = import(&instance, &arguments, &holder.refresh_token);
    assert_eq!(pending.code(), 5, "{pending:?}");
    assert!(
        pending.stderr.contains("safe, but it is not renewed yet"),
        "{pending:?}"
    );
    daemon.kill();
    let _daemon = instance.start_daemon();
    let mut watcher = instance.watch();
    server.restart().unwrap();
    watcher.wait_for_account("work", 2 * PATIENCE, |info| info.renewals == 1);
    let token = instance.token("work", PATIENCE).unwrap();
    assert_eq!(api::ping(&server, token.access_token.expose()), 200);
}

#[test]
fn a_refused_client_keeps_the_refresh_token_and_says_so() {
    let (server, instance, _daemon) = started();
    let holder = Holder::log_in(server.issuer(), "native");
    server.fault_next(Endpoint::Token, Fault::oauth_error("invalid_client"));
    let refused = import(&instance, &at(&server, "work"), &holder.refresh_token);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(refused.stderr.contains("invalid_client"), "{refused:?}");
    assert!(is_flagged(
        &instance.account("work"),
        FlagName::Misconfigured
    ));
    instance.renew("work").unwrap();
    assert_eq!(instance.account("work").flags, vec![]);
}

/// Where the daemon dies: of the write of the refresh token, and of the first exchange.
const BOUNDARIES: [(&str, u32); 8] = [
    ("commit_synced", 1),
    ("published", 1),
    ("before_intent", 1),
    ("after_intent", 1),
    ("bytes_sent", 1),
    ("answer_received", 1),
    ("commit_synced", 2),
    ("published", 2),
];

#[test]
fn a_kill_at_any_boundary_keeps_the_refresh_token() {
    std::thread::scope(|scope| {
        for (failpoint, time) in BOUNDARIES {
            scope.spawn(move || kill_at(failpoint, time));
        }
    });
}

fn kill_at(failpoint: &str, time: u32) {
    // A provider that does not rotate: whatever was sent, the one refresh token is good.
    let server = FakeServer::start(Options {
        settings: Settings {
            rotation: false,
            ..Settings::default()
        },
        ..Options::default()
    })
    .unwrap();
    let instance = Instance::new();
    let holder = Holder::log_in(server.issuer(), "native");
    let mut daemon = instance
        .daemon()
        .failpoint(&format!("{failpoint}=kill@{time}"))
        .ready();
    let request = AccountImport {
        login: LoginStart {
            account: "work".to_owned(),
            issuer: Some(server.issuer().to_owned()),
            client_id: Some("native".to_owned()),
            ..LoginStart::default()
        },
        refresh_token: WireSecret::new(holder.refresh_token.clone()),
        replace: false,
        wait_secs: Some(30),
    };
    let answer = instance.client().call(&request, PATIENCE);
    let hung_up = matches!(answer, Err(ClientError::Closed));
    assert!(
        hung_up || failpoint == "published",
        "{failpoint}@{time}: it answered"
    );
    assert_eq!(
        daemon.ended(PATIENCE).code(),
        None,
        "{failpoint}@{time}: killed"
    );

    let _daemon = instance.start_daemon();
    let token = instance.token("work", PATIENCE);
    let token = token.unwrap_or_else(|error| panic!("{failpoint}@{time}: {error}"));
    assert_eq!(api::ping(&server, token.access_token.expose()), 200);
    assert_eq!(instance.account("work").flags, vec![], "{failpoint}@{time}");
    instance.renew("work").unwrap();
}

#[test]
fn what_oidc_agent_prints_is_enough() {
    let server = FakeServer::start(Options {
        clients: vec![Client::native("native")],
        ..Options::default()
    })
    .unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let holder = Holder::log_in(server.issuer(), "native");
    let printed = json!({
        "name": "egi",
        "issuer_url": server.issuer(),
        "mytoken_url": "",
        "client_id": "native",
        "client_secret": "",
        "refresh_token": holder.refresh_token,
        "auth_scope": "openid offline_access",
        "redirect_uris": ["http://localhost:4242"],
    });
    let file = instance.dir().join("home").join("egi.json");
    fs::write(&file, printed.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let imported = instance.authctl(&["import", "work", "--from", "oidc-agent", file]);
    assert_eq!(imported.code(), 0, "{imported:?}");
    assert!(
        imported.stderr.contains("oidc-add --remove egi"),
        "{imported:?}"
    );
    assert!(
        imported.stdout.contains("Took over 'work' as user-1"),
        "{imported:?}"
    );
}

#[test]
fn at_the_certified_provider_a_login_is_taken_over() {
    let provider = Provider::start(Duration::from_secs(60));
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let holder = Holder::log_in(provider.issuer(), "public");
    let issuer = provider.issuer();
    let arguments = [
        "work",
        "--issuer",
        issuer,
        "--client-id",
        "public",
        "--refresh-token-stdin",
    ];
    let imported = import(&instance, &arguments, &holder.refresh_token);
    assert_eq!(imported.code(), 0, "{imported:?}");
    let token = instance.token("work", Duration::ZERO).unwrap();
    assert!(provider.is_active(token.access_token.expose()));
    instance.renew("work").unwrap();
    let ledger = provider.ledger();
    assert_eq!((ledger.refreshes(), ledger.presented_twice), (2, 0));
}

#[test]
fn what_is_no_refresh_token_is_refused_before_anything_is_asked() {
    let (server, instance, _daemon) = started();
    let refused = import(&instance, &at(&server, "work"), "a\u{1b}[2Jb");
    assert_eq!(refused.code(), 2, "{refused:?}");
    assert!(refused.stderr.contains("no refresh token"), "{refused:?}");
    let error = instance.token("work", Duration::ZERO).err().unwrap();
    assert_eq!(error.code, ErrorCode::UnknownAccount);
    assert_eq!(server.counts().requests(Endpoint::Token), 0);
}

#[test]
fn no_resource_says_where_a_refresh_token_goes() {
    let (server, instance, _daemon) = started();
    let resource = server.url(Endpoint::Api);
    let by_resource = [
        "work",
        "--client-id",
        "native",
        "--resource",
        &resource,
        "--refresh-token-stdin",
    ];
    let refused = import(&instance, &by_resource, "a-refresh-token");
    assert_eq!(refused.code(), 2, "{refused:?}");
    assert!(
        refused.stderr.contains("where to log in is not said"),
        "{refused:?}"
    );
    assert_eq!(
        server.counts().requests(Endpoint::Api),
        0,
        "nor was it asked"
    );
}

#[test]
fn no_client_is_registered_for_what_another_one_was_given() {
    let registering =
        Provider::start_with(Duration::from_secs(600), &json!({ "registration": "open" }));
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let nameless = [
        "work",
        "--issuer",
        registering.issuer(),
        "--refresh-token-stdin",
    ];
    let refused = import(&instance, &nameless, "a-refresh-token");
    assert_eq!(refused.code(), 2, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("the client alone that it was given to"),
        "{refused:?}"
    );
    assert_eq!(registering.ledger().refreshes(), 0);
}

#[test]
fn what_is_brought_is_not_brought_twice_at_once() {
    let (server, instance, _daemon) = started();
    let holder = Holder::log_in(server.issuer(), "native");
    let before = server.counts().requests(Endpoint::Discovery);
    server.close_gate(Endpoint::Discovery, Phase::BeforeCommit);
    let mut first = instance.command(binaries::authctl());
    first.arg("import").args(at(&server, "work"));
    let first = begin(&mut first, &holder.refresh_token);
    until("the first finds out where it is from", || {
        server.counts().requests(Endpoint::Discovery) > before
    });
    let second = import(&instance, &at(&server, "other"), &holder.refresh_token);
    assert_eq!(second.code(), 5, "{second:?}");
    assert!(
        second.stderr.contains("another import is under way"),
        "{second:?}"
    );
    server.open_gate(Endpoint::Discovery);
    let first = first.finish(PATIENCE);
    assert_eq!(first.code(), 0, "{first:?}");
    assert_eq!(server.counts().refreshes(), 1);
    // And now it is known.
    let third = import(&instance, &at(&server, "other"), &holder.refresh_token);
    assert!(third.stderr.contains("already, as 'work'"), "{third:?}");
}
