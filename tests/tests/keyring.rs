//! The data key in a real gnome-keyring, on a session bus of the test's own.

use std::{fs, time::Duration};

use authd_e2e::{Instance, Watcher, dbus::Bus};
use authd_proto::event::EventKind;
use authd_testkit::{FakeServer, Options};
use serde_json::{Value, json};

/// The daemon tries a shut store again every 15 s.
const REOPENED: Duration = Duration::from_secs(15 + 15);

/// An instance that sees the bus.
fn instance_on(bus: &Bus, instance: &mut Instance) {
    instance.set_env("DBUS_SESSION_BUS_ADDRESS", bus.address());
}

fn status(instance: &Instance) -> (i32, Value) {
    let printed = instance.authctl(&["status", "--json"]);
    (printed.code(), printed.json()["daemon"].clone())
}

/// Everything in the state directory that could be a key, and what says where the key is.
fn key_files(instance: &Instance) -> (bool, String) {
    let about = fs::read_to_string(instance.state_dir().join("about"));
    (
        instance.state_dir().join("key").exists(),
        about.unwrap_or_default(),
    )
}

/// The store is shut, people and programs are told so in a sentence, and no new key was made.
fn assert_locked(instance: &Instance, about: &str) {
    let (code, daemon) = status(instance);
    assert_eq!(code, 6, "{daemon}");
    assert_eq!(daemon["store"]["state"], "locked", "{daemon}");
    let detail = daemon["store"]["detail"].as_str();
    let detail = detail.expect("a sentence");
    assert!(detail.contains(' '), "no sentence: {detail}");

    let told = instance.authctl(&["status"]);
    let text = format!("{}{}", told.stdout, told.stderr);
    assert_eq!(told.code(), 6, "{text}");
    assert!(text.contains("locked") && text.contains(detail), "{text}");

    let token = instance.authctl(&["token", "demo"]);
    assert_eq!(token.code(), 6, "{token:?}");
    assert!(token.stderr.contains(detail), "{token:?}");
    assert_eq!(key_files(instance), (false, about.to_owned()));
}

/// The accounts are back.
fn await_reopened(watcher: &mut Watcher) {
    watcher.wait_for(REOPENED, |event| {
        event.event == EventKind::Daemon && event.outcome.as_deref() == Some("store_opened")
    });
}

#[test]
fn gnome_keyring_holds_the_key_and_opens_the_store_again() {
    let server = FakeServer::start(Options::default()).unwrap();
    let mut instance = Instance::new();
    let bus = Bus::start(instance.dir());
    instance_on(&bus, &mut instance);
    let keyring = bus.start_keyring();
    assert_eq!(keyring.secrets(), 0);

    let daemon = instance.start_daemon();
    let (code, told) = status(&instance);
    assert_eq!((code, &told["store"]), (0, &json!({"state": "ok"})));
    assert_eq!(told["key_protection"]["kind"], "keyring");
    instance.login(&server, "demo");
    let before = instance.authctl(&["token", "demo"]);
    assert!(keyring.secrets() >= 1, "the keyring has nothing of ours");
    let (has_key_file, about) = key_files(&instance);
    assert!(!has_key_file && about.contains("key=keyring"), "{about}");

    daemon.kill();
    let daemon = instance.start_daemon();
    let (code, told) = status(&instance);
    assert_eq!((code, &told["store"]), (0, &json!({"state": "ok"})));
    assert_eq!(told["key_protection"]["kind"], "keyring");
    let after = instance.authctl(&["token", "demo"]);
    assert!(before.line() == after.line(), "another token");
    assert_eq!(server.counts().refreshes(), 0);
    assert!(daemon.stop().success());
}

#[test]
fn a_locked_keyring_shuts_the_store_until_the_person_unlocks_it() {
    let server = FakeServer::start(Options::default()).unwrap();
    let mut instance = Instance::new();
    let bus = Bus::start(instance.dir());
    instance_on(&bus, &mut instance);
    let keyring = bus.start_keyring();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let before = instance.authctl(&["token", "demo"]);
    assert!(daemon.stop().success());
    let (_, about) = key_files(&instance);

    keyring.lock();
    let daemon = instance.start_daemon();
    assert_locked(&instance, &about);
    // A store that does not exist yet waits as well, instead of a key file for ever.
    let mut newcomer = Instance::new();
    instance_on(&bus, &mut newcomer);
    let _other = newcomer.start_daemon();
    assert_eq!(status(&newcomer).0, 6);
    assert!(!key_files(&newcomer).0);

    let mut watcher = instance.watch();
    keyring.unlock();
    await_reopened(&mut watcher);
    assert_eq!(status(&instance).1["key_protection"]["kind"], "keyring");
    let after = instance.authctl(&["token", "demo"]);
    assert!(before.line() == after.line(), "another token");
    assert_eq!(key_files(&instance), (false, about));
    assert!(daemon.stop().success());
}

#[test]
fn a_keyring_that_is_not_there_shuts_the_store_until_it_comes_back() {
    let server = FakeServer::start(Options::default()).unwrap();
    let mut instance = Instance::new();
    let bus = Bus::start(instance.dir());
    instance_on(&bus, &mut instance);
    let keyring = bus.start_keyring();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let before = instance.authctl(&["token", "demo"]);
    daemon.kill();
    let (_, about) = key_files(&instance);

    keyring.stop();
    let daemon = instance.start_daemon();
    assert_locked(&instance, &about);

    let mut watcher = instance.watch();
    let keyring = bus.start_keyring();
    await_reopened(&mut watcher);
    assert_eq!(status(&instance).1["key_protection"]["kind"], "keyring");
    let after = instance.authctl(&["token", "demo"]);
    assert!(before.line() == after.line(), "another token");
    assert_eq!(key_files(&instance), (false, about));

    // From here on it may go: the key was needed at the start alone.
    keyring.stop();
    assert_eq!(instance.authctl(&["renew", "demo"]).code(), 0);
    assert_eq!(instance.authctl(&["token", "demo"]).code(), 0);
    assert!(daemon.stop().success());
}
