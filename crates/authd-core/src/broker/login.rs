//! Logins under way: from the person's wish to the first generation of a grant.

use std::{sync::Arc, time::Duration};

use super::{
    Broker, CommitOutcome, Decided, Effect, Exchange, LoginBegun, LoginFailure, LoginMethod, Owner,
    context,
};
use crate::{
    answer::{Answer, Body, GrantType, Received, TokenSummary},
    grant::{Grant, Provider, RenewedBy},
    id::{Account, AttemptId, Generation, LoginId},
    lease::LeaseKey,
    map::SmallMap,
    planted::{self, Bug},
    renewal::{Context, Renewal, Verdict, classify::classify, last_error, new_lease, retry_after},
    schedule::Health,
    seldom::Seldom,
    time::{Boot, Now, Stamp},
};

/// RFC 8628 §3.5: what `slow_down` adds to the interval.
const SLOW_DOWN: Duration = Duration::from_secs(5);
/// Attempts to send a code that never left this machine, or that the provider had no time for.
const CODE_ATTEMPTS: u32 = 3;
/// So many codes that are none may be typed in; the next ends the login.
const MISTYPED: u32 = 3;
/// Longest that failures alone may slow a poll down to.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// One login.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) begun: LoginBegun,
    /// The person must have finished by then.
    expires: Boot,
    pub(super) phase: Phase,
    /// Exchanges that failed without having left this machine.
    failures: u32,
    /// The code under way was typed in by the person, alone.
    typed: bool,
    /// Codes that were typed in and were none.
    mistyped: u32,
    interval: Duration,
    /// It was cancelled while a request was out; only tokens can still make it succeed.
    cancelled: Option<LoginFailure>,
}

#[derive(Debug)]
#[expect(
    clippy::enum_variant_names,
    reason = "each is named for what it awaits"
)]
pub(super) enum Phase {
    /// The person is at the provider; the redirect has not come.
    AwaitingCode,
    /// The next exchange (a device poll, or a code once more) is due then.
    AwaitingTurn(Boot),
    /// The request is out.
    AwaitingAnswer,
    /// The grant is on its way to the disk.
    AwaitingCommitted(Arc<Grant>),
}

impl Login {
    /// When it wants to be looked at; with `closed`, nothing may leave.
    pub(super) fn wakes_at(&self, closed: bool) -> Option<Boot> {
        match self.phase {
            Phase::AwaitingCode => Some(self.expires),
            Phase::AwaitingTurn(_) if closed => Some(self.expires),
            Phase::AwaitingTurn(at) => Some(at.min(self.expires)),
            Phase::AwaitingAnswer | Phase::AwaitingCommitted(_) => None,
        }
    }

    /// Whether nothing of it is in flight.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::AwaitingCode | Phase::AwaitingTurn(_))
    }

    fn grant_type(&self) -> GrantType {
        match &self.begun.method {
            LoginMethod::Code => GrantType::AuthorizationCode,
            LoginMethod::Device { .. } => GrantType::DeviceCode,
            LoginMethod::Direct(by) => by.grant_type(),
            LoginMethod::Import => GrantType::RefreshToken,
        }
    }

    fn key(&self) -> LeaseKey {
        LeaseKey {
            resource: self.begun.resource.clone(),
            ..LeaseKey::default()
        }
    }
}

impl Broker {
    pub(super) fn login_begun(&mut self, begun: LoginBegun, now: Now) {
        if self.shutting_down {
            let (login, result) = (begun.login, Err(LoginFailure::ShuttingDown));
            self.effects.push_back(Effect::LoginEnded { login, result });
            return;
        }
        if planted::is(Bug::LoginImpossibleWhenBroken)
            && (self.grant(&begun.account)).is_some_and(|grant| grant.flags.needs_login.is_some())
        {
            let (login, result) = (begun.login, Err(LoginFailure::Cancelled));
            self.effects.push_back(Effect::LoginEnded { login, result });
            return;
        }
        for login in self.logins_of(&begun.account, Login::is_waiting) {
            self.end_login(login, Err(LoginFailure::Replaced));
        }
        let (phase, interval) = match begun.method {
            LoginMethod::Code => (Phase::AwaitingCode, Duration::from_secs(1)),
            LoginMethod::Device { interval } => {
                let interval = interval.max(Duration::from_secs(1));
                (Phase::AwaitingTurn(now.boot.after(interval)), interval)
            }
            LoginMethod::Direct(_) | LoginMethod::Import => {
                (Phase::AwaitingTurn(now.boot), Duration::from_secs(1))
            }
        };
        let expires = now.boot.after(begun.patience);
        let id = begun.login;
        self.logins.insert(
            id,
            Login {
                begun,
                expires,
                phase,
                failures: 0,
                typed: false,
                mistyped: 0,
                interval,
                cancelled: None,
            },
        );
        self.take_over(id, now);
    }

    /// The account leaves: its logins end, unless tokens are on their way already.
    pub(super) fn cancel_logins(&mut self, account: &Account) {
        for login in self.logins_of(account, |_| true) {
            self.cancel_login(login, LoginFailure::Cancelled);
        }
    }

    fn logins_of(&self, account: &Account, which: impl Fn(&Login) -> bool) -> Vec<LoginId> {
        let logins = self.logins.iter();
        logins
            .filter(|(_, login)| login.begun.account == *account && which(login))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn code_received(&mut self, id: LoginId, typed: bool, now: Now) {
        if let Some(login) = self.logins.get_mut(&id)
            && matches!(login.phase, Phase::AwaitingCode)
        {
            login.phase = Phase::AwaitingTurn(now.boot);
            login.typed = typed;
        }
    }

    /// A login whose code is being exchanged is finished: if tokens come, they stand.
    pub(super) fn cancel_login(&mut self, id: LoginId, reason: LoginFailure) {
        let Some(login) = self.logins.get_mut(&id) else {
            return;
        };
        if login.is_waiting() {
            self.end_login(id, Err(reason));
        } else {
            login.cancelled = Some(reason);
        }
    }

    pub(super) fn poll_logins(&mut self, now: Now) {
        let closed = self.is_closed();
        let is_due = |login: &Login| login.wakes_at(closed).is_some_and(|at| at <= now.boot);
        let due: Vec<_> = self
            .logins
            .iter()
            .filter(|(_, login)| is_due(login))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(login) = self.logins.get_mut(&id) else {
                continue;
            };
            if login.expires <= now.boot {
                self.end_login(id, Err(LoginFailure::TimedOut));
                continue;
            }
            login.phase = Phase::AwaitingAnswer;
            let attempt = AttemptId(self.rng.u64(..));
            let exchange = Exchange {
                attempt,
                account: login.begun.account.clone(),
                grant: login.begun.grant,
                generation: Generation::default(),
                grant_type: login.grant_type(),
                key: login.key(),
                login: Some(id),
            };
            self.attempts.insert(attempt, Owner::Login(id));
            self.effects.push_back(Effect::Exchange(exchange));
        }
    }

    pub(super) fn login_answered(
        &mut self,
        id: LoginId,
        attempt: AttemptId,
        answer: &Answer,
        now: Now,
    ) {
        let Some(login) = self.logins.get_mut(&id) else {
            self.attempts.remove(&attempt);
            return;
        };
        let verdict = classify(answer, login.grant_type(), &login.begun.provider.profile);
        if let Received::Response {
            body: Body::Tokens(tokens),
            ..
        } = &answer.received
            && verdict == Verdict::Accepted
        {
            self.login_granted(id, attempt, tokens, answer, now);
            return;
        }
        self.attempts.remove(&attempt);
        if let Some(reason) = login.cancelled.take() {
            return self.end_login(id, Err(reason));
        }
        if verdict == Verdict::InvalidGrant && login.typed && login.mistyped < MISTYPED {
            // A word that only looked like a code spends none: the true one is still to come.
            login.mistyped += 1;
            login.phase = Phase::AwaitingCode;
            return self.effects.push_back(Effect::CodeRefused { login: id });
        }
        if verdict == Verdict::SlowDown {
            login.interval = login.interval.saturating_add(SLOW_DOWN);
        }
        let polls = matches!(login.begun.method, LoginMethod::Device { .. });
        let passing = matches!(
            verdict,
            Verdict::Transient | Verdict::Throttled | Verdict::Offline | Verdict::Ambiguous(_)
        );
        let again = match verdict {
            Verdict::AuthorizationPending | Verdict::SlowDown => polls,
            // RFC 8628 §3.5: a poll that fails in passing is repeated, more slowly.
            _ if passing && polls => {
                let slower = login.interval.saturating_mul(2).min(LONGEST_INTERVAL);
                login.interval = login.interval.max(slower);
                true
            }
            Verdict::Transient | Verdict::Throttled => {
                login.failures += 1;
                login.failures < CODE_ATTEMPTS
            }
            _ => false,
        };
        if again && self.shutting_down {
            self.end_login(id, Err(LoginFailure::ShuttingDown));
        } else if again {
            let asked = retry_after(answer, now).unwrap_or_default();
            login.phase = Phase::AwaitingTurn(now.boot.after(login.interval.max(asked)));
        } else {
            self.end_login(id, Err(failure(verdict, answer, now)));
        }
    }

    fn login_granted(
        &mut self,
        id: LoginId,
        attempt: AttemptId,
        tokens: &TokenSummary,
        answer: &Answer,
        now: Now,
    ) {
        let Some(login) = self.logins.get_mut(&id) else {
            return;
        };
        let before = self.accounts.get(&login.begun.account);
        let stranger = before
            .filter(|_| !login.begun.replace_subject)
            .and_then(|before| stranger(before.grant(), &login.begun.provider, tokens));
        if let Some(failure) = stranger {
            self.attempts.remove(&attempt);
            self.end_login(id, Err(failure));
            return;
        }
        let begun = &login.begun;
        let scopes = tokens
            .scopes
            .clone()
            .unwrap_or_else(|| begun.scopes.clone());
        let renewed_by = match &begun.method {
            LoginMethod::Direct(by) => by.clone(),
            LoginMethod::Code | LoginMethod::Device { .. } | LoginMethod::Import => {
                RenewedBy::RefreshToken
            }
        };
        // The refresh token that was brought stays good where no other comes.
        let brought = begun.method == LoginMethod::Import;
        let mut grant = Grant {
            account: begun.account.clone(),
            id: begun.grant,
            generation: Generation::default().next(),
            provider: self.providers.share(Arc::new(begun.provider.clone())),
            subject: tokens.subject.clone(),
            scopes: scopes.clone(),
            resource: begun.resource.clone(),
            resources: begun.named(),
            renewable: tokens.refresh_token || brought || !renewed_by.needs_refresh_token(),
            renewed_by,
            leases: SmallMap::new(),
            learned: SmallMap::new(),
            flags: Seldom::default(),
            renewals: 0,
            created_at: now.wall,
            last_error: None,
            // It was fetched for this login.
            metadata_seen: begun.provider.stated.is_some().then_some(now.wall),
        };
        let issued = Stamp {
            boot_id: self.boot_id,
            at: answer.sent_at,
        };
        let draw = self.rng.f64();
        let key = login.key();
        let lease = new_lease(&grant, &key, tokens, scopes, issued, answer.date, draw);
        grant.leases.insert(key, lease);
        let grant = Arc::new(grant);
        login.phase = Phase::AwaitingCommitted(Arc::clone(&grant));
        self.effects.push_back(Effect::Commit { attempt, grant });
    }

    pub(super) fn login_committed(
        &mut self,
        id: LoginId,
        attempt: AttemptId,
        outcome: CommitOutcome,
        now: Now,
    ) {
        self.attempts.remove(&attempt);
        let Some(login) = self.logins.get(&id) else {
            return;
        };
        let Phase::AwaitingCommitted(grant) = &login.phase else {
            return;
        };
        let (account, grant) = (login.begun.account.clone(), Arc::clone(grant));
        let failure = match &outcome {
            CommitOutcome::Durable | CommitOutcome::Spilled(_) => None,
            CommitOutcome::MemoryOnly(reason) => Some(LoginFailure::Store(reason.clone())),
            CommitOutcome::Superseded => Some(LoginFailure::Replaced),
        };
        if let Some(failure) = failure {
            return self.end_login(id, Err(failure));
        }
        self.dequeue(&account);
        let before = self.accounts.remove(&account);
        if let Some(old) = before.as_ref().and_then(|before| before.attempt()) {
            // Its answer, should it still come, is for a grant that is no more.
            self.attempts.remove(&old.id);
            let host = before
                .as_ref()
                .map(|renewal| renewal.grant().provider.host());
            if let Some(host) = host {
                let health = Health::Untried;
                // Untried turns nothing.
                let _ = self.schedule.ended(&host, &account, health, now.boot);
            }
        }
        if before.as_ref().is_some_and(|old| old.leaving().is_some()) {
            // The old grant was to leave and is gone already, replaced; whoever waits for that must
            // hear of it. Nothing is revoked, which at some providers would end the new one too.
            let (account, revoke) = (account.clone(), false);
            self.effects.push_back(Effect::Erase { account, revoke });
        }
        let cx = &mut context!(self, now);
        let mut renewal = match before {
            Some(before) => before.replaced_by(Arc::clone(&grant), cx),
            None => Renewal::new(Arc::clone(&grant), now),
        };
        renewal.logged_in(outcome, attempt, cx);
        self.accounts.insert(account.clone(), Box::new(renewal));
        self.providers.forget_unused();
        self.attend(&account, now);
        self.end_login(id, Ok(grant));
    }

    pub(super) fn end_login(&mut self, id: LoginId, result: Result<Arc<Grant>, LoginFailure>) {
        if self.logins.remove(&id).is_some() {
            self.effects
                .push_back(Effect::LoginEnded { login: id, result });
        }
    }
}

impl Renewal {
    /// The first generation of a new login is on disk.
    fn logged_in(&mut self, outcome: CommitOutcome, attempt: AttemptId, cx: &mut Context<'_>) {
        if let CommitOutcome::Spilled(reason) = outcome {
            self.saved_elsewhere(reason, cx);
        }
        self.record_of(Some(attempt), None, Decided::Committed, None, cx);
        self.publish(attempt, cx);
        self.on_time(cx);
    }
}

/// Why a login is not known to be the account's owner's.
///
/// Where nobody is known to own it, only the provider and the client tell one login from another: as the
/// same client at the same provider it is anybody's who can log in. A known owner may come by another client.
fn stranger(grant: &Grant, provider: &Provider, tokens: &TokenSummary) -> Option<LoginFailure> {
    let same_issuer = match (&grant.provider.issuer, &provider.issuer) {
        (Some(before), Some(now)) => before == now,
        _ => grant.provider.host() == provider.host(),
    };
    if !same_issuer {
        let name = |provider: &Provider| {
            let issuer = provider.issuer.clone();
            issuer.unwrap_or_else(|| provider.host().0.to_string())
        };
        let (expected, found) = (name(&grant.provider), name(provider));
        return Some(LoginFailure::IssuerMismatch { expected, found });
    }
    let Some(expected) = &grant.subject else {
        // A client that the provider registered for us may have been registered anew there.
        let are_ours = grant.provider.registration.is_some() && provider.registration.is_some();
        let is_same = grant.provider.client_id == provider.client_id || are_ours;
        return (!is_same).then(|| LoginFailure::ClientMismatch {
            expected: grant.provider.client_id.clone(),
            found: provider.client_id.clone(),
        });
    };
    let found = tokens.subject.as_ref();
    let is_owner = found.is_some_and(|found| found.sub == expected.sub);
    (!is_owner).then(|| LoginFailure::SubjectMismatch {
        expected: Box::new(expected.clone()),
        found: found.cloned().map(Box::new),
    })
}

fn failure(verdict: Verdict, answer: &Answer, now: Now) -> LoginFailure {
    match (&answer.received, verdict) {
        (_, Verdict::AccessDenied) => LoginFailure::Denied,
        (_, Verdict::ExpiredToken) => LoginFailure::TimedOut,
        (
            Received::Response {
                body: Body::Error {
                    code, description, ..
                },
                ..
            },
            _,
        ) => LoginFailure::Refused {
            code: code.clone(),
            description: description.clone(),
        },
        (Received::Unproven { why }, _) => LoginFailure::Unproven(why.clone()),
        _ => LoginFailure::Unreachable(last_error(verdict, answer, now).message),
    }
}
