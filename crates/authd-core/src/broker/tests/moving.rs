//! A token endpoint that went away.

use super::*;

fn gone() -> Bench {
    let mut bench = Bench::empty();
    let mut grant = grant("work", bench.now);
    grant.provider_mut().issuer = Some("https://idp.example".to_owned());
    bench.happen(Event::Loaded {
        grant: Box::new(grant),
        interrupted: None,
        stale: None,
    });
    bench.pass(secs(2400));
    bench.answer(plain(404, Body::Html));
    bench
}

fn found(bench: &mut Bench, token: &str) {
    let endpoints = Endpoints {
        token: token.to_owned(),
        ..Endpoints::default()
    };
    bench.happen(Event::Rediscovered {
        account: work(),
        endpoints: Some(endpoints),
    });
}

fn asked(bench: &Bench) -> usize {
    let seen = bench.seen.iter();
    seen.filter(|effect| matches!(effect, Effect::Rediscover { .. }))
        .count()
}

#[test]
fn another_path_of_the_same_host_is_taken_over_at_once() {
    let mut bench = gone();
    assert_eq!(asked(&bench), 1);
    assert!(bench.flags().misconfigured.is_some());
    found(&mut bench, "https://idp.example/oauth2/token");
    assert_eq!(bench.flags().misconfigured, None);
    assert_eq!(
        bench.grant().provider.endpoints.token,
        "https://idp.example/oauth2/token"
    );
    bench.pass(secs(1));
    bench.answer(tokens());
    assert_eq!(bench.grant().generation, Generation(2));
}

#[test]
fn another_host_gets_nothing_before_the_person_says_so() {
    let mut bench = gone();
    found(&mut bench, "https://elsewhere.example/token");
    let raised = bench.flags().misconfigured.clone().unwrap();
    assert_eq!(
        raised.reason,
        "the provider's token endpoint is at https://elsewhere.example now, not at https://idp.example"
    );
    assert_eq!(*bench.grant().provider, {
        let mut before = provider("idp.example");
        before.issuer = Some("https://idp.example".to_owned());
        before
    });
    bench.pass(secs(1000));
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn what_is_where_it_was_or_cannot_be_asked_changes_nothing() {
    let mut bench = gone();
    let before = bench.grant().clone();
    found(&mut bench, "https://idp.example/token");
    bench.happen(Event::Rediscovered {
        account: work(),
        endpoints: None,
    });
    assert_eq!(*bench.grant(), before);
    bench.pass(secs(1799));
    assert_eq!(bench.sent.len(), 1, "a try every half hour");
    bench.pass(secs(2));
    bench.answer(plain(404, Body::Html));
    assert_eq!(asked(&bench), 2);
}

#[test]
fn a_provider_without_an_issuer_has_no_metadata_to_ask() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench.answer(plain(404, Body::Html));
    assert_eq!(asked(&bench), 0);
}

#[test]
fn an_endpoint_that_was_given_by_hand_stays_where_it_was_given() {
    for (given, moves) in [("token_endpoint", false), ("revocation_endpoint", true)] {
        let mut bench = Bench::empty();
        let mut grant = grant("work", bench.now);
        let provider = grant.provider_mut();
        provider.issuer = Some("https://idp.example".to_owned());
        provider.endpoints = Endpoints {
            token: "https://idp.example/token".to_owned(),
            revocation: Some("https://idp.example/revoke".to_owned()),
            ..Endpoints::default()
        };
        let before = provider.endpoints.clone();
        provider.stated = Some(crate::metadata::Stated {
            given: [given.to_owned()].into(),
            ..Default::default()
        });
        bench.happen(Event::Loaded {
            grant: Box::new(grant),
            interrupted: None,
            stale: None,
        });
        bench.pass(secs(2400));
        bench.answer(plain(404, Body::Html));
        bench.happen(Event::Rediscovered {
            account: work(),
            endpoints: Some(Endpoints {
                token: "https://idp.example/v2/token".to_owned(),
                revocation: Some("https://idp.example/v2/revoke".to_owned()),
                ..Endpoints::default()
            }),
        });
        let now = &bench.grant().provider.endpoints;
        assert_eq!(now.token != before.token, moves, "{given}");
        assert_eq!(now.revocation, before.revocation, "{given}");
    }
}

#[test]
fn no_endpoint_that_a_token_is_sent_to_leaves_its_host() {
    let mut bench = Bench::empty();
    let mut grant = grant("work", bench.now);
    let before = Endpoints {
        token: "https://idp.example/token".to_owned(),
        revocation: Some("https://idp.example/revoke".to_owned()),
        userinfo: Some("https://me.example/userinfo".to_owned()),
        ..Endpoints::default()
    };
    grant.provider_mut().issuer = Some("https://idp.example".to_owned());
    grant.provider_mut().endpoints = before;
    bench.happen(Event::Loaded {
        grant: Box::new(grant),
        interrupted: None,
        stale: None,
    });
    bench.pass(secs(2400));
    bench.answer(plain(404, Body::Html));
    let endpoints = Endpoints {
        token: "https://idp.example/v2/token".to_owned(),
        revocation: Some("https://evil.example/revoke".to_owned()),
        introspection: Some("https://evil.example/introspect".to_owned()),
        userinfo: Some("https://me.example/v2/userinfo".to_owned()),
        ..Endpoints::default()
    };
    bench.happen(Event::Rediscovered {
        account: work(),
        endpoints: Some(endpoints),
    });
    let now = &bench.grant().provider.endpoints;
    assert_eq!(now.token, "https://idp.example/v2/token");
    assert_eq!(
        now.revocation.as_deref(),
        Some("https://idp.example/revoke")
    );
    assert_eq!(now.introspection, None);
    assert_eq!(
        now.userinfo.as_deref(),
        Some("https://me.example/v2/userinfo")
    );
}

#[test]
fn inv_16_an_endpoint_that_moves_to_and_fro_is_followed_at_the_pace_of_the_tries() {
    let mut bench = gone();
    bench.server = Server::Says(plain(404, Body::Html));
    let mut answered = 0;
    for _ in 0..7200 {
        if asked(&bench) > answered {
            answered = asked(&bench);
            found(
                &mut bench,
                &format!("https://idp.example/token{}", answered % 2),
            );
        }
        bench.pass(secs(1));
    }
    assert!(
        bench.sent.len() <= 12,
        "{} exchanges in two hours",
        bench.sent.len()
    );
}
