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
    event::EventKind,
    response::{KeyProtection as WireProtection, OwedRevocation, StoreStatus},
};
use authd_store::KeyProtection;
use tokio::sync::{Notify, oneshot, watch};

use crate::{
    approvals::Approvals,
    audit::Audit,
    authorize::Logins,
    caller::Callers,
    clock::Clock,
    clocks::Clocks,
    config::Config,
    credential::Credentials,
    driver::{Mailbox, Message, Rest},
    fingerprint::Fingerprinter,
    journal::{Journal, Origin},
    keys::Keys,
    network::Network,
    process::{Confinement, launcher::Launcher},
    published::{Accounts, Published},
    restricted::Sockets,
};

/// The outcome of the event that tells of a lock, and ends every subscription.
pub(crate) const LOCKED: &str = "locked";

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
    /// Who was given what.
    pub(crate) audit: Audit,
    /// Who may have what without a question.
    pub(crate) approvals: Approvals,
    /// Who is connected.
    pub(crate) callers: Callers,
    /// What commands printed that prove us.
    pub(crate) credentials: Credentials,
    /// What starts commands.
    pub(crate) launcher: Launcher,
    /// What this process was confined with.
    pub(crate) confinement: Confinement,
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
    /// Where its key comes from, and how far the store is from being open.
    pub(crate) keys: Keys,
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
    /// Why nothing can be kept there, where that is so.
    pub(crate) anchor_trouble: Option<String>,
}

/// How the store is, as `daemon.status` tells it and as requests feel it.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) store: StoreStatus,
    pub(crate) key_protection: WireProtection,
    /// Whether accounts can be asked about at all.
    pub(crate) open: bool,
    /// What those are to do who ask in vain.
    pub(crate) hint: &'static str,
}

impl Standing {
    pub(crate) const ASK_DOCTOR: &str = "run 'authctl doctor'";
    pub(crate) const UNLOCK: &str = "run 'authctl unlock'";

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
                hint: None,
            },
            key_protection: WireProtection {
                kind: "unknown".to_owned(),
                detail: detail.to_owned(),
            },
            open: false,
            hint: Self::ASK_DOCTOR,
        }
    }

    /// Until a person gives the passphrase.
    pub(crate) fn awaiting_passphrase() -> Self {
        let mut standing = Self::shut("locked", "a passphrase protects it, and nobody gave it yet");
        standing.ask_to_unlock();
        KeyProtection::Passphrase
            .as_str()
            .clone_into(&mut standing.key_protection.kind);
        standing
    }

    /// Somebody locked it. How its key is kept is known still.
    fn locked(before: &Self) -> Self {
        let mut standing = Self {
            key_protection: before.key_protection.clone(),
            ..Self::shut("locked", "it was locked on request")
        };
        standing.ask_to_unlock();
        standing
    }

    /// Whether nobody is to be shown anything, although accounts may still be in memory.
    pub(crate) fn is_locked_on_request(&self) -> bool {
        !self.open && self.hint == Self::UNLOCK
    }

    fn ask_to_unlock(&mut self) {
        self.hint = Self::UNLOCK;
        self.store.hint = Some(Self::UNLOCK.to_owned());
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
        Err(WireError::new(code, detail).with_hint(standing.hint))
    }

    /// From here on nobody is served.
    pub(crate) fn deny(&self) {
        let before = self.standing.load();
        if before.hint != Standing::UNLOCK {
            self.standing.store(Arc::new(Standing::locked(&before)));
        }
        self.published.store(Accounts::new());
        self.credentials.forget();
        self.forget_approvals();
        self.close_restricted_connections();
    }

    /// Locks: from here on nobody is served. What comes back is told when exchanges in flight are
    /// finished and written, and keys and tokens are out of memory. Whatever else is to end with the
    /// lock ends here.
    pub(crate) fn lock(&self, origin: Origin) -> oneshot::Receiver<()> {
        self.deny();
        // Also the last that those hear who watch.
        self.journal.add(EventKind::Daemon, |event| {
            event.outcome = Some(LOCKED.to_owned());
            event.code = Some(ErrorCode::Locked);
            event.hint = Some(Standing::UNLOCK.to_owned());
            event.trace_id = origin.trace_id;
            event.client = origin.client;
        });
        let (done, wiped) = oneshot::channel();
        self.mailbox.send(Message::Rest(Rest::Lock { done }));
        wiped
    }
}

impl Daemon {
    /// For lock: no approval that a person gave until lock holds any longer, and whoever waits for an answer
    /// hears `locked`. Tiers and standing approvals are untouched.
    pub(crate) fn forget_approvals(&self) {
        self.approvals.forget();
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
