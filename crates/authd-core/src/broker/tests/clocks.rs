//! Clocks that jump, machines that sleep, networks that come back.

use super::*;

const DECADE: i64 = 10 * 365 * 86_400_000;

#[test]
fn inv_14_a_wall_clock_that_jumps_costs_one_exchange_at_most() {
    for (there, back) in [(DECADE, -DECADE), (-DECADE, DECADE), (DECADE, DECADE)] {
        let mut bench = Bench::new();
        bench.server = Server::Says(tokens());
        bench.pass(secs(100));
        bench.now.wall.0 += there;
        bench.happen(Event::Tick);
        let ticket = bench.ask();
        bench.pass(secs(100));
        let after_there = bench.sent.len();
        assert!(after_there <= 1, "{there} ms: {after_there} exchanges");
        bench.now.wall.0 += back;
        bench.happen(Event::Tick);
        let again = bench.ask();
        bench.pass(secs(100));
        assert!(bench.sent.len() - after_there <= 1, "{back} ms back");
        for ticket in [ticket, again] {
            assert!(bench.served(ticket).ttl > Some(secs(3000)));
        }
    }
}

#[test]
fn a_calendar_that_spends_a_token_has_it_renewed_at_once() {
    let mut bench = Bench::new();
    bench.pass(secs(100));
    // Less than is worth a note, and enough for what was nearly due.
    bench.pass(secs(2280));
    bench.now.wall.0 += 30_000;
    bench.happen(Event::Tick);
    assert_eq!(bench.out.len(), 1);
}

#[test]
fn a_token_of_another_boot_is_judged_by_the_wall_clock() {
    let mut bench = Bench::empty();
    let (then, wall) = (bench.now, bench.now.wall);
    bench.now.wall = wall.after(secs(600));
    bench.load("work", |grant| {
        let lease = grant.leases.get_mut(&LeaseKey::default()).unwrap();
        lease.issued = Stamp {
            boot_id: BootId(1),
            at: then,
        };
    });
    let ticket = bench.ask();
    assert_eq!(bench.served(ticket).ttl, Some(secs(3000)));
    let mut before = Bench::empty();
    before.load("work", |grant| {
        let lease = grant.leases.get_mut(&LeaseKey::default()).unwrap();
        let at = Now {
            boot: Boot(0),
            wall: Wall(i64::MAX),
        };
        lease.issued = Stamp {
            boot_id: BootId(1),
            at,
        };
    });
    assert_eq!(
        before.sent.len(),
        1,
        "an age that cannot be told leaves nothing"
    );
}

#[test]
fn nothing_leaves_between_the_announcement_of_sleep_and_the_wake() {
    let mut bench = Bench::new();
    bench.disk = Disk::Holds;
    bench.pass(secs(2400));
    bench.happen(Event::Suspending);
    bench.store_one();
    assert!(
        bench.sent.is_empty(),
        "the intent was written; the request stays"
    );
    assert_eq!(
        bench.count(|effect| matches!(effect, Effect::Annul { .. })),
        1
    );
    bench.disk = Disk::Works;
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(3000)));
    assert!(bench.sent.is_empty());
    assert_eq!(bench.reply(ticket), None, "it waits");
    bench.move_to(bench.now.boot.after(secs(8)));
    bench.happen(Event::Resumed);
    assert_eq!(bench.sent.len(), 1);
    bench.answer(tokens());
    assert!(bench.served(ticket).renewed);
}

#[test]
fn inv_15_a_wait_that_was_drawn_before_a_sleep_does_not_outlast_it() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    let mut waits = false;
    for _ in 0..20 {
        bench.answer(nothing(false, Failure::Dns));
        let before = bench.sent.len();
        bench.pass(secs(2));
        waits = bench.sent.len() == before;
        if waits {
            break;
        }
    }
    assert!(waits, "a longer wait was drawn");
    let before = bench.sent.len();
    bench.happen(Event::Suspending);
    bench.happen(Event::Resumed);
    assert_eq!(bench.sent.len(), before + 1, "at the wake");
}

#[test]
fn a_machine_that_never_said_that_it_woke_is_taken_for_awake() {
    let mut bench = Bench::new();
    bench.happen(Event::Suspending);
    bench.move_to(bench.now.boot.after(secs(8 * 3600)));
    bench.happen(Event::Tick);
    assert_eq!(bench.sent.len(), 1);
    let mut insomniac = Bench::new();
    insomniac.pass(secs(2399));
    insomniac.happen(Event::Suspending);
    insomniac.pass(secs(31));
    assert_eq!(insomniac.sent.len(), 1);
}

#[test]
fn inv_15_after_a_wake_one_canary_for_each_host_then_the_rest() {
    let mut bench = Bench::empty();
    for n in 0..6 {
        let host = format!("idp{}.example", n % 2);
        bench.load(&format!("a{n}"), |grant| {
            grant.provider = provider(&host).into()
        });
    }
    bench.pass(secs(2400));
    while !bench.out.is_empty() {
        bench.answer(tokens());
    }
    bench.happen(Event::Suspending);
    bench.move_to(bench.now.boot.after(secs(8 * 3600)));
    bench.happen(Event::Resumed);
    assert_eq!(bench.out.len(), 2, "one for each host");
    bench.answer(nothing(false, Failure::Dns));
    bench.answer(nothing(false, Failure::Dns));
    let before = bench.sent.len();
    bench.happen(Event::NetworkUp);
    bench.pass(secs(5));
    assert!(bench.sent.len() >= before + 2, "again within five seconds");
    while !bench.out.is_empty() {
        bench.answer(tokens());
    }
    bench.pass(secs(2));
    while !bench.out.is_empty() {
        bench.answer(tokens());
    }
    for n in 0..6 {
        let account = account(&format!("a{n}"));
        assert_eq!(
            bench.broker.grant(&account).unwrap().generation,
            Generation(3)
        );
    }
}

#[test]
fn inv_15_a_request_that_hangs_since_before_the_wake_keeps_no_other_waiting() {
    let mut bench = Bench::new();
    bench.load("other", |_| {});
    bench.pass(secs(2400));
    let hung = bench.out.pop_front().unwrap();
    bench.answer(unreachable());
    bench.happen(Event::NetworkUp);
    bench.pass(secs(5));
    assert_eq!(bench.out.len(), 1);
    assert_ne!(bench.out[0].account, hung.account);
}

#[test]
fn network_up_ends_the_waiting_of_a_backoff() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench.answer(unreachable());
    bench.server = Server::Says(unreachable());
    bench.pass(secs(900));
    bench.server = Server::Holds;
    bench.happen(Event::NetworkUp);
    bench.pass(secs(1));
    assert_eq!(bench.out.len(), 1);
}

#[test]
fn jwt_expiry_is_read_against_the_providers_clock() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    let date = Wall(bench.now.wall.0 + DECADE);
    let received = tokens_with(|tokens| {
        tokens.expires_in = ExpiresIn::Missing;
        tokens.jwt_expiry = Some(date.after(secs(900)));
    });
    bench.answer_with(received, |answer| answer.date = Some(date));
    assert_eq!(bench.lease().lifetime, Some(secs(900)));
}
