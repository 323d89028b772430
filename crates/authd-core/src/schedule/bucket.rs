//! A token bucket whose rate falls when the host says "too many" and recovers slowly (AIMD).

use std::time::Duration;

use crate::time::Boot;

/// Exchanges a second at most, in the steady state.
const FULL_RATE: f64 = 10.0;
/// Slowest rate that a row of 429s can lead to.
const LEAST_RATE: f64 = 0.1;
/// Exchanges that may leave at once after a rest.
const BURST: f64 = 32.0;
/// When to ask again for what can be spared.
const SPARE_PAUSE: Duration = Duration::from_secs(30);
/// How much each success gives back.
const RECOVERY: f64 = 0.2;

/// One host's rate.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    rate: f64,
    level: f64,
    filled_at: Boot,
}

impl Bucket {
    pub(super) fn full(now: Boot) -> Self {
        Self {
            rate: FULL_RATE,
            level: BURST,
            filled_at: now,
        }
    }

    fn fill(&mut self, now: Boot) {
        let elapsed = now.since(self.filled_at).as_secs_f64();
        // The burst shrinks with the rate: a host that complained is not stormed after a rest.
        let most = (BURST * self.rate / FULL_RATE).max(1.0);
        self.level = (self.level + elapsed * self.rate).min(most);
        self.filled_at = self.filled_at.max(now);
    }

    /// Takes one, or says when there will be one.
    pub(super) fn take(&mut self, now: Boot) -> Result<(), Boot> {
        self.fill(now);
        if self.level >= 1.0 {
            self.level -= 1.0;
            Ok(())
        } else {
            let wait = Duration::from_secs_f64((1.0 - self.level) / self.rate);
            // A millisecond more, so that rounding down does not wake us a hair too early.
            Err(now.after(wait + Duration::from_millis(1)))
        }
    }

    /// Takes one if it leaves at least half for what is more pressing, or says when to ask again.
    pub(super) fn take_spare(&mut self, now: Boot) -> Result<(), Boot> {
        self.fill(now);
        let kept = (BURST * self.rate / FULL_RATE).max(1.0) / 2.0;
        if self.level >= kept + 1.0 {
            self.level -= 1.0;
            return Ok(());
        }
        // No hurry: whoever asks for so little is not to wake the machine for each token.
        Err(now.after(SPARE_PAUSE))
    }

    pub(super) fn throttled(&mut self) {
        self.rate = (self.rate / 2.0).max(LEAST_RATE);
        self.level = self.level.min(1.0);
    }

    pub(super) fn succeeded(&mut self) {
        self.rate = (self.rate + RECOVERY).min(FULL_RATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_within(bucket: &mut Bucket, from: u64, millis: u64) -> usize {
        (from..from + millis)
            .filter(|at| bucket.take(Boot(*at)).is_ok())
            .count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::full(Boot(0));
        assert_eq!(taken_within(&mut bucket, 0, 1), 1);
        assert_eq!(taken_within(&mut bucket, 1, 1000), 41);
        assert_eq!(taken_within(&mut bucket, 1001, 10_000), 100);
    }

    #[test]
    fn complaints_halve_the_rate_and_successes_restore_it() {
        let mut bucket = Bucket::full(Boot(0));
        (0..3).for_each(|_| bucket.throttled());
        assert_eq!(taken_within(&mut bucket, 0, 8100), 11);
        (0..60).for_each(|_| bucket.succeeded());
        taken_within(&mut bucket, 8000, 10_000);
        assert_eq!(taken_within(&mut bucket, 18_000, 10_000), 100);
    }

    #[test]
    fn a_host_that_complained_is_not_stormed_after_a_rest() {
        let mut bucket = Bucket::full(Boot(0));
        (0..3).for_each(|_| bucket.throttled());
        let at_once = (0..).take_while(|_| bucket.take(Boot(3_600_000)).is_ok());
        assert_eq!(at_once.count(), 4, "an eighth of the burst");
    }

    #[test]
    fn the_promised_moment_is_not_later_than_it_must_be() {
        let mut bucket = Bucket::full(Boot(0));
        while bucket.take(Boot(0)).is_ok() {}
        assert_eq!(bucket.take(Boot(60)), Err(Boot(101)));
    }

    #[test]
    fn the_promised_moment_holds() {
        let mut bucket = Bucket::full(Boot(0));
        (0..20).for_each(|_| bucket.throttled());
        bucket.take(Boot(0)).unwrap();
        let promised = bucket.take(Boot(0)).unwrap_err();
        assert!(bucket.take(promised).is_ok());
    }
}
