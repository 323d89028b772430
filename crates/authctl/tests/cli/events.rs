//! `authctl events`: the story, page by page and live, each event once.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use authd_proto::call::Call;
use authd_proto::event::{Event, EventKind};
use authd_proto::request::EventsQuery;
use authd_proto::response::{EventsQueryReply, SubscribeReply};
use authd_proto::{ErrorCode, WireError};

use crate::daemon::{FakeDaemon, Reply, run};

const NOW: u64 = 1_800_000_000;

fn event(seq: u64, account: &str) -> Event {
    let mut event = Event::new(seq, NOW + seq % 1000, EventKind::Exchange);
    event.account = Some(account.to_owned());
    event.outcome = Some("started".to_owned());
    event.message = Some(format!("number {seq}"));
    event.attempt_id = Some(format!("a-{}", seq / 2));
    event
}

/// A page of at most two, as the daemon makes them.
fn page(query: &EventsQuery, events: &[Event]) -> EventsQueryReply {
    let cursor = query
        .cursor
        .as_ref()
        .map(|cursor| cursor.parse().expect("a number"));
    let after = query.after_seq.unwrap_or(0);
    let fits = |event: &&Event| {
        event.seq > after
            && event.at >= query.since_at.unwrap_or(0)
            && (query.account.is_none() || query.account == event.account)
            && query
                .events
                .as_ref()
                .is_none_or(|kinds| kinds.contains(&event.event))
            && match (cursor, query.newest) {
                (Some(cursor), true) => event.seq < cursor,
                (Some(cursor), false) => event.seq > cursor,
                (None, _) => true,
            }
    };
    let found: Vec<Event> = events.iter().filter(fits).cloned().collect();
    let (events, end) = if query.newest {
        let page = found[found.len().saturating_sub(2)..].to_vec();
        let end = page.first().map(|event| event.seq);
        (page, end)
    } else {
        let page = found[..found.len().min(2)].to_vec();
        let end = page.last().map(|event| event.seq);
        (page, end)
    };
    let cursor = end
        .filter(|_| events.len() < found.len())
        .map(|seq| seq.to_string());
    EventsQueryReply { events, cursor }
}

fn remembering(events: Vec<Event>) -> impl Fn(Call<'_>, &mut Reply<'_>) + Send + Sync {
    move |call, reply| match call {
        Call::EventsQuery(query) => reply.ok(&page(&query, &events)),
        Call::AccountGet(get) if get.account == "quiet" => {
            reply.ok(&crate::daemon::account("quiet"));
        }
        Call::AccountGet(get) => reply.error(
            &WireError::new(ErrorCode::UnknownAccount, "there is no account 'wrok'")
                .with_account(get.account),
        ),
        Call::AccountList(_) => reply.ok(&authd_proto::response::AccountListReply {
            accounts: vec![crate::daemon::account("work")],
            cursor: None,
        }),
        call => panic!("not expected: {}", call.method().as_str()),
    }
}

fn seven() -> Vec<Event> {
    let mut events: Vec<_> = (1..=7).map(|seq| event(seq, "work")).collect();
    events[2].account = Some("home".to_owned());
    events[4].event = EventKind::Token;
    events
}

/// What stands after the account, line by line.
fn told(out: &str) -> Vec<&str> {
    out.lines().map(|line| &line[31..]).collect()
}

#[test]
fn all_pages_are_put_together_in_order() {
    let daemon = FakeDaemon::start(remembering(seven()));
    let numbers = |args: &[&'static str]| {
        let (out, errors, status) = run(daemon
            .authctl(["events"].into_iter().chain(args.iter().copied()))
            .env("TZ", "UTC0"));
        assert_eq!((errors.as_str(), status), ("", Some(0)), "{args:?}");
        let words = told(&out)
            .into_iter()
            .map(|line| line.trim_start_matches("number ").to_owned());
        words.collect::<Vec<String>>().join(" ")
    };
    assert_eq!(numbers(&[]), "1 2 3 4 6 7");
    assert_eq!(numbers(&["--all"]), "1 2 3 4 a new token 6 7");
    assert_eq!(numbers(&["--limit", "3"]), "4 6 7");
    assert_eq!(numbers(&["--since", "2026-01-01T00:00:00Z"]), "1 2 3 4 6 7");
    assert_eq!(numbers(&["work", "--limit", "4"]), "2 4 6 7");
    assert_eq!(numbers(&["--account", "home"]), "3");
    assert_eq!(numbers(&["--attempt", "a-3"]), "6 7");
    assert_eq!(numbers(&["--attempt", "a-1", "--limit", "1"]), "3");
}

#[test]
fn a_line_has_time_account_and_words_and_nothing_acts_on_the_terminal() {
    let mut events = vec![event(1, "work")];
    events[0].message = Some("the provider said \u{1b}[2J\u{9b}31mboo".to_owned());
    events[0].client = Some("an\u{1b}editor".to_owned());
    let daemon = FakeDaemon::start(remembering(events));
    let (out, ..) = run(daemon.authctl(["events"]).env("TZ", "XST-3"));
    assert_eq!(
        out,
        "2027-01-15 11:00:01  work      the provider said [2J31mboo (by aneditor)\n"
    );
    let (out, ..) = run(daemon
        .authctl(["--color=always", "events"])
        .env("TZ", "UTC0"));
    assert!(out.contains("\u{1b}[1mwork\u{1b}[0m"), "{out:?}");
    let (json, ..) = run(&mut daemon.authctl(["events", "--json"]));
    assert!(!json.contains(['\u{1b}', '\u{9b}']), "{json:?}");
    let value: serde_json::Value = serde_json::from_str(json.trim_end()).unwrap();
    assert_eq!(
        (&value["seq"], &value["event"], &value["at"]),
        (&1.into(), &"exchange".into(), &(NOW + 1).into())
    );
}

#[test]
fn silence_is_explained_and_a_wrong_name_is_3() {
    let daemon = FakeDaemon::start(remembering(seven()));
    let (out, errors, status) = run(&mut daemon.authctl(["events", "quiet"]));
    assert_eq!((out.as_str(), status), ("", Some(0)));
    assert_eq!(errors, "authctl: nothing of that kind has happened\n");
    let (out, errors, status) = run(&mut daemon.authctl(["events", "wrok"]));
    assert_eq!((out.as_str(), status), ("", Some(3)));
    assert!(errors.contains("did you mean 'work'?"), "{errors}");
    let (_, errors, status) = run(&mut daemon.authctl(["events", "--since", "yesterday"]));
    assert_eq!(status, Some(2));
    assert!(errors.contains("RFC 3339"), "{errors}");
}

/// A follower that is ended when the test is over with it.
struct Follower(Child, BufReader<ChildStdout>);

impl Follower {
    fn start(daemon: &FakeDaemon, args: &[&str]) -> Self {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_authctl"))
            .args(["events", "--follow", "--json"])
            .args(args)
            .env("AUTHD_SOCKET", daemon.socket())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        Self(child, out)
    }

    fn next(&mut self) -> u64 {
        let mut line = String::new();
        self.1.read_line(&mut line).expect("a line");
        let event: Event = serde_json::from_str(&line).expect("an event");
        event.seq
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_follower_sees_each_event_once_whatever_happens_in_between() {
    let connections = AtomicUsize::new(0);
    let daemon = FakeDaemon::start(move |call, reply| {
        let connection = connections.load(Ordering::Relaxed);
        match call {
            Call::Subscribe(subscribe) => {
                reply.ok(&SubscribeReply {
                    events: subscribe.events.unwrap_or_default(),
                });
                if connections.fetch_add(1, Ordering::Relaxed) == 0 {
                    // Between the subscription and the list: it is in both.
                    reply.push(&event(7, "work"));
                }
            }
            // The daemon was restarted: how far it has come, and what it remembers.
            Call::EventsQuery(query) if connection == 2 => {
                let numbers = (1..=10).chain([1_000_001, 1_000_002]);
                let all: Vec<_> = numbers.map(|seq| event(seq, "work")).collect();
                reply.ok(&page(&query, &all));
            }
            // After events were missed.
            Call::EventsQuery(query) if query.after_seq.is_some() => {
                let all: Vec<_> = (1..=10).map(|seq| event(seq, "work")).collect();
                let answer = page(&query, &all);
                let is_last = answer.cursor.is_none();
                reply.ok(&answer);
                if is_last {
                    reply.push(&event(10, "work"));
                    reply.hang_up();
                }
            }
            Call::EventsQuery(query) => {
                let all: Vec<_> = (1..=7).map(|seq| event(seq, "work")).collect();
                let answer = page(&query, &all);
                let is_last = answer.cursor.is_none();
                reply.ok(&answer);
                if is_last {
                    reply.push(&event(8, "work"));
                    let mut lagged = Event::new(0, NOW, EventKind::Lagged);
                    lagged.missed = Some(2);
                    reply.push(&lagged);
                }
            }
            call => panic!("not expected: {}", call.method().as_str()),
        }
    });
    let mut follower = Follower::start(&daemon, &["--limit", "1000"]);
    let seen: Vec<u64> = (0..12).map(|_| follower.next()).collect();
    let expected: Vec<u64> = (1..=10).chain([1_000_001, 1_000_002]).collect();
    assert_eq!(seen, expected);
}

#[test]
fn an_interrupt_ends_a_follower_with_0() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::Subscribe(_) => reply.ok(&SubscribeReply { events: Vec::new() }),
        Call::EventsQuery(query) => reply.ok(&page(&query, &seven())),
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let mut follower = Follower::start(&daemon, &["--limit", "1"]);
    assert_eq!(follower.next(), 7);
    let pid = rustix::process::Pid::from_child(&follower.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(follower.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let events: Vec<_> = (1..=20_000).map(|seq| event(seq, "work")).collect();
    let daemon = FakeDaemon::start(move |call, reply| match call {
        Call::EventsQuery(query) => {
            let from = query.cursor.map_or(0, |cursor| cursor.parse().unwrap());
            let page = events[from..(from + 500).min(events.len())].to_vec();
            let end = from + page.len();
            let cursor = (end < events.len()).then(|| end.to_string());
            reply.ok(&EventsQueryReply {
                events: page,
                cursor,
            });
        }
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_authctl"))
        .args(["events", "--since", "1000d"])
        .env("AUTHD_SOCKET", daemon.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
