//! What a refusal leaves behind: on the disk, in words, and for the next try.

use super::*;
use crate::grant::Quirk;

/// A login whose renewal is out.
fn due() -> Bench {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench
}

fn kept(bench: &Bench) -> Vec<Arc<Grant>> {
    let seen = bench.seen.iter();
    seen.filter_map(|effect| match effect {
        Effect::Keep { grant } => Some(Arc::clone(grant)),
        _ => None,
    })
    .collect()
}

#[test]
fn what_stands_after_a_refusal_is_written_and_what_passes_is_not() {
    let mut bench = due();
    bench.answer(error(400, "invalid_grant"));
    assert!(kept(&bench).pop().unwrap().flags.suspect.is_some());
    let mut bench = due();
    bench.answer(plain(400, Body::Empty));
    let lead = bench.lease().lead;
    let written = kept(&bench).pop().expect("the later renew point");
    assert_eq!(written.leases[&LeaseKey::default()].lead, lead);
    let mut bench = due();
    bench.answer(unreachable());
    assert!(kept(&bench).is_empty());
}

#[test]
fn inv_03_an_intent_is_annulled_by_an_answer_and_not_by_a_lost_one() {
    let annulled = |received| {
        let mut bench = due();
        bench.answer(received);
        bench.count(|effect| matches!(effect, Effect::Annul { .. }))
    };
    assert_eq!(annulled(error(400, "invalid_grant")), 1);
    assert_eq!(annulled(unreachable()), 1);
    assert_eq!(annulled(lost()), 0);
}

#[test]
fn a_refusal_is_too_early_only_while_a_later_renew_point_is_left() {
    type Change = fn(&mut Lease);
    let cases: [(Change, u64, bool); 4] = [
        (|_| {}, 600, true),
        (|lease| lease.rejected = true, 600, false),
        (|lease| lease.lead = secs(120), 600, false),
        (|_| {}, 3100, false),
    ];
    for (change, at, early) in cases {
        let mut bench = Bench::with(|grant| {
            Arc::make_mut(&mut grant.provider).profile.quirks = vec![Quirk::RefusesEarlyRefresh];
        });
        bench.server = Server::Says(unreachable());
        bench.pass(secs(at));
        bench.broker = Broker::new(Config::default(), 42, BOOT);
        let mut grant = grant("work", bench.now);
        Arc::make_mut(&mut grant.provider).profile.quirks = vec![Quirk::RefusesEarlyRefresh];
        let lease = grant.leases.get_mut(&LeaseKey::default()).unwrap();
        lease.issued.at.boot = Boot(1_000_000);
        lease.issued.at.wall = Wall::from_unix_secs(1_700_000_000);
        change(lease);
        bench.server = Server::Says(error(400, "invalid_grant"));
        bench.happen(Event::Loaded {
            grant: Box::new(grant),
            interrupted: None,
            stale: None,
        });
        bench.renew();
        bench.pass(secs(1));
        assert_eq!(bench.flags().suspect.is_none(), early, "at {at} s");
    }
}

#[test]
fn too_early_holds_back_whoever_wants_more_while_the_token_lives() {
    let mut bench = due();
    bench.answer(plain(400, Body::Empty));
    bench.ask_with(|demand| demand.min_ttl = Some(secs(3000)));
    bench.pass(secs(59));
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn a_learned_lead_comes_back_step_by_step() {
    let mut bench = due();
    bench.answer(plain(400, Body::Empty));
    bench.server = Server::Says(tokens());
    let taught = bench.lease().lead;
    let mut leads = Vec::new();
    for _ in 0..10 {
        let before = bench.grant().generation;
        while bench.grant().generation == before {
            bench.ask();
            bench.pass(secs(60));
        }
        leads.push(bench.lease().lead);
    }
    let steps = [taught, taught * 9 / 8, taught * 9 / 8 * 9 / 8];
    assert_eq!(leads[..3], steps);
    // The usual lead is a draw of its own each time: 1260 s, give or take 15 %.
    assert!(
        leads[7..].iter().all(|lead| *lead >= secs(1071)),
        "{leads:?}"
    );
}

#[test]
fn a_request_that_may_be_too_early_is_tried_again_at_half_of_what_is_left() {
    let mut bench = Bench::with(|grant| {
        for lease in grant.leases.values_mut() {
            lease.lead = secs(120);
        }
    });
    bench.pass(secs(3480));
    bench.answer(error(400, "invalid_request"));
    assert!(bench.flags().misconfigured.is_some());
    let next = bench.view().next_renewal.unwrap();
    assert_eq!(next.since(bench.now.boot), secs(60));
}

#[test]
fn one_lease_that_is_held_back_lets_no_other_go() {
    let mut bench = Bench::new();
    let (mail, typo) = (of("https://mail.example"), of("https://typo.example"));
    for key in [&mail, &typo, &mail, &typo] {
        bench.ask_with(|demand| demand.key = key.clone());
        bench.pass(secs(2));
        if !bench.out.is_empty() {
            bench.answer(error(400, "invalid_target"));
        }
    }
    assert_eq!(bench.sent.len(), 2, "each once in half an hour");
}

#[test]
fn a_client_that_is_unknown_for_one_lease_is_unknown_for_all() {
    let mut bench = Bench::new();
    bench.ask_with(|demand| demand.key = of("https://mail.example"));
    bench.answer(error(401, "invalid_client"));
    assert!(bench.flags().misconfigured.is_some());
}

#[test]
fn a_misconfiguration_is_as_old_as_its_words() {
    let mut bench = due();
    let since = |bench: &Bench| bench.flags().misconfigured.as_ref().unwrap().since;
    bench.answer(error(401, "invalid_client"));
    let first = since(&bench);
    bench.pass(secs(1800));
    bench.answer(error(401, "invalid_client"));
    assert_eq!(since(&bench), first);
    bench.pass(secs(1800));
    bench.answer(error(401, "unauthorized_client"));
    assert_eq!(since(&bench), bench.now.wall);
}

#[test]
fn inv_09_a_second_refusal_confirms_whatever_it_was_asked_for() {
    let mut bench = due();
    bench.answer(error(400, "invalid_grant"));
    bench.pass(secs(10));
    bench.renew();
    // It comes back when the confirmation has been due for a while.
    bench.pass(secs(120));
    assert_eq!(bench.causes(), [Cause::Due, Cause::Asked]);
    bench.answer(error(400, "invalid_grant"));
    assert!(bench.flags().needs_login.is_some());
}

/// From `received` on: how long until the confirmation, after `key` is asked for `later`.
fn confirmed_within(bench: &mut Bench, later: u64, key: LeaseKey) -> Duration {
    bench.answer(error(400, "invalid_grant"));
    bench.pass(secs(later));
    assert_eq!(bench.sent.len(), 1, "not confirmed yet");
    let from = bench.now.boot;
    bench.ask_with(|demand| demand.key = key);
    bench.pass(secs(180));
    bench.sent[1].0.since(from)
}

#[test]
fn inv_09_the_confirmation_is_hastened_for_a_lease_that_ran_out_and_after_the_logins_own() {
    for seed in 0..30 {
        // What was held has run out, although the login's own token lives.
        let mut bench = Bench::with(|grant| {
            let mut short = grant.leases[&LeaseKey::default()].clone();
            (short.lifetime, short.lead, short.fingerprint.0) = (Some(secs(100)), secs(0), [2; 16]);
            grant.leases.insert(of("https://mail.example"), short);
        });
        bench.broker.configure(Config {
            idle_after: secs(50),
            ..Config::default()
        });
        bench.broker.rng = Rng::with_seed(seed);
        bench.pass(secs(1000));
        bench.renew();
        let within = confirmed_within(&mut bench, 20, of("https://mail.example"));
        assert!(within >= secs(2) && within <= secs(5), "{within:?}");
    }
    // What was never held is asked for when nothing else is left either.
    let mut bench = due();
    let end = bench.lease().issued.at.boot.after(secs(3600));
    bench.pass(end.since(bench.now.boot) - secs(30));
    let within = confirmed_within(&mut bench, 31, key("api"));
    assert!(within >= secs(2) && within <= secs(5), "{within:?}");
}

#[test]
fn the_latest_error_is_told_in_a_word_and_a_sentence() {
    let described = |description: &str| Body::Error {
        code: "invalid_client".to_owned(),
        description: Some(description.to_owned()),
        detail: None,
    };
    for (received, code, message) in [
        (
            plain(401, described("who are you?")),
            "invalid_client",
            "the provider answered 401 invalid_client: who are you?",
        ),
        (
            error(401, "invalid_client"),
            "invalid_client",
            "the provider answered 401 invalid_client: no description",
        ),
        (
            plain(429, Body::Empty),
            "throttled",
            "the provider answered 429",
        ),
        (
            plain(503, Body::Html),
            "html_page",
            "the token endpoint gave a web page with status 503",
        ),
        (
            plain(503, Body::Empty),
            "provider_error",
            "the token endpoint gave an empty answer with status 503",
        ),
        (
            plain(511, Body::Empty),
            "portal",
            "the token endpoint gave an empty answer with status 511",
        ),
        (
            plain(302, Body::Empty),
            "redirect",
            "the token endpoint gave an empty answer with status 302",
        ),
        (
            plain(407, Body::Empty),
            "proxy_login",
            "the token endpoint gave an empty answer with status 407",
        ),
        (
            nothing(false, Failure::ProxyLogin),
            "proxy_login",
            "no answer from the provider (proxy_login, before it was sent)",
        ),
        (
            nothing(false, Failure::UntrustedCertificate),
            "certificate_untrusted",
            "no answer from the provider (certificate_untrusted, before it was sent)",
        ),
        (
            plain(503, Body::Unintelligible),
            "provider_error",
            "the token endpoint gave an answer that is no OAuth response with status 503",
        ),
        (
            nothing(false, Failure::Dns),
            "dns",
            "no answer from the provider (dns, before it was sent)",
        ),
        (
            nothing(true, Failure::Broken),
            "connection_broken",
            "no answer from the provider (connection_broken, after the request was sent)",
        ),
    ] {
        let mut bench = due();
        bench.answer(received);
        let error = bench.grant().last_error.as_ref().unwrap();
        assert_eq!((&*error.code, &*error.message), (code, message));
    }
}

#[test]
fn a_lost_answer_is_settled_at_once_only_once() {
    let mut bench = Bench::with_profile(|profile| profile.rotation = Rotation::None);
    bench.renew();
    bench.answer(lost());
    bench.pass(secs(2));
    bench.answer(lost());
    assert_eq!(bench.causes(), [Cause::Asked, Cause::Settling]);
    bench.pass(secs(1200));
    assert_eq!(bench.sent.len(), 2, "the next is at the renew point");
}

#[test]
fn inv_03_a_login_that_nobody_uses_is_no_reason_to_risk_its_token() {
    let mut bench = Bench::with_profile(|profile| {
        profile.rotation = Rotation::ReuseDetected;
        profile.inactivity_limit = Some(secs(6 * 86_400));
    });
    bench.server = Server::Says(lasting(30 * 86_400));
    bench.renew();
    bench.server = Server::Holds;
    bench.pass(secs(2 * 86_400));
    assert_eq!(bench.causes(), [Cause::Asked, Cause::KeepAlive]);
    bench.answer(lost());
    bench.pass(secs(86_400));
    assert_eq!(bench.sent.len(), 2);
}
