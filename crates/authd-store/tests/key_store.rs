//! The data key in a real Secret Service: gnome-keyring on a bus of its own, locked, gone, hanging.
//!
//! A bus is known by the environment alone, so each test runs itself again as a child: under
//! `dbus-run-session`, or with the address of a socket that accepts and never answers.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    env,
    io::Write as _,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use authd_core::time::Wall;
use authd_store::{
    KeyProtection, OpenError, Options, Store,
    key::{self, Key, KeyState, KeyStore, KeyStoreTrouble, Means, NewKey},
};
use common::{close, login, renew};

/// In the child: the test's scratch directory.
const SCRATCH: &str = "AUTHD_TEST_SCRATCH";

const TIMEOUT: Duration = Duration::from_secs(20);

/// In the child, its scratch directory. In the parent, runs the child to its end and says `None`.
fn inside(test: &str, address: Option<String>) -> Option<PathBuf> {
    if let Some(scratch) = env::var_os(SCRATCH).map(PathBuf::from) {
        std::fs::write(scratch.join("ran"), "").unwrap();
        return Some(scratch);
    }
    let scratch = tempfile::tempdir().unwrap();
    let this_test = env::current_exe().unwrap();
    let mut command = match address {
        Some(address) => {
            let mut command = Command::new(this_test);
            command.env("DBUS_SESSION_BUS_ADDRESS", address);
            command
        }
        None => {
            needed("dbus-run-session");
            needed("gnome-keyring-daemon");
            let mut command = Command::new("dbus-run-session");
            command.arg("--").arg(this_test);
            command
        }
    };
    let status = command
        .args(["--exact", test, "--nocapture"])
        .env(SCRATCH, scratch.path())
        .env("HOME", scratch.path())
        .env("XDG_DATA_HOME", scratch.path().join("data"))
        .env("XDG_RUNTIME_DIR", scratch.path())
        .status()
        .unwrap();
    assert!(status.success(), "the child failed: {status}");
    assert!(
        scratch.path().join("ran").exists(),
        "the child ran no test named {test}"
    );
    None
}

fn needed(program: &str) {
    let found = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .any(|dir| dir.join(program).is_file());
    assert!(
        found,
        "{program} is not installed; `cargo xtask setup` installs what the tests need"
    );
}

/// Starts the key store of this bus with its keyring unlocked (and made, the first time).
fn start_keyring() {
    let mut keyring = Command::new("gnome-keyring-daemon")
        .args(["--unlock", "--components=secrets", "--daemonize"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    keyring
        .stdin
        .take()
        .unwrap()
        .write_all(b"a password")
        .unwrap();
    assert!(keyring.wait().unwrap().success());
}

fn obtain(state: &Path) -> Result<KeyState, OpenError> {
    let means = Means {
        key_store: KeyStore::new(TIMEOUT),
        ..Means::new(state, Wall(0))
    };
    key::obtain(&means, NewKey::InKeyStore, None)
}

fn ready(state: &Path) -> Key {
    match obtain(state).unwrap() {
        KeyState::Ready(key) => key,
        KeyState::Locked { reason } | KeyState::Unavailable { reason } => panic!("{reason}"),
        KeyState::Hanging => panic!("the key store hangs"),
        _ => panic!("no passphrase protects it"),
    }
}

fn open(state: &Path, key: Key) -> (Store, authd_store::Loaded) {
    let mut options = Options::new(state, common::MACHINE, Wall(0));
    options.anchor_key_store = Some(KeyStore::new(TIMEOUT));
    options.anchor_file = Some(state.parent().unwrap().join("anchor/anchor"));
    Store::open(options, key.data_key).unwrap()
}

#[test]
fn a_real_key_store_keeps_the_key_and_the_anchor() {
    let name = "a_real_key_store_keeps_the_key_and_the_anchor";
    let Some(scratch) = inside(name, None) else {
        return;
    };
    start_keyring();
    let (state, copy) = (scratch.join("state"), scratch.join("copy"));
    let first = ready(&state);
    assert_eq!(
        (first.protection, &first.fell_back),
        (KeyProtection::KeyStore, &None)
    );
    assert!(!key::key_path(&state).exists(), "no key file");
    let (store, _) = open(&state, first);
    login(&store, "work", 1);
    close(store).unwrap();
    assert!(
        Command::new("cp")
            .arg("-a")
            .arg(&state)
            .arg(&copy)
            .status()
            .unwrap()
            .success()
    );

    let (store, loaded) = open(&state, ready(&state));
    assert_eq!(loaded.records.len(), 1);
    renew(&store, "work", 1, 1);
    close(store).unwrap();
    assert!(
        !scratch.join("anchor/anchor").exists(),
        "the key store has the anchor"
    );

    // inv_19: yesterday's copy is known for what it is.
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(&copy, &state).unwrap();
    let (_store, loaded) = open(&state, ready(&state));
    assert_eq!(loaded.stale, [common::account("work")]);
}

#[test]
fn a_locked_key_store_is_said_to_be_locked_and_asks_nobody() {
    let name = "a_locked_key_store_is_said_to_be_locked_and_asks_nobody";
    let Some(scratch) = inside(name, None) else {
        return;
    };
    start_keyring();
    let state = scratch.join("state");
    let key = ready(&state);
    lock_keyring();
    assert!(matches!(obtain(&state), Ok(KeyState::Locked { .. })));
    assert!(matches!(
        obtain(&scratch.join("new")),
        Ok(KeyState::Locked { .. })
    ));
    assert!(!key::key_path(&state).exists() && !key::key_path(&scratch.join("new")).exists());
    drop(key);
}

fn lock_keyring() {
    use secret_service::{EncryptionType, blocking::SecretService};
    let service = SecretService::connect(EncryptionType::Plain).unwrap();
    let collection = service.get_default_collection().unwrap();
    collection.lock().unwrap();
    assert!(collection.is_locked().unwrap());
}

#[test]
fn a_key_store_that_lost_the_key_is_never_given_a_new_one() {
    let name = "a_key_store_that_lost_the_key_is_never_given_a_new_one";
    let Some(scratch) = inside(name, None) else {
        return;
    };
    start_keyring();
    let state = scratch.join("state");
    drop(ready(&state));
    let service =
        secret_service::blocking::SecretService::connect(secret_service::EncryptionType::Plain)
            .unwrap();
    let items = service.search_items([("service", "authd")].into()).unwrap();
    assert_eq!(items.unlocked.len(), 1);
    items.unlocked[0].delete().unwrap();
    assert!(matches!(obtain(&state), Ok(KeyState::Unavailable { .. })));
    assert!(!key::key_path(&state).exists());
}

#[test]
fn without_a_key_store_a_new_store_has_a_key_file_and_an_old_one_stays_shut() {
    let name = "without_a_key_store_a_new_store_has_a_key_file_and_an_old_one_stays_shut";
    let address = "unix:path=/nonexistent/bus".to_owned();
    let Some(scratch) = inside(name, Some(address)) else {
        return;
    };
    let state = scratch.join("state");
    let key = ready(&state);
    assert_eq!(key.protection, KeyProtection::File);
    assert!(
        matches!(key.fell_back, Some(KeyStoreTrouble::Absent(_))),
        "{:?}",
        key.fell_back
    );

    made_with_key_store(&state);
    assert!(matches!(obtain(&state), Ok(KeyState::Unavailable { .. })));
}

#[test]
fn a_hanging_key_store_is_given_up_in_time_and_delays_no_commit() {
    let name = "a_hanging_key_store_is_given_up_in_time_and_delays_no_commit";
    let socket = tempfile::tempdir().unwrap();
    let path = socket.path().join("bus");
    // Accepts (by its backlog) and never answers.
    let _listener = UnixListener::bind(&path).unwrap();
    let Some(scratch) = inside(name, Some(format!("unix:path={}", path.display()))) else {
        return;
    };
    let impatient = KeyStore::new(Duration::from_millis(200));
    let state = scratch.join("state");
    let impatiently = Means {
        key_store: impatient.clone(),
        ..Means::new(&state, Wall(0))
    };
    let begun = Instant::now();
    let KeyState::Ready(key) = key::obtain(&impatiently, NewKey::InKeyStore, None).unwrap() else {
        panic!("a new store falls back to a file");
    };
    assert_eq!(key.fell_back, Some(KeyStoreTrouble::Hanging));

    // The anchor hangs as well; the commits do not, and the anchor goes to its file.
    let mut options = Options::new(&state, common::MACHINE, Wall(0));
    options.anchor_key_store = Some(impatient.clone());
    options.anchor_file = Some(scratch.join("anchor/anchor"));
    let (store, _) = Store::open(options, key.data_key).unwrap();
    login(&store, "work", 1);
    for generation in 1..50 {
        renew(&store, "work", 1, generation);
    }
    close(store).unwrap();
    assert!(scratch.join("anchor/anchor").exists());

    made_with_key_store(&state);
    let hanging = key::obtain(&impatiently, NewKey::InKeyStore, None);
    assert!(matches!(hanging, Ok(KeyState::Hanging)));
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

/// Makes a store look as if its key were in a key store.
fn made_with_key_store(state: &Path) {
    let about = state.join("about");
    let text = std::fs::read_to_string(&about).unwrap();
    assert!(text.contains("key=file"));
    std::fs::write(&about, text.replace("key=file", "key=keyring")).unwrap();
}
