//! Refresh tokens that something else held: on disk before they are sent, and exchanged at once.

use super::*;
use crate::answer::GrantType;
use crate::flag::{LoginReason, Raised, StaleStore};

const LOGIN: LoginId = LoginId(1);

fn begin(bench: &mut Bench, change: impl FnOnce(&mut LoginBegun)) {
    let mut begun = LoginBegun {
        login: LOGIN,
        account: work(),
        grant: GrantId(2),
        provider: provider("idp.example"),
        scopes: ScopeSet::parse("api mail"),
        resource: None,
        resources: BTreeSet::new(),
        replace_subject: false,
        method: LoginMethod::Import,
        patience: secs(600),
    };
    change(&mut begun);
    bench.happen(Event::LoginBegun(Box::new(begun)));
}

fn ended(bench: &Bench) -> Option<&Result<Arc<Grant>, LoginFailure>> {
    bench.seen.iter().find_map(|effect| match effect {
        Effect::LoginEnded { result, .. } => Some(result),
        _ => None,
    })
}

fn place(bench: &Bench, which: impl Fn(&Effect) -> bool) -> usize {
    bench.seen.iter().position(which).expect("it came")
}

#[test]
fn it_is_on_disk_before_it_is_sent_and_the_first_exchange_follows_at_once() {
    let mut bench = Bench::empty();
    begin(&mut bench, |_| {});
    let [sent] = bench.out.make_contiguous() else {
        panic!("one request");
    };
    assert_eq!(
        (sent.grant_type, sent.login),
        (GrantType::RefreshToken, None)
    );
    assert_eq!((sent.grant, sent.generation), (GrantId(2), Generation(1)));
    let written = place(&bench, |effect| matches!(effect, Effect::TakeOver { .. }));
    let told = place(&bench, |effect| matches!(effect, Effect::LoginEnded { .. }));
    let intended = place(&bench, |effect| matches!(effect, Effect::Intend { .. }));
    let left = place(&bench, |effect| matches!(effect, Effect::Exchange(_)));
    assert!(written < told && written < intended && intended < left);
    assert!(ended(&bench).is_some_and(Result::is_ok));
    assert_eq!(bench.causes(), [Cause::TakenOver]);

    bench.answer(tokens_with(|tokens| {
        tokens.subject = Some(subject("ann"));
        tokens.scopes = Some(ScopeSet::parse("api"));
    }));
    let grant = bench.grant();
    assert_eq!(grant.generation, Generation(2));
    assert_eq!(grant.subject, Some(subject("ann")), "who it is was learned");
    assert_eq!(grant.scopes, ScopeSet::parse("api"), "and what was granted");
    assert_eq!(*grant.flags, Flags::default());
    let ticket = bench.ask();
    assert!(bench.served(ticket).ttl.is_some());
    bench.pass(secs(2400));
    assert_eq!(bench.sent.len(), 2, "it is renewed as any other");
}

#[test]
fn nothing_leaves_where_it_cannot_be_written() {
    let mut bench = Bench::empty();
    bench.disk = Disk::Forgets;
    begin(&mut bench, |_| {});
    bench.pass(secs(3600));
    assert!(bench.sent.is_empty());
    let failure = ended(&bench).unwrap().as_ref().unwrap_err();
    assert!(matches!(failure, LoginFailure::Store(_)));
    assert!(bench.broker.grant(&work()).is_none(), "nothing half-made");
}

#[test]
fn a_kill_before_the_first_answer_leaves_it_to_be_asked_again_at_once() {
    let taken = {
        let mut bench = Bench::empty();
        begin(&mut bench, |_| {});
        bench.grant().clone()
    };
    for interrupted in [false, true] {
        let mut bench = Bench::empty();
        let at = Stamp {
            boot_id: BOOT,
            at: bench.now,
        };
        bench.happen(Event::Loaded {
            grant: Box::new(Grant::clone(&taken)),
            interrupted: interrupted.then_some(at),
            stale: None,
        });
        bench.pass(secs(1));
        assert_eq!(bench.out.len(), 1, "interrupted: {interrupted}");
        bench.answer(tokens());
        assert_eq!(bench.grant().generation, Generation(2));
        assert_eq!(*bench.grant().flags, Flags::default());
    }
    let mut bench = Bench::empty();
    bench.happen(Event::Loaded {
        grant: Box::new(taken),
        interrupted: None,
        stale: Some(StaleStore::OtherMachine),
    });
    bench.pass(secs(60));
    assert!(bench.sent.is_empty(), "not from a copy of the store");
}

#[test]
fn in_doubt_it_is_kept_and_tried_again() {
    for doubtful in [
        unreachable(),
        lost(),
        plain(503, Body::Html),
        error(401, "invalid_client"),
    ] {
        let mut bench = Bench::empty();
        bench.server = Server::Says(doubtful);
        begin(&mut bench, |_| {});
        let ticket = bench.ask_with(|demand| demand.wait = secs(5));
        bench.pass(secs(6));
        assert!(bench.reply(ticket).is_some_and(Result::is_err));
        assert!(bench.grant().renewable && bench.flags().needs_login.is_none());
        bench.server = Server::Says(tokens());
        bench.pass(secs(3600));
        assert!(bench.grant().generation >= Generation(2));
    }
}

#[test]
fn a_refusal_is_confirmed_once_before_it_is_believed() {
    let mut bench = Bench::empty();
    bench.server = Server::Says(error(400, "invalid_grant"));
    begin(&mut bench, |_| {});
    let ticket = bench.ask_with(|demand| demand.wait = secs(30));
    bench.pass(secs(10));
    assert_eq!(bench.sent.len(), 2);
    let refusal = bench.reply(ticket).unwrap().as_ref().unwrap_err();
    assert_eq!(*refusal, Refusal::LoginRequired(LoginReason::Revoked));
}

#[test]
fn a_login_that_works_stays_until_the_exchange_has_succeeded() {
    let mut bench = Bench::new();
    begin(&mut bench, |begun| begun.replace_subject = true);
    assert_eq!(
        bench.count(|effect| matches!(effect, Effect::TakeOver { .. })),
        0
    );
    let sent = bench.out.front().unwrap();
    assert_eq!(
        (sent.grant_type, sent.login),
        (GrantType::RefreshToken, Some(LOGIN))
    );
    let ticket = bench.ask();
    assert!(
        bench.served(ticket).ttl.is_some(),
        "the one before is served"
    );
    bench.answer(error(400, "invalid_grant"));
    let failure = ended(&bench).unwrap().as_ref().unwrap_err();
    assert!(matches!(failure, LoginFailure::Refused { code, .. } if code == "invalid_grant"));
    assert_eq!(bench.grant().id, GrantId(1), "nothing was changed");

    let mut bench = Bench::new();
    begin(&mut bench, |begun| begun.replace_subject = true);
    bench.answer(tokens_with(|tokens| tokens.refresh_token = false));
    assert!(ended(&bench).is_some_and(Result::is_ok));
    assert_eq!(bench.grant().id, GrantId(2));
    assert!(bench.grant().renewable, "what was brought along stays good");
}

#[test]
fn one_that_has_ended_is_taken_over_by_its_owner_alone() {
    let ended = |grant: &mut Grant| {
        grant.flags.needs_login = Some(Raised {
            reason: LoginReason::Revoked,
            since: Wall(0),
        });
    };
    for (who, needs_login) in [("ann", false), ("bob", true)] {
        let mut bench = Bench::with(ended);
        begin(&mut bench, |_| {});
        assert_eq!(
            bench.count(|effect| matches!(effect, Effect::TakeOver { .. })),
            1
        );
        bench.answer(tokens_with(|tokens| tokens.subject = Some(subject(who))));
        assert_eq!(bench.flags().needs_login.is_some(), needs_login, "{who}");
        assert_eq!(
            bench.grant().generation,
            Generation(2),
            "its successor is kept"
        );
    }
    let mut bench = Bench::with(ended);
    begin(&mut bench, |begun| begun.replace_subject = true);
    bench.answer(tokens_with(|tokens| tokens.subject = Some(subject("bob"))));
    assert_eq!(bench.grant().subject, Some(subject("bob")));
    assert!(bench.flags().needs_login.is_none());
}

#[test]
fn another_token_of_it_does_not_stand_in_for_its_own() {
    let mut bench = Bench::empty();
    bench.server = Server::Says(unreachable());
    begin(&mut bench, |begun| {
        begun.resources = ["https://mail.example".to_owned()].into()
    });
    bench.ask_with(|demand| demand.key = of("https://mail.example"));
    bench.server = Server::Says(tokens());
    bench.pass(secs(600));
    let own = LeaseKey::of_login(bench.grant());
    assert!(bench.grant().leases.contains_key(&own));
}
