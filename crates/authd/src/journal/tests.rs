use std::{sync::atomic::Ordering, thread, time::Duration};

use super::*;
use crate::testing::make_fifo;

fn journal(folder: &std::path::Path) -> Journal {
    Journal::open(folder.join("events"), Clock::System)
}

fn say(journal: &Journal, message: &str) {
    journal.add(EventKind::Exchange, |event| {
        event.message = Some(message.to_owned())
    });
}

fn all() -> Window {
    Window {
        after: 0,
        before: u64::MAX,
        newest: false,
        limit: usize::MAX - 1,
    }
}

async fn seqs(journal: &Journal, window: Window) -> Vec<u64> {
    let events = journal.read(window, |_| true).await.unwrap();
    events.iter().map(|event| event.seq).collect()
}

#[tokio::test]
async fn the_story_goes_on_over_a_restart_and_its_numbers_grow() {
    let dir = tempfile::tempdir().unwrap();
    let first = journal(dir.path());
    for word in ["one", "two", "three"] {
        say(&first, word);
    }
    first.close();
    // Beyond the end of the writer: handed out, and never on disk.
    say(&first, "lost in a crash");
    let second = journal(dir.path());
    say(&second, "four");
    second.close();
    assert_eq!(seqs(&second, all()).await, [1, 2, 3, 1_000_001]);
    let third = journal(dir.path());
    assert_eq!(seqs(&third, all()).await, [1, 2, 3, 1_000_001]);
    say(&third, "five");
    let window = Window { after: 3, ..all() };
    assert_eq!(seqs(&third, window).await, [1_000_001, 2_000_001]);
}

#[tokio::test]
async fn memory_and_disk_are_one_story_without_a_gap_or_a_double() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let count = REMEMBERED as u64 + 700;
    for said in 1..=count {
        say(&journal, "something");
        if said % 500 == 0 {
            // Not faster than the disk: what is lost is another test's.
            while journal.disk.last_seq().unwrap() < said {
                thread::yield_now();
            }
        }
    }
    journal.close();
    let expected: Vec<u64> = (1..=count).collect();
    assert_eq!(seqs(&journal, all()).await, expected);
    let pages = [
        (all(), 1..=11),
        (
            Window {
                after: 690,
                ..all()
            },
            691..=701,
        ),
        (
            Window {
                after: 2000,
                ..all()
            },
            2001..=2011,
        ),
    ];
    for (window, expected) in pages {
        let page = seqs(
            &journal,
            Window {
                limit: 10,
                ..window
            },
        )
        .await;
        assert_eq!(page, expected.collect::<Vec<u64>>());
    }
    for before in [u64::MAX, 705, 700, 300] {
        let window = Window {
            before,
            newest: true,
            limit: 10,
            ..all()
        };
        let end = before.min(count + 1);
        let expected: Vec<u64> = (end - 11..end).collect();
        assert_eq!(seqs(&journal, window).await, expected, "before {before}");
    }
}

#[tokio::test]
async fn a_text_from_outside_is_short_and_acts_on_no_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    say(&journal, &format!("\u{1b}[2J{}", "ü".repeat(300_000)));
    let events = journal.read(all(), |_| true).await.unwrap();
    let message = events[0].message.as_ref().unwrap();
    assert!(message.len() <= LONGEST_TEXT && message.ends_with('…'));
    assert!(!message.contains(char::is_control));
    assert!(authd_proto::page::fits(&events[0]));
}

#[tokio::test]
async fn what_the_disk_does_not_take_is_counted_told_and_delays_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("events");
    std::fs::write(&folder, "in the way").unwrap();
    let journal = journal(dir.path());
    let mut live = journal.subscribe();
    say(&journal, "one");
    assert_eq!(live.recv().await.unwrap().seq, 1);
    let told = live.recv().await.unwrap();
    assert_eq!(told.outcome.as_deref(), Some("events_not_kept"));
    assert_eq!(told.code, Some(ErrorCode::StoreFailed));
    // Each failure is told once: this one's event is lost as well, and says nothing further.
    say(&journal, "two");
    assert_eq!(live.recv().await.unwrap().message.as_deref(), Some("two"));
    // Readers have it before the writer does.
    let lost = journal.shared.with(|remembered| {
        let writer = remembered.writer.as_ref().unwrap();
        Arc::clone(&writer.lost)
    });
    tokio::time::timeout(Duration::from_secs(10), async {
        while lost.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    std::fs::remove_file(&folder).unwrap();
    // Only a write shows that the disk takes events again.
    let told = loop {
        say(&journal, "three");
        let told = live.recv().await.unwrap();
        if told.outcome.as_deref() == Some("events_lost") {
            break told;
        }
    };
    assert!(told.missed.is_some_and(|missed| missed >= 2), "{told:?}");
    journal.close();
    assert!(folder.is_dir(), "and they are kept again");
}

#[cfg(unix)]
#[tokio::test]
async fn a_disk_that_hangs_delays_nothing_and_what_it_missed_is_counted() {
    use std::io::Read as _;
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let folder = dir.path().join("events");
    std::fs::create_dir(&folder).unwrap();
    // A pipe that nobody reads takes a little, and then a write never returns.
    let pipe = folder.join("00000000000000000001.jsonl");
    make_fifo(&pipe);
    for _ in 0..5 * REMEMBERED {
        say(&journal, "something");
    }
    assert_eq!(
        journal.shared.with(|remembered| remembered.events.len()),
        REMEMBERED
    );

    let mut live = journal.subscribe();
    let mut reader = std::fs::File::open(&pipe).unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while reader.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
    let told = loop {
        let event = live.recv().await.unwrap();
        if event.outcome.as_deref() == Some("events_lost") {
            break event;
        }
    };
    assert!(told.missed.is_some_and(|missed| missed > 0), "{told:?}");
}
