//! Reports of refused tokens.

use super::*;

/// Past the least distance, with the current token's fingerprint.
fn ready() -> (Bench, Fingerprint) {
    let mut bench = Bench::new();
    bench.pass(secs(600));
    let current = bench.lease().fingerprint;
    (bench, current)
}

fn reports_of(bench: &mut Bench) -> Ticket {
    let current = bench.lease().fingerprint;
    bench.reject(current)
}

#[test]
fn a_stale_report_gets_the_current_token_and_causes_nothing() {
    let (mut bench, current) = ready();
    let ticket = bench.reject(Fingerprint([9; 16]));
    assert_eq!(bench.served(ticket).fingerprint, current);
    assert!(bench.sent.is_empty());
}

#[test]
fn a_report_of_the_current_token_renews_once_for_all() {
    let (mut bench, current) = ready();
    let tickets = [bench.reject(current), bench.reject(current), bench.ask()];
    assert_eq!(bench.causes(), [Cause::Reported]);
    bench.answer(tokens());
    for ticket in tickets {
        assert_ne!(bench.served(ticket).fingerprint, current);
    }
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn a_second_report_comes_too_soon_within_thirty_seconds() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    reports_of(&mut bench);
    bench.pass(secs(29));
    let ticket = reports_of(&mut bench);
    assert_eq!(bench.why(ticket), Unavailable::TooManyReports);
    assert_eq!(bench.sent.len(), 1);
    let other = bench.ask();
    assert!(!bench.served(other).low, "the others are served on");
}

#[test]
fn a_successor_that_is_refused_too_ends_the_renewing() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    reports_of(&mut bench);
    bench.pass(secs(31));
    let ticket = reports_of(&mut bench);
    assert_eq!(*bench.refusal(ticket), Refusal::ProviderRejects);
    assert_eq!(bench.notices(), [&Notice::ProviderRejects]);
    bench.pass(secs(60));
    let ticket = reports_of(&mut bench);
    assert_eq!(*bench.refusal(ticket), Refusal::ProviderRejects);
    assert_eq!(bench.sent.len(), 1);
    let other = bench.ask();
    assert!(
        bench.served(other).ttl.is_some(),
        "the others are served on"
    );
    bench.pass(secs(3600));
    assert_eq!(
        bench.flags().provider_rejects,
        None,
        "the next renewal begins anew"
    );
}

#[test]
fn a_provider_that_ends_its_tokens_early_is_no_api_that_refuses() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    bench.pass(secs(600));
    for _ in 0..4 {
        let ticket = reports_of(&mut bench);
        assert!(bench.served(ticket).renewed);
        bench.pass(secs(1200));
    }
    assert_eq!(bench.flags().provider_rejects, None);
}

#[test]
fn inv_16_a_client_that_lies_in_every_report_brings_about_three_in_ten_minutes() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    for _ in 0..600 {
        reports_of(&mut bench);
        bench.pass(secs(1));
        let other = bench.ask();
        assert!(bench.reply(other).unwrap().is_ok());
    }
    assert!(bench.sent.len() <= 3, "{} exchanges", bench.sent.len());
}

#[test]
fn when_the_renewal_fails_the_others_keep_what_there_is() {
    let (mut bench, current) = ready();
    let reporter = bench.reject(current);
    let other = bench.ask();
    assert_eq!(bench.reply(other), None, "it waits for the better one");
    bench.answer(unreachable());
    assert!(bench.served(other).low);
    assert_eq!(bench.reply(reporter), None, "it has seen that one refused");
    bench.server = Server::Says(tokens());
    bench.pass(secs(10));
    assert_ne!(bench.served(reporter).fingerprint, current);
}

#[test]
fn a_report_that_can_bring_nothing_about_takes_nothing_away() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench.answer(error(400, "interaction_required"));
    let current = bench.lease().fingerprint;
    let ticket = bench.reject(current);
    assert!(matches!(bench.refusal(ticket), Refusal::LoginRequired(_)));
    let other = bench.ask();
    assert!(!bench.served(other).low);
}
