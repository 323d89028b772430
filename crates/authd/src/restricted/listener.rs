//! The listener of one restricted socket, and the connections that came in there.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authd_core::id::ClientId;
use authd_ipc::{Listener, Peer, TokioStream, process::Process};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};

use super::{Restricted, keeper::stopped};
use crate::{
    access::Access,
    admission::{Admission, Place},
    audit::Tally,
    connection::{self, Client, Shares},
    crowd::Waits,
    daemon::Shared,
    turned_away::TurnedAway,
};

/// Pause after an error of the listener itself, so that it does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// What all restricted sockets share, apart from the owner's.
#[derive(Clone)]
pub(super) struct Common {
    /// Connections.
    pub(super) admission: Arc<Admission>,
    /// What connections take besides.
    pub(super) shares: Arc<Shares>,
}

/// What ends connections.
pub(super) struct Ends {
    /// Ends the listener too: it says so, or it is dropped.
    pub(super) closed: oneshot::Receiver<()>,
    /// Ends those that are there.
    pub(super) hang_up: watch::Receiver<()>,
}

/// Serves until it is closed, or the daemon stops. When this has ended, no connection is left that came
/// in here, but for a daemon that stops: then they end by themselves.
pub(super) async fn serve(
    listener: Listener,
    socket: Arc<Restricted>,
    place: u64,
    common: Common,
    daemon: Shared,
    mut ends: Ends,
) {
    let mut stop = daemon.stopping.subscribe();
    let mut connections = JoinSet::new();
    let mut turned_away = TurnedAway::default();
    loop {
        tokio::select! {
            biased;
            _ = &mut ends.closed => break connections.shutdown().await,
            () = stopped(&mut stop) => {
                drop(listener);
                while connections.join_next().await.is_some() {}
                return;
            }
            Ok(()) = ends.hang_up.changed() => connections.shutdown().await,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    match admit(peer, &socket, place, &common.admission) {
                        Ok((peer, taken)) => {
                            let one = One::new(&stream, peer, taken, &socket, &daemon);
                            let shares = Arc::clone(&common.shares);
                            connections.spawn(async move { one.serve(stream, shares).await });
                        }
                        Err(why) => turned_away.say(&format!("{}: {why}", socket.terms.name)),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, socket = socket.terms.name, "a client could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Whether the client may come in: who it is, and its place among the connections. If not, why.
fn admit(
    peer: io::Result<Peer>,
    socket: &Restricted,
    place: u64,
    admission: &Arc<Admission>,
) -> Result<(Peer, Place), String> {
    let refused = |why: String| {
        socket.count_refusal();
        Err(why)
    };
    let peer = match peer {
        Ok(peer) if socket.terms.admits(peer) => peer,
        Ok(Peer { uid: Some(uid), .. }) => return refused(format!("uid {uid} is not named")),
        Ok(_) => return refused("nobody says who it is".to_owned()),
        Err(error) => return refused(format!("nobody says who it is: {error}")),
    };
    // One share for a socket, not for a process: who is behind it is seldom known.
    let taken = admission.enter(ClientId(place));
    let taken = taken.map_err(|_| "too many connections".to_owned())?;
    Ok((peer, taken))
}

/// One client, counted for as long as it is there. What it was given is written down also when this is given
/// up half way.
struct One {
    socket: Arc<Restricted>,
    daemon: Shared,
    process: ClientId,
    tally: Arc<Tally>,
    _taken: Place,
}

impl One {
    /// Its process is held on to at once: the number that the system gave may be another process's before long.
    fn new(
        stream: &TokioStream,
        peer: Peer,
        taken: Place,
        socket: &Arc<Restricted>,
        daemon: &Shared,
    ) -> Self {
        socket.connections.fetch_add(1, Ordering::Relaxed);
        daemon.figures.connections.fetch_add(1, Ordering::Relaxed);
        let caller = daemon.callers.enter(Process::pin(stream, peer));
        Self {
            socket: Arc::clone(socket),
            daemon: Arc::clone(daemon),
            process: ClientId(peer.pid.map_or(0, u64::from)),
            tally: socket.tally(caller, daemon.clock.now()),
            _taken: taken,
        }
    }

    async fn serve(self, stream: TokioStream, shares: Arc<Shares>) {
        let client = Client {
            process: self.process,
            tally: Arc::clone(&self.tally),
            access: Access::Restricted(Arc::clone(&self.socket)),
        };
        // Nobody takes its place away: each socket has its own, and they are few.
        let waits = Waits::default();
        connection::run(stream, client, &waits, shares, &self.daemon).await;
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if !self.socket.is_crowd(&self.tally) {
            let now = self.daemon.clock.now();
            self.tally.close(&self.daemon.audit, now);
        }
        self.socket.connections.fetch_sub(1, Ordering::Relaxed);
        self.daemon
            .figures
            .connections
            .fetch_sub(1, Ordering::Relaxed);
    }
}
