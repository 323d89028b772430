//! A circuit breaker for a host that fails for everyone: one canary at a time until it answers.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    id::Account,
    planted::{self, Bug},
    time::Boot,
};

/// Failures in a row that open it, if they come from at least [`ACCOUNTS`] accounts.
const FAILURES: u32 = 5;
/// One account's failures never close the door for the others.
const ACCOUNTS: usize = 2;
/// Between canaries, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Between canaries after a wake: "up" is often said a moment before names resolve.
const FIRST_WAIT_OF_PROBE: Duration = Duration::from_secs(1);

/// Open or closed, with what led there.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    accounts: BTreeSet<Account>,
    /// `Some` when open: the wait between canaries, and when the next may leave.
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    wait: Duration,
    next_canary: Boot,
}

impl Breaker {
    /// Opens it for one immediate canary: after a wake, or when the network came back.
    pub(super) fn probe(&mut self, now: Boot) {
        self.open = Some(Open {
            wait: FIRST_WAIT_OF_PROBE,
            next_canary: now,
        });
    }

    /// Whether an exchange may leave; `in_flight` counts those to the same host that left since it
    /// opened.
    ///
    /// `soonest` is what the most pressing account can bear: a canary never waits longer than an
    /// eighth of what is left of its token, nor for one that hangs.
    pub(super) fn admit(
        &self,
        now: Boot,
        in_flight: usize,
        soonest: impl FnOnce() -> Boot,
    ) -> Result<(), Boot> {
        match self.open {
            Some(_) if planted::is(Bug::BreakerNeverCloses) => Err(now.after(LONGEST_WAIT)),
            None => Ok(()),
            Some(open) => {
                let soonest = soonest();
                let next = match in_flight {
                    0 => open.next_canary.min(soonest),
                    // What one account met says little: a second may try as well.
                    1 => soonest,
                    _ => return Err(Boot(u64::MAX)),
                };
                if now < next { Err(next) } else { Ok(()) }
            }
        }
    }

    /// Whether exchanges leave one at a time.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The host answered: whatever it said, it is there. Returns whether it was down before.
    pub(super) fn answered(&mut self) -> bool {
        let was_down = self.is_down();
        *self = Self::default();
        was_down
    }

    fn is_down(&self) -> bool {
        self.open.is_some() && self.failures >= FAILURES && self.accounts.len() >= ACCOUNTS
    }

    /// No answer, or a 5xx. Returns whether this opened it.
    pub(super) fn failed(&mut self, account: &Account, now: Boot) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.accounts.insert(account.clone());
        if let Some(open) = &mut self.open {
            open.next_canary = now.after(open.wait);
            open.wait = LONGEST_WAIT.min(open.wait * 2);
        } else if self.failures >= FAILURES && self.accounts.len() >= ACCOUNTS {
            self.open = Some(Open {
                wait: 2 * FIRST_WAIT,
                next_canary: now.after(FIRST_WAIT),
            });
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: fn() -> Boot = || Boot(u64::MAX);

    fn account(name: &str) -> Account {
        Account::new(name).unwrap()
    }

    #[test]
    fn inv_17_a_canary_that_hangs_holds_nobody_longer_than_they_can_bear() {
        let mut breaker = Breaker::default();
        breaker.probe(Boot(0));
        let bears = || Boot(900);
        assert_eq!(breaker.admit(Boot(0), 1, bears), Err(Boot(900)));
        assert_eq!(breaker.admit(Boot(900), 1, bears), Ok(()));
        assert_eq!(breaker.admit(Boot(900), 2, bears), Err(Boot(u64::MAX)));
        assert_eq!(breaker.admit(Boot(900), 1, NEVER), Err(Boot(u64::MAX)));
    }

    #[test]
    fn one_account_alone_never_opens_it() {
        let mut breaker = Breaker::default();
        for _ in 0..50 {
            assert!(!breaker.failed(&account("a"), Boot(0)));
        }
        assert_eq!(breaker.admit(Boot(0), 0, NEVER), Ok(()));
    }

    #[test]
    fn it_opens_sends_canaries_at_growing_distance_and_closes() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(&account("a"), Boot(0));
        }
        assert!(breaker.failed(&account("b"), Boot(0)));
        let mut now = Boot(0);
        for wait in [30, 60, 120, 240, 300, 300] {
            let canary = breaker.admit(now, 0, NEVER).unwrap_err();
            assert_eq!(canary, now.after(Duration::from_secs(wait)));
            assert_eq!(breaker.admit(canary, 0, NEVER), Ok(()));
            assert_eq!(
                breaker.admit(canary, 1, NEVER),
                Err(NEVER()),
                "one canary at a time"
            );
            breaker.failed(&account("a"), canary);
            now = canary;
        }
        breaker.answered();
        assert_eq!(breaker.admit(now, 9, NEVER), Ok(()));
    }

    #[test]
    fn after_a_wake_canaries_leave_at_once_and_then_soon() {
        let mut breaker = Breaker::default();
        breaker.probe(Boot(0));
        assert_eq!(breaker.admit(Boot(0), 0, NEVER), Ok(()));
        let mut now = Boot(0);
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            breaker.failed(&account("a"), now);
            let canary = breaker.admit(now, 0, NEVER).unwrap_err();
            assert_eq!(canary, now.after(Duration::from_secs(wait)));
            now = canary;
        }
    }

    #[test]
    fn only_a_host_that_failed_for_several_comes_back() {
        for (failing, was_down) in [
            (&[][..], false),
            (&["a", "a", "a", "a", "a", "a"], false),
            (&["a", "b"], false),
            (&["a", "a", "a", "a", "b"], true),
        ] {
            let mut breaker = Breaker::default();
            breaker.probe(Boot(0));
            for name in failing {
                breaker.failed(&account(name), Boot(0));
            }
            assert_eq!(breaker.answered(), was_down, "{failing:?}");
        }
    }

    #[test]
    fn a_pressing_account_brings_the_canary_forward() {
        let mut breaker = Breaker::default();
        for n in 0..5 {
            breaker.failed(&account(&format!("a{n}")), Boot(0));
        }
        assert_eq!(breaker.admit(Boot(0), 0, || Boot(4_000)), Err(Boot(4_000)));
    }
}
