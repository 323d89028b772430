//! A clock that a test drives: it stands still until it is moved, and it can sleep.

use std::{sync::Arc, time::Duration};

use authd_core::time::{Boot, BootId, Now, Wall};
use tokio::sync::watch;

use super::until_recheck;

/// How an alarm on the clock behaves in suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarms {
    /// As on Linux: one whose moment passed in suspend rings on waking, and one rings when the
    /// calendar is set.
    ThroughSuspend,
    /// As where the system tells nothing: a timer that stands still in suspend, looked at again every
    /// 30 s that the machine is awake.
    Rechecked,
}

/// What it shows.
#[derive(Clone, Copy, Debug)]
struct Times {
    now: Now,
    awake: Duration,
    /// How often the calendar was set.
    sets: u64,
}

/// A clock that a test drives, for [`Clock::Driven`](super::Clock::Driven). Clones share one time.
///
/// It stands in for all three clocks of a machine: the one that counts suspend, the one that does not,
/// and the calendar.
#[derive(Clone, Debug)]
pub struct DrivenClock {
    times: Arc<watch::Sender<Times>>,
    alarms: Alarms,
    boot_id: BootId,
}

impl DrivenClock {
    /// A machine that was just started, with the calendar at `since_epoch`.
    #[must_use]
    pub fn at(since_epoch: Duration, alarms: Alarms) -> Self {
        // Not at zero: what was before the first reading can be expressed.
        let awake = Duration::from_secs(1000);
        let times = Times {
            now: Now {
                boot: Boot(0).after(awake),
                wall: Wall(0).after(since_epoch),
            },
            awake,
            sets: 0,
        };
        Self {
            times: Arc::new(watch::Sender::new(times)),
            alarms,
            boot_id: super::random_boot_id(),
        }
    }

    /// Time passes: all three clocks go on.
    pub fn advance(&self, by: Duration) {
        self.times.send_modify(|times| {
            times.now.boot = times.now.boot.after(by);
            times.now.wall = times.now.wall.after(by);
            times.awake += by;
        });
    }

    /// The machine sleeps for so long and is awake again.
    pub fn suspend(&self, by: Duration) {
        self.times.send_modify(|times| {
            times.now.boot = times.now.boot.after(by);
            times.now.wall = times.now.wall.after(by);
        });
    }

    /// Somebody sets the calendar.
    pub fn set_wall(&self, since_epoch: Duration) {
        self.times.send_modify(|times| {
            times.now.wall = Wall(0).after(since_epoch);
            times.sets += 1;
        });
    }

    /// What the calendar shows, since the Unix epoch.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.now().wall.since(Wall(0))
    }

    pub(super) fn now(&self) -> Now {
        self.times.borrow().now
    }

    pub(super) fn awake(&self) -> Duration {
        self.times.borrow().awake
    }

    pub(super) fn boot_id(&self) -> BootId {
        self.boot_id
    }

    pub(super) fn alarm(&self) -> Alarm {
        Alarm {
            times: self.times.subscribe(),
            alarms: self.alarms,
            at: None,
            sets: self.times.borrow().sets,
        }
    }
}

/// An alarm on it.
pub(crate) struct Alarm {
    times: watch::Receiver<Times>,
    alarms: Alarms,
    at: Option<Boot>,
    /// The settings of the calendar that it has rung for.
    sets: u64,
}

impl Alarm {
    pub(super) fn set(&mut self, at: Option<Boot>) {
        self.at = at;
    }

    pub(super) async fn rings(&mut self) {
        let (at, sets) = (self.at, self.sets);
        let rung = match self.alarms {
            Alarms::ThroughSuspend => {
                let due = |times: &Times| at.is_some_and(|at| times.now.boot >= at);
                self.times
                    .wait_for(|times| due(times) || times.sets != sets)
                    .await
                    .map(|times| times.sets)
            }
            Alarms::Rechecked => {
                let Some(at) = at else {
                    return std::future::pending().await;
                };
                let until = {
                    let times = self.times.borrow();
                    times.awake + until_recheck(at, times.now.boot)
                };
                let rung = self.times.wait_for(|times| times.awake >= until).await;
                rung.map(|times| times.sets)
            }
        };
        match rung {
            Ok(sets) => self.sets = sets,
            // Nobody is left who could move it.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn clock(alarms: Alarms) -> (DrivenClock, Alarm) {
        let clock = DrivenClock::at(Duration::from_secs(1_700_000_000), alarms);
        let mut alarm = clock.alarm();
        alarm.set(Some(clock.now().boot.after(HOUR)));
        (clock, alarm)
    }

    fn has_rung(alarm: &mut Alarm) -> bool {
        alarm.rings().now_or_never().is_some()
    }

    #[test]
    fn through_suspend_it_rings_on_waking() {
        let (clock, mut alarm) = clock(Alarms::ThroughSuspend);
        assert!(!has_rung(&mut alarm));
        clock.suspend(HOUR);
        assert!(has_rung(&mut alarm));
    }

    #[test]
    fn a_calendar_that_is_set_rings_once() {
        let (clock, mut alarm) = clock(Alarms::ThroughSuspend);
        clock.set_wall(Duration::ZERO);
        assert!(has_rung(&mut alarm));
        assert!(!has_rung(&mut alarm));
    }

    #[test]
    fn rechecked_it_rings_half_a_minute_after_waking() {
        let (clock, mut alarm) = clock(Alarms::Rechecked);
        let mut rings = Box::pin(alarm.rings());
        assert!(rings.as_mut().now_or_never().is_none());
        clock.suspend(8 * HOUR);
        assert!(rings.as_mut().now_or_never().is_none());
        clock.advance(Duration::from_secs(29));
        assert!(rings.as_mut().now_or_never().is_none());
        clock.advance(Duration::from_secs(1));
        assert!(rings.as_mut().now_or_never().is_some());
    }
}
