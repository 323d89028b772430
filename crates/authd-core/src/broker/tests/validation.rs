//! Asking the provider whether tokens are alive.

use super::*;

const EVERY: u64 = 300;

/// A login at a provider with introspection, in use.
fn asked_about() -> Bench {
    let mut bench = Bench::empty();
    let mut grant = grant("work", bench.now);
    grant.provider_mut().endpoints.introspection =
        Some("https://idp.example/introspect".to_owned());
    bench.happen(Event::Loaded {
        grant: Box::new(grant),
        interrupted: None,
        stale: None,
    });
    bench.server = Server::Says(tokens());
    bench
}

fn checks(bench: &Bench) -> Vec<Check> {
    let seen = bench.seen.iter();
    seen.filter_map(|effect| match effect {
        Effect::Validate(check) => Some(check.clone()),
        _ => None,
    })
    .collect()
}

fn found(bench: &mut Bench, finding: Finding) {
    let check = checks(bench).pop().expect("a question");
    bench.happen(Event::Validated { check, finding });
}

const ALIVE: Finding = Finding::Active { expires_in: None };

/// Uses the token every minute and answers each question with what `finding` gives.
fn use_for(bench: &mut Bench, time: u64, finding: Finding) {
    let before = checks(bench).len();
    let mut answered = before;
    for _ in 0..time / 60 {
        let ticket = bench.ask();
        assert!(bench.reply(ticket).unwrap().is_ok());
        bench.pass(secs(60));
        if checks(bench).len() > answered {
            answered = checks(bench).len();
            found(bench, finding);
        }
    }
}

#[test]
fn nobody_is_asked_about_what_nobody_uses() {
    let mut bench = asked_about();
    bench.pass(secs(2000));
    assert!(checks(&bench).is_empty());
    bench.ask();
    found(&mut bench, ALIVE);
    bench.pass(secs(20_000));
    assert!(checks(&bench).len() <= 3, "{}", checks(&bench).len());
}

#[test]
fn an_exchange_and_a_question_that_are_due_at_one_moment_follow_each_other() {
    let mut bench = asked_about();
    bench.pass(secs(60));
    let ticket = bench.renew();
    assert!(bench.reply(ticket).unwrap().is_ok());
    assert_eq!(checks(&bench).len(), 1, "about the new token");
}

#[test]
fn what_is_used_is_asked_about_within_the_interval_and_no_oftener() {
    let mut bench = asked_about();
    use_for(&mut bench, 36_000, ALIVE);
    let asked = checks(&bench).len() as u64;
    assert!(
        (36_000 / EVERY * 2 / 3..=36_000 / EVERY * 6 / 5).contains(&asked),
        "{asked}"
    );
    assert_eq!(bench.flags(), &Flags::default());
}

#[test]
fn a_token_that_the_provider_calls_dead_is_renewed_at_once() {
    let mut bench = asked_about();
    use_for(&mut bench, 900, ALIVE);
    let before = bench.lease().fingerprint;
    let renewals = bench.grant().renewals;
    bench.ask();
    bench.pass(secs(EVERY));
    found(&mut bench, Finding::Inactive);
    assert_eq!(bench.causes().last(), Some(&Cause::Inactive));
    assert_eq!(bench.grant().renewals, renewals + 1);
    let ticket = bench.ask();
    assert_ne!(bench.served(ticket).fingerprint, before);
    assert_eq!(bench.flags().provider_rejects, None);
    let learned = &bench.grant().learned[&LeaseKey::default()];
    assert!(learned.lifetime <= secs(1200), "{:?}", learned.lifetime);
    assert!(learned.lifetime >= secs(900));
}

#[test]
fn a_provider_that_never_called_a_token_alive_is_not_believed() {
    let mut bench = asked_about();
    use_for(&mut bench, 7200, Finding::Inactive);
    assert!(!bench.causes().contains(&Cause::Inactive));
    assert!(checks(&bench).len() <= 6, "{}", checks(&bench).len());
}

#[test]
fn a_provider_that_calls_even_new_tokens_dead_is_asked_no_more() {
    let mut bench = asked_about();
    use_for(&mut bench, 600, ALIVE);
    bench.ask();
    bench.pass(secs(EVERY));
    found(&mut bench, Finding::Inactive);
    bench.ask();
    assert_eq!(bench.causes(), [Cause::Inactive]);
    found(&mut bench, Finding::Inactive);
    let asked = checks(&bench).len();
    use_for(&mut bench, 7200, Finding::Inactive);
    let inactive = bench
        .causes()
        .iter()
        .filter(|cause| **cause == Cause::Inactive)
        .count();
    assert!(inactive <= 2, "{inactive} renewals");
    assert!(checks(&bench).len() <= asked + 1);
}

#[test]
fn the_providers_own_word_on_the_end_shortens_the_life() {
    let mut bench = asked_about();
    bench.ask();
    let expires_in = Some(secs(1800));
    found(&mut bench, Finding::Active { expires_in });
    assert_eq!(bench.lease().lifetime, Some(secs(1800)));
    bench.pass(secs(1750));
    assert_eq!(bench.causes(), [Cause::Due]);
    assert_eq!(bench.lease().lifetime, Some(secs(1800)), "learned");
}

#[test]
fn silence_is_no_answer_and_is_asked_about_less_and_less() {
    let mut bench = asked_about();
    use_for(&mut bench, 36_000, Finding::Unknown);
    assert!(checks(&bench).len() <= 7, "{}", checks(&bench).len());
    assert!(!bench.causes().contains(&Cause::Inactive));
}

#[test]
fn an_answer_about_a_token_that_was_renewed_meanwhile_says_nothing() {
    let mut bench = asked_about();
    bench.ask();
    let asked = checks(&bench).pop().unwrap();
    bench.renew();
    let check = asked.clone();
    bench.happen(Event::Validated {
        check: asked,
        finding: Finding::Inactive,
    });
    bench.happen(Event::Validated {
        check,
        finding: Finding::Inactive,
    });
    assert!(!bench.lease().rejected);
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn userinfo_is_asked_where_there_is_no_introspection_and_the_scope_allows() {
    for (scopes, means) in [("openid api", Some(Means::Userinfo)), ("api", None)] {
        let mut bench = Bench::empty();
        let mut grant = grant("work", bench.now);
        grant.provider_mut().endpoints.userinfo = Some("https://idp.example/me".to_owned());
        for lease in grant.leases.values_mut() {
            lease.scopes = ScopeSet::parse(scopes);
        }
        bench.happen(Event::Loaded {
            grant: Box::new(grant),
            interrupted: None,
            stale: None,
        });
        bench.ask();
        assert_eq!(checks(&bench).first().map(|check| check.means), means);
    }
}

#[test]
fn it_can_be_switched_off() {
    let mut bench = asked_about();
    bench.broker.configure(Config {
        validate_every: None,
        ..Config::default()
    });
    bench.ask();
    bench.pass(secs(1000));
    assert!(checks(&bench).is_empty());
}

#[test]
fn inv_16_a_question_that_waits_for_a_renewal_that_waits_for_its_turn_ends_no_day() {
    let mut bench = asked_about();
    bench.load("other", |_| {});
    bench.load("third", |_| {});
    use_for(&mut bench, 2100, ALIVE);
    bench.server = Server::Holds;
    // Two canaries for the host, which never come back; the third account waits for them.
    bench.happen(Event::NetworkUp);
    let ticket = bench.ask();
    assert!(bench.reply(ticket).unwrap().is_ok());
    bench.pass(secs(900));
    assert_eq!(bench.out.len(), 2);
}

#[test]
fn inv_01_a_token_that_the_provider_calls_dead_is_served_to_nobody() {
    let mut bench = asked_about();
    use_for(&mut bench, 600, ALIVE);
    bench.server = Server::Says(error(400, "invalid_grant"));
    bench.ask();
    bench.pass(secs(EVERY));
    found(&mut bench, Finding::Inactive);
    assert!(bench.flags().suspect.is_some());
    let ticket = bench.ask();
    bench.pass(secs(130));
    assert!(bench.reply(ticket).unwrap().is_err());
    assert!(bench.flags().needs_login.is_some());
    let ticket = bench.ask();
    assert!(matches!(bench.refusal(ticket), Refusal::LoginRequired(_)));
}

#[test]
fn what_is_said_of_one_lease_says_nothing_of_the_others() {
    let mut bench = asked_about();
    bench.ask();
    found(&mut bench, ALIVE);
    for _ in 0..3 {
        let ticket = bench.ask_with(|demand| demand.key = key("api"));
        assert!(bench.reply(ticket).unwrap().is_ok());
        bench.pass(secs(1));
        let check = checks(&bench).pop().unwrap();
        assert_eq!(check.key, key("api"));
        bench.happen(Event::Validated {
            check,
            finding: Finding::Inactive,
        });
        bench.pass(secs(86_400));
    }
    assert!(
        !bench.causes().contains(&Cause::Inactive),
        "never proven for it"
    );
    use_for(&mut bench, 3600, ALIVE);
    let own = LeaseKey::default();
    assert!(
        checks(&bench)
            .iter()
            .rev()
            .take(3)
            .any(|check| check.key == own)
    );
}

#[test]
fn inv_03_a_token_that_the_provider_calls_dead_puts_no_settling_off() {
    let mut bench = asked_about();
    use_for(&mut bench, 600, ALIVE);
    bench.server = Server::Holds;
    bench.renew();
    bench.answer(lost());
    bench.ask();
    bench.pass(secs(EVERY));
    assert!(bench.out.is_empty(), "what still works is not put at risk");
    found(&mut bench, Finding::Inactive);
    bench.pass(secs(10));
    assert_eq!(bench.causes().last(), Some(&Cause::Settling));
}

#[test]
fn no_question_leaves_a_machine_that_sleeps_or_a_daemon_that_stops() {
    for event in [Event::Suspending, Event::ShuttingDown] {
        let mut bench = asked_about();
        bench.happen(event);
        let ticket = bench.ask();
        assert!(bench.reply(ticket).unwrap().is_ok());
        bench.pass(secs(20));
        assert!(checks(&bench).is_empty());
    }
}

#[test]
fn tokens_are_asked_about_a_little_sooner_each_in_its_own_measure() {
    for (byte, expected) in [(0, 300_000), (0x80, 277_412), (0xff, 255_000)] {
        let mut bench = asked_about();
        let mut grant = grant("work", bench.now);
        grant.provider = bench.grant().provider.clone();
        for lease in grant.leases.values_mut() {
            lease.fingerprint.0[0] = byte;
        }
        bench.broker = Broker::new(Config::default(), 42, BOOT);
        bench.happen(Event::Loaded {
            grant: Box::new(grant),
            interrupted: None,
            stale: None,
        });
        bench.ask();
        found(&mut bench, ALIVE);
        bench.pass(secs(200));
        bench.ask();
        let pause = Duration::from_millis(expected) - secs(200);
        bench.pass(pause - Duration::from_millis(2));
        assert_eq!(checks(&bench).len(), 1);
        bench.pass(Duration::from_millis(4));
        assert_eq!(checks(&bench).len(), 2, "{byte}");
    }
}

#[test]
fn a_providers_word_that_is_none_or_nearly_what_is_believed_changes_nothing() {
    for left in [0, 3550, 3599, 7200] {
        let mut bench = asked_about();
        bench.ask();
        let expires_in = Some(secs(left));
        found(&mut bench, Finding::Active { expires_in });
        assert_eq!(bench.lease().lifetime, Some(secs(3600)), "{left} s");
        assert!(bench.grant().learned.is_empty(), "{left} s");
    }
}

#[test]
fn nothing_is_learned_from_a_provider_that_calls_even_new_tokens_dead() {
    let mut bench = asked_about();
    use_for(&mut bench, 600, ALIVE);
    bench.ask();
    bench.pass(secs(EVERY));
    found(&mut bench, Finding::Inactive);
    assert!(!bench.grant().learned.is_empty());
    bench.ask();
    found(&mut bench, Finding::Inactive);
    assert!(bench.grant().learned.is_empty());
}
