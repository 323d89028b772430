//! The space that an answer will need, taken before the exchange leaves.
//!
//! Each exchange in flight has a slot: a file whose blocks are really allocated and synced. It holds
//! the sealed intent (so that intents survive the loss of the database too) and the sealed answer:
//! as a *copy* that is written beside the commit and not synced, so that the end of the process
//! together with a damaged database loses nothing and no commit waits for it; and, should the commit
//! fail, as a *kept* answer, synced and marked as such. A slot is given back once the answer stands
//! in the database and in the account's mirror. One that kept an answer is removed then; any other
//! is used again.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use authd_core::id::AttemptId;

use crate::{
    disk::{self, Disk, DiskFile, Open},
    seal::Name,
};

/// Where the answer begins; before it stand the intent and the mark.
const ANSWER_AT: u64 = 16 << 10;
/// Where the mark of a kept answer stands: a sector of its own.
const MARK_AT: u64 = ANSWER_AT - 512;
/// Says that the answer behind it was promised. Without it a torn one is a copy that did not get
/// to the disk before the power failed, of which nobody needs to hear.
const MARK: &[u8] = b"kept";
/// As much of something sealed as makes the rest worthless.
const HEAD: [u8; 64] = [0; 64];
/// The least that is reserved for an answer.
const ANSWER: u64 = 64 << 10;
/// Idle slots that are kept for the next exchanges.
const KEEP_IDLE: usize = 8;

struct Slot {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// An answer was kept in it: it is not used again.
    kept: bool,
    /// Whose answer may stand in it. A copy that outlives its account would bring it back.
    answer_of: Option<Name>,
}

/// What a slot file held when the store was opened.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) intent: Vec<u8>,
    pub(crate) answer: Vec<u8>,
    /// Whether the answer was promised.
    pub(crate) kept: bool,
}

/// All slots.
pub(crate) struct Spill {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    next: u32,
    idle: Vec<Slot>,
    taken: BTreeMap<AttemptId, Slot>,
    /// Files that could not be removed, or not durably.
    unremoved: Vec<PathBuf>,
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
            let mark_at = usize::try_from(MARK_AT).unwrap_or(usize::MAX);
            let mark = intent.get(mark_at..).unwrap_or_default();
            let kept = mark.starts_with(MARK);
            found.push(Found {
                path,
                intent,
                answer,
                kept,
            });
        }
        Ok((
            Self {
                disk,
                dir,
                next,
                idle: Vec::new(),
                taken: BTreeMap::new(),
                unremoved: Vec::new(),
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
        if intent.len() as u64 > MARK_AT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the intent is too large",
            ));
        }
        let size = ANSWER_AT + ANSWER.max(expected as u64 + expected as u64 / 2);
        while let Some(mut slot) = self.idle.pop() {
            let written = slot
                .file
                .allocate(size)
                .and_then(|()| slot.file.write_at(0, intent))
                .and_then(|()| slot.wipe_answer())
                .and_then(|()| slot.file.sync());
            match written {
                Ok(()) => {
                    slot.answer_of = None;
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

    /// Writes a copy of the answer into the attempt's slot, without a sync: it outlives the process,
    /// and often the power. Nobody is promised anything, so nothing can fail.
    pub(crate) fn copy_answer(&mut self, attempt: AttemptId, whose: Name, answer: &[u8]) {
        let Some(slot) = self.taken.get_mut(&attempt) else {
            return;
        };
        slot.answer_of = Some(whose);
        if let Err(error) = slot.file.write_at(ANSWER_AT, answer) {
            tracing::debug!(%attempt, %error, "the answer has no copy");
        }
    }

    /// Keeps an answer that the database did not take, durably: in the attempt's slot, or, when that
    /// fails, in a new file for which no space was reserved.
    pub(crate) fn keep_answer(
        &mut self,
        attempt: AttemptId,
        whose: Name,
        answer: &[u8],
    ) -> io::Result<()> {
        let keep = |file: &dyn DiskFile| {
            file.write_at(ANSWER_AT, answer)?;
            file.write_at(MARK_AT, MARK)
        };
        if let Some(slot) = self.taken.get_mut(&attempt) {
            (slot.kept, slot.answer_of) = (true, Some(whose));
            if keep(&*slot.file).and_then(|()| slot.file.sync()).is_ok() {
                return Ok(());
            }
        }
        let mut slot = self.new_slot(keep)?;
        (slot.kept, slot.answer_of) = (true, Some(whose));
        if let Some(failed) = self.taken.insert(attempt, slot) {
            self.remove(&failed.path);
        }
        Ok(())
    }

    /// Gives an attempt's slot back: its outcome stands elsewhere. `annulled` wipes the intent, which
    /// a later generation would otherwise outdate, and the copy of an answer that does not count.
    pub(crate) fn release(&mut self, attempt: AttemptId, annulled: bool) {
        let Some(mut slot) = self.taken.remove(&attempt) else {
            return;
        };
        let wiped = !annulled || slot.wipe().is_ok();
        if slot.kept || !wiped || self.idle.len() >= KEEP_IDLE {
            self.remove(&slot.path);
        } else {
            self.idle.push(slot);
        }
    }

    /// Removes an attempt's slot with all that is in it, durably.
    pub(crate) fn discard(&mut self, attempt: AttemptId) -> io::Result<()> {
        if let Some(slot) = self.taken.get(&attempt) {
            disk::remove(&*self.disk, &slot.path)?;
            self.taken.remove(&attempt);
        }
        Ok(())
    }

    /// Removes the slots that wait for their next use and may hold an answer of this account, and
    /// those of which that is not known, durably.
    pub(crate) fn forget(&mut self, whose: Name) -> io::Result<()> {
        while let Some(path) = self.unremoved.last() {
            disk::remove(&*self.disk, path)?;
            self.unremoved.pop();
        }
        while let Some(at) = self
            .idle
            .iter()
            .position(|slot| slot.answer_of == Some(whose))
        {
            disk::remove(&*self.disk, &self.idle[at].path)?;
            self.idle.remove(at);
        }
        Ok(())
    }

    /// Keeps a slot found at open because its intent still stands. An answer in it is torn or
    /// overtaken; it is wiped, or the next start would look at it again.
    pub(crate) fn adopt_intent(&mut self, attempt: AttemptId, path: &Path) -> io::Result<()> {
        let slot = self.existing(path)?;
        if let Err(error) = slot.wipe_answer() {
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
            kept: true,
            answer_of: None,
        })
    }

    /// Removes a slot's file. One that stays is read and dropped at the next start, or before an
    /// account is forgotten.
    pub(crate) fn remove(&mut self, path: &Path) {
        if let Err(error) = disk::remove(&*self.disk, path) {
            tracing::warn!(path = %path.display(), %error, "a spent spill file could not be removed");
            self.unremoved.push(path.to_owned());
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
                kept: false,
                answer_of: None,
            }),
            Err(error) => {
                drop(file);
                self.remove(&path);
                Err(error)
            }
        }
    }
}

impl Slot {
    /// Makes an answer worthless; durable after the next sync.
    fn wipe_answer(&self) -> io::Result<()> {
        self.file.write_at(ANSWER_AT, &HEAD)
    }

    /// Wipes intent and answer, durably.
    fn wipe(&mut self) -> io::Result<()> {
        self.file.write_at(0, &HEAD)?;
        if self.answer_of.is_some() {
            self.wipe_answer()?;
        }
        self.file.sync()?;
        self.answer_of = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::fault::{Faults, Faulty, Memory, Op, Rule};

    const DIR: &str = "/spill";
    const WORK: Name = Name([1; 32]);
    const HOME: Name = Name([2; 32]);

    struct Bench {
        memory: Memory,
        faults: Faults,
        spill: Spill,
    }

    impl Bench {
        fn new() -> Self {
            Self::on(Memory::default()).0
        }

        fn on(memory: Memory) -> (Self, Vec<Found>) {
            let faults = Faults::default();
            let disk = Arc::new(Faulty::new(memory.clone(), faults.clone()));
            let (spill, found) = Spill::open(disk, DIR.into()).unwrap();
            let bench = Self {
                memory,
                faults,
                spill,
            };
            (bench, found)
        }

        fn reserve(&mut self, attempt: u64) {
            self.spill
                .reserve(AttemptId(attempt), b"an intent", 0)
                .unwrap();
        }

        /// The numbers of the files there are.
        fn files(&self) -> Vec<u32> {
            let number = |path: PathBuf| path.file_stem()?.to_str()?.parse().ok();
            let mut numbers: Vec<_> = self.memory.paths().into_iter().filter_map(number).collect();
            numbers.sort_unstable();
            numbers
        }

        fn content(&self, number: u32) -> Vec<u8> {
            let path = Path::new(DIR).join(format!("{number}.spill"));
            self.memory.content(&path).unwrap()
        }
    }

    #[test]
    fn a_slot_has_room_for_the_answer_and_half_as_much_again() {
        let mut bench = Bench::new();
        for (expected, room) in [
            (0, 65_536),
            (43_690, 65_536),
            (43_692, 65_538),
            (200_000, 300_000),
        ] {
            bench.spill.reserve(AttemptId(1), b"x", expected).unwrap();
            let number = bench.files().pop().unwrap();
            assert_eq!(bench.content(number).len(), 16_384 + room, "{expected}");
            bench.spill.discard(AttemptId(1)).unwrap();
        }
    }

    #[test]
    fn an_intent_ends_before_the_mark() {
        let mut bench = Bench::new();
        let largest = vec![7; 16_384 - 512];
        bench.spill.reserve(AttemptId(1), &largest, 0).unwrap();
        bench
            .spill
            .keep_answer(AttemptId(1), WORK, b"an answer")
            .unwrap();
        let larger = [largest.as_slice(), &[7]].concat();
        let refused = bench.spill.reserve(AttemptId(2), &larger, 0).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        let (_, found) = Bench::on(bench.memory);
        let [found] = &found[..] else {
            panic!("one slot");
        };
        assert!(found.kept && found.intent.starts_with(&largest));
        assert!(found.answer.starts_with(b"an answer"));
    }

    #[test]
    fn eight_slots_wait_for_their_next_use_and_none_that_kept_an_answer() {
        let mut bench = Bench::new();
        for attempt in 0..10 {
            bench.reserve(attempt);
        }
        bench
            .spill
            .keep_answer(AttemptId(0), WORK, b"an answer")
            .unwrap();
        for attempt in 0..10 {
            bench.spill.release(AttemptId(attempt), false);
        }
        assert_eq!(bench.files(), [2, 3, 4, 5, 6, 7, 8, 9]);
        bench.reserve(10);
        assert_eq!(bench.files().len(), 8, "one of them is used again");
    }

    #[test]
    fn what_is_annulled_is_wiped_or_removed() {
        let mut bench = Bench::new();
        bench.reserve(1);
        bench.spill.copy_answer(AttemptId(1), WORK, &[9; 64]);
        bench.spill.release(AttemptId(1), true);
        let wiped = bench.content(1);
        assert_eq!(
            (&wiped[..64], &wiped[16_384..][..64]),
            (&HEAD[..], &HEAD[..])
        );

        bench.reserve(2);
        assert_eq!(bench.files(), [1]);
        bench.faults.add(Rule {
            ops: vec![Op::Write],
            ..Rule::disk_full()
        });
        bench.spill.release(AttemptId(2), true);
        assert!(bench.files().is_empty());
    }

    #[test]
    fn copies_of_an_account_are_forgotten_and_those_of_others_stay() {
        let mut bench = Bench::new();
        for (attempt, whose) in [(1, WORK), (2, HOME), (3, WORK)] {
            bench.reserve(attempt);
            bench
                .spill
                .copy_answer(AttemptId(attempt), whose, b"an answer");
        }
        // One of them was to be removed already, and could not be.
        bench.faults.add(Rule {
            ops: vec![Op::Remove],
            error: ErrorKind::Other,
            ..Rule::disk_full()
        });
        bench
            .spill
            .keep_answer(AttemptId(3), WORK, b"an answer")
            .unwrap();
        for attempt in 1..4 {
            bench.spill.release(AttemptId(attempt), false);
        }
        assert!(bench.spill.forget(WORK).is_err());
        assert_eq!(bench.files(), [1, 2, 3]);
        bench.faults.heal();
        bench.spill.forget(WORK).unwrap();
        assert_eq!(bench.files(), [2]);
    }

    #[test]
    fn what_is_found_keeps_its_slot_until_it_is_released() {
        let mut bench = Bench::new();
        for attempt in 1..3 {
            bench.reserve(attempt);
            bench
                .spill
                .keep_answer(AttemptId(attempt), WORK, b"an answer")
                .unwrap();
        }
        let (mut bench, found) = Bench::on(bench.memory);
        assert_eq!(found.len(), 2);
        bench
            .spill
            .adopt_intent(AttemptId(1), &found[0].path)
            .unwrap();
        bench
            .spill
            .adopt_answer(AttemptId(2), &found[1].path)
            .unwrap();
        assert!(
            bench.content(1)[16_384..].starts_with(&HEAD[..9]),
            "it is overtaken"
        );
        assert!(bench.content(2)[16_384..].starts_with(b"an answer"));
        bench.spill.release(AttemptId(2), false);
        assert_eq!(bench.files(), [1]);
        bench.spill.discard(AttemptId(1)).unwrap();
        assert!(bench.files().is_empty());
        bench.reserve(3);
        assert_eq!(bench.files(), [3], "no name is used twice");
    }
}
