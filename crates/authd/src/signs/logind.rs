//! logind: word of sleep over D-Bus, and a lock that delays it until the last exchange is over.
//!
//! The lock is taken at the start and after each wake, not with each exchange: between two messages on
//! a bus an exchange could have left before its lock was there. logind waits for it for a few seconds
//! (`InhibitDelayMaxSec=`) and no longer, so it can be given back late but never forgotten.
//!
//! Without the lock the word still counts, and without the word the clocks tell of a wake. So what
//! fails here is tried again with pauses, and where nothing can be heard at all, hardly ever.

use std::{io, time::Duration};

use authd_core::time::Boot;
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, OptionFuture},
};
use zbus::{Connection, Proxy, connection, zvariant::OwnedFd};

use super::{Hold, Sign, tell};
use crate::{
    clock::{Alarm, Clock},
    driver::Mailbox,
};

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";

/// How long logind may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pauses between tries: the first, the longest, and where there has been no bus since the start.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
const WITHOUT_BUS: Duration = Duration::from_secs(3600);

/// Tells the driver what logind says, for as long as the runtime lives.
///
/// # Errors
/// When the system has no timer to give.
pub(super) async fn listen(
    address: Option<String>,
    mailbox: &Mailbox,
    clock: &Clock,
) -> io::Result<()> {
    let (mut again, mut lock_again) = (Again::new(clock)?, Again::new(clock)?);
    let mut was_there = false;
    loop {
        let mut hears = false;
        let ended = hear(address.as_deref(), mailbox, &mut lock_again, &mut hears).await;
        let why = ended.map_or_else(|error| error.to_string(), |()| "it has gone".to_owned());
        if hears {
            was_there = true;
            again.succeeded();
            tracing::warn!(
                why,
                "nobody tells when the machine is about to sleep; the bus is tried again"
            );
        } else {
            tracing::debug!(why, "nobody tells when the machine is about to sleep");
        }
        if was_there {
            again.failed()?;
        } else {
            again.after(WITHOUT_BUS)?;
        }
        again.is_due().await?;
    }
}

/// Connects, and hears until the bus goes away. `hears` turns true once it listens.
async fn hear(
    address: Option<&str>,
    mailbox: &Mailbox,
    lock_again: &mut Again,
    hears: &mut bool,
) -> zbus::Result<()> {
    let builder = match address {
        Some(address) => connection::Builder::address(address)?,
        None => connection::Builder::system()?,
    };
    let builder = builder.method_timeout(PATIENCE).internal_executor(false);
    let connection = builder.build().await?;
    // The connection's own work is done here, in this task, instead of on a thread more.
    let executor = connection.executor().clone();
    let driven = async {
        loop {
            executor.tick().await;
        }
    };
    tokio::select! {
        never = driven => never,
        ended = heed(&connection, mailbox, lock_again, hears) => ended,
    }
}

async fn heed(
    connection: &Connection,
    mailbox: &Mailbox,
    lock_again: &mut Again,
    hears: &mut bool,
) -> zbus::Result<()> {
    let manager = Proxy::new(connection, NAME, PATH, MANAGER).await?;
    // First the word, then the lock: no sleep can come in between unheard.
    let mut sleeps = manager.receive_signal("PrepareForSleep").await?;
    let mut owners = manager.receive_owner_changed().await?;
    *hears = true;
    tracing::debug!("logind tells when the machine is about to sleep");
    let mut hold = None;
    let mut taking = Some(delay(&manager));
    lock_again.succeeded();
    loop {
        tokio::select! {
            biased;
            signal = sleeps.next() => {
                let Some(signal) = signal else { return Ok(()) };
                let about_to_sleep: bool = signal.body().deserialize()?;
                lock_again.succeeded();
                if about_to_sleep {
                    taking = None;
                    tell(mailbox, Sign::Suspending, hold.take());
                } else {
                    tell(mailbox, Sign::Resumed, None);
                    taking = Some(delay(&manager));
                }
            }
            owner = owners.next() => match owner {
                // Another logind than the one that gave the lock.
                Some(Some(_)) => taking = Some(delay(&manager)),
                Some(None) => tracing::debug!("logind has gone"),
                None => return Ok(()),
            },
            Some(taken) = OptionFuture::from(taking.as_mut()) => {
                taking = None;
                match taken {
                    Ok(lock) => {
                        hold = Some(lock);
                        lock_again.succeeded();
                    }
                    // It is told when there is one.
                    Err(error) if is_absence(&error) => {
                        tracing::debug!(%error, "there is no logind");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "sleep will not wait for token requests; the lock is tried again");
                        lock_again.failed()?;
                    }
                }
            }
            due = lock_again.is_due() => {
                due?;
                taking = Some(delay(&manager));
            }
        }
    }
}

/// A lock that delays sleep; logind knows that it is given back when its descriptor is closed.
fn delay<'p>(manager: &'p Proxy<'_>) -> BoxFuture<'p, zbus::Result<Hold>> {
    async move {
        let why = "Token requests under way are finished first";
        let arguments = ("sleep", "authd", why, "delay");
        let lock: OwnedFd = manager.call("Inhibit", &arguments).await?;
        let hold: Hold = Box::new(lock);
        Ok(hold)
    }
    .boxed()
}

/// Whether nobody on the bus is logind, rather than that it refused.
fn is_absence(error: &zbus::Error) -> bool {
    let zbus::Error::MethodError(name, ..) = error else {
        return false;
    };
    matches!(
        name.as_str(),
        "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner"
    )
}

/// When something that failed is tried again.
struct Again {
    clock: Clock,
    alarm: Alarm,
    at: Option<Boot>,
    next_pause: Duration,
}

impl Again {
    fn new(clock: &Clock) -> io::Result<Self> {
        Ok(Self {
            clock: clock.clone(),
            alarm: clock.alarm()?,
            at: None,
            next_pause: FIRST_PAUSE,
        })
    }

    /// Nothing is to be tried, and the pauses begin anew.
    fn succeeded(&mut self) {
        (self.at, self.next_pause) = (None, FIRST_PAUSE);
    }

    /// It is due again after a pause, longer each time.
    fn failed(&mut self) -> io::Result<()> {
        self.after(self.next_pause)?;
        self.next_pause = LONGEST_PAUSE.min(2 * self.next_pause);
        Ok(())
    }

    fn after(&mut self, pause: Duration) -> io::Result<()> {
        self.at = Some(self.clock.now().boot.after(pause));
        self.alarm.set(self.at)
    }

    /// Waits until it is due, for ever when nothing is.
    async fn is_due(&mut self) -> io::Result<()> {
        loop {
            match self.at {
                None => std::future::pending().await,
                Some(at) if self.clock.now().boot >= at => {
                    self.at = None;
                    return Ok(());
                }
                // It may ring before its time.
                Some(_) => self.alarm.rings().await?,
            }
        }
    }
}
