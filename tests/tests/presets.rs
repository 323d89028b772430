//! Providers by name: those of the configuration, with variables, and those that come with the daemon.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::PermissionsExt as _};

use authd_e2e::{Instance, PATIENCE, api, binaries, login::PendingLogin};
use authd_proto::{
    ErrorCode,
    provider::{ProviderList, ProviderOrigin, ProviderShow},
    request::{DaemonReload, Flow, LoginStart},
    response::Expiry,
};
use authd_testkit::{Client, ClientAuthentication, Endpoint, ExpiresIn, FakeServer, Options};
use serde_json::json;

/// A provider whose address is the server's, and which says little of its tokens.
fn lab(server: &FakeServer, more: &str) -> String {
    let host = server.issuer().strip_prefix("http://").unwrap();
    format!(
        // Introspection would tell the true life of a token.
        "[renewal]\n\
         validate_every_secs = 0\n\
         [providers.lab]\n\
         title = \"The lab\"\n\
         issuer = \"http://{{host}}\"\n\
         client_id = \"native\"\n\
         scopes = [\"openid\"]\n\
         offline_scopes = [\"offline_access\"]\n\
         lifetime_secs = 5000\n\
         rotation = \"rotates\"\n\
         leeway_secs = 7\n\
         absolute_limit_secs = 864000\n\
         variables.host = {{ about = \"the lab's host\", default = \"{host}\" }}\n\
         params = {{ access_type = \"offline\" }}\n{more}"
    )
}

fn log_in(instance: &Instance, arguments: &[&str]) -> serde_json::Value {
    let mut command = instance.command(binaries::authctl());
    command
        .args(["login", "--json", "--no-browser"])
        .args(arguments);
    let mut pending = PendingLogin::start(&mut command);
    assert!(
        pending.url().contains("access_type=offline"),
        "{}",
        pending.url()
    );
    pending.browse();
    let (last, finished) = pending.finish();
    assert_eq!(last["event"], "done", "{finished:?}");
    last
}

#[test]
fn a_login_by_the_name_of_a_configured_provider_is_renewed_by_its_profile() {
    let server = FakeServer::start(Options::default()).unwrap();
    server.update(|settings| settings.expires_in = ExpiresIn::Missing);
    let instance = Instance::new();
    instance.configure(&lab(&server, ""));
    let _daemon = instance.start_daemon();
    // The account is named after the provider.
    let done = log_in(&instance, &["--provider", "lab"]);
    assert_eq!(done["account"], "lab");
    assert_eq!(done["issuer"], server.issuer());
    let token = instance.authctl(&["token", "lab"]);
    assert_eq!(api::ping(&server, token.line()), 200);

    let account = instance.account("lab");
    assert_eq!(account.profile.as_deref(), Some("lab"));
    assert_eq!(account.client_id, "native");
    assert_eq!(account.expiry, Expiry::Assumed);
    let left = account.ttl_secs.unwrap();
    assert!((4900..=5000).contains(&left), "{left}");
    assert_eq!(account.login_ends_at, Some(account.created_at + 864_000));
    let status: serde_json::Value =
        serde_json::from_str(&instance.authctl(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["accounts"][0]["profile"], "lab");

    // A change of the entry counts from the next login on, which needs no arguments and still has the
    // provider's parameters.
    instance.configure(&lab(&server, "").replace("5000", "4000"));
    let changed = instance.call(&DaemonReload {}).unwrap().changed;
    assert_eq!(changed, ["providers"]);
    log_in(&instance, &["lab"]);
    let left = instance.account("lab").ttl_secs.unwrap();
    assert!((3900..=4000).contains(&left), "{left}");
}

#[test]
fn a_variable_says_where_and_an_issuer_is_recognised() {
    let server = FakeServer::start(Options::default()).unwrap();
    let host = server.issuer().strip_prefix("http://").unwrap().to_owned();
    let instance = Instance::new();
    let entry = lab(&server, "").replace(
        &format!("default = \"{host}\""),
        "default = \"127.0.0.1:9\"",
    );
    instance.configure(&format!(
        "{entry}\n[providers.lab-too]\nextends = \"lab\"\nvariables.host.default = \"{host}\"\n"
    ));
    let _daemon = instance.start_daemon();
    log_in(
        &instance,
        &[
            "work",
            "--provider",
            "lab",
            "--set",
            &format!("host={host}"),
        ],
    );
    assert_eq!(instance.account("work").issuer, server.issuer());
    // Logged in by the issuer alone, the account has the profile of the provider all the same.
    instance.login(&server, "plain");
    let plain = instance.account("plain");
    assert_eq!(plain.profile.as_deref(), Some("lab-too"));
}

#[test]
fn what_is_missing_or_mistaken_is_said_before_anybody_is_asked() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    instance.configure(
        "[providers.lab]\nissuer = \"http://{host}\"\nvariables.host.about = \"the host\"\n",
    );
    let _daemon = instance.start_daemon();
    let refused = |provider: &str, variable: Option<(&str, &str)>| {
        let start = LoginStart {
            account: "new".to_owned(),
            provider: Some(provider.to_owned()),
            variables: variable
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            flow: Flow::Browser,
            ..LoginStart::default()
        };
        let error = instance.call(&start).unwrap_err();
        let expected = match provider {
            "github" => ErrorCode::ClientIdRequired,
            _ => ErrorCode::BadRequest,
        };
        assert_eq!(error.code, expected, "{error}");
        format!(
            "{}: {}",
            error.message,
            error.hint.clone().unwrap_or_default()
        )
    };
    assert_eq!(
        refused("gitlub", None),
        "there is no provider 'gitlub': did you mean 'gitlab'? 'authctl provider list' shows all"
    );
    assert_eq!(
        refused("lab", None),
        "'lab' needs to know its host: the host: give --set host=VALUE"
    );
    assert_eq!(
        refused("lab", Some(("hots", "x"))),
        "'lab' has no variable 'hots': it has: host"
    );
    assert!(refused("lab", Some(("host", "https://x"))).contains("without https://"));
    let no_client = refused("github", None);
    for part in [
        "'github' needs a client id of your own",
        "https://github.com/settings/applications/new",
        "authctl provider show github",
        "docs/providers.md#github",
    ] {
        assert!(no_client.contains(part), "{no_client}");
    }
    assert_eq!(server.counts().requests(Endpoint::Token), 0);
}

#[test]
fn a_secret_that_the_provider_wants_is_asked_for_before_the_browser_opens_whatever_led_there() {
    let server = FakeServer::start(Options::default()).unwrap();
    // No codes for devices: then a login that tries those first ends in the browser.
    let none = ("device_authorization_endpoint".to_owned(), json!(null));
    server.update(|settings| settings.metadata.extend([none]));
    let instance = Instance::new();
    instance.configure(&lab(&server, "client_auth = [\"client_secret_basic\"]\n"));
    let _daemon = instance.start_daemon();
    for flow in [Flow::Browser, Flow::DeviceOrBrowser] {
        let start = LoginStart {
            account: "lab".to_owned(),
            provider: Some("lab".to_owned()),
            flow,
            ..LoginStart::default()
        };
        let error = instance.call(&start).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadRequest);
        assert!(
            error
                .message
                .contains("'lab' wants a client to prove itself by a secret"),
            "{error}"
        );
    }
    assert_eq!(server.counts().requests(Endpoint::Token), 0);
}

#[test]
fn a_secret_in_a_file_goes_to_a_provider_by_name_and_to_nobody_else() {
    let server = FakeServer::start(Options {
        clients: vec![
            Client::native("native")
                .authenticated_by(ClientAuthentication::Basic("hush".to_owned())),
        ],
        ..Options::default()
    })
    .unwrap();
    let instance = Instance::new();
    instance.configure(&lab(&server, ""));
    let _daemon = instance.start_daemon();
    let secret = instance.dir().join("home").join("secret");
    fs::write(&secret, "hush\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let secret = secret.to_str().unwrap();
    let arguments = [
        "--provider",
        "lab",
        "--client-id",
        "native",
        "--client-secret-file",
        secret,
    ];
    log_in(&instance, &arguments);
    let written = fs::read_to_string(instance.config_dir().join("clients/lab.toml")).unwrap();
    assert!(
        written.contains(&format!("issuer = \"{}\"", server.issuer())),
        "{written}"
    );
    instance.renew("lab").unwrap();
    // The name may come to mean another place; the secret does not go there.
    let other = FakeServer::start(Options::default()).unwrap();
    instance.configure(&lab(&other, ""));
    instance.call(&DaemonReload {}).unwrap();
    let start = LoginStart {
        account: "lab".to_owned(),
        provider: Some("lab".to_owned()),
        client: Some("lab".to_owned()),
        ..LoginStart::default()
    };
    let error = instance.call(&start).unwrap_err();
    assert!(
        error.message.contains("is for another provider or client"),
        "{error}"
    );
}

#[test]
fn providers_are_listed_in_pages_and_shown_without_a_secret() {
    let instance = Instance::new();
    instance.configure("[providers.gitlab]\nlifetime_secs = 60\n");
    let _daemon = instance.start_daemon();
    let mut names = Vec::new();
    let mut list = ProviderList {
        limit: Some(5),
        cursor: None,
    };
    loop {
        let page = instance.call(&list).unwrap();
        assert!(page.providers.len() <= 5);
        names.extend(page.providers.into_iter().map(|one| (one.name, one.origin)));
        list.cursor = page.cursor;
        if list.cursor.is_none() {
            break;
        }
    }
    assert!(names.len() >= 20, "{names:?}");
    assert!(names.is_sorted_by(|one, next| one.0 < next.0));
    let own: Vec<_> = names
        .iter()
        .filter(|(_, origin)| *origin == ProviderOrigin::Config)
        .collect();
    assert_eq!(own, [&("gitlab".to_owned(), ProviderOrigin::Config)]);
    let provider = "gitlab".to_owned();
    let shown = instance.call(&ProviderShow { provider }).unwrap();
    let lifetime = shown
        .facts
        .iter()
        .find(|fact| fact.fact == "lifetime")
        .unwrap();
    assert_eq!(lifetime.value.as_deref(), Some("60 seconds"));
    let provider = "nowhere".to_owned();
    let error = instance.call(&ProviderShow { provider }).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadRequest);

    let listed = instance
        .start_authctl(&["provider", "list"])
        .finish(PATIENCE);
    assert_eq!(listed.code(), 0, "{listed:?}");
    assert!(listed.stdout.lines().all(|line| line.chars().count() <= 80));
}
