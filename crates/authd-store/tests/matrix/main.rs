//! The crash matrix: every operation on the disk, of everything that the store does, struck by every
//! fault; then a start, which must find what was promised. docs/testing.md says how to replay a cell.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod cell;
mod model;
mod script;

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use authd_core::id::AttemptId;
use authd_store::{
    CommitOutcome,
    fault::{Fault, Keep, Op, Rule},
};

use self::{
    cell::{Breadth, Column, Row, Tally},
    common::{Machine, close, intend, intent, line, login, record, summary},
};

fn is_full() -> bool {
    std::env::var_os("AUTHD_FULL").is_some()
}

fn breadth() -> Breadth {
    Breadth {
        seeds: if is_full() { 24 } else { 1 },
    }
}

/// Does `work` for each of the numbers below `count`, on every core. Returns how many panicked,
/// each of which has said where.
fn on_all_cores(count: usize, work: impl Fn(usize) + Sync) -> usize {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| work(number))).is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    failed.into_inner()
}

fn rows() -> Vec<Row> {
    script::scripts().into_iter().map(Row::new).collect()
}

/// The cells that `AUTHD_CELL` asks for, all without it: `script/fault/operation`.
fn is_wanted(row: &Row, column: Column, at: usize) -> bool {
    let Ok(wanted) = std::env::var("AUTHD_CELL") else {
        return true;
    };
    let cell = format!("{}/{}/{at}", row.script.name, column.name());
    wanted == cell
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are to be seen")]
fn inv_06_every_fault_at_every_operation_of_the_disk_leaves_a_recoverable_generation() {
    let (rows, breadth) = (rows(), breadth());
    let mut work = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        for at in 0..=row.operations.len() {
            work.push((number, at));
        }
    }
    let tallies = Mutex::new(BTreeMap::<(usize, Column), Tally>::new());
    let failed = on_all_cores(work.len(), |number| {
        let (number, at) = work[number];
        for column in Column::ALL {
            if is_wanted(&rows[number], column, at) {
                let tally = rows[number].strike(column, at, &breadth);
                tallies
                    .lock()
                    .unwrap()
                    .entry((number, column))
                    .or_default()
                    .add(tally);
            }
        }
    });
    let tallies = tallies.into_inner().unwrap();
    if std::env::var_os("AUTHD_CELL").is_some() {
        for (at, (op, path)) in rows
            .iter()
            .flat_map(|row| row.operations.iter().enumerate())
        {
            println!("{at:>4} {op:?} {}", path.display());
        }
        return;
    }
    print!("{:<20}{:>5}", "starts checked", "ops");
    Column::ALL
        .iter()
        .for_each(|column| print!("{:>12}", column.name()));
    println!("{:>10}{:>8}{:>11}", "promised", "newer", "ambiguous");
    let mut all = Tally::default();
    for (number, row) in rows.iter().enumerate() {
        print!("{:<20}{:>5}", row.script.name, row.operations.len());
        let mut sum = Tally::default();
        for column in Column::ALL {
            let tally = tallies.get(&(number, column)).copied().unwrap_or_default();
            print!("{:>12}", tally.checks());
            sum.add(tally);
        }
        println!("{:>10}{:>8}{:>11}", sum.promised, sum.newer, sum.ambiguous);
        all.add(sum);
    }
    println!(
        "{} starts checked: {} found what was promised, {} something newer, {} an open intent; \
         operations with a violation: {failed}",
        all.checks(),
        all.promised,
        all.newer,
        all.ambiguous
    );
    assert_eq!(failed, 0, "see above");
    for column in Column::ALL {
        let of_column = tallies.iter().filter(|((_, of), _)| *of == column);
        let checks: u64 = of_column.map(|(_, tally)| tally.checks()).sum();
        assert!(checks > 100, "{}: {checks} checks", column.name());
    }
    for (what, count) in [
        ("promised", all.promised),
        ("newer", all.newer),
        ("ambiguous", all.ambiguous),
    ] {
        assert!(count > 100, "{what}: {count}");
    }
}

/// Whoever is told "durable" or "spilled" publishes at that moment: then it must be on the disk, whatever
/// had failed before, and whatever of the unsynced the disk forgets.
#[test]
fn inv_04_what_is_called_durable_or_spilled_is_on_the_disk_at_that_very_moment() {
    let prepared = Machine::new();
    let (store, _) = prepared.open().unwrap();
    login(&store, "work", 1);
    close(store).unwrap();
    let (mut durable, mut spilled) = (0, 0);
    for at in 0..60 {
        for number in 0..4 {
            let machine = prepared.crashed(Keep::Everything);
            let fault = match number {
                0 => Fault::Once(ErrorKind::Other),
                1 => Fault::Lasting(
                    vec![Op::SetLen, Op::Allocate, Op::Open],
                    ErrorKind::StorageFull,
                ),
                2 => Fault::Lasting(vec![Op::Sync], ErrorKind::Other),
                _ => Fault::LoseSync(machine.memory.clone()),
            };
            machine.faults.strike_after(at, fault);
            if number == 1 {
                // The database alone is full; what was reserved can be written.
                machine.faults.add(Rule {
                    after: at / 8,
                    ..Rule::disk_full().on("authd.redb")
                });
            }
            let Ok((store, _)) = machine.open() else {
                continue;
            };
            if intend(&store, intent("work", 1, 1, 9)).is_err() {
                continue;
            }
            let disk = machine.memory.clone();
            let (sender, told) = mpsc::channel();
            store.commit(record("work", 1, 2), AttemptId(9), move |outcome| {
                sender.send((outcome, disk.crash(Keep::Nothing))).unwrap();
            });
            let (outcome, disk) = told.recv_timeout(Duration::from_secs(60)).unwrap();
            match outcome.unwrap() {
                CommitOutcome::Durable => durable += 1,
                CommitOutcome::Spilled { .. } => spilled += 1,
                CommitOutcome::MemoryOnly { .. } => continue,
            }
            let (_store, loaded) = Machine::on(disk).open().unwrap();
            assert_eq!(
                summary(&loaded),
                [line("work", 1, 2)],
                "operation {at}, fault {number}"
            );
        }
    }
    assert!(
        durable > 50 && spilled > 5,
        "{durable} durable, {spilled} spilled"
    );
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are to be seen")]
fn inv_06_a_second_stop_at_any_operation_of_the_recovery_loses_nothing_either() {
    // Each operation of the recovery is tried, but after each first stop only every tenth of them.
    let stride = if is_full() { 1 } else { 10 };
    let rows = rows();
    let mut work = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        for at in 0..=row.operations.len() {
            work.push((number, at));
        }
    }
    let tallies = Mutex::new(BTreeMap::<usize, Tally>::new());
    let failed = on_all_cores(work.len(), |item| {
        let (number, at) = work[item];
        let mut keeps = vec![Keep::Everything, Keep::Nothing];
        if is_full() {
            keeps.extend((0..4).map(Keep::Some));
        }
        for keep in keeps {
            let tally = rows[number].strike_twice(at, keep, |second| {
                (second + at as u64).is_multiple_of(stride)
            });
            tallies
                .lock()
                .unwrap()
                .entry(number)
                .or_default()
                .add(tally);
        }
    });
    let tallies = tallies.into_inner().unwrap();
    println!(
        "{:<20}{:>8}{:>10}{:>8}{:>11}",
        "stopped twice", "starts", "promised", "newer", "ambiguous"
    );
    for (number, tally) in &tallies {
        let Tally {
            promised,
            newer,
            ambiguous,
        } = *tally;
        let (name, starts) = (rows[*number].script.name, tally.checks());
        println!("{name:<20}{starts:>8}{promised:>10}{newer:>8}{ambiguous:>11}");
    }
    assert_eq!(failed, 0, "see above");
    assert!(tallies.values().all(|tally| tally.checks() > 10));
}
