//! Many durations, and the one that speaks for them.

use std::time::Duration;

/// Durations of the same thing, measured again and again.
#[derive(Default)]
pub(super) struct Sample(Vec<Duration>);

impl Sample {
    pub(super) fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub(super) fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// The duration that `percent` of all do not exceed; zero when there are none.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_members_of_the_sample() {
        let mut sample = Sample::default();
        for millis in [5, 1, 4, 2, 3] {
            sample.push(Duration::from_millis(millis));
        }
        assert_eq!(sample.median(), Duration::from_millis(3));
        assert_eq!(sample.percentile(99), Duration::from_millis(5));
        assert_eq!(Sample::default().median(), Duration::ZERO);
    }
}
