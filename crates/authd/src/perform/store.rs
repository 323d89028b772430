//! The store itself: opened, adopted, closed.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use authd_core::{broker::Event, flag::StaleStore, grant::Grant, id::Account};
use authd_store::{
    Flushed, Loaded, PendingRevocation, Record, Secrets, Store, StoreError, key::KeyStore,
};

use super::Performer;
use crate::{
    daemon::Standing,
    driver::Message,
    keys::Phase,
    open::{self, Opening},
    published::Accounts,
};

/// How long after a failure to open the store it is tried again.
const BETWEEN_OPENINGS: Duration = Duration::from_secs(15);

/// Pause between tries to write what is in memory alone, at the end.
const BETWEEN_FLUSHES: Duration = Duration::from_millis(250);
/// Longest that closing the store may take, and as long for writing what is owed before.
pub(crate) const CLOSING: Duration = Duration::from_secs(10);

impl Performer {
    /// The store was opened, or is to be tried again.
    pub(crate) fn opened(&mut self, opening: Opening) -> Vec<Event> {
        self.daemon.opened.notify_one();
        match opening {
            Opening::Open {
                store,
                loaded,
                protection,
                note,
            } => {
                self.store = Some(store);
                let mut standing = open::describe(&self.daemon, protection, note);
                standing.store.detail = tell_found(&loaded);
                self.daemon.fingerprints.key(loaded.fingerprint_key.clone());
                let events = self.load(*loaded);
                self.daemon.standing.store(Arc::new(standing));
                self.daemon.keys.advance(&[Phase::Opening], Phase::Open);
                events
            }
            Opening::Shut(standing) => {
                self.shut(standing, Phase::Shut);
                if !self.stopping {
                    open::begin_again(&self.daemon, BETWEEN_OPENINGS);
                }
                Vec::new()
            }
            Opening::Locked(standing) => {
                self.shut(standing, Phase::Locked);
                Vec::new()
            }
        }
    }

    /// Has the store's thread say that it is alive: [`Message::StoreAlive`]. One that is not there, because
    /// the store is not open, is nothing to wait for.
    pub(crate) fn ask_store_for_life(&self) {
        let mailbox = self.daemon.mailbox.clone();
        match &self.store {
            None => mailbox.send(Message::StoreAlive),
            Some(store) => store.ping(move |answer| {
                if answer.is_ok() {
                    mailbox.send(Message::StoreAlive);
                }
            }),
        }
    }

    fn shut(&self, standing: Standing, phase: Phase) {
        tracing::warn!(detail = standing.store.detail, "the store is not open");
        self.daemon.published.store(Accounts::new());
        self.daemon.standing.store(Arc::new(standing));
        self.daemon.keys.advance(&[Phase::Opening], phase);
    }

    /// The key has moved, and the anchor with it.
    pub(crate) fn keep_anchor_in(&self, key_store: Option<KeyStore>) {
        if let Some(store) = &self.store {
            // There is nothing to be done about a store that is closed just now: the next start knows.
            store.keep_anchor_in(key_store, drop);
        }
    }

    /// Whether there is a store to write to.
    pub(crate) fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// Writes what is owed; `done` is told on the store's thread.
    pub(crate) fn flush_store(
        &self,
        done: impl FnOnce(Result<Flushed, StoreError>) + Send + 'static,
    ) {
        match &self.store {
            Some(store) => store.flush(done),
            None => done(Err(StoreError::Closed)),
        }
    }

    /// Closes the store; `done` is told on its thread.
    pub(crate) fn close_in_background(
        &mut self,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        match self.store.take() {
            Some(store) => store.close(done),
            None => done(Err(StoreError::Closed)),
        }
    }

    fn load(&mut self, loaded: Loaded) -> Vec<Event> {
        let (mut events, mut all_secrets) = (Vec::new(), Vec::new());
        for Record { mut grant, secrets } in loaded.records {
            let account = grant.account.clone();
            if is_owed(&secrets, &loaded.revocations) {
                // The process ended in the middle of a logout: it is finished.
                self.finish_logout(account, &grant);
                continue;
            }
            // What is served must be there: a lease without its token is renewed, not promised.
            grant
                .leases
                .retain(|key, _| secrets.access_tokens.contains_key(key));
            let unattended = !grant.renewed_by.needs_refresh_token();
            grant.renewable = secrets.refresh_token.is_some() || unattended;
            let interrupted = loaded
                .intents
                .iter()
                .find(|intent| intent.account == account && intent.grant == grant.id)
                .filter(|intent| intent.grant_type.spends())
                .map(|intent| intent.at);
            let stale = if loaded.stale.contains(&account) {
                Some(StaleStore::OlderGeneration)
            } else {
                let is_foreign = loaded.foreign.contains(&account);
                is_foreign.then_some(StaleStore::OtherMachine)
            };
            all_secrets.push((account, secrets));
            events.push(Event::Loaded {
                grant: Box::new(grant),
                interrupted,
                stale,
            });
        }
        // All at once: a tree that grows one by one keeps a third of its places empty.
        self.vault.append(&mut all_secrets.into_iter().collect());
        for owed in loaded.revocations {
            events.push(Event::RevocationOwed { id: owed.id });
            self.revocations.insert(owed.id, owed);
        }
        self.show_owed();
        events
    }

    fn finish_logout(&self, account: Account, grant: &Grant) {
        let Some(store) = &self.store else { return };
        store.erase(account.clone(), grant.id, move |result| {
            if let Err(error) = result {
                tracing::error!(%account, %error, "the account is still on disk");
            }
        });
    }

    /// The user trusts these accounts' store.
    pub(crate) fn adopt(&mut self, account: Option<Account>) -> Vec<Account> {
        let stale: Vec<_> = self
            .accounts
            .values()
            .filter(|snapshot| snapshot.view.grant.flags.stale_store.is_some())
            .map(|snapshot| snapshot.view.grant.account.clone())
            .filter(|stale| account.as_ref().is_none_or(|account| account == stale))
            .collect();
        for account in &stale {
            let Some(snapshot) = self.accounts.get(account) else {
                continue;
            };
            let mut grant = Grant::clone(&snapshot.view.grant);
            grant.flags.stale_store = None;
            let Some((store, record)) = self.record(&Arc::new(grant)) else {
                continue;
            };
            self.tell_account(account, "adopted");
            let account = account.clone();
            store.adopt(record, move |result| {
                if let Err(error) = result {
                    tracing::error!(%account, %error, "the adoption is not on disk");
                }
            });
        }
        stale
    }

    /// Writes what is still owed and closes the store. Blocks: nothing else runs any more.
    pub(crate) fn close_store(&mut self) {
        let Some(store) = self.store.take() else {
            return;
        };
        flush(&store);
        let (told, hear) = mpsc::channel();
        store.close(move |closed| {
            // The receiver waits below.
            let _ = told.send(closed);
        });
        match hear.recv_timeout(CLOSING) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the store was not closed cleanly"),
            Err(_) => tracing::warn!("the store was still busy"),
        }
    }
}

/// Tries until nothing is in memory alone, or the time is up; says what is not where it should be.
fn flush(store: &Store) {
    let deadline = Instant::now() + CLOSING;
    let flushed = loop {
        let (told, hear) = mpsc::channel();
        store.flush(move |flushed| {
            // The receiver waits below.
            let _ = told.send(flushed);
        });
        let left = deadline.saturating_duration_since(Instant::now());
        match hear.recv_timeout(left) {
            Ok(Ok(flushed)) if flushed.memory_only.is_empty() || left < BETWEEN_FLUSHES => {
                break flushed;
            }
            Ok(Ok(_)) => thread::sleep(BETWEEN_FLUSHES),
            Ok(Err(error)) => return tracing::error!(%error, "the store could not be written"),
            Err(_) => return tracing::error!("the store does not answer"),
        }
    };
    for account in flushed.memory_only {
        tracing::error!(%account, "the newest token could not be written and is lost");
    }
    for account in flushed.spilled {
        tracing::warn!(%account, "the newest token is in a spill file until the next start");
    }
}

/// Whether the refresh token is to be revoked: then its account was being logged out.
fn is_owed(secrets: &Secrets, revocations: &[PendingRevocation]) -> bool {
    secrets.refresh_token.as_ref().is_some_and(|refresh_token| {
        let is_it = |owed: &PendingRevocation| owed.token.matches(refresh_token.expose());
        revocations.iter().any(is_it)
    })
}

/// What was not as it should be, for `status` and the log.
fn tell_found(loaded: &Loaded) -> Option<String> {
    let mut told = Vec::new();
    if loaded.rebuilt_from_mirrors {
        told.push("the database was damaged and rebuilt from its mirrors".to_owned());
    }
    for account in &loaded.taken_from_spill {
        told.push(format!(
            "{account}: the newest token was taken from a spill file"
        ));
    }
    for damaged in &loaded.set_aside {
        told.push(format!(
            "{} is damaged; kept at {}",
            damaged.what,
            damaged.kept_at.display()
        ));
    }
    told.iter().for_each(|what| tracing::warn!("{what}"));
    (!told.is_empty()).then(|| told.join("; "))
}
