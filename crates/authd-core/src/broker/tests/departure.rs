//! Accounts that go, and a daemon that stops.

use super::*;

fn erased(bench: &Bench) -> usize {
    bench.count(|effect| matches!(effect, Effect::Erase { .. }))
}

fn leave(bench: &mut Bench, revoke: bool) {
    let account = work();
    bench.happen(Event::Leave { account, revoke });
}

#[test]
fn an_account_leaves_at_once_when_nothing_is_in_flight() {
    let mut bench = Bench::new();
    leave(&mut bench, true);
    assert_eq!(
        bench.count(|effect| matches!(effect, Effect::Erase { revoke: true, .. })),
        1
    );
    assert!(bench.views.is_empty());
    assert_eq!(bench.broker.poll_timeout(), None);
    let ticket = bench.ask();
    assert_eq!(*bench.refusal(ticket), Refusal::UnknownAccount);
}

#[test]
fn inv_05_an_account_leaves_after_the_exchange_in_flight() {
    let mut bench = Bench::new();
    bench.move_to(bench.now.boot.after(secs(3600)));
    let waits = bench.ask();
    let other = bench.ask_with(|demand| demand.key = key("api"));
    leave(&mut bench, true);
    assert_eq!(erased(&bench), 0);
    bench.answer(tokens());
    assert!(bench.served(waits).renewed);
    assert_eq!(*bench.refusal(other), Refusal::UnknownAccount);
    assert_eq!(erased(&bench), 1);
    assert_eq!(bench.broker.in_flight(), 0);
}

#[test]
fn an_exchange_that_has_not_left_yet_is_given_up_for_an_account_that_goes() {
    let mut bench = Bench::new();
    bench.disk = Disk::Holds;
    bench.pass(secs(2400));
    leave(&mut bench, false);
    bench.store_one();
    assert!(bench.sent.is_empty());
    assert_eq!(
        bench.count(|effect| matches!(effect, Effect::Annul { .. })),
        1
    );
    assert_eq!(erased(&bench), 1);
}

#[test]
fn an_account_leaves_after_a_failed_exchange_too() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    leave(&mut bench, false);
    bench.answer(lost());
    assert_eq!(erased(&bench), 1);
    bench.pass(secs(7200));
    assert_eq!(bench.sent.len(), 1);
}

fn login(bench: &mut Bench) {
    let begun = LoginBegun {
        login: LoginId(1),
        account: work(),
        grant: GrantId(2),
        provider: provider("idp.example"),
        scopes: ScopeSet::parse("api mail"),
        resource: None,
        resources: BTreeSet::new(),
        replace_subject: true,
        method: LoginMethod::Code,
        patience: secs(600),
    };
    bench.happen(Event::LoginBegun(Box::new(begun)));
}

#[test]
fn an_account_that_leaves_ends_its_logins_that_wait_for_a_person() {
    let mut bench = Bench::new();
    login(&mut bench);
    leave(&mut bench, false);
    let cancelled = |effect: &Effect| {
        matches!(
            effect,
            Effect::LoginEnded {
                result: Err(LoginFailure::Cancelled),
                ..
            }
        )
    };
    assert_eq!(bench.count(cancelled), 1);
    bench.happen(Event::CodeReceived { login: LoginId(1) });
    assert!(bench.sent.is_empty());
    assert_eq!(bench.broker.poll_timeout(), None);
    // A request that is out is waited for; what it brings counts, and no other follows.
    let mut bench = Bench::new();
    login(&mut bench);
    bench.happen(Event::CodeReceived { login: LoginId(1) });
    leave(&mut bench, false);
    bench.answer(unreachable());
    assert_eq!(bench.count(cancelled), 1);
    assert_eq!(bench.broker.poll_timeout(), None);
}

#[test]
fn an_account_that_leaves_ends_nobody_elses_logins() {
    let mut bench = Bench::new();
    bench.load("other", |_| {});
    login(&mut bench);
    bench.happen(Event::Leave {
        account: account("other"),
        revoke: false,
    });
    bench.happen(Event::CodeReceived { login: LoginId(1) });
    bench.answer(tokens());
    assert_eq!(bench.grant().id, GrantId(2));
}

#[test]
fn an_account_that_leaves_takes_its_place_in_the_queue_along() {
    let mut bench = Bench::new();
    bench.load("canary", |_| {});
    bench.load("zebra", |_| {});
    bench.happen(Event::NetworkUp);
    let renew = |bench: &mut Bench, name: &str| {
        let mut demand = bench.question(|demand| demand.account = account(name));
        demand.wait = secs(3000);
        bench.happen(Event::Renew(demand));
    };
    for name in ["canary", "work", "zebra"] {
        renew(&mut bench, name);
    }
    assert_eq!(bench.sent.len(), 1, "one proves the host");
    leave(&mut bench, false);
    bench.answer(unreachable());
    bench.pass(secs(2));
    let second = bench.sent.get(1).map(|(_, sent)| &sent.account);
    assert!(second.is_some(), "and the next is not one that is gone");
}

#[test]
fn a_login_that_is_stored_while_the_account_leaves_stands_and_the_old_grant_goes() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    let old = bench.out.pop_front().unwrap();
    login(&mut bench);
    bench.happen(Event::CodeReceived { login: LoginId(1) });
    leave(&mut bench, true);
    assert_eq!(erased(&bench), 0, "an exchange is in flight");
    bench.answer(tokens());
    assert_eq!(bench.grant().id, GrantId(2));
    assert_eq!(
        bench.count(|effect| matches!(effect, Effect::Erase { revoke: false, .. })),
        1,
        "who asked hears of it"
    );
    let late = bench.answered(&old, tokens(), bench.now);
    bench.happen(late);
    let ticket = bench.ask();
    assert!(bench.served(ticket).ttl.is_some());
    assert_eq!((erased(&bench), bench.broker.in_flight()), (1, 0));
    leave(&mut bench, false);
    assert_eq!(erased(&bench), 2, "and it can leave in its turn");
}

#[test]
fn inv_05_shutdown_waits_for_the_exchange_and_serves_its_waiters() {
    let mut bench = Bench::new();
    bench.load("idle", |grant| {
        grant.provider = provider("other.example").into()
    });
    bench.move_to(bench.now.boot.after(secs(3600)));
    let waits = bench.ask();
    let queued = bench.ask_with(|demand| demand.key = key("api"));
    bench.happen(Event::ShuttingDown);
    assert_eq!(bench.broker.in_flight(), bench.out.len());
    let late = bench.ask();
    assert_eq!(bench.reply(late), None, "it shares what is in flight");
    while !bench.out.is_empty() {
        bench.answer(tokens());
    }
    assert!(bench.served(waits).renewed && bench.served(late).renewed);
    assert_eq!(bench.why(queued), Unavailable::ShuttingDown);
    assert_eq!(bench.broker.in_flight(), 0);
    let (after, sent) = (
        bench.ask_with(|demand| demand.key = key("mail")),
        bench.sent.len(),
    );
    assert_eq!(bench.why(after), Unavailable::ShuttingDown);
    bench.pass(secs(86_400));
    assert_eq!(bench.sent.len(), sent, "nothing new starts");
    assert_eq!(bench.broker.poll_timeout(), None);
}

#[test]
fn shutdown_answers_whoever_waits_for_nothing_in_flight() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench.answer(unreachable());
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(3000)));
    assert_eq!(bench.reply(ticket), None);
    bench.happen(Event::ShuttingDown);
    assert_eq!(bench.why(ticket), Unavailable::ShuttingDown);
}

#[test]
fn shutdown_with_a_failing_exchange_answers_its_waiters() {
    let mut bench = Bench::new();
    bench.move_to(bench.now.boot.after(secs(3600)));
    let ticket = bench.ask();
    bench.happen(Event::ShuttingDown);
    bench.answer(unreachable());
    assert_eq!(bench.why(ticket), Unavailable::ShuttingDown);
}

#[test]
fn shutdown_keeps_trying_to_write_what_is_unsaved() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench.disk = Disk::Forgets;
    bench.happen(Event::ShuttingDown);
    bench.answer(tokens());
    assert_eq!(bench.broker.unsaved(), 1);
    bench.disk = Disk::Works;
    bench.pass(secs(2));
    assert_eq!(bench.broker.unsaved(), 0);
}

#[test]
fn owed_revocations_are_tried_until_settled_and_hurried_by_the_network() {
    let mut bench = Bench::empty();
    bench.happen(Event::RevocationOwed { id: 5 });
    let tries = |bench: &Bench| bench.count(|effect| matches!(effect, Effect::Revoke { id: 5 }));
    assert_eq!(tries(&bench), 1);
    bench.happen(Event::RevocationTried {
        id: 5,
        settled: false,
    });
    bench.happen(Event::NetworkUp);
    assert_eq!(tries(&bench), 2);
    bench.happen(Event::RevocationTried {
        id: 5,
        settled: false,
    });
    bench.pass(secs(120));
    assert_eq!(tries(&bench), 3);
    bench.happen(Event::RevocationTried {
        id: 5,
        settled: true,
    });
    assert_eq!(bench.broker.poll_timeout(), None);
}
