//! The table: every method of the protocol, at either kind of socket.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use authd_core::{
    broker::View,
    grant::Grant,
    id::Account,
    scope::ScopeSet,
    time::{Boot, Stamp, Wall},
};
use authd_proto::{ErrorCode, Method, message::Message};
use authd_store::Secrets;

use super::*;
use crate::{
    clock::{Alarms, DrivenClock},
    restricted::{Login, Terms},
};

const BOOT_ID: BootId = BootId(1);
const MCP: &str = "https://mcp.example/mcp";

fn grant(sub: &str, scopes: &[&str]) -> Grant {
    let json = serde_json::json!({
        "account": "work",
        "id": 1,
        "generation": 1,
        "provider": authd_core::grant::Provider::default(),
        "subject": {"sub": sub, "name": null},
        "scopes": scopes,
        "resource": null,
        "resources": [MCP, "https://api.example"],
        "renewable": true,
        "leases": {},
        "flags": {},
        "renewals": 0,
        "created_at": 0,
        "last_error": null,
    });
    serde_json::from_value(json).unwrap()
}

fn snapshot(grant: Grant) -> Snapshot {
    let view = View {
        grant: Arc::new(grant),
        refreshing: None,
        next_renewal: None,
    };
    Snapshot::new(view, &Secrets::default(), None)
}

fn clock() -> DrivenClock {
    DrivenClock::at(Duration::from_secs(1_700_000_000), Alarms::ThroughSuspend)
}

/// One for the scope `a` of the account `work`, for a minute from now on.
fn restricted(clock: &DrivenClock, resources: &[&str]) -> Access {
    restricted_to(clock, "a", resources)
}

/// The same for these scopes.
fn restricted_to(clock: &DrivenClock, scopes: &str, resources: &[&str]) -> Access {
    let terms = Terms {
        name: "work-1".to_owned(),
        account: Account::new("work").unwrap(),
        login: Login::of(&grant("1", &["a", "b"])),
        scopes: ScopeSet::parse(scopes),
        resources: resources.iter().map(|one| (*one).to_owned()).collect(),
        uids: vec![1000],
        label: None,
        created: Stamp {
            boot_id: BOOT_ID,
            at: Clock::Driven(clock.clone()).now(),
        },
        ttl_secs: 60,
    };
    let now = Clock::Driven(clock.clone()).now();
    Access::Restricted(Arc::new(Restricted::new(terms, "/x".into(), now)))
}

/// Every golden request: at least one of each method.
fn requests() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/vectors");
    let entries = fs::read_dir(folder).unwrap();
    let requests: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("request-") && name.ends_with(".msgpack")
        })
        .map(|path| fs::read(path).unwrap())
        .collect();
    let methods: BTreeSet<&str> = requests.iter().map(|bytes| method(bytes)).collect();
    assert_eq!(methods.len(), Method::ALL.len(), "{methods:?}");
    requests
}

fn method(bytes: &[u8]) -> &str {
    match Message::parse(bytes) {
        Ok(Message::Request { method, .. }) => method,
        _ => panic!("no request"),
    }
}

fn call(bytes: &[u8]) -> Call<'_> {
    match Message::parse(bytes) {
        Ok(Message::Request { method, params, .. }) => Call::decode(method, params).unwrap(),
        _ => panic!("no request"),
    }
}

#[test]
fn three_methods_pass_at_a_restricted_socket_and_all_at_the_owners() {
    let driven = clock();
    let clock = Clock::Driven(driven.clone());
    for bytes in requests() {
        let (method, call) = (method(&bytes), call(&bytes));
        assert!(
            Access::Owner.admit(&call, &clock, BOOT_ID).is_ok(),
            "{method}"
        );
        // A new one each time: the limits are another test's.
        let admitted = restricted(&driven, &[]).admit(&call, &clock, BOOT_ID);
        match method {
            "hello" | "token.get" | "token.reject" => assert!(admitted.is_ok(), "{method}"),
            _ => {
                let error = admitted.unwrap_err();
                assert_eq!(error.code, ErrorCode::Denied, "{method}");
                assert!(
                    error.message.contains("for the token of 'work' alone"),
                    "{error}"
                );
            }
        }
    }
}

fn get(account: Option<&'static str>) -> Call<'static> {
    Call::TokenGet(authd_proto::request::TokenGet {
        account,
        ..authd_proto::request::TokenGet::default()
    })
}

#[test]
fn another_account_and_none_of_that_name_are_told_the_same() {
    let driven = clock();
    let (clock, access) = (Clock::Driven(driven.clone()), restricted(&driven, &[]));
    assert!(access.admit(&get(None), &clock, BOOT_ID).is_ok());
    assert!(access.admit(&get(Some("work")), &clock, BOOT_ID).is_ok());
    let refused = |name| access.admit(&get(Some(name)), &clock, BOOT_ID).unwrap_err();
    assert_eq!(refused("home"), refused("nobody"));
    assert_eq!(refused("home"), refused("no name\u{1b} at all"));
    assert_eq!(access.account(None), Some("work"));
}

#[test]
fn its_time_is_held_against_the_clock_at_every_request() {
    let driven = clock();
    let (clock, access) = (Clock::Driven(driven.clone()), restricted(&driven, &[]));
    driven.advance(Duration::from_secs(59));
    assert!(access.admit(&get(None), &clock, BOOT_ID).is_ok());
    driven.suspend(Duration::from_secs(1));
    let refused = access.admit(&get(None), &clock, BOOT_ID).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Denied);
}

#[test]
fn requests_and_reports_are_limited() {
    let driven = clock();
    let (clock, access) = (Clock::Driven(driven.clone()), restricted(&driven, &[]));
    let admitted = (0..300).filter(|_| access.admit(&get(None), &clock, BOOT_ID).is_ok());
    assert_eq!(admitted.count(), 200);
    let refused = access.admit(&get(None), &clock, BOOT_ID).unwrap_err();
    assert_eq!(
        (refused.code, refused.retry_after_secs),
        (ErrorCode::Throttled, Some(1))
    );
    driven.advance(Duration::from_secs(1));
    let admitted = (0..300).filter(|_| access.admit(&get(None), &clock, BOOT_ID).is_ok());
    assert_eq!(admitted.count(), 50);

    let access = restricted(&driven, &[]);
    let bytes = requests();
    let bytes = bytes
        .iter()
        .find(|bytes| method(bytes) == "token.reject")
        .unwrap();
    let report = || access.admit(&call(bytes), &clock, BOOT_ID);
    assert_eq!((report(), report()), (Ok(()), Ok(())));
    let refused = report().unwrap_err();
    assert_eq!(
        (refused.code, refused.retry_after_secs),
        (ErrorCode::Throttled, Some(600))
    );
    assert!(!access.teaches() && Access::Owner.teaches());
}

fn asked(scopes: &str, resource: Option<&str>) -> LeaseKey {
    LeaseKey {
        scopes: ScopeSet::parse(scopes),
        resource: resource.map(str::to_owned),
    }
}

#[test]
fn scopes_are_those_of_the_socket_at_most() {
    let access = restricted(&clock(), &[]);
    let two = snapshot(grant("1", &["a", "b"]));
    let key = access.key(&two, asked("", None)).unwrap();
    assert_eq!(
        key.scopes.to_string(),
        "a",
        "none asked for: those of the socket"
    );
    assert!(access.key(&two, asked("a", None)).is_ok());
    for wider in ["b", "a b", "c"] {
        let refused = access.key(&two, asked(wider, None)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Denied, "{wider}");
    }
    // The login's own lease is named by no scopes at all.
    let one = snapshot(grant("1", &["a"]));
    let key = access.key(&one, asked("", None)).unwrap();
    assert!(
        key.scopes.is_empty(),
        "all that the login has, and it has no more"
    );
}

#[test]
fn resources_are_those_of_the_socket_alone() {
    let two = snapshot(grant("1", &["a"]));
    let access = restricted(&clock(), &[MCP]);
    for same in [None, Some(MCP), Some("HTTPS://MCP.example:443/mcp")] {
        let key = access.key(&two, asked("", same)).unwrap();
        assert_eq!(key.resource.as_deref(), Some(MCP), "{same:?}");
    }
    for other in ["https://api.example", "https://mcp.example/other", ""] {
        let refused = access.key(&two, asked("", Some(other))).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Denied, "{other}");
    }
    let access = restricted(&clock(), &[]);
    assert_eq!(access.key(&two, asked("", None)).unwrap().resource, None);
    assert!(access.key(&two, asked("", Some(MCP))).is_err());
}

#[test]
fn a_login_of_somebody_else_gets_nothing_through_it() {
    let access = restricted(&clock(), &[]);
    let refused = access.key(&snapshot(grant("2", &["a"])), asked("", None));
    assert_eq!(refused.unwrap_err().code, ErrorCode::Denied);
}

#[test]
fn as_many_sets_of_scopes_as_there_may_be_and_no_more_are_asked_for_through_it() {
    let access = restricted_to(&clock(), "a b c", &[]);
    let login = snapshot(grant("1", &["a", "b", "c"]));
    let ask = |set: &str| access.key(&login, asked(set, None));
    let sets = ["a", "b", "c", "a b"];
    assert!(sets.iter().all(|set| ask(set).is_ok()));
    assert_eq!(ask("b c").unwrap_err().code, ErrorCode::BadRequest);
    // Those that were asked for already go on.
    assert!(sets.iter().all(|set| ask(set).is_ok()));
}

#[test]
fn a_token_with_more_scopes_than_the_socket_or_of_another_login_is_not_handed_out() {
    let access = restricted(&clock(), &[]);
    let key = asked("a", None);
    let of = |subject: &str, scopes: &str| {
        let mut grant = grant(subject, &["a", "b"]);
        let lease = authd_core::lease::Lease {
            fingerprint: authd_core::id::Fingerprint([1; 16]),
            token_type: "bearer".to_owned(),
            scopes: ScopeSet::parse(scopes),
            generation: authd_core::id::Generation(1),
            issued: Stamp {
                boot_id: BOOT_ID,
                at: Now {
                    boot: Boot(0),
                    wall: Wall(0),
                },
            },
            lifetime: None,
            expiry: authd_core::lease::Expiry::Unknown,
            lead: Duration::ZERO,
            rejected: false,
            dead: false,
        };
        grant.leases.insert(key.clone(), lease);
        access.check_token(&snapshot(grant), &key)
    };
    assert_eq!(of("1", "a"), Ok(()));
    assert_eq!(of("1", "a b").unwrap_err().code, ErrorCode::Denied);
    // It came while the request waited.
    assert_eq!(of("2", "a").unwrap_err().code, ErrorCode::Denied);
    let nothing = access.check_token(&snapshot(grant("1", &["a"])), &key);
    assert!(nothing.is_err(), "no lease, no token");
}

#[test]
fn errors_say_nothing_of_what_the_client_has_no_part_in() {
    let access = restricted(&clock(), &[]);
    for &code in ErrorCode::ALL {
        let error = WireError::new(code, "https://idp.example said 'x' of home, /run/y")
            .with_hint("ask https://idp.example of home in /run/y")
            .with_account("home")
            .with_candidates(vec!["home".to_owned()])
            .with_retry_after_secs(3);
        let shielded = access.shield(error);
        let text = format!("{shielded:?}");
        // What is wrong with the request itself is in words of the daemon's alone.
        if code != ErrorCode::BadRequest {
            for secret in ["idp.example", "home", "/run/y"] {
                assert!(!text.contains(secret), "{code}: {text}");
            }
        }
        assert!(shielded.candidates.is_empty());
        assert_eq!(shielded.account.as_deref(), Some("work"));
    }
}
