//! Accepts clients: eagerly, within caps, and never spinning when descriptors run out.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authd_core::id::ClientId;
use authd_ipc::{Listener, Peer, PeerRule, TokioStream, process::Process};
use tokio::{
    task::{JoinError, JoinSet},
    time::timeout,
};

use crate::{
    access::Access,
    audit::{Frequent, Tally},
    connection::{self, Client, Shares},
    crowd::{Crowd, Place},
    daemon::Shared,
    descriptors,
    turned_away::TurnedAway,
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
    let crowd = Crowd::new(places, places / SHARE);
    let shares = Shares::new();
    let mut turned_away = TurnedAway::default();
    let mut reserve = Reserve::new();
    let mut stop = daemon.stopping.subscribe();
    let mut connections = JoinSet::new();
    let mut frequent = Frequent::default();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stopping| *stopping) => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                leave(ended, &mut frequent, &daemon);
                continue;
            }
            () = frequent.is_due() => {
                frequent.tell(&daemon.audit, daemon.clock.now());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match admit(peer, &crowd, &daemon) {
                Ok((place, peer)) => {
                    let tally = count(&stream, peer, &mut frequent, &daemon);
                    connections.spawn(attend(stream, place, tally, &shares, &daemon));
                }
                Err(why) => turned_away.say(&why),
            },
            Err(error) if is_exhausted(&error) => {
                // One descriptor is kept for this: the client is turned away instead of left hanging. It
                // may be that there is none: descriptors are asked for before anybody looks.
                reserve.release();
                drop(timeout(PAUSE, listener.accept()).await);
                reserve.take();
                turned_away.say("no descriptors are left");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                turned_away.say(&error.to_string());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Who has connected by now is still heard. More than there are places for would be turned away anyway.
    for (stream, peer) in std::iter::from_fn(|| listener.accept_last()).take(places) {
        if let Ok((place, peer)) = admit(peer, &crowd, &daemon) {
            let tally = count(&stream, peer, &mut frequent, &daemon);
            connections.spawn(attend(stream, place, tally, &shares, &daemon));
        }
    }
    drop(listener);
    frequent.end(&daemon.audit, daemon.clock.now());
    while let Some(ended) = connections.join_next().await {
        leave(ended, &mut frequent, &daemon);
    }
}

/// Where a client is counted. Its process is held on to at once: the number that the system gave may be another
/// process's before long.
fn count(stream: &TokioStream, peer: Peer, frequent: &mut Frequent, daemon: &Shared) -> Arc<Tally> {
    let caller = daemon.callers.enter(Process::pin(stream, peer));
    frequent.tally(caller, daemon.clock.now())
}

/// Serves a client until it leaves, or its place is needed for somebody else; returns where it was counted.
fn attend(
    stream: TokioStream,
    mut place: Place,
    tally: Arc<Tally>,
    shares: &Arc<Shares>,
    daemon: &Shared,
) -> impl Future<Output = Arc<Tally>> + Send + use<> {
    let (shares, daemon) = (Arc::clone(shares), Arc::clone(daemon));
    async move {
        daemon.figures.connections.fetch_add(1, Ordering::Relaxed);
        let (process, waits) = (place.process, place.waits());
        let client = Client {
            process,
            tally: Arc::clone(&tally),
            access: Access::Owner,
        };
        tokio::select! {
            () = connection::run(stream, client, &waits, shares, &daemon) => {}
            () = place.is_taken_away() => {
                tracing::debug!(pid = process.0, "a connection gave way to another's");
            }
        }
        daemon.figures.connections.fetch_sub(1, Ordering::Relaxed);
        tally
    }
}

/// Writes down what a client was given that has left.
fn leave(ended: Result<Arc<Tally>, JoinError>, frequent: &mut Frequent, daemon: &Shared) {
    // One that panicked has nothing to tell any more.
    if let Ok(tally) = ended {
        frequent.leave(&tally, &daemon.audit, daemon.clock.now());
    }
}

/// Whether the client may come in: who it is, and whether there is a place. If not, why.
fn admit(
    peer: io::Result<Peer>,
    crowd: &Arc<Crowd>,
    daemon: &Shared,
) -> Result<(Place, Peer), String> {
    let rule = PeerRule::of_process(daemon.config.load().allow_root);
    let peer = peer.map_err(|error| error.to_string())?;
    rule.admit(peer).map_err(|refused| refused.to_string())?;
    let place = crowd.enter(ClientId(peer.pid.map_or(0, u64::from)));
    place
        .map(|place| (place, peer))
        .map_err(|_| match peer.pid {
            Some(pid) => format!("too many connections, of process {pid} or of all"),
            None => "too many connections".to_owned(),
        })
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
