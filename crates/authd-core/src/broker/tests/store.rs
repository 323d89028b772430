//! Stores that fail, wait, or are not to be trusted.

use super::*;
use crate::flag::StaleStore;

fn due() -> Bench {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench
}

#[test]
fn a_store_that_cannot_take_the_intent_lets_nothing_leave() {
    let mut bench = Bench::new();
    bench.disk = Disk::Refuses;
    bench.pass(secs(2400));
    assert!(bench.sent.is_empty());
    assert!(bench.flags().store_degraded.is_some());
    bench.pass(secs(1170));
    assert_eq!(bench.notices().len(), 1, "said once");
    let ticket = bench.ask();
    assert!(bench.served(ticket).low);
    bench.pass(secs(30));
    let ticket = bench.ask_with(|demand| demand.wait = secs(1));
    bench.pass(secs(1));
    assert_eq!(bench.why(ticket), Unavailable::Store);
    bench.disk = Disk::Works;
    bench.pass(secs(61));
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.flags().store_degraded, None);
    assert_eq!(
        bench.view().grant.flags.store_degraded,
        None,
        "readers see it at once"
    );
}

#[test]
fn inv_04_nothing_is_published_before_the_commit() {
    let mut bench = due();
    let before = bench.lease().fingerprint;
    bench.disk = Disk::Holds;
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(3000)));
    bench.answer(tokens());
    assert_eq!(bench.reply(ticket), None);
    assert_eq!(bench.lease().fingerprint, before);
    assert_eq!(bench.view().grant.generation, Generation(1));
    let seen = bench.seen.len();
    bench.store_one();
    let after = &bench.seen[seen..];
    let published = after.iter().position(|effect| {
        matches!(
            effect,
            Effect::Publish {
                attempt: Some(_),
                ..
            }
        )
    });
    let replied = after
        .iter()
        .position(|effect| matches!(effect, Effect::Reply { .. }));
    assert!(published.unwrap() < replied.unwrap());
}

#[test]
fn a_stalled_intent_holds_no_answer_back() {
    let mut bench = Bench::new();
    bench.disk = Disk::Holds;
    bench.pass(secs(2400));
    assert!(bench.sent.is_empty());
    let ticket = bench.ask();
    assert!(!bench.served(ticket).low);
    bench.store_one();
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn inv_04_a_spilled_answer_is_served_said_and_written_again() {
    for disk in [Disk::Spills, Disk::Forgets] {
        let mut bench = due();
        bench.disk = disk;
        bench.answer(tokens());
        assert_eq!(
            bench.grant().generation,
            Generation(2),
            "the new token is in use"
        );
        assert!(bench.flags().store_degraded.is_some());
        assert_eq!(bench.broker.unsaved(), 1);
        bench.pass(secs(120));
        assert_eq!(bench.notices().len(), 1);
        let saves = bench.count(|effect| matches!(effect, Effect::Save { .. }));
        assert!((4..=12).contains(&saves), "{saves} tries in two minutes");
        bench.pass(secs(3450));
        assert_eq!(bench.sent.len(), 1, "it does not rotate again");
        let ticket = bench.ask();
        assert!(bench.served(ticket).low, "what lives is served");
        bench.pass(secs(200));
        let ticket = bench.ask();
        assert_eq!(bench.why(ticket), Unavailable::Store);
        bench.disk = Disk::Works;
        bench.pass(secs(31));
        assert_eq!(bench.flags().store_degraded, None);
        assert_eq!(bench.broker.unsaved(), 0);
        assert_eq!(bench.sent.len(), 2, "now it goes on");
    }
}

#[test]
fn while_a_generation_is_not_on_disk_no_flag_is_written_over_it() {
    let mut bench = due();
    bench.disk = Disk::Spills;
    bench.answer(tokens());
    let keeps = |bench: &Bench| bench.count(|effect| matches!(effect, Effect::Keep { .. }));
    let before = keeps(&bench);
    let current = bench.lease().fingerprint;
    bench.reject(current);
    assert_eq!(keeps(&bench), before);
    bench.disk = Disk::Works;
    bench.pass(secs(31));
    assert_eq!(
        keeps(&bench),
        before + 1,
        "what changed meanwhile is written then"
    );
}

#[test]
fn inv_11_a_superseded_answer_overwrites_nothing_and_is_not_fetched_again() {
    let mut bench = due();
    bench.disk = Disk::Holds;
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(3000)));
    bench.answer(tokens());
    let Some(Effect::Commit { attempt, .. }) = bench.held.pop_front() else {
        panic!("a commit");
    };
    let outcome = CommitOutcome::Superseded;
    bench.happen(Event::Committed { attempt, outcome });
    assert_eq!(bench.grant().generation, Generation(1));
    assert!(matches!(bench.refusal(ticket), Refusal::StaleStore(_)));
    bench.disk = Disk::Works;
    bench.pass(secs(7200));
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn inv_19_a_store_of_unknown_origin_makes_no_exchange_until_adopted() {
    let mut bench = Bench::empty();
    let grant = Box::new(grant("work", bench.now));
    bench.happen(Event::Loaded {
        grant,
        interrupted: None,
        stale: Some(StaleStore::OtherMachine),
    });
    let ticket = bench.ask();
    assert!(!bench.served(ticket).low, "what lives is served");
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(3600)));
    bench.pass(secs(7200));
    assert!(bench.sent.is_empty());
    let expired = bench.ask();
    for ticket in [ticket, expired] {
        let refusal = bench.reply(ticket).unwrap();
        assert!(refusal.is_ok() || *refusal == Err(Refusal::StaleStore(StaleStore::OtherMachine)));
    }
    let account = work();
    bench.happen(Event::Adopt { account });
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.flags().stale_store, None);
}

#[test]
fn flags_of_the_moment_are_not_written_to_disk() {
    let mut bench = due();
    bench.answer(unreachable());
    bench.server = Server::Says(unreachable());
    bench.pass(secs(600));
    assert_eq!(
        bench.count(|effect| matches!(effect, Effect::Keep { .. })),
        0
    );
}

#[test]
fn what_the_store_gives_late_is_no_news() {
    let mut bench = due();
    bench.answer(tokens());
    bench.load("work", |_| {});
    assert_eq!(bench.grant().generation, Generation(2));
}

#[test]
fn inv_11_while_a_newer_generation_is_on_its_way_to_the_disk_no_flag_overtakes_it() {
    let mut bench = Bench::new();
    bench.pass(secs(600));
    let reported = bench.lease().fingerprint;
    bench.reject(reported);
    bench.answer(tokens());
    bench.pass(secs(31));
    bench.renew();
    bench.disk = Disk::Holds;
    bench.answer(tokens());
    let keeps = |bench: &Bench| bench.count(|effect| matches!(effect, Effect::Keep { .. }));
    let before = keeps(&bench);
    let successor = bench.lease().fingerprint;
    let ticket = bench.reject(successor);
    assert_eq!(*bench.refusal(ticket), Refusal::ProviderRejects);
    assert_eq!(keeps(&bench), before);
    bench.store_one();
    assert_eq!(bench.grant().generation, Generation(3));
}
