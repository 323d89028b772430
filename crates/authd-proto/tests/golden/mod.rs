//! The golden vectors of `proto/vectors`, as the code makes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use authd_proto::call::Request;
use authd_proto::encode;
use authd_proto::error::{ErrorCode, ErrorShape, WireError};
use authd_proto::event::{Event, EventKind};
use authd_proto::provider as pro;
use authd_proto::request as req;
use authd_proto::response as res;
use authd_proto::secret::{SecretStr, WireSecret};

/// One message.
pub(crate) struct Vector {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// The message.
    pub(crate) bytes: Vec<u8>,
}

/// Where the vectors are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/vectors")
}

/// The `.json` twin of a message, for people.
pub(crate) fn twin(message: &[u8]) -> String {
    let value = rmpv::decode::read_value(&mut &*message).expect("a vector is MessagePack");
    serde_json::to_string_pretty(&value).expect("a vector has a JSON form") + "\n"
}

fn request<R: Request>(case: &str, params: &R) -> Vector {
    let mut bytes = Vec::new();
    encode::request(&mut bytes, 1, params).expect("a small request encodes");
    Vector {
        name: format!("request-{}{case}", R::METHOD.as_str()),
        bytes,
    }
}

fn response<R: Request>(case: &str, result: &R::Reply) -> Vector
where
    R::Reply: serde::Serialize,
{
    let mut bytes = Vec::new();
    encode::response(&mut bytes, 1, result).expect("a small response encodes");
    Vector {
        name: format!("response-{}{case}", R::METHOD.as_str()),
        bytes,
    }
}

fn error(case: &str, error: &WireError, shape: ErrorShape) -> Vector {
    let mut bytes = Vec::new();
    encode::error(&mut bytes, 1, error, shape);
    Vector {
        name: format!("error-{case}"),
        bytes,
    }
}

/// A request written by hand: shapes that our encoder does not make and our decoder must read.
fn by_hand(name: &str, params: rmpv::Value) -> Vector {
    let message = rmpv::Value::Array(vec![0.into(), 1.into(), "token.get".into(), params]);
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &message).expect("writing into memory does not fail");
    Vector {
        name: name.to_owned(),
        bytes,
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://idp.example.com";

pub(crate) fn token() -> res::TokenReply {
    res::TokenReply {
        access_token: WireSecret::new("at-0123456789abcdef"),
        renewal: res::RenewReply {
            token_type: "Bearer".into(),
            expires_at: Some(NOW + 3600),
            expiry: res::Expiry::Exact,
            scopes: strings(&["openid", "api:read"]),
            resource: Some("https://api.example.com/".into()),
            account: "work".into(),
            subject: Some("248289761001".into()),
            generation: 7,
            fingerprint: "9f86d081884c7d65".into(),
            ttl_secs: Some(3599),
            low: false,
            renewed: true,
        },
    }
}

pub(crate) fn token_without_expiry() -> res::TokenReply {
    let renewal = res::RenewReply {
        expires_at: None,
        expiry: res::Expiry::Unknown,
        resource: None,
        subject: None,
        ttl_secs: None,
        renewed: false,
        ..token().renewal
    };
    res::TokenReply { renewal, ..token() }
}

fn account() -> res::AccountInfo {
    res::AccountInfo {
        account: "work".into(),
        issuer: ISSUER.into(),
        client_id: "authd-cli".into(),
        state: res::State::Due,
        flags: vec![res::Flag {
            flag: res::FlagName::Offline,
            reason: "the name idp.example.com does not resolve".into(),
            since_at: Some(NOW - 30),
        }],
        expires_at: Some(NOW + 600),
        expiry: res::Expiry::Exact,
        ttl_secs: Some(600),
        next_renewal_at: Some(NOW + 15),
        generation: 7,
        renewals: 6,
        last_error: Some(res::LastError {
            code: ErrorCode::Unavailable,
            message: "the name idp.example.com does not resolve".into(),
            at: NOW - 5,
        }),
        subject: Some("248289761001".into()),
        subject_name: Some("jane@example.com".into()),
        scopes: strings(&["openid", "api:read"]),
        resource: None,
        profile: Some("generic".into()),
        dpop: Some(res::Dpop::Bound),
        created_at: NOW - 86_400,
        login_ends_at: Some(NOW + 29 * 86_400),
        leases: vec![res::LeaseInfo {
            learned_lifetime_secs: Some(1800),
            stated_lifetime_secs: Some(3600),
            resource: None,
            scopes: strings(&["openid", "api:read"]),
            state: res::State::Due,
            expires_at: Some(NOW + 600),
            expiry: res::Expiry::Exact,
            ttl_secs: Some(600),
            generation: 7,
            next_renewal_at: Some(NOW + 15),
        }],
    }
}

fn event() -> Event {
    Event {
        account: Some("work".into()),
        issuer: Some(ISSUER.into()),
        scopes: Some(strings(&["openid", "api:read"])),
        state: Some(res::State::Fresh),
        flags: Some(vec![]),
        expires_at: Some(NOW + 3600),
        generation: Some(8),
        fingerprint: Some("9f86d081884c7d65".into()),
        attempt_id: Some("a-42".into()),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        grant: Some("grant-00000000000004d2".into()),
        ..Event::new(2_000_042, NOW, EventKind::Token)
    }
}

/// How an exchange failed, and what comes of it: every member that such an event can have.
fn failed() -> Event {
    Event {
        account: Some("work".into()),
        grant: Some("grant-00000000000004d2".into()),
        generation: Some(8),
        attempt_id: Some("attempt-00000000000010e1".into()),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        provider_request_id: Some("req-7f3a".into()),
        client: Some("authctl".into()),
        cause: Some("due".into()),
        outcome: Some("failed".into()),
        code: Some(ErrorCode::Throttled),
        message: Some("the provider asked for a pause: it answered 429".into()),
        next: Some("pause".into()),
        next_at: Some(NOW + 120),
        ..Event::new(2_000_043, NOW, EventKind::Exchange)
    }
}

fn login_done() -> res::LoginProgress {
    res::LoginProgress::Done(Box::new(res::LoginDone {
        account: "work".into(),
        issuer: ISSUER.into(),
        subject: Some("248289761001".into()),
        subject_name: Some("jane@example.com".into()),
        scopes: strings(&["openid", "api:read"]),
        refused_scopes: strings(&["api:write"]),
        expires_at: Some(NOW + 3600),
        expiry: res::Expiry::Exact,
        ttl_secs: Some(3600),
        next_renewal_at: Some(NOW + 2340),
        generation: 1,
        dpop: None,
    }))
}

/// Every vector, in a fixed order.
pub(crate) fn vectors() -> Vec<Vector> {
    let mut all = requests();
    all.extend(tolerated());
    all.extend(responses());
    all.extend(errors());
    for (name, event) in [
        ("notification-event", event()),
        ("notification-event-failed", failed()),
        (
            "notification-event-lagged",
            Event {
                missed: Some(3),
                ..Event::new(46, NOW, EventKind::Lagged)
            },
        ),
    ] {
        let mut bytes = Vec::new();
        encode::event(&mut bytes, &event).expect("a small event encodes");
        all.push(Vector {
            name: name.into(),
            bytes,
        });
    }
    all
}

fn requests() -> Vec<Vector> {
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
        request("", &req::AccountForget { account: account() }),
        request(
            "",
            &req::AccountAdopt {
                account: Some(account()),
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
        request("", &req::DaemonStatus {}),
        request("", &req::DaemonReload {}),
        request("", &req::DaemonStop {}),
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
        resources: vec!["https://mail.example.com/".to_owned()],
        flow: req::Flow::Browser,
        redirect_uri: Some("http://127.0.0.1:8123/callback".into()),
        dpop: true,
        replace_subject: true,
        extra: [("login_hint".to_owned(), "jane@example.com".to_owned())].into(),
    }
}

fn tolerated() -> Vec<Vector> {
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

fn gitlab() -> pro::ProviderInfo {
    pro::ProviderInfo {
        name: "gitlab".into(),
        title: "GitLab".into(),
        flows: vec![req::Flow::Browser, req::Flow::Device],
        variables: vec![pro::ProviderVariable {
            name: "host".into(),
            about: "the host of the instance".into(),
            default: Some("gitlab.com".into()),
        }],
        origin: pro::ProviderOrigin::BuiltIn,
    }
}

fn responses() -> Vec<Vector> {
    let login_id = || "l-1".to_owned();
    let browser = res::LoginStartReply {
        login_id: login_id(),
        account: "work".into(),
        flow: req::Flow::Browser,
        authorization_url: Some(format!("{ISSUER}/authorize?client_id=authd-cli&state=s-1")),
        authorization_url_expires_in_secs: Some(60),
        redirect_uri: Some("http://127.0.0.1:8123/callback".into()),
        user_code: None,
        verification_uri: None,
        verification_uri_complete: None,
        interval_secs: None,
        expires_in_secs: 600,
    };
    let device = res::LoginStartReply {
        flow: req::Flow::Device,
        authorization_url: None,
        authorization_url_expires_in_secs: None,
        redirect_uri: None,
        user_code: Some("WDJB-MJHT".into()),
        verification_uri: Some(format!("{ISSUER}/device")),
        verification_uri_complete: Some(format!("{ISSUER}/device?user_code=WDJB-MJHT")),
        interval_secs: Some(5),
        ..browser.clone()
    };
    vec![
        response::<req::Hello>(
            "",
            &res::HelloReply {
                version: 1,
                min_version: 1,
                max_version: 1,
                daemon_version: "0.1.0".into(),
                max_frame: 262_144,
                max_depth: 16,
                max_wait_secs: 300,
            },
        ),
        response::<req::TokenGet<'_>>("", &token()),
        response::<req::TokenGet<'_>>("-without-expiry", &token_without_expiry()),
        response::<req::TokenReject<'_>>("", &token()),
        response::<req::DpopProof>(
            "",
            &res::DpopProofReply {
                proof: WireSecret::new("eyJhbGciOiJFUzI1NiJ9.e30.c2ln"),
                account: "work".into(),
                jkt: "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U".into(),
            },
        ),
        response::<pro::ProviderList>(
            "",
            &pro::ProviderListReply {
                providers: vec![gitlab()],
                cursor: Some("gitlab".into()),
            },
        ),
        response::<pro::ProviderShow>(
            "",
            &pro::ProviderShowReply {
                info: gitlab(),
                addresses: vec![pro::ProviderAddress {
                    name: "issuer".into(),
                    url: "https://{host}".into(),
                }],
                redirect_uri: "http://127.0.0.1:8123/callback".into(),
                registration: Some(pro::ProviderRegistration {
                    url: "https://git.example.com/applications".into(),
                    steps: strings(&["Make an application.", "Copy its id."]),
                }),
                notes: strings(&["Give the host of your own instance."]),
                facts: vec![
                    pro::ProviderFact {
                        fact: "lifetime".into(),
                        value: Some("7200 seconds".into()),
                        sources: vec![pro::ProviderSource {
                            url: "https://docs.example.com/oauth2".into(),
                            read: "2026-11-26".into(),
                            says: "Access tokens live for two hours.".into(),
                        }],
                    },
                    pro::ProviderFact {
                        fact: "leeway".into(),
                        value: None,
                        sources: vec![],
                    },
                ],
            },
        ),
        response::<req::AccountList>(
            "",
            &res::AccountListReply {
                accounts: vec![account()],
                cursor: Some("d29yaw".into()),
            },
        ),
        response::<req::AccountList>(
            "-end",
            &res::AccountListReply {
                accounts: vec![],
                cursor: None,
            },
        ),
        response::<req::AccountGet>("", &account()),
        response::<req::AccountForget>(
            "",
            &res::AccountForgetReply {
                account: "work".into(),
            },
        ),
        response::<req::AccountAdopt>(
            "",
            &res::AccountAdoptReply {
                adopted: strings(&["work"]),
            },
        ),
        response::<req::LoginStart>("", &browser),
        response::<req::LoginStart>("-device", &device),
        response::<req::LoginWait>("", &login_done()),
        response::<req::LoginWait>("-pending", &res::LoginProgress::Pending),
        response::<req::LoginComplete>("", &login_done()),
        response::<req::LoginCancel>(
            "",
            &res::LoginCancelReply {
                login_id: login_id(),
            },
        ),
        response::<req::Logout>(
            "",
            &res::LogoutReply {
                account: "work".into(),
                revoked: vec![res::TokenKind::RefreshToken],
                pending: vec![res::TokenKind::AccessToken],
            },
        ),
        response::<req::Renew>("", &token().renewal),
        response::<req::Subscribe>(
            "",
            &res::SubscribeReply {
                events: EventKind::ALL.to_vec(),
            },
        ),
        response::<req::Unsubscribe>("", &res::UnsubscribeReply {}),
        response::<req::EventsQuery>(
            "",
            &res::EventsQueryReply {
                events: vec![event(), failed()],
                cursor: None,
            },
        ),
        response::<req::DaemonStatus>("", &daemon_status()),
        response::<req::DaemonReload>(
            "",
            &res::DaemonReloadReply {
                changed: strings(&["log.level"]),
                warnings: strings(&["socket.path takes effect at the next start"]),
            },
        ),
        response::<req::DaemonStop>("", &res::DaemonStopReply { pid: 4321 }),
    ]
}

fn daemon_status() -> res::DaemonStatusReply {
    res::DaemonStatusReply {
        version: "0.1.0".into(),
        protocol: 1,
        pid: 4321,
        started_at: NOW - 3600,
        uptime_secs: 3600,
        socket: "/run/user/1000/authd/authd.sock".into(),
        state_dir: "/home/jane/.local/state/authd".into(),
        config_path: None,
        key_protection: res::KeyProtection {
            kind: "keyring".into(),
            detail: "Secret Service, collection 'login'".into(),
        },
        sandbox: "none".into(),
        store: res::StoreStatus {
            state: "ok".into(),
            detail: None,
        },
        accounts: 1,
        connections: 2,
        watchers: 1,
        waiters: 0,
        exchanges_in_flight: 0,
        served: 1234,
        renewals: 6,
    }
}

fn errors() -> Vec<Vector> {
    let login = WireError::new(ErrorCode::LoginRequired, "the login of 'work' has expired")
        .with_hint("run 'authctl login work'")
        .with_account("work");
    let unknown = WireError::new(ErrorCode::UnknownAccount, "there is no account 'wrok'");
    let throttled = WireError::new(ErrorCode::Throttled, "idp.example.com asks for a pause")
        .with_account("work")
        .with_retry_after_secs(120);
    let max_ttl = WireError::new(
        ErrorCode::MaxTtlExceeded,
        "tokens of 'work' live 600 s at most",
    )
    .with_account("work")
    .with_max_ttl_secs(600);
    let ambiguous = WireError::new(ErrorCode::AmbiguousAccount, "several accounts match")
        .with_hint("name one of: home, work")
        .with_candidates(strings(&["home", "work"]));
    vec![
        error("text", &unknown, ErrorShape::Text),
        error("text-with-hint", &login, ErrorShape::Text),
        error("map", &unknown, ErrorShape::Map),
        error("map-with-hint", &login, ErrorShape::Map),
        error("map-retry-after", &throttled, ErrorShape::Map),
        error("map-max-ttl", &max_ttl, ErrorShape::Map),
        error("map-candidates", &ambiguous, ErrorShape::Map),
    ]
}
