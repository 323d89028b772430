//! One client: reads its frames, answers as they finish, and keeps to its deadlines.
//!
//! A client that sends half a frame, or never reads what it is sent, holds nothing but its own
//! connection, and that only for a while. What it makes the daemon keep is little: large frames on their way
//! are few at a time, and no more requests are answered than the client reads answers.

mod incoming;

use std::{io, sync::Arc, time::Duration};

use authd_core::id::ClientId;
use authd_ipc::TokioStream as Stream;
use authd_proto::{
    Call, ErrorCode, ErrorShape, WireError, encode,
    event::{Event, EventKind},
    limits::MAX_IN_FLIGHT,
    message::Message,
};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{broadcast::error::RecvError, watch},
    time::{Instant, timeout},
};
use zeroize::Zeroizing;

use self::incoming::{Incoming, malformed};
use crate::{
    access::Access,
    admission::Admission,
    audit::Tally,
    clock::Clock,
    crowd::Waits,
    daemon::Shared,
    dispatch::{self, Later, Reply},
    driver::ends_subscriptions,
    handler::{events::Subscription, gate::Asker},
    journal::Origin,
};

/// A frame that was begun must be whole by then.
const FRAME_DEADLINE: Duration = Duration::from_secs(30);
/// A client must have read what it is sent by then.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// A buffer that grew beyond this for something large is given back.
const KEPT_BUFFER: usize = 16 * 1024;
/// Large frames on their way at a time, from all clients; a quarter of them from one process.
const LARGE_FRAMES: usize = 64;
/// Requests that wait for their answers at a time, of all clients; a quarter of them of one process.
const WAITING: usize = 16 * 1024;
/// Room for an answer with a token in it.
const ROOM: usize = 4 * 1024;

/// What a client agreed on, and what it may ask for.
#[derive(Default)]
pub(crate) struct Session {
    /// What the listener that it came in at lets it ask for.
    pub(crate) access: Access,
    /// How it wants its errors.
    pub(crate) errors: ErrorShape,
    /// What it says it is.
    pub(crate) client: Option<String>,
    /// Which process it is, as far as the system says.
    pub(crate) process: ClientId,
    /// What it was given and refused, and what the system says of it.
    pub(crate) tally: Arc<Tally>,
    /// Whether it asked the daemon to stop.
    pub(crate) asked_to_stop: bool,
    /// Whether it is let go once it was told what it is to be told.
    pub(crate) let_go: bool,
    /// The events it wants.
    pub(crate) subscription: Option<Subscription>,
}

impl Session {
    /// Who asks, in one request.
    pub(crate) fn asker(&self, origin: Origin) -> Asker {
        Asker {
            tally: Arc::clone(&self.tally),
            access: self.access.clone(),
            origin,
        }
    }
}

/// What all connections share, so that no process has them all: of each a place is taken.
pub(crate) struct Shares {
    /// Large frames on their way.
    large: Arc<Admission>,
    /// Requests that wait.
    waiting: Arc<Admission>,
}

impl Shares {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            large: Admission::new(LARGE_FRAMES, LARGE_FRAMES / 4),
            waiting: Admission::new(WAITING, WAITING / 4),
        })
    }

    /// Lets the request wait while there are not too many; if not, says so.
    fn hold(
        &self,
        session: &Session,
        id: u32,
        request: Later,
        outgoing: &mut Vec<u8>,
    ) -> Option<Later> {
        match self.waiting.enter(session.process) {
            Ok(place) => Some(Box::pin(async move {
                let _place = place;
                request.await
            })),
            Err(_) => {
                // It was not begun.
                drop(request);
                let busy = WireError::new(ErrorCode::Busy, "too many requests wait already");
                let busy = busy.with_hint("wait for some of them, and ask again");
                encode::error(outgoing, id, &busy, session.errors);
                None
            }
        }
    }
}

/// Who came in, and where.
pub(crate) struct Client {
    /// Which process it is, as far as the system says.
    pub(crate) process: ClientId,
    /// What it is given and refused.
    pub(crate) tally: Arc<Tally>,
    /// What the listener lets it ask for.
    pub(crate) access: Access,
}

/// Serves one client until it leaves or misbehaves. `waits` is told whether it waits for an answer.
pub(crate) async fn run(
    mut stream: Stream,
    client: Client,
    waits: &Waits,
    shares: Arc<Shares>,
    daemon: &Shared,
) {
    let process = client.process;
    let session = Session {
        access: client.access,
        process,
        tally: client.tally,
        ..Session::default()
    };
    let incoming = Incoming::new(shares, process);
    if let Err(error) = exchange(&mut stream, session, incoming, waits, daemon).await {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn exchange(
    stream: &mut Stream,
    mut session: Session,
    mut incoming: Incoming,
    waits: &Waits,
    daemon: &Shared,
) -> io::Result<()> {
    // Tokens are in there, also when this is given up half way.
    let mut outgoing = Zeroizing::new(Vec::new());
    let mut later: FuturesUnordered<Later> = FuturesUnordered::new();
    let mut stopping = daemon.stopping.subscribe();
    let mut stopped = daemon.stopped.subscribe();
    loop {
        let room = later.len() < MAX_IN_FLIGHT;
        let patient = session.asked_to_stop;
        let deadline = incoming.begun_at.map(|begun| begun + FRAME_DEADLINE);
        waits.say(!later.is_empty());
        tokio::select! {
            read = stream.read(incoming.buffer.spare()), if room && !incoming.is_left => {
                let count = read?;
                if count == 0 {
                    return Ok(());
                }
                incoming.buffer.advance(count);
                incoming.is_left = true;
            }
            () = std::future::ready(()), if room && incoming.is_left => {}
            Some(reply) = later.next(), if !later.is_empty() => write_reply(&mut outgoing, reply),
            event = next_event(&mut session, &daemon.clock) => {
                write_event(&mut outgoing, &event);
                if ends_subscriptions(&event) {
                    session.subscription = None;
                    session.let_go = true;
                }
            }
            () = hung_up(&mut stopping, &mut stopped, patient),
                if later.is_empty() && !incoming.is_left =>
            {
                // What it has sent by now is still answered: it cannot know that it came late.
                let Some(read) = stream.read(incoming.buffer.spare()).now_or_never() else {
                    return Ok(());
                };
                let count = read?;
                if count == 0 {
                    return Ok(());
                }
                incoming.buffer.advance(count);
                incoming.is_left = true;
            }
            () = until(deadline) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "half a frame, and no more"));
            }
        }
        if incoming.is_left {
            // What grows is copied, and the first copy would not be wiped.
            outgoing.reserve(ROOM);
            take_frames(&mut incoming, daemon, &mut session, &later, &mut outgoing)?;
        }
        if !outgoing.is_empty() {
            flush(stream, &mut outgoing).await?;
        }
        if session.let_go && later.is_empty() {
            return Ok(());
        }
    }
}

/// Dispatches every whole frame there is room for. What cannot be answered at once is answered `later`.
fn take_frames(
    incoming: &mut Incoming,
    daemon: &Shared,
    session: &mut Session,
    later: &FuturesUnordered<Later>,
    outgoing: &mut Vec<u8>,
) -> io::Result<()> {
    let room = MAX_IN_FLIGHT.saturating_sub(later.len());
    let shares = Arc::clone(&incoming.shares);
    let waiting = incoming.take(room, Instant::now(), outgoing, |frame, outgoing| {
        let Message::Request { id, method, params } = Message::parse(frame).map_err(malformed)?
        else {
            return Ok(None);
        };
        Ok(match Call::decode(method, params) {
            Ok(call) => {
                let trace_id = params.trace_id();
                dispatch::dispatch(daemon, session, id, call, trace_id, outgoing)
                    .and_then(|request| shares.hold(session, id, request, outgoing))
            }
            Err(error) => {
                let boot_id = daemon.published.boot_id;
                let error = session.access.unread(error, &daemon.clock, boot_id);
                encode::error(outgoing, id, &error, session.errors);
                None
            }
        })
    })?;
    waiting.into_iter().for_each(|request| later.push(request));
    Ok(())
}

fn write_reply(outgoing: &mut Vec<u8>, reply: Reply) {
    match reply {
        Reply::Token { id, token, tail } => token.encoded.response(outgoing, id, tail),
        Reply::Frame(frame) => outgoing.extend_from_slice(&frame),
        Reply::Error { id, error, shape } => encode::error(outgoing, id, &error, shape),
    }
}

fn write_event(outgoing: &mut Vec<u8>, event: &Event) {
    if let Err(error) = encode::event(outgoing, event) {
        tracing::warn!(%error, "an event could not be sent");
    }
}

/// The next event that the client subscribed to; never, when it did not.
async fn next_event(session: &mut Session, clock: &Clock) -> Event {
    loop {
        let Some(subscription) = &mut session.subscription else {
            return std::future::pending().await;
        };
        match subscription.receiver.recv().await {
            Ok(event) if subscription.wants(&event) || ends_subscriptions(&event) => {
                return Event::clone(&event);
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                let mut event = Event::new(0, clock.unix_now(), EventKind::Lagged);
                event.missed = Some(missed);
                return event;
            }
            Err(RecvError::Closed) => session.subscription = None,
        }
    }
}

/// A client that wants nothing is let go when the daemon is to stop; the one that asked for it hears
/// of the end by the end of its connection.
async fn hung_up(
    stopping: &mut watch::Receiver<bool>,
    stopped: &mut watch::Receiver<bool>,
    asked_to_stop: bool,
) {
    let end = if asked_to_stop { stopped } else { stopping };
    // The senders live as long as the daemon.
    let _ = end.wait_for(|ended| *ended).await;
    // The runtime looks once more at what has come in.
    tokio::task::yield_now().await;
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn flush(stream: &mut Stream, outgoing: &mut Vec<u8>) -> io::Result<()> {
    let written = timeout(WRITE_DEADLINE, stream.write_all(outgoing)).await;
    // Tokens were in there.
    zeroize::Zeroize::zeroize(outgoing.as_mut_slice());
    outgoing.clear();
    outgoing.shrink_to(KEPT_BUFFER);
    written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the client does not read"))?
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;

    #[tokio::test]
    async fn requests_that_wait_are_few_of_one_process_and_the_next_is_told_so() {
        let shares = Shares::new();
        let mut outgoing = Vec::new();
        let mut hold = |process| {
            let session = Session {
                process: ClientId(process),
                ..Session::default()
            };
            let request: Later = Box::pin(async { Reply::Frame(vec![7]) });
            shares.hold(&session, 1, request, &mut outgoing)
        };
        let mut held: Vec<Later> = (0..WAITING).map_while(|_| hold(1)).collect();
        assert_eq!(held.len(), WAITING / 4, "the share of one process");
        assert!(hold(2).is_some());
        let answered = held.pop().unwrap().await;
        assert!(matches!(answered, Reply::Frame(_)));
        assert!(hold(1).is_some(), "one was answered");
        let message = Message::parse(&outgoing).unwrap();
        let Message::Response { outcome, .. } = message else {
            panic!("an answer")
        };
        let answer = outcome.decode::<authd_proto::response::DaemonStatusReply>();
        assert_eq!(answer.unwrap().unwrap_err().code, ErrorCode::Busy);
    }

    #[tokio::test]
    async fn an_event_about_lost_events_says_when_and_how_many() {
        let clock = Clock::System;
        let before = clock.unix_now();
        let (sender, receiver) = broadcast::channel(1);
        for seq in 1..=3 {
            sender
                .send(Arc::new(Event::new(seq, 0, EventKind::Token)))
                .unwrap();
        }
        let mut session = Session {
            subscription: Some(Subscription::new(receiver, None, None)),
            ..Session::default()
        };
        let event = next_event(&mut session, &clock).await;
        assert_eq!((event.event, event.missed), (EventKind::Lagged, Some(2)));
        assert!(event.at >= before, "{}", event.at);
        assert_eq!(next_event(&mut session, &clock).await.seq, 3);
    }
}
