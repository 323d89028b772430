//! Revocations owed to providers (RFC 7009): tried until they are settled.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;

use crate::time::Boot;

const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

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

    pub(super) fn wakes_at(&self) -> Option<Boot> {
        self.0.values().filter_map(|owed| owed.due).min()
    }

    /// Takes those whose time has come.
    pub(super) fn due(&mut self, now: Boot) -> impl Iterator<Item = u64> {
        self.0
            .iter_mut()
            .filter_map(move |(id, owed)| owed.due.take_if(|due| *due <= now).map(|_| *id))
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
}
