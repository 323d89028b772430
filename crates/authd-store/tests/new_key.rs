//! A key that is replaced: everything is there under the new one, and the old one opens nothing any more.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{cell::RefCell, path::Path};

use authd_core::time::Wall;
use authd_store::{
    CommitOutcome, DataKey, Loaded, OpenError, Options, Store,
    fault::Keep,
    key::{self, ChangeError, Cost, Kept, KeyProtection, KeyState, Means, NewKey, Step},
};
use common::*;

/// When the key is replaced.
const LATER: Wall = Wall(86_400_000);

fn means(machine: &Machine) -> Means {
    Means {
        disk: machine.options().disk,
        key_store: machine.drawer.key_store(),
        cost: Cost::new(8, 1, 1).unwrap(),
        ..Means::new(DIR, LATER)
    }
}

fn anchored(machine: &Machine) -> Options {
    Options {
        anchor_file: Some("/elsewhere/anchor".into()),
        ..machine.options()
    }
}

fn own_key(machine: &Machine) -> DataKey {
    match key::obtain(&means(machine), NewKey::InFile, None).unwrap() {
        KeyState::Ready(key) => key.data_key,
        _ => panic!("no key"),
    }
}

fn open(machine: &Machine) -> (Store, Loaded) {
    Store::open(anchored(machine), own_key(machine)).unwrap()
}

fn rotate(machine: &Machine) -> (Kept, Vec<Step>) {
    let steps = RefCell::new(Vec::new());
    let reached = |step| steps.borrow_mut().push(step);
    let kept = key::rotate(&means(machine), &anchored(machine), None, &reached).unwrap();
    (kept, steps.into_inner())
}

#[test]
fn everything_is_there_under_a_new_key_and_nothing_under_the_old() {
    let machine = Machine::new();
    let (store, first) = open(&machine);
    login(&store, "work", 1);
    login(&store, "home", 2);
    renew(&store, "work", 1, 1);
    intend(&store, intent("home", 2, 1, 9)).unwrap();
    wait(|done| store.owe_revocation(revocation(5), done)).unwrap();
    close(store).unwrap();
    let old_key = own_key(&machine);
    let old_names = machine.files("mirrors/");

    let (kept, steps) = rotate(&machine);
    let way = [
        Step::Noted,
        Step::Written,
        Step::Resealed,
        Step::Committed,
        Step::Removed,
    ];
    assert_eq!(steps, way);
    let expected = Kept {
        protection: KeyProtection::File,
        since: Some(LATER),
        number: 1,
        path: Some(machine.path("key-1")),
        left_in: Vec::new(),
    };
    assert_eq!(kept, expected);
    assert_eq!(
        key::kept(&machine.memory, Path::new(DIR)).unwrap(),
        Some(kept)
    );
    for old in ["key", "authd.redb", "clean"] {
        assert_eq!(machine.memory.content(&machine.path(old)), None, "{old}");
    }
    for old in old_names {
        assert_eq!(machine.memory.content(&old), None, "{}", old.display());
    }
    let refused = Store::open(anchored(&machine), old_key);
    assert!(matches!(refused, Err(OpenError::WrongKey)));

    // From the database; and from the mirrors and the slots, of which each has its own copy.
    let without = machine.crashed(Keep::Everything);
    authd_store::disk::Disk::remove(&without.memory, &without.path("authd-1.redb")).unwrap();
    for (machine, rebuilt) in [(machine, false), (without, true)] {
        let (store, loaded) = open(&machine);
        assert_eq!(loaded.rebuilt_from_mirrors, rebuilt);
        assert_eq!(summary(&loaded), [line("home", 2, 1), line("work", 1, 2)]);
        assert_eq!(loaded.intents, [intent("home", 2, 1, 9)]);
        let owed: Vec<_> = loaded.revocations.iter().map(|owed| owed.id).collect();
        assert_eq!(owed, [5]);
        assert_eq!(loaded.instance_id, first.instance_id);
        assert_eq!(*loaded.fingerprint_key, *first.fingerprint_key);
        assert!(loaded.set_aside.is_empty() && loaded.stale.is_empty() && !loaded.unclean);
        assert!(loaded.foreign.is_empty());
        close(store).unwrap();
    }
}

#[test]
fn inv_19_an_older_copy_is_noticed_also_across_a_new_key() {
    let machine = Machine::new();
    let (store, _) = open(&machine);
    login(&store, "work", 1);
    login(&store, "home", 2);
    close(store).unwrap();
    let before = machine.crashed(Keep::Everything);
    rotate(&machine);
    let after = machine.crashed(Keep::Everything);
    let (store, _) = open(&machine);
    renew(&store, "home", 2, 1);
    close(store).unwrap();

    // Both copies come back beside the anchor as it is now. Of the old key's nothing is of today.
    let anchor = Path::new("/elsewhere/anchor");
    let now = machine.memory.content(anchor).unwrap();
    for (copy, expected) in [(before, vec!["home", "work"]), (after, vec!["home"])] {
        copy.memory.put(anchor, now.clone());
        let (store, mut loaded) = open(&copy);
        loaded.stale.sort();
        assert_eq!(
            loaded.stale,
            expected
                .iter()
                .map(|name| account(name))
                .collect::<Vec<_>>()
        );
        for name in expected {
            let grant = if name == "work" { 1 } else { 2 };
            wait(|done| store.adopt(record(name, grant, 1), done)).unwrap();
        }
        close(store).unwrap();
        let (store, loaded) = open(&copy);
        assert!(loaded.stale.is_empty(), "adopted");
        assert_eq!(renew(&store, "work", 1, 1), CommitOutcome::Durable);
        close(store).unwrap();
        assert!(open(&copy).1.stale.is_empty());
    }
}

#[test]
fn while_the_store_is_open_its_key_is_not_replaced() {
    let machine = Machine::new();
    let (store, _) = open(&machine);
    login(&store, "work", 1);
    let refused = key::rotate(&means(&machine), &anchored(&machine), None, &|_| {});
    let in_use = ChangeError::Store(OpenError::InUse(DIR.into()));
    assert_eq!(refused.unwrap_err().to_string(), in_use.to_string());
    assert_eq!(renew(&store, "work", 1, 1), CommitOutcome::Durable);
    close(store).unwrap();
    let (_store, loaded) = open(&machine);
    assert_eq!(summary(&loaded), [line("work", 1, 2)]);
}
