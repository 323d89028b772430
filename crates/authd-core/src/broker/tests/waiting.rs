//! Clients that wait: what they hear when it is not simply a token, and what their wishes make of the others'.

use super::*;
use crate::flag::LoginReason;

/// A login whose renewal is out and is not answered.
fn hanging() -> Bench {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    assert_eq!(bench.out.len(), 1);
    bench
}

#[test]
fn inv_01_whoever_runs_out_of_time_gets_what_is_left_of_a_live_token() {
    let mut bench = hanging();
    let end = bench.lease().issued.at.boot.after(secs(3600));
    bench.pass(end.since(bench.now.boot) - secs(30));
    let ticket = bench.ask_with(|demand| demand.wait = secs(5));
    assert_eq!(bench.reply(ticket), None, "the renewal may still come");
    bench.pass(secs(5));
    let served = bench.served(ticket);
    assert_eq!((served.low, served.ttl), (true, Some(secs(25))));
}

#[test]
fn whoever_wants_more_than_is_left_hears_of_the_deadline_while_an_answer_is_awaited() {
    let mut bench = hanging();
    let ticket = bench.ask_with(|demand| {
        (demand.min_ttl, demand.wait) = (Some(secs(3000)), secs(5));
    });
    bench.pass(secs(5));
    assert_eq!(bench.why(ticket), Unavailable::Deadline);
}

#[test]
fn a_token_that_a_jump_of_the_calendar_ended_is_not_named_as_the_most_there_is() {
    let mut bench = hanging();
    bench.answer(tokens());
    bench.now.wall = bench.now.wall.after(secs(7200));
    let ticket = bench.ask_with(|demand| {
        (demand.min_ttl, demand.wait) = (Some(secs(600)), Duration::ZERO);
    });
    assert_eq!(bench.why(ticket), Unavailable::Deadline);
}

#[test]
fn an_answer_that_took_long_counts_with_what_it_has_on_arrival() {
    let mut bench = hanging();
    bench.answer(lasting(20));
    bench.pass(secs(2));
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(19)));
    bench.pass(secs(2));
    bench.answer(lasting(20));
    let max_ttl = secs(18);
    assert_eq!(*bench.refusal(ticket), Refusal::MaxTtlExceeded { max_ttl });
    assert!(bench.out.is_empty(), "it would be as short the next time");
}

#[test]
fn inv_13_whoever_waits_for_a_token_that_is_another_persons_hears_that() {
    let mut bench = hanging();
    let demand = bench.question(|demand| demand.min_ttl = Some(secs(2400)));
    let ticket = demand.ticket;
    bench.happen(Event::Renew(demand));
    bench.answer(tokens_with(|tokens| tokens.subject = Some(subject("bob"))));
    let changed = Refusal::LoginRequired(LoginReason::SubjectChanged);
    assert_eq!(*bench.refusal(ticket), changed);
}

#[test]
fn a_person_who_asks_for_a_renewal_of_an_ended_login_hears_that_at_once() {
    let mut bench = hanging();
    bench.answer(error(400, "interaction_required"));
    bench.pass(secs(1200));
    let ticket = bench.renew();
    let ended = Refusal::LoginRequired(LoginReason::InteractionRequired);
    assert_eq!(*bench.refusal(ticket), ended);
}

#[test]
fn a_misconfiguration_is_told_unless_the_next_try_comes_within_the_wait() {
    let mut bench = hanging();
    bench.answer(error(401, "invalid_client"));
    let ask = |bench: &mut Bench, wait: u64| {
        bench.ask_with(|demand| (demand.min_ttl, demand.wait) = (Some(secs(3000)), secs(wait)))
    };
    let until = ask(&mut bench, 1800);
    assert!(matches!(bench.refusal(until), Refusal::Misconfigured(_)));
    let beyond = ask(&mut bench, 1801);
    assert_eq!(bench.reply(beyond), None);
    // The try is out: whether the words of the last one still hold is not known.
    bench.pass(secs(1800));
    assert_eq!(bench.out.len(), 1);
    let at_once = ask(&mut bench, 0);
    assert_eq!(bench.why(at_once), Unavailable::Deadline);
}

#[test]
fn a_client_that_comes_cuts_a_long_pause_that_was_drawn_before() {
    let mut bench = hanging();
    bench.server = Server::Says(unreachable());
    bench.answer(unreachable());
    bench.pass(secs(3600));
    let is_long = |bench: &Bench| {
        let next = bench.view().next_renewal.unwrap();
        next.since(bench.now.boot) > secs(20)
    };
    for _ in 0..600 {
        if is_long(&bench) {
            break;
        }
        bench.pass(secs(1));
    }
    assert!(is_long(&bench), "nobody waited: the pauses are long");
    let before = bench.sent.len();
    bench.ask();
    bench.pass(secs(10));
    assert!(bench.sent.len() > before);
}

#[test]
fn a_persons_wish_is_not_lost_among_those_of_clients() {
    let mut bench = hanging();
    let mut demand = bench.question(|demand| demand.key = key("api"));
    demand.wait = secs(3000);
    bench.happen(Event::Renew(demand));
    bench.ask_with(|demand| (demand.key, demand.wait) = (key("api"), secs(3000)));
    bench.answer(error(401, "invalid_client"));
    bench.pass(secs(2));
    assert_eq!(bench.causes().last(), Some(&Cause::Asked));
    assert_eq!(bench.out[0].key, key("api"));
}

#[test]
fn a_report_is_not_lost_among_the_wishes_of_clients() {
    let mut bench = Bench::new();
    bench.ask_with(|demand| demand.key = key("api"));
    let refused = bench.lease().fingerprint;
    let reported = bench.reject(refused);
    let asked = bench.ask();
    bench.answer(tokens());
    bench.pass(secs(1));
    assert_eq!(bench.causes(), [Cause::Demanded, Cause::Reported]);
    bench.answer(tokens());
    assert!(bench.served(reported).renewed && bench.served(asked).renewed);
}

#[test]
fn what_a_client_asked_for_in_vain_leaves_no_trace() {
    let mut bench = Bench::new();
    let ticket = bench.ask_with(|demand| demand.key = key("admin"));
    assert!(matches!(bench.refusal(ticket), Refusal::NotGranted(_)));
    assert!(!format!("{:?}", bench.broker).contains("admin"));
}

#[test]
fn tokens_in_an_answer_that_is_an_error_are_none() {
    for status in [302, 400, 429, 500] {
        let mut bench = hanging();
        let Received::Response { body, .. } = tokens() else {
            unreachable!()
        };
        bench.answer(plain(status, body));
        assert_eq!(bench.grant().generation, Generation(1), "{status}");
        assert!(bench.grant().last_error.is_some(), "{status}");
    }
}

#[test]
fn the_logins_own_lease_stays_also_when_another_is_renewed_after_its_end() {
    let mut bench = Bench::new();
    bench.move_to(bench.now.boot.after(secs(4000)));
    bench.ask_with(|demand| demand.key = key("api"));
    assert_eq!(bench.out[0].key, key("api"));
    bench.answer(tokens());
    assert!(bench.grant().leases.contains_key(&LeaseKey::default()));
}

#[test]
fn a_report_while_an_answer_is_on_its_way_to_the_disk_is_not_forgotten() {
    let mut bench = Bench::new();
    bench.ask_with(|demand| demand.key = key("api"));
    bench.disk = Disk::Holds;
    bench.answer(tokens());
    let refused = bench.lease().fingerprint;
    bench.reject(refused);
    bench.store_one();
    assert!(bench.lease().rejected);
}
