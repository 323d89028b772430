//! Time as an argument: the server's clock is the machine's, or one that a test drives.
//!
//! Lifetimes, leeway, device intervals and the `Date` header follow this clock, so a test expires a
//! token by moving the clock, not by waiting. Delays that a fault injects are real time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Where the server reads the time. Clones share one clock.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's wall clock.
    #[default]
    Real,
    /// A clock that stands still until it is moved.
    Manual(ManualClock),
}

impl Clock {
    /// The time since the Unix epoch.
    pub fn now(&self) -> Duration {
        match self {
            Self::Real => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            Self::Manual(clock) => clock.now(),
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self::Manual(clock)
    }
}

/// A clock that moves only when told to. Clones share one time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Duration>>);

impl ManualClock {
    /// A clock that stands at `since_epoch`.
    pub fn at(since_epoch: Duration) -> Self {
        Self(Arc::new(Mutex::new(since_epoch)))
    }

    /// A clock that stands at the machine's present time.
    pub fn starting_now() -> Self {
        Self::at(Clock::Real.now())
    }

    /// The time it shows, since the Unix epoch.
    pub fn now(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the clock forward by `by`; it stops at the greatest time a `Duration` can hold.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.saturating_add(by);
    }

    /// Sets the clock, backward too: a wall clock that jumps.
    pub fn set(&self, since_epoch: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since_epoch;
    }
}
