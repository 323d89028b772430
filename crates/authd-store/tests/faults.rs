//! The store when the disk fails: full, read-only, lying, damaged, slow.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{io, path::PathBuf};

use authd_core::id::{AttemptId, Generation, GrantId};
use authd_store::{
    CommitOutcome, DiskTrouble, OpenError, StoreError,
    fault::{Keep, Memory, Op, Rule},
};
use common::*;

const PAGE: usize = 4096;

/// A machine with three accounts, one of them renewed, after a clean stop.
fn settled() -> Machine {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    login(&store, "home", 2);
    login(&store, "club", 3);
    assert_eq!(renew(&store, "work", 1, 1), CommitOutcome::Durable);
    close(store).unwrap();
    machine
}

fn all_settled() -> Vec<(String, u64, String)> {
    vec![line("club", 3, 1), line("home", 2, 1), line("work", 1, 2)]
}

/// The machine after a power failure.
fn restarted(machine: &Machine, keep: Keep) -> Machine {
    Machine::on(machine.memory.crash(keep))
}

#[test]
fn a_full_disk_at_commit_spills_the_answer_and_the_next_start_takes_it_up() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("work", 1, 2, 9)).unwrap();
    // Only reserved space is left: the spill's own bytes can be written, nothing else.
    machine.faults.add(Rule::disk_full().on("authd.redb"));
    machine.faults.add(Rule::disk_full().on("mirrors"));
    let spilled = CommitOutcome::Spilled {
        reason: DiskTrouble::Full,
    };
    assert_eq!(commit(&store, record("work", 1, 3), 9).unwrap(), spilled);
    // Trying again changes nothing while the disk is full, and rotating again is refused.
    assert_eq!(commit(&store, record("work", 1, 3), 9).unwrap(), spilled);
    let refused = intend(&store, intent("work", 1, 3, 10));
    assert_eq!(refused, Err(StoreError::NotWritable(DiskTrouble::Full)));

    let after = restarted(&machine, Keep::Nothing);
    let (store, loaded) = after.open().unwrap();
    assert_eq!(loaded.taken_from_spill, [account("work")]);
    assert_eq!(summary(&loaded)[2], line("work", 1, 3));
    assert!(loaded.intents.is_empty(), "its outcome is known");
    close(store).unwrap();
    assert!(
        after.files("spill/").is_empty(),
        "the answer stands in the database now"
    );
    let (_store, loaded) = after.open().unwrap();
    assert!(loaded.taken_from_spill.is_empty());
    assert_eq!(summary(&loaded)[2], line("work", 1, 3));
}

#[test]
fn when_space_returns_the_same_commit_becomes_durable() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("work", 1, 2, 9)).unwrap();
    machine.faults.add(Rule::disk_full().on("authd.redb"));
    assert!(matches!(
        commit(&store, record("work", 1, 3), 9),
        Ok(CommitOutcome::Spilled {
            reason: DiskTrouble::Full
        })
    ));
    machine.faults.heal();
    assert_eq!(
        commit(&store, record("work", 1, 3), 9),
        Ok(CommitOutcome::Durable)
    );
    assert_eq!(renew(&store, "work", 1, 3), CommitOutcome::Durable);
    close(store).unwrap();
    let (_store, loaded) = machine.open().unwrap();
    assert_eq!(summary(&loaded)[2], line("work", 1, 4));
    assert!(loaded.taken_from_spill.is_empty());
}

#[test]
fn with_no_file_left_the_answer_is_in_memory_and_said_to_be() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("work", 1, 2, 9)).unwrap();
    machine.faults.add(Rule::read_only());
    let outcome = commit(&store, record("work", 1, 3), 9).unwrap();
    assert_eq!(
        outcome,
        CommitOutcome::MemoryOnly {
            reason: DiskTrouble::ReadOnly
        }
    );
    let flushed = wait(|done| store.flush(done)).unwrap();
    assert_eq!(flushed.memory_only, [account("work")]);
    assert_eq!(flushed.trouble, Some(DiskTrouble::ReadOnly));

    // A crash now loses the answer, and the next start says that it does not know.
    let (_store, loaded) = restarted(&machine, Keep::Nothing).open().unwrap();
    assert_eq!(summary(&loaded), all_settled());
    assert_eq!(loaded.intents, [intent("work", 1, 2, 9)]);

    // No crash: the disk is mended, and nothing is lost.
    machine.faults.heal();
    let flushed = wait(|done| store.flush(done)).unwrap();
    assert_eq!((flushed.trouble, flushed.memory_only), (None, vec![]));
    close(store).unwrap();
    let (_store, loaded) = machine.open().unwrap();
    assert_eq!(summary(&loaded)[2], line("work", 1, 3));
    assert!(loaded.intents.is_empty());
}

#[test]
fn a_login_that_no_file_takes_leaves_the_one_before_it_as_it_was() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("work", 9, 0, 9)).unwrap();
    intend(&store, intent("new", 10, 0, 10)).unwrap();
    machine.faults.add(Rule::read_only());
    let failed = Ok(CommitOutcome::MemoryOnly {
        reason: DiskTrouble::ReadOnly,
    });
    assert_eq!(commit(&store, record("work", 9, 1), 9), failed);
    assert_eq!(commit(&store, record("new", 10, 1), 10), failed);
    let flushed = wait(|done| store.flush(done)).unwrap();
    assert!(flushed.memory_only.is_empty() && flushed.spilled.is_empty());
    machine.faults.heal();
    assert_eq!(renew(&store, "work", 1, 2), CommitOutcome::Durable);
    close(store).unwrap();
    let (_store, loaded) = machine.open().unwrap();
    let expected = [line("club", 3, 1), line("home", 2, 1), line("work", 1, 3)];
    assert_eq!(summary(&loaded), expected);
    assert!(loaded.intents.is_empty());
}

#[test]
fn a_login_that_failed_for_the_disk_keeps_an_earlier_answer_that_is_still_owed() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("work", 1, 2, 8)).unwrap();
    machine.faults.add(Rule::read_only());
    let failed = CommitOutcome::MemoryOnly {
        reason: DiskTrouble::ReadOnly,
    };
    assert_eq!(commit(&store, record("work", 1, 3), 8).unwrap(), failed);
    assert_eq!(commit(&store, record("work", 9, 1), 9).unwrap(), failed);
    machine.faults.heal();
    let flushed = wait(|done| store.flush(done)).unwrap();
    assert_eq!((flushed.trouble, flushed.memory_only), (None, vec![]));
    close(store).unwrap();
    let (_store, loaded) = machine.open().unwrap();
    assert_eq!(summary(&loaded)[2], line("work", 1, 3));
}

#[test]
fn inv_11_a_login_that_was_replaced_never_comes_back() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    machine.faults.add(Rule::disk_full().on("authd.redb"));
    let first = commit(&store, record("work", 8, 1), 8).unwrap();
    assert!(
        matches!(first, CommitOutcome::Spilled { .. }),
        "{first:?}: its write is due once more"
    );
    machine.faults.heal();
    let second = commit(&store, record("work", 9, 1), 9);
    assert_eq!(second, Ok(CommitOutcome::Durable));

    // The write that was due comes late, as its own attempt and as that of the login that stands.
    let (held, offered) = (Generation(1), Generation(1));
    let late = Err(StoreError::Superseded { held, offered });
    for attempt in [8, 9] {
        assert_eq!(commit(&store, record("work", 8, 1), attempt), late);
    }
    intend(&store, intent("work", 9, 1, 10)).unwrap();
    let after = restarted(&machine, Keep::Everything);
    close(store).unwrap();
    for machine in [machine, after] {
        let (store, loaded) = machine.open().unwrap();
        assert_eq!(summary(&loaded)[2], line("work", 9, 1));
        // The same when all that is known of the login that stands is on disk.
        assert_eq!(commit(&store, record("work", 8, 1), 9), late);
    }
}

#[test]
fn inv_11_a_late_write_brings_back_no_account_that_was_forgotten() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    assert_eq!(
        commit(&store, record("new", 8, 1), 8),
        Ok(CommitOutcome::Durable)
    );
    wait(|done| store.erase(account("new"), GrantId(8), done)).unwrap();
    let late = commit(&store, record("new", 8, 1), 8);
    assert_eq!(late, Err(StoreError::NotHeld(account("new"))));
    // Another login is another matter.
    login(&store, "new", 9);
}

#[test]
fn a_close_that_loses_an_answer_says_whose() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("work", 1, 2, 9)).unwrap();
    machine.faults.add(Rule::read_only());
    commit(&store, record("work", 1, 3), 9).unwrap();
    assert_eq!(
        close(store),
        Err(StoreError::Unsaved(vec![account("work")]))
    );
}

#[test]
fn a_store_that_cannot_be_written_lets_no_exchange_leave() {
    for (fault, trouble) in [
        (Rule::disk_full(), DiskTrouble::Full),
        (Rule::disk_full().on("spill"), DiskTrouble::Full),
        (Rule::read_only(), DiskTrouble::ReadOnly),
        (Rule::read_only().on("authd.redb"), DiskTrouble::ReadOnly),
    ] {
        let machine = settled();
        let (store, _) = machine.open().unwrap();
        machine.faults.add(fault);
        let refused = intend(&store, intent("work", 1, 2, 9));
        assert_eq!(refused, Err(StoreError::NotWritable(trouble)));
        machine.faults.heal();
        // Nothing has changed, and the store is as good as new.
        let (_crashed, loaded) = restarted(&machine, Keep::Everything).open().unwrap();
        assert!(loaded.intents.is_empty());
        assert_eq!(renew(&store, "work", 1, 2), CommitOutcome::Durable);
    }
}

#[test]
fn the_space_for_the_answer_is_taken_before_the_exchange() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    machine.faults.add(Rule {
        ops: vec![Op::Allocate],
        ..Rule::disk_full()
    });
    let refused = intend(&store, intent("work", 1, 2, 9));
    assert_eq!(refused, Err(StoreError::NotWritable(DiskTrouble::Full)));
}

#[test]
fn a_passing_io_error_is_answered_by_reopening() {
    for op in [Op::Write, Op::Sync] {
        let machine = settled();
        let (store, _) = machine.open().unwrap();
        intend(&store, intent("work", 1, 2, 9)).unwrap();
        machine.faults.add(Rule {
            ops: vec![op],
            times: 1,
            error: io::ErrorKind::Other,
            ..Rule::disk_full().on("authd.redb")
        });
        // One failure: spilled at once, then reopened, written again, durable.
        assert_eq!(
            commit(&store, record("work", 1, 3), 9),
            Ok(CommitOutcome::Durable),
            "{op:?}"
        );
        let (_crashed, loaded) = restarted(&machine, Keep::Nothing).open().unwrap();
        assert_eq!(summary(&loaded)[2], line("work", 1, 3), "{op:?}");
        assert_eq!(
            renew(&store, "home", 2, 1),
            CommitOutcome::Durable,
            "{op:?}"
        );
    }
}

#[test]
fn a_failed_sync_is_answered_by_a_new_file() {
    // The injected failure is a kernel's: a second sync of the same file would succeed and lie.
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("work", 1, 2, 9)).unwrap();
    machine.memory.fail_next_sync("authd.redb");
    assert_eq!(
        commit(&store, record("work", 1, 3), 9),
        Ok(CommitOutcome::Durable)
    );
    assert_eq!(renew(&store, "home", 2, 1), CommitOutcome::Durable);
    let expected = [line("club", 3, 1), line("home", 2, 2), line("work", 1, 3)];
    // Also without the mirrors, which would hide a database that lost its pages.
    let after = restarted(&machine, Keep::Nothing);
    for mirror in after.files("mirrors/") {
        authd_store::disk::Disk::remove(&after.memory, &mirror).unwrap();
    }
    let (_store, loaded) = after.open().unwrap();
    assert_eq!(summary(&loaded), expected);
    assert!(loaded.set_aside.is_empty() && !loaded.rebuilt_from_mirrors);

    // The same for the spill, while the database cannot be written at all.
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("work", 1, 2, 9)).unwrap();
    machine.faults.add(Rule::disk_full().on("authd.redb"));
    machine.faults.add(Rule::disk_full().on("mirrors"));
    machine.memory.fail_next_sync("spill");
    let outcome = commit(&store, record("work", 1, 3), 9).unwrap();
    assert_eq!(
        outcome,
        CommitOutcome::Spilled {
            reason: DiskTrouble::Full
        }
    );
    let (_store, loaded) = restarted(&machine, Keep::Nothing).open().unwrap();
    assert_eq!(summary(&loaded)[2], line("work", 1, 3));
}

#[test]
fn each_zeroed_page_of_the_database_is_survived() {
    let machine = settled();
    let database = machine.path("authd.redb");
    let pages = machine.memory.content(&database).unwrap().len() / PAGE;
    let mut rebuilt = 0;
    for page in 0..pages {
        for clean in [true, false] {
            let damaged = restarted(&machine, Keep::Everything);
            damaged.memory.zero(&database, page * PAGE, PAGE);
            if !clean {
                let mark = damaged.path("clean");
                authd_store::disk::Disk::remove(&damaged.memory, &mark).unwrap();
            }
            let (store, loaded) = damaged.open().unwrap();
            assert_eq!(summary(&loaded), all_settled(), "page {page}");
            if loaded.rebuilt_from_mirrors {
                rebuilt += 1;
                assert_eq!(loaded.set_aside.len(), 1);
                let kept = damaged.memory.content(&loaded.set_aside[0].kept_at);
                assert!(kept.is_some(), "the damaged file is kept");
            }
            // And it works on.
            assert_eq!(
                renew(&store, "home", 2, 1),
                CommitOutcome::Durable,
                "page {page}"
            );
            close(store).unwrap();
            let (_store, loaded) = damaged.open().unwrap();
            assert_eq!(summary(&loaded)[1], line("home", 2, 2), "page {page}");
        }
    }
    assert!(rebuilt > 0, "some page of {pages} mattered");
}

#[test]
fn a_database_that_loses_its_pages_while_it_is_open_is_rebuilt() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("home", 2, 1, 9)).unwrap();
    let database = machine.path("authd.redb");
    let len = machine.memory.content(&database).unwrap().len();
    machine.memory.zero(&database, 0, len);
    // A failure makes the store look at the file again: nothing of it is left.
    machine.faults.add(Rule {
        times: 1,
        ..Rule::disk_full().on("authd.redb")
    });
    assert_eq!(
        commit(&store, record("work", 1, 3), 50),
        Ok(CommitOutcome::Durable)
    );
    let after = restarted(&machine, Keep::Nothing);
    let (_store, loaded) = after.open().unwrap();
    assert_eq!(
        summary(&loaded),
        [line("club", 3, 1), line("home", 2, 1), line("work", 1, 3)]
    );
    assert_eq!(
        loaded.intents,
        [intent("home", 2, 1, 9)],
        "the intent was rebuilt as well"
    );
    assert_eq!(after.files("authd.redb.corrupt-").len(), 1);
}

#[test]
fn a_lost_database_takes_no_intent_with_it() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("home", 2, 1, 9)).unwrap();
    intend(&store, intent("work", 1, 2, 10)).unwrap();
    wait(|done| store.annul(AttemptId(10), done)).unwrap();
    let after = restarted(&machine, Keep::Nothing);
    after
        .memory
        .put(&after.path("authd.redb"), vec![0xa5; 9000]);
    let (_store, loaded) = after.open().unwrap();
    assert!(loaded.rebuilt_from_mirrors);
    assert_eq!(loaded.intents, [intent("home", 2, 1, 9)]);
    assert_eq!(summary(&loaded), all_settled());
}

/// The machine at whose database nothing is left to read.
fn with_its_database_lost(machine: Machine) -> Machine {
    let database = machine.path("authd.redb");
    machine.memory.put(&database, vec![0; 9000]);
    machine
}

#[test]
fn inv_06_a_kill_between_commit_and_mirror_with_a_damaged_database_loses_nothing() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    // The answer to the commit is out; its mirror is being written when the process is killed.
    let stall = machine.faults.stall(Op::Write, "mirrors/");
    assert_eq!(renew(&store, "work", 1, 2), CommitOutcome::Durable);
    stall.wait_until_reached();
    let killed = with_its_database_lost(restarted(&machine, Keep::Everything));
    // Without power it is either there or known to be unknown.
    let unpowered = with_its_database_lost(restarted(&machine, Keep::Nothing));
    drop(stall);
    let renewed = [line("club", 3, 1), line("home", 2, 1), line("work", 1, 3)];
    let (store, loaded) = killed.open().unwrap();
    assert!(loaded.rebuilt_from_mirrors);
    assert_eq!(summary(&loaded), renewed);
    assert!(loaded.intents.is_empty());
    close(store).unwrap();
    let (_store, loaded) = unpowered.open().unwrap();
    assert_eq!(summary(&loaded), all_settled());
    assert_eq!(loaded.intents.len(), 1, "not a guess");
}

#[test]
fn inv_06_mirrors_that_cannot_be_written_cost_no_answer_when_the_database_is_lost_as_well() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    machine.faults.add(Rule::disk_full().on("mirrors/"));
    for (name, grant, from) in [
        ("work", 1, 2),
        ("home", 2, 1),
        ("club", 3, 1),
        ("work", 1, 3),
    ] {
        assert_eq!(renew(&store, name, grant, from), CommitOutcome::Durable);
    }
    let killed = with_its_database_lost(restarted(&machine, Keep::Everything));
    let (store, loaded) = killed.open().unwrap();
    let renewed = [line("club", 3, 2), line("home", 2, 2), line("work", 1, 4)];
    assert_eq!(summary(&loaded), renewed);
    assert!(loaded.intents.is_empty() && loaded.set_aside.len() == 1);
    close(store).unwrap();
    assert!(killed.files("spill/").is_empty(), "the mirrors have it now");
}

#[test]
fn a_spilled_answer_is_given_up_only_when_its_mirror_is_written() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("work", 1, 2, 9)).unwrap();
    machine.faults.add(Rule::disk_full().on("authd.redb"));
    machine.faults.add(Rule::disk_full().on("mirrors/"));
    commit(&store, record("work", 1, 3), 9).unwrap();
    let after = restarted(&machine, Keep::Nothing);
    after.faults.add(Rule::disk_full().on("mirrors/"));
    let (store, loaded) = after.open().unwrap();
    assert_eq!(loaded.taken_from_spill, [account("work")]);
    wait(|done| store.flush(done)).unwrap();
    let lost = with_its_database_lost(restarted(&after, Keep::Nothing));
    let (_store, loaded) = lost.open().unwrap();
    assert_eq!(summary(&loaded)[2], line("work", 1, 3));
}

#[test]
fn no_copy_of_an_answer_brings_back_an_account_that_was_forgotten() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    renew(&store, "home", 2, 1);
    machine.faults.add(Rule::disk_full().on("mirrors/"));
    renew(&store, "work", 1, 2);
    wait(|done| store.erase(account("work"), GrantId(1), done)).unwrap();
    wait(|done| store.erase(account("home"), GrantId(2), done)).unwrap();
    for keep in [Keep::Nothing, Keep::Everything] {
        for after in [
            restarted(&machine, keep),
            with_its_database_lost(restarted(&machine, keep)),
        ] {
            let (_store, loaded) = after.open().unwrap();
            assert_eq!(summary(&loaded), [line("club", 3, 1)], "{keep:?}");
        }
    }
}

#[test]
fn a_torn_copy_of_an_answer_is_nothing_to_speak_of() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    assert_eq!(renew(&store, "work", 1, 2), CommitOutcome::Durable);
    wait(|done| store.flush(done)).unwrap();
    let after = restarted(&machine, Keep::Everything);
    after.memory.zero(&after.files("spill/")[0], 16_500, 100);
    let (_store, loaded) = after.open().unwrap();
    assert_eq!(summary(&loaded)[2], line("work", 1, 3));
    assert!(loaded.set_aside.is_empty(), "{:?}", loaded.set_aside);
}

#[test]
fn a_torn_spill_is_kept_aside_and_its_intent_still_counts() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("work", 1, 2, 9)).unwrap();
    machine.faults.add(Rule::disk_full().on("authd.redb"));
    machine.faults.add(Rule::disk_full().on("mirrors"));
    commit(&store, record("work", 1, 3), 9).unwrap();
    let after = restarted(&machine, Keep::Nothing);
    after.memory.zero(&after.files("spill/")[0], 16_500, 100);
    after.memory.put(&after.path("authd.redb"), Vec::new());
    let (store, loaded) = after.open().unwrap();
    assert_eq!(summary(&loaded), all_settled());
    assert_eq!(loaded.intents, [intent("work", 1, 2, 9)]);
    let torn: Vec<_> = loaded
        .set_aside
        .iter()
        .filter(|kept| kept.what.contains("spill"))
        .collect();
    assert!(
        after
            .memory
            .content(&torn[0].kept_at)
            .unwrap()
            .starts_with(b"authd")
    );
    close(store).unwrap();
    let (_store, loaded) = after.open().unwrap();
    assert_eq!((loaded.intents.len(), loaded.set_aside.len()), (1, 0));
}

#[test]
fn one_damaged_record_harms_no_other_account_and_is_kept() {
    let machine = settled();
    // Damage what is sealed: find one account's record in the database by its mirror.
    let mirror = largest_mirror(&machine.memory, &machine.files("mirrors/"));
    let sealed = machine.memory.content(&mirror).unwrap();
    let database = machine.path("authd.redb");
    let mut content = machine.memory.content(&database).unwrap();
    let mut found = 0;
    for at in 0..content.len() - sealed.len() {
        if content[at..at + sealed.len()] == sealed[..] {
            content[at + 200] ^= 1;
            found += 1;
        }
    }
    assert!(found > 0);

    // With its mirror whole, nothing is lost at all.
    let damaged = restarted(&machine, Keep::Everything);
    damaged.memory.put(&database, content.clone());
    let (store, loaded) = damaged.open().unwrap();
    assert_eq!(summary(&loaded), all_settled());
    assert_eq!(loaded.set_aside.len(), 1);
    close(store).unwrap();
    let (_store, loaded) = damaged.open().unwrap();
    assert!(
        loaded.set_aside.is_empty(),
        "it was replaced by the whole copy"
    );

    // With the mirror damaged as well, one account is lost and two remain.
    let damaged = restarted(&machine, Keep::Everything);
    damaged.memory.put(&database, content);
    damaged.memory.zero(&mirror, 100, 50);
    let (store, loaded) = damaged.open().unwrap();
    assert_eq!(loaded.records.len(), 2);
    assert_eq!(loaded.set_aside.len(), 2);
    for kept in &loaded.set_aside {
        assert!(
            damaged.memory.content(&kept.kept_at).is_some(),
            "{}",
            kept.what
        );
    }
    close(store).unwrap();
    let (_store, loaded) = damaged.open().unwrap();
    assert_eq!(loaded.records.len(), 2);
    assert!(loaded.set_aside.is_empty());
}

fn largest_mirror(memory: &Memory, mirrors: &[PathBuf]) -> PathBuf {
    let longest = mirrors
        .iter()
        .max_by_key(|path| memory.content(path).unwrap().len());
    longest.unwrap().clone()
}

#[test]
fn a_mirror_that_lags_is_brought_up_and_a_damaged_one_replaced() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    machine.faults.add(Rule::disk_full().on("mirrors"));
    assert_eq!(renew(&store, "home", 2, 1), CommitOutcome::Durable);
    let after = restarted(&machine, Keep::Nothing);
    let mirror = largest_mirror(&after.memory, &after.files("mirrors/"));
    after.memory.zero(&mirror, 0, 64);
    let (store, loaded) = after.open().unwrap();
    let expected = [line("club", 3, 1), line("home", 2, 2), line("work", 1, 2)];
    assert_eq!(summary(&loaded), expected);
    assert_eq!(loaded.set_aside.len(), 1);
    close(store).unwrap();
    // Now the mirrors alone hold it all.
    authd_store::disk::Disk::remove(&after.memory, &after.path("authd.redb")).unwrap();
    let (_store, loaded) = after.open().unwrap();
    assert!(loaded.rebuilt_from_mirrors);
    assert_eq!(summary(&loaded), expected);
}

#[test]
fn a_full_disk_at_start_hands_out_what_it_finds_and_keeps_the_spill() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    intend(&store, intent("work", 1, 2, 9)).unwrap();
    machine.faults.add(Rule::disk_full().on("authd.redb"));
    machine.faults.add(Rule::disk_full().on("mirrors"));
    commit(&store, record("work", 1, 3), 9).unwrap();
    let after = restarted(&machine, Keep::Nothing);
    // redb's own repair may write; a new transaction's pages may not.
    after.faults.add(Rule {
        ops: vec![Op::SetLen],
        ..Rule::disk_full().on("authd.redb")
    });
    after.faults.add(Rule::disk_full().on("mirrors"));
    after.faults.add(Rule {
        ops: vec![Op::Write],
        after: 6,
        ..Rule::disk_full().on("authd.redb")
    });
    match after.open() {
        Ok((store, loaded)) => {
            assert_eq!(summary(&loaded)[2], line("work", 1, 3));
            drop(store);
        }
        Err(OpenError::Disk { trouble, .. }) => assert_eq!(trouble, DiskTrouble::Full),
        Err(other) => panic!("{other}"),
    }
    // Whatever it did, the answer is still there when the disk has room.
    let (_store, loaded) = restarted(&after, Keep::Nothing).open().unwrap();
    assert_eq!(summary(&loaded)[2], line("work", 1, 3));
}

#[test]
fn a_read_only_directory_is_an_error_that_says_so() {
    let machine = settled();
    machine.faults.add(Rule::read_only());
    let refused = machine.open().err().unwrap();
    assert!(
        matches!(
            refused,
            OpenError::Disk {
                trouble: DiskTrouble::ReadOnly,
                ..
            }
        ),
        "{refused}"
    );
    machine.faults.heal();
    let (_store, loaded) = machine.open().unwrap();
    assert_eq!(summary(&loaded), all_settled());
}

#[test]
fn a_stalled_sync_blocks_no_caller_and_loses_no_answer() {
    let machine = settled();
    let (store, _) = machine.open().unwrap();
    let stall = machine.faults.stall(Op::Sync, "authd.redb");
    let (sender, answers) = std::sync::mpsc::channel();
    let first = sender.clone();
    store.intend(intent("work", 1, 2, 9), move |result| {
        first.send(result.map(|()| None)).unwrap()
    });
    stall.wait_until_reached();
    // The caller is free: it asks for more while the first hangs.
    store.commit(record("work", 1, 3), AttemptId(9), move |result| {
        sender.send(result.map(Some)).unwrap();
    });
    assert!(
        answers.try_recv().is_err(),
        "nothing is answered before it is durable"
    );
    drop(stall);
    assert_eq!(answers.recv().unwrap(), Ok(None));
    assert_eq!(answers.recv().unwrap(), Ok(Some(CommitOutcome::Durable)));
}
