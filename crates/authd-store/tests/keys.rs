//! A key that moves, and a key that is replaced: everything is there afterwards, and nothing where it was. That no
//! crash in between loses anything is in the crash matrix.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{cell::RefCell, io::ErrorKind, path::Path};

use authd_core::{secret::Secret, time::Wall};
use authd_store::{
    CommitOutcome, DataKey, Loaded, OpenError, Options, Store,
    fault::{Keep, Op, Rule},
    key::{
        self, CREDENTIAL, ChangeError, Cost, Kept, KeyProtection, KeyState, Means, NewKey, Step,
    },
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

/// A rule that lets these operations on such paths fail `times` times.
fn failing(ops: &[Op], path: &str, times: u64) -> Rule {
    Rule {
        ops: ops.to_vec(),
        path: path.to_owned(),
        after: 0,
        times,
        error: ErrorKind::Other,
    }
}

/// Moves the key of a store that holds something; the steps on the way.
fn move_to(
    means: &Means,
    to: KeyProtection,
    passphrase: Option<&str>,
    new: Option<&str>,
) -> (Result<Kept, ChangeError>, Vec<Step>) {
    let steps = RefCell::new(Vec::new());
    let reached = |step| steps.borrow_mut().push(step);
    let (passphrase, new) = (passphrase.map(Secret::new), new.map(Secret::new));
    let moved = key::move_to(means, to, passphrase.as_ref(), new.as_ref(), &reached);
    (moved, steps.into_inner())
}

fn one_account() -> Machine {
    let machine = Machine::new();
    let (store, _) = open(&machine);
    login(&store, "work", 1);
    close(store).unwrap();
    machine
}

/// The files that may have a key in them, and the entries of the key store.
fn keys(machine: &Machine) -> Vec<String> {
    let files = machine.files("/key").into_iter();
    let files = files.map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    let entries = machine.drawer.names().into_iter();
    files
        .chain(entries.map(|name| name[..8].to_owned()))
        .collect()
}

const FIRST: &str = "the first";
const SECOND: &str = "8 signs!";

#[test]
fn a_key_moves_from_place_to_place_and_stays_nowhere() {
    let machine = one_account();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(CREDENTIAL), [5; 32]).unwrap();
    let means = Means {
        credentials: Some(folder.path().to_owned()),
        ..means(&machine)
    };
    let way = [Step::Noted, Step::Written, Step::Committed, Step::Removed];
    for (to, name) in [
        (KeyProtection::KeyStore, "data-key"),
        (KeyProtection::Passphrase, "key.passphrase"),
        (KeyProtection::Credential, "key.credential"),
        (KeyProtection::File, "key"),
    ] {
        let (moved, steps) = move_to(&means, to, Some(FIRST), Some(FIRST));
        assert_eq!(steps, way, "{to:?}");
        let in_a_file = (to != KeyProtection::KeyStore).then(|| machine.path(name));
        let expected = Kept {
            protection: to,
            since: Some(LATER),
            number: 0,
            path: in_a_file,
            left_in: Vec::new(),
        };
        assert_eq!(moved.unwrap(), expected);
        assert_eq!(keys(&machine), [name]);
        let passphrase = Secret::new(FIRST);
        let state = key::obtain(&means, NewKey::InFile, Some(&passphrase)).unwrap();
        let KeyState::Ready(found) = state else {
            panic!("no key in {name}");
        };
        assert_eq!((found.protection, found.fell_back.is_none()), (to, true));
        let (store, loaded) = Store::open(anchored(&machine), found.data_key).unwrap();
        assert_eq!(summary(&loaded), [line("work", 1, 1)]);
        close(store).unwrap();
        if to != KeyProtection::Passphrase {
            let again = move_to(&means, to, None, None);
            assert!(
                matches!(again, (Err(ChangeError::AlreadyThere), _)),
                "{to:?}"
            );
        }
    }
}

#[test]
fn a_passphrase_is_long_enough_known_and_can_be_changed() {
    let none = Machine::new();
    let (refused, _) = move_to(&means(&none), KeyProtection::KeyStore, None, None);
    assert!(matches!(refused, Err(ChangeError::NoStore)));

    let machine = one_account();
    let means = means(&machine);
    let to = |passphrase, new| move_to(&means, KeyProtection::Passphrase, passphrase, new);
    assert!(matches!(
        to(None, None).0,
        Err(ChangeError::NewPassphraseNeeded)
    ));
    assert!(matches!(
        to(None, Some("7 signs")).0,
        Err(ChangeError::TooShort)
    ));
    assert_eq!(keys(&machine), ["key"], "untouched");
    to(None, Some(SECOND)).0.unwrap();

    assert!(matches!(
        to(None, Some(FIRST)).0,
        Err(ChangeError::PassphraseNeeded)
    ));
    assert!(matches!(
        to(Some(FIRST), Some(FIRST)).0,
        Err(ChangeError::WrongPassphrase)
    ));
    let means = Means {
        now: Wall(2 * LATER.0),
        ..means
    };
    let (changed, steps) = move_to(&means, KeyProtection::Passphrase, Some(SECOND), Some(FIRST));
    assert_eq!(changed.unwrap().since, Some(means.now));
    assert_eq!(steps, [Step::Written]);
    let with = |passphrase| {
        let passphrase = Secret::new(passphrase);
        key::obtain(&means, NewKey::InFile, Some(&passphrase)).unwrap()
    };
    assert!(matches!(with(SECOND), KeyState::WrongPassphrase));
    assert!(matches!(with(FIRST), KeyState::Ready(_)));
    let state = key::obtain(&means, NewKey::InFile, None).unwrap();
    assert!(matches!(state, KeyState::PassphraseNeeded));
}

#[test]
fn what_cannot_be_removed_is_listed_and_goes_as_soon_as_it_can() {
    let machine = one_account();
    machine.faults.add(failing(&[Op::KeyStore], "", 1));
    let (refused, steps) = move_to(&means(&machine), KeyProtection::KeyStore, None, None);
    assert!(
        matches!(refused, Err(ChangeError::NewPlace(_))),
        "{refused:?}"
    );
    assert_eq!(steps, [Step::Noted]);
    let kept = || key::kept(&machine.memory, Path::new(DIR)).unwrap().unwrap();
    assert_eq!(
        (kept().protection, kept().left_in),
        (KeyProtection::File, Vec::new())
    );

    machine.faults.add(failing(&[Op::Remove], "/key", u64::MAX));
    let (moved, _) = move_to(&means(&machine), KeyProtection::KeyStore, None, None);
    assert_eq!(moved.unwrap().left_in, [KeyProtection::File]);
    assert_eq!(keys(&machine), ["key", "data-key"]);
    own_key(&machine);
    assert_eq!(kept().left_in, [KeyProtection::File], "not yet");
    machine.faults.heal();
    own_key(&machine);
    assert_eq!(
        (kept().left_in, keys(&machine)),
        (Vec::new(), vec!["data-key".to_owned()])
    );
}

#[test]
fn where_nobody_knows_what_is_on_the_disk_that_is_said() {
    let machine = one_account();
    machine.faults.add(Rule {
        after: 1,
        ..failing(&[Op::Rename], "about", 1)
    });
    let (moved, _) = move_to(&means(&machine), KeyProtection::KeyStore, None, None);
    assert!(
        matches!(moved, Err(ChangeError::Unfinished(_))),
        "{moved:?}"
    );
    let (_store, loaded) = open(&machine);
    assert_eq!(summary(&loaded), [line("work", 1, 1)]);
}

#[test]
fn what_an_earlier_try_left_of_a_new_key_is_no_part_of_the_next() {
    let machine = one_account();
    // The same names that the new key's files will have, under a key that nobody has.
    for stray in ["mirrors-1/0a", "spill-1/7.spill", "authd-1.redb", "clean-1"] {
        machine.memory.put(&machine.path(stray), vec![1; 80]);
    }
    machine.faults.add(failing(&[Op::Remove], "mirrors-1", 1));
    let failed = key::rotate(&means(&machine), &anchored(&machine), None, &|_| {});
    assert!(matches!(failed, Err(ChangeError::Store(_))), "{failed:?}");
    assert_eq!(keys(&machine), ["key"], "the new one is gone again");

    let (kept, _) = rotate(&machine);
    assert_eq!(kept.number, 1);
    let (store, loaded) = open(&machine);
    assert_eq!(summary(&loaded), [line("work", 1, 1)]);
    assert!(loaded.set_aside.is_empty() && loaded.intents.is_empty());
    close(store).unwrap();
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

#[test]
fn the_anchor_goes_where_it_is_told_and_stays_nowhere_else() {
    let machine = one_account();
    let (store, _) = open(&machine);
    let key_store = machine.drawer.key_store();
    wait(|done| store.keep_anchor_in(Some(key_store.clone()), done)).unwrap();
    renew(&store, "work", 1, 1);
    close(store).unwrap();
    let entries = machine.drawer.names();
    assert!(
        matches!(&entries[..], [anchor] if anchor.starts_with("anchor-")),
        "{entries:?}"
    );

    let options = Options {
        anchor_key_store: Some(key_store),
        ..anchored(&machine)
    };
    let (store, _) = Store::open(options, own_key(&machine)).unwrap();
    wait(|done| store.keep_anchor_in(None, done)).unwrap();
    close(store).unwrap();
    assert!(machine.drawer.names().is_empty());
    let copy = machine.crashed(Keep::Everything);
    let (store, _) = open(&machine);
    renew(&store, "work", 1, 2);
    close(store).unwrap();
    let anchor = Path::new("/elsewhere/anchor");
    copy.memory
        .put(anchor, machine.memory.content(anchor).unwrap());
    assert_eq!(open(&copy).1.stale, [account("work")]);
}
