//! What a provider's tokens taught about how long they really live.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::planted::{self, Bug};

/// Generations without a rejection until a shorter life is doubted again, at first, ...
const FIRST_PATIENCE: u32 = 16;
/// ... and at most: each time that the doubt proves wrong doubles it.
const MOST_PATIENCE: u32 = 1024;
/// Nothing shortens a life below this share of what the provider states.
const LEAST_SHARE: u32 = 4;
/// By this share of the stated life it grows again with each generation.
const RECOVERY: u32 = 16;

/// A life that is shorter than the provider states.
///
/// It grows again, slowly, when nobody complains any more; where that turns out to be wrong, it is
/// shortened at the first complaint and the next doubt comes twice as late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// What is believed.
    pub lifetime: Duration,
    /// What the provider states.
    pub stated: Duration,
    /// Generations since the last rejection.
    calm: u32,
    /// Generations without a rejection until it grows again.
    patience: u32,
}

impl Learned {
    /// A token that was to live for `stated` ended at `age` or before; `before` is what was known.
    /// Never less than a quarter of what is stated.
    #[must_use]
    pub fn from_end(before: Option<&Self>, stated: Duration, age: Duration) -> Self {
        let patience = before.map_or(FIRST_PATIENCE, |before| {
            before.patience.saturating_mul(2).min(MOST_PATIENCE)
        });
        let lifetime = match planted::is(Bug::LearnedLifetimeRunsToZero) {
            true => before.map_or(age, |before| before.lifetime) / 2,
            false => age.clamp(stated / LEAST_SHARE, stated),
        };
        Self {
            lifetime,
            stated,
            calm: 0,
            patience,
        }
    }

    /// A token of which the provider now states that it lives for `stated`: what to believe.
    #[must_use]
    pub fn believed(&self, stated: Duration) -> Duration {
        if planted::is(Bug::LearnedLifetimeRunsToZero) {
            return self.lifetime.min(stated);
        }
        self.lifetime.clamp(stated / LEAST_SHARE, stated)
    }

    /// A generation went by without a complaint. Returns whether there is still anything to remember.
    #[must_use]
    pub fn calm(&mut self, stated: Duration) -> bool {
        self.stated = stated;
        self.lifetime = self.believed(stated);
        self.calm = self.calm.saturating_add(1);
        if self.calm <= self.patience {
            return true;
        }
        let is_whole = self.lifetime == stated;
        self.lifetime = stated.min(self.lifetime.saturating_add(stated / RECOVERY));
        // Once it is whole again, the lesson is kept for as long as it was believed before.
        !is_whole || self.calm <= self.patience.saturating_mul(2).saturating_add(RECOVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_life_is_shortened_to_what_was_seen_and_never_below_a_quarter() {
        for (age, believed) in [(1800, 1800), (900, 900), (10, 900), (0, 900), (9999, 3600)] {
            let learned = Learned::from_end(None, HOUR, Duration::from_secs(age));
            assert_eq!(learned.lifetime, Duration::from_secs(believed), "at {age}");
        }
    }

    #[test]
    fn it_recovers_slowly_and_later_each_time() {
        let generations = |learned: &mut Learned| {
            let mut count = 0;
            while learned.lifetime < HOUR {
                assert!(learned.calm(HOUR));
                count += 1;
            }
            count
        };
        let mut learned = Learned::from_end(None, HOUR, HOUR / 2);
        assert_eq!(generations(&mut learned), 16 + 8);
        let mut again = Learned::from_end(Some(&learned), HOUR, HOUR / 2);
        assert_eq!(generations(&mut again), 32 + 8);
        let mut kept = 0;
        while again.calm(HOUR) {
            kept += 1;
        }
        assert!((32..=64).contains(&kept), "kept for {kept} more");
        let mut latest = again;
        for _ in 0..40 {
            latest = Learned::from_end(Some(&latest), HOUR, HOUR / 2);
        }
        assert_eq!(generations(&mut latest), 1024 + 8);
    }

    #[test]
    fn a_provider_that_states_another_life_is_heard() {
        let mut learned = Learned::from_end(None, HOUR, HOUR / 2);
        assert_eq!(learned.believed(HOUR / 4), HOUR / 4);
        assert_eq!(learned.believed(HOUR * 4), HOUR);
        assert!(learned.calm(HOUR * 4));
        assert_eq!((learned.lifetime, learned.stated), (HOUR, HOUR * 4));
    }
}
