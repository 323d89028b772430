//! logind: word of sleep over D-Bus, and a lock that delays it until the last exchange is over.
//!
//! The lock is taken at the start and after each wake, not with each exchange: between two messages on
//! a bus an exchange could have left before its lock was there. logind waits for it for a few seconds
//! (`InhibitDelayMaxSec=`) and no longer, so it can be given back late but never forgotten.

use std::time::Duration;

use futures_util::StreamExt as _;
use zbus::{Connection, Proxy, connection, zvariant::OwnedFd};

use super::{Hold, Sign, tell};
use crate::driver::Mailbox;

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";

/// How long logind may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells the driver what logind says, until the bus goes away.
///
/// # Errors
/// When there is no bus, or no logind on it.
pub(super) async fn listen(address: Option<String>, mailbox: &Mailbox) -> zbus::Result<()> {
    let builder = match &address {
        Some(address) => connection::Builder::address(address.as_str())?,
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
        ended = heed(&connection, mailbox) => ended,
    }
}

async fn heed(connection: &Connection, mailbox: &Mailbox) -> zbus::Result<()> {
    let manager = Proxy::new(connection, NAME, PATH, MANAGER).await?;
    // First the word, then the lock: no sleep can come in between unheard.
    let mut sleeps = manager.receive_signal("PrepareForSleep").await?;
    let mut hold = Some(delay(&manager).await?);
    tracing::debug!("logind tells when the machine is about to sleep");
    while let Some(signal) = sleeps.next().await {
        let about_to_sleep: bool = signal.body().deserialize()?;
        if about_to_sleep {
            tell(mailbox, Sign::Suspending, hold.take());
        } else {
            tell(mailbox, Sign::Resumed, None);
            hold = Some(delay(&manager).await?);
        }
    }
    tracing::debug!("logind is silent: the bus has gone");
    Ok(())
}

/// A lock that delays sleep; logind knows that it is given back when its descriptor is closed.
async fn delay(manager: &Proxy<'_>) -> zbus::Result<Hold> {
    let why = "Token requests under way are finished first";
    let arguments = ("sleep", "authd", why, "delay");
    let lock: OwnedFd = manager.call("Inhibit", &arguments).await?;
    Ok(Box::new(lock))
}
