//! The one task that opens and closes restricted sockets, and closes those whose time is over.

use std::{collections::BTreeMap, io, sync::Arc};

use authd_core::time::Boot;
use authd_ipc::ListenError;
use authd_proto::limits::MAX_SOCKETS;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    Order, Place, Restricted, Terms, Which,
    listener::{self, Common, Ends},
    record::Record,
};
use crate::{admission::Admission, clock::Alarm, connection::Shares, daemon::Shared, descriptors};

/// Connections of one restricted socket at most.
const CONNECTIONS: usize = 32;
/// Connections of all of them at most; fewer where the system lets the daemon open few files.
const ALL_CONNECTIONS: usize = 512;
/// Characters of an account's name in that of its socket: a socket's path has 107 bytes.
const SHOWN: usize = 16;

/// Why a socket was not opened or closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// There are as many as there may be.
    #[error("there are {MAX_SOCKETS} restricted sockets already")]
    TooMany,
    /// None has that name.
    #[error("there is no restricted socket of that name")]
    Unknown,
    /// It cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is nothing to draw a name from.
    #[error("the system has no randomness: {0}")]
    Random(getrandom::Error),
    /// One that was opened is not on disk.
    #[error("the list of restricted sockets cannot be written: {0}; nothing was opened")]
    NotOpened(io::Error),
    /// What is on disk is not what is open.
    #[error("the list of restricted sockets cannot be written: {0}")]
    Disk(io::Error),
    /// The daemon stops.
    #[error("the daemon is stopping")]
    Stopping,
}

/// An open socket as the keeper has it.
struct Open {
    socket: Arc<Restricted>,
    /// Dropped or used, it ends the task.
    close: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The sockets of a daemon that stops. Each has heard of the stop itself.
pub(crate) struct Left(Vec<Open>);

impl Left {
    /// Waits until those who came in there are gone.
    pub(crate) async fn gone(self) {
        for open in self.0 {
            // It may have ended badly: it has ended.
            let _ = open.task.await;
        }
    }
}

/// The keeper.
pub(crate) struct Keeper {
    daemon: Shared,
    place: Place,
    record: Record,
    alarm: Alarm,
    open: BTreeMap<String, Open>,
    /// Closed, and perhaps on disk still: what was to be written was not.
    owed: Vec<Terms>,
    /// Whether the disk may say something else than what is open.
    is_behind: bool,
    common: Common,
    hang_up: watch::Receiver<()>,
    /// How many were opened: a number for each, to share connections by.
    opened: u64,
}

impl Keeper {
    /// Opens the sockets that are on disk and whose time is not over.
    ///
    /// # Errors
    /// When the clock has no alarm to give.
    pub(crate) async fn start(daemon: &Shared, place: Place) -> io::Result<Self> {
        let mut keeper = Self {
            daemon: Arc::clone(daemon),
            place,
            record: Record::new(&daemon.place.state_dir),
            alarm: daemon.clock.alarm()?,
            open: BTreeMap::new(),
            owed: Vec::new(),
            is_behind: false,
            common: Common {
                admission: Admission::new(
                    descriptors::for_clients(ALL_CONNECTIONS * 4) / 4,
                    CONNECTIONS,
                ),
                shares: Shares::new(),
            },
            hang_up: daemon.sockets.hang_up.subscribe(),
            opened: 0,
        };
        keeper.restore().await;
        Ok(keeper)
    }

    async fn restore(&mut self) {
        let record = self.record.clone();
        let read = blocking(move || record.read()).await;
        let kept = read.unwrap_or_else(|error| {
            tracing::error!(%error, "the list of restricted sockets cannot be read: none is opened");
            self.is_behind = true;
            Vec::new()
        });
        let (now, boot_id) = (self.daemon.clock.now(), self.daemon.published.boot_id);
        let mut is_whole = true;
        for terms in kept.into_iter().take(MAX_SOCKETS) {
            let name = terms.name.clone();
            let is_alive = terms.left(now, boot_id).is_some();
            is_whole &= is_alive;
            if is_alive && let Err(error) = self.listen(terms) {
                tracing::error!(%error, socket = name, "a restricted socket is not opened again");
            }
        }
        self.place
            .clear_all_but(|name| self.open.contains_key(name));
        if !is_whole && let Err(error) = self.save().await {
            tracing::warn!(%error, "restricted sockets whose time is over stay on disk");
        }
        self.publish();
    }

    /// Does what it is told, until the daemon stops. Then nothing is written any more: the sockets stay on disk,
    /// and end by themselves, as those tasks do.
    pub(crate) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> Left {
        let mut stop = self.daemon.stopping.subscribe();
        loop {
            let next = self.next_end();
            if let Err(error) = self.alarm.set(next) {
                // Each request is held against the clock besides.
                tracing::error!(%error, "no alarm for the end of restricted sockets");
            }
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(order) = orders.recv() => self.obey(order).await,
                // An alarm that cannot ring is set anew with the next order.
                Ok(()) = self.alarm.rings() => self.close_overdue().await,
            }
        }
        for open in self.open.values() {
            let now = self.daemon.clock.now();
            open.socket.close_crowd(&self.daemon.audit, now);
        }
        Left(self.open.into_values().collect())
    }

    async fn obey(&mut self, order: Order) {
        // Whoever asked may have gone.
        match order {
            Order::Open { terms, done } => {
                let opened = self.open_new(terms).await;
                let _ = done.send(opened);
            }
            Order::Close { which, done } => {
                let closed = self.close_those(&which).await;
                let _ = done.send(closed);
            }
        }
    }

    async fn open_new(&mut self, mut terms: Terms) -> Result<Arc<Restricted>, Trouble> {
        if self.open.len() >= MAX_SOCKETS {
            return Err(Trouble::TooMany);
        }
        terms.name = self.free_name(terms.account.as_str())?;
        let name = terms.name.clone();
        let opened = match self.listen(terms.clone()) {
            Ok(()) => self.save().await.map_err(Trouble::NotOpened),
            Err(error) => Err(error.into()),
        };
        if let Err(trouble) = opened {
            self.close(&name).await;
            // It may be there all the same.
            self.owed.extend(self.is_behind.then_some(terms));
            return Err(trouble);
        }
        self.publish();
        let socket = self.open.get(&name).map(|open| Arc::clone(&open.socket));
        let socket = socket.ok_or(Trouble::Stopping)?;
        tracing::info!(
            name,
            account = socket.account(),
            uids = ?socket.terms.uids,
            secs = socket.terms.ttl_secs,
            "a restricted socket was opened"
        );
        Ok(socket)
    }

    /// One that no open socket has. Nobody need guess it right or wrong: it is no secret.
    fn free_name(&self, account: &str) -> Result<String, Trouble> {
        loop {
            let random = getrandom::u32().map_err(Trouble::Random)? & 0xff_ffff;
            let shown: String = account.chars().take(SHOWN).collect();
            let name = format!("{shown}-{random:06x}");
            if !self.open.contains_key(&name) {
                return Ok(name);
            }
        }
    }

    fn listen(&mut self, terms: Terms) -> Result<(), ListenError> {
        let listener = self.place.listen(&terms)?;
        let path = self.place.socket(&terms.name);
        let socket = Arc::new(Restricted::new(terms, path, self.daemon.clock.now()));
        let (close, closed) = oneshot::channel();
        let mut hang_up = self.hang_up.clone();
        hang_up.mark_unchanged();
        self.opened += 1;
        let task = tokio::spawn(listener::serve(
            listener,
            Arc::clone(&socket),
            self.opened,
            self.common.clone(),
            Arc::clone(&self.daemon),
            Ends { closed, hang_up },
        ));
        let name = socket.terms.name.clone();
        let open = Open {
            socket,
            close,
            task,
        };
        self.open.insert(name, open);
        Ok(())
    }

    async fn close_those(&mut self, which: &Which) -> Result<Vec<String>, Trouble> {
        let open = self.open.values().map(|open| &open.socket.terms);
        let those: Vec<Terms> = open
            .chain(&self.owed)
            .filter(|terms| which.is(terms))
            .cloned()
            .collect();
        if those.is_empty() && !self.is_behind {
            return match which {
                Which::Named(_) => Err(Trouble::Unknown),
                Which::All | Which::Of(_) => Ok(Vec::new()),
            };
        }
        // Closed first: what the disk says matters after a restart only.
        for terms in &those {
            if self.open.contains_key(&terms.name) {
                self.close(&terms.name).await;
                tracing::info!(terms.name, "a restricted socket was closed");
                self.owed.push(terms.clone());
            }
        }
        self.publish();
        self.save().await.map_err(Trouble::Disk)?;
        match which {
            Which::Named(_) if those.is_empty() => Err(Trouble::Unknown),
            _ => Ok(those.into_iter().map(|terms| terms.name).collect()),
        }
    }

    async fn close_overdue(&mut self) {
        let (now, boot_id) = (self.daemon.clock.now(), self.daemon.published.boot_id);
        let overdue: Vec<String> = self
            .open
            .values()
            .filter(|open| open.socket.terms.left(now, boot_id).is_none())
            .map(|open| open.socket.terms.name.clone())
            .collect();
        if overdue.is_empty() {
            return;
        }
        for name in &overdue {
            self.close(name).await;
            tracing::info!(name, "the time of a restricted socket is over");
        }
        self.publish();
        if let Err(error) = self.save().await {
            tracing::warn!(%error, "restricted sockets whose time is over stay on disk");
        }
    }

    /// When this returns, nothing is left of it but what is on disk.
    async fn close(&mut self, name: &str) {
        if let Some(open) = self.open.remove(name) {
            // It may have ended with the daemon.
            let _ = open.close.send(());
            let _ = open.task.await;
            let now = self.daemon.clock.now();
            open.socket.close_crowd(&self.daemon.audit, now);
        }
        self.place.clear(name);
    }

    /// When the next one ends.
    fn next_end(&self) -> Option<Boot> {
        let (now, boot_id) = (self.daemon.clock.now(), self.daemon.published.boot_id);
        let left = |open: &Open| open.socket.terms.left(now, boot_id).unwrap_or_default();
        let least = self.open.values().map(left).min()?;
        Some(now.boot.after(least))
    }

    async fn save(&mut self) -> io::Result<()> {
        let terms = self.open.values().map(|open| open.socket.terms.clone());
        let (record, terms) = (self.record.clone(), terms.collect());
        let written = blocking(move || record.write(terms)).await;
        self.is_behind = written.is_err();
        if !self.is_behind {
            self.owed.clear();
        }
        written
    }

    fn publish(&self) {
        let entry = |(name, open): (&String, &Open)| (name.clone(), Arc::clone(&open.socket));
        let open: BTreeMap<_, _> = self.open.iter().map(entry).collect();
        self.daemon.sockets.open.store(Arc::new(open));
    }
}

/// The daemon is to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender lives as long as the daemon.
    let _ = stop.wait_for(|stopping| *stopping).await;
}

/// Off the thread that serves.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}
