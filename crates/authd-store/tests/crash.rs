//! The power fails at every single operation of mending what was broken before; then the store starts
//! again. That it fails at every operation of everything else is in the crash matrix.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use authd_store::{CommitOutcome, Loaded, fault::Keep};
use common::*;

/// What may be kept of the unsynced: nothing, all, and random parts of it.
fn keeps() -> impl Iterator<Item = Keep> {
    [Keep::Nothing, Keep::Everything]
        .into_iter()
        .chain((0..6).map(Keep::Some))
}

/// Runs `scenario` again and again, stopping the machine one operation later each time, until it
/// runs through; after each stop, `check` sees what a start finds. Returns the number of stops.
fn at_every_operation<T>(
    prepare: impl Fn(&Machine),
    scenario: impl Fn(&Machine) -> T,
    check: impl Fn(&T, &Loaded, &str),
) -> u64 {
    let prepared = Machine::new();
    prepare(&prepared);
    for stop in 0.. {
        assert!(stop < 2000, "the scenario ends");
        let machine = Machine::on(prepared.memory.crash(Keep::Everything));
        machine.faults.crash_after(stop);
        let reached = scenario(&machine);
        for keep in keeps() {
            let place = format!("operation {stop}, {keep:?}");
            let after = Machine::on(machine.memory.crash(keep));
            let (store, loaded) = after
                .open()
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            check(&reached, &loaded, &place);
            // What was found holds: it is found again.
            let found = summary(&loaded);
            close(store).unwrap();
            let (_store, again) = after.open().unwrap();
            assert_eq!(summary(&again), found, "{place}");
            assert_eq!(again.intents, loaded.intents, "{place}");
        }
        if !machine.faults.crashed() {
            return stop;
        }
    }
    unreachable!("the loop returns or fails")
}

fn two_accounts(machine: &Machine) {
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    login(&store, "home", 2);
    close(store).unwrap();
}

/// How far a renewal came.
#[derive(Debug, Default)]
struct Reached {
    intended: bool,
    committed: bool,
}

#[test]
fn inv_06_a_stop_at_any_operation_of_mending_a_failed_sync_loses_nothing() {
    at_every_operation(
        two_accounts,
        |machine| {
            let Ok((store, _)) = machine.open() else {
                return Reached::default();
            };
            let intended = intend(&store, intent("work", 1, 1, 9)).is_ok();
            machine.memory.fail_next_sync("authd.redb");
            let committed = intended
                && matches!(
                    commit(&store, record("work", 1, 2), 9),
                    Ok(CommitOutcome::Durable | CommitOutcome::Spilled { .. })
                );
            Reached {
                intended,
                committed,
            }
        },
        |reached, loaded, place| {
            let found = summary(loaded);
            assert_eq!(found[0], line("home", 2, 1), "{place}");
            let renewed = found[1] == line("work", 1, 2);
            assert!(renewed || !reached.committed, "{place}: lost");
            assert!(
                renewed || !reached.intended || !loaded.intents.is_empty(),
                "{place}"
            );
        },
    );
}

#[test]
fn inv_06_a_stop_at_any_operation_of_a_rebuild_from_the_mirrors_loses_nothing() {
    at_every_operation(
        |machine| {
            two_accounts(machine);
            machine
                .memory
                .put(&machine.path("authd.redb"), vec![0; 20_000]);
        },
        |machine| drop(machine.open()),
        |(), loaded, place| {
            assert_eq!(
                summary(loaded),
                [line("home", 2, 1), line("work", 1, 1)],
                "{place}"
            );
        },
    );
}
