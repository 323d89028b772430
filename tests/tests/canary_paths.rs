//! Every error path, at the most verbose log: no secret in a log, a file, a process, on the wire or in what a
//! command prints. What goes well, and the sweep's own control, are in `canary.rs`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    thread,
};

use authd_e2e::{
    Daemon, PATIENCE,
    provider::Provider,
    swept::{SECRET, Swept, says_nothing},
};
use authd_testkit::{Consent, DeviceConsent, Endpoint, Fault, Rule};
use serde_json::json;

/// Every way in which a token endpoint fails, and whether it had given a token by then.
fn faults() -> Vec<Rule> {
    // A provider that repeats what it was sent, as some do.
    let quoting = |code: &str| Fault::OauthError {
        status: 400,
        error: code.to_owned(),
        description: Some("the client sent something".to_owned()),
    };
    let mut rules: Vec<_> = [
        Fault::status(401),
        Fault::status(500),
        Fault::status(503),
        Fault::too_many_requests(0),
        Fault::EmptyBadRequest,
        Fault::HtmlForbidden,
        Fault::HtmlOk,
        Fault::MalformedJson,
        Fault::ErrorInAccessToken,
        Fault::EmptyAccessToken,
        Fault::NotOk {
            error: "token_expired".to_owned(),
        },
        Fault::ErrorMember {
            error: "invalid_grant".to_owned(),
        },
        Fault::FormEncodedError {
            error: "bad_refresh_token".to_owned(),
        },
        Fault::Redirect {
            status: 307,
            location: "http://127.0.0.1:1/elsewhere".to_owned(),
        },
        quoting("invalid_request"),
        quoting("invalid_client"),
        quoting("unauthorized_client"),
        quoting("invalid_scope"),
        quoting("unsupported_grant_type"),
        quoting("temporarily_unavailable"),
        quoting("interaction_required"),
        quoting("use_dpop_nonce"),
    ]
    .into_iter()
    .map(Fault::before_commit)
    .collect();
    // The tokens are in the answer, and the answer is broken.
    rules.extend([Fault::HalfBody, Fault::Drop, Fault::MalformedJson].map(Fault::after_commit));
    rules
}

/// Logs in, and again and again has it renewed into a fault.
#[test]
fn no_secret_shows_when_an_exchange_fails_in_whatever_way() {
    let place = Swept::new();
    let _daemon = place.instance.start_daemon();
    let options = ["--issuer", place.server.issuer(), "--client-id"];
    let confidential = [&options[..], &["confidential", "--client-secret-stdin"]].concat();
    for rule in faults() {
        // A fault may end the login; each is struck into a fresh one.
        place.server.clear_faults(Endpoint::Token);
        assert_eq!(place.login("demo", &confidential, true), "done");
        place.server.fault_next(Endpoint::Token, rule);
        place.authctl(&["renew", "demo", "--wait", "2s"]);
        for verb in ["list", "status", "events"] {
            place.authctl(&[verb]);
            place.authctl(&[verb, "--json"]);
        }
    }
    place.authctl(&["status", "demo"]);
    place.authctl(&["doctor"]);
    place.ask_everything();
    place.sweep("exchanges that failed");
}

#[test]
fn no_secret_shows_when_a_login_is_refused_or_given_up() {
    let place = Swept::new();
    let _daemon = place.instance.start_daemon();
    let native = place.native();
    for rule in faults() {
        let rule = rule.for_grant_type("authorization_code");
        place.server.fault_next(Endpoint::Token, rule);
        // Some of them pass, and the login goes on.
        let _ = place.login("demo", &native, true);
        place.server.clear_faults(Endpoint::Token);
    }
    place.server.update(|settings| {
        settings.consent = Consent::Deny("access_denied".to_owned());
        settings.device_consent = DeviceConsent::Deny;
    });
    assert_eq!(place.login("demo", &native, true), "denied");
    let device = [&native[..], &["--device"]].concat();
    assert_eq!(place.login("demo", &device, false), "denied");
    let short = [&native[..], &["--timeout", "1s"]].concat();
    assert_eq!(place.login("demo", &short, false), "login_expired");
    let begun = place
        .instance
        .begin_login("demo", place.server.issuer(), &[]);
    begun.interrupt();
    let (last, finished) = begun.finish();
    assert_eq!(last["code"], "login_cancelled");
    says_nothing(&finished);
    place.ask_everything();
    place.sweep("logins that came to nothing");
}

#[test]
fn no_secret_shows_when_what_proves_the_client_cannot_be_had_or_is_refused() {
    let place = Swept::new();
    let _daemon = place.instance.start_daemon();
    let secret = place.give("secret", SECRET);
    let key = place.give("client.pem", Provider::CLIENT_KEY);
    let half_a_key = place.give("half.pem", &Provider::CLIENT_KEY[..120]);
    let open = place.give("open", SECRET);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let account = json!({
        "type": "service_account", "client_email": "bot@project.example", "private_key_id": "k1",
        "private_key": Provider::CLIENT_KEY, "token_uri": format!("{}/token", place.server.issuer()),
    });
    let account = place.give("account.json", &account.to_string());
    let loud = place.give(
        "loud.sh",
        &format!("cat {secret} >&2\ncat {secret}\nexit 3\n"),
    );
    let wrong = place.give(
        "wrong.sh",
        &format!("cat {secret}\ncat {secret} >&2\necho more\n"),
    );
    let much = place.give("much.sh", &format!("while cat {secret}; do :; done\n"));
    for (option, value) in [
        ("--client-secret-command", format!("sh {loud}")),
        ("--client-secret-command", format!("sh {wrong}")),
        ("--client-secret-command", format!("sh {much}")),
        ("--client-secret-command", format!("{secret} --now")),
        ("--client-secret-file", String::from(&open)),
        // A key where a secret is to be, and the other way round.
        ("--client-secret-file", String::from(&key)),
        ("--client-key-file", String::from(&secret)),
        ("--client-key-file", String::from(&half_a_key)),
        ("--client-key-file", String::from(&key)),
    ] {
        let options = [&place.native()[..], &[option, &value]].concat();
        assert_ne!(place.login("demo", &options, true), "done", "{options:?}");
    }
    let with_certificate = ["--client-key-file", &key, "--client-cert-file", &half_a_key];
    let options = [&place.native()[..], &with_certificate].concat();
    assert_ne!(place.login("demo", &options, true), "done");
    let service = ["--scope", "api", "--service-account-file", &account];
    assert_ne!(place.login("bot", &service, false), "done");
    // The client's file is as wrong as it can be: the secret stands in it, where none is looked for.
    let clients = place.instance.config_dir().join("clients");
    let _ = fs::create_dir(&clients);
    let issuer = place.server.issuer();
    for line in [
        format!("secret = {SECRET:?}"),
        format!("secret_command = {SECRET:?}"),
        format!("secret_file = [{SECRET:?}]"),
        format!("secret_attributes = {SECRET:?}"),
        format!("secret_command = [{SECRET:?}"),
        SECRET.to_owned(),
    ] {
        let text = format!("issuer = {issuer:?}\n{line}\n");
        let path = clients.join("wrong.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let options = ["--client", "wrong", "--client-id", "native"];
        assert_ne!(place.login("demo", &options, false), "done", "{line}");
        fs::remove_file(&path).unwrap();
    }
    place.authctl(&["doctor"]);
    place.ask_everything();
    place.sweep("clients that could not prove themselves");
}

#[test]
fn no_secret_shows_when_the_configuration_holds_one_in_the_wrong_place() {
    let place = Swept::new();
    let daemon = place.instance.start_daemon();
    assert_eq!(place.login("demo", &place.native(), true), "done");
    let config = place.instance.config_dir().join("config.toml");
    let password = place.give("password", SECRET);
    for text in [
        "[network]\nproxy = \"http://me:canary-sweepmark@127.0.0.1:1\"\n".to_owned(),
        format!("[network]\nproxy_password = {SECRET:?}\n"),
        format!("[network]\nproxy_password_command = {SECRET:?}\n"),
        format!("allow_root = {SECRET:?}\n"),
        format!("[network]\nrequest_timeout_secs = {SECRET:?}\n"),
        format!("[network]\nprivate_addresses = {SECRET:?}\n"),
        format!("[providers.x]\nissuer = \"https://idp.example\"\nclient_secret = {SECRET:?}\n"),
        format!("[providers.x]\nissuer = \"https://idp.example\"\nscopes = {SECRET:?}\n"),
        format!("{SECRET}\n"),
        format!("x = {SECRET:?} {SECRET:?}\n"),
    ] {
        place.instance.configure(&text);
        let reloaded = place.authctl(&["daemon", "reload"]);
        assert_ne!(reloaded.code(), 0, "{reloaded:?}");
        place.authctl(&["doctor"]);
        place.ask_everything();
    }
    assert!(daemon.stop().success());
    // Nor does a daemon say it that does not start for it.
    let refused = place.instance.daemon().refused();
    assert_ne!(refused.code(), 0);
    says_nothing(&refused);

    // A proxy that does not take the password, or cannot be reached.
    let proxy = authd_testkit::ForwardProxy::start().unwrap();
    proxy.want("me", "another");
    place.instance.configure(&format!(
        "[network]\nproxy = {:?}\nproxy_user = \"me\"\nproxy_password_file = {password:?}\n",
        proxy.url()
    ));
    let _daemon = place.instance.start_daemon();
    let elsewhere = ["--issuer", "https://idp.example", "--client-id", "native"];
    assert_eq!(place.login("other", &elsewhere, false), "unavailable");
    assert!(proxy.refused() > 0, "the password was sent");
    place.authctl(&["doctor"]);
    place.ask_everything();
    fs::remove_file(config).unwrap();
    place.sweep("a configuration with secrets in it");
}

/// A provider that registers whoever comes, and says too much.
fn registrar(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|count| count > 2) {
                let text = line.to_ascii_lowercase();
                if let Some(value) = text.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            let _ = lines.read_exact(&mut body);
            // Whoever asked may have gone.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn no_secret_shows_when_a_registration_goes_wrong() {
    let place = Swept::new();
    let _daemon = place.instance.start_daemon();
    let registered = json!({
        "client_id": "native", "client_secret": SECRET,
        "registration_access_token": "canary-registration-sweepmark",
        "token_endpoint_auth_method": "client_secret_basic",
    });
    let half = json!({ "client_secret": SECRET, "registration_access_token": SECRET });
    let refused = json!({ "error": "invalid_redirect_uri", "error_description": "no" });
    for (status, body) in [
        (201, registered),
        (201, half),
        (400, refused),
        (500, json!(SECRET)),
    ] {
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let address = registrar(answer);
        place.server.update(|settings| {
            let endpoint = json!(format!("http://{address}/register"));
            let members = &mut settings.metadata;
            members.insert("registration_endpoint".to_owned(), endpoint);
        });
        let options = ["--issuer", place.server.issuer()];
        // The secret that it was given is not the one that the provider knows.
        assert_ne!(place.login("demo", &options, true), "done", "{status}");
    }
    place.ask_everything();
    place.sweep("registrations");
}

/// The store refuses, the process dies, the provider does not take the token back.
#[test]
fn no_secret_shows_when_the_store_fails_the_process_dies_or_a_revocation_is_refused() {
    let place = Swept::new();
    let daemon = place.instance.start_daemon();
    assert_eq!(place.login("demo", &place.native(), true), "done");
    daemon.kill();
    for boundary in [
        "after_intent",
        "bytes_sent",
        "answer_received",
        "commit_synced",
        "published",
    ] {
        let mut daemon = place
            .instance
            .daemon()
            .failpoint(&format!("{boundary}=kill@1"))
            .ready();
        place.authctl(&["renew", "demo", "--wait", "5s"]);
        assert!(daemon.has_ended(PATIENCE), "{boundary}");
        place.sweep(boundary);
        let daemon = place.instance.start_daemon();
        place.authctl(&["renew", "demo", "--wait", "5s"]);
        place.authctl(&["doctor"]);
        place.ask_everything();
        daemon.kill();
        // Whatever became of the old one.
        let daemon = place.instance.start_daemon();
        assert_eq!(place.login("demo", &place.native(), true), "done");
        daemon.kill();
    }
    let daemon = damaged(&place);
    assert_eq!(place.login("demo", &place.native(), true), "done");
    for fault in [
        Fault::status(503),
        Fault::oauth_error("unsupported_token_type"),
        Fault::HtmlOk,
    ] {
        place.server.fault_always(Endpoint::Revocation, fault);
        place.authctl(&["logout", "demo"]);
        place.ask_everything();
        assert_eq!(place.login("demo", &place.native(), true), "done");
    }
    place.authctl(&["forget", "demo"]);
    assert!(daemon.stop().success());
    place.sweep("a store and revocations that failed");
}

/// Every file of the store with a byte changed in its middle, one at a time; the last daemon.
fn damaged(place: &Swept) -> Daemon {
    let state = place.instance.state_dir();
    let mut files = Vec::new();
    for dir in [state.clone(), state.join("mirrors"), state.join("spill")] {
        let entries = fs::read_dir(dir).into_iter().flatten();
        files.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_file()),
        );
    }
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        // Of no store, or what makes the whole of it unreadable for good.
        if ["about", "key", "lock", "clean", "authd.log"].contains(&name) {
            continue;
        }
        // One that went with the damage to another is set aside by now.
        let Ok(mut bytes) = fs::read(&file) else {
            continue;
        };
        if bytes.is_empty() {
            continue;
        }
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::write(&file, bytes).unwrap();
        let daemon = place.instance.start_daemon();
        place.authctl(&["status"]);
        place.authctl(&["doctor"]);
        place.ask_everything();
        daemon.kill();
        place.sweep(name);
    }
    place.instance.start_daemon()
}
