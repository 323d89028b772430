//! `authctl doctor` finds each thing that is planted, and names what mends it; and a company's network,
//! with its proxy and its authority, is gone through.

#![cfg(unix)]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use authd_e2e::{Finished, Instance, instance::is_flagged};
use authd_proto::response::{FlagName, State};
use authd_testkit::{
    Client, ClientAuthentication, Endpoint, FakeServer, Fault, ForwardProxy, ManualClock, Options,
    PrivateAuthority, Settings, TlsFront,
};
use serde_json::{Value, json};

const HOST: &str = "idp.test";
const ISSUER: &str = "https://idp.test";
/// Never to be seen in any output or log.
const PASSWORD: &str = "canary-proxy-password";

/// What `doctor --json` says, with these variables for it alone.
fn doctor_with(instance: &Instance, variables: &[(&str, &str)]) -> Value {
    let mut command = instance.command(authd_e2e::binaries::authctl());
    command
        .args(["doctor", "--json"])
        .envs(variables.iter().copied());
    let finished = authd_e2e::Process::capture(&mut command).finish(authd_e2e::PATIENCE);
    assert_eq!(finished.stderr, "");
    let diagnosis = finished.json();
    let fails = diagnosis["level"] == "fail";
    assert_eq!(finished.code(), i32::from(fails), "{diagnosis}");
    assert!(!diagnosis.to_string().contains("canary"), "{diagnosis}");
    diagnosis
}

fn doctor(instance: &Instance) -> Value {
    doctor_with(instance, &[])
}

/// The one finding with this code: its level, and what mends it.
#[track_caller]
fn finding<'a>(diagnosis: &'a Value, code: &str) -> (&'a str, &'a str) {
    let findings = diagnosis["findings"].as_array().expect("a list");
    let mut found = findings.iter().filter(|finding| finding["code"] == code);
    let (Some(finding), None) = (found.next(), found.next()) else {
        panic!("not one finding {code}: {diagnosis:#}")
    };
    let text = |member: &str| finding[member].as_str().unwrap_or_default();
    (text("level"), text("fix"))
}

/// What is not well, by code.
fn codes(diagnosis: &Value) -> Vec<&str> {
    let findings = diagnosis["findings"].as_array().expect("a list");
    let codes = findings
        .iter()
        .filter_map(|finding| finding["code"].as_str());
    // The tests' store has its key in a file.
    codes
        .filter(|code| !["ok", "key_in_file"].contains(code))
        .collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a file of ours");
}

fn private_file(instance: &Instance, name: &str, text: &str) -> PathBuf {
    let path = instance.dir().join(name);
    fs::write(&path, text).expect("a file of ours");
    set_mode(&path, 0o600);
    path
}

/// A provider that is reached through a proxy with a password, and is vouched for by nobody but its
/// company.
struct Company {
    server: FakeServer,
    authority: PrivateAuthority,
    proxy: ForwardProxy,
    front: TlsFront,
    instance: Instance,
}

impl Company {
    fn new() -> Self {
        let overlay = json!({
            "issuer": ISSUER,
            "authorization_endpoint": format!("{ISSUER}/authorize"),
            "token_endpoint": format!("{ISSUER}/token"),
            "device_authorization_endpoint": null,
            "revocation_endpoint": format!("{ISSUER}/revoke"),
            "introspection_endpoint": null,
            "userinfo_endpoint": null,
            "jwks_uri": format!("{ISSUER}/jwks"),
        });
        let Value::Object(metadata) = overlay else {
            panic!("an object")
        };
        let secret = ClientAuthentication::Basic("canary-secret".to_owned());
        let server = FakeServer::start(Options {
            settings: Settings {
                metadata,
                ..Settings::default()
            },
            clients: vec![Client::native("service").authenticated_by(secret)],
            ..Options::default()
        })
        .expect("a fake server");
        let authority = PrivateAuthority::new().expect("an authority");
        let front = TlsFront::start(HOST, &authority, server.address()).expect("a host with TLS");
        let proxy = ForwardProxy::start().expect("a proxy");
        proxy.want("jane", PASSWORD);
        proxy.route("idp.test:443", front.address());
        let instance = Instance::new();
        private_file(&instance, "ca.pem", &authority.pem());
        private_file(&instance, "password", &format!("{PASSWORD}\n"));
        private_file(&instance, "secret", "canary-secret\n");
        Self {
            server,
            authority,
            proxy,
            front,
            instance,
        }
    }

    fn configure(&self, ca_file: bool, proxy: &str) {
        let at = |name: &str| self.instance.dir().join(name).display().to_string();
        let ca_file = match ca_file {
            true => format!("ca_file = \"{}\"\n", at("ca.pem")),
            false => String::new(),
        };
        let login = format!(
            "proxy_user = \"jane\"\nproxy_password_file = \"{}\"\n",
            at("password")
        );
        let login = if proxy == "none" { "" } else { &login };
        self.instance.configure(&format!(
            "[notify]\ndesktop = false\n[network]\nproxy = \"{proxy}\"\n{ca_file}{login}"
        ));
    }

    fn login(&self) {
        let logged_in = self.try_login();
        assert_eq!(logged_in.code(), 0, "{logged_in:?}");
    }

    fn try_login(&self) -> Finished {
        let secret = self.instance.dir().join("secret");
        self.instance.authctl(&[
            "login",
            "corp",
            "--json",
            "--issuer",
            ISSUER,
            "--client-id",
            "service",
            "--client-credentials",
            "--client-secret-file",
            secret.to_str().expect("a plain path"),
            "--scope",
            "api",
        ])
    }

    fn exchanges(&self) -> usize {
        self.server.ledger().counts.exchanges.values().sum::<u64>() as usize
    }
}

#[test]
fn a_login_and_its_renewals_go_through_a_companys_proxy_by_its_authority() {
    let company = Company::new();
    company.configure(true, &company.proxy.url());
    let daemon = company.instance.start_daemon();
    company.login();
    let renewed = company.instance.authctl(&["renew", "corp"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");
    assert!(company.proxy.led() >= 3, "{}", company.proxy.led());
    assert_eq!(company.proxy.refused(), 0);

    let before = company.exchanges();
    let diagnosis = doctor(&company.instance);
    assert_eq!(codes(&diagnosis), Vec::<&str>::new(), "{diagnosis:#}");
    assert_eq!(company.exchanges(), before, "doctor costs nothing");
    let through = format!(
        "{ISSUER} is reached through the proxy {}",
        company.proxy.url()
    );
    assert!(diagnosis.to_string().contains(&through), "{diagnosis:#}");

    // The password was changed: the file is read anew, and nothing is lost meanwhile.
    company.proxy.want("jane", "canary-next");
    let refused = company.instance.authctl(&["renew", "corp"]);
    assert_eq!(refused.code(), 5, "{refused:?}");
    let account = company.instance.account("corp");
    assert_ne!(account.state, State::NeedsLogin);
    assert!(is_flagged(&account, FlagName::Offline));
    let status = company.instance.authctl(&["status"]);
    let said = "the proxy wants another name and password";
    assert!(status.stdout.contains(said), "{}", status.stdout);
    let diagnosis = doctor(&company.instance);
    let (level, fix) = finding(&diagnosis, "proxy_login");
    assert_eq!(level, "fail");
    assert!(fix.contains("proxy_password_file under [network]"), "{fix}");
    private_file(&company.instance, "password", "canary-next\n");
    let renewed = company.instance.authctl(&["renew", "corp"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");
    daemon.stop();
    assert!(
        !company.instance.log().contains("canary"),
        "a secret in the log"
    );
}

#[test]
fn each_way_in_which_a_companys_network_fails_is_found_with_its_cure() {
    let company = Company::new();
    let proxy = company.proxy.url();
    company.configure(true, &proxy);
    let daemon = company.instance.start_daemon();
    company.login();
    daemon.stop();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let before = company.exchanges();
    for (ca_file, proxy, code, cure) in [
        (
            false,
            &proxy,
            "tls_untrusted",
            "put ca_file = \"/PATH/TO/CA.pem\" under [network] in",
        ),
        (
            true,
            &nowhere,
            "proxy_unreachable",
            "mend `proxy` under [network] in",
        ),
        (
            true,
            &"none".to_owned(),
            "provider_dns",
            "getent hosts idp.test",
        ),
    ] {
        company.configure(ca_file, proxy);
        let daemon = company.instance.start_daemon();
        let diagnosis = doctor(&company.instance);
        assert_eq!(codes(&diagnosis), [code], "{diagnosis:#}");
        let (level, fix) = finding(&diagnosis, code);
        assert!(level == "fail" && fix.contains(cure), "{fix}");
        daemon.stop();
    }
    // A portal answers every name, with its own certificate.
    let portal = TlsFront::start("portal.test", &company.authority, company.server.address());
    let portal = portal.expect("a host with TLS");
    company.proxy.route("idp.test:443", portal.address());
    company.configure(true, &proxy);
    let daemon = company.instance.start_daemon();
    let diagnosis = doctor(&company.instance);
    assert_eq!(codes(&diagnosis), ["tls_wrong_host"], "{diagnosis:#}");
    assert_eq!(company.exchanges(), before, "nothing was exchanged");
    let renewed = company.instance.authctl(&["renew", "corp"]);
    assert_eq!(renewed.code(), 5, "{renewed:?}");
    let account = company.instance.account("corp");
    assert!(is_flagged(&account, FlagName::Offline) && account.state != State::NeedsLogin);
    // And it goes.
    company.proxy.route("idp.test:443", company.front.address());
    let renewed = company.instance.authctl(&["renew", "corp"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");
    assert!(company.instance.account("corp").flags.is_empty());
    daemon.stop();
}

#[test]
fn a_login_that_the_network_does_not_let_through_says_which_line_mends_it() {
    let company = Company::new();
    for (ca_file, password, words) in [
        (
            false,
            PASSWORD,
            "name its certificate by ca_file under [network]",
        ),
        (
            true,
            "canary-wrong",
            "check proxy_user and proxy_password_file",
        ),
    ] {
        company.configure(ca_file, &company.proxy.url());
        private_file(&company.instance, "password", password);
        let daemon = company.instance.start_daemon();
        let refused = company.try_login();
        assert_eq!(refused.code(), 5, "{refused:?}");
        let said = refused.stdout + &refused.stderr;
        assert!(said.contains(words) && !said.contains("canary"), "{said}");
        daemon.stop();
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_by_its_key() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let no_pem = private_file(&instance, "no.pem", "nothing");
    for (line, words) in [
        (
            format!("ca_file = \"{}\"", no_pem.display()),
            "there is no certificate in it",
        ),
        (
            "proxy = \"http://jane:canary@proxy.test:1\"".to_owned(),
            "put the user into `network.proxy_user`",
        ),
    ] {
        instance.configure(&format!("[network]\n{line}\n"));
        let reload = instance.authctl(&["daemon", "reload"]);
        assert_eq!(reload.code(), 1);
        assert!(reload.stderr.contains(words), "{}", reload.stderr);
        assert!(!reload.stderr.contains("canary"), "{}", reload.stderr);
        let diagnosis = doctor(&instance);
        let (level, fix) = finding(&diagnosis, "config_wrong");
        assert!(
            level == "fail" && fix.ends_with("then: authctl daemon reload"),
            "{fix}"
        );
    }
}

#[test]
fn a_captive_portal_is_found_and_is_no_logout() {
    let server = FakeServer::start(Options::default()).expect("a fake server");
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    assert_eq!(codes(&doctor(&instance)), Vec::<&str>::new());
    for (fault, words) in [
        (Fault::HtmlOk, "a web page answers in the provider's place"),
        (
            Fault::Redirect {
                status: 302,
                location: "http://portal.test/".to_owned(),
            },
            "something redirects what is for the provider",
        ),
    ] {
        for endpoint in [Endpoint::Discovery, Endpoint::Token] {
            server.fault_always(endpoint, fault.clone().before_commit());
        }
        let diagnosis = doctor(&instance);
        assert_eq!(codes(&diagnosis), ["captive_portal"], "{diagnosis:#}");
        let (level, fix) = finding(&diagnosis, "captive_portal");
        assert_eq!(level, "fail");
        assert!(
            fix.starts_with("sign in to this network in a browser"),
            "{fix}"
        );
        let renewed = instance.authctl(&["renew", "demo"]);
        assert_eq!(renewed.code(), 5, "{renewed:?}");
        assert_ne!(instance.account("demo").state, State::NeedsLogin);
        let status = instance.authctl(&["status"]);
        assert!(status.stdout.contains(words), "{}", status.stdout);
        assert_eq!(instance.authctl(&["token", "demo"]).code(), 0, "served on");
        for endpoint in [Endpoint::Discovery, Endpoint::Token] {
            server.clear_faults(endpoint);
        }
        let renewed = instance.authctl(&["renew", "demo"]);
        assert_eq!(renewed.code(), 0, "{renewed:?}");
        assert!(instance.account("demo").flags.is_empty());
    }
    daemon.stop();
}

#[test]
fn a_clock_that_is_not_the_providers_is_found_and_kills_no_token() {
    let clock = ManualClock::starting_now();
    let server = FakeServer::start(Options {
        clock: clock.clone().into(),
        ..Options::default()
    })
    .expect("a fake server");
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    assert_eq!(codes(&doctor(&instance)), Vec::<&str>::new());
    clock.advance(Duration::from_secs(2 * 3600));
    let diagnosis = doctor(&instance);
    assert_eq!(codes(&diagnosis), ["clock_skew"], "{diagnosis:#}");
    let cure = "set the clock: timedatectl set-ntp true";
    assert_eq!(finding(&diagnosis, "clock_skew"), ("fail", cure));

    let renewed = instance.authctl(&["renew", "demo"]);
    assert_eq!(renewed.code(), 0, "{renewed:?}");
    let account = instance.account("demo");
    let ahead = account.clock_ahead_secs.expect("it was heard");
    assert!((-7_260..=-7_140).contains(&ahead), "{ahead}");
    // The token has its hour, counted on this machine's clock.
    let left = account.ttl_secs.expect("it is known");
    assert!((3_500..=3_600).contains(&left), "{left}");
    let status = instance.authctl(&["status"]);
    let said = "this machine's clock is 2h behind the provider's";
    let said = status.stdout.contains(said) || status.stdout.contains("clock is 1h 59m behind");
    assert!(said && status.stdout.contains(cure), "{}", status.stdout);
    daemon.stop();
}

#[test]
fn permissions_that_let_others_in_are_found_with_the_command_that_mends_them() {
    let company = Company::new();
    company.configure(true, &company.proxy.url());
    let daemon = company.instance.start_daemon();
    company.login();
    let instance = &company.instance;
    let (state, config) = (instance.state_dir(), instance.config_dir());
    for (path, mode, code, command) in [
        (state.clone(), 0o755, "open_to_others", "chmod 700 '{}'"),
        (
            state.join("key"),
            0o644,
            "open_to_others",
            "chmod go-rwx '{}'",
        ),
        (
            state.join("authd.redb"),
            0o660,
            "open_to_others",
            "chmod go-rwx '{}'",
        ),
        (
            config.join("config.toml"),
            0o666,
            "config_writable",
            "chmod go-w '{}'",
        ),
        (
            config.join("clients/corp.toml"),
            0o622,
            "client_file",
            "chmod go-w {}",
        ),
        (
            instance.dir().join("secret"),
            0o644,
            "secret_file",
            "chmod 600 {}",
        ),
        (
            instance.dir().join("password"),
            0o640,
            "proxy_password_file",
            "chmod 600 {}",
        ),
    ] {
        let before = fs::metadata(&path).expect("it is there").permissions();
        set_mode(&path, mode);
        let diagnosis = doctor(instance);
        let command = command.replace("{}", &path.display().to_string());
        assert_eq!(finding(&diagnosis, code), ("fail", command.as_str()));
        fs::set_permissions(&path, before).expect("a file of ours");
    }
    assert_eq!(
        codes(&doctor(instance)),
        Vec::<&str>::new(),
        "and all is well"
    );
    daemon.stop();
}

#[test]
fn inv_20_variables_that_override_a_login_or_differ_are_found_and_never_shown() {
    let server = FakeServer::start(Options::default()).expect("a fake server");
    let mut instance = Instance::new();
    instance.set_env("NO_PROXY", "canary.test");
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let issuer = server.issuer().to_owned() + "/";
    let diagnosis = doctor_with(
        &instance,
        &[
            ("GITHUB_TOKEN", "canary-github"),
            ("VAULT_TOKEN", ""),
            ("HTTPS_PROXY", "http://jane:canary@proxy.test:3128"),
            ("OIDC_ISSUER", "https://canary-stage.test"),
            ("AUTH_ISSUER", &issuer),
        ],
    );
    assert_eq!(
        codes(&diagnosis),
        [
            "variable_differs",
            "variable_names_another_issuer",
            "variable_overrides_login",
        ]
    );
    let overriding = finding(&diagnosis, "variable_overrides_login");
    assert_eq!(overriding, ("warn", "unset GITHUB_TOKEN"));
    let (_, fix) = finding(&diagnosis, "variable_differs");
    assert!(fix.starts_with("authctl daemon stop"), "{fix}");
    let (_, fix) = finding(&diagnosis, "variable_names_another_issuer");
    assert!(fix.starts_with("unset OIDC_ISSUER"), "{fix}");
    daemon.stop();
}

#[test]
fn another_tools_login_of_the_same_client_is_found_and_only_read() {
    let server = FakeServer::start(Options::default()).expect("a fake server");
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let keep = |path: &str, text: &str| {
        let path = instance.dir().join("home").join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a home of ours");
        fs::write(&path, text).expect("a home of ours");
        path
    };
    let token = "refresh_token = canary-rt-of-another";
    let same_client = format!(
        "[remote]\nclient_id = native\ntoken_url = {}/token\n{token}\n",
        server.issuer()
    );
    let same_issuer = format!("client_id = other\nissuer = {}\n{token}\n", server.issuer());
    let path = keep(".config/rclone/rclone.conf", &same_client);
    keep(".mcp-auth/mcp-remote-0.1/tokens.json", &same_issuer);
    keep(
        ".codex/auth.json",
        &token.replace("refresh_token", "\"refresh_token\""),
    );
    let diagnosis = doctor(&instance);
    assert_eq!(
        codes(&diagnosis),
        ["fork_same_client", "other_login_same_issuer"]
    );
    let fork = finding(&diagnosis, "fork_same_client");
    assert_eq!(fork, ("warn", "rclone config disconnect REMOTE:"));
    let (level, fix) = finding(&diagnosis, "other_login_same_issuer");
    assert!(
        level == "note" && fix.ends_with("rm -r ~/.mcp-auth"),
        "{fix}"
    );
    assert_eq!(fs::read_to_string(path).unwrap(), same_client, "only read");
    daemon.stop();
}

#[test]
fn what_is_behind_a_lock_is_not_said_to_be_missing() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    assert_eq!(instance.authctl(&["lock"]).code(), 0);
    let locked = doctor(&instance);
    assert_eq!(finding(&locked, "accounts_not_looked_at"), ("note", ""));
    assert!(
        !locked.to_string().contains("there is none yet"),
        "{locked}"
    );
}

#[test]
fn whose_socket_is_named_is_told_what_fits_that_socket() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let at = |path: &Path| doctor_with(&instance, &[("AUTHD_SOCKET", path.to_str().unwrap())]);
    let unset = "start that daemon, or unset AUTHD_SOCKET";
    let none = at(&instance.dir().join("none.sock"));
    assert_eq!(finding(&none, "daemon_not_running"), ("warn", unset));
    // A directory, or a file that matters: nothing is said that would cost it.
    let state = instance.state_dir();
    fs::create_dir_all(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let named = at(&state);
    let fix = "name the socket itself in AUTHD_SOCKET, or unset it";
    assert_eq!(finding(&named, "socket_place"), ("fail", fix));
    assert!(!named.to_string().contains("rm "), "{named}");

    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let created = instance.authctl(&["socket", "create", "--account", "demo"]);
    let restricted = at(Path::new(created.line()));
    assert_eq!(finding(&restricted, "restricted_socket"), ("note", ""));
    assert_ne!(restricted["level"], "fail", "{restricted}");
}

#[test]
fn where_no_anchor_can_be_kept_that_is_said() {
    let instance = Instance::new();
    instance.configure("");
    fs::write(instance.config_dir().join("anchor"), "in the way").unwrap();
    let daemon = instance.start_daemon();
    let protections = instance.status().protections;
    let copies = protections.iter().find(|one| one.name == "copies_noticed");
    assert!(!copies.unwrap().in_force, "{protections:?}");
    let shown = instance.authctl(&["status"]);
    assert!(
        shown.stdout.contains("not in force: copies noticed"),
        "{shown:?}"
    );
    let (level, fix) = ("warn", "authctl daemon restart");
    let found = doctor(&instance);
    let found = finding(&found, "not_protected");
    assert!(found.0 == level && found.1.contains(fix), "{found:?}");
    assert!(daemon.stop().success());

    fs::remove_file(instance.config_dir().join("anchor")).unwrap();
    let _daemon = instance.start_daemon();
    assert!(instance.status().protections.iter().all(|one| one.in_force));
}
