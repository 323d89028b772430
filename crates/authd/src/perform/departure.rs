//! Accounts that go: forgotten, or logged out with their tokens revoked (RFC 7009).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use authd_core::{
    broker::Event,
    grant::{Endpoints, Grant, Provider},
    id::Account,
    secret::Secret,
};
use authd_oauth::{Client, Revocation, RevocationFailure, TokenTypeHint as Hint, TransportFailure};
use authd_proto::response::TokenKind;
use authd_store::{PendingRevocation, Secrets, TokenTypeHint};
use tokio::sync::oneshot;

use super::Performer;
use crate::{
    credential::{self, Wanted},
    driver::Message,
    failpoint::{self, Boundary},
};

/// One account on its way out.
pub(super) struct Departure {
    /// Until it is off the disk: to be taken back if that fails.
    held: Option<Held>,
    /// Who waits for it; `None` when told already.
    told: Option<oneshot::Sender<Departed>>,
    /// Whether they have waited long enough.
    overdue: bool,
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

/// How a departure went, for the one who asked.
pub(crate) enum Departed {
    /// There is no such account, or it goes already.
    Unknown,
    /// It is gone. What the provider has revoked, and what it is still to hear of.
    Gone {
        revoked: Vec<TokenKind>,
        pending: Vec<TokenKind>,
    },
    /// The time is up; the work goes on.
    Overdue,
    /// It is still there, for this reason.
    Kept(String),
}

impl Performer {
    /// Notes who wants an account to go. `false`: there is no such account, or it goes already.
    pub(crate) fn depart(
        &mut self,
        account: &Account,
        wait: Duration,
        done: oneshot::Sender<Departed>,
    ) -> bool {
        let snapshot = self.accounts.get(account);
        let Some(snapshot) = snapshot.filter(|_| !self.departures.contains_key(account)) else {
            tell(Some(done), Departed::Unknown);
            return false;
        };
        // Kept here, because the engine lets the account go with its next effects.
        let held = Held {
            grant: Arc::clone(&snapshot.view.grant),
            secrets: self.vault.get(account).cloned().unwrap_or_default(),
        };
        let departure = Departure {
            held: Some(held),
            told: Some(done),
            overdue: false,
            owing: BTreeSet::new(),
            untried: BTreeSet::new(),
            revoked: Vec::new(),
            pending: Vec::new(),
        };
        self.departures.insert(account.clone(), departure);
        let (mailbox, account) = (self.daemon.mailbox.clone(), account.clone());
        self.daemon.network.spawn(async move {
            tokio::time::sleep(wait).await;
            mailbox.send(Message::DepartureOverdue { account });
        });
        true
    }

    /// Whether every account that goes is off the disk.
    pub(crate) fn all_departed(&self) -> bool {
        self.departures
            .values()
            .all(|departure| departure.held.is_none())
    }

    /// The engine let the account go: its tokens become owed revocations, then it leaves the disk.
    pub(super) fn erase(&mut self, account: Account, revoke: bool) {
        let secrets = self.vault.remove(&account).unwrap_or_default();
        // An answer on its way to the disk is that of a login that takes the grant's place.
        let committing = &self.committing;
        self.unsaved
            .retain(|(of, _), attempt| *of != account || committing.contains_key(attempt));
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

    /// Only this grant: a login to the same account may have taken its place.
    fn take_off_disk(&self, account: Account) {
        let mailbox = self.daemon.mailbox.clone();
        let held = self
            .departures
            .get(&account)
            .and_then(|departure| departure.held.as_ref());
        let Some((store, held)) = self.store.as_ref().zip(held) else {
            return;
        };
        store.erase(account.clone(), held.grant.id, move |result| {
            let result = result.map_err(|error| error.to_string());
            mailbox.send(Message::Erased { account, result });
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
            let unowed: Vec<_> = departure.untried.iter().copied().collect();
            unowed.into_iter().for_each(|id| self.settle(id));
            return self.take_back(account, why);
        }
        if !departure.owing.is_empty() {
            return Vec::new();
        }
        let owed: Vec<_> = departure.untried.iter().copied().collect();
        failpoint::reach(Boundary::RevocationsOwed);
        self.take_off_disk(account.clone());
        owed.into_iter()
            .map(|id| Event::RevocationOwed { id })
            .collect()
    }

    /// What could not leave the disk is there still, and readers see it again; unless a login has
    /// taken its place.
    fn take_back(&mut self, account: &Account, why: String) -> Vec<Event> {
        let Some(departure) = self.departures.remove(account) else {
            return Vec::new();
        };
        tell(departure.told, Departed::Kept(why));
        let Some(Held { grant, secrets }) = departure.held else {
            return Vec::new();
        };
        if self.accounts.contains_key(account) {
            return Vec::new();
        }
        self.vault.insert(account.clone(), secrets);
        vec![Event::Loaded {
            grant: Box::new(Grant::clone(&grant)),
            interrupted: None,
            stale: None,
        }]
    }

    /// The account is off the disk, or could not be taken off.
    pub(crate) fn erased(&mut self, account: &Account, result: Result<(), String>) -> Vec<Event> {
        if let Err(why) = result {
            tracing::error!(%account, why, "the account is still on disk");
            return self.take_back(account, why);
        }
        let Some(departure) = self.departures.get_mut(account) else {
            return Vec::new();
        };
        departure.held = None;
        let revokes = !departure.untried.is_empty() || !departure.revoked.is_empty();
        // At a stop nothing more is tried; what is owed is tried after the next start.
        departure.overdue |= self.stopping;
        self.tell_account(account, if revokes { "logged_out" } else { "forgotten" });
        self.finish(account);
        Vec::new()
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
        let wanted = match self.unproven.contains(&id) {
            true => Wanted::anew(&*self.daemon),
            false => Wanted::Held,
        };
        let daemon = Arc::clone(&self.daemon);
        self.daemon.network.spawn(async move {
            let http = daemon.network.http();
            let provider = owed.provider.unwrap_or_else(|| Provider {
                endpoints: Endpoints {
                    revocation: Some(owed.endpoint),
                    ..Endpoints::default()
                },
                client_id: owed.client_id,
                client_auth: owed.client_auth,
                ..Provider::default()
            });
            let obtained = credential::obtain(&daemon, &provider, owed.client_secret, wanted).await;
            let credential = match obtained {
                Ok(credential) => credential,
                Err(error) => {
                    tracing::warn!(%error, "a revocation cannot be asked for yet");
                    let cause = RevocationFailure::Transport(TransportFailure::Unsigned);
                    let outcome = Revocation::Failed(cause);
                    return mailbox.send(Message::RevocationTried { id, outcome });
                }
            };
            let hint = match owed.hint {
                TokenTypeHint::AccessToken => Hint::AccessToken,
                TokenTypeHint::RefreshToken => Hint::RefreshToken,
            };
            let client = Client {
                provider: &provider,
                credential: &credential,
                ambient: &*daemon,
            };
            let outcome = authd_oauth::revoke(&http, client, &owed.token, hint).await;
            mailbox.send(Message::RevocationTried { id, outcome });
        });
    }

    /// A provider was told, or could not be. Returns whether nothing is left to do.
    pub(crate) fn revocation_tried(&mut self, id: u64, outcome: Revocation) -> bool {
        let settled = match outcome {
            Revocation::Revoked | Revocation::Unsupported => true,
            Revocation::Failed(cause) => {
                tracing::warn!(%cause, "a revocation failed, and is tried again");
                if let RevocationFailure::Client(_) = cause {
                    self.unproven.insert(id);
                }
                false
            }
        };
        let kind = self.revocations.get(&id).map(kind);
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
        self.unproven.remove(&id);
        if let Some(store) = &self.store {
            store.settle_revocation(id, move |result| {
                if let Err(error) = result {
                    tracing::warn!(%error, "a settled revocation is still on disk");
                }
            });
        }
    }

    /// The one who asked has waited long enough; the work goes on.
    pub(crate) fn departure_overdue(&mut self, account: &Account) {
        if let Some(departure) = self.departures.get_mut(account) {
            departure.overdue = true;
            self.finish(account);
        }
    }

    fn finish(&mut self, account: &Account) {
        let Some(departure) = self.departures.get_mut(account) else {
            return;
        };
        let gone = departure.held.is_none();
        let done = gone && departure.untried.is_empty();
        if done || departure.overdue {
            let waiting = departure
                .untried
                .iter()
                .filter_map(|id| self.revocations.get(id));
            let mut pending = departure.pending.clone();
            pending.extend(waiting.map(kind));
            let revoked = departure.revoked.clone();
            let departed = if gone {
                Departed::Gone { revoked, pending }
            } else {
                Departed::Overdue
            };
            tell(departure.told.take(), departed);
        }
        if done {
            self.departures.remove(account);
        }
    }
}

fn tell(told: Option<oneshot::Sender<Departed>>, departed: Departed) {
    if let Some(told) = told {
        // The one who asked may be gone.
        let _ = told.send(departed);
    }
}

fn kind(owed: &PendingRevocation) -> TokenKind {
    match owed.hint {
        TokenTypeHint::AccessToken => TokenKind::AccessToken,
        TokenTypeHint::RefreshToken => TokenKind::RefreshToken,
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
                provider: Some(Provider::clone(provider)),
                token: token.clone(),
                hint,
            },
        )
        .collect()
}

fn random_id() -> Option<u64> {
    getrandom::u64().ok()
}
