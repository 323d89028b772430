//! Whose turn it is: when each account wants to be looked at, and what may start.

use super::{Broker, Context, Effect, Owner, context};
use crate::{
    id::{Account, AttemptId},
    schedule::Health,
    time::Now,
};

impl Broker {
    pub(super) fn dequeue(&mut self, account: &Account) {
        if self.queued.remove(account) {
            let host = self.host(account);
            self.schedule.withdraw(&host, account);
        }
    }

    /// Something may have changed for the account: readers see it, its wish is what it now wants,
    /// and the time at which it wants to be looked at is noted.
    pub(super) fn attend(&mut self, account: &Account, now: Now) {
        let Some(renewal) = self.accounts.get_mut(account) else {
            return;
        };
        let cx = &mut context!(self, now);
        renewal.show(cx);
        if self.queued.contains(account) {
            let host = renewal.grant().provider.host();
            let next = renewal.next_exchange(cx);
            if let Some((_, plan)) = next.filter(|(at, _)| *at <= now.boot) {
                let wish = renewal.wish(&plan, cx);
                self.schedule.ask(&host, wish, now.boot);
            } else {
                self.queued.remove(account);
                self.schedule.withdraw(&host, account);
            }
        }
        let at = renewal.wakes_at(self.queued.contains(account), cx);
        let before = match at {
            Some(at) => self.wake_of.insert(account.clone(), at),
            None => self.wake_of.remove(account),
        };
        if before != at {
            if let Some(before) = before {
                self.wakes.remove(&(before, account.clone()));
            }
            if let Some(at) = at {
                self.wakes.insert((at, account.clone()));
            }
        }
    }

    /// Everything whose time has come.
    pub(super) fn look_at_the_due(&mut self, now: Now) {
        while let Some((at, _)) = self.wakes.first()
            && *at <= now.boot
        {
            let Some((_, account)) = self.wakes.pop_first() else {
                break;
            };
            self.wake_of.remove(&account);
            self.look_at(&account, now);
        }
        self.poll_logins(now);
        if !self.is_closed() {
            let due = self.revocations.due(now.boot);
            self.effects.extend(due.map(|id| Effect::Revoke { id }));
        }
    }

    fn look_at(&mut self, account: &Account, now: Now) {
        let Some(renewal) = self.accounts.get_mut(account) else {
            return;
        };
        let cx = &mut context!(self, now);
        renewal.on_time(cx);
        let next = renewal.next_exchange(cx);
        if next.is_some_and(|(at, _)| at <= now.boot) {
            self.queued.insert(account.clone());
        } else if let Some(check) = renewal.due_check(cx) {
            let host = renewal.grant().provider.host();
            match self.schedule.admit_check(&host, now.boot) {
                Ok(()) => {
                    renewal.check_begun(check.clone());
                    cx.effects.push_back(Effect::Validate(check));
                }
                Err(at) => renewal.put_checks_off(at),
            }
        }
        self.attend(account, now);
    }

    /// Starts what the schedule lets go.
    pub(super) fn admit(&mut self, now: Now) {
        if self.is_closed() {
            return;
        }
        loop {
            let mut given_back = false;
            for account in self.schedule.admit(now.boot) {
                given_back |= !self.start(&account, now);
            }
            // A place that was not taken is the next one's; no event would offer it later.
            if !given_back {
                break;
            }
        }
    }

    /// Starts the account's exchange, unless it wants none any more.
    fn start(&mut self, account: &Account, now: Now) -> bool {
        self.queued.remove(account);
        let id = AttemptId(self.rng.u64(..));
        let started = self.with(account, now, |renewal, cx| {
            let plan = renewal.next_exchange(cx).filter(|(at, _)| *at <= now.boot);
            plan.map(|(_, plan)| renewal.start(id, plan, cx)).is_some()
        });
        let started = started.unwrap_or(false);
        if started {
            self.attempts.insert(id, Owner::Account(account.clone()));
        } else {
            self.ended(account, Health::Untried, now);
        }
        started
    }
}
