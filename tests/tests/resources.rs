//! Tokens by resource (RFC 8707), whoever has it: no account is named.

use std::time::Duration;

use authd_e2e::Instance;
use authd_proto::{ErrorCode, request::TokenGet};
use authd_testkit::{FakeServer, Options};

const ONE: &str = "https://one.example.test/mcp";
const TWO: &str = "https://two.example.test/";
const THREE: &str = "https://three.example.test/mcp";

fn login(instance: &Instance, server: &FakeServer, account: &str, resources: &[&str]) {
    let more: Vec<_> = resources
        .iter()
        .flat_map(|resource| ["--resource", resource])
        .collect();
    let mut pending = instance.begin_login(account, server.issuer(), &more);
    pending.browse();
    assert_eq!(pending.finish().0["event"], "done");
}

#[test]
fn the_resource_decides_and_each_audience_costs_one_exchange() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    login(&instance, &server, "work", &[ONE, TWO]);
    login(&instance, &server, "home", &[THREE]);
    let ask = |resource: &str| {
        let printed = instance.authctl(&["token", "--json", "--resource", resource]);
        assert_eq!(printed.code(), 0, "{resource}: {}", printed.stderr);
        serde_json::from_str::<serde_json::Value>(&printed.stdout).unwrap()
    };
    // What comes of a spelling: whose token, and for which resource as the login names it.
    let spellings = [
        (ONE, "work", ONE),
        (TWO, "work", TWO),
        (THREE, "home", THREE),
        ("HTTPS://One.Example.Test:443/mcp", "work", ONE),
        ("https://one.example.test/mcp/", "work", ONE),
        ("https://two.example.test", "work", TWO),
    ];
    for _ in 0..2 {
        for (asked, account, resource) in spellings {
            let token = ask(asked);
            assert_eq!(token["account"], account, "{asked}");
            assert_eq!(token["resource"], resource, "{asked}");
        }
    }
    // Each login brought the token for its first resource.
    assert_eq!(server.counts().refreshes(), 1);
    let ledger = server.ledger();
    let tokens = ledger.access_tokens.iter();
    let audiences: Vec<_> = tokens.map(|token| token.resources.join(" ")).collect();
    assert_eq!(audiences, [ONE, THREE, TWO]);
}

#[test]
fn one_that_nobody_has_names_the_login_and_one_that_several_have_names_them() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let none = instance.authctl(&["token"]);
    assert_eq!(none.code(), 3, "{}", none.stderr);
    login(&instance, &server, "work", &[ONE]);
    // The only one there is.
    assert_eq!(instance.authctl(&["token"]).code(), 0);

    let none = instance.authctl(&["token", "--resource", THREE]);
    assert_eq!((none.code(), none.stdout.as_str()), (3, ""));
    let login_there = format!("authctl login --resource {THREE}");
    assert!(none.stderr.contains(&login_there), "{}", none.stderr);

    login(
        &instance,
        &server,
        "home",
        &["https://ONE.example.test/mcp"],
    );
    for arguments in [&["token"][..], &["token", "--resource", ONE]] {
        let several = instance.authctl(arguments);
        assert_eq!((several.code(), several.stdout.as_str()), (2, ""));
        assert!(several.stderr.contains("home, work"), "{}", several.stderr);
    }
    let error = instance
        .call(&TokenGet {
            resource: Some(ONE),
            ..TokenGet::default()
        })
        .err()
        .unwrap();
    assert_eq!(error.code, ErrorCode::AmbiguousAccount);
    assert_eq!(error.candidates, ["home", "work"]);
    // By name it goes on.
    instance.token("home", Duration::ZERO).unwrap();
    assert_eq!(server.counts().refreshes(), 0);
}
