//! What can go wrong, and who must act.

use std::{
    io,
    path::{Path, PathBuf},
};

use authd_core::id::{Account, Generation};

use crate::{disk::NotPrivate, seal::SealError};

/// Why the disk did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskTrouble {
    /// The user must free space.
    #[error("the disk is full, or a quota is used up")]
    Full,
    /// The user or an administrator must make it writable.
    #[error("the state directory is read-only or not ours to write")]
    ReadOnly,
    /// Somebody else could read or has prepared one of our files; the user must look at it.
    #[error("{0}")]
    NotPrivate(NotPrivate),
    /// The device fails; an administrator must look at it.
    #[error("the disk fails: {0}")]
    Failing(String),
    /// The database is damaged, and could not be rebuilt either.
    #[error("the database is damaged: {0}")]
    Damaged(String),
}

impl From<io::Error> for DiskTrouble {
    fn from(error: io::Error) -> Self {
        let not_private = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<NotPrivate>());
        if let Some(refused) = not_private {
            return Self::NotPrivate(refused.clone());
        }
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly,
            _ => Self::Failing(error.to_string()),
        }
    }
}

/// Why the store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has it. The user stops one of them.
    #[error("{}: another authd has this store open", .0.display())]
    InUse(PathBuf),
    /// It was written by a newer program. The user installs that one again; nothing was touched.
    #[error("the store has format {found}, this program knows {known}: install the newer authd")]
    NewerFormat {
        /// What stands on disk.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// The key is another store's. Nothing was touched.
    #[error("the data key is not the one that this store was sealed with")]
    WrongKey,
    /// The disk does not let us.
    #[error("{}", at(path, trouble))]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        trouble: DiskTrouble,
    },
    /// The operating system gives no randomness, or no thread.
    #[error("the operating system refuses: {0}")]
    System(String),
}

fn at(path: &Path, trouble: &DiskTrouble) -> String {
    match trouble {
        // It names the very one, which may be a file in there.
        DiskTrouble::NotPrivate(refused) => refused.to_string(),
        trouble => format!("{}: {trouble}", path.display()),
    }
}

/// Why an operation did not happen. Where it says so, nothing on disk has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk does not let us; nothing has changed. An exchange must not leave.
    #[error("the store cannot be written: {0}")]
    NotWritable(DiskTrouble),
    /// A newer generation, another login or a rival attempt stands there; nothing has changed
    /// (RENEWAL invariant 11).
    #[error("generation {offered} may not replace what stands, generation {held}")]
    Superseded {
        /// What stands.
        held: Generation,
        /// What was offered.
        offered: Generation,
    },
    /// There is no such account; nothing has changed.
    #[error("the store has no account `{0}`")]
    NotHeld(Account),
    /// It cannot be sealed; a bug, or a system without randomness.
    #[error("it cannot be sealed: {0}")]
    NotSealed(String),
    /// The answers of these accounts are in memory alone and would be lost now. The user must mend
    /// the disk before the daemon ends.
    #[error("not on disk yet: {}", .0.iter().map(Account::as_str).collect::<Vec<_>>().join(", "))]
    Unsaved(Vec<Account>),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl From<SealError> for StoreError {
    fn from(error: SealError) -> Self {
        Self::NotSealed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_refuses_is_said_with_the_place() {
        let refused = OpenError::Disk {
            path: PathBuf::from("/state"),
            trouble: DiskTrouble::Failing("input/output error".to_owned()),
        };
        let said = refused.to_string();
        assert!(
            said.starts_with("/state: ") && said.contains("input/output error"),
            "{said}"
        );
    }
}
