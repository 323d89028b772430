//! A client's secret goes where it was given for, whatever a program on the socket asks for: the real
//! daemon between the provider and a server of somebody else's.

#![cfg(unix)]

use std::time::Duration;

use authd_e2e::{Daemon, Instance, PATIENCE};
use authd_proto::{
    ErrorCode, WireSecret,
    request::{Flow, LoginStart, LoginWait},
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
