//! Clients that prove themselves by keys, secrets from elsewhere, and logins that need no person: the
//! real daemon and command at the certified provider and at the strict fake.

#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use authd_e2e::{Instance, PATIENCE, PendingLogin, provider::Provider};
use authd_proto::response::FlagName;
use authd_testkit::{Client, ClientAuthentication, FakeServer, Options};
use serde_json::{Value, json};

const LIFETIME: Duration = Duration::from_secs(5);
/// Long enough that nothing is due while a test looks.
const LONG: Duration = Duration::from_secs(600);

/// A file of the instance's own, with these permissions.
fn file(instance: &Instance, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = instance.dir().join(name);
    fs::write(&path, text).expect("a file of ours");
    let mode = fs::Permissions::from_mode(mode);
    fs::set_permissions(&path, mode).expect("a file of ours");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn client_file(instance: &Instance, account: &str) -> String {
    let path = instance
        .config_dir()
        .join(format!("clients/{account}.toml"));
    fs::read_to_string(path).expect("the client's file")
}

#[test]
fn a_client_proves_itself_by_its_key_at_login_at_renewals_and_after_a_restart() {
    let provider = Provider::start(LONG);
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let key = file(&instance, "client.pem", Provider::CLIENT_KEY, 0o600);
    let more = [
        "--client-key-file",
        text(&key),
        "--scope",
        "openid offline_access",
    ];
    let mut pending = PendingLogin::start(&mut provider.login(&instance, "demo", "key", &more));
    assert_eq!(pending.browse().status, 200);
    let (done, finished) = pending.finish();
    assert_eq!(done["event"], "done", "{finished:?}");
    let first = instance.authctl(&["token", "demo"]);
    assert_eq!(provider.introspect(first.line())["client_id"], "key");

    let renewed = instance.authctl(&["renew", "demo"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");
    assert_eq!(provider.ledger().refreshes(), 1);
    assert!(daemon.stop().success());

    let _daemon = instance.start_daemon();
    let renewed = instance.authctl(&["renew", "demo"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");
    assert_eq!(provider.ledger().refreshes(), 2);
    assert_eq!(provider.ledger().presented_twice, 0);

    // Where the key is stands in the configuration; the key itself nowhere else.
    let written = client_file(&instance, "demo");
    assert!(
        written.contains("key_file = ") && written.contains(provider.issuer()),
        "{written}"
    );
    assert!(!written.contains("PRIVATE KEY"), "{written}");

    // Logging in again needs no word of it.
    let mut again = instance.command(authd_e2e::binaries::authctl());
    again.args([
        "login",
        "demo",
        "--no-browser",
        "--json",
        "--param",
        "prompt=consent",
    ]);
    let mut pending = PendingLogin::start(&mut again);
    assert_eq!(pending.browse().status, 200);
    assert_eq!(pending.finish().0["event"], "done");
}

#[test]
fn a_service_logs_in_by_its_own_credentials_and_is_renewed_without_a_refresh_token() {
    let provider = Provider::start(LIFETIME);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let key = file(&instance, "client.pem", Provider::CLIENT_KEY, 0o600);
    let issuer = provider.issuer();
    let logged_in = instance.authctl(&[
        "login",
        "ci",
        "--json",
        "--issuer",
        issuer,
        "--client-id",
        "service-key",
        "--client-credentials",
        "--client-key-file",
        text(&key),
    ]);
    assert_eq!(logged_in.code(), 0, "{logged_in:?}");
    let token = instance.authctl(&["token", "ci"]);
    let known = provider.introspect(token.line());
    assert_eq!(
        (&known["active"], &known["client_id"]),
        (&json!(true), &json!("service-key"))
    );

    let account = instance
        .watch()
        .wait_for_account("ci", PATIENCE, |account| account.generation > 2);
    assert!(account.flags.is_empty(), "{:?}", account.flags);
    assert!(provider.ledger().client_credentials() > 2);
    let next = instance.authctl(&["token", "ci"]);
    assert_eq!(provider.introspect(next.line())["active"], true);
    assert_ne!(token.line(), next.line());
    // Logging in again needs no word of it.
    let again = instance.authctl(&["login", "ci"]);
    assert_eq!(again.code(), 0, "{again:?}");
    let status = instance.authctl(&["status"]);
    assert_eq!(status.code(), 0, "{status:?}");
}

#[test]
fn a_login_that_fails_leaves_the_clients_file_of_the_one_that_works() {
    let provider = Provider::start(LONG);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let login = |key: &Path| {
        let issuer = ["--issuer", provider.issuer(), "--client-id", "service-key"];
        let key = ["--client-credentials", "--client-key-file", text(key)];
        instance.authctl(&[&["login", "ci"][..], &issuer, &key].concat())
    };
    let files = || {
        let clients = fs::read_dir(instance.config_dir().join("clients")).expect("its folder");
        let mut names: Vec<_> = clients
            .map(|entry| entry.expect("a file").file_name())
            .collect();
        names.sort();
        names
    };
    let key = file(&instance, "client.pem", Provider::CLIENT_KEY, 0o600);
    assert_eq!(login(&key).code(), 0);
    let written = client_file(&instance, "ci");

    let unknown = include_str!("../../crates/authd-oauth/src/jws/keys/p256-pkcs8.pem");
    let refused = login(&file(&instance, "unknown.pem", unknown, 0o600));
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert_eq!(files(), ["ci.toml"]);
    assert_eq!(client_file(&instance, "ci"), written);
    let renewed = instance.authctl(&["renew", "ci"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");

    // One that succeeds takes the next name; the one before may be somebody's own.
    let moved = login(&file(&instance, "moved.pem", Provider::CLIENT_KEY, 0o600));
    assert_eq!(moved.code(), 0, "{moved:?}");
    assert!(moved.stderr.contains("ci-2.toml"), "{moved:?}");
    assert_eq!(files(), ["ci-2.toml", "ci.toml"]);
    assert_eq!(client_file(&instance, "ci"), written);
    fs::remove_file(key).expect("a file of ours");
    let renewed = instance.authctl(&["renew", "ci"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");
}

#[test]
fn a_service_has_tokens_for_two_audiences_side_by_side_with_one_exchange_each() {
    let provider = Provider::start(LONG);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let [one, two] = Provider::RESOURCES;
    let logged_in = instance.authctl(&[
        "login",
        "ci",
        "--issuer",
        provider.issuer(),
        "--client-id",
        "service",
        "--client-credentials",
        "--client-secret-command",
        "printf %s service-secret-of-the-tests",
        "--scope",
        "api:read",
        "--resource",
        one,
    ]);
    assert_eq!(logged_in.code(), 0, "{logged_in:?}");
    let ask = |resource| instance.authctl(&["token", "ci", "--resource", resource]);
    for (resource, exchanges) in [(one, 1), (two, 2), (one, 2), (two, 2)] {
        let token = ask(resource);
        assert_eq!(token.code(), 0, "{token:?}");
        let known = provider.introspect(token.line());
        assert_eq!(known["aud"], resource);
        assert_eq!(known["scope"], "api:read");
        assert_eq!(provider.ledger().client_credentials(), exchanges);
    }
    assert_eq!(instance.account("ci").leases.len(), 2);
    let written = client_file(&instance, "ci");
    assert!(
        written.contains(r#"secret_command = ["printf", "%s", "service-secret-of-the-tests"]"#),
        "{written}"
    );
}

#[test]
fn a_secret_that_turns_wrong_is_told_loses_nothing_and_counts_again_when_it_is_right() {
    let provider = Provider::start(LONG);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let secret = file(&instance, "secret", "basic-secret-of-the-tests\n", 0o600);
    let more = [
        "--client-secret-file",
        text(&secret),
        "--scope",
        "openid offline_access",
    ];
    let mut pending = PendingLogin::start(&mut provider.login(&instance, "demo", "basic", &more));
    assert_eq!(pending.browse().status, 200);
    assert_eq!(pending.finish().0["event"], "done");
    let held = instance.authctl(&["token", "demo"]);

    fs::write(&secret, "canary-wrong\n").unwrap();
    let refused = instance.authctl(&["renew", "demo"]);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(
        refused.stderr.contains("invalid_client"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("canary"), "{}", refused.stderr);
    assert_eq!(instance.authctl(&["token", "demo"]).line(), held.line());

    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = instance.authctl(&["renew", "demo"]);
    let chmod = format!("chmod 600 {}", text(&secret));
    assert!(refused.stderr.contains(&chmod), "{}", refused.stderr);
    fs::remove_file(&secret).unwrap();
    let refused = instance.authctl(&["renew", "demo"]);
    assert!(
        refused.stderr.contains("cannot be read"),
        "{}",
        refused.stderr
    );
    assert_eq!(instance.authctl(&["token", "demo"]).line(), held.line());

    file(&instance, "secret", "basic-secret-of-the-tests\n", 0o600);
    let renewed = instance.authctl(&["renew", "demo"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");
    assert_eq!(
        provider.ledger().refreshes(),
        1,
        "it was never spent before"
    );
}

#[test]
fn what_is_wrong_with_a_credential_is_said_before_a_browser_opens() {
    let provider = Provider::start(LONG);
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let open = file(&instance, "open", "canary-open", 0o644);
    let password = file(&instance, "password", "canary-password", 0o600);
    let absent = instance.dir().join("absent");
    let chmod = format!("chmod 600 {}", text(&open));
    for (options, words) in [
        (["--client-secret-file", text(&open)], chmod.as_str()),
        (["--client-key-file", text(&absent)], "cannot be read"),
        (
            ["--client-key-file", text(&password)],
            "there is no private key in it",
        ),
        (
            ["--client-secret-command", "sh -c 'echo canary; exit 7'"],
            "the secret command \"sh\" ended with exit status: 7",
        ),
        (["--client-secret-command", "true"], "printed nothing"),
        (
            ["--client-secret-command", "head -c 10000000 /dev/zero"],
            "printed more than",
        ),
        (
            ["--client", "nobody"],
            "there is no client \"nobody\" in the configuration",
        ),
    ] {
        let mut login = provider.login(&instance, "demo", "basic", &options);
        let (error, finished) = PendingLogin::start(&mut login).finish();
        assert_eq!(error["event"], "error", "{finished:?}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        assert!(!message.contains("canary"), "{message}");
        assert_eq!(finished.code(), 1, "{finished:?}");
    }
    assert!(!instance.log().contains("canary"), "the log has it");
}

/// A fake provider whose one client is known by the key.
fn fake(client: Client) -> FakeServer {
    let server = FakeServer::start(Options {
        clients: vec![client],
        ..Options::default()
    })
    .expect("a fake provider");
    server.update(|settings| settings.access_token_ttl = LONG);
    server
}

fn by_secret(secret: &str) -> Client {
    Client::native("service").authenticated_by(ClientAuthentication::Basic(secret.to_owned()))
}

#[test]
fn a_secret_that_was_rotated_at_the_provider_is_fetched_again_before_anybody_hears_of_it() {
    let server = fake(by_secret("first"));
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let secret = file(&instance, "secret", "first\n", 0o600);
    let command = format!("cat {}", text(&secret));
    let logged_in = instance.authctl(&[
        "login",
        "ci",
        "--issuer",
        server.issuer(),
        "--client-id",
        "service",
        "--client-credentials",
        "--client-secret-command",
        &command,
    ]);
    assert_eq!(logged_in.code(), 0, "{logged_in:?}");

    server.register(by_secret("second"));
    fs::write(&secret, "second\n").unwrap();
    let renewed = instance.authctl(&["renew", "ci"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");
    let counts = server.ledger().counts;
    assert_eq!(counts.exchanges["client_credentials"], 2);
    assert_eq!(
        counts.token_errors["invalid_client"], 1,
        "one try with the old"
    );
    let account = instance.account("ci");
    assert!(account.flags.is_empty(), "{:?}", account.flags);

    // What has not changed is not sent a second time.
    server.register(by_secret("third"));
    let refused = instance.authctl(&["renew", "ci"]);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert_eq!(server.ledger().counts.token_errors["invalid_client"], 2);
    let flags = instance.account("ci").flags;
    assert!(
        flags
            .iter()
            .any(|flag| flag.flag == FlagName::Misconfigured),
        "{flags:?}"
    );
}

/// The public half of the tests' key, as a provider is given it.
fn jwk() -> Value {
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "qyTHbHPq4valZZocuuaNlvmo1A3UxDtDJG94QMqMjgU",
        "y": "3V_Hzs8pGo83VSZkdUOqPcel8FmOACFHG9zUUfEK6qI",
    })
}

#[test]
fn a_service_account_logs_in_by_its_key_file_kept_in_its_place_or_in_the_store() {
    let account = "bot@project.example";
    let server = fake(Client::native(account).with_jwk(jwk()));
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let token_uri = format!("{}/token", server.issuer());
    let key = json!({
        "type": "service_account", "client_email": account, "private_key_id": "k1",
        "private_key": Provider::CLIENT_KEY, "token_uri": token_uri,
    });
    let key = file(&instance, "key.json", &key.to_string(), 0o600);
    let login = |name: &str, more: &[&str]| {
        let options = [
            "login",
            name,
            "--scope",
            "api:read",
            "--service-account-file",
            text(&key),
        ];
        let logged_in = instance.authctl(&[&options[..], more].concat());
        assert_eq!(logged_in.code(), 0, "{logged_in:?}");
    };
    login("placed", &[]);
    login("stored", &["--store-key", "--subject", "jane@example.com"]);
    let subjects: Vec<_> = server
        .ledger()
        .families
        .iter()
        .map(|family| (family.subject.clone(), family.scopes.clone()))
        .collect();
    let scopes = vec!["api:read".to_owned()];
    assert_eq!(
        subjects,
        [
            (account.to_owned(), scopes.clone()),
            ("jane@example.com".to_owned(), scopes)
        ]
    );
    assert!(client_file(&instance, "placed").contains("key_file = "));
    assert!(!instance.config_dir().join("clients/stored.toml").exists());
    assert!(daemon.stop().success());

    // The one with the key in the store needs the file no more.
    fs::remove_file(&key).unwrap();
    let _daemon = instance.start_daemon();
    let renewed = instance.authctl(&["renew", "stored"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");
    let lost = instance.authctl(&["renew", "placed"]);
    assert_eq!(lost.code(), 1, "{lost:?}");
    assert!(
        lost.stderr.contains("key.json cannot be read"),
        "{}",
        lost.stderr
    );
    let ledger = server.ledger();
    assert_eq!(ledger.families.last().unwrap().subject, "jane@example.com");
}

#[test]
fn tokens_for_further_resources_are_exchanged_for_where_the_client_is_configured_so() {
    let server = fake(by_secret("hush"));
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let clients = instance.config_dir().join("clients");
    fs::create_dir(&clients).unwrap();
    let configured = format!(
        "issuer = {:?}\nclient_id = \"service\"\nsecret_command = [\"echo\", \"hush\"]\n\
         further_resources = \"token_exchange\"\n",
        server.issuer()
    );
    fs::write(clients.join("exchanging.toml"), configured).unwrap();
    let mut pending = PendingLogin::start(
        instance
            .command(authd_e2e::binaries::authctl())
            .args([
                "login",
                "demo",
                "--no-browser",
                "--json",
                "--client",
                "exchanging",
            ])
            .args(["--scope", "openid offline_access"]),
    );
    assert_eq!(pending.browse().status, 200);
    let (done, finished) = pending.finish();
    assert_eq!(done["event"], "done", "{finished:?}");
    let resources = ["https://one.example.test/", "https://two.example.test/"];
    for resource in resources.into_iter().chain(resources) {
        let token = instance.authctl(&["token", "demo", "--resource", resource]);
        assert_eq!(token.code(), 0, "{token:?}");
    }
    let ledger = server.ledger();
    let exchanges = &ledger.counts.exchanges;
    let exchanged = exchanges["urn:ietf:params:oauth:grant-type:token-exchange"];
    assert_eq!((exchanged, exchanges.get("refresh_token")), (2, None));
    assert_eq!(instance.account("demo").leases.len(), 3);
    let renewed = instance.authctl(&["renew", "demo"]);
    assert_eq!(
        renewed.code(),
        0,
        "the refresh token is where it was: {renewed:?}"
    );
}
