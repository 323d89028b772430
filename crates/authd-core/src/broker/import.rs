//! A refresh token that something else held until now: on disk first, and then exchanged as any other.

use std::sync::Arc;

use super::{Broker, Effect, LoginMethod, Owner, login::Phase};
use crate::{
    grant::{Grant, RenewedBy},
    id::{AttemptId, Generation, LoginId},
    map::SmallMap,
    seldom::Seldom,
    time::Now,
};

impl Broker {
    /// Has a refresh token that is taken over written before it is sent, so that no kill can lose it. The
    /// grant is there from then on, without a lease, and its first exchange follows at once.
    ///
    /// Where the account has a login that works, that one stays until the exchange has succeeded: then this
    /// goes the way of every login.
    pub(super) fn take_over(&mut self, id: LoginId, now: Now) {
        let Some(login) = self.logins.get(&id) else {
            return;
        };
        let begun = &login.begun;
        let before = self.accounts.get(&begun.account);
        let before = before.map(|renewal| renewal.grant());
        let works = before.is_some_and(|grant| grant.flags.needs_login.is_none());
        if begun.method != LoginMethod::Import || works {
            return;
        }
        // Whose it was, it must be still.
        let owner = before
            .filter(|_| !begun.replace_subject)
            .and_then(|grant| grant.subject.clone());
        let grant = Arc::new(Grant {
            account: begun.account.clone(),
            id: begun.grant,
            generation: Generation::default().next(),
            provider: self.providers.share(Arc::new(begun.provider.clone())),
            subject: owner,
            scopes: begun.scopes.clone(),
            resource: begun.resource.clone(),
            resources: begun.named(),
            renewable: true,
            renewed_by: RenewedBy::RefreshToken,
            leases: SmallMap::new(),
            learned: SmallMap::new(),
            flags: Seldom::default(),
            renewals: 0,
            created_at: now.wall,
            metadata_seen: begun.provider.stated.is_some().then_some(now.wall),
            last_error: None,
        });
        let attempt = AttemptId(self.rng.u64(..));
        self.attempts.insert(attempt, Owner::Login(id));
        if let Some(login) = self.logins.get_mut(&id) {
            login.phase = Phase::AwaitingCommitted(Arc::clone(&grant));
        }
        self.effects.push_back(Effect::TakeOver {
            attempt,
            login: id,
            grant,
        });
    }
}
