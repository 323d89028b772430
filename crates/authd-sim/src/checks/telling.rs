//! What may be told: to readers, to waiting clients, to the journal, to the person who logs in.

use std::{sync::Arc, time::Duration};

use authd_core::{
    broker::{Decided, LoginFailure, Record, View},
    flag::LoginReason,
    grant::Grant,
    id::AttemptId,
    lease::Lease,
    renewal::Cause,
};

use crate::{
    clock::Ms,
    provider::named,
    shell::{LoginUnderWay, number_of},
    story::{Disk, MINUTE, SECOND},
    world::World,
};

/// What rounding takes.
const TICK: Duration = Duration::from_millis(1);

impl World<'_> {
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
                    } else if words.len() > 3 + self.truths[account].words_before {
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
    pub(super) fn least_left(&self, grant: &Grant) -> u64 {
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
