//! What the engine notices about the machine and its hosts, and says of what comes next.

use super::*;

fn notes(bench: &Bench) -> Vec<Note> {
    let seen = bench.seen.iter();
    seen.filter_map(|effect| match effect {
        Effect::Note(note) => Some(note.clone()),
        _ => None,
    })
    .collect()
}

fn records(bench: &Bench) -> Vec<Record> {
    let seen = bench.seen.iter();
    seen.filter_map(|effect| match effect {
        Effect::Record(record) => Some(record.clone()),
        _ => None,
    })
    .collect()
}

#[test]
fn sleep_and_network_are_noted() {
    let mut bench = Bench::new();
    for event in [Event::Suspending, Event::Resumed, Event::NetworkUp] {
        bench.happen(event);
    }
    let noted = [Note::Suspending, Note::Resumed, Note::NetworkUp];
    assert_eq!(notes(&bench), noted);
}

#[test]
fn a_calendar_that_jumps_is_noted_and_one_that_drifts_is_not() {
    let mut bench = Bench::new();
    let mut jump = |millis: i64| {
        bench.now.wall = Wall(bench.now.wall.0 + millis);
        bench.happen(Event::Tick);
        notes(&bench)
    };
    assert_eq!(jump(59_000), []);
    assert_eq!(jump(60_000), [Note::ClockJumped(60_000)]);
    assert_eq!(
        jump(-3_600_000).last(),
        Some(&Note::ClockJumped(-3_600_000))
    );
}

#[test]
fn a_host_that_fails_for_several_is_noted_once_and_so_is_its_return() {
    let mut bench = Bench::empty();
    for name in ["a", "b", "c"] {
        bench.load(name, |_| {});
    }
    bench.server = Server::Says(unreachable());
    bench.pass(secs(3000));
    let host = provider("idp.example").host();
    assert_eq!(notes(&bench), [Note::HostDown(host.clone())]);
    bench.server = Server::Says(tokens());
    bench.pass(secs(600));
    assert_eq!(notes(&bench)[1..], [Note::HostUp(host)]);
}

#[test]
fn inv_21_each_record_names_its_attempt_and_what_comes_next() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench.answer(error(503, "temporarily_unavailable"));
    let attempt = bench.sent[0].1.attempt;
    bench.server = Server::Says(tokens());
    bench.pass(secs(10));
    let records = records(&bench);
    let judged = &records[1];
    assert_eq!(judged.what, Decided::Judged(Verdict::Transient));
    assert_eq!(judged.attempt, Some(attempt));
    assert_eq!(
        judged.words.as_deref(),
        Some("the provider answered 503 temporarily_unavailable: no description")
    );
    let next = judged.next.expect("it is tried again");
    assert!(next.within <= secs(1), "{next:?}");
    assert_eq!(next.cause, Cause::Due);
    let committed = records.last().unwrap();
    assert_eq!(committed.what, Decided::Committed);
    assert_eq!(committed.attempt, Some(bench.sent[1].1.attempt));
    let due = bench.lease().lifetime.unwrap() - bench.lease().lead;
    let next = committed.next.expect("the renew point").within;
    assert!(due.abs_diff(next) <= secs(10), "{next:?} and not {due:?}");
    for record in &records {
        assert_eq!(record.account, work());
        assert_eq!(record.grant, GrantId(1));
    }
}

#[test]
fn inv_21_a_refusal_of_what_a_person_asked_for_is_told_with_the_time_of_its_confirmation() {
    let mut bench = Bench::new();
    bench.pass(secs(60));
    bench.renew();
    bench.answer(error(400, "invalid_grant"));
    let next = records(&bench)[1].next.unwrap();
    assert_eq!(next.cause, Cause::Confirming);
    assert!(
        next.within >= secs(60) && next.within <= secs(120),
        "{next:?}"
    );
}

fn shown(bench: &Bench) -> usize {
    bench.count(|effect| matches!(effect, Effect::Publish { .. }))
}

#[test]
fn readers_are_shown_what_is_news_to_them_and_nothing_else() {
    let mut bench = Bench::new();
    assert_eq!(shown(&bench), 1);
    bench.pass(secs(1000));
    bench.happen(Event::Tick);
    let (account, key) = (work(), LeaseKey::default());
    bench.happen(Event::Used { account, key });
    assert_eq!(shown(&bench), 1, "nothing changed");
    bench.pass(secs(1400));
    let view = &bench.views[&work()];
    assert_eq!(view.refreshing, Some(LeaseKey::default().into()));
    assert_eq!(shown(&bench), 2, "it is being renewed");
    bench.answer(unreachable());
    let view = &bench.views[&work()];
    assert_eq!(view.refreshing, None);
    assert!(view.grant.flags.offline.is_some());
    let planned = view.next_renewal.expect("a next try");
    assert!(planned >= bench.now.boot);
    let before = shown(&bench);
    bench.happen(Event::Tick);
    assert_eq!(shown(&bench), before, "a plan that stands is no news");
}

#[test]
fn the_logins_own_lease_is_the_one_for_its_own_resource() {
    let mut grant = grant("work", Bench::empty().now);
    grant.resource = Some("https://mail.example".to_owned());
    assert_eq!(LeaseKey::of_login(&grant), of("https://mail.example"));
}
