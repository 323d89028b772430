//! The server, its ledger and its faults, seen by a client over HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod control;
mod device;
mod faults;
mod login;
mod rotation;
