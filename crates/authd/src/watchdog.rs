//! Signs of life for a service manager that restarts what hangs.
//!
//! One is given only when both threads that everything depends on have just done something for it: the
//! driver, whose alarm rings for it, and the store's, which the driver asks and whose answer comes through
//! the driver's mailbox. When either hangs, the signs stop. The network's thread is not asked: what it waits
//! for has deadlines of its own. Where nobody waits for signs, nothing is set and nothing wakes.

use std::time::Duration;

use authd_core::time::Boot;

use crate::{clock::Clock, service};

/// When the next sign is due, and whether the store's thread was asked for it.
pub(crate) struct Watchdog {
    clock: Clock,
    /// Between two signs; `None` when nobody waits for any.
    pause: Option<Duration>,
    next: Next,
}

enum Next {
    Due(Boot),
    /// The store's thread has not answered yet.
    Asked,
}

impl Watchdog {
    /// For a service manager that wants a sign at least every `interval`: it gets one each half of that.
    pub(crate) fn new(interval: Option<Duration>, clock: &Clock) -> Self {
        let pause = interval.map(|interval| interval / 2);
        Self {
            clock: clock.clone(),
            pause,
            next: Next::Due(clock.now().boot.after(pause.unwrap_or_default())),
        }
    }

    /// When the driver has to wake for it.
    pub(crate) fn due(&self) -> Option<Boot> {
        match self.next {
            Next::Due(at) => self.pause.map(|_| at),
            Next::Asked => None,
        }
    }

    /// Whether the store's thread is to be asked now.
    pub(crate) fn begin(&mut self) -> bool {
        let is_due = self.due().is_some_and(|at| self.clock.now().boot >= at);
        if is_due {
            self.next = Next::Asked;
        }
        is_due
    }

    /// It has answered, and the driver has heard it.
    pub(crate) fn tell(&mut self) {
        let Some(pause) = self.pause else { return };
        service::alive();
        self.next = Next::Due(self.clock.now().boot.after(pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Alarms, DrivenClock};

    #[test]
    fn a_sign_is_due_each_half_of_the_interval_and_only_after_the_answer() {
        let driven = DrivenClock::at(Duration::from_secs(1_700_000_000), Alarms::ThroughSuspend);
        let clock = Clock::Driven(driven.clone());
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(300)), &clock);
        let first = watchdog.due().unwrap();
        assert_eq!(first, clock.now().boot.after(Duration::from_secs(150)));
        assert!(!watchdog.begin(), "not yet");
        driven.advance(Duration::from_secs(150));
        assert!(watchdog.begin());
        driven.advance(Duration::from_secs(3600));
        assert!(!watchdog.begin(), "the store's thread has not answered");
        assert_eq!(watchdog.due(), None, "so there is nothing to wake for");
        watchdog.tell();
        let next = clock.now().boot.after(Duration::from_secs(150));
        assert_eq!(watchdog.due(), Some(next));
    }

    #[test]
    fn where_nobody_waits_nothing_wakes() {
        let mut watchdog = Watchdog::new(None, &Clock::System);
        assert_eq!(watchdog.due(), None);
        assert!(!watchdog.begin());
        watchdog.tell();
        assert_eq!(watchdog.due(), None);
    }
}
