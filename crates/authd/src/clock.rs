//! The two clocks of the engine, and an alarm that rings through suspend.

use authd_core::time::{BootId, Now, Wall};

/// Reads both clocks.
#[must_use]
pub(crate) fn now() -> Now {
    Now {
        boot: platform::boot(),
        wall: wall(),
    }
}

/// The calendar in whole Unix seconds, as the wire has it.
#[must_use]
pub(crate) fn unix_now() -> u64 {
    u64::try_from(wall().unix_secs()).unwrap_or(0)
}

fn wall() -> Wall {
    use std::time::{SystemTime, UNIX_EPOCH};
    let millis =
        |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Wall(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    })
}

/// Which boot of the machine this is. Where the system does not say, no two processes share one, so
/// that times of another process are compared by the calendar.
#[must_use]
pub(crate) fn boot_id() -> BootId {
    platform::boot_id().unwrap_or_else(|| {
        let mut bytes = [0; 16];
        // Without randomness the wall clock tells processes apart well enough for this purpose.
        if getrandom::fill(&mut bytes).is_err() {
            bytes[..8].copy_from_slice(&wall().0.to_le_bytes());
        }
        BootId(u128::from_le_bytes(bytes))
    })
}

pub(crate) use platform::Alarm;

#[cfg(target_os = "linux")]
mod platform {
    use std::{io, os::fd::OwnedFd};

    use authd_core::time::{Boot, BootId};
    use rustix::time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
        clock_gettime, timerfd_create, timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    /// `CLOCK_BOOTTIME`: counts suspend.
    pub(super) fn boot() -> Boot {
        let time = clock_gettime(ClockId::Boottime);
        let millis = time
            .tv_sec
            .saturating_mul(1000)
            .saturating_add(time.tv_nsec / 1_000_000);
        Boot(u64::try_from(millis).unwrap_or(0))
    }

    pub(super) fn boot_id() -> Option<BootId> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        u128::from_str_radix(&text.trim().replace('-', ""), 16)
            .ok()
            .map(BootId)
    }

    /// A timerfd on `CLOCK_BOOTTIME`: a machine that slept past the moment rings at once on waking,
    /// where a timer of the runtime would wait for the rest of the time as if nothing had been.
    pub(crate) struct Alarm(AsyncFd<OwnedFd>);

    impl Alarm {
        /// An alarm that is not set.
        ///
        /// # Errors
        /// When the system has no timer to give.
        pub(crate) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
            #[expect(
                unsafe_code,
                reason = "the runtime wants a promise about who owns the timer"
            )]
            // SAFETY: the runtime owns the descriptor from here on; nobody else can close it.
            let timer = unsafe { AsyncFd::register(timer)? };
            Ok(Self(timer))
        }

        /// Rings at `at`, or never.
        ///
        /// # Errors
        /// When the system refuses.
        pub(crate) fn set(&mut self, at: Option<Boot>) -> io::Result<()> {
            let none = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let it_value = at.map_or(none, |Boot(millis)| {
                // All zero would mean "never"; a moment long past rings at once just as well.
                let millis = i64::try_from(millis).unwrap_or(i64::MAX).max(1);
                Timespec {
                    tv_sec: millis / 1000,
                    tv_nsec: millis % 1000 * 1_000_000,
                }
            });
            let spec = Itimerspec {
                it_interval: none,
                it_value,
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)?;
            Ok(())
        }

        /// Waits until it rings.
        ///
        /// # Errors
        /// When the runtime cannot watch the timer.
        pub(crate) async fn rings(&mut self) -> io::Result<()> {
            loop {
                let mut ready = self.0.readable().await?;
                let mut ticks = [0; 8];
                match rustix::io::read(ready.get_inner(), &mut ticks) {
                    Ok(_) => return Ok(()),
                    Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::{
        io,
        sync::OnceLock,
        time::{Duration, Instant},
    };

    use authd_core::time::{Boot, BootId};

    /// Longest sleep of the runtime's clock, which may stand still in suspend: the engine's clock is
    /// looked at again at least so often after a wake.
    const LONGEST_SLEEP: Duration = Duration::from_secs(30);

    static START: OnceLock<Instant> = OnceLock::new();

    /// Counts from the first look: with a boot id of its own for each process that is enough. The
    /// wall clock, which counts suspend everywhere, ages a token that slept.
    pub(super) fn boot() -> Boot {
        let elapsed = START.get_or_init(Instant::now).elapsed();
        Boot(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn boot_id() -> Option<BootId> {
        None
    }

    /// A timer of the runtime, looked at again every 30 s.
    pub(crate) struct Alarm(Option<Boot>);

    impl Alarm {
        /// An alarm that is not set.
        ///
        /// # Errors
        /// None on this platform.
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self(None))
        }

        /// Rings at `at`, or never.
        ///
        /// # Errors
        /// None on this platform.
        pub(crate) fn set(&mut self, at: Option<Boot>) -> io::Result<()> {
            self.0 = at;
            Ok(())
        }

        /// Waits until it rings, or until it is time to look at the clock again.
        ///
        /// # Errors
        /// None on this platform.
        pub(crate) async fn rings(&mut self) -> io::Result<()> {
            match self.0 {
                None => std::future::pending().await,
                Some(at) => {
                    tokio::time::sleep(at.since(boot()).min(LONGEST_SLEEP)).await;
                    Ok(())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use authd_core::time::Boot;

    use super::*;

    #[tokio::test]
    async fn the_alarm_rings_at_its_moment_and_not_before() {
        let mut alarm = Alarm::new().unwrap();
        let at = now().boot.after(Duration::from_millis(30));
        alarm.set(Some(at)).unwrap();
        alarm.rings().await.unwrap();
        assert!(now().boot >= at);
        alarm.set(Some(Boot(1))).unwrap();
        alarm.rings().await.unwrap();
    }

    #[test]
    fn one_boot_has_one_id_and_its_clock_goes_forward() {
        let earlier = now();
        assert_eq!(boot_id() == boot_id(), cfg!(target_os = "linux"));
        assert!(now().boot >= earlier.boot);
    }
}
