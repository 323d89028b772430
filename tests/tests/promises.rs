//! What the protocol promises and only a hostile or an unlucky client would notice.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use authd_e2e::{Instance, PATIENCE, instance::call};
use authd_proto::{
    ErrorCode,
    request::{LoginCancel, LoginComplete, LoginStart, LoginWait, TokenGet},
    response::LoginProgress,
};
use authd_testkit::{Browser, FakeServer, Options};

fn start(server: &FakeServer, account: &str) -> LoginStart {
    let issuer = server.issuer();
    serde_json::from_value(serde_json::json!({
        "account": account,
        "issuer": issuer,
        "client_id": "native",
        "scopes": ["openid", "offline_access", "api"],
    }))
    .unwrap()
}

#[test]
fn a_resource_named_at_login_finds_its_account_by_itself() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let named = "https://two.example.test/";
    let more = [
        "--resource",
        "https://one.example.test/",
        "--resource",
        named,
    ];
    let mut pending = instance.begin_login("demo", server.issuer(), &more);
    pending.browse();
    assert_eq!(pending.finish().0["event"], "done");
    let token = instance
        .call(&TokenGet {
            resource: Some(named),
            wait_secs: Some(PATIENCE.as_secs()),
            ..TokenGet::default()
        })
        .unwrap();
    assert_eq!(token.renewal.resource.as_deref(), Some(named));
}

#[test]
fn a_pasted_address_that_is_no_answer_leaves_the_attempt_as_it_was() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let mut client = instance.client();
    let begun = call(&mut client, &start(&server, "demo")).unwrap();
    let url = begun.authorization_url.unwrap();
    let redirect = begun.redirect_uri.unwrap();
    let state = url
        .split(['?', '&'])
        .find_map(|pair| pair.strip_prefix("state="))
        .unwrap();
    for query in [
        "code=a&code=b&state=wrong".to_owned(),
        format!("code=a&state={state}&iss=https://other.example"),
        format!("state={state}&iss={}", server.issuer()),
    ] {
        let complete: LoginComplete = serde_json::from_value(serde_json::json!({
            "login_id": begun.login_id,
            "redirect_url": format!("{redirect}?{query}"),
            "wait_secs": 1,
        }))
        .unwrap();
        let Err(refused) = call(&mut client, &complete) else {
            panic!("{query} was taken")
        };
        assert_eq!(refused.code, ErrorCode::BadRequest, "{query}: {refused}");
    }
    assert_eq!(Browser::new().follow_blocking(&url).unwrap().status, 200);
    let wait = LoginWait {
        login_id: begun.login_id,
        wait_secs: Some(PATIENCE.as_secs()),
    };
    assert!(matches!(
        call(&mut client, &wait).unwrap(),
        LoginProgress::Done(_)
    ));
}

#[test]
fn too_many_logins_under_way_are_busy_until_one_ends() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let mut client = instance.client();
    // The share of one process, which all of these are.
    let begun: Vec<_> = (0..16)
        .map(|n| call(&mut client, &start(&server, &format!("a{n}"))).unwrap())
        .collect();
    let Err(refused) = call(&mut client, &start(&server, "one-more")) else {
        panic!("a login beyond the cap")
    };
    assert_eq!(refused.code, ErrorCode::Busy, "{refused}");
    let login_id = begun[0].login_id.clone();
    let cancel = LoginCancel {
        login_id: login_id.clone(),
    };
    call(&mut client, &cancel).unwrap();
    let wait = LoginWait {
        login_id,
        wait_secs: Some(PATIENCE.as_secs()),
    };
    let Err(ended) = call(&mut client, &wait) else {
        panic!("it goes on")
    };
    assert_eq!(ended.code, ErrorCode::LoginCancelled, "{ended}");
    call(&mut client, &start(&server, "one-more")).unwrap();
}
