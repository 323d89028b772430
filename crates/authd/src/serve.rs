//! Accepts clients: eagerly, within caps, and never spinning when descriptors run out.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authd_core::id::ClientId;
use authd_ipc::{Listener, Peer, PeerRule};
use tokio::task::JoinSet;

use crate::{
    access::Access,
    admission::{Admission, Place},
    connection,
    daemon::Shared,
    descriptors,
};

/// Connections at most.
const CONNECTIONS: usize = 2048;
/// One process has this part of them at most, so that it cannot shut the others out.
const SHARE: usize = 4;
/// Pause after an error of the listener itself, so that it does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until the daemon stops, then waits for the connections to end by themselves.
pub(crate) async fn serve(listener: Listener, daemon: Shared) {
    let places = descriptors::for_clients(CONNECTIONS);
    let admission = Admission::new(places, places / SHARE);
    let mut reserve = Reserve::new();
    let mut stop = daemon.stopping.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stopping| *stopping) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(place) = admit(peer, &admission, &daemon) {
                    let daemon = Arc::clone(&daemon);
                    connections.spawn(async move {
                        daemon.figures.connections.fetch_add(1, Ordering::Relaxed);
                        connection::run(stream, place.process, Access::Owner, &daemon).await;
                        daemon.figures.connections.fetch_sub(1, Ordering::Relaxed);
                        drop(place);
                    });
                }
            }
            Err(error) if is_exhausted(&error) => {
                // One descriptor is kept for this: the client is turned away instead of left hanging.
                reserve.release();
                drop(listener.accept().await);
                reserve.take();
                tracing::warn!("no descriptors left: a client was turned away");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Whether the client may come in: who it is, and whether there is a place.
fn admit(peer: io::Result<Peer>, admission: &Arc<Admission>, daemon: &Shared) -> Option<Place> {
    let rule = PeerRule::of_process(daemon.config.load().allow_root);
    let admitted = peer.map_err(|error| error.to_string()).and_then(|peer| {
        rule.admit(peer).map_err(|refused| refused.to_string())?;
        Ok(peer)
    });
    match admitted {
        Ok(peer) => {
            let process = ClientId(peer.pid.map_or(0, u64::from));
            let place = admission.enter(process).ok();
            if place.is_none() {
                tracing::warn!(
                    pid = peer.pid,
                    "too many connections: a client was turned away"
                );
            }
            place
        }
        Err(why) => {
            tracing::warn!(%why, "a client was refused");
            None
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    // EMFILE and ENFILE have no stable name in std.
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

/// A descriptor kept for the moment when there are none.
struct Reserve(Option<std::fs::File>);

impl Reserve {
    fn new() -> Self {
        let mut reserve = Self(None);
        reserve.take();
        reserve
    }

    fn take(&mut self) {
        let path = if cfg!(windows) { "NUL" } else { "/dev/null" };
        self.0 = std::fs::File::open(path).ok();
    }

    fn release(&mut self) {
        self.0 = None;
    }
}
