//! One file per verb; each has the verb's arguments and its `run`.

pub(crate) mod adopt;
pub(crate) mod approve;
pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod daemon;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod forget;
pub(crate) mod grant;
pub(crate) mod import;
pub(crate) mod key;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod man;
pub(crate) mod passphrase;
pub(crate) mod provider;
pub(crate) mod renew;
pub(crate) mod service;
pub(crate) mod socket;
#[cfg(unix)]
pub(crate) mod ssh;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod unlock;
