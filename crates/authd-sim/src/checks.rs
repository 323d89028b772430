//! What an exchange may do: checked at each of its steps.

mod storing;
mod telling;

use std::{sync::Arc, time::Duration};

use authd_core::{
    answer::{Answer, Received},
    broker::Exchange,
    flag::LoginReason,
    grant::Grant,
    id::AttemptId,
    lease::{Lease, LeaseKey, floor_of},
    renewal::Cause,
};

use crate::{
    clock::Ms,
    fault::Fault,
    oracle::{Out, Unresolved},
    provider::{Denied, Granted},
    story::{MINUTE, SECOND},
    world::World,
};

/// What the oracle knows of an answer that arrives.
pub(crate) struct Known {
    account: usize,
    out: Out,
    brought: bool,
    /// As it was before the answer.
    before: Option<Arc<Grant>>,
}

impl World<'_> {
    pub(super) fn life(&self, account: usize) -> Ms {
        self.story.hosts[self.story.people[account].host].life
    }

    pub(crate) fn check_intend(&mut self, account: usize, exchange: &Exchange) {
        let (t, life) = (self.t, self.life(account));
        let believed = self.believed_life(account, exchange);
        let leases = 1 + u64::from(self.story.people[account].second);
        let truth = &mut self.truths[account];
        if truth.grant != Some(exchange.grant) || truth.generation != exchange.generation {
            let (expected, found) = (truth.generation, exchange.generation);
            return self.violate(11, || {
                format!("generation {found} is to be exchanged while {expected} stands")
            });
        }
        if truth.out.iter().any(|out| out.grant == exchange.grant) {
            return self.violate(2, || "an exchange begins while another is in flight".into());
        }
        if let Some(last) = truth.last_start.filter(|last| t < last + SECOND) {
            return self.violate(16, || format!("two exchanges within {} ms", t - last));
        }
        truth.last_start = Some(t);
        truth.attempt = Some(exchange.attempt);
        while truth.starts.front().is_some_and(|at| at + 10 * MINUTE < t) {
            truth.starts.pop_front();
        }
        truth.starts.push_back(t);
        let usual = leases * (10 * MINUTE) / (life / 4).max(SECOND);
        let most = 260 + usual.min(600) as usize;
        let count = truth.starts.len();
        if count > most {
            return self.violate(16, || format!("{count} exchanges in ten minutes"));
        }
        if let Some((at, so_far)) = &mut truth.jump {
            let window = (believed / 5).min(10 * MINUTE);
            let counts = matches!(
                truth.cause,
                Some(Cause::Due | Cause::KeepAlive | Cause::Demanded)
            );
            if t > *at + window {
                truth.jump = None;
            } else if counts {
                *so_far += 1;
                let (so_far, at) = (*so_far, *at);
                let was_troubled = truth.was_troubled(at.saturating_sub(life), t);
                if u64::from(so_far) > 2 * leases && !was_troubled {
                    return self.violate(14, || {
                        format!("{so_far} exchanges after the calendar was set")
                    });
                }
            }
        }
        self.check_spacing(account, exchange);
    }

    /// A token lives no longer than the engine has learned.
    fn believed_life(&self, account: usize, exchange: &Exchange) -> Ms {
        let view = self.shell.published[account].as_ref();
        let believed = view.and_then(|view| view.grant.leases.get(&exchange.key)?.lifetime);
        let life = self.life(account);
        believed.map_or(life, |believed| life.min(believed.as_millis() as Ms))
    }

    /// Between two exchanges for one lease lie a second and a twentieth of its life.
    fn check_spacing(&mut self, account: usize, exchange: &Exchange) {
        let truth = &self.truths[account];
        if !matches!(truth.cause, Some(Cause::Due | Cause::Demanded)) {
            return;
        }
        let Some(token) = self.published_token(account, &exchange.key) else {
            return;
        };
        let is_known = self.is_known(token);
        let token = self.ledger.access_token(token);
        let life = self.believed_life(account, exchange);
        // After a restart the wall clock tells the age, and it may drift.
        let distance = (life / 20).max(SECOND);
        let distance = distance - distance / 1000;
        if is_known && self.t + 2 < token.sent + distance {
            let after = self.t - token.sent;
            self.violate(16, || {
                format!("an exchange {after} ms after the last, with a life of {life} ms")
            });
        }
    }

    pub(crate) fn check_send(
        &mut self,
        account: usize,
        exchange: &Exchange,
        refresh_token: u32,
        is_dangerous: bool,
    ) {
        let t = self.t;
        let truth = &self.truths[account];
        if truth.stale {
            return self.violate(19, || "a store that came from elsewhere exchanges".into());
        }
        if truth.out.iter().any(|out| out.grant == exchange.grant) {
            return self.violate(2, || "two exchanges of one grant are in flight".into());
        }
        if t < truth.throttled_until {
            let left = truth.throttled_until - t;
            return self.violate(18, || {
                format!("a request {left} ms before the provider's Retry-After is over")
            });
        }
        let unresolved = truth
            .unresolved
            .filter(|unresolved| unresolved.refresh_token == refresh_token);
        let Some(unresolved) = unresolved else { return };
        let cause = truth.cause;
        let Some(grant) = self
            .broker
            .as_ref()
            .and_then(|broker| broker.grant(&exchange.account))
            .cloned()
        else {
            return;
        };
        if grant.flags.ambiguous.is_none() {
            return self.violate(3, || {
                "a refresh token whose fate is unknown is sent again, without AMBIGUOUS".into()
            });
        }
        if !is_dangerous || cause == Some(Cause::Asked) {
            return;
        }
        let leeway = grant
            .provider
            .profile
            .leeway
            .map_or(0, |leeway| leeway.as_millis() as Ms);
        let within = leeway > 0 && t <= unresolved.since + leeway + 10 * SECOND;
        if within && unresolved.resent == 0 {
            return;
        }
        let (now, boot_id) = (self.clocks.now(t), self.clocks.boot_id());
        // Who comes between the decision and the request comes too late to change it.
        let decided = truth.last_start.unwrap_or(t);
        let in_use = |other: &LeaseKey| {
            let used = truth.use_of(other);
            used.is_some_and(|used| used.since < decided && t < used.last + Self::IN_USE - MINUTE)
        };
        let at_stake = grant.leases.iter().find(|(other, lease)| {
            let is_used = in_use(other) || **other == exchange.key;
            let spent = lease
                .lifetime
                .map(|life| 2 * floor_of(life))
                .unwrap_or_default();
            let left = lease.remaining(now, boot_id).unwrap_or_default();
            let tolerance = Duration::from_millis(1100);
            is_used && !lease.rejected && left > spent + tolerance
        });
        if at_stake.is_some() {
            self.violate(3, || {
                "a retry that could revoke a working token, before that is nearly spent".into()
            });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known of a request")]
    pub(crate) fn note_sent(
        &mut self,
        account: usize,
        exchange: &Exchange,
        refresh_token: u32,
        fault: Option<Fault>,
        granted: Option<Result<Granted, Denied>>,
        takes: Ms,
        is_dangerous: bool,
    ) {
        let t = self.t;
        let truth = &mut self.truths[account];
        let before = truth
            .unresolved
            .filter(|unresolved| unresolved.refresh_token == refresh_token);
        truth.unresolved = Some(Unresolved {
            refresh_token,
            since: before.map_or(t, |before| before.since),
            resent: before.map_or(0, |before| before.resent + 1),
        });
        if fault.is_some() {
            truth.troubled(t, t + takes);
        }
        truth.out.push(Out {
            attempt: exchange.attempt,
            grant: exchange.grant,
            fault,
            sent: t,
            silent: fault.is_some_and(|fault| fault.is_silent(is_dangerous)),
            denied: matches!(
                (fault, granted),
                (None, Some(Err(Denied::InvalidGrant | Denied::Inactive)))
            ) || fault == Some(Fault::FalseInvalidGrant),
            too_early: matches!((fault, granted), (None, Some(Err(Denied::TooEarly)))),
            lost_before: before.is_some(),
            request_id: None,
        });
    }

    pub(crate) fn note_arrival(
        &mut self,
        attempt: AttemptId,
        answer: &Answer,
        granted: Option<Granted>,
    ) -> Option<Known> {
        let (account, at) = self
            .truths
            .iter()
            .enumerate()
            .find_map(|(account, truth)| {
                let at = truth.out.iter().position(|out| out.attempt == attempt);
                at.map(|at| (account, at))
            })?;
        let t = self.t;
        let before = self
            .broker
            .as_ref()
            .and_then(|broker| broker.grant(&self.accounts[account]))
            .cloned();
        let is_spent = before
            .as_ref()
            .is_some_and(|before| self.least_left(before) == 0)
            || before
                .as_ref()
                .is_some_and(|before| before.leases.values().any(|lease| lease.rejected));
        let truth = &mut self.truths[account];
        let mut out = truth.out.swap_remove(at);
        out.request_id.clone_from(&answer.request_id);
        truth.answered_id = Some((attempt, answer.request_id.clone()));
        let is_current = truth.attempt == Some(attempt);
        if !is_current {
            return None;
        }
        let word = out.denied || out.fault.is_some_and(Fault::is_word_on_the_login);
        let is_settled = granted.is_none() && !out.silent && (!out.lost_before || word);
        if is_settled {
            truth.unresolved = None;
        }
        if granted.is_none() {
            truth.troubled(out.sent, t + SECOND);
        } else {
            truth.other_subject |= granted.is_some_and(|granted| granted.subject >= 100);
        }
        if out.denied {
            truth.words.push(t);
            truth.held_until = t + 130 * SECOND;
            truth.exclude(t, t + 130 * SECOND);
        }
        if out.too_early && is_spent {
            // It takes our token for new, and says so in words that mean a configuration.
            truth.exclude(t, t + 31 * MINUTE);
        }
        if out.too_early {
            truth.refused_early = true;
            truth.unintelligible += 1;
        }
        let is_throttled = out.fault.is_some_and(Fault::is_throttle);
        if let Some(fault) = out.fault {
            if fault.is_throttle() {
                truth.was_throttled = true;
                if let (true, Some(asked)) = (
                    answer.date.is_some() || fault == Fault::ThrottledSecs,
                    patience(answer),
                ) {
                    let asked = asked.min(60 * MINUTE);
                    truth.throttled_until = truth.throttled_until.max(out.sent + asked);
                }
                let hold = patience(answer).unwrap_or(0).clamp(5 * MINUTE, 60 * MINUTE);
                truth.exclude(t, t + hold);
                truth.held_until = truth.held_until.max(t + hold);
            }
            if fault.is_configuration() {
                truth.exclude(t, t + 31 * MINUTE);
                truth.held_until = truth.held_until.max(t + 31 * MINUTE);
                truth.refused_early = true;
            }
            if fault.is_unintelligible() {
                truth.unintelligible += 1;
                truth.refused_early = true;
                truth.exclude(t, t + 6 * MINUTE);
                truth.held_until = truth.held_until.max(t + 6 * MINUTE);
            }
            truth.interaction |= matches!(fault, Fault::InteractionRequired | Fault::InvalidRapt);
        }
        if is_throttled {
            // A host that says "too many" is asked less by all: once in ten seconds at the least.
            let people = &self.story.people;
            for (person, truth) in people.iter().zip(&mut self.truths) {
                if person.host == people[account].host {
                    truth.troubled(t, t + 10 * SECOND);
                }
            }
        }
        Some(Known {
            account,
            out,
            brought: granted.is_some(),
            before,
        })
    }

    /// Invariants 5 and 7.
    pub(crate) fn check_arrival(&mut self, attempt: AttemptId, known: &Known) {
        let account = known.account;
        if known.brought {
            if !self.shell.committing.contains_key(&attempt) {
                self.violate(5, || "an answer with tokens was dropped".into());
            }
            return;
        }
        let is_word = known.out.denied || known.out.fault.is_some_and(Fault::is_word_on_the_login);
        if is_word {
            return;
        }
        let after = self
            .broker
            .as_ref()
            .and_then(|broker| broker.grant(&self.accounts[account]));
        let (Some(before), Some(after)) = (&known.before, after) else {
            if known.before.is_some() && self.shell.departing[account].is_none() {
                self.violate(7, || "the account is gone after an error in passing".into());
            }
            return;
        };
        let lost = before.renewable && !after.renewable;
        let is_there = |(key, lease): (&_, &Lease)| {
            let after = after.leases.get(key);
            after.is_some_and(|after| after.fingerprint == lease.fingerprint)
        };
        if !before.leases.iter().all(is_there) {
            return self.violate(7, || "an error in passing took an access token away".into());
        }
        let reason = |grant: &Grant| {
            let raised = grant.flags.needs_login.as_ref();
            raised.map(|raised| raised.reason.clone())
        };
        let was_ended =
            reason(before) != reason(after) && reason(after) != Some(LoginReason::Unintelligible);
        if lost || was_ended || before.generation != after.generation {
            let fault = known.out.fault;
            let unanswered = reason(after);
            self.violate(7, || format!("{fault:?} changed the login: {unanswered:?}"));
        }
    }
}

fn patience(answer: &Answer) -> Option<Ms> {
    use authd_core::answer::RetryAfter;
    let Received::Response { .. } = &answer.received else {
        return None;
    };
    match answer.retry_after? {
        RetryAfter::Delay(delay) => Some(delay.as_millis() as Ms),
        RetryAfter::Until(until) => {
            // By a calendar that may be wrong.
            let Some(date) = answer.date else {
                return Some(60 * MINUTE);
            };
            Some(until.since(date).as_millis() as Ms)
        }
    }
}
