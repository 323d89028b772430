//! The key moves between a real gnome-keyring, a passphrase and a file, and is replaced in each, under
//! kill -9 at every step: nothing is lost.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fmt, fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use authd_client::ClientError;
use authd_e2e::{Daemon, Instance, PATIENCE, dbus::Bus};
use authd_proto::{
    WireSecret,
    call::Request,
    key::{DaemonUnlock, KeyMove, KeyPlace, KeyRotate, KeyStatus},
};
use authd_testkit::{FakeServer, Options};

const PASSPHRASE: &str = "canary correct horse battery staple";
const PLACES: [KeyPlace; 3] = [KeyPlace::Keyring, KeyPlace::Passphrase, KeyPlace::File];
/// The steps of a move, in order; before `key_committed` the old place counts.
const STEPS_OF_MOVE: [&str; 4] = ["key_noted", "key_written", "key_committed", "key_removed"];
const STEPS_OF_ROTATION: [&str; 5] = [
    "key_noted",
    "key_written",
    "key_resealed",
    "key_committed",
    "key_removed",
];

/// Trying a passphrase takes a while on a busy machine, and a move tries several.
const MOVING: Duration = Duration::from_secs(120);

/// Changes that are tried side by side.
const AT_ONCE: usize = 3;

#[derive(Clone, Copy)]
enum Change {
    Move { from: KeyPlace, to: KeyPlace },
    Rotate { place: KeyPlace },
}

impl Change {
    fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Move { .. } => &STEPS_OF_MOVE,
            Self::Rotate { .. } => &STEPS_OF_ROTATION,
        }
    }

    fn begins_in(self) -> KeyPlace {
        match self {
            Self::Move { from, .. } => from,
            Self::Rotate { place } => place,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Move { from, to } => format!("{} to {}", from.as_str(), to.as_str()),
            Self::Rotate { place } => format!("rotate, {}", place.as_str()),
        };
        f.pad(&text)
    }
}

fn passphrase() -> Option<WireSecret> {
    Some(WireSecret::new(PASSPHRASE))
}

fn moving(to: KeyPlace) -> KeyMove {
    KeyMove {
        to,
        passphrase: passphrase(),
        new_passphrase: passphrase(),
    }
}

fn rotating() -> KeyRotate {
    KeyRotate {
        passphrase: passphrase(),
    }
}

/// A call that may take its time.
fn slowly<R: Request>(instance: &Instance, request: &R) -> Result<R::Reply, ClientError> {
    instance.client().call(request, MOVING)
}

/// Opens the store, whether or not a passphrase protects it by now.
fn unlock(instance: &Instance) {
    let ask = DaemonUnlock {
        passphrase: passphrase(),
    };
    slowly(instance, &ask).unwrap();
}

fn place(instance: &Instance) -> KeyPlace {
    let key = slowly(instance, &KeyStatus {}).unwrap();
    assert_eq!(key.left_in, [], "what does not count is gone");
    key.place.unwrap()
}

/// Which of the places have a key.
fn has_key(instance: &Instance, place: KeyPlace) -> bool {
    let suffix = match place {
        KeyPlace::Passphrase => ".passphrase",
        _ => "",
    };
    fs::read_dir(instance.state_dir())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .any(|name| {
            let rest = name.strip_prefix("key");
            let rest =
                rest.map(|rest| rest.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit()));
            rest == Some(suffix)
        })
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are to be seen")]
fn kills_at_every_step_of_a_move_and_of_a_rotation_lose_nothing() {
    let moves = PLACES.into_iter().flat_map(|from| {
        let others = PLACES.into_iter().filter(move |to| *to != from);
        others.map(move |to| Change::Move { from, to })
    });
    let rotations = PLACES.map(|place| Change::Rotate { place });
    let changes: Vec<Change> = moves.chain(rotations).collect();
    // A few at a time: each has a keyring of its own, and all share the machine.
    let (next, tallies) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(change) = changes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tally = kill_at_each_step(*change);
                    tallies.lock().unwrap().insert(change.to_string(), tally);
                }
            });
        }
    });
    let tallies = tallies.into_inner().unwrap();
    println!("{:<24} kills  old counts  new counts  lost", "the key");
    for (change, (old, new)) in &tallies {
        println!("{change:<24} {:>5}  {old:>10}  {new:>10}     0", old + new);
    }
    for change in &changes {
        let (old, new) = tallies[&change.to_string()];
        assert_eq!(old + new, change.steps().len(), "{change}");
        assert_eq!(new, 2, "{change}: from the record's change on it is done");
    }
}

/// After how many kills the old key or place counted, and after how many the new one.
fn kill_at_each_step(change: Change) -> (usize, usize) {
    let server = FakeServer::start(Options::default()).unwrap();
    let mut instance = Instance::new();
    let bus = Bus::start(instance.dir());
    instance.set_env("DBUS_SESSION_BUS_ADDRESS", bus.address());
    // A busy machine is no key store that hangs.
    instance.configure("[key]\ntimeout_secs = 60\n");
    let keyring = bus.start_keyring();
    let daemon = instance.start_daemon();
    unlock(&instance);
    instance.login(&server, "demo");
    if change.begins_in() != KeyPlace::Keyring {
        slowly(&instance, &moving(change.begins_in())).unwrap();
    }
    assert!(daemon.stop().success());
    let (mut old, mut new) = (0, 0);
    for step in change.steps() {
        let what = format!("{change}, killed at {step}");
        let before = about(&instance);
        die_at(step, change, &instance);
        let daemon = instance.start_daemon();
        unlock(&instance);
        nothing_is_lost(&server, &instance, &what);
        let now = place(&instance);
        let counts_as_new = match change {
            Change::Move { to, .. } => now == to,
            Change::Rotate { .. } => number(&about(&instance)) > number(&before),
        };
        assert!(counts_as_new || now == change.begins_in(), "{what}");
        if counts_as_new {
            new += 1;
        } else {
            old += 1;
        }
        for other in [KeyPlace::Passphrase, KeyPlace::File] {
            assert_eq!(has_key(&instance, other), other == now, "{what}: {other:?}");
        }
        assert!(keyring.secrets() > 0 || now != KeyPlace::Keyring, "{what}");
        if now != change.begins_in() {
            slowly(&instance, &moving(change.begins_in())).unwrap();
        }
        assert!(daemon.stop().success());
    }
    assert!(!instance.log().contains(PASSPHRASE), "the log has it");
    (old, new)
}

fn about(instance: &Instance) -> String {
    fs::read_to_string(instance.state_dir().join("about")).unwrap()
}

fn number(about: &str) -> u32 {
    let number = about
        .lines()
        .find_map(|line| line.strip_prefix("key-number="));
    number.map_or(0, |number| number.parse().unwrap())
}

fn die_at(step: &str, change: Change, instance: &Instance) {
    let mut daemon: Daemon = instance
        .daemon()
        .failpoint(&format!("{step}=kill@1"))
        .ready();
    unlock(instance);
    let answer = match change {
        Change::Move { to, .. } => slowly(instance, &moving(to)).map(drop),
        Change::Rotate { .. } => slowly(instance, &rotating()).map(drop),
    };
    assert!(
        matches!(answer, Err(ClientError::Closed)),
        "{step}: {answer:?}"
    );
    let status = daemon.ended(PATIENCE);
    assert!(
        !status.success() && status.code().is_none(),
        "killed, not ended"
    );
}

/// The token at hand works, and so does the refresh token.
fn nothing_is_lost(server: &FakeServer, instance: &Instance, what: &str) {
    let token = instance.token("demo", Duration::ZERO);
    let token = token.unwrap_or_else(|error| panic!("{what}: {error}"));
    let secret = token.access_token.expose();
    assert_eq!(authd_e2e::api::ping(server, secret), 200, "{what}");
    let info = instance.account("demo");
    assert_eq!(info.flags, vec![], "{what}");
    instance
        .renew("demo")
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(server.counts().reuse_detected, 0, "{what}");
    // A token is still named by the same fingerprint.
    let newer = instance.token("demo", Duration::ZERO).unwrap();
    let refused = instance.call(&authd_proto::request::TokenReject {
        account: "demo",
        fingerprint: None,
        access_token: Some(authd_proto::SecretStr::new(newer.access_token.expose())),
        scopes: None,
        resource: None,
        status: Some(401),
        www_authenticate: None,
        wait_secs: Some(PATIENCE.as_secs()),
    });
    let refused = refused.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        refused.renewal.generation > newer.renewal.generation,
        "{what}"
    );
}
