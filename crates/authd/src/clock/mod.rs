//! The clocks of the engine, and an alarm that rings through suspend.
//!
//! The daemon is given its [`Clock`] when it is made, so that a test can run all of it on a clock of
//! its own. There is no other way to change it: nothing in the environment, nothing on the socket.

mod driven;

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(target_os = "macos", path = "macos.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;

#[cfg(not(target_os = "linux"))]
mod recheck;

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use authd_core::time::{Boot, BootId, Now, Wall};

pub use driven::{Alarms, DrivenClock};

/// Where the daemon reads the time. Clones share one clock.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's own.
    System,
    /// One that a test drives.
    Driven(DrivenClock),
}

/// How much further the clock that counts suspend must have gone than the one that does not for the
/// machine to have slept. No machine sleeps for less.
const SLEPT: Duration = Duration::from_secs(1);

/// Longest sleep of a clock that may stand still in suspend: the engine's clock is looked at again at
/// least so often after a wake.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

impl Clock {
    /// Both clocks of the engine.
    #[inline]
    pub(crate) fn now(&self) -> Now {
        match self {
            Self::System => Now {
                boot: system::boot(),
                wall: wall(),
            },
            Self::Driven(clock) => clock.now(),
        }
    }

    /// The calendar in whole Unix seconds, as the wire has it.
    pub(crate) fn unix_now(&self) -> u64 {
        u64::try_from(self.now().wall.unix_secs()).unwrap_or(0)
    }

    /// Which boot of the machine this is. Where the system does not say, no two processes share one,
    /// so that times of another process are compared by the calendar.
    pub(crate) fn boot_id(&self) -> BootId {
        match self {
            Self::System => system::boot_id().unwrap_or_else(random_boot_id),
            Self::Driven(clock) => clock.boot_id(),
        }
    }

    /// An alarm that is not set.
    ///
    /// # Errors
    /// When the system has no timer to give.
    pub(crate) fn alarm(&self) -> io::Result<Alarm> {
        Ok(match self {
            Self::System => Alarm::System(system::Alarm::new()?),
            Self::Driven(clock) => Alarm::Driven(clock.alarm()),
        })
    }

    /// For how long the machine has been awake: the clock that stands still in suspend.
    fn awake(&self) -> Duration {
        match self {
            Self::System => system::awake(),
            Self::Driven(clock) => clock.awake(),
        }
    }
}

/// Rings when a moment of the engine's clock has come, or when somebody set the calendar.
pub(crate) enum Alarm {
    System(system::Alarm),
    Driven(driven::Alarm),
}

impl Alarm {
    /// Rings at `at`, or never.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn set(&mut self, at: Option<Boot>) -> io::Result<()> {
        match self {
            Self::System(alarm) => alarm.set(at),
            Self::Driven(alarm) => {
                alarm.set(at);
                Ok(())
            }
        }
    }

    /// Waits until it rings; or, where the system tells nothing, until it is time to look at the clock
    /// again.
    ///
    /// # Errors
    /// When the runtime cannot watch the timer.
    pub(crate) async fn rings(&mut self) -> io::Result<()> {
        match self {
            Self::System(alarm) => alarm.rings().await,
            Self::Driven(alarm) => {
                alarm.rings().await;
                Ok(())
            }
        }
    }
}

/// For how long the runtime's clock may sleep until `at`.
fn until_recheck(at: Boot, now: Boot) -> Duration {
    at.since(now).min(LONGEST_SLEEP)
}

/// Notices, where nobody says so, that the machine slept: one clock went on and the other did not.
pub(crate) struct Sleep {
    clock: Clock,
    /// By how much the first was ahead of the second at most.
    ahead: Duration,
}

impl Sleep {
    pub(crate) fn new(clock: Clock) -> Self {
        let ahead = Self::ahead(&clock);
        Self { clock, ahead }
    }

    /// Whether it slept since the last look.
    pub(crate) fn is_over(&mut self) -> bool {
        let ahead = Self::ahead(&self.clock);
        let slept = ahead.saturating_sub(self.ahead) >= SLEPT;
        self.ahead = self.ahead.max(ahead);
        slept
    }

    fn ahead(clock: &Clock) -> Duration {
        // In this order a process that is held up between the two takes the first for less far ahead
        // than it is, never for further.
        let boot = clock.now().boot;
        Duration::from_millis(boot.0).saturating_sub(clock.awake())
    }
}

fn wall() -> Wall {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Wall(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    })
}

fn random_boot_id() -> BootId {
    let mut bytes = [0; 16];
    // Without randomness the wall clock tells processes apart well enough for this purpose.
    if getrandom::fill(&mut bytes).is_err() {
        bytes[..8].copy_from_slice(&wall().0.to_le_bytes());
    }
    BootId(u128::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_alarm_rings_at_its_moment_and_not_before() {
        let clock = Clock::System;
        let mut alarm = clock.alarm().unwrap();
        let at = clock.now().boot.after(Duration::from_millis(30));
        alarm.set(Some(at)).unwrap();
        alarm.rings().await.unwrap();
        assert!(clock.now().boot >= at);
        alarm.set(Some(Boot(1))).unwrap();
        alarm.rings().await.unwrap();
    }

    #[test]
    fn one_boot_has_one_id_and_its_clock_goes_forward() {
        let clock = Clock::System;
        let earlier = clock.now();
        let same = clock.boot_id() == clock.boot_id();
        assert_eq!(same, cfg!(target_os = "linux"));
        assert!(clock.now().boot >= earlier.boot);
    }

    #[test]
    fn a_machine_that_is_awake_has_not_slept() {
        let mut sleep = Sleep::new(Clock::System);
        assert!(!sleep.is_over());
    }

    #[test]
    fn sleep_is_noticed_once() {
        let driven = DrivenClock::at(Duration::from_secs(1_700_000_000), Alarms::ThroughSuspend);
        let mut sleep = Sleep::new(Clock::Driven(driven.clone()));
        driven.advance(Duration::from_secs(3600));
        driven.set_wall(Duration::from_secs(1_800_000_000));
        assert!(!sleep.is_over());
        driven.suspend(Duration::from_secs(2));
        assert!(sleep.is_over());
        assert!(!sleep.is_over());
    }
}
