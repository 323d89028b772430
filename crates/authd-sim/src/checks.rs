//! What an exchange may do: checked at each of its steps.

use std::{sync::Arc, time::Duration};

use authd_core::{
    answer::{Answer, Received},
    broker::{CommitOutcome, Decided, Exchange, LoginFailure, Record, View},
    flag::LoginReason,
    grant::Grant,
    id::{AttemptId, Generation},
    lease::{Lease, floor_of},
    renewal::Cause,
};

use crate::{
    clock::Ms,
    fault::Fault,
    oracle::{Out, Unresolved},
    provider::{Denied, Granted, named},
    shell::{LoginUnderWay, number_of},
    store::Found,
    story::{Disk, MINUTE, SECOND},
    world::World,
};

/// What rounding takes.
const TICK: Duration = Duration::from_millis(1);

/// What the oracle knows of an answer that arrives.
pub(crate) struct Known {
    account: usize,
    out: Out,
    brought: bool,
    /// As it was before the answer.
    before: Option<Arc<Grant>>,
}

impl World<'_> {
    fn life(&self, account: usize) -> Ms {
        self.story.hosts[self.story.people[account].host].life
    }

    pub(crate) fn check_intend(&mut self, account: usize, exchange: &Exchange) {
        let (t, life) = (self.t, self.life(account));
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
            let window = (life / 5).min(10 * MINUTE);
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
        self.check_spacing(account, exchange, life);
    }

    /// Between two exchanges for one lease lie a second and a twentieth of its life.
    fn check_spacing(&mut self, account: usize, exchange: &Exchange, life: Ms) {
        let truth = &self.truths[account];
        if !matches!(truth.cause, Some(Cause::Due | Cause::Demanded)) {
            return;
        }
        let Some(token) = self.published_token(account, &exchange.key) else {
            return;
        };
        let is_known = self.is_known(token);
        let token = self.ledger.access_token(token);
        let view = self.shell.published[account].as_ref();
        let believed = view.and_then(|view| view.grant.leases.get(&exchange.key)?.lifetime);
        let life = believed.map_or(life, |believed| life.min(believed.as_millis() as Ms));
        let distance = (life / 20).max(SECOND);
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
        let key = self.key(false);
        // Who comes between the decision and the request comes too late to change it.
        let decided = truth.last_start.unwrap_or(t);
        let in_use = |second: bool| {
            let used = truth.uses[usize::from(second)];
            used.is_some_and(|used| used.since < decided && t < used.last + Self::IN_USE - MINUTE)
        };
        let at_stake = grant.leases.iter().find(|(other, lease)| {
            let is_used = in_use(**other != key) || **other == exchange.key;
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

    /// Invariants 11, 12 and 13.
    pub(crate) fn check_commit(
        &mut self,
        account: usize,
        attempt: AttemptId,
        grant: &Arc<Grant>,
        granted: Granted,
    ) {
        let is_login = self.shell.login_of.contains_key(&attempt);
        let truth = &mut self.truths[account];
        truth
            .committing
            .insert(attempt, (grant.id, grant.generation));
        if is_login {
            return;
        }
        if truth.grant != Some(grant.id) || grant.generation != truth.generation.next() {
            let (expected, found) = (truth.generation.next(), grant.generation);
            return self.violate(11, || {
                format!("generation {found} is written where {expected} comes next")
            });
        }
        let life = self.life(account);
        self.count_renewal(life);
        if !grant.renewable {
            return self.violate(12, || "the refresh token is given up at a renewal".into());
        }
        let before = self
            .broker
            .as_ref()
            .and_then(|broker| broker.grant(&grant.account))
            .cloned();
        let Some(before) = before else { return };
        let newest = grant
            .leases
            .values()
            .find(|lease| lease.generation == grant.generation);
        if granted.subject >= 100 && before.subject.is_some() {
            if newest.is_some() || grant.subject != before.subject {
                self.violate(13, || "somebody else's token took the grant's place".into());
            }
            return;
        }
        let told = newest.is_some_and(|lease| {
            let expected = match lease.generation == grant.generation && granted.other_scopes {
                true => grant.flags.scope_changed.is_some(),
                false => true,
            };
            expected && grant.scopes == before.scopes
        });
        if !told {
            self.violate(13, || {
                "other scopes took the grant's place without a word".into()
            });
        }
    }

    pub(crate) fn note_committed(
        &mut self,
        account: usize,
        attempt: AttemptId,
        outcome: &CommitOutcome,
    ) {
        let truth = &mut self.truths[account];
        let Some((grant, generation)) = truth.committing.remove(&attempt) else {
            return;
        };
        let is_login = generation == Generation(1);
        match outcome {
            CommitOutcome::Superseded => {
                // Its outcome is known, and of no use.
                truth.unresolved = None;
                return;
            }
            CommitOutcome::MemoryOnly(_) if is_login => return,
            CommitOutcome::MemoryOnly(_) => {}
            CommitOutcome::Durable | CommitOutcome::Spilled(_) => {
                truth.secured = Some((grant, generation));
            }
        }
        truth.committed = Some(attempt);
        truth.renewed(grant, generation);
    }

    pub(crate) fn note_saved(&mut self, account: usize, is_saved: bool) {
        let truth = &mut self.truths[account];
        if is_saved && let Some(grant) = truth.grant {
            truth.secured = Some((grant, truth.generation));
        }
    }

    /// Invariant 11.
    pub(crate) fn check_keep(&mut self, account: usize, grant: &Grant) {
        let truth = &self.truths[account];
        if truth.grant != Some(grant.id) || truth.generation != grant.generation {
            self.violate(11, || "flags are kept with another generation".into());
        }
    }

    /// Invariant 6.
    pub(crate) fn check_found(&mut self, account: usize, found: &Found) {
        let t = self.t;
        let truth = &mut self.truths[account];
        let (grant, generation) = (found.row.grant.id, found.row.grant.generation);
        if let Some((secured, of)) = truth.secured
            && (grant.0 < secured.0 || (grant == secured && generation < of))
        {
            return self.violate(6, || {
                format!("generation {of} was said to be safe, and the disk has {generation}")
            });
        }
        let is_other = truth.grant != Some(grant) || truth.generation != generation;
        if is_other {
            truth.renewed(grant, generation);
        }
        if found.row.grant.flags.suspect.is_some() && truth.words.is_empty() {
            // The record says that the word was heard, be it in another life.
            truth.words.push(t);
        }
        truth.committed = found.row.attempt;
        truth.secured = Some((grant, generation));
        truth.stale = found.stale.is_some();
        truth.needs_login = found.row.grant.flags.needs_login.is_some();
    }

    /// Invariant 6.
    pub(crate) fn check_loaded(&mut self, account: usize, found: &Found) {
        let grant = self
            .broker
            .as_ref()
            .and_then(|broker| broker.grant(&self.accounts[account]));
        let Some(grant) = grant else {
            return;
        };
        let is_flagged = grant.flags.ambiguous.is_some();
        if found.interrupted.is_some() && grant.id == found.row.grant.id && !is_flagged {
            self.violate(6, || {
                "an interrupted exchange is forgotten at the start".into()
            });
        }
    }

    /// Invariants 4, 8, 9, 10, 11 and 18.
    pub(crate) fn check_view(&mut self, account: usize, attempt: Option<AttemptId>, view: &View) {
        let grant = &view.grant;
        let truth = &self.truths[account];
        if attempt.is_some() && truth.committed != attempt {
            return self.violate(4, || "an answer is published before it is on disk".into());
        }
        if truth.grant != Some(grant.id) || truth.generation != grant.generation {
            return self.violate(11, || "another generation is published than stands".into());
        }
        let secrets = self.shell.vault[account].as_ref();
        let is_held = grant.leases.iter().all(|(key, lease)| {
            secrets.and_then(|secrets| secrets.access_token(key)) == Some(named(lease.fingerprint))
        });
        if !is_held {
            return self.violate(4, || "a token is published that is not on disk".into());
        }
        let holds = secrets.is_some_and(|secrets| secrets.refresh_token.is_some());
        if holds && !grant.renewable {
            return self.violate(10, || "the refresh token is given up".into());
        }
        if grant.flags.throttled.is_some() && !truth.was_throttled {
            return self.violate(18, || {
                "an account is throttled that nobody throttled".into()
            });
        }
        self.check_leads(account, grant);
        if let Some(attempt) = attempt {
            self.check_predecessor(account, attempt, grant);
        }
        self.check_verdict(account, grant);
        let flags = &grant.flags;
        let blocked = flags.needs_login.is_some()
            || flags.stale_store.is_some()
            || flags.store_degraded.is_some()
            || flags.suspect.is_some()
            || (flags.ambiguous.is_some() && self.story.people[account].second)
            || !grant.renewable;
        let sent = |lease: &Lease| self.ledger.access_token(named(lease.fingerprint)).sent;
        let oldest = grant.leases.values().map(sent).min();
        let t = self.t;
        let truth = &mut self.truths[account];
        truth.oldest = oldest.unwrap_or(t);
        truth.block(blocked, t);
    }

    /// The lead is drawn once for each token, within its bounds.
    fn check_leads(&mut self, account: usize, grant: &Grant) {
        let tells = self.story.hosts[self.story.people[account].host]
            .tells
            .is_some();
        for lease in grant.leases.values() {
            let lead = lease.lead.as_millis() as u64;
            let truth_of_life = Duration::from_millis(self.life(account) / 4);
            let is_known = self.is_known(named(lease.fingerprint));
            let is_short = lease
                .lifetime
                .is_some_and(|life| life + TICK < truth_of_life);
            if is_known && is_short {
                return self.violate(0, || {
                    "a life is believed shorter than a quarter of it".into()
                });
            }
            let token = self.ledger.access_token_mut(named(lease.fingerprint));
            let before = token.lead.replace(lead);
            let moved = before.is_some_and(|before| before != lead);
            if moved && !self.truths[account].refused_early && !tells {
                return self.violate(0, || "the renew point was drawn anew".into());
            }
            if let Some(life) = lease.lifetime
                && lease.lead > life.mul_f64(0.8) + TICK
            {
                return self.violate(0, || "a lead of more than 0.8 of the life".into());
            }
        }
    }

    /// The token before this one: was it late?
    fn check_predecessor(&mut self, account: usize, _attempt: AttemptId, grant: &Grant) {
        let Some(before) = self.shell.published[account].clone() else {
            return;
        };
        if before.grant.id != grant.id {
            return;
        }
        let newest = grant
            .leases
            .iter()
            .find(|(_, lease)| lease.generation == grant.generation);
        if let Some((key, _)) = newest
            && let Some(lease) = before.grant.leases.get(key)
        {
            self.check_lease_late(account, key, lease, &before.grant);
        }
    }

    /// Invariants 8 and 9.
    fn check_verdict(&mut self, account: usize, grant: &Grant) {
        let raised = grant
            .flags
            .needs_login
            .as_ref()
            .map(|raised| &raised.reason);
        let truth = &mut self.truths[account];
        let is_news = raised.is_some() && !truth.needs_login;
        truth.needs_login = raised.is_some();
        let Some(reason) = raised.filter(|_| is_news).cloned() else {
            return;
        };
        let words = truth.words.clone();
        match reason {
            LoginReason::Revoked => match words[..] {
                [] => self.violate(8, || "the login is given up without a verdict".into()),
                [_] => self.violate(9, || "the login is given up without a confirmation".into()),
                [first, .., second] => {
                    let left = self.least_left(grant);
                    let asked = self.truths[account].cause == Some(Cause::Asked);
                    // A client of a lease that has no token has nothing left to be served.
                    let others = self.story.people[account].second;
                    let soon = second < first + 59 * SECOND && !others;
                    if soon && !asked && left > 0 {
                        self.violate(9, || {
                            let after = second - first;
                            format!("confirmed after {after} ms, with {left} ms of the token left")
                        });
                    } else if words.len() > 3 {
                        let count = words.len();
                        self.violate(9, || format!("{count} times the same refusal"));
                    }
                }
            },
            LoginReason::InteractionRequired if !truth.interaction => {
                self.violate(8, || {
                    "the person is asked for without the provider's word".into()
                });
            }
            LoginReason::SubjectChanged if !truth.other_subject => {
                self.violate(8, || "nobody else came, and the login is given up".into());
            }
            LoginReason::Unintelligible if truth.unintelligible < 5 => {
                self.violate(8, || "the login is given up after few refusals".into());
            }
            LoginReason::NotRenewable if grant.renewable => {
                self.violate(8, || {
                    "a renewable login is given up as not renewable".into()
                });
            }
            _ => {}
        }
    }

    /// What is left of the token that ends first.
    fn least_left(&self, grant: &Grant) -> u64 {
        let (now, boot_id) = (self.clocks.now(self.t), self.clocks.boot_id());
        let leases = grant.leases.values();
        let left = leases.map(|lease| lease.remaining(now, boot_id).unwrap_or_default());
        left.min().unwrap_or_default().as_millis() as u64
    }

    /// Invariant 21.
    pub(crate) fn check_record(&mut self, record: &Record) {
        self.coverage.decision(&record.what);
        let account = number_of(&record.account);
        if let Decided::Judged(verdict) = &record.what {
            self.coverage.verdict(*verdict);
        }
        if matches!(record.what, Decided::Committed) {
            self.coverage
                .verdict(authd_core::renewal::Verdict::Accepted);
        }
        self.say(|| format!("    a{account}: {:?}", record.what));
        let is_truthful = self.story.hosts[self.story.people[account].host].is_truthful();
        let truth = &mut self.truths[account];
        if let (Decided::LifetimeLearned { lifetime, .. }, false) = (&record.what, is_truthful) {
            // Of a provider that lies, nobody could know before.
            let lived = lifetime.as_millis() as Ms;
            truth.exclude(self.t.saturating_sub(lived), self.t + SECOND);
        }
        if let Decided::Renewal(cause) = record.what {
            truth.cause = Some(cause);
        }
        if record.what == Decided::ReportBelieved {
            let t = self.t;
            let too_soon = truth
                .believed
                .back()
                .is_some_and(|last| t < last + 30 * SECOND);
            while truth
                .believed
                .front()
                .is_some_and(|at| t >= at + 10 * MINUTE)
            {
                truth.believed.pop_front();
            }
            truth.believed.push_back(t);
            if too_soon || truth.believed.len() > 3 {
                return self.violate(16, || {
                    "reports bring about more renewals than they may".into()
                });
            }
        }
        let of_exchange = matches!(
            record.what,
            Decided::Renewal(_)
                | Decided::Judged(_)
                | Decided::Committed
                | Decided::CommittedElsewhere
                | Decided::Discarded
        );
        if of_exchange && record.attempt.is_none() {
            return self.violate(21, || format!("{:?} without an attempt", record.what));
        }
        if let (Decided::Judged(_), Some((attempt, request_id))) =
            (&record.what, &truth.answered_id)
            && record.attempt == Some(*attempt)
            && record.request_id != *request_id
        {
            self.violate(21, || {
                "a verdict without the provider's id of the request".into()
            });
        }
    }

    /// Invariant 22.
    pub(crate) fn check_login(
        &mut self,
        login: &LoginUnderWay,
        result: &Result<Arc<Grant>, LoginFailure>,
    ) {
        let account = login.account;
        let Err(failure) = result else { return };
        let is_expected = login.is_doomed
            || login.is_spoilt
            || self.stopping
            || self.disk != Disk::Works
            || matches!(failure, LoginFailure::Replaced | LoginFailure::Store(_))
            || self.asleep_until.is_some();
        let host = self.story.people[account].host;
        let from = login.began;
        let was_reachable = self
            .windows
            .iter()
            .all(|window| window.host != host || window.until < from)
            && self.offline_until < from;
        let was_excluded = self.truths[account]
            .spans
            .iter()
            .any(|span| span.from < self.t && span.to > from);
        let stranger = matches!(failure, LoginFailure::SubjectMismatch { .. })
            && !self.story.hosts[host].is_wordy;
        if !is_expected && was_reachable && !was_excluded && !stranger {
            self.violate(22, || {
                format!("a login fails although all is well: {failure}")
            });
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
