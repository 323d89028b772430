//! A logind of the test's own, on a bus of the test's own: it says when the machine is to sleep, and
//! knows who holds that back.

use std::{
    io::{PipeReader, Read as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zbus::{blocking::Connection, fdo, interface, zvariant::OwnedFd};

use crate::{
    PATIENCE,
    dbus::{Bus, in_time},
};

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";

/// It runs as long as it lives.
pub struct Logind {
    connection: Connection,
    taken: mpsc::Receiver<Inhibitor>,
    asked: Arc<AtomicUsize>,
}

/// A lock that delays sleep, as the one who gave it sees it.
pub struct Inhibitor {
    reader: PipeReader,
}

struct Manager {
    taken: mpsc::Sender<Inhibitor>,
    asked: Arc<AtomicUsize>,
    /// How many of the first questions for a lock are refused.
    refused: usize,
}

#[interface(name = "org.freedesktop.login1.Manager")]
impl Manager {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> fdo::Result<OwnedFd> {
        if (what, who, mode) != ("sleep", "authd", "delay") || why.is_empty() {
            return Err(fdo::Error::InvalidArgs("an unexpected lock".to_owned()));
        }
        if self.asked.fetch_add(1, Ordering::Relaxed) < self.refused {
            return Err(fdo::Error::LimitsExceeded("too many locks".to_owned()));
        }
        let (reader, writer) =
            std::io::pipe().map_err(|error| fdo::Error::Failed(error.to_string()))?;
        // The test may have gone.
        let _ = self.taken.send(Inhibitor { reader });
        Ok(std::os::fd::OwnedFd::from(writer).into())
    }
}

impl Logind {
    /// Starts it.
    ///
    /// # Panics
    /// When the bus does not take it.
    #[must_use]
    pub fn start(bus: &Bus) -> Self {
        Self::start_refusing(bus, 0)
    }

    /// The same; it refuses so many locks first.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_refusing(bus: &Bus, refused: usize) -> Self {
        let (tell, taken) = mpsc::channel();
        let asked = Arc::default();
        let manager = Manager {
            taken: tell,
            asked: Arc::clone(&asked),
            refused,
        };
        let connection = bus.serve(NAME, PATH, manager);
        Self {
            connection,
            taken,
            asked,
        }
    }

    /// How often it was asked for a lock.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// A lock that somebody has taken by now.
    #[must_use]
    pub fn inhibitor_so_far(&self) -> Option<Inhibitor> {
        self.taken.try_recv().ok()
    }

    /// It ends: its name and its connection go.
    ///
    /// # Panics
    /// When the bus does not let it.
    pub fn stop(self) {
        in_time(move || {
            let closed = self.connection.close();
            closed.expect("an end of the connection");
        });
    }

    /// The next lock that somebody takes.
    ///
    /// # Panics
    /// When nobody takes one in time.
    #[must_use]
    pub fn inhibitor(&self) -> Inhibitor {
        let taken = self.taken.recv_timeout(PATIENCE);
        taken.expect("a lock that delays sleep")
    }

    /// Says that the machine is about to sleep, or that it woke.
    ///
    /// # Panics
    /// When the bus does not take it.
    pub fn prepare_for_sleep(&self, about_to: bool) {
        let connection = self.connection.clone();
        in_time(move || {
            let nobody_in_particular = None::<&str>;
            let sent = connection.emit_signal(
                nobody_in_particular,
                PATH,
                MANAGER,
                "PrepareForSleep",
                &about_to,
            );
            sent.expect("a signal on the bus");
        });
    }
}

impl Inhibitor {
    /// Whether it is held.
    ///
    /// # Panics
    /// When the system does not say.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let mut fds = [PollFd::new(&self.reader, PollFlags::IN)];
        let now = Timespec::try_from(Duration::ZERO).expect("no time at all");
        poll(&mut fds, Some(&now)).expect("a pipe") == 0
    }

    /// Waits until it is given back.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub fn wait_until_given_back(mut self) {
        let read = in_time(move || self.reader.read(&mut [0]));
        assert_eq!(read.expect("a pipe"), 0, "nobody writes to it");
    }
}
