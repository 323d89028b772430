//! A client's secret goes where it was given for, whatever a program on the socket asks for: the real
//! daemon between the provider and a server of somebody else's.

#![cfg(unix)]

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use authd_e2e::{Daemon, Instance, PATIENCE};
use authd_proto::{
    ErrorCode, WireSecret,
    request::{DaemonReload, Flow, LoginStart, LoginWait},
    response::LoginProgress,
};
use authd_testkit::{Client, ClientAuthentication, Endpoint, FakeServer, Options};

/// A provider whose one client is confidential, somebody else's server, and a daemon.
fn between() -> (FakeServer, FakeServer, Instance, Daemon) {
    let client = Client::native("service");
    let client = client.authenticated_by(ClientAuthentication::Basic(
        "canary-of-the-client".to_owned(),
    ));
    let provider = FakeServer::start(Options {
        clients: vec![client],
        ..Options::default()
    })
    .expect("a fake provider");
    provider.update(|settings| settings.access_token_ttl = Duration::from_secs(600));
    let other = FakeServer::start(Options::default()).expect("another fake provider");
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    (provider, other, instance, daemon)
}

/// The requests that arrived where a client proves itself.
fn credentialed(server: &FakeServer) -> u64 {
    let counts = server.counts();
    [
        Endpoint::Token,
        Endpoint::DeviceAuthorization,
        Endpoint::PushedAuthorization,
        Endpoint::Revocation,
        Endpoint::Introspection,
    ]
    .into_iter()
    .map(|endpoint| counts.requests(endpoint))
    .sum()
}

#[test]
fn nobody_on_the_socket_says_where_a_stored_secret_goes() {
    let (provider, other, instance, _daemon) = between();
    let started = instance
        .call(&LoginStart {
            account: "ci".to_owned(),
            issuer: Some(provider.issuer().to_owned()),
            client_id: Some("service".to_owned()),
            client_secret: Some(WireSecret::new("canary-of-the-client")),
            flow: Flow::ClientCredentials,
            ..LoginStart::default()
        })
        .expect("a login");
    let done = instance
        .call(&LoginWait {
            login_id: started.login_id,
            wait_secs: Some(PATIENCE.as_secs()),
        })
        .expect("its end");
    assert!(matches!(done, LoginProgress::Done(_)), "{done:?}");

    let at = |endpoint: Endpoint| Some(endpoint.url(other.issuer()));
    let plain = || LoginStart {
        account: "ci".to_owned(),
        ..LoginStart::default()
    };
    let named = || LoginStart {
        issuer: Some(provider.issuer().to_owned()),
        client_id: Some("service".to_owned()),
        ..plain()
    };
    let before = provider.counts().requests(Endpoint::Token);
    for start in [
        LoginStart {
            revocation_endpoint: at(Endpoint::Revocation),
            ..plain()
        },
        LoginStart {
            device_authorization_endpoint: at(Endpoint::DeviceAuthorization),
            flow: Flow::Device,
            ..named()
        },
        LoginStart {
            revocation_endpoint: at(Endpoint::Revocation),
            flow: Flow::ClientCredentials,
            ..named()
        },
        LoginStart {
            issuer: Some(other.issuer().to_owned()),
            token_endpoint: Some(Endpoint::Token.url(provider.issuer())),
            flow: Flow::Device,
            ..named()
        },
    ] {
        let error = instance.call(&start).expect_err("a login that is refused");
        assert_eq!(error.code, ErrorCode::BadRequest, "{error:?}");
        assert!(
            error.message.contains("the client's secret was not given"),
            "{error:?}"
        );
    }
    assert_eq!(provider.counts().requests(Endpoint::Token), before);
    let out = instance.authctl(&["logout", "ci"]);
    assert_eq!(out.code(), 0, "{out:?}");
    assert_eq!(credentialed(&other), 0, "nothing was sent there");
    assert!(provider.counts().requests(Endpoint::Revocation) > 0);
}

#[test]
fn nobody_on_the_socket_says_by_a_provider_s_name_where_the_secret_of_a_file_goes() {
    let (provider, other, instance, _daemon) = between();
    // Presets with an open host come with the daemon; one that takes the tests' servers does not.
    instance.configure(
        "[providers.anywhere]\nissuer = \"http://{host}\"\n\
         variables.host = { about = \"its host\" }\n",
    );
    let secret = instance.dir().join("secret");
    fs::write(&secret, "canary-of-the-client\n").expect("a file of ours");
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&secret, mode).expect("a file of ours");
    let clients = instance.config_dir().join("clients");
    fs::create_dir(&clients).expect("a directory of ours");
    let token = Endpoint::Token.url(provider.issuer());
    let client = format!("token_endpoint = {token:?}\nsecret_file = {secret:?}\n");
    fs::write(clients.join("work.toml"), client).expect("a file of ours");
    instance.call(&DaemonReload {}).expect("a reload");

    let login = |server: &FakeServer, flow| {
        let host = server.issuer().trim_start_matches("http://").to_owned();
        instance.call(&LoginStart {
            account: "x".to_owned(),
            client: Some("work".to_owned()),
            client_id: Some("service".to_owned()),
            provider: Some("anywhere".to_owned()),
            variables: [("host".to_owned(), host)].into(),
            scopes: Some(vec!["api".to_owned()]),
            flow,
            ..LoginStart::default()
        })
    };
    for flow in [Flow::Device, Flow::Browser, Flow::ClientCredentials] {
        let error = login(&other, flow).expect_err("a login that is refused");
        assert!(error.message.contains("work.toml"), "{error:?}");
    }
    assert_eq!(credentialed(&other), 0, "nothing was sent there");
    assert_eq!(credentialed(&provider), 0, "nor for it");
    login(&provider, Flow::Device).expect("a login where the file says");
}
