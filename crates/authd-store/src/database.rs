//! redb, with what it needs to be trusted.
//!
//! After one I/O error redb refuses every write until it is reopened: a failed database is dropped
//! and the next operation opens it again, which repairs it. After a failed sync the *file* is not
//! trusted either, because the kernel may have dropped the pages it could not write and a second
//! sync would lie: such a database asks to be rebuilt into a new file. redb panics on some damaged
//! pages: every call is guarded, and a panic counts as damage.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Builder, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use crate::{
    disk::{self, Disk, DiskFile, Open},
    error::DiskTrouble,
    seal::Kind,
};

const SEALED: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("sealed");
/// What redb may cache. Records are read once, at start; commits touch a handful of pages.
const CACHE: usize = 1 << 18;

/// A row's key: the kind, then what names the row among its kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn new(kind: Kind, id: &[u8]) -> Self {
        let mut key = Vec::with_capacity(1 + id.len());
        key.push(kind as u8);
        key.extend_from_slice(id);
        Self(key)
    }

    /// The id, when the row is of this kind.
    pub(crate) fn of(&self, kind: Kind) -> Option<&[u8]> {
        self.0
            .split_first()
            .filter(|(first, _)| **first == kind as u8)
            .map(|(_, id)| id)
    }
}

/// One row to be written; `None` removes it.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) key: Key,
    pub(crate) value: Option<Arc<[u8]>>,
}

/// Why the database did not do it.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The disk refused; reopening may help.
    Disk(DiskTrouble),
    /// A sync failed: what the file says is no longer what the disk holds.
    SyncFailed(DiskTrouble),
    /// The content is damaged.
    Damaged(String),
}

impl Failure {
    pub(crate) fn trouble(self) -> DiskTrouble {
        match self {
            Self::Disk(trouble) | Self::SyncFailed(trouble) => trouble,
            Self::Damaged(what) => DiskTrouble::Damaged(what),
        }
    }
}

/// The database file.
pub(crate) struct Database {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    open: Option<Opened>,
    /// Set until a rebuild has succeeded: this file must not be opened again.
    distrusted: Option<Failure>,
}

struct Opened {
    redb: redb::Database,
    sync_failed: Arc<AtomicBool>,
}

impl Database {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self {
            disk,
            path,
            open: None,
            distrusted: None,
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn exists(&self) -> io::Result<bool> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        Ok(self.disk.list(dir)?.contains(&self.path))
    }

    /// Opens an existing file, checking every page when `check` (after an unclean stop).
    pub(crate) fn open(&mut self, check: bool) -> Result<(), Failure> {
        if self.open.is_none() {
            self.open = Some(self.open_file(&self.path.clone(), Open::Existing, check)?);
        }
        Ok(())
    }

    /// Reads every row, one after the other. After a failure those that were read count for nothing.
    pub(crate) fn for_each(&mut self, mut take: impl FnMut(Key, Vec<u8>)) -> Result<(), Failure> {
        self.guarded(|redb| {
            let table = match redb.begin_read()?.open_table(SEALED) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for row in table.iter()? {
                let (key, value) = row?;
                take(Key(key.value().to_vec()), value.value().to_vec());
            }
            Ok(())
        })
    }

    /// Writes all of `changes` in one durable transaction, or none of them.
    pub(crate) fn apply(&mut self, changes: &[Change]) -> Result<(), Failure> {
        if let Some(failure) = &self.distrusted {
            return Err(failure.clone());
        }
        self.guarded(|redb| write(redb, changes))
    }

    /// Makes a new file with these rows and puts it in the place of the old one.
    pub(crate) fn rebuild(&mut self, rows: &[Change]) -> Result<(), Failure> {
        self.discard();
        let fresh = disk::beside(&self.path, disk::TEMPORARY);
        disk::remove(&*self.disk, &fresh).map_err(|error| Failure::Disk(error.into()))?;
        let opened = self.open_file(&fresh, Open::New, false)?;
        guard(&opened.sync_failed, || {
            write(&opened.redb, rows)?;
            opened.redb.close().map_err(redb::Error::from)
        })?;
        disk::rename(&*self.disk, &fresh, &self.path)
            .map_err(|error| Failure::Disk(error.into()))?;
        self.distrusted = None;
        self.open(false)
    }

    /// Moves a damaged file out of the way, under a name that says so; it is never deleted.
    pub(crate) fn set_aside(&mut self) -> io::Result<Option<PathBuf>> {
        self.discard();
        if !self.exists()? {
            return Ok(None);
        }
        let aside = disk::free_name(&*self.disk, &self.path, ".corrupt-")?;
        disk::rename(&*self.disk, &self.path, &aside)?;
        Ok(Some(aside))
    }

    /// Closes properly. An error means that the next start must check.
    pub(crate) fn close(&mut self) -> Result<(), Failure> {
        let Some(Opened { redb, sync_failed }) = self.open.take() else {
            return Err(Failure::Disk(DiskTrouble::Failing(
                "it was not open".to_owned(),
            )));
        };
        guard(&sync_failed, || redb.close().map_err(redb::Error::from))
    }

    fn open_file(&self, path: &Path, how: Open, check: bool) -> Result<Opened, Failure> {
        let file = self
            .disk
            .open(path, how)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Failure::Damaged("the file is gone".to_owned()),
                _ => Failure::Disk(error.into()),
            })?;
        // redb would make a new database of it and report no loss. Ours are never empty: they get
        // their name when they are whole.
        if how == Open::Existing
            && file
                .is_empty()
                .map_err(|error| Failure::Disk(error.into()))?
        {
            return Err(Failure::Damaged("the file is empty".to_owned()));
        }
        let sync_failed = Arc::new(AtomicBool::new(false));
        let backend = Backend {
            file,
            sync_failed: Arc::clone(&sync_failed),
        };
        let redb = guard(&sync_failed, || {
            let mut builder = Builder::new();
            builder
                .set_cache_size(CACHE)
                .set_check_integrity_on_open(check);
            builder
                .create_with_backend(backend)
                .map_err(redb::Error::from)
        })?;
        Ok(Opened { redb, sync_failed })
    }

    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, Failure> {
        // Reopening after a failure checks: the failure may have been more than it said.
        self.open(true)
            .inspect_err(|failure| self.distrust(failure))?;
        let Some(opened) = &self.open else {
            return Err(Failure::Disk(DiskTrouble::Failing(
                "it did not open".to_owned(),
            )));
        };
        let result = guard(&opened.sync_failed, || work(&opened.redb));
        if let Err(failure) = &result {
            self.discard();
            self.distrust(failure);
        }
        result
    }

    fn distrust(&mut self, failure: &Failure) {
        if !matches!(failure, Failure::Disk(_)) {
            self.distrusted = Some(failure.clone());
        }
    }

    fn discard(&mut self) {
        if let Some(opened) = self.open.take() {
            // redb's drop writes; after a panic inside it, it may panic again.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(opened)));
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.discard();
    }
}

fn write(redb: &redb::Database, changes: &[Change]) -> Result<(), redb::Error> {
    let transaction = redb.begin_write()?;
    {
        let mut table = transaction.open_table(SEALED)?;
        for Change { key, value } in changes {
            match value {
                Some(value) => table.insert(&*key.0, &**value)?,
                None => table.remove(&*key.0)?,
            };
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Runs a call into redb; a panic is damage, and a failed sync is told from other I/O errors.
fn guard<T>(
    sync_failed: &AtomicBool,
    work: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, Failure> {
    let error = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error,
        // The payload is not looked at: it may quote what it found.
        Err(_) => return Err(Failure::Damaged("reading it panicked".to_owned())),
    };
    if sync_failed.load(Ordering::Acquire) {
        return Err(Failure::SyncFailed(DiskTrouble::Failing(error.to_string())));
    }
    Err(match error {
        redb::Error::Io(error) => match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Failure::Damaged(error.to_string())
            }
            _ => Failure::Disk(error.into()),
        },
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => {
            Failure::Disk(DiskTrouble::Failing(error.to_string()))
        }
        other => Failure::Damaged(other.to_string()),
    })
}

/// One of our files as redb wants it.
#[derive(Debug)]
struct Backend {
    file: Box<dyn DiskFile>,
    sync_failed: Arc<AtomicBool>,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(io::Error::other("a sync of this file has failed before"));
        }
        self.file
            .sync()
            .inspect_err(|_| self.sync_failed.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }
}
