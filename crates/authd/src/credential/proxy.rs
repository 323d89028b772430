//! The password of a proxy: fetched when a connection goes through it, and not before.

use std::{sync::Arc, time::Duration};

use authd_core::secret::Secret;
use authd_oauth::{Later, ProxyPassword};

use super::{CredentialTrouble, Credentials, Source, Wanted, file};
use crate::{clock::Clock, process::launcher::Launcher};

/// Under which name what a command printed is held.
const NAME: &str = "proxy";

/// Where the password is, and what a command has printed.
pub(crate) struct ProxySecret(Arc<Inner>);

struct Inner {
    source: Source,
    key_store_timeout: Duration,
    clock: Clock,
    printed: Credentials,
}

impl ProxySecret {
    pub(crate) fn new(
        source: Source,
        key_store_timeout: Duration,
        clock: Clock,
        launcher: Launcher,
    ) -> Self {
        Self(Arc::new(Inner {
            source,
            key_store_timeout,
            clock,
            printed: Credentials::new(launcher),
        }))
    }
}

impl ProxyPassword for ProxySecret {
    fn password(&self, anew: bool) -> Later<'_, Option<Secret>> {
        let inner = Arc::clone(&self.0);
        let wanted = match anew {
            true => Wanted::Since(inner.clock.now().boot),
            false => Wanted::Held,
        };
        Box::pin(async move {
            // However many connections want it, it is fetched once.
            let turn = inner.printed.turn(NAME).lock_owned().await;
            let fetched = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                inner.fetch(wanted)
            })
            .await;
            fetched
                .unwrap_or(Err(CredentialTrouble::BrokeOff))
                .inspect_err(|why| tracing::warn!(%why, "the password for the proxy cannot be had"))
                .ok()
        })
    }
}

impl Inner {
    fn fetch(&self, wanted: Wanted) -> Result<Secret, CredentialTrouble> {
        match &self.source {
            Source::Command(argv) => {
                let now = || self.clock.now().boot;
                self.printed.printed(NAME, argv, wanted, now)
            }
            Source::File(path) => Ok(file::first_line(path)?),
            Source::KeyStore(attributes) => self
                .printed
                .in_key_store(self.key_store_timeout, attributes),
            // The configuration has no other.
            Source::None | Source::Key { .. } | Source::Certificate { .. } => {
                Err(CredentialTrouble::BrokeOff)
            }
        }
    }
}
