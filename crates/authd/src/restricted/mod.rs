//! Restricted sockets: each gives the token of one account, to those that were named, for a time.
//!
//! [`Restricted`] is one of them, shared by its listener and the connections that came in there;
//! [`Sockets`] is the way to the [`keeper`], the one task that opens and closes them. What they may be
//! asked for is said by [`crate::access`].

pub(crate) mod keeper;
mod listener;
#[cfg_attr(unix, path = "place_unix.rs")]
#[cfg_attr(windows, path = "place_windows.rs")]
mod place;
mod record;
mod terms;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use authd_core::{
    id::Account,
    lease::LeaseKey,
    scope::ScopeSet,
    time::{BootId, Now},
};
use authd_proto::{ErrorCode, WireError, socket::SocketInfo};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use self::{
    keeper::Trouble,
    place::Place,
    terms::{Login, Terms},
};
use crate::{
    audit::{Audit, ByItself, Tally},
    caller::Caller,
    limit::Limit,
    published::Snapshot,
};

/// Requests at once, ...
const REQUESTS: u32 = 200;
/// ... and how often one more.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(20);
/// Reports of refused tokens at once, ...
const REPORTS: u32 = 2;
/// ... and how often one more: fewer than are believed of an account, so that its owner is heard too.
const BETWEEN_REPORTS: Duration = Duration::from_secs(600);
/// Combinations of scopes and resource that are asked for through one socket at most: each is a token of its
/// own, which the account has a limited number of, and which takes exchanges of its own.
const LEASES: usize = 4;

/// A restricted socket that is open.
pub(crate) struct Restricted {
    pub(crate) terms: Terms,
    path: PathBuf,
    requests: Limit,
    reports: Limit,
    /// Which of its connections have lines of their own in the audit log, ...
    by_itself: ByItself,
    /// ... and where the others are counted.
    crowd: Arc<Tally>,
    /// The leases that were asked for.
    leases: Mutex<BTreeSet<LeaseKey>>,
    connections: AtomicU64,
    served: AtomicU64,
    refused: AtomicU64,
}

impl Restricted {
    pub(crate) fn new(terms: Terms, path: PathBuf, now: Now) -> Self {
        Self {
            terms,
            path,
            requests: Limit::new(REQUESTS, BETWEEN_REQUESTS, now),
            reports: Limit::new(REPORTS, BETWEEN_REPORTS, now),
            by_itself: ByItself::default(),
            crowd: Arc::default(),
            leases: Mutex::default(),
            connections: AtomicU64::new(0),
            served: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Whose token it gives.
    pub(crate) fn account(&self) -> &str {
        self.terms.account.as_str()
    }

    /// Whether it is for the account of this name. Whether there is one makes no difference.
    pub(crate) fn is_for(&self, account: &str) -> Result<(), WireError> {
        if account == self.account() {
            Ok(())
        } else {
            Err(self.denied())
        }
    }

    /// Whether its time is not over.
    pub(crate) fn check_time(&self, now: Now, boot_id: BootId) -> Result<(), WireError> {
        match self.terms.left(now, boot_id) {
            Some(_) => Ok(()),
            None => Err(self.denied()),
        }
    }

    /// Lets one request through, while its time and its limit allow it.
    pub(crate) fn take_request(&self, now: Now, boot_id: BootId) -> Result<(), WireError> {
        self.check_time(now, boot_id)?;
        self.requests.take(now).map_err(|wait| self.throttled(wait))
    }

    /// Lets one report through.
    pub(crate) fn take_report(&self, now: Now) -> Result<(), WireError> {
        self.reports.take(now).map_err(|wait| self.throttled(wait))
    }

    /// The lease that a client means here: never more scopes than the socket has, no other resource, and
    /// no other login than it was made for.
    pub(crate) fn key(
        &self,
        snapshot: &Snapshot,
        mut asked: LeaseKey,
    ) -> Result<LeaseKey, WireError> {
        let grant = &snapshot.view.grant;
        if !self.terms.login.is_behind(grant) {
            tracing::warn!(socket = self.terms.name, "another login has its account");
            return Err(self.denied());
        }
        if asked.scopes.is_empty() {
            asked.scopes.clone_from(&self.terms.scopes);
        }
        // To name none is to ask for all that the login has now.
        let is_wider = asked.scopes.is_empty() && !grant.scopes.is_empty();
        if is_wider || !asked.scopes.is_subset(&self.terms.scopes) {
            return Err(self.denied());
        }
        if asked.resource.is_none() {
            asked.resource = self.terms.resources.first().cloned();
        }
        let key = snapshot.key(asked);
        let spelled = |resource: &String| {
            snapshot
                .key(LeaseKey {
                    resource: Some(resource.clone()),
                    scopes: ScopeSet::default(),
                })
                .resource
        };
        let is_named = match &key.resource {
            None => self.terms.resources.is_empty(),
            named => self
                .terms
                .resources
                .iter()
                .any(|one| spelled(one) == *named),
        };
        if !is_named {
            return Err(self.denied());
        }
        self.take_lease(&key)?;
        Ok(key)
    }

    fn take_lease(&self, key: &LeaseKey) -> Result<(), WireError> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if !leases.contains(key) {
            if leases.len() >= LEASES {
                let message = format!(
                    "this socket has given tokens of {LEASES} different sets of scopes, and gives no more"
                );
                return Err(WireError::new(ErrorCode::BadRequest, message));
            }
            leases.insert(key.clone());
        }
        Ok(())
    }

    /// Where a connection that begins is counted: among its own, while that does not fill the log.
    pub(crate) fn tally(&self, caller: Arc<Caller>, now: Now) -> Arc<Tally> {
        if self.by_itself.take(now) {
            Arc::new(Tally::new(caller))
        } else {
            Arc::clone(&self.crowd)
        }
    }

    /// Whether the token of that lease is of the login that the socket was made for, and has no more scopes than
    /// the socket: while a request waits another login may come, and a provider may give more than was asked for.
    pub(crate) fn check_token(&self, snapshot: &Snapshot, key: &LeaseKey) -> Result<(), WireError> {
        let grant = &snapshot.view.grant;
        if !self.terms.login.is_behind(grant) {
            return Err(self.denied());
        }
        let lease = grant.leases.get(key);
        if lease.is_some_and(|lease| lease.scopes.is_subset(&self.terms.scopes)) {
            return Ok(());
        }
        tracing::warn!(
            socket = self.terms.name,
            account = self.account(),
            "the provider gives no token with so few scopes: none was handed out"
        );
        Err(self.denied())
    }

    /// The one answer to everything that the socket is not for.
    pub(crate) fn denied(&self) -> WireError {
        let account = self.account();
        let scopes = &self.terms.scopes;
        let message = if scopes.is_empty() {
            format!("this socket is for the token of '{account}' alone")
        } else {
            format!(
                "this socket is for the token of '{account}' alone, with these scopes at most: {scopes}"
            )
        };
        WireError::new(ErrorCode::Denied, message)
            .with_hint("for more, run 'authctl socket create' where authd runs")
            .with_account(account)
    }

    fn throttled(&self, wait: Duration) -> WireError {
        // Rounded up: sooner would be in vain.
        let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.shield(&WireError::new(ErrorCode::Throttled, "").with_retry_after_secs(secs))
    }

    /// The error in fixed words: no issuer, no other account, no resource, no path.
    pub(crate) fn shield(&self, error: &WireError) -> WireError {
        let account = self.account();
        let there = |command: &str| Some(format!("run 'authctl {command}' where authd runs"));
        let (code, message, hint) = match error.code {
            ErrorCode::Denied => return self.denied(),
            ErrorCode::LoginRequired | ErrorCode::UnknownAccount => (
                ErrorCode::LoginRequired,
                format!("the login of '{account}' has ended"),
                there(&format!("login {account}")),
            ),
            ErrorCode::InsufficientScope => (
                error.code,
                format!("the login of '{account}' does not give this any more"),
                there(&format!("login {account}")),
            ),
            ErrorCode::AdoptionRequired => (
                error.code,
                "the store was restored or copied".to_owned(),
                there(&format!("adopt {account}")),
            ),
            ErrorCode::MaxTtlExceeded => (
                error.code,
                "no token of this account ever lives so long".to_owned(),
                None,
            ),
            ErrorCode::Throttled => (error.code, "asked too often".to_owned(), None),
            ErrorCode::Timeout => (error.code, "no new token in time".to_owned(), None),
            ErrorCode::Unavailable => (
                error.code,
                "no new token can be had at the moment".to_owned(),
                None,
            ),
            ErrorCode::ProviderRejects => (
                error.code,
                "even new tokens are refused; renewing does not help".to_owned(),
                None,
            ),
            ErrorCode::Locked => (
                error.code,
                "the store is locked".to_owned(),
                there("status"),
            ),
            ErrorCode::ShuttingDown => (error.code, "the daemon is stopping".to_owned(), None),
            // About what the client sent, in words of ours.
            ErrorCode::BadRequest => (error.code, error.message.clone(), None),
            code => (code, "no token can be had".to_owned(), there("status")),
        };
        let mut shielded = WireError::new(code, message).with_account(account);
        if let Some(hint) = hint {
            shielded = shielded.with_hint(hint);
        }
        if let Some(secs) = error.retry_after_secs {
            shielded = shielded.with_retry_after_secs(secs);
        }
        if let Some(secs) = error.max_ttl_secs {
            shielded = shielded.with_max_ttl_secs(secs);
        }
        shielded
    }

    /// Whether that is where those are counted who have no count of their own: it goes on without them.
    pub(crate) fn is_crowd(&self, tally: &Arc<Tally>) -> bool {
        Arc::ptr_eq(tally, &self.crowd)
    }

    /// Writes down what was counted of those. To be called at the socket's end.
    pub(crate) fn close_crowd(&self, audit: &Audit, now: Now) {
        self.crowd.close(audit, now);
    }

    /// A token was handed out.
    pub(crate) fn count_served(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused.
    pub(crate) fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// As the wire shows it; `None` when its time is over.
    pub(crate) fn info(&self, now: Now, boot_id: BootId) -> Option<SocketInfo> {
        let unix = |secs: i64| u64::try_from(secs).unwrap_or(0);
        let left = self.terms.left(now, boot_id)?;
        Some(SocketInfo {
            name: self.terms.name.clone(),
            path: self.path.display().to_string(),
            account: self.terms.account.to_string(),
            scopes: self.terms.scopes.iter().map(str::to_owned).collect(),
            resources: self.terms.resources.clone(),
            uids: self.terms.uids.clone(),
            label: self.terms.label.clone(),
            created_at: unix(self.terms.created.at.wall.unix_secs()),
            expires_at: unix(now.wall.after(left).unix_secs()),
            ttl_secs: left.as_secs(),
            connections: self.connections.load(Ordering::Relaxed),
            served: self.served.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        })
    }
}

/// Which of them.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    All,
    Named(String),
    /// Those of an account that goes.
    Of(Account),
}

impl Which {
    fn is(&self, terms: &Terms) -> bool {
        match self {
            Self::All => true,
            Self::Named(name) => *name == terms.name,
            Self::Of(account) => *account == terms.account,
        }
    }
}

/// What the keeper is told.
pub(crate) enum Order {
    Open {
        /// The name is still to be found.
        terms: Terms,
        done: oneshot::Sender<Result<Arc<Restricted>, Trouble>>,
    },
    Close {
        which: Which,
        done: oneshot::Sender<Result<Vec<String>, Trouble>>,
    },
}

/// All restricted sockets: to be read by everybody, and changed by the keeper.
pub(crate) struct Sockets {
    orders: mpsc::UnboundedSender<Order>,
    open: ArcSwap<BTreeMap<String, Arc<Restricted>>>,
    hang_up: watch::Sender<()>,
}

impl Sockets {
    /// None yet, and where the keeper hears what to do.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Order>) {
        let (orders, told) = mpsc::unbounded_channel();
        let sockets = Self {
            orders,
            open: ArcSwap::default(),
            hang_up: watch::Sender::new(()),
        };
        (sockets, told)
    }

    /// Those that are open, by name.
    pub(crate) fn open_now(&self) -> arc_swap::Guard<Arc<BTreeMap<String, Arc<Restricted>>>> {
        self.open.load()
    }

    /// Opens one, under a name of its own, and puts it on disk.
    pub(crate) async fn open(&self, terms: Terms) -> Result<Arc<Restricted>, Trouble> {
        let (done, answer) = oneshot::channel();
        self.order(Order::Open { terms, done });
        answer.await.unwrap_or(Err(Trouble::Stopping))
    }

    /// Closes them with every connection that came in there, and takes them off the disk.
    pub(crate) async fn close(&self, which: Which) -> Result<Vec<String>, Trouble> {
        let (done, answer) = oneshot::channel();
        self.order(Order::Close { which, done });
        answer.await.unwrap_or(Err(Trouble::Stopping))
    }

    /// Closes every connection that came in at any of them, requests that wait included. They may come
    /// again; what they are told then is another matter.
    pub(crate) fn hang_up(&self) {
        self.hang_up.send_replace(());
    }

    fn order(&self, order: Order) {
        // A keeper that has ended drops the answer with the order.
        let _ = self.orders.send(order);
    }
}
