//! What every part of the daemon shares.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use authd_core::{id::Ticket, time::Now};
use authd_oauth::{Ambient, DpopServers};
use authd_proto::{
    ErrorCode, WireError,
    response::{KeyProtection, OwedRevocation, StoreStatus},
};
use tokio::sync::{Notify, watch};

use crate::{
    authorize::Logins, clock::Clock, clocks::Clocks, config::Config, credential::Credentials,
    driver::Mailbox, fingerprint::Fingerprinter, journal::Journal, network::Network,
    published::Published, restricted::Sockets,
};

/// One running daemon.
pub(crate) struct Daemon {
    /// What time it is.
    pub(crate) clock: Clock,
    /// What readers see.
    pub(crate) published: Published,
    /// The way to the driver.
    pub(crate) mailbox: Mailbox,
    /// The thread that speaks to providers.
    pub(crate) network: Network,
    /// Names tokens.
    pub(crate) fingerprints: Fingerprinter,
    /// Events.
    pub(crate) journal: Journal,
    /// What commands printed that prove us.
    pub(crate) credentials: Credentials,
    /// Logins under way.
    pub(crate) logins: Logins,
    /// What time providers have.
    pub(crate) clocks: Clocks,
    /// What servers want to see in proofs of possession.
    pub(crate) dpop: DpopServers,
    /// Sockets for the token of one account.
    pub(crate) sockets: Sockets,
    /// The configuration in force.
    pub(crate) config: ArcSwap<Config>,
    /// How the store is.
    pub(crate) standing: ArcSwap<Standing>,
    /// Figures for `daemon.status`.
    pub(crate) figures: Figures,
    /// Where it lives.
    pub(crate) place: Place,
    /// Told when the first try to open the store is over.
    pub(crate) opened: Notify,
    /// Turns true once, when the daemon is to stop.
    pub(crate) stopping: watch::Sender<bool>,
    /// Turns true once, when the store is closed and the lock given back: then clients are let go.
    pub(crate) stopped: watch::Sender<bool>,
}

/// Where a daemon lives.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) socket: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) config_path: PathBuf,
    /// Outside the state directory, so that a copy of that directory is told from the original.
    pub(crate) anchor_path: PathBuf,
}

/// How the store is, as `daemon.status` tells it and as requests feel it.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) store: StoreStatus,
    pub(crate) key_protection: KeyProtection,
    /// Whether accounts can be asked about at all.
    pub(crate) open: bool,
}

impl Standing {
    /// Before the store was opened.
    pub(crate) fn opening() -> Self {
        Self::shut("locked", "the store is being opened")
    }

    /// The store cannot be opened for now.
    pub(crate) fn shut(state: &str, detail: &str) -> Self {
        Self {
            store: StoreStatus {
                state: state.to_owned(),
                detail: Some(detail.to_owned()),
            },
            key_protection: KeyProtection {
                kind: "unknown".to_owned(),
                detail: detail.to_owned(),
            },
            open: false,
        }
    }
}

/// Figures of this run.
#[derive(Default)]
pub(crate) struct Figures {
    /// Unix seconds.
    pub(crate) started_at: u64,
    pub(crate) connections: AtomicUsize,
    pub(crate) waiters: AtomicUsize,
    pub(crate) exchanges: AtomicUsize,
    pub(crate) questions: AtomicUsize,
    pub(crate) served: AtomicU64,
    pub(crate) renewals: AtomicU64,
    /// Revocations that providers have not confirmed.
    pub(crate) revocations: ArcSwap<Vec<OwedRevocation>>,
    tickets: AtomicU64,
}

impl Figures {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            started_at: clock.unix_now(),
            ..Self::default()
        }
    }

    /// A name for one client's question.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Ordering::Relaxed))
    }
}

impl Daemon {
    /// The error for anything that needs the store, while there is none.
    pub(crate) fn check_open(&self) -> Result<(), WireError> {
        let standing = self.standing.load();
        if standing.open {
            return Ok(());
        }
        let detail = standing
            .store
            .detail
            .as_deref()
            .unwrap_or("the store is not open");
        let code = if standing.store.state == "locked" {
            ErrorCode::Locked
        } else {
            ErrorCode::StoreFailed
        };
        Err(WireError::new(code, detail).with_hint("run 'authctl doctor'"))
    }
}

impl Daemon {
    /// Closes every connection that came in at a restricted socket, requests that wait included; for when
    /// the store is locked. The sockets stay, and answer `locked`.
    pub(crate) fn close_restricted_connections(&self) {
        self.sockets.hang_up();
    }
}

impl Ambient for Daemon {
    fn now(&self) -> Now {
        self.clock.now()
    }

    fn random(&self) -> Option<u128> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok()?;
        Some(u128::from_ne_bytes(bytes))
    }
}

/// Shared by every task.
pub(crate) type Shared = Arc<Daemon>;
