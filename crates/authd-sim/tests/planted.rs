//! Each planted bug is caught, and by the invariant that `docs/planted-bugs.md` names.

use std::{collections::BTreeSet, fs, path::Path};

use authd_core::planted::{Bug, plant};
use authd_sim::{oracle::Violation, run, story::Story};

const DAYS: u64 = 3650;
const RENEWALS: u64 = 600;

/// One row of the table.
#[derive(Debug)]
struct Row {
    bug: Bug,
    what: String,
    invariant: u8,
    seed: u64,
}

fn table() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/planted-bugs.md");
    let text = fs::read_to_string(path).expect("the table");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`');
        let bug = Bug::ALL.iter().find(|bug| format!("{bug:?}") == name);
        Row {
            bug: *bug.unwrap_or_else(|| panic!("there is no bug {name}")),
            what: cells[2].to_owned(),
            invariant: match cells[3] {
                "policy" => 0,
                number => number.parse().expect("a number of an invariant"),
            },
            seed: cells[4].parse().expect("a seed"),
        }
    })
    .collect()
}

fn violation(bug: Option<Bug>, seed: u64) -> Option<Violation> {
    // The panics of one of them are findings, and nobody's to read.
    std::panic::set_hook(Box::new(|_| {}));
    plant(bug);
    let violation = run(&Story::new(seed, DAYS, RENEWALS), None).violation;
    plant(None);
    violation
}

#[test]
fn every_planted_bug_is_caught_by_the_invariant_that_the_table_names() {
    let rows = table();
    let mut wrong = Vec::new();
    for row in &rows {
        let found = violation(Some(row.bug), row.seed).map(|violation| violation.invariant);
        if found != Some(row.invariant) {
            wrong.push(format!("{:?}: {found:?} is not {}", row.bug, row.invariant));
        }
        if violation(None, row.seed).is_some() {
            wrong.push(format!("seed {} fails without {:?}", row.seed, row.bug));
        }
        if row.what != row.bug.what() {
            wrong.push(format!(
                "{:?} is told otherwise: {}",
                row.bug,
                row.bug.what()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: Vec<_> = rows.iter().map(|row| row.bug).collect();
    assert_eq!(listed, Bug::ALL, "the table lists them in order");
}

#[test]
fn every_invariant_of_the_engine_catches_a_bug() {
    let caught: BTreeSet<_> = table().iter().map(|row| row.invariant).collect();
    let missing: Vec<_> = (1..=23)
        // What `doctor` finds in the environment is no matter of the engine.
        .filter(|invariant| *invariant != 20 && !caught.contains(invariant))
        .collect();
    assert!(missing.is_empty(), "no bug is caught by {missing:?}");
}

/// Prints the rows of the table anew: for each bug which invariant caught it in which seed, the
/// preferred one first.
#[test]
#[ignore = "long: cargo xtask test --full"]
fn a_table_of_what_catches_each() {
    for bug in Bug::ALL {
        let preferred = table()
            .iter()
            .find(|row| row.bug == *bug)
            .map(|row| row.invariant);
        let mut found = Vec::new();
        for seed in 0..120 {
            if let Some(violation) = violation(Some(*bug), seed) {
                found.push((violation.invariant, seed));
                if preferred.is_none_or(|preferred| preferred == violation.invariant) {
                    break;
                }
            }
        }
        let best = found
            .iter()
            .find(|(invariant, _)| Some(*invariant) == preferred);
        let (what, caught) = (bug.what(), best.or(found.first()));
        let row = format!("| `{bug:?}` | {what} | {caught:?} | all: {found:?}\n");
        std::io::Write::write_all(&mut std::io::stdout(), row.as_bytes()).expect("a reader");
        assert!(!found.is_empty(), "{bug:?} is never caught");
    }
}
