//! The sealed store of authd.
//!
//! redb on a thread of its own, every payload sealed ([`DataKey`]), and around it what makes a
//! rotated refresh token survive: an intent on disk before the exchange leaves, space reserved for
//! its answer, one durable transaction for the commit, a spill file when that fails, a sealed mirror
//! per account from which a damaged database is rebuilt, an anchor outside by which an older copy is
//! noticed. This crate knows no async runtime: operations are completed through callbacks.
//!
//! A directory looks so:
//!
//! ```text
//! about            plain: format, instance, how the key is kept ([`KeyProtection`])
//! key              the data key, where no key store keeps it: key.passphrase and key.credential
//!                  are sealed under what their name says
//! lock, clean      held while open; left behind by a clean stop
//! authd.redb       the database; authd.redb.corrupt-N are damaged ones, kept
//! mirrors/         one sealed file per account and per owed revocation, and the header
//! spill/           reserved space, one file per exchange in flight
//! aside/           damaged records, kept
//! ```
//!
//! After the key was replaced for the Nth time, all of these but `about`, `lock` and `aside` have `-N` in
//! their names.

mod about;
mod anchor;
mod database;
pub mod disk;
mod error;
#[cfg(any(test, feature = "fault"))]
pub mod fault;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod key;
mod layout;
mod load;
pub mod locked;
mod migrate;
mod mirror;
mod open;
mod record;
mod reseal;
mod seal;
mod spill;
mod store;
mod worker;

pub use about::KeyProtection;
pub use error::{DiskTrouble, OpenError, StoreError};
pub use record::{Intent, PendingRevocation, Record, Secrets, TokenTypeHint};
pub use seal::DataKey;
pub use store::{CommitOutcome, Done, Flushed, Loaded, Options, SetAside, Store};
