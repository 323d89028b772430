//! How often the metadata of one issuer is fetched. Pure: the time and the draws are arguments.
//!
//! Nothing wakes the machine for it. A look is due from some moment on, and is taken when an account of
//! that issuer is in use or was renewed after that moment: then the machine is awake, and the provider is
//! spoken to anyway.

use std::time::Duration;

use authd_core::time::Boot;

/// The least distance of two looks that nobody asked for, ...
const DAY: Duration = Duration::from_secs(24 * 3600);
/// ... and at most so much more: those who logged in together do not ask together.
const SPREAD: Duration = Duration::from_secs(4 * 3600);
/// A fetch that failed is tried again after this.
const AFTER_FAILURE: Duration = Duration::from_secs(3600);
/// Where the provider refuses the client or the request, it is looked at no more often than such an
/// exchange is tried.
const BETWEEN_REFUSALS: Duration = Duration::from_secs(1800);

/// What makes a look worth while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// An account is in use, or was renewed, or that was tried.
    InUse,
    /// The provider refused the client or the request: its metadata may say why.
    Refused,
}

/// Of one issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    due: Boot,
    looked: Option<Boot>,
}

impl Pace {
    /// The latest look was so long ago, in this run of the daemon or an earlier one; `None`: there was
    /// none. `draw` is of 0 to 1.
    pub(super) fn since(ago: Option<Duration>, now: Boot, draw: f64) -> Self {
        let left = ago.map_or(Duration::ZERO, |ago| spread(draw).saturating_sub(ago));
        Self {
            due: now.after(left),
            looked: None,
        }
    }

    /// Whether to look now.
    pub(super) fn is_due(&self, occasion: Occasion, now: Boot) -> bool {
        match occasion {
            Occasion::InUse => self.due <= now,
            Occasion::Refused => self
                .looked
                .is_none_or(|looked| now.since(looked) >= BETWEEN_REFUSALS),
        }
    }

    /// A look is over; `saw` says whether there was something to be seen.
    pub(super) fn looked(&mut self, saw: bool, now: Boot, draw: f64) {
        self.looked = Some(now);
        self.due = now.after(if saw { spread(draw) } else { AFTER_FAILURE });
    }
}

fn spread(draw: f64) -> Duration {
    DAY + SPREAD.mul_f64(draw.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Boot = Boot(100_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn due_after(pace: Pace, occasion: Occasion) -> Duration {
        let mut waited = Duration::ZERO;
        while !pace.is_due(occasion, NOW.after(waited)) {
            waited += HOUR / 2;
            assert!(waited < 100 * HOUR, "never");
        }
        waited
    }

    #[test]
    fn an_issuer_that_is_in_use_is_looked_at_daily_at_most_and_not_by_all_at_once() {
        let mut pace = Pace::since(None, NOW, 0.5);
        assert_eq!(due_after(pace, Occasion::InUse), Duration::ZERO);
        for (draw, hours) in [(0.0, 24), (0.5, 26), (1.0, 28)] {
            pace.looked(true, NOW, draw);
            assert_eq!(due_after(pace, Occasion::InUse), hours * HOUR);
        }
    }

    #[test]
    fn a_look_of_an_earlier_run_counts() {
        for (hours_ago, hours) in [(0, 25), (1, 24), (20, 5), (25, 0), (1000, 0)] {
            let pace = Pace::since(Some(hours_ago * HOUR), NOW, 0.25);
            assert_eq!(due_after(pace, Occasion::InUse), hours * HOUR);
        }
    }

    #[test]
    fn what_could_not_be_fetched_is_tried_again_after_an_hour() {
        let mut pace = Pace::since(None, NOW, 0.0);
        pace.looked(false, NOW, 1.0);
        assert_eq!(due_after(pace, Occasion::InUse), HOUR);
    }

    #[test]
    fn a_refusal_is_looked_into_at_the_pace_of_the_tries() {
        let mut pace = Pace::since(Some(HOUR), NOW, 0.0);
        assert_eq!(due_after(pace, Occasion::Refused), Duration::ZERO);
        for saw in [true, false] {
            pace.looked(saw, NOW, 0.0);
            assert_eq!(due_after(pace, Occasion::Refused), HOUR / 2);
        }
    }
}
