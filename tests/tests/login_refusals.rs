//! Logins that cannot be: metadata that is not to be believed, a client that cannot prove itself, scopes that
//! are not given. Each ends with a sentence, leaves no account, and works once it is mended.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use authd_e2e::{Instance, PendingLogin, binaries};
use authd_testkit::{Client, ClientAuthentication, Endpoint, FakeServer, Fault, Options};
use serde_json::{Value, json};

fn started(clients: Vec<Client>) -> (FakeServer, Instance, authd_e2e::Daemon) {
    let server = FakeServer::start(Options {
        clients,
        ..Options::default()
    })
    .unwrap();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    (server, instance, daemon)
}

/// What a login ends with that never comes to a page.
fn refused(instance: &Instance, server: &FakeServer) -> Value {
    let pending = instance.begin_login("demo", server.issuer(), &[]);
    let (last, finished) = pending.finish();
    assert_eq!(last["event"], "error", "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    assert!(finished.stderr.len() < 500, "nothing is echoed at length");
    assert_eq!(instance.authctl(&["list"]).line(), "", "no account is left");
    assert_eq!(server.counts().requests(Endpoint::Token), 0);
    last
}

#[test]
fn metadata_that_is_not_to_be_believed_is_refused_with_a_sentence() {
    let large = "x".repeat(10 * 1024 * 1024);
    let spoilt = [
        (
            "issuer",
            json!("https://idp.example"),
            "discovery_failed",
            "https://idp.example",
        ),
        (
            "token_endpoint",
            json!("http://idp.example/token"),
            "discovery_failed",
            "token_endpoint is refused",
        ),
        (
            "authorization_endpoint",
            json!("http://idp.example/authorize"),
            "discovery_failed",
            "authorization_endpoint is refused",
        ),
        (
            "token_endpoint",
            json!(null),
            "discovery_failed",
            "token_endpoint is missing",
        ),
        (
            "service_documentation",
            json!(large),
            "unavailable",
            "too large",
        ),
    ];
    for (member, value, code, words) in spoilt {
        let (server, instance, _daemon) = started(vec![Client::native("native")]);
        server.update(|settings| {
            settings.metadata.insert(member.to_owned(), value);
        });
        let last = refused(&instance, &server);
        assert_eq!(last["code"], code, "{member}: {last}");
        let message = last["message"].as_str().unwrap();
        assert!(message.contains(words), "{member}: {message}");
        server.update(|settings| settings.metadata.clear());
        instance.login(&server, "demo");
    }
}

#[test]
fn metadata_is_not_fetched_from_another_host_than_the_issuers() {
    let (server, instance, _daemon) = started(vec![Client::native("native")]);
    let other = FakeServer::start(Options::default()).unwrap();
    server.fault_always(
        Endpoint::Discovery,
        Fault::Redirect {
            status: 302,
            location: other.url(Endpoint::Discovery),
        },
    );
    let last = refused(&instance, &server);
    assert_eq!(last["code"], "discovery_failed", "{last}");
    assert_eq!(
        other.counts().requests(Endpoint::Discovery),
        0,
        "it was not asked"
    );
    server.clear_faults(Endpoint::Discovery);
    instance.login(&server, "demo");
}

#[test]
fn a_wrong_client_secret_is_told_at_the_end_of_the_login_and_the_next_try_counts() {
    let secret = ClientAuthentication::Basic("right".to_owned());
    let (server, instance, _daemon) =
        started(vec![Client::native("native").authenticated_by(secret)]);
    let log_in = |given: &str| {
        let mut command = instance.command(binaries::authctl());
        command
            .args(["login", "demo", "--no-browser", "--json"])
            .args(["--issuer", server.issuer(), "--client-id", "native"])
            .arg("--client-secret-stdin");
        let mut pending = PendingLogin::start_with_input(&mut command, given);
        assert_eq!(pending.browse().status, 200);
        pending.finish()
    };
    let (last, finished) = log_in("wrong");
    assert_eq!(
        (last["code"].as_str(), finished.code()),
        (Some("login_failed"), 1)
    );
    let told = &finished.stderr;
    assert!(told.contains("invalid_client"), "{told}");
    assert!(told.contains("check the client id, its secret"), "{told}");
    assert!(!told.contains("wrong") && !told.contains("right"), "{told}");
    assert_eq!(instance.authctl(&["list"]).line(), "", "no account is left");
    let (last, finished) = log_in("right");
    assert_eq!(last["event"], "done", "{finished:?}");
}

#[test]
fn scopes_that_the_provider_does_not_give_are_told_and_not_promised() {
    let (server, instance, _daemon) = started(vec![Client::native("native")]);
    server.update(|settings| {
        settings.grant_only = Some(vec!["openid".to_owned(), "offline_access".to_owned()]);
    });
    let done = instance.login(&server, "demo");
    assert_eq!(done["refused_scopes"], json!(["api"]));
    let refused = instance.authctl(&["token", "demo", "--scope", "api"]);
    assert_eq!(refused.code(), 4, "{refused:?}");
    assert!(refused.stderr.contains("not granted: api"), "{refused:?}");
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
}
