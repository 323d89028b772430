//! One exchange, in the order that loses nothing: intend, exchange, commit, publish.

use std::{sync::Arc, time::Duration};

use super::{
    Attempt, Cause, Context, Phase, Renewal, Verdict,
    classify::classify,
    lifetime::{lead, lifetime},
    timing::Plan,
};
use crate::{
    answer::{Answer, Body, ExpiresIn, GrantType, Received, TokenSummary},
    broker::{CommitOutcome, Decided, Effect, Exchange, Notice},
    flag::{LoginReason, Raised, StaleStore},
    grant::{Grant, Provider, Rotation},
    id::AttemptId,
    lease::{Expiry, Lease, LeaseKey},
    planted::{self, Bug},
    schedule::Health,
    scope::ScopeSet,
    time::{Stamp, Wall},
};

/// Refreshes without a new refresh token until a provider is taken for one that does not rotate.
const UNROTATED: u64 = 3;

impl Renewal {
    /// Begins the exchange that was planned.
    pub(crate) fn start(&mut self, id: AttemptId, plan: Plan, cx: &mut Context<'_>) {
        let attempt = Attempt {
            id,
            key: plan.key,
            cause: plan.cause,
            generation: self.grant.generation,
        };
        self.latest_start = Some(cx.now.boot);
        self.started.insert(attempt.key.clone(), cx.now.boot);
        let repeats = self.grant.flags.ambiguous.is_some();
        if repeats && self.may_settle_at_once(cx.now.boot) {
            self.loss.retried = true;
        }
        let exchange = self.exchange(&attempt);
        self.phase = Phase::AwaitingIntended(Box::new(attempt));
        self.record(Decided::Renewal(plan.cause), None, cx);
        cx.effects.push_back(Effect::Intend { exchange });
    }

    fn exchange(&self, attempt: &Attempt) -> Exchange {
        Exchange {
            attempt: attempt.id,
            account: self.grant.account.clone(),
            grant: self.grant.id,
            generation: attempt.generation,
            grant_type: self.grant.grant_type(&attempt.key),
            key: attempt.key.clone(),
            login: None,
        }
    }

    /// The intent is on disk: the request may leave. Or it is not, and it may not.
    ///
    /// Returns the health of the host when this ended the attempt.
    pub(crate) fn intended(
        &mut self,
        result: Result<(), String>,
        cx: &mut Context<'_>,
    ) -> Option<Health> {
        let phase = std::mem::replace(&mut self.phase, Phase::Resting);
        let Phase::AwaitingIntended(attempt) = phase else {
            self.phase = phase;
            return None;
        };
        match result {
            // Nothing leaves a machine that is about to sleep, nor for an account that goes.
            Ok(()) if cx.suspended || self.leaving.is_some() => {
                let (account, attempt) = (self.grant.account.clone(), attempt.id);
                cx.effects.push_back(Effect::Annul { account, attempt });
                Some(Health::Untried)
            }
            Ok(()) => {
                if self.grant.flags.store_degraded.is_some() {
                    self.grant_mut().flags.store_degraded = None;
                }
                cx.effects
                    .push_back(Effect::Exchange(self.exchange(&attempt)));
                if planted::is(Bug::DoubleFlight) {
                    let again = Effect::Exchange(self.exchange(&attempt));
                    cx.effects.push_back(again);
                }
                self.phase = Phase::AwaitingAnswer(attempt);
                None
            }
            Err(reason) => {
                self.failed(&attempt.key, cx);
                self.degrade(reason, cx);
                self.settle_after_failure(&attempt.key, cx);
                Some(Health::Untried)
            }
        }
    }

    /// The provider answered, or did not.
    ///
    /// Returns the health of the host.
    pub(crate) fn answered(&mut self, answer: &Answer, cx: &mut Context<'_>) -> Option<Health> {
        let phase = std::mem::replace(&mut self.phase, Phase::Resting);
        let Phase::AwaitingAnswer(attempt) = phase else {
            self.phase = phase;
            return None;
        };
        let profile = &self.grant.provider.profile;
        let verdict = classify(answer, self.grant.grant_type(&attempt.key), profile);
        let health = Self::health(verdict);
        match &answer.received {
            Received::Response {
                body: Body::Tokens(tokens),
                ..
            } if verdict == Verdict::Accepted => {
                let next = Arc::new(self.succeed(&attempt, tokens, answer, cx));
                cx.effects.push_back(Effect::Commit {
                    attempt: attempt.id,
                    grant: Arc::clone(&next),
                });
                if planted::is(Bug::PublishBeforeCommit) {
                    let before = std::mem::replace(&mut self.grant, Arc::clone(&next));
                    self.publish(attempt.id, cx);
                    self.grant = before;
                }
                self.phase = Phase::AwaitingCommitted {
                    attempt,
                    next,
                    request_id: answer.request_id.clone(),
                };
            }
            _ => self.refused(&attempt, verdict, answer, cx),
        }
        Some(health)
    }

    /// The grant as it is once these tokens are on disk.
    fn succeed(
        &mut self,
        attempt: &Attempt,
        tokens: &TokenSummary,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Grant {
        let mut next = Grant::clone(&self.grant);
        next.generation = attempt.generation.next();
        if planted::is(Bug::StaleGenerationOverwrites) {
            next.generation = attempt.generation;
        }
        if planted::is(Bug::MissingRefreshTokenErases) {
            next.renewable = tokens.refresh_token;
        }
        next.renewals = next.renewals.saturating_add(1);
        next.last_error = None;
        let refreshed = self.grant.grant_type(&attempt.key) == GrantType::RefreshToken;
        if refreshed && next.provider.profile.rotation == Rotation::Unknown {
            // Seen with our own eyes: until now the careful assumption held.
            let mut provider = Provider::clone(&next.provider);
            provider.profile.rotation = match tokens.refresh_token {
                true => Rotation::ReuseDetected,
                // Some rotate only now and then.
                false if next.renewals < UNROTATED => Rotation::Unknown,
                false => Rotation::None,
            };
            next.provider = cx.providers.share(Arc::new(provider));
        }
        let flags = &mut next.flags;
        (flags.offline, flags.throttled) = (None, None);
        (flags.ambiguous, flags.suspect) = (None, None);
        (flags.misconfigured, flags.needs_login) = (None, None);
        if attempt.cause != Cause::Reported {
            flags.provider_rejects = None;
        }
        if let Some(reason) = subject_changed(&self.grant, tokens)
            && !planted::is(Bug::SubjectChangeAccepted)
        {
            // The refresh token is spent and its successor must be kept; but nobody is served
            // another person's token.
            flags.needs_login = Some(Raised {
                reason,
                since: cx.now.wall,
            });
            return next;
        }
        if self.is_taken_over() && attempt.key == LeaseKey::of_login(&self.grant) {
            // The first word of the provider about this login: what it was granted, and whose it is.
            next.subject = next.subject.take().or_else(|| tokens.subject.clone());
            if let Some(granted) = &tokens.scopes {
                next.scopes = granted.clone();
            }
        }
        let asked = if attempt.key.scopes.is_empty() {
            &next.scopes
        } else {
            &attempt.key.scopes
        };
        let granted = tokens.scopes.clone().unwrap_or_else(|| asked.clone());
        if planted::is(Bug::ScopeChangeAccepted) {
            next.scopes = granted.clone();
        }
        let stamp = Stamp {
            boot_id: cx.boot_id,
            at: answer.sent_at,
        };
        let is_refused = |lease: &Lease| lease.rejected;
        if !self.lease(&attempt.key).is_some_and(is_refused) {
            grow_again(&mut next, &attempt.key, tokens);
        }
        let draw = cx.rng.f64();
        let mut lease = new_lease(
            &next,
            &attempt.key,
            tokens,
            granted,
            stamp,
            answer.date,
            draw,
        );
        lease.lead = self.learned_lead(&attempt.key, lease.lead);
        next.leases.retain(|key, lease| {
            *key == attempt.key
                || *key == LeaseKey::of_login(&self.grant)
                || self.is_living(key, lease, cx)
        });
        next.leases.insert(attempt.key.clone(), lease);
        let Grant {
            learned, leases, ..
        } = &mut next;
        learned.retain(|key, _| leases.contains_key(key));
        let before = next.flags.scope_changed.take();
        next.flags.scope_changed = other_scopes(&next).map(|reason| {
            let known = before.filter(|raised| raised.reason == reason);
            known.unwrap_or(Raised {
                reason,
                since: cx.now.wall,
            })
        });
        next
    }

    /// The lead, where a provider that refuses early refreshes taught a shorter one. The lesson fades:
    /// from time to time it is tried earlier again.
    fn learned_lead(&mut self, key: &LeaseKey, lead: Duration) -> Duration {
        let Some(learned) = self.learned_leads.get_mut(key) else {
            return lead;
        };
        let now = lead.min(*learned);
        *learned = *learned * 9 / 8;
        if *learned >= lead {
            self.learned_leads.remove(key);
        }
        now
    }

    /// The answer is on disk: now it may be seen.
    ///
    /// Returns whether the attempt was this account's.
    pub(crate) fn committed(&mut self, outcome: CommitOutcome, cx: &mut Context<'_>) -> bool {
        let phase = std::mem::replace(&mut self.phase, Phase::Resting);
        let Phase::AwaitingCommitted {
            attempt,
            next,
            request_id,
        } = phase
        else {
            self.phase = phase;
            return false;
        };
        if outcome == CommitOutcome::Superseded {
            // Somebody else renewed this very grant: what is in memory here is a stale copy.
            let since = cx.now.wall;
            let reason = StaleStore::OlderGeneration;
            self.grant_mut().flags.stale_store = Some(Raised { reason, since });
            self.record_of(Some(attempt.id), request_id, Decided::Discarded, None, cx);
            self.settle_after_failure(&attempt.key, cx);
            return true;
        }
        let before = std::mem::replace(&mut self.grant, next);
        self.carry_over(&before);
        let is_news = self.carry_over_provider(&before, cx);
        self.backoff.reset();
        self.confirm_at = None;
        self.unintelligible = 0;
        self.bars.remove(&attempt.key);
        // Whoever asked for it may be gone, and may be back: it begins its life in use.
        let now = cx.now.boot;
        if !self.used.contains_key(&attempt.key) {
            self.used.insert(attempt.key.clone(), now);
        }
        self.note_renewed(&attempt.key, &before);
        self.announce(&before, cx);
        let decided = match outcome {
            CommitOutcome::Durable | CommitOutcome::Superseded => {
                self.grant_mut().flags.store_degraded = None;
                Decided::Committed
            }
            CommitOutcome::Spilled(reason) | CommitOutcome::MemoryOnly(reason) => {
                self.saved_elsewhere(reason, cx);
                Decided::CommittedElsewhere
            }
        };
        self.record_of(Some(attempt.id), request_id, decided, None, cx);
        self.publish(attempt.id, cx);
        if is_news {
            // Not before: until then the secrets at hand are those that this answer has replaced.
            self.keep(cx);
        }
        self.settle_after_success(&attempt.key, cx);
        true
    }

    fn note_renewed(&mut self, key: &LeaseKey, before: &Grant) {
        let before = before.leases.get(key);
        self.note_what_reports_brought(key, before.is_some_and(|lease| lease.rejected));
        if let (Some(before), Some(after)) = (before, self.grant.leases.get(key)) {
            let after = after.fingerprint;
            self.validation.renewed(key, before.dead.then_some(after));
        }
    }

    /// What changed while the answer was on its way to the disk stays changed.
    fn carry_over(&mut self, before: &Grant) {
        let rejected: Vec<_> = before
            .leases
            .iter()
            .filter(|(_, lease)| lease.rejected)
            .collect();
        for (key, old) in rejected {
            if let Some(lease) = self.grant_mut().leases.get_mut(key)
                && lease.fingerprint == old.fingerprint
            {
                (lease.rejected, lease.dead) = (true, old.dead);
            }
        }
        if self.grant.flags.stale_store != before.flags.stale_store {
            self.grant_mut().flags.stale_store = before.flags.stale_store.clone();
        }
    }

    fn announce(&self, before: &Grant, cx: &mut Context<'_>) {
        let flags = &self.grant.flags;
        if let Some(raised) = &flags.needs_login {
            self.notify(Notice::LoginNeeded(raised.reason.clone()), cx);
        } else if let Some(changed) = &flags.scope_changed
            && before
                .flags
                .scope_changed
                .as_ref()
                .map(|raised| &raised.reason)
                != Some(&changed.reason)
        {
            self.notify(Notice::ScopeChanged, cx);
        }
    }

    /// Whether a leaving account can go: nothing of it is in flight.
    pub(crate) fn may_leave(&self) -> bool {
        self.leaving.is_some() && self.is_resting()
    }
}

/// The scopes of a lease that has others than its key asks for.
fn other_scopes(grant: &Grant) -> Option<ScopeSet> {
    grant.leases.iter().find_map(|(key, lease)| {
        let asked = match key.scopes.is_empty() {
            true => &grant.scopes,
            false => &key.scopes,
        };
        (lease.scopes != *asked).then(|| lease.scopes.clone())
    })
}

/// A token of this kind was not refused: what was learned of its life fades.
fn grow_again(grant: &mut Grant, key: &LeaseKey, tokens: &TokenSummary) {
    let Some(learned) = grant.learned.get_mut(key) else {
        return;
    };
    let stated = match tokens.expires_in {
        ExpiresIn::Stated(stated) => stated,
        ExpiresIn::Missing => learned.stated,
    };
    if !learned.calm(stated) {
        grant.learned.remove(key);
    }
}

/// The lease for `key` that `tokens` make of an answer with this `Date`.
pub(crate) fn new_lease(
    grant: &Grant,
    key: &LeaseKey,
    tokens: &TokenSummary,
    scopes: ScopeSet,
    issued: Stamp,
    date: Option<Wall>,
    draw: f64,
) -> Lease {
    let profile = &grant.provider.profile;
    let asked_at = date.unwrap_or(issued.at.wall);
    let (life, expiry) = lifetime(tokens, profile, grant.renewable, asked_at);
    let learned = grant.learned.get(key).zip(life);
    let shorter = learned
        .map(|(learned, life)| learned.believed(life))
        .filter(|believed| Some(*believed) != life);
    let (life, expiry) = match shorter {
        Some(believed) => (Some(believed), Expiry::Assumed),
        None => (life, expiry),
    };
    let lead = life.map_or(Duration::ZERO, |life| {
        lead(life, tokens.refresh_in, profile, draw)
    });
    Lease {
        generation: grant.generation,
        fingerprint: tokens.fingerprint,
        token_type: tokens.token_type.clone(),
        scopes,
        issued,
        lifetime: life,
        expiry,
        lead,
        rejected: false,
        dead: false,
    }
}

fn subject_changed(grant: &Grant, tokens: &TokenSummary) -> Option<LoginReason> {
    let (before, after) = (grant.subject.as_ref()?, tokens.subject.as_ref()?);
    (before.sub != after.sub).then_some(LoginReason::SubjectChanged)
}
