//! Providers and networks that fail.

use super::*;

/// The renewal is due, and the request is out.
fn due() -> Bench {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench
}

#[test]
fn inv_07_transient_errors_never_alter_the_grant() {
    for received in [
        unreachable(),
        nothing(false, Failure::Dns),
        nothing(false, Failure::Tls),
        plain(500, Body::Html),
        plain(200, Body::Html),
        plain(302, Body::Html),
        plain(429, Body::Empty),
        error(503, "temporarily_unavailable"),
    ] {
        let mut bench = due();
        bench.server = Server::Says(received.clone());
        bench.answer(received.clone());
        bench.pass(secs(2 * 86_400));
        let grant = bench.grant();
        assert!(
            grant.renewable && grant.flags.needs_login.is_none(),
            "{received:?}"
        );
        assert_eq!(grant.generation, Generation(1));
        bench.server = Server::Says(tokens());
        let ticket = bench.ask();
        bench.pass(secs(60));
        assert!(bench.served(ticket).renewed, "{received:?}");
    }
}

#[test]
fn inv_16_the_backoff_is_bounded_by_what_is_left() {
    let mut bench = due();
    bench.answer(unreachable());
    bench.server = Server::Says(unreachable());
    let end = bench.lease().issued.at.boot.after(secs(3600));
    bench.pass(secs(1200));
    let mut last = bench.sent[0].0;
    for (at, _) in &bench.sent[1..] {
        let left = end.since(last);
        let cap = (left / 8).clamp(secs(1), secs(300)) + Duration::from_millis(1);
        assert!(
            at.since(last) <= cap.max(secs(1)),
            "{last:?} to {at:?} with {left:?} left"
        );
        assert!(at.since(last) >= secs(1));
        last = *at;
    }
    let while_alive = bench.sent.len();
    assert!((10..400).contains(&while_alive), "{while_alive} attempts");
    bench.pass(secs(3600));
    let expired = &bench.sent[while_alive..];
    assert!(
        expired
            .windows(2)
            .all(|pair| pair[1].0.since(pair[0].0) <= secs(61))
    );
    assert!(
        expired.len() < 3600 / 10,
        "{} attempts in an hour",
        expired.len()
    );
}

#[test]
fn a_client_that_waits_cuts_the_pause_to_ten_seconds() {
    let mut bench = due();
    bench.answer(unreachable());
    bench.server = Server::Says(unreachable());
    bench.pass(secs(7200));
    bench.server = Server::Says(tokens());
    let ticket = bench.ask();
    bench.pass(secs(11));
    assert!(bench.served(ticket).renewed);
}

#[test]
fn failures_are_retried_after_the_backoff_and_not_after_a_share_of_a_long_life() {
    let mut bench = Bench::with(|grant| {
        let lease = grant.leases.get_mut(&LeaseKey::default()).unwrap();
        lease.lifetime = Some(secs(30 * 86_400));
    });
    bench.pass(secs(30 * 86_400));
    bench.answer(unreachable());
    bench.server = Server::Says(tokens());
    bench.pass(secs(10));
    assert_eq!(bench.grant().generation, Generation(2));
}

#[test]
fn inv_18_retry_after_is_obeyed_in_both_forms_and_capped() {
    let wall = |bench: &Bench, secs: i64| Wall(bench.now.wall.0 + 1000 * secs);
    let bench = due();
    for (retry_after, date, waits) in [
        (RetryAfter::Delay(secs(120)), None, 120),
        (RetryAfter::Until(wall(&bench, 90)), None, 90),
        (
            RetryAfter::Until(wall(&bench, 9_000)),
            Some(wall(&bench, 8_950)),
            50,
        ),
        (RetryAfter::Delay(secs(999_999)), None, 3600),
    ] {
        let mut bench = due();
        bench.answer_with(plain(429, Body::Empty), |answer| {
            (answer.retry_after, answer.date) = (Some(retry_after), date);
        });
        assert!(bench.flags().throttled.is_some());
        let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(3600)));
        bench.happen(Event::NetworkUp);
        bench.pass(secs(waits - 1));
        assert!(bench.out.is_empty(), "{retry_after:?}");
        if waits > 60 {
            assert_eq!(bench.why(ticket), Unavailable::Throttled);
        }
        bench.pass(secs(2));
        bench.answer(tokens());
        assert_eq!(bench.flags().throttled, None);
    }
}

#[test]
fn retry_after_counts_for_a_server_in_trouble_too() {
    let mut bench = due();
    bench.answer_with(plain(500, Body::Empty), |answer| {
        answer.retry_after = Some(RetryAfter::Delay(secs(100)));
    });
    bench.pass(secs(99));
    assert!(bench.out.is_empty());
    bench.pass(secs(2));
    assert_eq!(bench.out.len(), 1);
}

#[test]
fn inv_18_one_accounts_throttle_is_not_anothers() {
    let mut bench = due();
    bench.answer_with(plain(429, Body::Empty), |answer| {
        answer.retry_after = Some(RetryAfter::Delay(secs(3000)));
    });
    bench.load("other", |_| {});
    bench.pass(secs(2400));
    assert_eq!(bench.out.len(), 1);
    assert_eq!(bench.out[0].account, account("other"));
}

#[test]
fn inv_17_a_sick_host_delays_no_other() {
    let mut bench = Bench::empty();
    for n in 0..8 {
        bench.load(&format!("sick{n}"), |_| {});
    }
    bench.load("well", |grant| {
        grant.provider = provider("well.example").into()
    });
    bench.pass(secs(2400));
    assert_eq!(bench.out.len(), 9);
    while let Some(at) = bench
        .out
        .iter()
        .position(|out| out.account != account("well"))
    {
        bench.out.swap(0, at);
        bench.answer(unreachable());
    }
    bench.answer(tokens());
    let before = bench.sent.len();
    bench.pass(secs(25));
    assert_eq!(bench.sent.len(), before, "the breaker is open");
    let ticket = bench.ask_with(|demand| {
        demand.account = account("well");
        demand.key = key("api");
    });
    assert_eq!(bench.out[0].account, account("well"));
    bench.answer(tokens());
    assert!(bench.served(ticket).renewed);
    bench.pass(secs(10));
    assert_eq!(bench.out.len(), 1, "one canary");
    bench.answer(tokens());
    assert_eq!(bench.out.len(), 7, "it sang; the rest follow");
}

#[test]
fn an_early_refusal_keeps_the_token_and_moves_the_renew_point() {
    let mut bench = due();
    let lead = bench.lease().lead;
    bench.answer(plain(400, Body::Empty));
    assert_eq!(bench.lease().lead, lead / 2);
    assert_eq!(bench.flags().misconfigured, None);
    let ticket = bench.ask();
    assert!(!bench.served(ticket).low);
    bench.pass(secs(599));
    assert!(bench.out.is_empty());
    bench.pass(secs(1));
    bench.answer(tokens());
    assert!(
        bench.lease().lead <= lead / 2,
        "what was learned holds for the next generation"
    );
}

#[test]
fn inv_23_what_may_mean_too_early_pauses_no_longer_than_the_token_lives() {
    let no = error(400, "invalid_request");
    let mut bench = due();
    bench.answer(no.clone());
    bench.server = Server::Says(no);
    bench.pass(secs(1085));
    assert_eq!(
        bench.lease().generation.0,
        1,
        "refused at every renew point there is"
    );
    bench.server = Server::Says(tokens());
    bench.pass(secs(60));
    let ticket = bench.ask();
    assert!(
        !bench.served(ticket).low,
        "renewed before the old one ended"
    );
    assert_eq!(bench.lease().generation.0, 2);
}

#[test]
fn inv_23_a_pause_that_ends_while_a_client_waits_is_waited_for() {
    let no = error(400, "invalid_request");
    let mut bench = due();
    bench.answer(no.clone());
    bench.server = Server::Says(no);
    bench.pass(secs(1100));
    assert!(bench.flags().misconfigured.is_some());
    bench.server = Server::Says(unreachable());
    bench.pass(secs(150));
    bench.server = Server::Says(tokens());
    let ticket = bench.ask();
    bench.pass(secs(11));
    assert!(bench.served(ticket).renewed);
}

#[test]
fn inv_23_too_early_holds_back_no_renewal_of_a_token_that_is_dead() {
    let mut bench = due();
    bench.answer(plain(400, Body::Empty));
    bench.server = Server::Says(tokens());
    let current = bench.lease().fingerprint;
    let ticket = bench.reject(current);
    bench.pass(secs(1));
    assert!(
        bench.served(ticket).renewed,
        "and does not wait for the later renew point"
    );
}

#[test]
fn inv_08_what_may_mean_too_early_asks_nobody_to_log_in_while_the_token_lives() {
    let no = plain(400, Body::Empty);
    let mut bench = due();
    bench.answer(no.clone());
    bench.server = Server::Says(no);
    bench.pass(secs(1190));
    assert!(bench.sent.len() > 8, "tried {} times", bench.sent.len());
    assert_eq!(bench.flags().needs_login, None);
    bench.pass(secs(120));
    assert!(
        bench.flags().needs_login.is_some(),
        "nothing is too early now"
    );
}

#[test]
fn a_refusal_in_no_known_form_is_no_verdict() {
    let mut bench = due();
    let no = plain(403, Body::Html);
    bench.answer(no.clone());
    bench.server = Server::Says(no);
    bench.pass(secs(600));
    assert_eq!(
        bench.flags().needs_login,
        None,
        "the token lives; nobody is troubled"
    );
    bench.pass(secs(600));
    assert_eq!(bench.notices().len(), 1, "asked once");
    let before = bench.sent.len();
    bench.pass(secs(3600));
    assert_eq!(bench.notices().len(), 1);
    assert!(
        (8..=13).contains(&(bench.sent.len() - before)),
        "tried every five minutes"
    );
    bench.server = Server::Says(tokens());
    bench.pass(secs(301));
    assert_eq!(bench.flags().needs_login, None);
    let ticket = bench.ask();
    assert!(!bench.served(ticket).low);
}

#[test]
fn a_misconfigured_client_pauses_and_demands_do_not_hurry_it() {
    let mut bench = due();
    bench.server = Server::Says(error(401, "invalid_client"));
    bench.answer(error(401, "invalid_client"));
    assert!(bench.flags().misconfigured.is_some());
    bench.pass(secs(1200));
    for _ in 0..60 {
        let ticket = bench.ask();
        assert!(matches!(bench.refusal(ticket), Refusal::Misconfigured(_)));
        bench.pass(secs(5));
    }
    assert_eq!(bench.sent.len(), 1);
    bench.server = Server::Says(tokens());
    let ticket = bench.renew();
    assert!(bench.served(ticket).renewed, "a person may try at once");
    assert_eq!(bench.flags().misconfigured, None);
}

#[test]
fn inv_03_a_lost_answer_waits_where_a_retry_could_revoke() {
    let mut bench = due();
    bench.answer(lost());
    assert!(bench.flags().ambiguous.is_some());
    assert_eq!(
        bench.notices(),
        [&Notice::AnswerLost],
        "the user is warned first"
    );
    let ticket = bench.ask_with(|demand| demand.key = key("api"));
    bench.pass(secs(1079));
    assert_eq!(bench.sent.len(), 1, "nor for a lease that is not there");
    assert_eq!(bench.why(ticket), Unavailable::Ambiguous);
    bench.pass(secs(2));
    assert_eq!(bench.causes(), [Cause::Due, Cause::Settling]);
    bench.answer(tokens());
    assert_eq!(bench.flags().ambiguous, None);
}

#[test]
fn inv_03_a_lost_answer_is_settled_at_once_where_that_is_harmless() {
    type Change = fn(&mut Profile);
    let changes: [Change; 3] = [
        |profile| profile.rotation = Rotation::None,
        |profile| profile.rotation = Rotation::Rotates,
        |profile| profile.leeway = Some(secs(60)),
    ];
    for change in changes {
        let mut bench = Bench::with_profile(change);
        bench.pass(secs(2400));
        bench.answer(lost());
        bench.pass(secs(2));
        assert_eq!(bench.causes(), [Cause::Due, Cause::Settling]);
        assert!(bench.notices().is_empty());
        bench.answer(tokens());
        assert_eq!(bench.flags().ambiguous, None);
    }
}

#[test]
fn a_leeway_is_good_for_one_retry_within_it() {
    let mut bench = Bench::with_profile(|profile| profile.leeway = Some(secs(60)));
    bench.pass(secs(2400));
    bench.answer(lost());
    bench.pass(secs(2));
    bench.answer(lost());
    assert_eq!(bench.notices(), [&Notice::AnswerLost]);
    bench.pass(secs(600));
    assert_eq!(bench.sent.len(), 2, "the second loss waits");
    let mut late = Bench::with_profile(|profile| profile.leeway = Some(secs(20)));
    late.pass(secs(2400));
    late.pass(secs(30));
    late.answer(lost());
    late.pass(secs(600));
    assert_eq!(late.sent.len(), 1, "the time-out outlasted the leeway");
}

#[test]
fn inv_03_what_a_person_asks_for_is_the_one_retry_that_a_leeway_allows() {
    let mut bench = Bench::with_profile(|profile| profile.leeway = Some(secs(60)));
    bench.pass(secs(2400));
    bench.answer(lost());
    bench.renew();
    bench.pass(secs(1));
    assert_eq!(bench.causes(), [Cause::Due, Cause::Asked]);
    bench.answer(lost());
    bench.pass(secs(600));
    assert_eq!(bench.sent.len(), 2, "the second loss waits");
}

#[test]
fn an_interrupted_exchange_is_ambiguous_after_a_restart() {
    let mut bench = Bench::empty();
    let grant = Box::new(grant("work", bench.now));
    bench.happen(Event::Loaded {
        grant,
        interrupted: Some(Stamp {
            boot_id: BOOT,
            at: bench.now,
        }),
        stale: None,
    });
    assert_eq!(bench.notices(), [&Notice::AnswerLost]);
    bench.pass(secs(3400));
    assert!(bench.sent.is_empty());
    bench.pass(secs(100));
    assert_eq!(bench.causes(), [Cause::Settling]);
    bench.answer(error(400, "invalid_grant"));
    assert_eq!(bench.flags().ambiguous, None, "the provider spoke");
    assert!(bench.flags().suspect.is_some());
}

#[test]
fn a_duplicate_or_stale_event_changes_nothing() {
    let mut bench = due();
    let exchange = bench.out[0].clone();
    let attempt = exchange.attempt;
    bench.happen(Event::Intended {
        attempt,
        result: Ok(()),
    });
    bench.happen(Event::Committed {
        attempt,
        outcome: CommitOutcome::Durable,
    });
    assert_eq!(bench.broker.in_flight(), 1);
    assert_eq!(bench.sent.len(), 1);
    bench.answer(tokens());
    let again = bench.answered(&exchange, lasting(60), bench.now);
    bench.happen(again);
    bench.happen(Event::Committed {
        attempt,
        outcome: CommitOutcome::Durable,
    });
    assert_eq!(bench.grant().generation, Generation(2));
    assert_eq!(bench.lease().lifetime, Some(secs(3600)));
    assert_eq!(bench.broker.in_flight(), 0);
}

/// A provider that accepts a spent refresh token for a minute, and an intent of that age found at the
/// start.
fn interrupted(written: Stamp) -> Bench {
    let mut bench = Bench::empty();
    bench.pass(secs(3000));
    let mut grant = grant("work", bench.now);
    grant.provider_mut().profile = Profile {
        rotation: Rotation::ReuseDetected,
        leeway: Some(secs(60)),
        ..Profile::default()
    };
    bench.happen(Event::Loaded {
        grant: Box::new(grant),
        interrupted: Some(written),
        stale: None,
    });
    bench
}

#[test]
fn inv_03_a_leeway_counts_from_the_intent_and_not_from_the_start_of_the_process() {
    let start = Bench::empty().now;
    let ago = |age: u64| Stamp {
        boot_id: BOOT,
        at: Now {
            boot: start.boot.after(secs(3000 - age)),
            wall: start.wall.after(secs(3000 - age)),
        },
    };
    assert_eq!(interrupted(ago(30)).causes(), [Cause::Settling]);
    assert!(interrupted(ago(90)).sent.is_empty(), "it is over");
    let other_boot = |age| Stamp {
        boot_id: BootId(8),
        ..ago(age)
    };
    assert_eq!(interrupted(other_boot(30)).causes(), [Cause::Settling]);
    // Older than this boot: the moment cannot be told on its clock.
    let long_ago = Stamp {
        boot_id: BootId(8),
        at: Now {
            boot: Boot(1),
            wall: Wall(0),
        },
    };
    assert!(interrupted(long_ago).sent.is_empty());
    // Written in the future: its age is not known.
    let wall = start.wall.after(secs(9_000));
    let ahead = Stamp {
        boot_id: BootId(8),
        at: Now { wall, ..start },
    };
    assert!(interrupted(ahead).sent.is_empty());
}
