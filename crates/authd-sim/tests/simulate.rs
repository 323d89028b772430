//! The ordinary tier: two hundred seeds, and that a seed replays.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use authd_sim::{coverage::Coverage, run, story::Story};

const SEEDS: u64 = 200;
const DAYS: u64 = 3650;
const RENEWALS: u64 = 600;

#[test]
fn two_hundred_seeds_hold_every_invariant_and_reach_everything() {
    let next = AtomicU64::new(0);
    let seen = Mutex::new((Coverage::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                break;
            }
            let outcome = run(&Story::new(seed, DAYS, RENEWALS), None);
            let mut seen = seen.lock().unwrap();
            seen.0.add(&outcome.coverage);
            if let Some(violation) = outcome.violation {
                seen.1.push(format!(
                    "seed {seed}: invariant {}: {} (cargo run --release -p authd-sim -- --seed {seed} \
                     --days {DAYS} --renewals {RENEWALS} --trace)",
                    violation.invariant, violation.what
                ));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, Into::into) {
            scope.spawn(work);
        }
    });
    let (coverage, violations) = seen.into_inner().unwrap();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert_eq!(coverage.missing(), Vec::<String>::new());
}

#[test]
fn the_same_seed_makes_the_same_trace() {
    for seed in 0..9 {
        let story = Story::new(seed, DAYS, 300);
        let traced = || {
            let trace = Rc::new(RefCell::new(VecDeque::new()));
            let outcome = run(&story, Some(&trace));
            (outcome.hash, outcome.steps, trace.take())
        };
        let first = traced();
        assert_eq!(first, traced(), "seed {seed}");
        let silent = run(&story, None);
        assert_eq!(
            (first.0, first.1),
            (silent.hash, silent.steps),
            "who reads changes nothing"
        );
    }
}
