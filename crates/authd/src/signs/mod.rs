//! What the machine tells: that it is about to sleep, that it woke, that the network is back.
//!
//! All of it may be missing: then a sleep is noticed afterwards, by the clock that stood still, and
//! what is due is tried as its backoff says. Nothing here is waited for, and nothing here can hold up
//! anybody else.

#[cfg(target_os = "linux")]
mod logind;
#[cfg(target_os = "linux")]
mod rtnetlink;

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(target_os = "macos", path = "macos.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::{
    clock::Clock,
    driver::{Mailbox, Message},
};

/// Where the daemon hears of sleep and of the network.
#[derive(Debug)]
pub enum Signs {
    /// From the machine.
    System,
    /// The same, with logind on the bus at this address instead of the system's.
    #[cfg(target_os = "linux")]
    Bus(String),
    /// From a test, and from nobody else.
    Driven(UnboundedReceiver<Sign>),
}

/// A word of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The machine is about to sleep.
    Suspending,
    /// It woke.
    Resumed,
    /// There is a network that was not there before.
    NetworkUp,
}

/// Holds the machine's sleep back for as long as it lives, or for as long as the system bears it.
pub(crate) type Hold = Box<dyn Send>;

/// Listens from now on; each word goes to the driver. What fails is tried
/// again as `clock` says. Belongs into the runtime that the daemon serves
/// in, and ends with it.
pub(crate) fn listen(signs: Signs, mailbox: &Mailbox, clock: &Clock) {
    match signs {
        Signs::System => system::listen(mailbox, clock),
        #[cfg(target_os = "linux")]
        Signs::Bus(address) => system::listen_on(Some(address), mailbox, clock),
        Signs::Driven(mut signs) => {
            let mailbox = mailbox.clone();
            tokio::spawn(async move {
                while let Some(sign) = signs.recv().await {
                    tell(&mailbox, sign, None);
                }
            });
        }
    }
}

fn tell(mailbox: &Mailbox, sign: Sign, hold: Option<Hold>) {
    mailbox.send(Message::Sign { sign, hold });
}
