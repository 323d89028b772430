//! The whole daemon in the test's own process, on a clock that the test drives.
//!
//! Nothing of it is left out: its socket, its store on disk, its requests to a provider. Only the time
//! is the test's, and the provider's with it.

use std::{sync::mpsc, thread, time::Duration};

use authd::{Alarms, Clock, DrivenClock, Sign, Signs, Start};
use authd_client::Environment;
use authd_proto::request::{DaemonStop, TokenGet};
use authd_testkit::{FakeServer, ManualClock, Options, Settings};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{Instance, PATIENCE, until};

/// What keeps the daemon to the test: no key store and no desktop of the person who runs it. It is the
/// configuration of an instance that has none.
pub const CONFIGURATION: &str = "[key]\nprotection = \"file\"\n[notify]\ndesktop = false\n";

/// No token of these tests lives for so many seconds.
const MORE_THAN_POSSIBLE: u64 = 2 * 3600;

/// One time for the machine and for the provider.
#[derive(Clone, Debug)]
pub struct Time {
    /// The machine's.
    pub machine: DrivenClock,
    /// The provider's.
    pub provider: ManualClock,
}

impl Time {
    /// The present, standing still.
    #[must_use]
    pub fn stopped(alarms: Alarms) -> Self {
        let provider = ManualClock::starting_now();
        let machine = DrivenClock::at(provider.now(), alarms);
        Self { machine, provider }
    }

    /// Time passes for both.
    pub fn advance(&self, by: Duration) {
        self.provider.advance(by);
        self.machine.advance(by);
    }

    /// The machine sleeps, and the world goes on.
    pub fn suspend(&self, by: Duration) {
        self.provider.advance(by);
        self.machine.suspend(by);
    }

    /// Until this Unix second of the machine's calendar, and one more; at once when it is past.
    pub fn advance_past(&self, unix_secs: u64) {
        let target = Duration::from_secs(unix_secs + 1);
        self.advance(target.saturating_sub(self.machine.wall()));
    }

    /// A provider that lives in this time.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn server(&self, settings: Settings) -> FakeServer {
        FakeServer::start(Options {
            settings,
            clock: self.provider.clone().into(),
            ..Options::default()
        })
        .expect("a fake server")
    }
}

/// A daemon on a thread of this process. Dropping it stops it, as `authctl daemon stop` would.
pub struct DrivenDaemon<'a> {
    instance: &'a Instance,
    signs: Option<UnboundedSender<Sign>>,
    ended: Ended,
}

impl<'a> DrivenDaemon<'a> {
    /// Starts one where `instance` lives and waits until it serves. Of sleep and of the network it
    /// hears by [`DrivenDaemon::tell`] alone.
    ///
    /// # Panics
    /// When it does not come to that.
    #[must_use]
    pub fn start(instance: &'a Instance, clock: &DrivenClock) -> Self {
        let (signs, told) = unbounded_channel();
        let ended = start(instance, clock, Signs::Driven(told));
        Self {
            instance,
            signs: Some(signs),
            ended,
        }
    }

    /// The same with `signs` of another kind.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_hearing(instance: &'a Instance, clock: &DrivenClock, signs: Signs) -> Self {
        let ended = start(instance, clock, signs);
        Self {
            instance,
            signs: None,
            ended,
        }
    }

    /// The machine tells it.
    ///
    /// # Panics
    /// When it hears by other ways.
    pub fn tell(&self, sign: Sign) {
        let signs = self.signs.as_ref().expect("one that hears by this alone");
        signs.send(sign).expect("a daemon that runs");
    }
}

type Ended = mpsc::Receiver<Result<(), String>>;

fn start(instance: &Instance, clock: &DrivenClock, signs: Signs) -> Ended {
    if !instance.config_dir().join("config.toml").exists() {
        instance.configure(CONFIGURATION);
    }
    let environment = Environment {
        state_dir: Some(instance.state_dir().into()),
        config_dir: Some(instance.config_dir().into()),
        ..Environment::default()
    };
    let clock = Clock::Driven(clock.clone());
    let (tell_ready, ready) = mpsc::channel();
    let (tell_end, ended) = mpsc::channel();
    thread::spawn(move || {
        let result = authd::run(&mut Start {
            environment,
            clock,
            signs,
            owns_process: false,
            activated: None,
            credentials: None,
            patience: Duration::ZERO,
            watchdog: None,
            on_ready: Some(Box::new(move || {
                // The test may have given up.
                let _ = tell_ready.send(());
            })),
        });
        let _ = tell_end.send(result.map_err(|error| error.to_string()));
    });
    if ready.recv_timeout(PATIENCE).is_err() {
        panic!("the daemon does not start: {:?}", ended.try_recv());
    }
    ended
}

impl Drop for DrivenDaemon<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            // It ends with the process.
            return;
        }
        // It may have been stopped already.
        let _ = self.instance.call(&DaemonStop {});
        let ended = self.ended.recv_timeout(PATIENCE);
        assert_eq!(ended, Ok(Ok(())), "the daemon's end");
    }
}

/// Asks what only the engine can answer, and what starts nothing: when this returns, everything that was
/// due for the account `demo` by now, and was allowed to start, has started.
///
/// # Panics
/// When there is a token that lives so long.
pub fn ask_the_engine(instance: &Instance) {
    let more_than_possible = TokenGet {
        account: Some("demo"),
        min_ttl_secs: Some(MORE_THAN_POSSIBLE),
        wait_secs: Some(0),
        ..TokenGet::default()
    };
    assert!(instance.call(&more_than_possible).is_err());
}

/// Waits until everything that was due by now has started, and has ended.
///
/// # Panics
/// When it does not end.
pub fn quiet(instance: &Instance) {
    // An alarm that has not rung yet is not under way either.
    ask_the_engine(instance);
    until("nothing is under way", || {
        let status = instance.status();
        status.exchanges_in_flight + status.questions_in_flight == 0
    });
}
