//! Logins that are protected beyond PKCE: pushed requests (RFC 9126), proofs of possession (RFC 9449),
//! signed answers (JARM). At the certified provider, and at the fake server what that one does not do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use authd_e2e::{Instance, PATIENCE, PendingLogin, api::Api, provider::Provider};
use authd_proto::{ErrorCode, request::DpopProof, response::Dpop};
use authd_testkit::{Endpoint, FakeServer, Fault, Options, Settings, Support};
use serde_json::{Value, json};

/// Long enough that nothing is renewed but what a test renews.
const LIFETIME: Duration = Duration::from_secs(600);

fn fake(change: impl FnOnce(&mut Settings)) -> FakeServer {
    let mut settings = Settings::default();
    change(&mut settings);
    FakeServer::start(Options {
        settings,
        ..Options::default()
    })
    .unwrap()
}

/// A login to its end: the last line.
fn finish(mut pending: PendingLogin) -> Value {
    assert_eq!(pending.browse().status, 200, "the callback's page");
    let (last, finished) = pending.finish();
    assert_eq!(last["event"], "done", "{finished:?}");
    last
}

/// The header fields of one request.
fn header(instance: &Instance, account: &str, url: &str, more: &[&str]) -> String {
    let mut arguments = vec!["token", account, "--format", "header", "--url", url];
    arguments.extend_from_slice(more);
    let printed = instance.authctl(&arguments);
    assert_eq!((printed.code(), printed.stderr.as_str()), (0, ""));
    printed.stdout
}

fn names(url: &str) -> Vec<String> {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs()
        .map(|(name, _)| name.into_owned())
        .collect()
}

#[test]
fn a_request_is_pushed_where_the_provider_insists() {
    let insists = json!({"requirePushedAuthorizationRequests": true});
    let provider = Provider::start_with(LIFETIME, &insists);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let scope = ["--scope", "openid offline_access"];
    let pending = PendingLogin::start(&mut provider.login(&instance, "demo", "public", &scope));
    assert_eq!(names(pending.url()), ["client_id", "request_uri"]);
    assert!(pending.authorize()["url_expires_in_secs"].as_u64() > Some(0));
    assert_eq!(finish(pending)["subject"], "alice");
    assert!(provider.is_active(instance.authctl(&["token", "demo"]).line()));

    // A confidential client proves itself there as at the token endpoint.
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
        let pending = PendingLogin::start_with_input(&mut command, &secret);
        assert_eq!(names(pending.url()), ["client_id", "request_uri"]);
        finish(pending);
    }
}

#[test]
fn tokens_bound_to_a_key_are_renewed_by_it_and_outlive_the_daemon() {
    let provider = Provider::start_with(LIFETIME, &json!({"dpopNonce": true}));
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let more = ["--dpop", "--scope", "openid offline_access"];
    let pending = PendingLogin::start(&mut provider.login(&instance, "demo", "public", &more));
    assert_eq!(finish(pending)["dpop"], "bound");
    assert_eq!(instance.account("demo").dpop, Some(Dpop::Bound));
    let jkt = |instance: &Instance| {
        let token = instance.token("demo", PATIENCE).unwrap();
        let known = provider.introspect(token.access_token.expose());
        known["jkt"].as_str().expect("it is bound").to_owned()
    };
    let key = jkt(&instance);
    instance.renew("demo").unwrap();
    assert_eq!(jkt(&instance), key);

    daemon.kill();
    let _daemon = instance.start_daemon();
    instance.renew("demo").unwrap();
    assert_eq!(jkt(&instance), key, "another key than before the restart");
    assert_eq!(provider.ledger().refreshes(), 2);

    // The protected resource: a nonce first, then the proof with it, and no proof twice.
    let me = format!("{}/me", provider.issuer());
    let (status, nonce) = provider.call_with(&header(&instance, "demo", &me, &[]));
    assert_eq!(status, 401);
    let nonce = nonce.expect("a nonce");
    let proved = header(&instance, "demo", &me, &["--nonce", &nonce]);
    assert_eq!(provider.call_with(&proved).0, 200);
    let elsewhere = header(
        &instance,
        "demo",
        "https://else.example/me",
        &["--nonce", &nonce],
    );
    assert_eq!(provider.call_with(&elsewhere).0, 401);
    let other_method = ["--nonce", nonce.as_str(), "--method", "POST"];
    let other_method = header(&instance, "demo", &me, &other_method);
    assert_eq!(provider.call_with(&other_method).0, 401);

    // Whoever has the token alone has nothing, and is told so.
    let printed = instance.authctl(&["token", "demo"]);
    assert!(
        printed.stderr.contains("bound to a key"),
        "{}",
        printed.stderr
    );
    let stolen = format!("Authorization: Bearer {}", printed.line());
    assert_eq!(provider.call_with(&stolen).0, 401);
}

#[test]
fn two_audiences_of_one_bound_login_are_cached_side_by_side() {
    let provider = Provider::start_with(
        LIFETIME,
        &json!({"dpopNonce": true, "requirePushedAuthorizationRequests": true}),
    );
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let [one, two] = Provider::RESOURCES;
    let more = [
        "--dpop",
        "--scope",
        "openid offline_access api:read",
        "--resource",
        one,
        "--resource",
        two,
    ];
    let pending = PendingLogin::start(&mut provider.login(&instance, "demo", "public", &more));
    finish(pending);
    let token = |resource| {
        let printed = instance.authctl(&["token", "demo", "--resource", resource]);
        assert_eq!(printed.code(), 0, "{printed:?}");
        printed.line().to_owned()
    };
    let (first, second) = (token(one), token(two));
    for _ in 0..3 {
        assert_eq!((token(one), token(two)), (first.clone(), second.clone()));
    }
    for (token, resource) in [(&first, one), (&second, two)] {
        let known = provider.introspect(token);
        assert_eq!(known["aud"], resource);
        assert!(known["jkt"].is_string(), "{known}");
    }
    let ledger = provider.ledger();
    assert_eq!(
        (ledger.exchanges("authorization_code"), ledger.refreshes()),
        (1, 1)
    );
}

#[test]
fn a_nonce_that_changes_midway_costs_one_refusal_and_no_failure() {
    let server = fake(|settings| {
        settings.dpop = Support::Required;
        settings.dpop_nonce = Some("nonce-1".into());
    });
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    finish(instance.begin_login("demo", server.issuer(), &["--dpop"]));
    let mut renewals = 0;
    for nonce in ["nonce-2", "nonce-2", "nonce-3"] {
        server.update(|settings| settings.dpop_nonce = Some(nonce.into()));
        instance.renew("demo").unwrap();
        renewals += 1;
    }
    let info = instance.account("demo");
    assert_eq!((info.renewals, info.last_error), (renewals, None));
    let ledger = server.ledger();
    assert_eq!(ledger.counts.token_errors["use_dpop_nonce"], 3);
    assert_eq!(ledger.counts.refreshes(), renewals);
    assert_eq!(
        ledger.presented_twice().count(),
        0,
        "only the proof was looked at"
    );

    // Userinfo, the API, and a proof that comes twice.
    let url = server.url(Endpoint::Api);
    let mut api = Api::of(&server);
    let proved = header(&instance, "demo", &url, &["--nonce", "nonce-3"]);
    assert_eq!(api.call_with(&proved), 200);
    assert_eq!(api.call_with(&proved), 401, "a proof is for one request");
    let stale = header(&instance, "demo", &url, &["--nonce", "nonce-2"]);
    assert_eq!(api.call_with(&stale), 401);
    assert_eq!(server.counts().dpop_replays, 1);

    // After a restart nothing is known of nonces, and it costs one refusal again.
    daemon.kill();
    let _daemon = instance.start_daemon();
    instance.renew("demo").unwrap();
    assert_eq!(server.counts().token_errors["use_dpop_nonce"], 4);
}

#[test]
fn a_login_again_is_bound_again_without_being_asked() {
    let server = fake(|settings| settings.dpop = Support::Offered);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let pending = instance.begin_login("plain", server.issuer(), &[]);
    assert_eq!(finish(pending).get("dpop"), None);
    let pending = instance.begin_login("demo", server.issuer(), &["--dpop"]);
    assert!(names(pending.url()).contains(&"dpop_jkt".to_owned()));
    assert_eq!(finish(pending)["dpop"], "bound");
    let mut command = instance.command(authd_e2e::binaries::authctl());
    command.args(["login", "demo", "--no-browser", "--json"]);
    assert_eq!(finish(PendingLogin::start(&mut command))["dpop"], "bound");
    let families = server.ledger().families;
    let keys: Vec<_> = families.iter().map(|family| family.jkt.clone()).collect();
    assert_eq!(keys[0], None);
    assert!(keys[1].is_some() && keys[2].is_some());
    assert_ne!(keys[1], keys[2], "a login's key is its own");
}

#[test]
fn a_token_endpoint_that_demands_proofs_gets_them_unasked() {
    let server = fake(|settings| {
        settings.dpop = Support::Required;
        settings.dpop_nonce = Some("nonce-1".into());
    });
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let pending = instance.begin_login("demo", server.issuer(), &[]);
    assert_eq!(finish(pending)["dpop"], "bound");
    instance.renew("demo").unwrap();
}

#[test]
fn a_provider_that_issues_plain_tokens_all_the_same_is_told_of() {
    // It says that it takes proofs, and looks at none.
    let server = fake(|settings| {
        let metadata = json!({"dpop_signing_alg_values_supported": ["ES256"]});
        settings.metadata = metadata.as_object().unwrap().clone();
    });
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let pending = instance.begin_login("demo", server.issuer(), &["--dpop"]);
    assert_eq!(finish(pending)["dpop"], "bearer");
    assert_eq!(instance.account("demo").dpop, Some(Dpop::Bearer));
    let status = instance.authctl(&["status", "demo"]);
    assert!(
        status.stdout.contains("bound to no key"),
        "{}",
        status.stdout
    );
    assert_eq!(status.code(), 0);
    instance.renew("demo").unwrap();
    let fields = header(&instance, "demo", &server.url(Endpoint::Api), &[]);
    assert!(fields.starts_with("Authorization: Bearer "));
    assert_eq!(fields.lines().count(), 1);
    assert_eq!(Api::of(&server).call_with(&fields), 200);
}

#[test]
fn a_key_that_the_provider_does_not_take_is_refused_before_the_browser_opens() {
    let server = fake(|_| ());
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let pending = instance.begin_login("demo", server.issuer(), &["--dpop"]);
    let (error, finished) = pending.finish();
    assert_eq!(
        (error["code"].as_str(), finished.code()),
        (Some("bad_request"), 2)
    );
    assert_eq!(server.counts().requests(Endpoint::Authorization), 0);
}

#[test]
fn a_binding_is_not_lost_at_a_later_login_without_a_word() {
    let server = fake(|settings| settings.dpop = Support::Offered);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let pending = instance.begin_login("demo", server.issuer(), &["--dpop"]);
    assert_eq!(finish(pending)["dpop"], "bound");
    // The provider says no more that it takes proofs.
    server.update(|settings| settings.dpop = Support::Off);
    let again = |more: &[&str]| {
        let mut command = instance.command(authd_e2e::binaries::authctl());
        command.args(["login", "demo", "--no-browser", "--json"]);
        PendingLogin::start(command.args(more))
    };
    let (error, finished) = again(&[]).finish();
    assert_eq!(error["code"], "bad_request", "{finished:?}");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("--no-dpop"), "{hint}");
    assert_eq!(instance.account("demo").dpop, Some(Dpop::Bound));
    assert_eq!(finish(again(&["--no-dpop"])).get("dpop"), None);
    assert_eq!(instance.account("demo").dpop, None);
    // From then on there is nothing to lose.
    assert_eq!(finish(again(&[])).get("dpop"), None);
}

#[test]
fn what_protects_a_login_is_not_switched_off_by_metadata_that_does_not_come() {
    let server = fake(|settings| settings.jarm = Support::Required);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    finish(instance.begin_login("demo", server.issuer(), &[]));
    let asked = server.counts().requests(Endpoint::Authorization);
    let again = || {
        let mut command = instance.command(authd_e2e::binaries::authctl());
        PendingLogin::start(command.args(["login", "demo", "--no-browser", "--json"]))
    };
    for fault in [Fault::status(503), Fault::HtmlOk, Fault::status(404)] {
        server.fault_always(Endpoint::Discovery, fault);
        let (error, finished) = again().finish();
        assert_eq!(error["event"], "error", "{finished:?}");
        assert_eq!(server.counts().requests(Endpoint::Authorization), asked);
        assert_eq!(instance.authctl(&["token", "demo"]).code(), 0, "as it was");
    }
    server.clear_faults(Endpoint::Discovery);
    let pending = again();
    assert!(pending.url().contains("response_mode=query.jwt"));
    finish(pending);
}

#[test]
fn proofs_are_for_bound_tokens_and_well_formed_requests_alone() {
    let server = fake(|settings| settings.dpop = Support::Offered);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    finish(instance.begin_login("plain", server.issuer(), &[]));
    finish(instance.begin_login("demo", server.issuer(), &["--dpop"]));
    let ask = |account: &str, method: &str, url: &str| {
        instance.call(&DpopProof {
            account: account.into(),
            method: method.into(),
            url: url.into(),
            access_token: None,
            scopes: None,
            resource: None,
            nonce: None,
        })
    };
    let proof = ask("demo", "GET", "https://api.example/").unwrap();
    assert_eq!(server.ledger().families[1].jkt, Some(proof.jkt));
    for (account, method, url, code) in [
        (
            "plain",
            "GET",
            "https://api.example/",
            ErrorCode::BadRequest,
        ),
        (
            "nobody",
            "GET",
            "https://api.example/",
            ErrorCode::UnknownAccount,
        ),
        ("demo", "", "https://api.example/", ErrorCode::BadRequest),
        (
            "demo",
            "GET\n",
            "https://api.example/",
            ErrorCode::BadRequest,
        ),
        ("demo", "GET", "api.example", ErrorCode::BadRequest),
        ("demo", "GET", "file:///etc/passwd", ErrorCode::BadRequest),
        (
            "demo",
            "GET",
            "https://user@api.example/",
            ErrorCode::BadRequest,
        ),
    ] {
        let error = ask(account, method, url).err().expect("no proof");
        assert_eq!(error.code, code, "{account} {method:?} {url}: {error}");
    }
}

#[test]
fn a_push_that_fails_is_done_without_unless_the_provider_insists_or_refuses() {
    let server = fake(|settings| settings.pushed_authorization_requests = Support::Offered);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let begin = || instance.begin_login("demo", server.issuer(), &[]);
    // Neither yes nor no.
    for fault in [Fault::status(500), Fault::HtmlOk, Fault::Drop] {
        server.fault_next(Endpoint::PushedAuthorization, fault);
        let pending = begin();
        assert!(names(pending.url()).contains(&"code_challenge".to_owned()));
        finish(pending);
    }
    let pending = begin();
    assert_eq!(names(pending.url()), ["client_id", "request_uri"]);
    finish(pending);
    // No.
    server.fault_next(
        Endpoint::PushedAuthorization,
        Fault::oauth_error("invalid_request"),
    );
    let (error, _) = begin().finish();
    assert_eq!(error["code"], "login_failed");
    // It insists.
    server.update(|settings| settings.pushed_authorization_requests = Support::Required);
    server.fault_next(Endpoint::PushedAuthorization, Fault::status(500));
    let (error, finished) = begin().finish();
    assert_eq!(
        (error["code"].as_str(), finished.code()),
        (Some("unavailable"), 5)
    );
    finish(begin());
}

#[test]
fn a_provider_that_insists_on_signing_its_answer_may() {
    let server = fake(|settings| settings.jarm = Support::Required);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let pending = instance.begin_login("demo", server.issuer(), &[]);
    assert!(pending.url().contains("response_mode=query.jwt"));
    finish(pending);

    let foreign = json!({"aud": "another"});
    server.update(|settings| settings.jarm_claims = foreign.as_object().unwrap().clone());
    let mut pending = instance.begin_login("demo", server.issuer(), &[]);
    pending.browse();
    let (error, _) = pending.finish();
    assert_eq!(error["code"], "login_failed");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("another client"),
        "{error}"
    );
    // What there was before goes on.
    instance.renew("demo").unwrap();
}
