//! Fairness: who goes next to which host, and when.
//!
//! Everything here is kept for each host, so that a sick provider delays its own accounts alone.

mod breaker;
mod bucket;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    id::{Account, Host},
    time::Boot,
};

/// Exchanges in flight to one host at most.
const CONCURRENCY: usize = 32;

/// How long a question that is no exchange is put off by a host that is busy or sick.
const CHECKS_PUT_OFF: Duration = Duration::from_secs(30);

/// Who goes first: accounts that clients wait for, then those in use, then whose token ends soonest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) nobody_waits: bool,
    pub(crate) not_in_use: bool,
    pub(crate) ends_at: Boot,
}

/// One account's wish to exchange.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wish {
    pub(crate) rank: Rank,
    pub(crate) account: Account,
    /// A canary of an open breaker goes by then at the latest.
    pub(crate) canary_by: Boot,
}

/// All hosts.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    hosts: BTreeMap<Host, Lane>,
    /// The machine woke, or its network came back, at least once: a host that is asked for the first
    /// time since has to be proven too.
    probed: bool,
}

/// One host's queue, rate and health.
#[derive(Debug)]
struct Lane {
    queue: BTreeSet<Wish>,
    /// The same wishes by account, so that one can be replaced without a search.
    wishes: BTreeMap<Account, Wish>,
    /// The moments by which a canary of an open breaker is to go, soonest first.
    canaries: BTreeSet<(Boot, Account)>,
    /// What is in flight, and in which epoch it left.
    in_flight: BTreeMap<Account, u64>,
    /// Begins anew with every wake, and when the breaker opens: what left before says nothing of the
    /// host as it is since, and keeps no canary waiting.
    epoch: u64,
    bucket: bucket::Bucket,
    breaker: breaker::Breaker,
    /// When the head of the queue may go, if time alone holds it.
    opens_at: Option<Boot>,
}

impl Lane {
    fn new(now: Boot) -> Self {
        Self {
            queue: BTreeSet::new(),
            wishes: BTreeMap::new(),
            canaries: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            epoch: 0,
            bucket: bucket::Bucket::full(now),
            breaker: breaker::Breaker::default(),
            opens_at: None,
        }
    }

    fn withdraw(&mut self, account: &Account) -> Option<Wish> {
        let wish = self.wishes.remove(account)?;
        self.queue.remove(&wish);
        self.canaries.remove(&(wish.canary_by, account.clone()));
        Some(wish)
    }

    fn next(&mut self, now: Boot) -> Option<Account> {
        self.opens_at = None;
        let account = self.queue.first()?.account.clone();
        let since = self.in_flight.values().filter(|left| **left == self.epoch);
        let in_flight = since.count();
        if in_flight >= CONCURRENCY {
            return None;
        }
        let canary_by = || self.canaries.first().map_or(Boot(u64::MAX), |(at, _)| *at);
        let admitted = self
            .breaker
            .admit(now, in_flight, canary_by)
            .and_then(|()| self.bucket.take(now));
        match admitted {
            Ok(()) => {
                self.withdraw(&account);
                self.in_flight.insert(account.clone(), self.epoch);
                Some(account)
            }
            Err(Boot(u64::MAX)) => None,
            Err(at) => {
                self.opens_at = Some(at);
                None
            }
        }
    }
}

impl Schedule {
    fn lane(&mut self, host: &Host, now: Boot) -> &mut Lane {
        let probed = self.probed;
        self.hosts.entry(host.clone()).or_insert_with(|| {
            let mut lane = Lane::new(now);
            if probed {
                lane.breaker.probe(now);
            }
            lane
        })
    }

    /// Puts `wish` in the queue of `host`, in the place of an earlier one of the same account. What
    /// the earlier one could bear counts on: asking again does not put a canary off.
    pub(crate) fn ask(&mut self, host: &Host, mut wish: Wish, now: Boot) {
        let lane = self.lane(host, now);
        if let Some(earlier) = lane.withdraw(&wish.account) {
            wish.canary_by = wish.canary_by.min(earlier.canary_by);
        }
        let account = wish.account.clone();
        lane.canaries.insert((wish.canary_by, account.clone()));
        lane.queue.insert(wish.clone());
        lane.wishes.insert(account, wish);
    }

    /// Takes the account's wish back.
    pub(crate) fn withdraw(&mut self, host: &Host, account: &Account) {
        if let Some(lane) = self.hosts.get_mut(host) {
            lane.withdraw(account);
        }
    }

    /// The accounts that may start now. Each counts as in flight until [`Schedule::ended`].
    pub(crate) fn admit(&mut self, now: Boot) -> Vec<Account> {
        let mut admitted = Vec::new();
        for lane in self.hosts.values_mut() {
            while let Some(account) = lane.next(now) {
                admitted.push(account);
            }
        }
        admitted
    }

    /// The next moment at which [`Schedule::admit`] could let somebody go without another event.
    pub(crate) fn wakes_at(&self) -> Option<Boot> {
        self.hosts.values().filter_map(|lane| lane.opens_at).min()
    }

    /// The exchange of `account` is over. Says whether that turned the host's fortune.
    pub(crate) fn ended(
        &mut self,
        host: &Host,
        account: &Account,
        health: Health,
        now: Boot,
    ) -> Option<Turn> {
        let lane = self.lane(host, now);
        let left_in = lane.in_flight.remove(account);
        match health {
            Health::Untried => return None,
            Health::Succeeded => lane.bucket.succeeded(),
            Health::Answered => {}
            Health::Throttled => lane.bucket.throttled(),
            Health::Failed => {
                if left_in == Some(lane.epoch) && lane.breaker.failed(account, now) {
                    lane.epoch += 1;
                    return Some(Turn::Down);
                }
                return None;
            }
        }
        lane.breaker.answered().then_some(Turn::Up)
    }

    /// Whether a question that is no exchange may leave for `host`: only while the host is well and
    /// has room to spare. Otherwise when to ask again.
    pub(crate) fn admit_check(&mut self, host: &Host, now: Boot) -> Result<(), Boot> {
        let lane = self.lane(host, now);
        if lane.breaker.is_open() || !lane.queue.is_empty() {
            return Err(now.after(CHECKS_PUT_OFF));
        }
        lane.bucket.take_spare(now)
    }

    /// The machine woke or the network came back: one canary for each host proves it before the
    /// rest follow.
    pub(crate) fn probe(&mut self, now: Boot) {
        self.probed = true;
        for lane in self.hosts.values_mut() {
            lane.breaker.probe(now);
            lane.epoch += 1;
        }
    }
}

/// What an exchange told about its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It never got as far as the host.
    Untried,
    /// Tokens came.
    Succeeded,
    /// It answered something.
    Answered,
    /// It said "too many requests".
    Throttled,
    /// It did not answer, or with a 5xx.
    Failed,
}

/// That a host's fortune turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It fails for several accounts.
    Down,
    /// It answers again.
    Up,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(name: &str, nobody_waits: bool, ends_at: u64) -> Wish {
        Wish {
            rank: Rank {
                nobody_waits,
                not_in_use: false,
                ends_at: Boot(ends_at),
            },
            account: Account::new(name).unwrap(),
            canary_by: Boot(u64::MAX),
        }
    }

    fn host(name: &str) -> Host {
        Host(name.into())
    }

    fn names(accounts: &[Account]) -> Vec<&str> {
        accounts.iter().map(Account::as_str).collect()
    }

    #[test]
    fn those_waited_for_go_first_then_those_that_end_soonest() {
        let mut schedule = Schedule::default();
        for wish in [
            wish("late", true, 9),
            wish("soon", true, 1),
            wish("asked", false, 99),
        ] {
            schedule.ask(&host("h"), wish, Boot(0));
        }
        assert_eq!(names(&schedule.admit(Boot(0))), ["asked", "soon", "late"]);
    }

    #[test]
    fn a_host_takes_a_bounded_number_at_once() {
        let mut schedule = Schedule::default();
        for n in 0..50 {
            schedule.ask(&host("h"), wish(&format!("a{n:02}"), true, n), Boot(0));
        }
        assert_eq!(schedule.admit(Boot(0)).len(), CONCURRENCY);
        assert!(schedule.admit(Boot(60_000)).is_empty());
        let first = Account::new("a00").unwrap();
        schedule.ended(&host("h"), &first, Health::Answered, Boot(60_000));
        assert_eq!(names(&schedule.admit(Boot(60_000))), ["a32"]);
    }

    #[test]
    fn a_sick_host_delays_no_other() {
        let mut schedule = Schedule::default();
        for n in 0..5 {
            let name = format!("sick{n}");
            schedule.ask(&host("sick"), wish(&name, false, 0), Boot(0));
            let account = schedule.admit(Boot(0)).remove(0);
            schedule.ended(&host("sick"), &account, Health::Failed, Boot(0));
        }
        schedule.ask(&host("sick"), wish("sick9", false, 0), Boot(0));
        schedule.ask(&host("well"), wish("well", true, 0), Boot(0));
        assert_eq!(names(&schedule.admit(Boot(0))), ["well"]);
        let canary = schedule.wakes_at().unwrap();
        assert_eq!(names(&schedule.admit(canary)), ["sick9"]);
    }

    #[test]
    fn what_hangs_since_before_a_wake_keeps_no_canary_waiting() {
        let mut schedule = Schedule::default();
        for name in ["hung", "a", "b"] {
            schedule.ask(&host("h"), wish(name, true, 0), Boot(0));
        }
        assert_eq!(names(&schedule.admit(Boot(0))).len(), 3);
        schedule.ask(&host("h"), wish("c", true, 1), Boot(1));
        schedule.ask(&host("h"), wish("d", true, 2), Boot(1));
        schedule.probe(Boot(1));
        assert_eq!(names(&schedule.admit(Boot(1))), ["c"], "one canary");
        let hung = Account::new("hung").unwrap();
        schedule.ended(&host("h"), &hung, Health::Failed, Boot(2));
        assert!(schedule.admit(Boot(2)).is_empty(), "the canary is out");
        let canary = Account::new("c").unwrap();
        schedule.ended(&host("h"), &canary, Health::Answered, Boot(3));
        assert_eq!(names(&schedule.admit(Boot(3))), ["d"]);
    }

    #[test]
    fn failures_of_what_left_before_the_breaker_opened_count_once() {
        let mut schedule = Schedule::default();
        for n in 0..20 {
            schedule.ask(&host("h"), wish(&format!("a{n:02}"), true, n), Boot(0));
        }
        for account in schedule.admit(Boot(0)) {
            schedule.ended(&host("h"), &account, Health::Failed, Boot(0));
        }
        schedule.ask(&host("h"), wish("late", true, 0), Boot(0));
        assert!(schedule.admit(Boot(0)).is_empty());
        assert_eq!(schedule.wakes_at(), Some(Boot(30_000)));
    }

    #[test]
    fn a_question_that_is_no_exchange_takes_only_what_can_be_spared() {
        let mut schedule = Schedule::default();
        let idp = host("h");
        let later = Err(Boot(0).after(CHECKS_PUT_OFF));
        let asked = (0..).take_while(|_| schedule.admit_check(&idp, Boot(0)).is_ok());
        assert_eq!(asked.count(), 16, "half of the burst is left");
        schedule.ask(&idp, wish("a", true, 1), Boot(0));
        assert_eq!(schedule.admit_check(&idp, Boot(0)), later, "somebody waits");
        schedule.withdraw(&idp, &Account::new("a").unwrap());
        assert_eq!(schedule.admit_check(&idp, Boot(10_000)), Ok(()));
        schedule.probe(Boot(10_000));
        let later = Err(Boot(10_000).after(CHECKS_PUT_OFF));
        assert_eq!(
            schedule.admit_check(&idp, Boot(10_000)),
            later,
            "not proven"
        );
    }

    #[test]
    fn asking_again_puts_no_canary_off() {
        let mut schedule = Schedule::default();
        for n in 0..5 {
            let name = format!("a{n}");
            schedule.ask(&host("h"), wish(&name, false, 0), Boot(0));
            let account = schedule.admit(Boot(0)).remove(0);
            schedule.ended(&host("h"), &account, Health::Failed, Boot(0));
        }
        for at in [9_000, 12_000] {
            let canary_by = Boot(at);
            let wish = Wish {
                canary_by,
                ..wish("a", false, 0)
            };
            schedule.ask(&host("h"), wish, Boot(0));
        }
        assert!(schedule.admit(Boot(0)).is_empty());
        assert_eq!(schedule.wakes_at(), Some(Boot(9_000)));
    }

    #[test]
    fn a_wish_is_replaced_and_withdrawn() {
        let mut schedule = Schedule::default();
        schedule.ask(&host("h"), wish("a", true, 1), Boot(0));
        schedule.ask(&host("h"), wish("a", false, 1), Boot(0));
        schedule.ask(&host("h"), wish("b", true, 1), Boot(0));
        schedule.withdraw(&host("h"), &Account::new("b").unwrap());
        assert_eq!(names(&schedule.admit(Boot(0))), ["a"]);
    }
}
