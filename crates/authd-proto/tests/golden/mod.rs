//! The golden vectors of `proto/vectors`, as the code makes them.

mod approvals;
mod requests;
mod responses;
mod sockets;

use std::path::{Path, PathBuf};

use authd_proto::call::Request;
use authd_proto::encode;
use authd_proto::error::{ErrorCode, ErrorShape, WireError};
use authd_proto::event::{Event, EventKind};
use authd_proto::response as res;
use authd_proto::secret::WireSecret;

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
        clock_ahead_secs: Some(-600),
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
    let mut all = requests::requests();
    all.extend(requests::tolerated());
    all.extend(responses::responses());
    all.extend(sockets::vectors());
    all.extend(approvals::vectors());
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
