//! A wrapper that makes any disk fail, stall or stop at a chosen operation.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::disk::{Disk, DiskFile, Held, Open};

/// An operation that changes something, or makes a change durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Opening a file that may be made by it.
    Open,
    /// Writing.
    Write,
    /// Cutting or extending.
    SetLen,
    /// Reserving.
    Allocate,
    /// Syncing a file.
    Sync,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Syncing a directory.
    SyncDir,
    /// Making a directory.
    MakeDir,
}

/// Which operations fail, and how.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Only these; all when empty.
    pub ops: Vec<Op>,
    /// Only paths that contain this; all when empty.
    pub path: String,
    /// Matching operations that still succeed.
    pub after: u64,
    /// How many fail then; `u64::MAX` for all.
    pub times: u64,
    /// As what.
    pub error: io::ErrorKind,
}

impl Rule {
    /// Every write and reservation on every path fails for lack of space.
    #[must_use]
    pub fn disk_full() -> Self {
        Self {
            ops: vec![Op::Open, Op::Write, Op::SetLen, Op::Allocate],
            path: String::new(),
            after: 0,
            times: u64::MAX,
            error: io::ErrorKind::StorageFull,
        }
    }

    /// Every operation fails because the file system is read-only.
    #[must_use]
    pub fn read_only() -> Self {
        Self {
            ops: Vec::new(),
            error: io::ErrorKind::ReadOnlyFilesystem,
            ..Self::disk_full()
        }
    }

    /// The same for paths that contain `part`.
    #[must_use]
    pub fn on(self, part: &str) -> Self {
        Self {
            path: part.to_owned(),
            ..self
        }
    }
}

/// The switchboard of a [`Faulty`] disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Plan {
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    rules: Vec<Rule>,
    stalled: Option<(Op, String)>,
    /// Operations that wait in the stall now.
    waiting: u64,
}

/// A stall; it ends when this is dropped.
#[derive(Debug)]
pub struct Stall(Faults);

impl Stall {
    /// Blocks until an operation hangs in it.
    pub fn wait_until_reached(&self) {
        let plan = self.0.lock();
        let waited = self.0.0.changed.wait_while(plan, |plan| plan.waiting == 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.0.lock().stalled = None;
        self.0.0.changed.notify_all();
    }
}

impl Faults {
    /// Operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The operation after `operations` more ones, and every one after it, fails: the machine has
    /// stopped.
    pub fn crash_after(&self, operations: u64) {
        let mut plan = self.lock();
        plan.crash_at = Some(plan.operations + operations);
    }

    /// Whether it has stopped.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Adds a rule.
    pub fn add(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Drops every rule.
    pub fn heal(&self) {
        self.lock().rules.clear();
    }

    /// Makes one kind of operation hang on paths that contain `part`, until the value is dropped.
    #[must_use]
    pub fn stall(&self, op: Op, part: &str) -> Stall {
        self.lock().stalled = Some((op, part.to_owned()));
        Stall(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, op: Op, path: &Path) -> io::Result<()> {
        let text = path.to_string_lossy();
        let mut plan = self.lock();
        let in_stall = |plan: &Plan| {
            plan.stalled
                .as_ref()
                .is_some_and(|(stalled, part)| *stalled == op && text.contains(part.as_str()))
        };
        if in_stall(&plan) {
            plan.waiting += 1;
            self.0.changed.notify_all();
            let waited = self.0.changed.wait_while(plan, |plan| in_stall(plan));
            plan = waited.unwrap_or_else(PoisonError::into_inner);
            plan.waiting -= 1;
        }
        if plan.crash_at.is_some_and(|at| plan.operations >= at) {
            plan.crashed = true;
            return Err(io::Error::other("injected: the machine has stopped"));
        }
        plan.operations += 1;
        for rule in &mut plan.rules {
            let matches = (rule.ops.is_empty() || rule.ops.contains(&op))
                && text.contains(rule.path.as_str());
            if !matches || rule.times == 0 {
                continue;
            }
            if rule.after > 0 {
                rule.after -= 1;
                continue;
            }
            rule.times -= 1;
            return Err(rule.error.into());
        }
        Ok(())
    }
}

/// A disk with faults.
#[derive(Debug)]
pub struct Faulty<D> {
    disk: D,
    faults: Faults,
}

impl<D: Disk> Faulty<D> {
    /// Wraps a disk.
    pub fn new(disk: D, faults: Faults) -> Self {
        Self { disk, faults }
    }
}

impl<D: Disk> Disk for Faulty<D> {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        if how != Open::Existing {
            self.faults.check(Op::Open, path)?;
        }
        let file = self.disk.open(path, how)?;
        Ok(Box::new(FaultyFile {
            file,
            path: path.to_owned(),
            faults: self.faults.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check(Op::Rename, to)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.check(Op::Remove, path)?;
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.check(Op::SyncDir, dir)?;
        self.disk.sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.check(Op::MakeDir, dir)?;
        self.disk.make_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        self.disk.lock(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    faults: Faults,
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.check(Op::Write, &self.path)?;
        self.file.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check(Op::SetLen, &self.path)?;
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.faults.check(Op::Allocate, &self.path)?;
        self.file.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.check(Op::Sync, &self.path)?;
        self.file.sync()
    }
}
