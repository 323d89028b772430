//! How often something may happen: so often at once, and then one at a time.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use authd_core::time::{Boot, Now};

/// Fills by one in each `every`, up to `most`.
pub(crate) struct Limit {
    most: u32,
    every: Duration,
    state: Mutex<State>,
}

struct State {
    left: u32,
    /// Up to when what has come since is counted.
    filled_at: Boot,
}

impl Limit {
    /// A full one.
    pub(crate) fn new(most: u32, every: Duration, now: Now) -> Self {
        Self {
            most,
            every,
            state: Mutex::new(State {
                left: most,
                filled_at: now.boot,
            }),
        }
    }

    /// Takes one, or says after how long there will be one.
    pub(crate) fn take(&self, now: Now) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.boot.since(state.filled_at);
        let come = since.as_millis() / self.every.as_millis().max(1);
        let come = u32::try_from(come).unwrap_or(u32::MAX);
        if come >= self.most - state.left {
            state.left = self.most;
            state.filled_at = state.filled_at.max(now.boot);
        } else {
            state.left += come;
            state.filled_at = state.filled_at.after(self.every * come);
        }
        match state.left.checked_sub(1) {
            Some(left) => {
                state.left = left;
                Ok(())
            }
            None => Err(self.every.saturating_sub(now.boot.since(state.filled_at))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Now {
        Now {
            boot: Boot(millis),
            ..Now::default()
        }
    }

    #[test]
    fn so_many_at_once_and_then_one_at_a_time() {
        let limit = Limit::new(3, Duration::from_millis(100), at(1000));
        for _ in 0..3 {
            assert_eq!(limit.take(at(1000)), Ok(()));
        }
        assert_eq!(limit.take(at(1000)), Err(Duration::from_millis(100)));
        assert_eq!(limit.take(at(1099)), Err(Duration::from_millis(1)));
        assert_eq!(limit.take(at(1100)), Ok(()));
        // What is over of a step is not lost.
        assert!(limit.take(at(1150)).is_err());
        assert_eq!(limit.take(at(1200)), Ok(()));
        assert!(limit.take(at(1200)).is_err());
    }

    #[test]
    fn a_long_rest_gives_back_no_more_than_there_was() {
        let limit = Limit::new(2, Duration::from_millis(100), at(0));
        assert_eq!(limit.take(at(0)), Ok(()));
        for _ in 0..2 {
            assert_eq!(limit.take(at(u64::MAX)), Ok(()));
        }
        assert!(limit.take(at(u64::MAX)).is_err());
        // A clock that goes backwards gives nothing.
        assert!(limit.take(at(0)).is_err());
    }
}
