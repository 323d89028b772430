//! A provider that is not what it was at login: noticed while running, and by `doctor`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use authd::Alarms;
use authd_e2e::{
    Instance, PATIENCE, PendingLogin, Watcher, binaries,
    driven::{DrivenDaemon, Time, quiet},
    instance::is_flagged,
    until,
};
use authd_proto::{
    event::Event,
    request::{AccountCheck, TokenGet},
    response::{FlagName, MetadataState},
};
use authd_testkit::{Endpoint, FakeServer, Fault, SendIss, Settings};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);

/// Tokens of two hours, nearly: a day of renewals in few steps.
fn long_tokens() -> Settings {
    Settings {
        access_token_ttl: Duration::from_secs(7000),
        ..Settings::default()
    }
}

/// Of the day after which a provider is looked at again, and of what that is spread over.
const MORE_THAN_A_DAY: Duration = Duration::from_secs(29 * 3600);

/// What a provider has of a metadata document beside what the fake server would say.
fn lay_over(server: &FakeServer, members: Value) {
    let Value::Object(members) = members else {
        panic!("members of an object");
    };
    server.update(|settings| settings.metadata = members);
}

fn fetches(server: &FakeServer) -> u64 {
    server.counts().requests(Endpoint::Discovery)
}

/// Changed as it may happen, and what is to be told of it.
fn changes(server: &FakeServer) -> [(Value, String); 3] {
    let there = server.url(Endpoint::Token);
    [
        (
            json!({"token_endpoint": "https://elsewhere.example/token"}),
            format!("the token endpoint moved from {there} to https://elsewhere.example/token"),
        ),
        (
            json!({"grant_types_supported": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"]}),
            "the grant type refresh_token is not offered any more".to_owned(),
        ),
        (
            json!({"issuer": "https://renamed.example"}),
            format!(
                "the issuer calls itself https://renamed.example now, not {}",
                server.issuer()
            ),
        ),
    ]
}

fn told(watcher: &mut Watcher, outcome: &str) -> Event {
    watcher.wait_for(PATIENCE, |event| event.outcome.as_deref() == Some(outcome))
}

/// The finding of `doctor` that names the account.
fn doctor(instance: &Instance) -> (String, String) {
    let printed = instance.authctl(&["doctor", "--json"]);
    let diagnosis: Value = serde_json::from_str(&printed.stdout).unwrap();
    let findings = diagnosis["findings"].as_array().unwrap();
    let of_accounts = findings
        .iter()
        .find(|finding| finding["check"] == "accounts");
    let text = |member: &str| of_accounts.unwrap()[member].as_str().unwrap_or_default();
    (text("message").to_owned(), text("fix").to_owned())
}

#[test]
fn a_provider_that_changes_is_told_within_a_day_of_use_and_when_it_is_back() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(long_tokens());
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let mut watcher = instance.watch();

    for (members, sentence) in changes(&server) {
        lay_over(&server, members);
        // Renewed by itself, a day later: then it is looked at.
        let before = fetches(&server);
        time.advance(MORE_THAN_A_DAY);
        quiet(&instance);
        let event = told(&mut watcher, "metadata_changed");
        let message = event.message.unwrap();
        assert!(message.ends_with(&sentence), "{message}");
        assert_eq!(
            event.hint.as_deref(),
            Some("if renewals fail, run 'authctl login demo'")
        );
        let looked = fetches(&server) - before;
        assert!(looked <= 2, "once, at two places: {looked}");

        let account = instance.account("demo");
        let flag = account
            .flags
            .iter()
            .find(|flag| flag.flag == FlagName::MetadataChanged)
            .unwrap();
        assert!(flag.reason.ends_with(&sentence), "{}", flag.reason);
        let status = instance.authctl(&["status"]);
        // Lines are broken where the terminal ends.
        let words: Vec<_> = status.stdout.split_whitespace().collect();
        let status = words.join(" ");
        assert!(status.contains(&sentence), "{status}");
        assert!(status.contains("run 'authctl login demo'"), "{status}");
        let status = instance.authctl(&["status", "--json"]);
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        assert_eq!(
            status["accounts"][0]["flags"][0]["flag"],
            "METADATA_CHANGED"
        );

        // It is as it was, and that is told too.
        lay_over(&server, json!({}));
        time.advance(MORE_THAN_A_DAY);
        quiet(&instance);
        told(&mut watcher, "metadata_restored");
        assert!(!is_flagged(
            &instance.account("demo"),
            FlagName::MetadataChanged
        ));
    }
}

#[test]
fn doctor_looks_at_once_and_names_what_mends_it() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings::default());
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    instance.login(&server, "other");
    assert_eq!(doctor(&instance).0, "all 2 accounts are well");

    for (members, sentence) in changes(&server) {
        lay_over(&server, members);
        let before = fetches(&server);
        let (message, fix) = doctor(&instance);
        assert!(message.ends_with(&sentence), "{message}");
        assert_eq!(fix, "if renewals fail, run 'authctl login demo'");
        // For both accounts one look whether it is there, and one at what it says.
        assert!(fetches(&server) - before <= 4);
        for name in ["demo", "other"] {
            assert!(is_flagged(
                &instance.account(name),
                FlagName::MetadataChanged
            ));
        }
        lay_over(&server, json!({}));
        assert_eq!(doctor(&instance).0, "all 2 accounts are well");
    }
}

#[test]
fn a_look_that_fails_is_no_change() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings::default());
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let check = AccountCheck {
        account: "demo".to_owned(),
        wait_secs: Some(10),
    };
    for fault in [Fault::status(503), Fault::status(404), Fault::Drop] {
        server.fault_always(Endpoint::Discovery, fault.clone());
        let checked = instance.call(&check).unwrap();
        assert_eq!(checked.metadata, MetadataState::Unavailable, "{fault:?}");
        let (message, _) = doctor(&instance);
        assert_eq!(message, "the one account is well", "{fault:?}");
        server.clear_faults(Endpoint::Discovery);
    }
    let printed = instance.authctl(&["doctor"]);
    assert!(
        printed
            .stdout
            .contains("1 provider is what it was at login"),
        "{}",
        printed.stdout
    );
    assert_eq!(instance.account("demo").flags, []);
    let unknown = AccountCheck {
        account: "nobody".to_owned(),
        wait_secs: None,
    };
    let refused = instance.call(&unknown).unwrap_err();
    assert_eq!(refused.code, authd_proto::ErrorCode::UnknownAccount);
}

#[test]
fn however_often_it_is_renewed_and_used_a_provider_is_looked_at_once_a_day_at_most() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(long_tokens());
    let instance = Instance::new();
    let daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let as_it_was = fetches(&server);
    let days = |days: u32| {
        for _ in 0..12 * days {
            time.advance(2 * HOUR);
            quiet(&instance);
        }
    };
    days(4);
    assert!(server.counts().refreshes() >= 40, "it is renewed");
    let looked = fetches(&server) - as_it_was;
    assert!((2..=4).contains(&looked), "{looked} looks in four days");

    // A new start remembers when that was.
    time.advance(MORE_THAN_A_DAY);
    quiet(&instance);
    until("the look is over", || fetches(&server) > as_it_was + looked);
    // No exchange comes sooner.
    time.advance(HOUR);
    quiet(&instance);
    let before = fetches(&server);
    drop(daemon);
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    for _ in 0..5 {
        time.advance(2 * HOUR);
        quiet(&instance);
    }
    assert_eq!(fetches(&server), before);
}

#[test]
fn a_machine_on_which_nothing_is_done_looks_at_nothing_and_a_use_is_an_occasion() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings {
        access_token_ttl: 60 * HOUR,
        ..Settings::default()
    });
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let before = fetches(&server);
    time.advance(MORE_THAN_A_DAY);
    // Of the engine, and so behind everything that this day could have brought about.
    let more_than_possible = TokenGet {
        account: Some("demo"),
        min_ttl_secs: Some(90 * 3600),
        wait_secs: Some(0),
        ..TokenGet::default()
    };
    assert!(instance.call(&more_than_possible).is_err());
    assert_eq!(fetches(&server), before);
    assert_eq!(server.counts().refreshes(), 0);

    instance.token("demo", Duration::ZERO).unwrap();
    server
        .wait_for_blocking(PATIENCE, |ledger| {
            ledger.counts.requests(Endpoint::Discovery) > before
        })
        .unwrap();
    assert_eq!(server.counts().refreshes(), 0, "the cached token served");
}

#[test]
fn a_refusal_of_the_client_is_an_occasion_to_look() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings::default());
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let mut watcher = instance.watch();
    lay_over(
        &server,
        json!({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}),
    );
    let rule = Fault::oauth_error("invalid_client").before_commit();
    server.fault_always(Endpoint::Token, rule.for_grant_type("refresh_token"));
    instance.renew("demo").unwrap_err();
    let event = told(&mut watcher, "metadata_changed");
    assert!(
        event
            .message
            .unwrap()
            .ends_with("the client authentication none is not offered any more")
    );
    // Again and again: no more often than every half hour.
    let before = fetches(&server);
    for _ in 0..10 {
        // No two exchanges come closer.
        time.advance(Duration::from_secs(60));
        instance.renew("demo").unwrap_err();
    }
    assert_eq!(fetches(&server), before);
    assert!(is_flagged(
        &instance.account("demo"),
        FlagName::Misconfigured
    ));
}

#[test]
fn logging_in_again_accepts_the_place_that_was_told() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let (old, new) = (
        time.server(Settings::default()),
        time.server(Settings::default()),
    );
    let instance = Instance::new();
    let daemon = DrivenDaemon::start(&instance, &time.machine);
    // Both are one to the login: no token names its issuer, and the answer names the old one.
    new.update(|settings| settings.send_iss = SendIss::Other(old.issuer().to_owned()));
    let mut command = instance.command(binaries::authctl());
    command
        .args(["login", "demo", "--no-browser", "--json"])
        .args(["--issuer", old.issuer(), "--client-id", "native"])
        .args(["--scope", "offline_access api"]);
    let mut pending = PendingLogin::start(&mut command);
    pending.browse();
    assert_eq!(pending.finish().0["event"], "done");
    // The issuer stays, and everything that it names is on another host.
    let names = [
        ("authorization_endpoint", Endpoint::Authorization),
        ("token_endpoint", Endpoint::Token),
        ("userinfo_endpoint", Endpoint::Userinfo),
        ("revocation_endpoint", Endpoint::Revocation),
        ("introspection_endpoint", Endpoint::Introspection),
        ("jwks_uri", Endpoint::Jwks),
    ];
    let moved = names.map(|(name, endpoint)| (name.to_owned(), json!(new.url(endpoint))));
    lay_over(&old, Value::Object(moved.into_iter().collect()));
    old.fault_always(Endpoint::Token, Fault::status(404));
    instance.renew("demo").unwrap_err();
    let mut watcher = instance.watch();
    watcher.wait_for_account("demo", PATIENCE, |account| {
        is_flagged(account, FlagName::MetadataChanged)
    });
    assert_eq!(
        new.counts().requests(Endpoint::Token),
        0,
        "told, not followed"
    );

    // What was told is there after a new start too.
    drop(daemon);
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    let account = instance.account("demo");
    assert!(
        is_flagged(&account, FlagName::MetadataChanged),
        "{account:?}"
    );

    let mut command = instance.command(binaries::authctl());
    command.args([
        "login",
        "demo",
        "--no-browser",
        "--json",
        "--replace-subject",
    ]);
    let mut pending = PendingLogin::start(&mut command);
    let url = pending.authorize()["url"].clone();
    let url = url.as_str().unwrap();
    assert!(url.starts_with(&new.url(Endpoint::Authorization)), "{url}");
    assert_eq!(pending.browse().status, 200);
    let (last, finished) = pending.finish();
    assert_eq!(last["event"], "done", "{finished:?}");
    let account = instance.account("demo");
    assert_eq!(
        account.flags,
        [],
        "a new login, compared with what is there now"
    );
    instance.renew("demo").unwrap();
    assert!(new.counts().refreshes() > 0);
    let checked = instance
        .call(&AccountCheck {
            account: "demo".to_owned(),
            wait_secs: Some(10),
        })
        .unwrap();
    assert_eq!(checked.metadata, MetadataState::Unchanged);
}
