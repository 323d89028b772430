//! Linux: logind tells of sleep, the kernel of the network.

use super::{logind, rtnetlink};
use crate::driver::Mailbox;

pub(super) fn listen(mailbox: &Mailbox) {
    listen_on(None, mailbox);
}

/// With logind on the bus at `address`, or on the system's.
pub(super) fn listen_on(address: Option<String>, mailbox: &Mailbox) {
    let to_driver = mailbox.clone();
    tokio::spawn(async move {
        if let Err(error) = logind::listen(address, &to_driver).await {
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
