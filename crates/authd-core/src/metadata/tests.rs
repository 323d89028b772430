//! What counts as a change, and what does not.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::grant::Provider;

fn set(names: &[&str]) -> Option<BTreeSet<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

fn endpoints() -> Endpoints {
    Endpoints {
        token: "https://idp.example/token".to_owned(),
        authorization: Some("https://idp.example/authorize".to_owned()),
        userinfo: Some("https://idp.example/me".to_owned()),
        ..Endpoints::default()
    }
}

fn stated() -> Stated {
    Stated {
        grant_types: set(&["refresh_token", "authorization_code", "client_credentials"]),
        client_auth_methods: set(&["none", "client_secret_basic"]),
        code_challenge_methods: set(&["S256", "plain"]),
        given: BTreeSet::new(),
    }
}

fn grant(stated: Option<Stated>) -> Grant {
    let provider = Provider {
        issuer: Some("https://idp.example".to_owned()),
        endpoints: endpoints(),
        stated,
        ..Provider::default()
    };
    serde_json::from_value(json!({
        "account": "work",
        "id": 1,
        "generation": 1,
        "provider": provider,
        "subject": null,
        "scopes": [],
        "resource": null,
        "renewable": true,
        "leases": {},
        "flags": {},
        "renewals": 0,
        "created_at": 0,
        "last_error": null,
    }))
    .unwrap()
}

fn found(endpoints: Endpoints, stated: Stated) -> Found {
    Found::Metadata(Box::new(Document { endpoints, stated }))
}

fn told(grant: &Grant, found: &Found) -> Vec<String> {
    changes(grant, found)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn what_is_as_it_was_or_more_than_it_was_is_no_change() {
    let grant = grant(Some(stated()));
    assert_eq!(told(&grant, &found(endpoints(), stated())), [""; 0]);
    let mut more = endpoints();
    more.revocation = Some("https://idp.example/revoke".to_owned());
    let mut offers = stated();
    offers.grant_types.as_mut().unwrap().insert("x".to_owned());
    assert_eq!(told(&grant, &found(more, offers)), [""; 0]);
}

#[test]
fn each_change_has_its_sentence() {
    let grant = grant(Some(stated()));
    let moved = Endpoints {
        token: "https://new.example/token".to_owned(),
        userinfo: None,
        ..endpoints()
    };
    let less = Stated {
        grant_types: set(&["authorization_code"]),
        client_auth_methods: set(&["private_key_jwt"]),
        code_challenge_methods: None,
        ..Stated::default()
    };
    assert_eq!(
        told(&grant, &found(moved, less)),
        [
            "the token endpoint moved from https://idp.example/token to https://new.example/token",
            "the userinfo endpoint https://idp.example/me is named no more",
            "the grant type refresh_token is not offered any more",
            "the client authentication none is not offered any more",
            "the code challenge method S256 is not offered any more",
        ]
    );
    assert_eq!(
        told(
            &grant,
            &Found::OtherIssuer("https://new.example".to_owned())
        ),
        ["the issuer calls itself https://new.example now, not https://idp.example"]
    );
}

#[test]
fn what_the_login_does_not_rest_on_is_no_change() {
    // Of a person's login, what services use; and of a service's, what persons use.
    let mut offers = stated();
    offers.grant_types = set(&["refresh_token", "authorization_code"]);
    offers.client_auth_methods = set(&["none"]);
    assert_eq!(
        told(&grant(Some(stated())), &found(endpoints(), offers)),
        [""; 0]
    );
    let mut service = grant(Some(stated()));
    service.renewed_by = RenewedBy::ClientCredentials;
    service.provider_mut().client_auth = ClientAuth::Basic;
    let mut offers = stated();
    offers.grant_types = set(&["client_credentials"]);
    offers.code_challenge_methods = None;
    assert_eq!(told(&service, &found(endpoints(), offers)), [""; 0]);
    let mut offers = stated();
    offers.grant_types = set(&["refresh_token"]);
    offers.client_auth_methods = set(&["none"]);
    assert_eq!(
        told(&service, &found(endpoints(), offers)),
        [
            "the grant type client_credentials is not offered any more",
            "the client authentication client_secret_basic is not offered any more"
        ]
    );
}

#[test]
fn what_was_never_stated_cannot_be_taken_back() {
    // By one that lists nothing, and by one that never listed what works there all the same.
    for then in [
        Stated::default(),
        Stated {
            grant_types: set(&["authorization_code"]),
            client_auth_methods: set(&["client_secret_basic"]),
            ..Stated::default()
        },
    ] {
        let now = found(
            endpoints(),
            Stated {
                grant_types: set(&[]),
                client_auth_methods: set(&["private_key_jwt"]),
                ..Stated::default()
            },
        );
        let told = told(&grant(Some(then.clone())), &now);
        let expected: &[&str] = match then.grant_types {
            None => &[],
            Some(_) => &["the grant type authorization_code is not offered any more"],
        };
        assert_eq!(told, expected);
    }
}

#[test]
fn what_stops_being_stated_is_not_ruled_out() {
    let now = Stated {
        code_challenge_methods: set(&["S256"]),
        ..Stated::default()
    };
    assert_eq!(
        told(&grant(Some(stated())), &found(endpoints(), now)),
        [""; 0]
    );
}

#[test]
fn an_endpoint_that_was_given_by_hand_is_no_business_of_the_metadata() {
    let mut names = endpoints();
    names.token = "https://idp.example/other".to_owned();
    names.userinfo = None;
    let at_login = Stated::default().at_login(&endpoints(), &names);
    let given: Vec<_> = at_login.given.iter().map(String::as_str).collect();
    assert_eq!(given, ["token_endpoint", "userinfo_endpoint"]);
    let grant = grant(Some(at_login));
    names.token = "https://elsewhere.example/token".to_owned();
    names.authorization = Some("https://elsewhere.example/authorize".to_owned());
    assert_eq!(
        told(&grant, &found(names, Stated::default())),
        [
            "the authorization endpoint moved from https://idp.example/authorize to \
             https://elsewhere.example/authorize"
        ]
    );
}

#[test]
fn of_a_login_from_before_this_was_kept_the_endpoints_are_known() {
    let old = grant(None);
    let now = Stated {
        grant_types: set(&[]),
        ..Stated::default()
    };
    assert_eq!(told(&old, &found(endpoints(), now.clone())), [""; 0]);
    let mut moved = endpoints();
    moved.token = "https://idp.example/v2/token".to_owned();
    assert_eq!(told(&old, &found(moved, now)).len(), 1);
}

#[test]
fn a_hostile_address_is_told_short_and_without_control_characters() {
    let mut moved = endpoints();
    moved.token = format!("https://idp.example/\u{1b}[2J{}", "x".repeat(10_000));
    let mut known = grant(Some(stated()));
    known.provider_mut().endpoints = endpoints();
    let told = told(&known, &found(moved, stated()));
    assert!(
        told[0].len() < 300 && !told[0].contains('\u{1b}'),
        "{told:?}"
    );
}

#[test]
fn an_endpoint_is_taken_over_by_its_name() {
    let all = Endpoints {
        token: "t".to_owned(),
        authorization: Some("a".to_owned()),
        device_authorization: Some("d".to_owned()),
        revocation: Some("r".to_owned()),
        introspection: Some("i".to_owned()),
        userinfo: Some("u".to_owned()),
        pushed_authorization_request: Some("p".to_owned()),
        end_session: None,
    };
    let mut taken = Endpoints::default();
    for (name, url) in all.named() {
        taken.take_over(name, Some(url));
    }
    taken.take_over("jwks_uri", Some("no"));
    assert_eq!(taken, all);
    for (name, _) in all.named() {
        taken.take_over(name, None);
    }
    let token = "t".to_owned();
    assert_eq!(
        taken,
        Endpoints {
            token,
            ..Endpoints::default()
        }
    );
    let shared = Arc::new(all);
    assert_eq!(shared.by_name("userinfo_endpoint"), Some("u"));
    assert_eq!(shared.by_name("jwks_uri"), None);
}
