//! Revocations owed to providers (RFC 7009): tried until they are settled.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;

use crate::time::Boot;

const FIRST_WAIT: Duration = Duration::from_secs(30);
/// A refusal that nobody mends is repeated for ever, so not often.
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);
/// Tries under way at most: what many logouts owe does not leave in one storm.
const AT_ONCE: usize = 8;

/// All that are owed.
#[derive(Debug, Default)]
pub(super) struct Revocations(BTreeMap<u64, Owed>);

#[derive(Debug)]
struct Owed {
    tries: u32,
    /// `None` while a try is under way.
    due: Option<Boot>,
}

impl Revocations {
    pub(super) fn owe(&mut self, id: u64, now: Boot) {
        self.0.entry(id).or_insert(Owed {
            tries: 0,
            due: Some(now),
        });
    }

    pub(super) fn tried(&mut self, id: u64, settled: bool, now: Boot, rng: &mut Rng) {
        if settled {
            self.0.remove(&id);
        } else if let Some(owed) = self.0.get_mut(&id) {
            let longest = FIRST_WAIT
                .saturating_mul(1 << owed.tries.min(10))
                .min(LONGEST_WAIT);
            owed.tries = owed.tries.saturating_add(1);
            owed.due = Some(now.after(longest.mul_f64(0.5 + 0.5 * rng.f64())));
        }
    }

    pub(super) fn hasten(&mut self, now: Boot) {
        for owed in self.0.values_mut() {
            owed.due = owed.due.map(|due| due.min(now));
        }
    }

    fn free(&self) -> usize {
        let under_way = self.0.values().filter(|owed| owed.due.is_none()).count();
        AT_ONCE.saturating_sub(under_way)
    }

    /// The next moment at which [`Revocations::due`] would give one; `None` while enough are under
    /// way, for then the end of a try is what it waits for.
    pub(super) fn wakes_at(&self) -> Option<Boot> {
        let due = self.0.values().filter_map(|owed| owed.due).min();
        due.filter(|_| self.free() > 0)
    }

    /// Takes those whose time has come.
    pub(super) fn due(&mut self, now: Boot) -> impl Iterator<Item = u64> {
        let free = self.free();
        self.0
            .iter_mut()
            .filter_map(move |(id, owed)| owed.due.take_if(|due| *due <= now).map(|_| *id))
            .take(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_is_tried_until_it_is_settled() {
        let mut revocations = Revocations::default();
        let mut rng = Rng::with_seed(1);
        revocations.owe(7, Boot(0));
        let mut now = Boot(0);
        for _ in 0..12 {
            assert_eq!(revocations.due(now).collect::<Vec<_>>(), [7]);
            assert_eq!(revocations.wakes_at(), None, "one try at a time");
            revocations.tried(7, false, now, &mut rng);
            let next = revocations.wakes_at().unwrap();
            assert!(next > now && next <= now.after(LONGEST_WAIT));
            now = next;
        }
        revocations.hasten(Boot(0));
        assert_eq!(revocations.wakes_at(), Some(Boot(0)));
        assert_eq!(revocations.due(now).count(), 1);
        revocations.tried(7, true, now, &mut rng);
        assert_eq!(revocations.wakes_at(), None);
    }

    #[test]
    fn tries_come_at_growing_distance_and_never_in_haste() {
        let mut rng = Rng::with_seed(1);
        for id in 0..50 {
            let mut revocations = Revocations::default();
            revocations.owe(id, Boot(0));
            for longest in [
                30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600, 21600,
            ] {
                assert_eq!(revocations.due(Boot(u64::MAX)).count(), 1);
                revocations.tried(id, false, Boot(0), &mut rng);
                let wait = revocations.wakes_at().unwrap().since(Boot(0));
                let longest = Duration::from_secs(longest);
                assert!(wait >= longest / 2 && wait <= longest, "{wait:?}");
            }
        }
    }

    #[test]
    fn many_are_not_tried_all_at_once() {
        let mut revocations = Revocations::default();
        (0..20).for_each(|id| revocations.owe(id, Boot(0)));
        assert_eq!(revocations.due(Boot(0)).count(), AT_ONCE);
        assert_eq!(revocations.due(Boot(0)).count(), 0);
        assert_eq!(revocations.wakes_at(), None);
        revocations.tried(3, true, Boot(0), &mut Rng::with_seed(1));
        assert_eq!(revocations.wakes_at(), Some(Boot(0)));
        assert_eq!(revocations.due(Boot(0)).collect::<Vec<_>>(), [8]);
    }
}
