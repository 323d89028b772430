//! Accepts clients: eagerly, within caps, and never spinning when descriptors run out.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use authd_core::id::ClientId;
use authd_ipc::{Listener, Peer, PeerRule};
use tokio::task::JoinSet;

use crate::{connection, daemon::Shared, descriptors};

/// Connections at most.
const CONNECTIONS: usize = 2048;
/// One process has this part of them at most, so that it cannot shut the others out.
const SHARE: usize = 4;
/// Pause after an error of the listener itself, so that it does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until the daemon stops, then waits for the connections to end by themselves.
pub(crate) async fn serve(listener: Listener, daemon: Shared) {
    let admission = Arc::new(Admission::of(descriptors::for_clients(CONNECTIONS)));
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
                    let process = ClientId(place.pid.map_or(0, u64::from));
                    connections.spawn(async move {
                        daemon.figures.connections.fetch_add(1, Ordering::Relaxed);
                        connection::run(stream, process, &daemon).await;
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
            let place = admission.enter(peer.pid);
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

/// Counts connections, in all and for each process.
struct Admission {
    most: usize,
    counts: Mutex<HashMap<Option<u32>, usize>>,
}

/// One admitted connection.
struct Place {
    admission: Arc<Admission>,
    pid: Option<u32>,
}

impl Admission {
    fn of(most: usize) -> Self {
        Self {
            most,
            counts: Mutex::default(),
        }
    }

    fn enter(self: &Arc<Self>, pid: Option<u32>) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.get(&pid).copied().unwrap_or(0);
        let all: usize = counts.values().sum();
        if all >= self.most || own >= self.most / SHARE {
            return None;
        }
        counts.insert(pid, own + 1);
        Some(Place {
            admission: Arc::clone(self),
            pid,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self
            .admission
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.pid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.pid);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_cannot_take_every_place() {
        let admission = Arc::new(Admission::of(CONNECTIONS));
        let greedy: Vec<_> = std::iter::from_fn(|| admission.enter(Some(1)))
            .take(CONNECTIONS)
            .collect();
        assert_eq!(greedy.len(), CONNECTIONS / SHARE);
        assert!(admission.enter(Some(2)).is_some());
        drop(greedy);
        assert!(admission.enter(Some(1)).is_some());
    }

    #[test]
    fn the_total_is_capped() {
        let admission = Arc::new(Admission::of(CONNECTIONS));
        let places: Vec<_> = (0..)
            .map_while(|n| admission.enter(Some(n / 100)))
            .take(CONNECTIONS + 1)
            .collect();
        assert_eq!(places.len(), CONNECTIONS);
    }
}
