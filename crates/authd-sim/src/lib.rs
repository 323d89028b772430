//! A deterministic simulator around the real renewal engine.
//!
//! One seed makes one story: a machine with clocks that need not agree, a store that fails, providers
//! with habits and moods, clients and persons. The engine under test is `authd-core` itself; around it
//! stands a shell that does what the daemon does. Outside of both an oracle knows the truth (the
//! provider's ledger, the real time) and checks the invariants at every step.

mod checks;
pub mod clock;
pub mod coverage;
pub mod fault;
mod network;
pub mod oracle;
mod people;
pub mod provider;
mod run;
mod served;
mod shell;
pub mod store;
pub mod story;
pub mod wake;
pub mod world;

pub use run::{Outcome, minimise, run};
