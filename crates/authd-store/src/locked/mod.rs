//! Where keys are kept in memory: in pages that are locked, left out of core files, empty in a forked child,
//! and enclosed by pages that nobody can touch.
//!
//! The whole process shares one arena of such pages, a few kilobytes that fit below every usual limit on
//! locked memory (`mlockall` would not: it locks whatever comes later as well, and what comes later then
//! fails). Where the system locks nothing, keys are kept all the same, and [`trouble`] says so.
//!
//! A key passes through the stack and through registers while it is used; nothing can lock those.
#![expect(
    unsafe_code,
    reason = "memory from the system, divided by hand; nothing outside this module touches it"
)]

mod pages;

use std::{
    io,
    ops::Deref,
    ptr::NonNull,
    sync::{Mutex, MutexGuard, PoisonError},
};

use zeroize::Zeroize as _;

use self::pages::Pages;

/// Bytes of a key.
const LENGTH: usize = 32;
/// Keys for which a run of pages has room: as many as `taken` has bits, and 4 KiB of them.
const ROOM: usize = u128::BITS as usize;

static ARENA: Mutex<Arena> = Mutex::new(Arena {
    runs: Vec::new(),
    refused: None,
});

/// A key of 256 bits in locked memory. Wiped when dropped; it cannot be printed, and is copied by
/// `clone` alone.
pub struct LockedKey(Place);

enum Place {
    /// A slot of the arena that belongs to this key alone.
    Slot(NonNull<[u8; LENGTH]>),
    /// The system gave no pages.
    Heap(Box<[u8; LENGTH]>),
}

// SAFETY: the slot is this key's alone, as a box would be.
unsafe impl Send for LockedKey {}
// SAFETY: through a shared reference the slot is only read.
unsafe impl Sync for LockedKey {}

impl LockedKey {
    /// A key that `fill` writes, into memory that is zero before.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn filled<E>(fill: impl FnOnce(&mut [u8; LENGTH]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self(match arena().take() {
            Some(slot) => Place::Slot(slot),
            None => Place::Heap(Box::new([0; LENGTH])),
        });
        fill(key.bytes())?;
        Ok(key)
    }

    /// A copy of these bytes, which stay the caller's to wipe.
    #[must_use]
    pub fn copied(bytes: &[u8; LENGTH]) -> Self {
        let copied = Self::filled(|key| {
            key.copy_from_slice(bytes);
            Ok::<_, std::convert::Infallible>(())
        });
        match copied {
            Ok(key) => key,
            Err(never) => match never {},
        }
    }

    fn bytes(&mut self) -> &mut [u8; LENGTH] {
        match &mut self.0 {
            // SAFETY: the slot is valid for as long as the process and this key's alone; it is borrowed
            // mutably with the key.
            Place::Slot(slot) => unsafe { slot.as_mut() },
            Place::Heap(bytes) => bytes,
        }
    }
}

impl Clone for LockedKey {
    fn clone(&self) -> Self {
        Self::copied(self)
    }
}

impl Deref for LockedKey {
    type Target = [u8; LENGTH];

    fn deref(&self) -> &[u8; LENGTH] {
        match &self.0 {
            // SAFETY: as in `bytes`, borrowed with the key.
            Place::Slot(slot) => unsafe { slot.as_ref() },
            Place::Heap(bytes) => bytes,
        }
    }
}

impl Drop for LockedKey {
    fn drop(&mut self) {
        self.bytes().zeroize();
        if let Place::Slot(slot) = self.0 {
            arena().give_back(slot);
        }
    }
}

/// Why keys are not in locked memory: `None` when they are.
#[must_use]
pub fn trouble() -> Option<io::ErrorKind> {
    let mut arena = arena();
    // Asked before there was a key: this finds out.
    if arena.runs.is_empty() && arena.refused.is_none() {
        arena.grow();
    }
    arena.refused
}

fn arena() -> MutexGuard<'static, Arena> {
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Arena {
    runs: Vec<Run>,
    /// What the system said when it did not lock, or did not give, what it was asked for.
    refused: Option<io::ErrorKind>,
}

/// Pages with room for [`ROOM`] keys. Kept until the process ends.
struct Run {
    pages: Pages,
    /// One bit for each slot.
    taken: u128,
}

impl Arena {
    fn take(&mut self) -> Option<NonNull<[u8; LENGTH]>> {
        if self.runs.iter().all(|run| run.taken == u128::MAX) {
            self.grow();
        }
        let run = self.runs.iter_mut().find(|run| run.taken != u128::MAX)?;
        let slot = run.taken.trailing_ones() as usize;
        run.taken |= 1 << slot;
        // SAFETY: `slot` is below ROOM, and the pages hold ROOM keys.
        Some(unsafe { run.pages.start().add(slot * LENGTH) }.cast())
    }

    fn grow(&mut self) {
        match Pages::map(ROOM * LENGTH) {
            Ok((pages, locked)) => {
                if let Err(error) = locked {
                    self.refused = Some(error.kind());
                }
                self.runs.push(Run { pages, taken: 0 });
            }
            Err(error) => self.refused = Some(error.kind()),
        }
    }

    /// Takes back a slot that was taken, and has been wiped.
    fn give_back(&mut self, slot: NonNull<[u8; LENGTH]>) {
        let address = slot.addr().get();
        for run in &mut self.runs {
            let slot = address.wrapping_sub(run.pages.start().addr().get()) / LENGTH;
            if slot < ROOM {
                run.taken &= !(1 << slot);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_apart_and_their_memory_is_wiped_before_another_gets_it() {
        // More than one run holds, and in any order.
        let keys: Vec<_> = (0..3 * ROOM)
            .map(|number| LockedKey::copied(&[u8::try_from(number % 251).unwrap(); LENGTH]))
            .collect();
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(**key, [u8::try_from(number % 251).unwrap(); LENGTH]);
        }
        let places: BTreeSet<_> = keys.iter().map(|key| key.as_ptr().addr()).collect();
        assert_eq!(places.len(), keys.len());
        drop(keys);
        let another = |_| {
            let key = LockedKey::filled(|bytes| {
                assert_eq!(*bytes, [0; LENGTH]);
                Ok::<_, ()>(())
            });
            key.unwrap()
        };
        let again: Vec<_> = places.iter().map(another).collect();
        let is_reused = |key: &LockedKey| places.contains(&key.as_ptr().addr());
        assert!(again.iter().any(is_reused), "nothing was given back");
    }

    #[test]
    fn what_is_given_back_is_taken_again_before_there_is_more_memory() {
        let mut arena = Arena {
            runs: Vec::new(),
            refused: None,
        };
        let take = |arena: &mut Arena| -> BTreeSet<_> {
            (0..2 * ROOM).map(|_| arena.take().unwrap()).collect()
        };
        let slots = take(&mut arena);
        assert_eq!((slots.len(), arena.runs.len()), (2 * ROOM, 2));
        for slot in &slots {
            arena.give_back(*slot);
        }
        assert!(arena.runs.iter().all(|run| run.taken == 0));
        assert_eq!(take(&mut arena), slots);
        assert_eq!(arena.runs.len(), 2);
    }

    #[test]
    fn a_key_that_is_not_filled_is_none() {
        assert!(LockedKey::filled(|_| Err(())).is_err());
    }

    /// What the kernel says of the memory that a key is in, and of its neighbours.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_keeps_keys_in_memory_and_out_of_core_files_and_children() {
        let key = LockedKey::copied(&[7; LENGTH]);
        let address = key.as_ptr().addr();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut ranges = Vec::new();
        for line in maps.lines() {
            if let Some((range, mode)) = line.split_once(' ')
                && let Some((start, end)) = range.split_once('-')
            {
                let number = |text| usize::from_str_radix(text, 16);
                if let (Ok(start), Ok(end)) = (number(start), number(end)) {
                    ranges.push((start..end, mode[..4].to_owned(), String::new()));
                }
            } else if let Some(flags) = line.strip_prefix("VmFlags:") {
                ranges.last_mut().unwrap().2 = format!("{flags} ");
            }
        }
        let at = ranges
            .iter()
            .position(|(range, ..)| range.contains(&address))
            .unwrap();
        let (range, _, flags) = &ranges[at];
        assert_eq!(trouble(), None, "this machine locks a page");
        for flag in [" lo ", " dd ", " wf "] {
            assert!(flags.contains(flag), "{flag} in {flags}");
        }
        let (before, after) = (&ranges[at - 1], &ranges[at + 1]);
        assert_eq!((before.0.end, &*before.1), (range.start, "---p"));
        assert_eq!((after.0.start, &*after.1), (range.end, "---p"));
    }
}
