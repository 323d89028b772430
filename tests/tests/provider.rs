//! At the certified provider: logins of every kind, a minute of renewals, resources, revocation.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use authd_e2e::{Instance, PATIENCE, PendingLogin, provider::Provider};
use authd_proto::request::Subscribe;
use serde_json::json;

/// How long the access tokens live: the shortest that a provider is likely to give.
const LIFETIME: Duration = Duration::from_secs(5);

/// How long tokens are asked for in the longest test.
const RUN: Duration = Duration::from_secs(60);

/// How soon after it was printed a token must be alive at the provider.
const AT_ONCE: Duration = Duration::from_millis(200);

#[test]
fn a_minute_of_tokens_that_live_five_seconds_never_yields_a_dead_one() {
    let provider = Provider::start(LIFETIME);
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    provider.log_in(&instance, "demo");

    // Asked ten times a second, and at every event: so in the midst of each renewal too.
    let mut events = instance.client();
    events.subscribe(&Subscribe::default(), PATIENCE).unwrap();
    let (mut calls, mut calls_at_once) = (0_u32, 0_u32);
    let (mut slowest, mut least_left) = (Duration::ZERO, f64::MAX);
    let begun = Instant::now();
    while begun.elapsed() < RUN {
        let asked = Instant::now();
        let printed = instance.authctl(&["token", "demo"]);
        slowest = slowest.max(asked.elapsed());
        assert_eq!(printed.code(), 0, "call {calls} failed: {}", printed.stderr);
        let held = Instant::now();
        let known = provider.introspect(printed.line());
        assert_eq!(known["active"], true, "call {calls} yielded a dead token");
        calls += 1;
        if held.elapsed() <= AT_ONCE {
            calls_at_once += 1;
        }
        least_left = least_left.min(known["exp"].as_f64().unwrap() - unix_now());
        events.next_event(Some(Duration::from_millis(100))).unwrap();
    }

    let renewals = instance.account("demo").renewals;
    let ledger = provider.ledger();
    writeln!(
        std::io::stderr(),
        "{calls} calls ({calls_at_once} introspected within {AT_ONCE:?}), {renewals} renewals, \
         at least {least_left:.2} s left by the provider's clock, slowest call {slowest:?}"
    )
    .unwrap();
    assert!(calls_at_once >= 200, "{calls_at_once} calls");
    assert!((20..=40).contains(&renewals), "{renewals} renewals");
    assert_eq!(ledger.presented_twice, 0, "a refresh token came twice");
    assert_eq!(ledger.presented, ledger.refreshes(), "one was refused");
    assert!(
        (renewals..=renewals + 1).contains(&ledger.refreshes()),
        "{renewals} renewals, {} exchanges",
        ledger.refreshes()
    );
    assert!(daemon.stop().success());
}

fn unix_now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock past 1970").as_secs_f64()
}

#[test]
fn a_login_by_code_says_who_signed_in_and_what_was_granted() {
    let provider = Provider::start(LIFETIME);
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let more = [
        "--scope",
        "openid offline_access",
        "--param",
        "login_hint=bob",
    ];
    let mut pending = PendingLogin::start(&mut provider.login(&instance, "demo", "public", &more));
    assert_eq!(pending.authorize()["event"], "authorize");
    assert_eq!(pending.browse().status, 200);
    let (done, finished) = pending.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert_eq!(done["event"], "done");
    assert_eq!(done["subject"], "bob");
    assert_eq!(done["scopes"], json!(["offline_access", "openid"]));
    assert_eq!(done["refused_scopes"], json!([]));
    assert_eq!(done["issuer"], provider.issuer());

    let known = provider.introspect(instance.authctl(&["token", "demo"]).line());
    assert_eq!(known["sub"], "bob");
    assert_eq!(known["client_id"], "public");
    assert!(daemon.stop().success());
}

#[test]
fn a_scope_that_is_not_granted_is_told() {
    let provider = Provider::start(LIFETIME);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let scope = ["--scope", "openid offline_access api:read"];
    let mut pending = PendingLogin::start(&mut provider.login(&instance, "demo", "public", &scope));
    pending.browse();
    let (done, _) = pending.finish();
    // Scopes of a resource are not granted without it.
    assert_eq!(done["refused_scopes"], json!(["api:read"]));
    assert_eq!(
        instance
            .authctl(&["token", "demo", "--scope", "api:read"])
            .code(),
        4
    );
}

#[test]
fn a_refused_consent_ends_the_login_and_the_next_one_succeeds() {
    let provider = Provider::start(LIFETIME);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let deny = ["--param", "login_hint=deny"];
    let mut pending = PendingLogin::start(&mut provider.login(&instance, "demo", "public", &deny));
    pending.browse();
    let (error, finished) = pending.finish();
    assert_eq!(error["event"], "error");
    assert_eq!(error["code"], "denied");
    assert_eq!(finished.code(), 6, "{finished:?}");
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 3);

    provider.log_in(&instance, "demo");
    assert!(provider.is_active(instance.authctl(&["token", "demo"]).line()));
}

#[test]
fn a_device_is_signed_in_on_another_screen_or_refused_there() {
    let provider = Provider::start(LIFETIME);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let device = ["--device", "--scope", "openid offline_access"];
    let start = || PendingLogin::start(&mut provider.login(&instance, "demo", "public", &device));
    let user_code = |pending: &PendingLogin| {
        let shown = pending.authorize()["user_code"].as_str();
        shown.expect("a user code").to_owned()
    };

    let pending = start();
    let page = pending.authorize()["verification_uri"].as_str().unwrap();
    assert!(page.starts_with(provider.issuer()), "{page}");
    provider.enter_user_code(&user_code(&pending), false);
    let (error, finished) = pending.finish();
    assert_eq!(
        (error["code"].as_str(), finished.code()),
        (Some("denied"), 6)
    );

    let pending = start();
    provider.enter_user_code(&user_code(&pending), true);
    let (done, finished) = pending.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert_eq!(done["subject"], "alice");
    let first = instance.authctl(&["token", "demo"]);
    assert!(provider.is_active(first.line()));
    // What a device was granted is renewed as any other grant.
    assert_eq!(instance.authctl(&["renew", "demo"]).code(), 0);
    let second = instance.authctl(&["token", "demo"]);
    assert!(first.line() != second.line(), "it is still the first");
    assert!(provider.is_active(second.line()));
    assert_eq!(provider.ledger().refreshes(), 1);
}

#[test]
fn confidential_clients_authenticate_in_the_header_or_in_the_body() {
    let provider = Provider::start(LIFETIME);
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    for client in ["basic", "post"] {
        let more = [
            "--client-secret-stdin",
            "--client-auth",
            client,
            "--scope",
            "openid offline_access",
        ];
        let mut command = provider.login(&instance, client, client, &more);
        let secret = format!("{client}-secret-of-the-tests\n");
        let mut pending = PendingLogin::start_with_input(&mut command, &secret);
        assert_eq!(pending.browse().status, 200);
        let (done, finished) = pending.finish();
        assert_eq!(done["event"], "done", "{finished:?}");
    }
    // A restart: the secrets are in the store, and the refresh needs them.
    daemon.kill();
    let _daemon = instance.start_daemon();
    for client in ["basic", "post"] {
        assert_eq!(instance.authctl(&["renew", client]).code(), 0);
        let known = provider.introspect(instance.authctl(&["token", client]).line());
        assert_eq!(known["active"], true);
        assert_eq!(known["client_id"], client);
    }
    assert_eq!(provider.ledger().refreshes(), 2);

    let more = ["--client-secret-stdin", "--scope", "openid offline_access"];
    let mut wrong = provider.login(&instance, "wrong", "basic", &more);
    let pending = PendingLogin::start_with_input(&mut wrong, "not the secret\n");
    // The client proves itself when the request is pushed, before a browser opens.
    let (error, finished) = pending.finish();
    assert_eq!(error["event"], "error", "{finished:?}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("invalid_client"), "{message}");
    assert_eq!(finished.code(), 1, "{finished:?}");
}

#[test]
fn one_login_yields_tokens_for_two_resources_with_one_exchange_each() {
    // Long enough that all of the first part happens before a renew point.
    let lifetime = 2 * LIFETIME;
    let provider = Provider::start(lifetime);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let [one, two] = Provider::RESOURCES;
    let more = [
        "--scope",
        "openid offline_access api:read",
        "--resource",
        one,
        "--resource",
        two,
    ];
    let mut pending = PendingLogin::start(&mut provider.login(&instance, "demo", "public", &more));
    assert_eq!(pending.browse().status, 200);
    let (done, finished) = pending.finish();
    assert_eq!(done["event"], "done", "{finished:?}");

    let ask = |resource| instance.authctl(&["token", "demo", "--resource", resource]);
    let begun = Instant::now();
    let first = ask(one);
    assert_eq!(provider.introspect(first.line())["aud"], one);
    assert_eq!(provider.ledger().refreshes(), 0, "the login brought it");
    let second = ask(two);
    assert_eq!(provider.introspect(second.line())["aud"], two);
    assert_eq!(provider.introspect(second.line())["scope"], "api:read");
    assert!(first.line() == ask(one).line() && second.line() == ask(two).line());
    assert!(
        begun.elapsed() < lifetime * 2 / 5,
        "this machine is too slow"
    );
    assert_eq!(
        provider.ledger().refreshes(),
        1,
        "one exchange for the second"
    );

    // Both are renewed by themselves, each for its own resource, and neither at the other's expense.
    let account = instance
        .watch()
        .wait_for_account("demo", PATIENCE, |account| {
            account.leases.len() == 2 && account.leases.iter().all(|lease| lease.generation > 2)
        });
    assert_eq!(account.leases.len(), 2);
    for (resource, before) in [(one, first), (two, second)] {
        let after = ask(resource);
        assert!(before.line() != after.line(), "{resource} was not renewed");
        assert_eq!(provider.introspect(after.line())["aud"], resource);
    }
    assert_eq!(provider.ledger().presented_twice, 0);
}

/// This provider spends the refresh token before it looks at the resource: asking would end the login.
#[test]
fn a_resource_that_the_login_did_not_name_is_refused_without_asking() {
    let provider = Provider::start(LIFETIME);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    provider.log_in(&instance, "demo");
    let wrong = ["token", "demo", "--resource", "https://three.example.test/"];
    for resource_asked in [wrong, wrong] {
        let refused = instance.authctl(&resource_asked);
        assert_eq!(refused.code(), 4, "{refused:?}");
        assert!(refused.stderr.contains("authctl login demo"), "{refused:?}");
    }
    assert_eq!(provider.ledger().presented, 0, "the provider was asked");

    let mut watcher = instance.watch();
    watcher.wait_for_account("demo", PATIENCE, |account| account.renewals >= 2);
    assert!(provider.is_active(instance.authctl(&["token", "demo"]).line()));
    assert_eq!(provider.ledger().presented_twice, 0);
}

#[test]
fn a_logout_revokes_what_the_login_gave() {
    let provider = Provider::start(Duration::from_secs(3600));
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    provider.log_in(&instance, "demo");
    let first = instance.authctl(&["token", "demo"]);
    assert_eq!(instance.authctl(&["renew", "demo"]).code(), 0);
    let second = instance.authctl(&["token", "demo"]);
    assert!(provider.is_active(second.line()));

    let told = instance.authctl(&["logout", "demo", "--json"]);
    assert_eq!(told.code(), 0, "{told:?}");
    let revoked = &told.json()["revoked"];
    assert!(
        revoked
            .as_array()
            .unwrap()
            .contains(&json!("refresh_token")),
        "{revoked}"
    );
    assert_eq!(told.json()["pending"], json!([]));
    assert!(!provider.is_active(first.line()) && !provider.is_active(second.line()));
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 3);
}
