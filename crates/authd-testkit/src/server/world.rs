//! The server's state: one value behind one lock, and the news that it changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    TimedOut, authorize::Code, device::Device, dpop::Seen, pushed::PushedRequests, signer::Signer,
};
use crate::{
    client::Client,
    clock::Clock,
    fault::Faults,
    ledger::{Fingerprint, Ledger, Revocation},
    settings::Settings,
};

/// Everything the server knows. Handlers are plain functions over it.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) issuer: String,
    pub(crate) signer: Signer,
    pub(crate) settings: Settings,
    pub(crate) clients: Vec<Client>,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Faults,
    pub(crate) codes: BTreeMap<Fingerprint, Code>,
    /// The assertions that were seen, by client and `jti`.
    pub(crate) assertions: BTreeSet<String>,
    pub(crate) devices: BTreeMap<Fingerprint, Device>,
    pub(crate) pushed: PushedRequests,
    pub(crate) proofs: Seen,
    /// The key that the token request at hand proved to hold (RFC 9449): what it yields is bound to it.
    pub(crate) proven: Option<String>,
    pub(crate) requests: u64,
}

impl World {
    pub(crate) fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }

    /// Kills a family as the settings say.
    pub(crate) fn revoke_family(&mut self, id: usize, why: Revocation) {
        let too = self.settings.family_revocation_revokes_access_tokens;
        self.ledger.revoke_family(id, why, too);
    }
}

/// The state, shared by the handlers and the handle; whoever waits for a change needs no polling.
pub(crate) struct Shared {
    world: Mutex<World>,
    changed: watch::Sender<()>,
    changed_blocking: Condvar,
}

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world: Mutex::new(world),
            changed: watch::Sender::new(()),
            changed_blocking: Condvar::new(),
        }
    }

    /// Looks at the state.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state and wakes whoever waits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_replace(());
        self.changed_blocking.notify_all();
        result
    }

    /// Waits, without end, until `holds`.
    pub(crate) async fn wait(&self, holds: impl Fn(&World) -> bool) {
        let mut news = self.changed.subscribe();
        while !self.read(&holds) {
            // The sender lives as long as `self`.
            let _ = news.changed().await;
        }
    }

    /// Blocks until `holds`, at most for `within`.
    pub(crate) fn wait_blocking(
        &self,
        within: Duration,
        holds: impl Fn(&World) -> bool,
    ) -> Result<(), TimedOut> {
        let started = Instant::now();
        let mut world = self.lock();
        while !holds(&world) {
            let left = within
                .checked_sub(started.elapsed())
                .ok_or(TimedOut { within })?;
            (world, _) = self
                .changed_blocking
                .wait_timeout(world, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        // A handler that panicked has failed its test already; the others should still see state.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
