//! Signs of life for the service manager: they come while driver and store live, and only then.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{io, os::unix::net::UnixDatagram, time::Duration};

use authd_e2e::{Instance, PATIENCE, Start, instance::renewal};
use authd_testkit::{FakeServer, Options};

/// What the daemon has to prove itself alive within.
const INTERVAL: Duration = Duration::from_millis(600);
/// So long without a sign is no accident.
const SILENCE: Duration = Duration::from_secs(4);
/// How long a failpoint holds a thread up.
const STALL: Duration = Duration::from_secs(20);

/// The service manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn new(instance: &Instance) -> Self {
        Self(UnixDatagram::bind(instance.dir().join("notify")).unwrap())
    }

    fn daemon<'a>(&self, instance: &'a Instance) -> Start<'a> {
        instance
            .daemon()
            .env("NOTIFY_SOCKET", instance.dir().join("notify"))
    }

    fn watched<'a>(&self, instance: &'a Instance) -> Start<'a> {
        let interval = INTERVAL.as_micros().to_string();
        self.daemon(instance).env("WATCHDOG_USEC", interval)
    }

    /// What it says next; `None` when it says nothing for so long.
    fn hears(&self, within: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(within)).unwrap();
        let mut said = [0; 512];
        match self.0.recv(&mut said) {
            Ok(count) => Some(String::from_utf8_lossy(&said[..count]).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn expect(&self, what: &str) {
        assert_eq!(
            self.hears(PATIENCE).as_deref().map(str::trim_end),
            Some(what)
        );
    }

    /// Waits until signs have stopped coming.
    fn expect_silence(&self) {
        while let Some(said) = self.hears(SILENCE) {
            assert_eq!(said.trim_end(), "WATCHDOG=1");
        }
    }
}

#[test]
fn signs_of_life_come_as_long_as_it_lives() {
    let instance = Instance::new();
    let manager = Manager::new(&instance);
    let daemon = manager.watched(&instance).ready();
    manager.expect("READY=1");
    for _ in 0..5 {
        manager.expect("WATCHDOG=1");
    }
    assert!(daemon.stop().success());
    while let Some(said) = manager.hears(Duration::from_millis(1)) {
        assert!(
            ["WATCHDOG=1", "STOPPING=1"].contains(&said.trim_end()),
            "{said}"
        );
    }
}

#[test]
fn nobody_who_does_not_ask_gets_any() {
    let instance = Instance::new();
    let manager = Manager::new(&instance);
    let _daemon = manager.daemon(&instance).ready();
    manager.expect("READY=1");
    assert_eq!(manager.hears(SILENCE), None);
}

/// Has the thread stand still that reaches this boundary in a renewal.
fn stalled(boundary: &str) {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let manager = Manager::new(&instance);
    let order = format!("{boundary}=stall:{}@2", STALL.as_millis());
    let daemon = manager.watched(&instance).failpoint(&order).ready();
    manager.expect("READY=1");
    instance.login(&server, "demo");
    manager.expect("WATCHDOG=1");
    let mut client = instance.client();
    std::thread::scope(|scope| {
        // It is answered when the thread goes on, or not at all.
        scope.spawn(move || drop(client.call(&renewal("demo"), STALL)));
        server
            .wait_for_blocking(PATIENCE, |ledger| ledger.counts.refreshes() == 1)
            .unwrap();
        manager.expect_silence();
        daemon.kill();
    });
}

#[test]
fn a_driver_that_hangs_gives_no_sign() {
    stalled("published");
}

#[test]
fn a_store_that_hangs_gives_no_sign() {
    stalled("commit_synced");
}
