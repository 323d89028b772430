//! The power fails at every single operation of everything the store does; then it starts again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::cell::Cell;

use authd_core::id::{AttemptId, GrantId};
use authd_store::{CommitOutcome, Loaded, Store, fault::Keep};
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

fn renewal(store: &Store, from: u64, attempt: u64) -> Reached {
    let intended = intend(store, intent("work", 1, from, attempt)).is_ok();
    let committed = intended
        && matches!(
            commit(store, record("work", 1, from + 1), attempt),
            Ok(CommitOutcome::Durable | CommitOutcome::Spilled { .. })
        );
    Reached {
        intended,
        committed,
    }
}

#[test]
fn inv_06_a_stop_at_any_operation_of_a_renewal_leaves_a_recoverable_generation() {
    let (lost, unknown, kept) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let stops = at_every_operation(
        two_accounts,
        |machine| match machine.open() {
            Ok((store, _)) => renewal(&store, 1, 9),
            Err(_) => Reached::default(),
        },
        |reached, loaded, place| {
            let found = summary(loaded);
            assert_eq!(found[0], line("home", 2, 1), "{place}");
            assert!(
                loaded.set_aside.is_empty(),
                "{place}: {:?}",
                loaded.set_aside
            );
            assert!(!loaded.rebuilt_from_mirrors, "{place}");
            let renewed = found[1] == line("work", 1, 2);
            assert!(
                renewed || found[1] == line("work", 1, 1),
                "{place}: {found:?}"
            );
            if reached.committed {
                assert!(renewed, "{place}: lost after the commit");
                kept.set(kept.get() + 1);
            } else if reached.intended && !renewed {
                assert_eq!(
                    loaded.intents,
                    [intent("work", 1, 1, 9)],
                    "{place}: a guess"
                );
                unknown.set(unknown.get() + 1);
            } else {
                lost.set(lost.get() + 1);
            }
            assert!(
                !renewed || loaded.intents.is_empty(),
                "{place}: {:?}",
                loaded.intents
            );
        },
    );
    assert!(stops > 20, "{stops} operations");
    for (what, count) in [("unspent", &lost), ("ambiguous", &unknown), ("kept", &kept)] {
        assert!(count.get() > 0, "no stop ended {what}");
    }
}

#[test]
fn a_stop_at_any_operation_of_the_first_login_leaves_all_or_nothing() {
    at_every_operation(
        |_| {},
        |machine| match machine.open() {
            Ok((store, _)) => {
                let intended = intend(&store, intent("work", 1, 0, 9)).is_ok();
                let outcome = intended.then(|| commit(&store, record("work", 1, 1), 9));
                Reached {
                    intended,
                    committed: outcome == Some(Ok(CommitOutcome::Durable)),
                }
            }
            Err(_) => Reached::default(),
        },
        |reached, loaded, place| {
            let found = summary(loaded);
            assert!(found.is_empty() || found == [line("work", 1, 1)], "{place}");
            assert!(!reached.committed || !found.is_empty(), "{place}: lost");
            if reached.intended && found.is_empty() {
                assert_eq!(loaded.intents, [intent("work", 1, 0, 9)], "{place}");
            }
        },
    );
}

#[test]
fn a_stop_at_any_operation_of_forgetting_leaves_the_account_or_nothing_of_it() {
    at_every_operation(
        two_accounts,
        |machine| match machine.open() {
            Ok((store, _)) => {
                let erased = wait(|done| store.erase(account("work"), GrantId(1), done)).is_ok();
                erased && close(store).is_ok()
            }
            Err(_) => false,
        },
        |erased, loaded, place| {
            let found = summary(loaded);
            assert!(found.contains(&line("home", 2, 1)), "{place}");
            assert!(!erased || found.len() == 1, "{place}: it came back");
        },
    );
}

#[test]
fn a_stop_at_any_operation_of_an_annulment_makes_at_most_a_false_alarm() {
    at_every_operation(
        two_accounts,
        |machine| match machine.open() {
            Ok((store, _)) => {
                let intended = intend(&store, intent("work", 1, 1, 9)).is_ok();
                intended && wait(|done| store.annul(AttemptId(9), done)).is_ok()
            }
            Err(_) => false,
        },
        |annulled, loaded, place| {
            assert_eq!(
                summary(loaded),
                [line("home", 2, 1), line("work", 1, 1)],
                "{place}"
            );
            assert!(!annulled || loaded.intents.is_empty(), "{place}");
        },
    );
}

#[test]
fn a_stop_at_any_operation_while_the_disk_is_full_loses_no_spilled_answer() {
    at_every_operation(
        two_accounts,
        |machine| {
            let Ok((store, _)) = machine.open() else {
                return Reached::default();
            };
            if intend(&store, intent("work", 1, 1, 9)).is_err() {
                return Reached::default();
            }
            use authd_store::fault::Rule;
            machine.faults.add(Rule::disk_full().on("authd.redb"));
            machine.faults.add(Rule::disk_full().on("mirrors"));
            let spilled = matches!(
                commit(&store, record("work", 1, 2), 9),
                Ok(CommitOutcome::Spilled { .. })
            );
            machine.faults.heal();
            let settled = commit(&store, record("work", 1, 2), 9);
            let durable = matches!(settled, Ok(CommitOutcome::Durable));
            Reached {
                intended: true,
                committed: spilled || durable,
            }
        },
        |reached, loaded, place| {
            let found = summary(loaded);
            let renewed = found[1] == line("work", 1, 2);
            assert!(
                renewed || !reached.committed,
                "{place}: lost after the spill"
            );
            if reached.intended && !renewed {
                assert_eq!(loaded.intents.len(), 1, "{place}");
            }
        },
    );
}

#[test]
fn a_stop_at_any_operation_of_mending_a_failed_sync_loses_nothing() {
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
fn a_stop_at_any_operation_of_a_rebuild_from_the_mirrors_loses_nothing() {
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
