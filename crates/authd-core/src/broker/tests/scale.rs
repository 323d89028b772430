//! Many accounts at once.

use super::*;

/// A thousand accounts, all expired, the machine just awake; every tenth is waited for.
fn morning() -> Bench {
    let mut bench = Bench::empty();
    for n in 0..1000 {
        bench.load(&format!("a{n:03}"), |_| {});
    }
    bench.happen(Event::Suspending);
    bench.move_to(bench.now.boot.after(secs(10 * 3600)));
    bench
}

#[test]
fn inv_16_a_wake_with_a_thousand_accounts_respects_the_rate() {
    let mut bench = morning();
    bench.server = Server::Says(tokens());
    bench.happen(Event::Resumed);
    bench.pass(secs(120));
    assert_eq!(bench.sent.len(), 1000);
    let start = bench.sent[0].0;
    for window in 1..=12 {
        let until = start.after(secs(5 * window));
        let sent = bench.sent.iter().filter(|(at, _)| *at <= until).count() as u64;
        assert!(sent <= 33 + 50 * window, "{sent} within {} s", 5 * window);
    }
}

#[test]
fn those_that_are_waited_for_go_first() {
    let mut bench = morning();
    bench.happen(Event::Resumed);
    let mut waiting = BTreeSet::new();
    let mut tickets = Vec::new();
    for n in (0..1000).step_by(10) {
        let account = account(&format!("a{n:03}"));
        waiting.insert(account.clone());
        tickets.push(bench.ask_with(|demand| demand.account = account));
    }
    bench.answer(tokens());
    bench.server = Server::Says(tokens());
    while !bench.out.is_empty() {
        bench.answer(tokens());
    }
    bench.pass(secs(30));
    let first: BTreeSet<_> = bench
        .sent
        .iter()
        .skip(1)
        .take(99)
        .map(|(_, sent)| sent.account.clone())
        .collect();
    assert!(
        first.is_subset(&waiting),
        "although their wishes stood in the queue before"
    );
    for ticket in tickets {
        assert!(bench.served(ticket).renewed);
    }
}

#[test]
fn a_storm_of_429_slows_down_and_recovers() {
    let mut bench = morning();
    bench.server = Server::Says(plain(429, Body::Empty));
    bench.happen(Event::Resumed);
    bench.pass(secs(60));
    let storm = bench.sent.len();
    assert!(storm < 120, "{storm} exchanges in a minute of refusals");
    bench.server = Server::Says(tokens());
    bench.pass(secs(600));
    let renewed = (0..1000)
        .map(|n| account(&format!("a{n:03}")))
        .filter(|account| bench.broker.grant(account).unwrap().generation == Generation(2))
        .count();
    assert_eq!(renewed, 1000);
}

#[test]
fn an_idle_engine_sleeps() {
    let mut bench = Bench::empty();
    for n in 0..100 {
        bench.load(&format!("a{n:02}"), |_| {});
    }
    let next = bench.broker.poll_timeout().unwrap();
    assert_eq!(next, bench.now.boot.after(secs(2400)));
    let effects = bench.seen.len();
    for _ in 0..10 {
        bench.happen(Event::Tick);
    }
    assert_eq!(bench.seen.len(), effects, "nothing new, nothing said");
}

#[test]
fn inv_23_a_turn_that_is_not_taken_is_the_next_ones() {
    let mut bench = Bench::with_profile(|profile| profile.leeway = Some(secs(20)));
    for n in 0..5 {
        bench.load(&format!("z{n}"), |_| {});
    }
    bench.pass(secs(2400));
    bench.answer(lost());
    (0..5).for_each(|_| bench.answer(unreachable()));
    assert!(bench.out.is_empty(), "the breaker is open");
    // Meanwhile the leeway of the first in the queue runs out.
    bench.pass(secs(31));
    assert_eq!(bench.out.len(), 1, "one canary");
    assert_ne!(bench.out[0].account, work());
}

#[test]
fn what_is_in_use_goes_before_what_is_only_kept_alive() {
    let mut bench = Bench::empty();
    bench.load("idle", |_| {});
    bench.load("used", |_| {});
    bench.happen(Event::Suspending);
    bench.move_to(bench.now.boot.after(secs(25 * 3600)));
    bench.happen(Event::Used {
        account: account("used"),
        key: LeaseKey::default(),
    });
    assert_eq!(bench.out.len(), 1, "one canary");
    assert_eq!(bench.out[0].account, account("used"));
}
