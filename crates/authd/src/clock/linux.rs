//! Linux: `CLOCK_BOOTTIME`, and timers that the kernel keeps through suspend.

use std::{io, os::fd::OwnedFd, time::Duration};

use authd_core::time::{Boot, BootId};
use rustix::{
    io::Errno,
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
        clock_gettime, timerfd_create, timerfd_settime,
    },
};
use tokio::io::unix::AsyncFd;

/// `CLOCK_BOOTTIME`: counts suspend.
#[inline]
pub(super) fn boot() -> Boot {
    let time = clock_gettime(ClockId::Boottime);
    let millis = time
        .tv_sec
        .saturating_mul(1000)
        .saturating_add(time.tv_nsec / 1_000_000);
    Boot(u64::try_from(millis).unwrap_or(0))
}

/// `CLOCK_MONOTONIC`: does not.
pub(super) fn awake() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

pub(super) fn boot_id() -> Option<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16)
        .ok()
        .map(BootId)
}

const NONE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Two timers. One on `CLOCK_BOOTTIME`: a machine that slept past the moment rings at once on waking,
/// where a timer of the runtime would wait for the rest of the time as if nothing had been. And one on
/// the calendar that never comes, but is cancelled when somebody sets the calendar.
pub(crate) struct Alarm {
    due: AsyncFd<OwnedFd>,
    set: AsyncFd<OwnedFd>,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let alarm = Self {
            due: timer(TimerfdClockId::Boottime)?,
            set: timer(TimerfdClockId::Realtime)?,
        };
        alarm.watch_the_calendar()?;
        Ok(alarm)
    }

    pub(super) fn set(&mut self, at: Option<Boot>) -> io::Result<()> {
        let it_value = at.map_or(NONE, |Boot(millis)| {
            // All zero would mean "never"; a moment long past rings at once just as well.
            let millis = i64::try_from(millis).unwrap_or(i64::MAX).max(1);
            Timespec {
                tv_sec: millis / 1000,
                tv_nsec: millis % 1000 * 1_000_000,
            }
        });
        let spec = Itimerspec {
            it_interval: NONE,
            it_value,
        };
        timerfd_settime(self.due.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }

    pub(super) async fn rings(&mut self) -> io::Result<()> {
        tokio::select! {
            due = rung(&self.due) => due,
            set = rung(&self.set) => {
                set?;
                self.watch_the_calendar()
            }
        }
    }

    /// Arms the second timer for the end of time, to be cancelled when the calendar is set.
    fn watch_the_calendar(&self) -> io::Result<()> {
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let spec = Itimerspec {
            it_interval: NONE,
            it_value: Timespec {
                tv_sec: i64::MAX,
                tv_nsec: 0,
            },
        };
        match timerfd_settime(self.set.get_ref(), flags, &spec) {
            // It was set between the ring and this: the engine looks at the clock after this anyway.
            Ok(_) | Err(Errno::CANCELED) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn timer(clock: TimerfdClockId) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(clock, flags)?;
    #[expect(
        unsafe_code,
        reason = "the runtime wants a promise about who owns the timer"
    )]
    // SAFETY: the runtime owns the descriptor from here on; nobody else can close it.
    let timer = unsafe { AsyncFd::register(timer)? };
    Ok(timer)
}

/// Waits until the timer has come, or was cancelled.
async fn rung(timer: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut ready = timer.readable().await?;
        let mut ticks = [0; 8];
        if has_rung(rustix::io::read(ready.get_inner(), &mut ticks))? {
            return Ok(());
        }
        ready.clear_ready();
    }
}

fn has_rung(read: Result<usize, Errno>) -> io::Result<bool> {
    match read {
        // `timerfd_create(2)`: cancelled means that the calendar was set.
        Ok(_) | Err(Errno::CANCELED) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_calendar_that_nobody_sets_rings_no_alarm() {
        let mut alarm = Alarm::new().unwrap();
        assert!(alarm.rings().now_or_never().is_none());
        alarm.watch_the_calendar().unwrap();
        assert!(alarm.rings().now_or_never().is_none());
    }

    #[test]
    fn a_timer_that_was_cancelled_has_rung() {
        assert!(has_rung(Err(Errno::CANCELED)).unwrap());
        assert!(has_rung(Ok(8)).unwrap());
        assert!(!has_rung(Err(Errno::AGAIN)).unwrap());
        assert!(has_rung(Err(Errno::BADF)).is_err());
    }

    #[test]
    fn the_clock_that_counts_suspend_is_not_behind_the_other() {
        let awake = awake();
        assert!(Duration::from_millis(boot().0 + 1) >= awake);
    }
}
