//! Faults on purpose: a disk in memory that forgets what was not synced, and a wrapper around any
//! disk that fails, stalls or stops it at a chosen operation.
//!
//! For tests, of this crate and of the daemon (feature `fault`); absent from every release build.

mod faulty;
mod memory;

pub use faulty::{Faults, Faulty, Op, Rule, Stall};
pub use memory::{Keep, Memory};
