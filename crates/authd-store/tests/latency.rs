//! How long a commit keeps those waiting who want the new token, on the disk of this machine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use authd_core::time::Wall;
use authd_store::{CommitOutcome, Options, Store};
use common::*;

const RENEWALS: u64 = 3000;

#[test]
#[ignore = "long: cargo xtask test --full"]
#[expect(clippy::print_stdout, reason = "the figures are to be seen")]
fn a_commit_takes_milliseconds_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path().join("state"), MACHINE, Wall(0));
    let (store, _) = Store::open(options, key()).unwrap();
    login(&store, "work", 1);
    let mut taken: Vec<Duration> = (1..=RENEWALS)
        .map(|from| {
            intend(&store, intent("work", 1, from, from)).unwrap();
            let next = record("work", 1, from + 1);
            let begun = Instant::now();
            let outcome = commit(&store, next, from);
            let taken = begun.elapsed();
            assert_eq!(outcome, Ok(CommitOutcome::Durable));
            taken
        })
        .collect();
    close(store).unwrap();
    taken.sort();
    let at = |share: usize| taken[(taken.len() - 1) * share / 1000];
    println!(
        "commit: median {:?}, p90 {:?}, p99 {:?}",
        at(500),
        at(900),
        at(990)
    );
    assert!(at(500) < Duration::from_millis(50), "{:?}", at(500));
}
