//! Reports of refused tokens.

use super::*;
use crate::flag::Rejecting;

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

#[test]
fn a_client_that_lies_is_disbelieved_alone() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    let by = |bench: &mut Bench, client: u64| {
        let fingerprint = bench.lease().fingerprint;
        bench.report(Report {
            fingerprint,
            client: ClientId(client),
            teaches: true,
        })
    };
    by(&mut bench, 1);
    bench.pass(secs(31));
    let liar = by(&mut bench, 1);
    assert_eq!(*bench.refusal(liar), Refusal::ProviderRejects);
    let raised = bench.flags().provider_rejects.clone();
    assert_eq!(raised.unwrap().reason, Rejecting::OneClient);
    bench.pass(secs(1200));
    let liar = by(&mut bench, 1);
    assert_eq!(*bench.refusal(liar), Refusal::ProviderRejects);
    assert_eq!(bench.sent.len(), 1);
    let honest = by(&mut bench, 2);
    assert!(
        bench.served(honest).renewed,
        "another is believed as before"
    );
    assert_eq!(bench.sent.len(), 2);
}

#[test]
fn two_clients_that_say_the_same_are_believed() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    for client in [1, 2] {
        let fingerprint = bench.lease().fingerprint;
        bench.report(Report {
            fingerprint,
            client: ClientId(client),
            teaches: true,
        });
        bench.pass(secs(31));
    }
    let raised = bench.flags().provider_rejects.clone();
    assert_eq!(raised.unwrap().reason, Rejecting::SeveralClients);
    let third = reports_of(&mut bench);
    assert_eq!(*bench.refusal(third), Refusal::ProviderRejects);
    assert_eq!(bench.sent.len(), 1);
}

/// Reports the current token once it is as old as this.
fn refused_at(bench: &mut Bench, age: u64) {
    let lease = bench.lease();
    let until = lease.issued.at.boot.after(secs(age));
    bench.pass(until.since(bench.now.boot));
    let ticket = reports_of(bench);
    assert!(bench.served(ticket).renewed);
}

#[test]
fn two_tokens_in_a_row_that_end_at_a_like_age_teach_a_shorter_life() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    refused_at(&mut bench, 1800);
    assert_eq!(
        bench.lease().lifetime,
        Some(secs(3600)),
        "once is not always"
    );
    refused_at(&mut bench, 1750);
    let learned = bench.grant().learned[&LeaseKey::default()].clone();
    assert_eq!((learned.lifetime, learned.stated), (secs(1750), secs(3600)));
    assert_eq!(bench.lease().lifetime, Some(secs(1750)));
    assert_eq!(bench.lease().expiry, Expiry::Assumed);
    let before = bench.sent.len();
    bench.pass(secs(1300));
    assert_eq!(bench.causes().last(), Some(&Cause::Due));
    assert_eq!(bench.sent.len(), before + 1, "renewed before it ends");
}

#[test]
fn what_was_learned_fades_and_is_known_again_at_the_first_report() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    refused_at(&mut bench, 1800);
    refused_at(&mut bench, 1800);
    while bench.lease().lifetime != Some(secs(3600)) {
        let ticket = bench.ask();
        assert!(bench.served(ticket).ttl.is_some());
        bench.pass(secs(600));
    }
    assert!(
        (20..40).contains(&bench.grant().renewals),
        "{}",
        bench.grant().renewals
    );
    refused_at(&mut bench, 1800);
    assert_eq!(bench.lease().lifetime, Some(secs(1800)));
}

#[test]
fn reports_of_unlike_ages_teach_nothing_and_a_quarter_is_the_least() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    refused_at(&mut bench, 700);
    refused_at(&mut bench, 2000);
    assert!(bench.grant().learned.is_empty());
    refused_at(&mut bench, 500);
    assert!(bench.grant().learned.is_empty());
    refused_at(&mut bench, 480);
    assert_eq!(bench.flags().provider_rejects, None);
    assert_eq!(bench.lease().lifetime, Some(secs(900)));
}

#[test]
fn a_report_through_a_restricted_socket_teaches_nothing() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    for _ in 0..6 {
        bench.pass(secs(900));
        let fingerprint = bench.lease().fingerprint;
        let ticket = bench.report(Report {
            fingerprint,
            client: ClientId(1),
            teaches: false,
        });
        assert!(bench.served(ticket).renewed);
    }
    assert!(bench.grant().learned.is_empty());
    bench.pass(secs(31));
    let fingerprint = bench.lease().fingerprint;
    bench.report(Report {
        fingerprint,
        client: ClientId(1),
        teaches: false,
    });
    assert_eq!(bench.flags().provider_rejects, None);
}

#[test]
fn a_young_token_refused_too_soon_to_count_counts_when_it_is_reported_again() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    reports_of(&mut bench);
    bench.pass(secs(1));
    let ticket = reports_of(&mut bench);
    assert_eq!(bench.why(ticket), Unavailable::TooManyReports);
    bench.pass(secs(900));
    let ticket = reports_of(&mut bench);
    assert_eq!(*bench.refusal(ticket), Refusal::ProviderRejects);
    assert_eq!(bench.sent.len(), 1);
}

fn hearsay(bench: &mut Bench) -> Ticket {
    let fingerprint = bench.lease().fingerprint;
    bench.report(Report {
        fingerprint,
        client: ClientId(9),
        teaches: false,
    })
}

#[test]
fn inv_03_hearsay_of_a_refused_token_puts_none_at_risk() {
    let mut bench = Bench::with_profile(|profile| profile.rotation = Rotation::ReuseDetected);
    bench.pass(secs(600));
    hearsay(&mut bench);
    bench.answer(lost());
    bench.pass(secs(600));
    assert_eq!(bench.sent.len(), 1, "not before the token is nearly spent");
}

#[test]
fn inv_01_in_an_outage_a_report_takes_nothing_from_those_who_want_time() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(unreachable());
    hearsay(&mut bench);
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(300)));
    assert!(bench.served(ticket).low);
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(3500)));
    bench.pass(secs(61));
    assert!(bench.reply(ticket).unwrap().is_err(), "more than there is");
}

#[test]
fn whoever_is_not_told_apart_is_one_witness() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    for _ in 0..2 {
        let fingerprint = bench.lease().fingerprint;
        bench.report(Report {
            fingerprint,
            client: ClientId::default(),
            teaches: true,
        });
        bench.pass(secs(31));
    }
    let raised = bench.flags().provider_rejects.clone();
    assert_eq!(raised.unwrap().reason, Rejecting::OneClient);
    let honest = reports_of(&mut bench);
    assert!(bench.served(honest).renewed);
}

#[test]
fn a_client_in_a_loop_does_not_fill_the_story() {
    let (mut bench, _) = ready();
    for _ in 0..1000 {
        bench.reject(Fingerprint([9; 16]));
    }
    bench.pass(secs(31));
    bench.reject(Fingerprint([9; 16]));
    let told = bench.count(|effect| {
        matches!(
            effect,
            Effect::Record(Record {
                what: Decided::ReportSetAside,
                ..
            })
        )
    });
    assert_eq!(told, 2);
}

#[test]
fn inv_16_reports_count_again_once_thirty_seconds_are_over() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    let ticket = hearsay(&mut bench);
    assert!(bench.served(ticket).renewed);
    bench.pass(BETWEEN - secs(1));
    let ticket = hearsay(&mut bench);
    assert_eq!(bench.why(ticket), Unavailable::TooManyReports);
    bench.pass(secs(1));
    let ticket = hearsay(&mut bench);
    bench.pass(secs(1));
    assert!(bench.served(ticket).renewed);
}

/// Distance between two renewals that reports force.
const BETWEEN: Duration = Duration::from_secs(30);

#[test]
fn a_token_is_young_for_a_minute_or_an_eighth_of_its_life() {
    for (lifetime, age, helps) in [
        (3600, 59, false),
        (3600, 60, true),
        (400, 49, false),
        (400, 50, true),
    ] {
        let (mut bench, _) = ready();
        bench.server = Server::Says(lasting(lifetime));
        refused_at(&mut bench, 700);
        bench.pass(secs(age));
        let ticket = reports_of(&mut bench);
        bench.pass(secs(1));
        let rejects = bench.reply(ticket) == Some(&Err(Refusal::ProviderRejects));
        assert_eq!(rejects, !helps, "{age} s of {lifetime} s");
    }
}

#[test]
fn what_another_lease_went_through_does_not_make_a_refused_successor_good() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    refused_at(&mut bench, 700);
    let ticket = bench.ask_with(|demand| demand.key = key("api"));
    bench.pass(secs(40));
    assert!(bench.served(ticket).renewed);
    let ticket = reports_of(&mut bench);
    assert_eq!(*bench.refusal(ticket), Refusal::ProviderRejects);
}

#[test]
fn who_was_disbelieved_is_heard_again_after_a_renewal_that_no_report_brought() {
    let (mut bench, _) = ready();
    bench.server = Server::Says(tokens());
    refused_at(&mut bench, 700);
    bench.pass(secs(40));
    let ticket = reports_of(&mut bench);
    assert_eq!(*bench.refusal(ticket), Refusal::ProviderRejects);
    bench.renew();
    refused_at(&mut bench, 900);
}

#[test]
fn the_story_tells_of_reports_that_changed_nothing_every_half_minute() {
    let (mut bench, _) = ready();
    let told = |bench: &Bench| {
        bench.count(|effect| {
            matches!(
                effect,
                Effect::Record(Record {
                    what: Decided::ReportSetAside,
                    ..
                })
            )
        })
    };
    for (pause, expected) in [(0, 1), (29, 1), (1, 2), (30, 3)] {
        bench.pass(secs(pause));
        bench.reject(Fingerprint([9; 16]));
        assert_eq!(told(&bench), expected);
    }
}
