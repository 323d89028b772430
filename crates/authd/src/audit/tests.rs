use authd_core::{
    id::{Account, Fingerprint},
    time::{Boot, Now, Wall},
};
use authd_proto::{ErrorCode, audit::Decision};

use super::*;
use crate::{caller::Callers, testing::make_fifo};

const START: u64 = 1_800_000_000;

fn at(secs: u64) -> Now {
    Now {
        boot: Boot(secs * 1000),
        wall: Wall(i64::try_from((START + secs) * 1000).unwrap()),
    }
}

fn line(account: &str) -> AuditLine {
    AuditLine {
        account: Some(account.to_owned()),
        ..AuditLine::new(START, Decision::HandedOut)
    }
}

fn all() -> Window {
    Window {
        after: 0,
        before: u64::MAX,
        newest: false,
        limit: usize::MAX,
    }
}

async fn read(audit: &Audit) -> Vec<AuditLine> {
    audit.read(all(), Duration::ZERO, |_| true).await.unwrap()
}

fn token(number: u8) -> Key {
    Key::Token(Fingerprint([number; 16]))
}

#[tokio::test]
async fn the_first_is_a_line_and_what_follows_a_count() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path().join("audit"));
    let tally = Tally::new(Callers::default().unidentified());
    let count = |key, secs| tally.count(&audit, &key, at(secs), || line("work"));
    count(token(1), 0);
    for secs in [1, 2, 59, 60] {
        count(token(1), secs);
    }
    count(token(1), 61);
    // Another token of the same lease.
    count(token(2), 70);
    let refused = Key::Refused(Account::new("work").unwrap(), ErrorCode::Denied);
    count(refused.clone(), 71);
    count(refused, 72);
    tally.close(&audit, at(80));
    tally.close(&audit, at(81));
    audit.close();
    let told: Vec<_> = read(&audit)
        .await
        .iter()
        .map(|line| (line.seq, line.count, line.since_at.map(|at| at - START)))
        .collect();
    assert_eq!(
        told,
        [
            (1, 1, None),
            (2, 4, Some(0)),
            (3, 1, None),
            (4, 1, Some(60)),
            (5, 1, None),
            (6, 1, Some(71)),
        ]
    );
}

#[tokio::test]
async fn whoever_connects_for_each_request_is_counted_together_before_long() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path().join("audit"));
    let callers = Callers::default();
    let (busy, other) = (callers.unidentified(), callers.unidentified());
    let mut frequent = Frequent::default();
    let ask = |frequent: &mut Frequent, caller: &Arc<Caller>, secs| {
        let tally = frequent.tally(Arc::clone(caller), at(secs));
        tally.count(&audit, &token(1), at(secs), || line("work"));
        frequent.leave(&tally, &audit, at(secs));
        tally
    };
    for _ in 0..500 {
        ask(&mut frequent, &busy, 0);
    }
    ask(&mut frequent, &other, 0);
    // The minute is over, and one of them is still connected.
    let connected = ask(&mut frequent, &busy, 1);
    assert!(frequent.due.is_some());
    frequent.tell(&audit, at(60));
    assert!(frequent.together.len() == 1 && frequent.due.is_none());
    frequent.leave(&connected, &audit, at(61));
    drop(connected);
    assert!(frequent.due.is_some());
    frequent.tell(&audit, at(120));
    assert!(frequent.together.is_empty() && frequent.due.is_none());
    // Whoever takes their time is heard each time again.
    ask(&mut frequent, &busy, 300);
    audit.close();
    let counts: Vec<_> = read(&audit).await.iter().map(|line| line.count).collect();
    assert_eq!(counts.iter().sum::<u64>(), 503);
    let together = counts.iter().position(|count| *count > 1).unwrap();
    assert_eq!((counts.len(), together), (24, 22), "{counts:?}");
}

#[tokio::test]
async fn at_the_end_of_the_daemon_who_is_counted_together_is_written_down_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path().join("audit"));
    let callers = Callers::default();
    let busy = callers.unidentified();
    let mut frequent = Frequent::default();
    let mut connected = Vec::new();
    for _ in 0..30 {
        let tally = frequent.tally(Arc::clone(&busy), at(0));
        tally.count(&audit, &token(1), at(0), || line("work"));
        connected.push(tally);
    }
    frequent.end(&audit, at(1));
    let last = connected.last().unwrap();
    last.count(&audit, &token(1), at(2), || line("work"));
    for tally in &connected {
        frequent.leave(tally, &audit, at(2));
    }
    audit.close();
    let counts: Vec<_> = read(&audit).await.iter().map(|line| line.count).collect();
    assert_eq!(counts.iter().sum::<u64>(), 31, "{counts:?}");
}

#[tokio::test]
async fn no_more_processes_are_remembered_for_that_than_there_is_room_for() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path().join("audit"));
    let callers = Callers::default();
    let mut frequent = Frequent::default();
    for _ in 0..100 {
        let caller = callers.unidentified();
        for _ in 0..22 {
            let tally = frequent.tally(Arc::clone(&caller), at(0));
            tally.count(&audit, &token(1), at(0), || line("work"));
            frequent.leave(&tally, &audit, at(0));
        }
    }
    assert_eq!(frequent.together.len(), 16);
    frequent.tell(&audit, at(60));
    audit.close();
    let told = read(&audit).await;
    let counted: u64 = told.iter().map(|line| line.count).sum();
    assert_eq!(counted + audit.lost(), 2200);
}

#[tokio::test]
async fn what_is_counted_at_a_time_is_bounded_and_nothing_goes_uncounted() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path().join("audit"));
    let tally = Tally::new(Callers::default().unidentified());
    for round in 0..2 {
        for number in 0..100_u8 {
            let name = format!("account-{number}");
            for _ in 0..3 {
                tally.count(&audit, &token(number), at(round), || line(&name));
            }
        }
    }
    tally.close(&audit, at(3));
    audit.close();
    let lines = read(&audit).await;
    let counted: u64 = lines.iter().map(|line| line.count).sum();
    assert_eq!(counted, 600);
    assert_eq!(
        lines.len(),
        400,
        "each twice: at first, and when it made room"
    );
}

#[tokio::test]
async fn numbers_go_on_over_a_restart_and_texts_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let caller = Callers::default().unidentified();
    let first = Audit::open(dir.path().join("audit"));
    first.put(
        AuditLine {
            claimed: Some("evil\u{1b}[2J\nname".to_owned()),
            resource: Some("x".repeat(5000)),
            ..line("work")
        },
        &caller,
    );
    first.close();
    let second = Audit::open(dir.path().join("audit"));
    second.put(line("home"), &caller);
    second.close();
    second.put(line("lost"), &caller);
    assert_eq!(second.lost(), 1);
    let lines = read(&second).await;
    assert_eq!(
        lines.iter().map(|line| line.seq).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(lines[0].claimed.as_deref(), Some("evil [2J name"));
    assert!(lines[0].resource.as_ref().unwrap().len() <= LONGEST_TEXT);
    assert_eq!(
        lines[0].caller.as_ref().unwrap().name,
        "unidentified",
        "{lines:?}"
    );
}

#[tokio::test]
async fn whoever_follows_is_woken_by_the_next_line() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Arc::new(Audit::open(dir.path().join("audit")));
    let caller = Callers::default().unidentified();
    let nothing = audit.read(all(), Duration::from_millis(1), |_| true);
    assert!(nothing.await.unwrap().is_empty());
    let following = {
        let audit = Arc::clone(&audit);
        tokio::spawn(async move { audit.read(all(), Duration::from_secs(30), |_| true).await })
    };
    tokio::task::yield_now().await;
    audit.put(line("work"), &caller);
    assert_eq!(following.await.unwrap().unwrap().len(), 1);
}

#[cfg(unix)]
#[test]
fn a_disk_that_stalls_holds_nobody_up_and_what_is_lost_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("audit");
    std::fs::create_dir(&folder).unwrap();
    // It takes a little, and then a write never returns.
    make_fifo(&folder.join("00000000000000000009.jsonl"));
    let caller = Callers::default().unidentified();
    let files: Files<AuditLine> = Files::new(folder, FILES);
    // What was lost before the last write that worked is told, and counted anew from then on.
    let told = Arc::new(AtomicU64::new(0));
    let tell = {
        let told = Arc::clone(&told);
        move |trouble| {
            if let Trouble::Lost(count) = trouble {
                told.fetch_add(count, Ordering::Relaxed);
            }
        }
    };
    let writer = Writer::start(files, "audit", finish, |_| {}, tell).unwrap();
    // Far more than a pipe and the queue in front of it take.
    let many = 20_000;
    for _ in 0..many {
        writer.put(Entry {
            line: line("work"),
            caller: Arc::clone(&caller),
        });
    }
    let lost = told.load(Ordering::Relaxed) + writer.lost.load(Ordering::Relaxed);
    assert!(lost > 10_000, "{lost}");
}
