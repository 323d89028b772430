//! How long to wait after a failure: full jitter, so that a thousand accounts do not come back in step.

use std::time::Duration;

use fastrand::Rng;

use crate::time::Boot;

/// Longest wait while the token is alive.
const LONGEST: Duration = Duration::from_secs(300);
/// Longest wait once it is expired and clients wait.
const EXPIRED_IN_DEMAND: Duration = Duration::from_secs(10);
/// Longest wait once it is expired and nobody waits.
const EXPIRED: Duration = Duration::from_secs(60);
/// Longest `Retry-After` that is obeyed.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Failures in a row, and the moments before which there is no further attempt: one that was drawn,
/// and one that was set and that no impatience moves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    drawn: Boot,
    held: Boot,
}

/// What a wait depends on besides the failures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Urgency {
    /// What is left of the token.
    pub(crate) remaining: Duration,
    /// Whether clients wait.
    pub(crate) in_demand: bool,
}

impl Urgency {
    /// The cap: an eighth of what is left, so that several attempts fit into it.
    fn longest(self) -> Duration {
        match (self.remaining.is_zero(), self.in_demand) {
            (true, true) => EXPIRED_IN_DEMAND,
            (true, false) => EXPIRED,
            (false, _) => LONGEST.min(self.remaining / 8).max(Duration::from_secs(1)),
        }
    }
}

impl Backoff {
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// No attempt before this.
    pub(crate) fn not_before(&self) -> Boot {
        self.drawn.max(self.held)
    }

    /// Counts a failure and draws the wait: uniform in 0 ..= min(1 s · 2ⁿ, cap).
    pub(crate) fn failed(&mut self, now: Boot, urgency: Urgency, rng: &mut Rng) {
        let exponential = Duration::from_secs(1 << self.failures.min(16));
        let longest = exponential.min(urgency.longest());
        self.failures = self.failures.saturating_add(1);
        self.drawn = now.after(longest.mul_f64(rng.f64()));
    }

    /// A client came to wait, or the token expired: a long wait that was drawn before is cut.
    pub(crate) fn hasten(&mut self, now: Boot, urgency: Urgency) {
        self.drawn = self.drawn.min(now.after(urgency.longest()));
    }

    /// No attempt before `until`, without counting a failure.
    pub(crate) fn hold(&mut self, until: Boot) {
        self.held = self.held.max(until);
    }

    /// The network came back: what was drawn before says nothing any more.
    pub(crate) fn forgive(&mut self) {
        (self.failures, self.drawn) = (0, Boot::default());
    }

    /// An exchange succeeded.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest_seen(failures: u32, urgency: Urgency) -> Duration {
        let mut rng = Rng::with_seed(7);
        (0..500)
            .map(|_| {
                let mut backoff = Backoff {
                    failures,
                    ..Backoff::default()
                };
                backoff.failed(Boot(0), urgency, &mut rng);
                backoff.not_before().since(Boot(0))
            })
            .max()
            .unwrap()
    }

    #[test]
    fn waits_double_up_to_a_cap_that_depends_on_what_is_left() {
        let hour = Urgency {
            remaining: Duration::from_secs(3600),
            in_demand: false,
        };
        let spent = Urgency {
            remaining: Duration::ZERO,
            in_demand: false,
        };
        let waited_for = Urgency {
            in_demand: true,
            ..spent
        };
        let short = Urgency {
            remaining: Duration::from_secs(40),
            in_demand: true,
        };
        for (failures, urgency, cap) in [
            (0, hour, 1),
            (3, hour, 8),
            (20, hour, 300),
            (u32::MAX, hour, 300),
            (20, spent, 60),
            (20, waited_for, 10),
            (20, short, 5),
        ] {
            let seen = longest_seen(failures, urgency).as_secs_f64();
            assert!(seen <= f64::from(cap), "{failures} failures: {seen} s");
            assert!(
                seen > 0.9 * f64::from(cap),
                "{failures} failures: never near {cap} s, {seen}"
            );
        }
    }

    #[test]
    fn a_waiting_client_cuts_a_long_wait_that_was_drawn_but_none_that_was_set() {
        let mut backoff = Backoff {
            drawn: Boot(60_000),
            ..Backoff::default()
        };
        let impatient = Urgency {
            remaining: Duration::ZERO,
            in_demand: true,
        };
        backoff.hasten(Boot(0), impatient);
        assert_eq!(backoff.not_before(), Boot(10_000));
        backoff.hold(Boot(60_000));
        backoff.hasten(Boot(0), impatient);
        backoff.forgive();
        assert_eq!(backoff.not_before(), Boot(60_000));
        backoff.reset();
        assert_eq!(backoff.not_before(), Boot(0));
    }
}
