//! The store when nothing fails: what goes in comes out, and nothing overtakes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, path::Path};

use authd_core::{
    id::{Account, AttemptId, Generation, GrantId},
    time::Wall,
};
use authd_store::{
    CommitOutcome, DataKey, OpenError, Options, Store, StoreError,
    fault::{Keep, Rule},
    key::{self, Means, NewKey},
};
use common::*;

#[test]
fn a_login_and_its_renewals_come_back_and_a_clean_stop_is_noticed() {
    let machine = Machine::new();
    let (store, loaded) = machine.open().unwrap();
    assert!(loaded.records.is_empty() && !loaded.unclean && !loaded.rebuilt_from_mirrors);
    assert!(loaded.foreign.is_empty());
    login(&store, "work", 1);
    login(&store, "home", 2);
    assert_eq!(renew(&store, "work", 1, 1), CommitOutcome::Durable);
    close(store).unwrap();

    let (store, again) = machine.open().unwrap();
    assert_eq!(summary(&again), [line("home", 2, 1), line("work", 1, 2)]);
    assert!(again.intents.is_empty() && !again.unclean && again.set_aside.is_empty());
    assert_eq!(again.instance_id, loaded.instance_id);
    let client_secret = again.records[0].secrets.client_secret.as_ref().unwrap();
    assert!(client_secret.matches("CANARY-client-secret"));
    for record in &again.records {
        let key = format!(
            "CANARY-dpop-key-{}-{}",
            record.grant.account, record.grant.id.0
        );
        assert!(record.secrets.dpop_key.as_ref().unwrap().matches(&key));
    }
    drop(store);
}

#[test]
fn inv_03_an_intent_without_an_outcome_comes_back_until_it_has_one() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    let lost = intent("work", 1, 1, 77);
    intend(&store, lost.clone()).unwrap();
    close(store).unwrap();

    let (store, loaded) = machine.open().unwrap();
    assert_eq!(loaded.intents, [lost]);
    // The retry of the AMBIGUOUS rule succeeds: both attempts are settled by it.
    assert_eq!(renew(&store, "work", 1, 1), CommitOutcome::Durable);
    close(store).unwrap();
    let (store, loaded) = machine.open().unwrap();
    assert!(loaded.intents.is_empty());

    intend(&store, intent("work", 1, 2, 78)).unwrap();
    wait(|done| store.annul(AttemptId(78), done)).unwrap();
    close(store).unwrap();
    let (_store, loaded) = machine.open().unwrap();
    assert!(loaded.intents.is_empty());
    assert_eq!(summary(&loaded), [line("work", 1, 2)]);
}

#[test]
fn inv_11_a_loser_never_overwrites_what_stands() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    renew(&store, "work", 1, 1);
    fn superseded<T>(held: u64, offered: u64) -> Result<T, StoreError> {
        Err(StoreError::Superseded {
            held: Generation(held),
            offered: Generation(offered),
        })
    }
    // A rival of the same generation, an older one, an intent about the past, a save of the past.
    assert_eq!(commit(&store, record("work", 1, 2), 5), superseded(2, 2));
    assert_eq!(commit(&store, record("work", 1, 1), 5), superseded(2, 1));
    assert_eq!(intend(&store, intent("work", 1, 1, 5)), superseded(2, 1));
    assert_eq!(
        wait(|done| store.save(record("work", 1, 1), done)),
        superseded(2, 1)
    );
    // A new login replaces the old one; a late answer to the old one does not come back.
    login(&store, "work", 9);
    assert_eq!(commit(&store, record("work", 1, 3), 5), superseded(1, 3));
    close(store).unwrap();
    let (_store, loaded) = machine.open().unwrap();
    assert_eq!(summary(&loaded), [line("work", 9, 1)]);
}

#[test]
fn no_intent_is_taken_for_a_login_that_does_not_stand() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    login(&store, "work", 9);
    let refused = intend(&store, intent("work", 1, 1, 5));
    let (held, offered) = (Generation(1), Generation(1));
    assert_eq!(refused, Err(StoreError::Superseded { held, offered }));
    let stranger = intend(&store, intent("home", 1, 1, 6));
    assert_eq!(stranger, Err(StoreError::NotHeld(account("home"))));
}

#[test]
fn a_commit_given_twice_counts_once() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    intend(&store, intent("work", 1, 1, 5)).unwrap();
    for _ in 0..2 {
        assert_eq!(
            commit(&store, record("work", 1, 2), 5),
            Ok(CommitOutcome::Durable)
        );
    }
}

#[test]
fn an_erased_account_is_gone_and_stays_gone() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    login(&store, "home", 2);
    intend(&store, intent("work", 1, 1, 5)).unwrap();
    wait(|done| store.erase(account("work"), GrantId(1), done)).unwrap();
    // The answer to an exchange that was in flight meanwhile.
    let late = commit(&store, record("work", 1, 2), 5);
    assert_eq!(late, Err(StoreError::NotHeld(account("work"))));
    close(store).unwrap();
    let (_store, loaded) = machine.open().unwrap();
    assert_eq!(summary(&loaded), [line("home", 2, 1)]);
    assert!(loaded.intents.is_empty());
}

#[test]
fn erasing_a_login_leaves_the_one_that_replaced_it_and_the_one_under_way() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    login(&store, "work", 9);
    wait(|done| store.erase(account("work"), GrantId(1), done)).unwrap();
    intend(&store, intent("work", 10, 0, 5)).unwrap();
    wait(|done| store.erase(account("work"), GrantId(9), done)).unwrap();
    close(store).unwrap();
    let (store, loaded) = machine.open().unwrap();
    assert!(loaded.records.is_empty());
    assert_eq!(loaded.intents, [intent("work", 10, 0, 5)]);
    assert_eq!(
        commit(&store, record("work", 10, 1), 5),
        Ok(CommitOutcome::Durable)
    );
    wait(|done| store.erase(account("work"), GrantId(9), done)).unwrap();
    close(store).unwrap();
    let (_store, loaded) = machine.open().unwrap();
    assert_eq!(summary(&loaded), [line("work", 10, 1)]);
}

#[test]
fn a_save_changes_the_flags_and_not_the_generation() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    let mut changed = record("work", 1, 1);
    changed.grant.renewals = 700;
    wait(|done| store.save(changed.clone(), done)).unwrap();
    let stranger = wait(|done| store.save(record("home", 1, 1), done));
    assert_eq!(stranger, Err(StoreError::NotHeld(account("home"))));
    close(store).unwrap();
    let (_store, loaded) = machine.open().unwrap();
    assert!(loaded.records[0].grant == changed.grant);
}

#[test]
fn a_later_save_is_newer_than_an_earlier_one_wherever_that_stands() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    let mut changed = record("work", 1, 1);
    for renewals in 1..4 {
        changed.grant.renewals = renewals;
        wait(|done| store.save(changed.clone(), done)).unwrap();
        // What is behind an answer is done before the next operation. Then the mirrors lag.
        wait(|done| store.ping(done)).unwrap();
        machine.faults.add(Rule::disk_full().on("mirrors"));
    }
    drop(store);
    let (_store, loaded) = machine.crashed(Keep::Everything).open().unwrap();
    assert_eq!(loaded.records[0].grant.renewals, 3);
}

#[test]
fn a_commit_settles_the_intents_that_it_outdates_and_uses_their_slots_again() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    intend(&store, intent("work", 1, 1, 7)).unwrap();
    intend(&store, intent("work", 1, 1, 8)).unwrap();
    let slots = machine.files("spill/").len();
    assert_eq!(
        commit(&store, record("work", 1, 2), 8),
        Ok(CommitOutcome::Durable)
    );
    for from in 2..5 {
        renew(&store, "work", 1, from);
    }
    assert_eq!(machine.files("spill/").len(), slots);
    close(store).unwrap();
    let (_store, loaded) = machine.open().unwrap();
    assert!(loaded.intents.is_empty(), "{:?}", loaded.intents);
}

#[test]
fn a_wrong_key_is_refused_also_where_the_header_is_lost() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    close(store).unwrap();
    for lost in machine
        .files("authd.redb")
        .into_iter()
        .chain(machine.files("mirrors/"))
    {
        authd_store::disk::Disk::remove(&machine.memory, &lost).unwrap();
    }
    let before = machine.memory.paths();
    let wrong = DataKey::from_bytes(&[8; 32]).unwrap();
    let refused = Store::open(machine.options(), wrong);
    assert!(matches!(refused, Err(OpenError::WrongKey)));
    assert_eq!(machine.memory.paths(), before);
    machine.open().unwrap();
}

#[test]
fn owed_revocations_outlive_the_account_and_the_process() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    wait(|done| store.owe_revocation(revocation(1), done)).unwrap();
    wait(|done| store.owe_revocation(revocation(2), done)).unwrap();
    wait(|done| store.erase(account("work"), GrantId(1), done)).unwrap();
    wait(|done| store.settle_revocation(1, done)).unwrap();
    close(store).unwrap();
    let (_store, loaded) = machine.open().unwrap();
    let owed: Vec<_> = loaded.revocations.iter().map(|owed| owed.id).collect();
    assert_eq!(owed, [2]);
    assert!(loaded.revocations[0].token.matches("CANARY-revoked"));
}

#[test]
fn a_second_store_on_the_same_directory_is_refused() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    assert!(matches!(machine.open(), Err(OpenError::InUse(_))));
    close(store).unwrap();
    assert!(machine.open().is_ok());
}

#[test]
fn a_wrong_key_is_refused_and_touches_nothing() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    login(&store, "work", 1);
    close(store).unwrap();
    let refused = Store::open(machine.options(), DataKey::from_bytes(&[8; 32]).unwrap());
    assert!(matches!(refused, Err(OpenError::WrongKey)));
    // Also when the plain file, which says so first, is gone.
    machine.memory.put(&machine.path("about"), Vec::new());
    assert!(matches!(machine.open(), Err(OpenError::Disk { .. })));
    let (_store, loaded) = {
        use authd_store::disk::Disk;
        machine.memory.remove(&machine.path("about")).unwrap();
        let refused = Store::open(machine.options(), DataKey::from_bytes(&[8; 32]).unwrap());
        assert!(matches!(refused, Err(OpenError::WrongKey)));
        machine.open().unwrap()
    };
    assert_eq!(summary(&loaded), [line("work", 1, 1)]);
    assert!(loaded.set_aside.is_empty());
}

#[test]
fn every_operation_is_answered_also_when_the_thread_has_ended() {
    let machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    // A completion must not panic; one that does ends the thread, and nobody waits for ever.
    store.flush(|_| panic!("planted"));
    assert_eq!(
        wait(|done| store.owe_revocation(revocation(1), done)),
        Err(StoreError::Closed)
    );
    assert_eq!(close(store), Err(StoreError::Closed));
    assert!(machine.open().unwrap().1.unclean);
}

#[test]
fn inv_19_another_machine_and_an_older_copy_are_noticed_until_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let (state, copy) = (dir.path().join("state"), dir.path().join("copy"));
    let mut options = Options::new(&state, MACHINE, Wall(0));
    options.anchor_file = Some(dir.path().join("elsewhere/anchor"));
    let open = |machine| {
        let options = Options {
            machine,
            ..options.clone()
        };
        Store::open(options, key()).unwrap()
    };
    let (store, _) = open(MACHINE);
    login(&store, "work", 1);
    login(&store, "home", 2);
    close(store).unwrap();
    copy_dir(&state, &copy);
    let (store, _) = open(MACHINE);
    renew(&store, "work", 1, 1);
    close(store).unwrap();

    // Yesterday's copy comes back.
    fs::remove_dir_all(&state).unwrap();
    copy_dir(&copy, &state);
    let (store, loaded) = open(MACHINE);
    assert_eq!(loaded.stale, [account("work")]);
    assert!(loaded.foreign.is_empty());
    wait(|done| store.adopt(record("work", 1, 1), done)).unwrap();
    close(store).unwrap();
    let (store, loaded) = open(MACHINE);
    assert!(loaded.stale.is_empty());
    close(store).unwrap();

    // The same directory on another machine; looking at it adopts nothing, nor does saving a flag.
    for _ in 0..2 {
        let (store, loaded) = open([4; 32]);
        assert_eq!(sorted(loaded.foreign), [account("home"), account("work")]);
        wait(|done| store.save(record("home", 2, 1), done)).unwrap();
        close(store).unwrap();
    }
}

#[test]
fn inv_19_a_store_of_another_machine_is_mended_one_account_at_a_time() {
    const OURS: [u8; 32] = [4; 32];
    let machine = Machine::new();
    let open = |machine: &Machine, whose| {
        let options = Options {
            machine: whose,
            ..machine.options()
        };
        Store::open(options, key()).unwrap()
    };
    let (store, _) = open(&machine, MACHINE);
    for (name, grant) in [("club", 3), ("home", 2), ("work", 1)] {
        login(&store, name, grant);
    }
    close(store).unwrap();

    let (store, loaded) = open(&machine, OURS);
    assert_eq!(loaded.foreign.len(), 3);
    wait(|done| store.adopt(record("work", 1, 1), done)).unwrap();
    close(store).unwrap();
    let (store, loaded) = open(&machine, OURS);
    assert_eq!(sorted(loaded.foreign), [account("club"), account("home")]);
    // A flag that is saved later does not undo it.
    wait(|done| store.save(record("work", 1, 1), done)).unwrap();
    login(&store, "home", 9);
    close(store).unwrap();
    let (store, loaded) = open(&machine, OURS);
    assert_eq!(loaded.foreign, [account("club")]);
    wait(|done| store.erase(account("club"), GrantId(3), done)).unwrap();
    close(store).unwrap();
    // Also from the mirrors alone.
    authd_store::disk::Disk::remove(&machine.memory, &machine.path("authd.redb")).unwrap();
    let (store, loaded) = open(&machine, OURS);
    assert!(loaded.rebuilt_from_mirrors && loaded.foreign.is_empty());
    close(store).unwrap();
    // Whoever has the other copy must not go on from ours.
    let (_store, loaded) = open(&machine, MACHINE);
    assert_eq!(sorted(loaded.foreign), [account("home"), account("work")]);
}

fn sorted(mut accounts: Vec<Account>) -> Vec<Account> {
    accounts.sort();
    accounts
}

#[test]
fn no_secret_stands_in_any_file_and_every_file_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let data_key = match key::obtain(&Means::new(&state, Wall(0)), NewKey::InFile, None).unwrap() {
        key::KeyState::Ready(key) => key.data_key,
        _ => panic!("a key file is always to be had"),
    };
    let mut options = Options::new(&state, MACHINE, Wall(0));
    options.anchor_file = Some(dir.path().join("anchor/anchor"));
    let (store, _) = Store::open(options, data_key).unwrap();
    login(&store, "my-account-name", 1);
    wait(|done| store.owe_revocation(revocation(1), done)).unwrap();
    intend(&store, intent("my-account-name", 1, 1, 5)).unwrap();
    for generation in 1..20 {
        renew(&store, "my-account-name", 1, generation);
    }
    let mut seen = BTreeSet::new();
    // While it is open, with an exchange in flight, and after it is closed.
    intend(&store, intent("my-account-name", 1, 20, 6)).unwrap();
    check_dir(dir.path(), &mut seen);
    close(store).unwrap();
    check_dir(dir.path(), &mut seen);
    for part in [
        "authd.redb",
        "mirrors/",
        "spill/",
        "about",
        "key",
        "clean",
        "anchor/anchor",
    ] {
        assert!(
            seen.iter().any(|path| path.contains(part)),
            "{part} was looked at: {seen:?}"
        );
    }
}

fn check_dir(dir: &Path, seen: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::symlink_metadata(&path).unwrap().mode();
        if path.is_dir() {
            assert_eq!(mode & 0o777, 0o700, "{}", path.display());
            check_dir(&path, seen);
            continue;
        }
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        let bytes = fs::read(&path).unwrap();
        for canary in [&b"CANARY"[..], b"my-account-name", b"idp.example.com"] {
            let found = bytes.windows(canary.len()).any(|window| window == canary);
            assert!(!found, "{} holds a canary", path.display());
        }
        seen.insert(path.to_string_lossy().into_owned());
    }
}

fn copy_dir(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
