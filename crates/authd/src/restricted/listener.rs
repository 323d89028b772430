//! The listener of one restricted socket, and the connections that came in there.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authd_core::id::ClientId;
use authd_ipc::{Listener, Peer, TokioStream};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};

use super::{Restricted, keeper::stopped};
use crate::{access::Access, admission::Admission, connection, daemon::Shared};

/// Pause after an error of the listener itself, so that it does not spin.
const PAUSE: Duration = Duration::from_millis(100);

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
    admission: Arc<Admission>,
    daemon: Shared,
    mut ends: Ends,
) {
    let mut stop = daemon.stopping.subscribe();
    let mut connections = JoinSet::new();
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
                    if let Some((process, taken)) = admit(peer, &socket, place, &admission) {
                        let (socket, daemon) = (Arc::clone(&socket), Arc::clone(&daemon));
                        connections.spawn(async move {
                            serve_one(stream, process, socket, daemon).await;
                            drop(taken);
                        });
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

/// Whether the client may come in: the process that it is, and its place among the connections.
fn admit(
    peer: io::Result<Peer>,
    socket: &Restricted,
    place: u64,
    admission: &Arc<Admission>,
) -> Option<(ClientId, crate::admission::Place)> {
    let name = &socket.terms.name;
    let peer = match peer {
        Ok(peer) if socket.terms.admits(peer) => peer,
        Ok(peer) => {
            socket.count_refusal();
            tracing::warn!(
                socket = name,
                uid = peer.uid,
                "a client was refused: its uid is not named"
            );
            return None;
        }
        Err(error) => {
            socket.count_refusal();
            tracing::warn!(socket = name, %error, "a client was refused: nobody says who it is");
            return None;
        }
    };
    // One share for a socket, not for a process: who is behind it is seldom known.
    let Ok(taken) = admission.enter(ClientId(place)) else {
        tracing::warn!(
            socket = name,
            "too many connections: a client was turned away"
        );
        return None;
    };
    Some((ClientId(peer.pid.map_or(0, u64::from)), taken))
}

/// One client. Also counted right when this is given up half way.
async fn serve_one(
    stream: TokioStream,
    process: ClientId,
    socket: Arc<Restricted>,
    daemon: Shared,
) {
    let _counted = Counted::new(&socket, &daemon);
    connection::run(stream, process, Access::Restricted(socket), &daemon).await;
}

/// Counts a connection for as long as it is there.
struct Counted {
    socket: Arc<Restricted>,
    daemon: Shared,
}

impl Counted {
    fn new(socket: &Arc<Restricted>, daemon: &Shared) -> Self {
        socket.connections.fetch_add(1, Ordering::Relaxed);
        daemon.figures.connections.fetch_add(1, Ordering::Relaxed);
        Self {
            socket: Arc::clone(socket),
            daemon: Arc::clone(daemon),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.socket.connections.fetch_sub(1, Ordering::Relaxed);
        self.daemon
            .figures
            .connections
            .fetch_sub(1, Ordering::Relaxed);
    }
}
