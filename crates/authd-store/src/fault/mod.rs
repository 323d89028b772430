//! Faults on purpose: a disk in memory that forgets what was not synced, and a wrapper around any
//! disk that fails, stalls or stops it at a chosen operation; and a key store in memory that fails and stops with it.
//!
//! For tests, of this crate and of the daemon (feature `fault`); absent from every release build.

mod drawer;
mod faulty;
mod format;
mod memory;

pub use drawer::Drawer;
pub use faulty::{Fault, Faults, Faulty, Op, Part, Rule, Stall};
#[cfg(test)]
pub(crate) use format::next_format;
pub use format::open_in_next_format;
pub use memory::{Keep, Memory};
