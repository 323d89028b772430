//! Logins that know no client and no authorization server beforehand: by the address of an MCP server
//! (Model Context Protocol, revision 2026-07-28), and by dynamic registration (RFC 7591).

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use authd_e2e::{
    Instance, PATIENCE, PendingLogin, Process, binaries, mcp::McpServer, provider::Provider, until,
};
use authd_testkit::{FakeServer, Options};
use serde_json::{Value, json};

/// Short, so that tokens end while a test watches; a call of a tool takes seconds on a busy machine.
const SHORT: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(600);

/// A provider that registers whoever comes and issues tokens for any resource of this machine.
fn provider(lifetime: Duration, more: &Value) -> Provider {
    let mut settings = json!({ "registration": "open", "loopbackResources": true });
    for (name, value) in more.as_object().into_iter().flatten() {
        settings[name] = value.clone();
    }
    Provider::start_with(lifetime, &settings)
}

fn login(instance: &Instance, arguments: &[&str]) -> Command {
    let mut command = instance.command(binaries::authctl());
    command
        .args(["login", "--no-browser", "--json"])
        .args(arguments);
    command
}

/// A login that succeeds; its last line.
fn log_in(instance: &Instance, arguments: &[&str]) -> Value {
    let mut pending = PendingLogin::start(&mut login(instance, arguments));
    assert_eq!(pending.browse().status, 200, "the callback's page");
    let (last, finished) = pending.finish();
    assert_eq!(last["event"], "done", "{finished:?}");
    last
}

/// A login that does not begin; its code, message and hint.
fn refused(instance: &Instance, arguments: &[&str]) -> (String, String, String) {
    let (last, finished) = PendingLogin::start(&mut login(instance, arguments)).finish();
    assert_eq!(last["event"], "error", "{finished:?}");
    let text = |name: &str| last[name].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"), text("hint"))
}

fn token(instance: &Instance, account: &str) -> String {
    let printed = instance.authctl(&["token", account, "--min-ttl", "15s"]);
    assert_eq!(printed.code(), 0, "{printed:?}");
    printed.line().to_owned()
}

#[test]
fn an_mcp_server_is_logged_in_to_by_its_address_alone_and_called_also_after_expiry() {
    let provider = provider(SHORT, &json!({}));
    let server = McpServer::start(&provider, &json!({}));
    let instance = Instance::new();
    let daemon = instance.start_daemon();

    let done = log_in(&instance, &["--resource", server.url()]);
    let account = done["account"].as_str().unwrap();
    assert_eq!(account, "127.0.0.1", "named after the server");
    assert_eq!(done["issuer"], provider.issuer());
    assert_eq!(done["scopes"], json!(["api:read"]));
    assert_eq!(done["refused_scopes"], json!([]));
    let info = instance.account(account);
    assert_eq!(info.resource.as_deref(), Some(server.url()));

    let first = token(&instance, account);
    assert_eq!(provider.introspect(&first)["aud"], server.url());
    let answer = server.call("whoami", &first);
    assert_eq!(answer["result"]["client_id"], info.client_id.as_str());
    assert_eq!(answer["result"]["sub"], "alice");

    until("the token ends", || !provider.is_active(&first));
    assert_eq!(server.call("whoami", &first)["status"], 401);
    let second = token(&instance, account);
    assert_ne!(second, first);
    let answer = server.call("whoami", &second);
    assert_eq!(answer["result"]["scopes"], json!(["api:read"]));
    let ledger = provider.ledger();
    assert_eq!(ledger.exchanges("authorization_code"), 1);
    assert!(
        ledger.refreshes() >= 1,
        "it was renewed, not logged in to again"
    );

    // The same again is the same account, as the same client.
    let again = log_in(&instance, &["--resource", server.url()]);
    assert_eq!(again["account"], account);
    assert_eq!(instance.account(account).client_id, info.client_id);
    assert!(daemon.stop().success());
}

#[test]
fn stepping_up_asks_for_what_is_held_and_what_the_server_wants() {
    let provider = provider(LONG, &json!({}));
    let server = McpServer::start(&provider, &json!({}));
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    log_in(&instance, &["notes", "--resource", server.url()]);
    let client_id = instance.account("notes").client_id;

    let answer = server.call("write", &token(&instance, "notes"));
    assert_eq!(answer["status"], 403, "{answer}");
    let challenge = answer["challenge"].as_str().unwrap();
    let done = log_in(&instance, &["notes", "--challenge", challenge]);
    assert_eq!(done["scopes"], json!(["api:read", "api:write"]));

    let held = token(&instance, "notes");
    assert_eq!(server.call("write", &held)["result"]["written"], true);
    let scopes = &server.call("whoami", &held)["result"]["scopes"];
    assert_eq!(*scopes, json!(["api:read", "api:write"]));
    assert_eq!(instance.account("notes").client_id, client_id);
    // What came is renewable as before.
    assert_eq!(instance.authctl(&["renew", "notes"]).code(), 0);

    let (code, message, _) = refused(&instance, &["notes", "--challenge", "Basic realm=\"x\""]);
    assert_eq!(code, "bad_request", "{message}");
    assert!(daemon.stop().success());
}

#[test]
fn a_client_registers_itself_and_is_used_again_at_that_issuer_and_at_no_other() {
    let (one, other) = (provider(LONG, &json!({})), provider(LONG, &json!({})));
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let more = [
        "--param",
        "prompt=consent",
        "--scope",
        "openid offline_access",
    ];
    let at = |provider: &Provider, further: &[&str]| {
        let to = ["work", "--issuer", provider.issuer()];
        log_in(&instance, &[&to[..], &more, further].concat());
        let info = instance.account("work");
        assert_eq!(info.issuer, provider.issuer());
        info.client_id
    };
    let first = at(&one, &[]);
    assert_eq!(instance.authctl(&["renew", "work"]).code(), 0);
    assert_eq!(at(&one, &[]), first, "by its issuer");
    log_in(&instance, &[&["work"][..], &more].concat());
    assert_eq!(instance.account("work").client_id, first, "by its name");

    let elsewhere = at(&other, &["--replace-subject"]);
    assert_ne!(elsewhere, first);
    let held = token(&instance, "work");
    assert_eq!(other.introspect(&held)["client_id"], elsewhere.as_str());
    assert!(daemon.stop().success());
}

#[test]
fn the_document_that_describes_the_client_comes_before_registration() {
    const DOCUMENT: &str = "https://client.example.test/authd.json";
    let document = json!({
        "client_id": DOCUMENT,
        "client_name": "authd",
        "application_type": "native",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    let provider = provider(
        LONG,
        &json!({ "clientIdMetadataDocuments": { DOCUMENT: document } }),
    );
    let server = McpServer::start(&provider, &json!({}));
    let instance = Instance::new();
    instance.configure(&format!(
        "{}[login]\nclient_id_metadata_document = \"{DOCUMENT}\"\n",
        authd_e2e::driven::CONFIGURATION
    ));
    let daemon = instance.start_daemon();
    log_in(&instance, &["notes", "--resource", server.url()]);
    assert_eq!(instance.account("notes").client_id, DOCUMENT);
    let answer = server.call("whoami", &token(&instance, "notes"));
    assert_eq!(answer["result"]["client_id"], DOCUMENT);
    assert!(daemon.stop().success());
}

#[test]
fn a_provider_that_registers_nobody_is_told_with_what_to_give() {
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    for (registration, why) in [
        ("invalid_redirect_uri", "invalid_redirect_uri"),
        ("invalid_client_metadata", "invalid_client_metadata"),
        ("closed", "registers none by itself"),
    ] {
        let provider = provider(LONG, &json!({ "registration": registration }));
        let server = McpServer::start(&provider, &json!({}));
        for arguments in [
            ["work", "--issuer", provider.issuer()],
            ["work", "--resource", server.url()],
        ] {
            let (code, message, hint) = refused(&instance, &arguments);
            assert_eq!(code, "client_id_required", "{arguments:?}: {message}");
            assert!(message.contains(why), "{arguments:?}: {message}");
            assert!(hint.contains("--client-id"), "{hint}");
        }
        // A secret goes nowhere just because the resource says so.
        let secret = ["work", "--resource", server.url(), "--client-id", "public"];
        let mut secret = login(
            &instance,
            &[&secret[..], &["--client-secret-stdin"]].concat(),
        );
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(b"hush").expect("a secret");
        drop(writer);
        let refused = Process::capture_reading(&mut secret, Stdio::from(reader)).finish(PATIENCE);
        assert_eq!(refused.code(), 2, "{refused:?}");
        let meant = format!("give --issuer {} too", provider.issuer());
        assert!(refused.stderr.contains(&meant), "{refused:?}");
        // With an id of a person's own it works.
        let own = ["work", "--resource", server.url(), "--client-id", "public"];
        log_in(&instance, &own);
        assert_eq!(instance.account("work").client_id, "public");
        assert_eq!(instance.authctl(&["forget", "work"]).code(), 0);
    }
    assert!(daemon.stop().success());
}

#[test]
fn metadata_of_another_resource_and_of_another_issuer_is_refused() {
    let provider = provider(LONG, &json!({}));
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let of = |metadata: Value| {
        let server = McpServer::start(&provider, &json!({ "metadata": metadata }));
        refused(&instance, &["work", "--resource", server.url()])
    };
    let (code, message, hint) = of(json!({ "resource": "https://mcp.other.example/mcp" }));
    assert_eq!(code, "discovery_failed", "{message}");
    assert!(
        message.contains("https://mcp.other.example/mcp"),
        "{message}"
    );
    assert!(hint.contains("do not log in there"), "{hint}");

    let foreign = FakeServer::start(Options::default()).unwrap();
    foreign.update(|settings| {
        let issuer = json!("https://honest.example");
        settings.metadata.insert("issuer".into(), issuer);
    });
    let (code, message, _) = of(json!({ "authorization_servers": [foreign.issuer()] }));
    assert_eq!(code, "discovery_failed", "{message}");
    assert!(message.contains("https://honest.example"), "{message}");

    let (code, message, _) = of(json!({ "authorization_servers": ["http://as.example"] }));
    assert_eq!(code, "discovery_failed", "{message}");
    let none: Vec<String> = Vec::new();
    let (code, message, _) = of(json!({ "authorization_servers": none }));
    assert_eq!(code, "discovery_failed", "{message}");
    assert!(instance.status().accounts == 0, "nothing was kept");
    assert!(daemon.stop().success());
}
