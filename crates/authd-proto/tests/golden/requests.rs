//! Requests.

use std::collections::BTreeMap;

use authd_proto::doctor as doc;
use authd_proto::error::ErrorShape;
use authd_proto::event::EventKind;
use authd_proto::key;
use authd_proto::provider as pro;
use authd_proto::request as req;
use authd_proto::secret::{SecretStr, WireSecret};

use super::{ISSUER, NOW, Vector, by_hand, request, strings};

pub(super) fn requests() -> Vec<Vector> {
    let account = || "work".to_owned();
    let login_id = || "l-1".to_owned();
    vec![
        request(
            "",
            &req::Hello {
                client: Some("authctl".into()),
                client_version: Some("0.1.0".into()),
                errors: ErrorShape::Map,
                ..req::Hello::default()
            },
        ),
        request(
            "",
            &req::TokenGet {
                account: Some("work"),
                ..req::TokenGet::default()
            },
        ),
        request(
            "-all",
            &req::TokenGet {
                account: Some("work"),
                scopes: Some(vec!["openid", "api:read"]),
                resource: Some("https://api.example.com/"),
                min_ttl_secs: Some(300),
                wait_secs: Some(10),
            },
        ),
        request("-empty", &req::TokenGet::default()),
        request(
            "-by-resource",
            &req::TokenGet {
                resource: Some("https://mcp.example.com/mcp"),
                ..req::TokenGet::default()
            },
        ),
        request(
            "",
            &req::TokenReject {
                account: "work",
                fingerprint: Some("9f86d081884c7d65"),
                access_token: None,
                scopes: None,
                resource: None,
                status: Some(401),
                www_authenticate: Some("Bearer error=\"invalid_token\""),
                wait_secs: None,
            },
        ),
        request(
            "-by-token",
            &req::TokenReject {
                account: "work",
                fingerprint: None,
                access_token: Some(SecretStr::new("at-0123456789abcdef")),
                scopes: None,
                resource: None,
                status: None,
                www_authenticate: None,
                wait_secs: Some(5),
            },
        ),
        request(
            "",
            &req::DpopProof {
                account: account(),
                method: "GET".into(),
                url: "https://api.example.com/items".into(),
                access_token: None,
                scopes: None,
                resource: Some("https://api.example.com/".into()),
                nonce: Some("n-7".into()),
            },
        ),
        request(
            "-by-token",
            &req::DpopProof {
                account: account(),
                method: "POST".into(),
                url: "https://api.example.com/items".into(),
                access_token: Some(WireSecret::new("at-0123456789abcdef")),
                scopes: None,
                resource: None,
                nonce: None,
            },
        ),
        request(
            "",
            &req::AccountList {
                limit: Some(50),
                cursor: Some("d29yaw".into()),
            },
        ),
        request("", &req::AccountGet { account: account() }),
        request(
            "",
            &req::AccountCheck {
                account: account(),
                wait_secs: Some(10),
            },
        ),
        request("", &req::AccountForget { account: account() }),
        request(
            "",
            &req::AccountAdopt {
                account: Some(account()),
            },
        ),
        request(
            "",
            &req::AccountImport {
                login: req::LoginStart {
                    account: account(),
                    issuer: Some(ISSUER.into()),
                    client_id: Some("authd-cli".into()),
                    scopes: Some(strings(&["openid", "api:read"])),
                    ..req::LoginStart::default()
                },
                refresh_token: WireSecret::new("rt-0123456789abcdef"),
                replace: true,
                wait_secs: Some(30),
            },
        ),
        request("", &login_start()),
        request(
            "-service",
            &req::LoginStart {
                account: "ci".into(),
                client: Some("ci".into()),
                client_auth: Some(req::ClientAuth::PrivateKeyJwt),
                flow: req::Flow::JwtBearer,
                subject: Some("jane@example.com".into()),
                ..req::LoginStart::default()
            },
        ),
        request(
            "-device",
            &req::LoginStart {
                account: account(),
                issuer: Some(ISSUER.into()),
                client_id: Some("authd-cli".into()),
                flow: req::Flow::Device,
                ..req::LoginStart::default()
            },
        ),
        request(
            "-resource",
            &req::LoginStart {
                account: "mcp.example.com".into(),
                resource: Some("https://mcp.example.com/mcp".into()),
                challenge: Some(
                    "Bearer error=\"insufficient_scope\", scope=\"files:write\"".into(),
                ),
                ..req::LoginStart::default()
            },
        ),
        request(
            "-elsewhere",
            &req::LoginStart {
                account: account(),
                flow: req::Flow::DeviceOrBrowser,
                ..req::LoginStart::default()
            },
        ),
        request(
            "-provider",
            &req::LoginStart {
                account: account(),
                provider: Some("gitlab".into()),
                variables: [("host".to_owned(), "git.example.com".to_owned())].into(),
                client_id: Some("authd-cli".into()),
                ..req::LoginStart::default()
            },
        ),
        request(
            "",
            &pro::ProviderList {
                limit: Some(20),
                cursor: Some("dropbox".into()),
            },
        ),
        request(
            "",
            &pro::ProviderShow {
                provider: "gitlab".into(),
            },
        ),
        request(
            "",
            &req::LoginWait {
                login_id: login_id(),
                wait_secs: Some(30),
            },
        ),
        request(
            "",
            &req::LoginComplete {
                login_id: login_id(),
                redirect_url: WireSecret::new("http://127.0.0.1:8123/callback?code=c-1&state=s-1"),
                wait_secs: None,
            },
        ),
        request(
            "",
            &req::LoginCancel {
                login_id: login_id(),
            },
        ),
        request(
            "",
            &req::Logout {
                account: account(),
                wait_secs: Some(10),
            },
        ),
        request(
            "",
            &req::Renew {
                account: account(),
                scopes: None,
                resource: Some("https://api.example.com/".into()),
                wait_secs: Some(30),
            },
        ),
        request(
            "",
            &req::Subscribe {
                events: Some(vec![
                    EventKind::Token,
                    EventKind::State,
                    EventKind::LoginNeeded,
                ]),
                account: Some(account()),
            },
        ),
        request("", &req::Unsubscribe {}),
        request(
            "",
            &req::EventsQuery {
                account: Some(account()),
                events: Some(vec![EventKind::Exchange]),
                since_at: Some(NOW - 3600),
                after_seq: None,
                newest: false,
                limit: Some(20),
                cursor: None,
            },
        ),
        request(
            "-newest",
            &req::EventsQuery {
                after_seq: Some(2_000_041),
                newest: true,
                limit: Some(20),
                cursor: Some("2000062".into()),
                ..req::EventsQuery::default()
            },
        ),
        request(
            "",
            &doc::DoctorCheck {
                account: Some(account()),
                wait_secs: Some(5),
            },
        ),
        request("", &req::DaemonStatus {}),
        request("", &req::DaemonReload {}),
        request("", &req::DaemonStop {}),
        request(
            "",
            &key::DaemonLock {
                wait_secs: Some(10),
            },
        ),
        request(
            "",
            &key::DaemonUnlock {
                passphrase: Some(WireSecret::new("correct horse battery staple")),
            },
        ),
        request("", &key::KeyStatus {}),
        request("", &key::KeyRotate::default()),
        request(
            "",
            &key::KeyMove {
                to: key::KeyPlace::Passphrase,
                passphrase: None,
                new_passphrase: Some(WireSecret::new("correct horse battery staple")),
            },
        ),
    ]
}

fn login_start() -> req::LoginStart {
    req::LoginStart {
        account: "work".into(),
        provider: None,
        variables: BTreeMap::new(),
        issuer: Some(ISSUER.into()),
        authorization_endpoint: Some(format!("{ISSUER}/authorize")),
        token_endpoint: Some(format!("{ISSUER}/token")),
        device_authorization_endpoint: Some(format!("{ISSUER}/device")),
        revocation_endpoint: Some(format!("{ISSUER}/revoke")),
        userinfo_endpoint: Some(format!("{ISSUER}/userinfo")),
        client_id: Some("authd-cli".into()),
        client_secret: Some(WireSecret::new("cs-0123456789abcdef")),
        client: None,
        client_auth: Some(req::ClientAuth::Basic),
        subject: None,
        scopes: Some(strings(&["openid", "api:read", "api:write"])),
        resource: Some("https://api.example.com/".into()),
        challenge: Some("Bearer scope=\"api:write\"".into()),
        resources: vec!["https://mail.example.com/".to_owned()],
        flow: req::Flow::Browser,
        redirect_uri: Some("http://127.0.0.1:8123/callback".into()),
        dpop: Some(true),
        replace_subject: true,
        extra: [("login_hint".to_owned(), "jane@example.com".to_owned())].into(),
    }
}

pub(super) fn tolerated() -> Vec<Vector> {
    use rmpv::Value;
    let list = |values: Vec<Value>| Value::Array(values);
    let map = |members: Vec<(&str, Value)>| {
        Value::Map(
            members
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        )
    };
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let odd = map(vec![
        ("account", "work".into()),
        ("resource", Value::Nil),
        (
            "x_future",
            list(vec![1.into(), map(vec![("deep", true.into())])]),
        ),
        ("traceparent", traceparent.into()),
    ]);
    vec![
        by_hand("tolerated-no-params", list(vec![])),
        by_hand("tolerated-nil-params", list(vec![Value::Nil])),
        by_hand("tolerated-array-params", list(vec![list(vec![])])),
        by_hand("tolerated-map-params", list(vec![map(vec![])])),
        by_hand("tolerated-unknown-members", list(vec![odd])),
    ]
}
