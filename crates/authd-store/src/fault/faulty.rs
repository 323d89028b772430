//! A wrapper that makes any disk fail, stall or stop at a chosen operation.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{
    disk::{Disk, DiskFile, Held, Open},
    fault::{Keep, Memory, memory},
};

/// An operation that changes something, or makes a change durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Writing an entry of a key store, or removing one.
    KeyStore,
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

/// What strikes one operation, chosen by its number.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The machine stops before it: it fails, and so does every one after it.
    Stop,
    /// The machine stops within it: of a write, a part has reached the file. Anything else fails as
    /// with [`Fault::Stop`].
    Tear(Part),
    /// It fails, once, and nothing of it happens.
    Once(io::ErrorKind),
    /// It fails, and so does every later one of these kinds (of any, when there are none).
    Lasting(Vec<Op>, io::ErrorKind),
    /// A sync fails as a kernel's does ([`Memory::fail_next_sync`]), on this disk. Anything else
    /// happens.
    LoseSync(Memory),
}

/// Which part of a write that was torn is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first half.
    Prefix,
    /// The second half.
    Suffix,
    /// Random sectors, drawn from this seed.
    Sectors(u64),
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
    struck: Option<(u64, Fault)>,
    crashed: bool,
    trace: Option<Vec<(Op, PathBuf)>>,
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
        self.strike_after(operations, Fault::Stop);
    }

    /// This fault strikes the operation after `operations` more ones.
    pub fn strike_after(&self, operations: u64, fault: Fault) {
        let mut plan = self.lock();
        plan.struck = Some((plan.operations + operations, fault));
    }

    /// Writes down every operation from now on.
    pub fn record(&self) {
        self.lock().trace = Some(Vec::new());
    }

    /// What was written down.
    #[must_use]
    pub fn trace(&self) -> Vec<(Op, PathBuf)> {
        self.lock().trace.clone().unwrap_or_default()
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

    /// Drops every rule, and the fault that was to strike unless it stops the machine.
    pub fn heal(&self) {
        let mut plan = self.lock();
        plan.rules.clear();
        let stops = |(_, fault): &(u64, Fault)| matches!(fault, Fault::Stop | Fault::Tear(_));
        plan.struck = plan.struck.take().filter(stops);
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

    /// Fails or lets it happen; of a write that is torn, the part that happens.
    pub(super) fn check(&self, op: Op, path: &Path) -> io::Result<Option<Part>> {
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
        if plan.crashed {
            return Err(stopped());
        }
        let number = plan.operations;
        plan.operations += 1;
        if let Some(trace) = &mut plan.trace {
            trace.push((op, path.to_owned()));
        }
        let strikes = |at: u64| number == at;
        match &plan.struck {
            Some((at, Fault::Stop)) if strikes(*at) => {
                plan.crashed = true;
                return Err(stopped());
            }
            Some((at, Fault::Tear(part))) if strikes(*at) => {
                let part = *part;
                plan.crashed = true;
                return if op == Op::Write {
                    Ok(Some(part))
                } else {
                    Err(stopped())
                };
            }
            Some((at, Fault::Once(error))) if strikes(*at) => return Err((*error).into()),
            Some((at, Fault::Lasting(ops, error)))
                if number >= *at && (ops.is_empty() || ops.contains(&op)) =>
            {
                return Err((*error).into());
            }
            Some((at, Fault::LoseSync(memory))) if strikes(*at) && op == Op::Sync => {
                memory.fail_next_sync(&text);
            }
            _ => {}
        }
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
        Ok(None)
    }
}

fn stopped() -> io::Error {
    io::Error::other("injected: the machine has stopped")
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
        let Some(part) = self.faults.check(Op::Write, &self.path)? else {
            return self.file.write_at(offset, data);
        };
        for (at, piece) in part.of(data) {
            self.file.write_at(offset + at as u64, piece)?;
        }
        Err(stopped())
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

impl Part {
    /// The pieces that happen, each with where it begins.
    fn of(self, data: &[u8]) -> Vec<(usize, &[u8])> {
        let (first, second) = data.split_at(data.len() / 2);
        match self {
            Self::Prefix => vec![(0, first)],
            Self::Suffix => vec![(first.len(), second)],
            Self::Sectors(seed) => {
                let mut coin = memory::coin(Keep::Some(seed));
                let sectors = data.chunks(memory::SECTOR).enumerate();
                sectors
                    .filter(|_| coin())
                    .map(|(number, sector)| (number * memory::SECTOR, sector))
                    .collect()
            }
        }
    }
}
