//! The command as it is run: against a daemon of the tests, over a real socket.

#![cfg(unix)]

#[cfg(target_os = "linux")]
mod approve;
mod daemon;
mod doctor;
mod events;
mod exec;
mod help;
mod hostile;
mod import;
mod login;
#[cfg(target_os = "linux")]
mod passphrase;
mod provider;
mod socket;
mod status;
#[cfg(target_os = "linux")]
mod terminal;
mod token;
mod verbs;
#[cfg(target_os = "linux")]
mod wizard;
