//! Time as an argument.
//!
//! Two clocks come in with every event. *Boot* counts from the start of the machine and goes on
//! through suspend (`CLOCK_BOOTTIME`, `mach_continuous_time`, `QueryInterruptTime`); every decision
//! rests on it. *Wall* is the calendar; it serves to compare across boots, and to notice a clock
//! that was set. Both are milliseconds, and every operation saturates: a clock set ten years off
//! must not panic the daemon.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::planted::{self, Bug};

/// Milliseconds since the machine started, suspend included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Boot(pub u64);

/// Milliseconds since the Unix epoch; negative before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wall(pub i64);

/// Which boot of the machine a [`Boot`] counts from; two values of different boots do not compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootId(pub u128);

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// The clock that decisions rest on.
    pub boot: Boot,
    /// The calendar.
    pub wall: Wall,
}

/// A moment that survives a reboot, because it says which boot its `boot` belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The boot that `at.boot` counts from.
    pub boot_id: BootId,
    /// The moment.
    pub at: Now,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Boot {
    /// `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// `duration` before; `None` when the machine was not up then.
    #[must_use]
    pub fn before(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(millis(duration)).map(Self)
    }

    /// The time from `earlier` to `self`; zero when `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Wall {
    /// `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(millis(duration)))
    }

    /// The time from `earlier` to `self`; zero when `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole Unix seconds, rounded down: what the wire and the provider speak.
    #[must_use]
    pub fn unix_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// From whole Unix seconds.
    #[must_use]
    pub fn from_unix_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }
}

impl Stamp {
    /// How long ago this was, as far as can be told at `now` in the boot `boot_id`.
    ///
    /// Within one boot the larger of both clocks' answers wins, so an unexplained forward jump of
    /// the wall makes a token older (renewed early, harmless) and a backward jump is ignored.
    /// Across boots only the wall is left; `None` when it stands before the stamp, which says that
    /// the clock was set back and the age is not known.
    #[must_use]
    pub fn age(&self, now: Now, boot_id: BootId) -> Option<Duration> {
        if self.boot_id == boot_id && planted::is(Bug::ClockStopsInSuspend) {
            Some(now.boot.since(self.at.boot))
        } else if self.boot_id == boot_id {
            Some(
                now.boot
                    .since(self.at.boot)
                    .max(now.wall.since(self.at.wall)),
            )
        } else if now.wall >= self.at.wall {
            Some(now.wall.since(self.at.wall))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const DECADE_MS: i64 = 10 * 365 * 86_400_000;

    fn stamp() -> Stamp {
        Stamp {
            boot_id: BootId(1),
            at: Now {
                boot: Boot(1_000_000),
                wall: Wall(1_700_000_000_000),
            },
        }
    }

    fn later(boot_ms: u64, wall_ms: i64) -> Now {
        Now {
            boot: Boot(1_000_000 + boot_ms),
            wall: Wall(1_700_000_000_000 + wall_ms),
        }
    }

    #[test]
    fn within_a_boot_a_backward_wall_jump_changes_nothing() {
        assert_eq!(
            stamp().age(later(60_000, -DECADE_MS), BootId(1)),
            Some(MINUTE)
        );
    }

    #[test]
    fn within_a_boot_a_forward_wall_jump_ages_the_stamp() {
        let age = stamp().age(later(60_000, DECADE_MS), BootId(1)).unwrap();
        assert_eq!(age, Duration::from_millis(DECADE_MS as u64));
    }

    #[test]
    fn across_boots_the_wall_decides_and_admits_ignorance() {
        assert_eq!(stamp().age(later(0, 60_000), BootId(2)), Some(MINUTE));
        assert_eq!(stamp().age(later(0, -1), BootId(2)), None);
    }

    #[test]
    fn extremes_saturate() {
        assert_eq!(Boot(u64::MAX).after(MINUTE), Boot(u64::MAX));
        assert_eq!(Wall(i64::MAX).after(MINUTE), Wall(i64::MAX));
        assert_eq!(
            Wall(i64::MAX).since(Wall(i64::MIN)),
            Duration::from_millis(i64::MAX as u64)
        );
    }

    #[test]
    fn seconds_are_rounded_down_before_the_epoch_too() {
        for (millis, secs) in [(-1001, -2), (-1, -1), (0, 0), (1999, 1)] {
            assert_eq!(Wall(millis).unix_secs(), secs);
        }
    }
}
