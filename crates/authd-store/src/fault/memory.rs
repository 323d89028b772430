//! A disk in memory that knows what a power failure would leave of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::disk::{Disk, DiskFile, Held, Open};

/// What a disk writes whole or not at all, in bytes.
pub(super) const SECTOR: usize = 512;

/// Files in memory. Clones are the same disk; [`Memory::crash`] makes another.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<State>>);

/// What a power failure leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// All of it: the process alone was killed.
    Everything,
    /// A random part, sector by sector and name by name, drawn from this seed.
    Some(u64),
}

#[derive(Clone, Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
    nodes: BTreeMap<u64, Node>,
    next: u64,
    locked: BTreeSet<PathBuf>,
    failing_syncs: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
enum Pending {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl Memory {
    /// The disk as the next start would find it, if the power failed now.
    #[must_use]
    pub fn crash(&self, keep: Keep) -> Self {
        let mut coin = coin(keep);
        let state = self.lock();
        let mut names = BTreeMap::new();
        for path in state.names.keys().chain(state.durable_names.keys()) {
            let (now, durable) = (state.names.get(path), state.durable_names.get(path));
            let kept = if now == durable || coin() {
                now
            } else {
                durable
            };
            if let Some(node) = kept {
                names.entry(path.clone()).or_insert(*node);
            }
        }
        let mut nodes = BTreeMap::new();
        for id in names.values() {
            let Some(node) = state.nodes.get(id) else {
                continue;
            };
            let mut content = node.durable.clone();
            for pending in &node.pending {
                pending.happen(&mut content, &mut coin);
            }
            let node = Node {
                now: content.clone(),
                durable: content,
                pending: Vec::new(),
            };
            nodes.insert(*id, node);
        }
        Self(Arc::new(Mutex::new(State {
            durable_names: names.clone(),
            names,
            dirs: state.dirs.clone(),
            nodes,
            next: state.next,
            locked: BTreeSet::new(),
            failing_syncs: Vec::new(),
        })))
    }

    /// The next sync of a file whose path contains `part` fails as a kernel's does: what was not
    /// synced stays readable, counts as written, and never reaches the disk.
    pub fn fail_next_sync(&self, part: &str) {
        self.lock().failing_syncs.push(part.to_owned());
    }

    /// A file's content as it reads now.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        let node = state.names.get(path)?;
        state.nodes.get(node).map(|node| node.now.clone())
    }

    /// Puts a file there, durably: damage done by somebody else.
    pub fn put(&self, path: &Path, content: Vec<u8>) {
        let mut state = self.lock();
        let id = state.fresh();
        state.names.insert(path.to_owned(), id);
        state.durable_names.insert(path.to_owned(), id);
        let node = Node {
            now: content.clone(),
            durable: content,
            pending: Vec::new(),
        };
        state.nodes.insert(id, node);
    }

    /// Zeroes a part of a file in its place, durably: a device that forgets a page.
    pub fn zero(&self, path: &Path, offset: usize, len: usize) {
        let mut state = self.lock();
        let Some(node) = state.names.get(path).copied() else {
            return;
        };
        let Some(node) = state.nodes.get_mut(&node) else {
            return;
        };
        for content in [&mut node.now, &mut node.durable] {
            let end = content.len().min(offset + len);
            content[offset.min(end)..end].fill(0);
        }
    }

    /// Every file's path.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Pending {
    fn happen(&self, content: &mut Vec<u8>, coin: &mut impl FnMut() -> bool) {
        match self {
            Self::SetLen(len) => {
                if coin() {
                    content.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0);
                }
            }
            Self::Write(offset, data) => {
                let mut at = usize::try_from(*offset).unwrap_or(usize::MAX);
                for sector in data.chunks(SECTOR) {
                    if coin() {
                        write(content, at, sector);
                    }
                    at += sector.len();
                }
            }
        }
    }
}

fn write(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(data);
}

pub(super) fn coin(keep: Keep) -> impl FnMut() -> bool {
    let mut seed = match keep {
        Keep::Some(seed) => seed,
        Keep::Nothing | Keep::Everything => 0,
    };
    move || match keep {
        Keep::Nothing => false,
        Keep::Everything => true,
        Keep::Some(_) => {
            // SplitMix64: each seed replays.
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = seed;
            bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (bits ^ bits >> 31) & 1 == 1
        }
    }
}

impl Disk for Memory {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        let node = match (state.names.get(path).copied(), how) {
            (Some(_), Open::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(node), _) => node,
            (None, Open::Existing) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                let node = state.fresh();
                state.nodes.insert(node, Node::default());
                state.names.insert(path.to_owned(), node);
                node
            }
        };
        drop(state);
        Ok(Box::new(MemoryFile {
            disk: self.clone(),
            path: path.to_owned(),
            node,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock()
            .names
            .remove(path)
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let within = |path: &Path| path.parent() == Some(dir);
        let State {
            names,
            durable_names,
            ..
        } = &mut *state;
        durable_names.retain(|path, _| !within(path));
        let now = names.iter().filter(|(path, _)| within(path));
        durable_names.extend(now.map(|(path, node)| (path.clone(), *node)));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.lock();
        Ok(state
            .names
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .cloned()
            .collect())
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.lock().dirs.insert(dir.to_owned());
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        if self.lock().locked.insert(path.to_owned()) {
            Ok(Box::new(MemoryLock(self.clone(), path.to_owned())))
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
}

struct MemoryLock(Memory, PathBuf);

impl Held for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.0.lock().locked.remove(&self.1);
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: Memory,
    path: PathBuf,
    node: u64,
}

impl MemoryFile {
    fn node<T>(&self, work: impl FnOnce(&mut Node) -> T) -> io::Result<T> {
        let mut state = self.disk.lock();
        state
            .nodes
            .get_mut(&self.node)
            .map(work)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        self.node(|node| node.now.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        self.node(
            |node| match node.now.get(at..at.saturating_add(out.len())) {
                Some(found) => {
                    out.copy_from_slice(found);
                    Ok(())
                }
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        )?
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        self.node(|node| {
            write(&mut node.now, at, data);
            node.pending.push(Pending::Write(offset, data.to_vec()));
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.node(|node| {
            node.now
                .resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
            node.pending.push(Pending::SetLen(len));
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.len()? < len {
            self.set_len(len)
        } else {
            Ok(())
        }
    }

    fn sync(&self) -> io::Result<()> {
        let path = self.path.to_string_lossy().into_owned();
        let mut state = self.disk.lock();
        let failing = state
            .failing_syncs
            .iter()
            .position(|part| path.contains(part.as_str()));
        let fails = failing.map(|at| state.failing_syncs.remove(at)).is_some();
        let node = state
            .nodes
            .get_mut(&self.node)
            .ok_or(io::ErrorKind::NotFound)?;
        node.pending.clear();
        if fails {
            return Err(io::Error::other("injected: the sync failed"));
        }
        node.durable.clone_from(&node.now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{read_whole, replace};

    fn at(path: &str) -> PathBuf {
        Path::new("/state").join(path)
    }

    #[test]
    fn what_was_not_synced_is_lost_and_what_was_is_not() {
        let disk = Memory::default();
        replace(&disk, &at("file"), b"old").unwrap();
        let file = disk.open(&at("file"), Open::Existing).unwrap();
        file.write_at(0, b"new").unwrap();
        disk.open(&at("other"), Open::New).unwrap().sync().unwrap();
        let after = disk.crash(Keep::Nothing);
        assert_eq!(read_whole(&after, &at("file")).unwrap().unwrap(), b"old");
        assert_eq!(
            after.paths(),
            [at("file")],
            "a synced file without its name synced"
        );
        let after = disk.crash(Keep::Everything);
        assert_eq!(read_whole(&after, &at("file")).unwrap().unwrap(), b"new");
        assert_eq!(after.paths().len(), 2);
    }

    #[test]
    fn a_failed_sync_lies_the_second_time() {
        let disk = Memory::default();
        replace(&disk, &at("file"), b"old").unwrap();
        let file = disk.open(&at("file"), Open::Existing).unwrap();
        file.write_at(0, b"new").unwrap();
        disk.fail_next_sync("file");
        assert!(file.sync().is_err());
        assert_eq!(disk.content(&at("file")).unwrap(), b"new");
        let after = disk.crash(Keep::Everything);
        assert_eq!(after.content(&at("file")).unwrap(), b"old");
    }

    #[test]
    fn a_replacement_is_old_or_new_and_never_between() {
        for seed in 0..200 {
            let disk = Memory::default();
            replace(&disk, &at("file"), &[1; 4000]).unwrap();
            let temporary = disk.open(&at("file.new"), Open::New).unwrap();
            temporary.write_at(0, &[2; 4000]).unwrap();
            temporary.sync().unwrap();
            disk.rename(&at("file.new"), &at("file")).unwrap();
            let found = disk.crash(Keep::Some(seed)).content(&at("file")).unwrap();
            assert!(found == [1; 4000] || found == [2; 4000]);
        }
    }
}
