//! Linux: logind tells of sleep, the kernel of the network.

use super::{logind, rtnetlink};
use crate::{clock::Clock, driver::Mailbox};

pub(super) fn listen(mailbox: &Mailbox, clock: &Clock) {
    listen_on(None, mailbox, clock);
}

/// With logind on the bus at `address`, or on the system's.
pub(super) fn listen_on(address: Option<String>, mailbox: &Mailbox, clock: &Clock) {
    let (to_driver, clock) = (mailbox.clone(), clock.clone());
    tokio::spawn(async move {
        if let Err(error) = logind::listen(address, &to_driver, &clock).await {
            tracing::debug!(%error, "nobody tells when the machine is about to sleep");
        }
    });
    let to_driver = mailbox.clone();
    tokio::spawn(async move {
        if let Err(error) = rtnetlink::listen(&to_driver).await {
            tracing::debug!(%error, "nobody tells when the network is back");
        }
    });
}
