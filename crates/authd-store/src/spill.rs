//! The space that an answer will need, taken before the exchange leaves.
//!
//! Each exchange in flight has a slot: a file whose blocks are really allocated and synced. It holds
//! the sealed intent (so that intents survive the loss of the database too) and, should the commit
//! fail, the sealed answer. A slot that was never spilled into is used again; one that was is
//! removed once its answer stands in the database.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use authd_core::id::AttemptId;

use crate::disk::{self, Disk, DiskFile, Open};

/// Where the answer begins; before it stands the intent.
const ANSWER_AT: u64 = 16 << 10;
/// The least that is reserved for an answer.
const ANSWER: u64 = 64 << 10;
/// Idle slots that are kept for the next exchanges.
const KEEP_IDLE: usize = 8;

struct Slot {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    holds_answer: bool,
}

/// What a slot file held when the store was opened.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) intent: Vec<u8>,
    pub(crate) answer: Vec<u8>,
}

/// All slots.
pub(crate) struct Spill {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    next: u32,
    idle: Vec<Slot>,
    taken: BTreeMap<AttemptId, Slot>,
}

impl Spill {
    /// Reads what an earlier process left. Nothing is removed yet.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<(Self, Vec<Found>)> {
        disk.make_dir(&dir)?;
        let mut found = Vec::new();
        let mut next = 1;
        for path in disk.list(&dir)? {
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse::<u32>().ok());
            let Some(number) = number else { continue };
            next = next.max(number.saturating_add(1));
            let mut intent = disk::read_whole(&*disk, &path)?.unwrap_or_default();
            let at = usize::try_from(ANSWER_AT)
                .unwrap_or(usize::MAX)
                .min(intent.len());
            let answer = intent.split_off(at);
            found.push(Found {
                path,
                intent,
                answer,
            });
        }
        Ok((
            Self {
                disk,
                dir,
                next,
                idle: Vec::new(),
                taken: BTreeMap::new(),
            },
            found,
        ))
    }

    /// Reserves a slot for an attempt and writes its intent there, durably. The slot has room for
    /// an answer of `expected` bytes and half as much again.
    pub(crate) fn reserve(
        &mut self,
        attempt: AttemptId,
        intent: &[u8],
        expected: usize,
    ) -> io::Result<()> {
        if intent.len() as u64 > ANSWER_AT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the intent is too large",
            ));
        }
        let size = ANSWER_AT + ANSWER.max(expected as u64 + expected as u64 / 2);
        while let Some(slot) = self.idle.pop() {
            let written = slot
                .file
                .allocate(size)
                .and_then(|()| slot.file.write_at(0, intent))
                .and_then(|()| slot.file.sync());
            match written {
                Ok(()) => {
                    self.taken.insert(attempt, slot);
                    return Ok(());
                }
                // A file whose sync failed is not synced again: a new one answers.
                Err(_) => self.remove(&slot.path),
            }
        }
        let slot = self.new_slot(|file| {
            file.allocate(size)?;
            file.write_at(0, intent)
        })?;
        self.taken.insert(attempt, slot);
        Ok(())
    }

    /// Keeps an answer that the database did not take, durably: in the attempt's slot, or, when that
    /// fails, in a new file for which no space was reserved.
    pub(crate) fn keep_answer(&mut self, attempt: AttemptId, answer: &[u8]) -> io::Result<()> {
        if let Some(slot) = self.taken.get_mut(&attempt) {
            slot.holds_answer = true;
            let kept = slot
                .file
                .write_at(ANSWER_AT, answer)
                .and_then(|()| slot.file.sync());
            if kept.is_ok() {
                return Ok(());
            }
        }
        let mut slot = self.new_slot(|file| file.write_at(ANSWER_AT, answer))?;
        slot.holds_answer = true;
        if let Some(failed) = self.taken.insert(attempt, slot) {
            self.remove(&failed.path);
        }
        Ok(())
    }

    /// Gives an attempt's slot back: its outcome stands in the database. `annulled` wipes the
    /// intent, which a later generation would otherwise outdate.
    pub(crate) fn release(&mut self, attempt: AttemptId, annulled: bool) {
        let Some(slot) = self.taken.remove(&attempt) else {
            return;
        };
        let wiped = !annulled
            || slot
                .file
                .write_at(0, &[0; 64])
                .and_then(|()| slot.file.sync())
                .is_ok();
        if slot.holds_answer || !wiped || self.idle.len() >= KEEP_IDLE {
            self.remove(&slot.path);
        } else {
            self.idle.push(slot);
        }
    }

    /// Keeps a slot found at open because its intent still stands. An answer in it is torn or
    /// overtaken; it is wiped, or the next start would look at it again.
    pub(crate) fn adopt_intent(&mut self, attempt: AttemptId, path: &Path) -> io::Result<()> {
        let slot = self.existing(path)?;
        if let Err(error) = slot.file.write_at(ANSWER_AT, &[0; 64]) {
            tracing::warn!(path = %path.display(), %error, "a spill file could not be wiped");
        }
        self.taken.insert(attempt, slot);
        Ok(())
    }

    /// Keeps a slot found at open because the database has not taken its answer yet.
    pub(crate) fn adopt_answer(&mut self, attempt: AttemptId, path: &Path) -> io::Result<()> {
        let slot = self.existing(path)?;
        self.taken.insert(attempt, slot);
        Ok(())
    }

    fn existing(&self, path: &Path) -> io::Result<Slot> {
        let file = self.disk.open(path, Open::Existing)?;
        Ok(Slot {
            path: path.to_owned(),
            file,
            holds_answer: true,
        })
    }

    /// Removes a slot's file. One that stays is read and dropped at the next start.
    pub(crate) fn remove(&self, path: &Path) {
        if let Err(error) = disk::remove(&*self.disk, path) {
            tracing::warn!(path = %path.display(), %error, "a spent spill file could not be removed");
        }
    }

    fn new_slot(&mut self, fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>) -> io::Result<Slot> {
        let path = self.dir.join(format!("{}.spill", self.next));
        self.next = self.next.saturating_add(1);
        let file = self.disk.open(&path, Open::New)?;
        let written = fill(&*file)
            .and_then(|()| file.sync())
            .and_then(|()| self.disk.sync_dir(&self.dir));
        match written {
            Ok(()) => Ok(Slot {
                path,
                file,
                holds_answer: false,
            }),
            Err(error) => {
                drop(file);
                self.remove(&path);
                Err(error)
            }
        }
    }
}
