//! Which core runs what, and what a process costs: read from /proc.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::ChoreError;

/// Two cores to measure on; the same one twice where there is no other.
#[derive(Clone, Copy)]
pub(super) struct Cores {
    /// For the daemon.
    pub(super) daemon: usize,
    /// For what puts load on it.
    pub(super) load: usize,
}

impl Cores {
    /// Out of those that this process may use. To be asked before anything is pinned.
    pub(super) fn allowed() -> Result<Self, ChoreError> {
        let set = sched_getaffinity(None)
            .map_err(|errno| ChoreError::Daemon(format!("cannot tell the cores: {errno}")))?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|&core| set.is_set(core))
            .collect();
        let first = allowed.first().copied().unwrap_or(0);
        Ok(Self {
            daemon: first,
            load: allowed.last().copied().unwrap_or(first),
        })
    }
}

/// Keeps this thread, and what it starts from now on, on one core.
pub(super) fn pin_self(core: usize) -> Result<(), ChoreError> {
    pin(None, core)
}

/// Keeps every thread of a process on one core.
pub(super) fn pin_process(pid: u32, core: usize) -> Result<(), ChoreError> {
    for task in tasks(pid)? {
        let tid = task
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok())
            .and_then(Pid::from_raw);
        pin(tid, core)?;
    }
    Ok(())
}

fn pin(tid: Option<Pid>, core: usize) -> Result<(), ChoreError> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(tid, &set)
        .map_err(|errno| ChoreError::Daemon(format!("cannot pin to core {core}: {errno}")))
}

/// Resident memory in bytes.
pub(super) fn resident(pid: u32) -> Result<u64, ChoreError> {
    let kib = field(&PathBuf::from(format!("/proc/{pid}/status")), "VmRSS:")?;
    Ok(kib * 1024)
}

/// Context switches of all threads since they began: each is a wake-up that someone paid for.
pub(super) fn switches(pid: u32) -> Result<u64, ChoreError> {
    tasks(pid)?.iter().try_fold(0, |sum, task| {
        Ok(sum + field(&task.join("status"), "voluntary_ctxt_switches:")?)
    })
}

fn tasks(pid: u32) -> Result<Vec<PathBuf>, ChoreError> {
    let dir = PathBuf::from(format!("/proc/{pid}/task"));
    fs::read_dir(&dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(ChoreError::io("read", &dir))
}

fn field(file: &Path, name: &'static str) -> Result<u64, ChoreError> {
    let text = fs::read_to_string(file).map_err(ChoreError::io("read", file))?;
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .ok_or_else(|| ChoreError::Daemon(format!("{} has no {name}", file.display())))
}
