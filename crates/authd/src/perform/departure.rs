//! Accounts that go: forgotten, or logged out with their tokens revoked (RFC 7009).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use authd_core::{
    broker::Event,
    grant::{Endpoints, Grant, Provider},
    id::Account,
    secret::Secret,
};
use authd_oauth::{Revocation, TokenTypeHint as Hint};
use authd_proto::response::TokenKind;
use authd_store::{PendingRevocation, Secrets, TokenTypeHint};
use tokio::sync::oneshot;

use super::Performer;
use crate::driver::{LogoutResult, Message};

/// One account on its way out.
pub(super) struct Departure {
    /// Until it is off the disk: to be taken back if the revocations cannot be kept.
    held: Option<Held>,
    told: Told,
    /// Revocations that are on their way to the disk.
    owing: BTreeSet<u64>,
    /// Revocations that were not tried yet.
    untried: BTreeSet<u64>,
    revoked: Vec<TokenKind>,
    pending: Vec<TokenKind>,
}

struct Held {
    grant: Arc<Grant>,
    secrets: Secrets,
}

/// Who waits for it.
enum Told {
    Forget(oneshot::Sender<Option<()>>),
    Logout(oneshot::Sender<Option<LogoutResult>>),
    /// Told already.
    Nobody,
}

impl Performer {
    /// Notes who wants an account forgotten. `false`: there is no such account, or it goes already.
    pub(crate) fn forget(&mut self, account: &Account, done: oneshot::Sender<Option<()>>) -> bool {
        self.depart(account, Told::Forget(done), None)
    }

    /// Notes who wants an account logged out. `false` as in [`Performer::forget`].
    pub(crate) fn logout(
        &mut self,
        account: &Account,
        wait: Duration,
        done: oneshot::Sender<Option<LogoutResult>>,
    ) -> bool {
        self.depart(account, Told::Logout(done), Some(wait))
    }

    fn depart(&mut self, account: &Account, told: Told, wait: Option<Duration>) -> bool {
        if !self.accounts.contains_key(account) || self.departures.contains_key(account) {
            match told {
                // The one who asked may be gone.
                Told::Forget(done) => drop(done.send(None)),
                Told::Logout(done) => drop(done.send(None)),
                Told::Nobody => {}
            }
            return false;
        }
        let departure = Departure {
            held: None,
            told,
            owing: BTreeSet::new(),
            untried: BTreeSet::new(),
            revoked: Vec::new(),
            pending: Vec::new(),
        };
        self.departures.insert(account.clone(), departure);
        // Kept here, because the engine lets the account go with its next effects.
        self.hold(account);
        if let Some(wait) = wait {
            let (mailbox, account) = (self.daemon.mailbox.clone(), account.clone());
            self.daemon.network.spawn(async move {
                tokio::time::sleep(wait).await;
                mailbox.send(Message::LogoutOverdue { account });
            });
        }
        true
    }

    fn hold(&mut self, account: &Account) {
        let Some(snapshot) = self.accounts.get(account) else {
            return;
        };
        let grant = Arc::clone(&snapshot.view.grant);
        let secrets = self.vault.get(account).cloned().unwrap_or_default();
        if let Some(departure) = self.departures.get_mut(account) {
            departure.held = Some(Held { grant, secrets });
        }
    }

    /// The engine let the account go: its tokens become owed revocations, then it leaves the disk.
    pub(super) fn erase(&mut self, account: Account, revoke: bool) {
        let secrets = self.vault.remove(&account).unwrap_or_default();
        self.unsaved.remove(&account);
        let Some(departure) = self.departures.get_mut(&account) else {
            return;
        };
        let Some(held) = &mut departure.held else {
            return;
        };
        // An exchange that was in flight may have brought newer ones since.
        held.secrets = secrets;
        let owed = if revoke {
            revocations(&account, held)
        } else {
            Vec::new()
        };
        departure.owing = owed.iter().map(|owed| owed.id).collect();
        departure.untried.clone_from(&departure.owing);
        if owed.is_empty() {
            return self.take_off_disk(account);
        }
        let Some(store) = &self.store else { return };
        for owed in owed {
            let (id, mailbox, account) = (owed.id, self.daemon.mailbox.clone(), account.clone());
            self.revocations.insert(id, owed.clone());
            store.owe_revocation(owed, move |result| {
                let result = result.map_err(|error| error.to_string());
                mailbox.send(Message::Owed {
                    account,
                    id,
                    result,
                });
            });
        }
    }

    fn take_off_disk(&self, account: Account) {
        let mailbox = self.daemon.mailbox.clone();
        let Some(store) = &self.store else { return };
        store.erase(account.clone(), move |result| {
            if let Err(error) = result {
                tracing::error!(%account, %error, "the account is still on disk");
            }
            mailbox.send(Message::Erased { account });
        });
    }

    /// A revocation is on disk, or could not be put there: then the account stays.
    pub(crate) fn owed(
        &mut self,
        account: &Account,
        id: u64,
        result: Result<(), String>,
    ) -> Vec<Event> {
        let Some(departure) = self.departures.get_mut(account) else {
            return Vec::new();
        };
        if !departure.owing.remove(&id) {
            return Vec::new();
        }
        if let Err(why) = result {
            return self.take_back(account, why);
        }
        if departure.owing.is_empty() {
            let ids: Vec<_> = departure.untried.iter().copied().collect();
            self.take_off_disk(account.clone());
            return ids
                .into_iter()
                .map(|id| Event::RevocationOwed { id })
                .collect();
        }
        Vec::new()
    }

    fn take_back(&mut self, account: &Account, why: String) -> Vec<Event> {
        let Some(departure) = self.departures.remove(account) else {
            return Vec::new();
        };
        for id in &departure.untried {
            self.settle(*id);
        }
        if let Told::Logout(done) = departure.told {
            // The one who asked may be gone.
            let _ = done.send(Some(Err(why)));
        }
        let Some(Held { grant, secrets }) = departure.held else {
            return Vec::new();
        };
        self.vault.insert(account.clone(), secrets);
        let grant = Box::new(Grant::clone(&grant));
        vec![Event::Loaded {
            grant,
            interrupted: None,
            stale: None,
        }]
    }

    /// The account is off the disk.
    pub(crate) fn erased(&mut self, account: &Account) {
        let Some(departure) = self.departures.get_mut(account) else {
            return;
        };
        departure.held = None;
        let outcome = if departure.untried.is_empty() && departure.revoked.is_empty() {
            "forgotten"
        } else {
            "logged_out"
        };
        if let Told::Forget(_) = departure.told
            && let Told::Forget(done) = std::mem::replace(&mut departure.told, Told::Nobody)
        {
            // The one who asked may be gone.
            let _ = done.send(Some(()));
        }
        self.tell_account(account, outcome);
        self.finish(account);
    }

    /// Tells the provider, detached.
    pub(super) fn revoke(&self, id: u64) {
        let mailbox = self.daemon.mailbox.clone();
        let Some(owed) = self.revocations.get(&id).cloned() else {
            return mailbox.send(Message::RevocationTried {
                id,
                outcome: Revocation::Revoked,
            });
        };
        let http = self.daemon.network.http();
        self.daemon.network.spawn(async move {
            let provider = Provider {
                endpoints: Endpoints {
                    revocation: Some(owed.endpoint),
                    ..Endpoints::default()
                },
                client_id: owed.client_id,
                client_auth: owed.client_auth,
                ..Provider::default()
            };
            let hint = match owed.hint {
                TokenTypeHint::AccessToken => Hint::AccessToken,
                TokenTypeHint::RefreshToken => Hint::RefreshToken,
            };
            let secret = owed.client_secret.as_ref();
            let outcome = authd_oauth::revoke(&http, &provider, secret, &owed.token, hint).await;
            mailbox.send(Message::RevocationTried { id, outcome });
        });
    }

    /// A provider was told, or could not be. Returns whether nothing is left to do.
    pub(crate) fn revocation_tried(&mut self, id: u64, outcome: Revocation) -> bool {
        let settled = match outcome {
            Revocation::Revoked | Revocation::Unsupported => true,
            Revocation::Failed { retryable, cause } => {
                tracing::warn!(%cause, retryable, "a revocation failed");
                !retryable
            }
        };
        let kind = self.revocations.get(&id).map(|owed| match owed.hint {
            TokenTypeHint::AccessToken => TokenKind::AccessToken,
            TokenTypeHint::RefreshToken => TokenKind::RefreshToken,
        });
        if settled {
            self.settle(id);
        }
        let whose = self.departures.iter_mut().find_map(|(account, departure)| {
            departure
                .untried
                .remove(&id)
                .then(|| (account.clone(), departure))
        });
        if let Some((account, departure)) = whose {
            if let Some(kind) = kind {
                let list = match outcome {
                    Revocation::Revoked => &mut departure.revoked,
                    _ => &mut departure.pending,
                };
                // Unsupported is neither: it will never be revoked, and nothing is owed.
                if !matches!(outcome, Revocation::Unsupported) {
                    list.push(kind);
                }
            }
            self.finish(&account);
        }
        settled
    }

    fn settle(&mut self, id: u64) {
        self.revocations.remove(&id);
        if let Some(store) = &self.store {
            store.settle_revocation(id, move |result| {
                if let Err(error) = result {
                    tracing::warn!(%error, "a settled revocation is still on disk");
                }
            });
        }
    }

    /// The one who asked for a logout has waited long enough; what is untried is pending.
    pub(crate) fn logout_overdue(&mut self, account: &Account) {
        if let Some(departure) = self.departures.get_mut(account) {
            let waiting = departure
                .untried
                .iter()
                .filter_map(|id| self.revocations.get(id));
            departure
                .pending
                .extend(waiting.map(|owed| match owed.hint {
                    TokenTypeHint::AccessToken => TokenKind::AccessToken,
                    TokenTypeHint::RefreshToken => TokenKind::RefreshToken,
                }));
            departure.untried.clear();
            self.finish(account);
        }
    }

    fn finish(&mut self, account: &Account) {
        let done = self.departures.get(account).is_some_and(|departure| {
            departure.held.is_none() && departure.untried.is_empty() && departure.owing.is_empty()
        });
        if !done {
            return;
        }
        let Some(departure) = self.departures.remove(account) else {
            return;
        };
        if let Told::Logout(done) = departure.told {
            // The one who asked may be gone.
            let _ = done.send(Some(Ok((departure.revoked, departure.pending))));
        }
    }
}

/// What is owed to the provider: the refresh token first, because revoking it ends the grant
/// (RFC 7009 §2.1), then every access token. Nothing, where it has no such endpoint.
fn revocations(account: &Account, held: &Held) -> Vec<PendingRevocation> {
    let provider = &held.grant.provider;
    let Some(endpoint) = &provider.endpoints.revocation else {
        return Vec::new();
    };
    let refresh_token = held.secrets.refresh_token.iter();
    let access_tokens = held.secrets.access_tokens.values();
    refresh_token
        .map(|token| (token, TokenTypeHint::RefreshToken))
        .chain(access_tokens.map(|token| (token, TokenTypeHint::AccessToken)))
        .filter_map(|(token, hint)| Some((random_id()?, token, hint)))
        .map(
            |(id, token, hint): (u64, &Secret, TokenTypeHint)| PendingRevocation {
                id,
                account: account.clone(),
                endpoint: endpoint.clone(),
                client_id: provider.client_id.clone(),
                client_auth: provider.client_auth,
                client_secret: held.secrets.client_secret.clone(),
                token: token.clone(),
                hint,
            },
        )
        .collect()
}

fn random_id() -> Option<u64> {
    getrandom::u64().ok()
}
