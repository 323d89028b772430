//! authd: the daemon that owns a person's OAuth logins.
//!
//! It keeps the refresh tokens, renews access tokens before they expire, and hands short-lived
//! access tokens to tools over a local socket. `docs/architecture.md` shows the way through this
//! crate; the engine is `authd-core`.
//!
//! The binary is [`run`] and a command line. That it is a library besides has one reason: a test can
//! run the whole daemon, with its socket, its store and its requests to a provider, on a [`Clock`]
//! that the test drives. Nothing else is meant to link it.

mod access;
mod admission;
mod approvals;
mod audit;
mod authorize;
mod caller;
mod clock;
mod clocks;
mod config;
mod connection;
mod credential;
mod crowd;
mod daemon;
mod descriptors;
mod dispatch;
mod driver;
mod failpoint;
mod fingerprint;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guesses;
mod handler;
mod journal;
mod keys;
mod limit;
mod lines;
mod log;
mod memory;
mod network;
mod notify;
mod open;
mod perform;
mod process;
mod published;
mod restricted;
mod run;
mod serve;
mod service;
mod signs;
mod suggest;
#[cfg(test)]
mod testing;
mod turned_away;
mod watchdog;

pub use self::{
    clock::{Alarms, Clock, DrivenClock},
    log::start as start_log,
    memory::share_one_arena,
    process::harden,
    run::{RunError, Start, check, run},
    service::watchdog_of_process,
    signs::{Sign, Signs},
};

#[cfg(target_os = "linux")]
pub use self::process::launcher::take_orders;
