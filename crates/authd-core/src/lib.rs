//! The renewal engine of authd.
//!
//! A pure state machine: [events](broker::Event) come in together with the [time](time::Now),
//! [effects](broker::Effect) and "wake me at" come out. Nothing in here reads a clock, draws from
//! the system's randomness, opens a file or a socket, or knows a secret; so ten simulated years run
//! in seconds, and every failure replays from its seed.

pub mod answer;
pub mod broker;
pub mod flag;
pub mod grant;
pub mod id;
pub mod learned;
pub mod lease;
pub mod map;
pub mod metadata;
pub mod planted;
pub mod policy;
pub mod renewal;
pub mod schedule;
pub mod scope;
pub mod secret;
pub mod seldom;
pub mod time;
