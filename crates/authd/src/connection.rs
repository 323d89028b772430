//! One client: reads its frames, answers as they finish, and keeps to its deadlines.
//!
//! A client that sends half a frame, or never reads what it is sent, holds nothing but its own
//! connection, and that only for a while.

use std::{io, time::Duration};

use authd_core::id::ClientId;
use authd_ipc::TokioStream as Stream;
use authd_proto::{
    Call, ErrorShape, encode,
    event::{Event, EventKind},
    frame::{FrameBuffer, FrameError},
    limits::MAX_IN_FLIGHT,
    message::Message,
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{broadcast::error::RecvError, watch},
    time::{Instant, timeout},
};
use zeroize::Zeroizing;

use crate::{
    access::Access,
    clock::Clock,
    daemon::Shared,
    dispatch::{self, Later, Reply},
    handler::events::Subscription,
};

/// A frame that was begun must be whole by then.
const FRAME_DEADLINE: Duration = Duration::from_secs(30);
/// A client must have read what it is sent by then.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// A buffer that grew beyond this for one large answer is given back.
const KEPT_BUFFER: usize = 16 * 1024;

/// What a client agreed on, and what it may ask for.
pub(crate) struct Session {
    /// What the listener that it came in at lets it ask for.
    pub(crate) access: Access,
    /// How it wants its errors.
    pub(crate) errors: ErrorShape,
    /// What it says it is.
    pub(crate) client: Option<String>,
    /// Which process it is, as far as the system says.
    pub(crate) process: ClientId,
    /// Whether it asked the daemon to stop.
    pub(crate) asked_to_stop: bool,
    /// The events it wants.
    pub(crate) subscription: Option<Subscription>,
}

impl Session {
    /// One that agreed on nothing yet.
    pub(crate) fn new(process: ClientId, access: Access) -> Self {
        Self {
            access,
            errors: ErrorShape::default(),
            client: None,
            process,
            asked_to_stop: false,
            subscription: None,
        }
    }
}

/// Serves one client until it leaves or misbehaves.
pub(crate) async fn run(mut stream: Stream, process: ClientId, access: Access, daemon: &Shared) {
    let session = Session::new(process, access);
    if let Err(error) = exchange(&mut stream, session, daemon).await {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn exchange(stream: &mut Stream, mut session: Session, daemon: &Shared) -> io::Result<()> {
    let mut incoming = Incoming::default();
    // Tokens are in there, also when this is given up half way.
    let mut outgoing = Zeroizing::new(Vec::new());
    let mut later: FuturesUnordered<Later> = FuturesUnordered::new();
    let mut stopping = daemon.stopping.subscribe();
    let mut stopped = daemon.stopped.subscribe();
    loop {
        let room = later.len() < MAX_IN_FLIGHT;
        let patient = session.asked_to_stop;
        let deadline = incoming.begun_at.map(|begun| begun + FRAME_DEADLINE);
        tokio::select! {
            read = stream.read(incoming.buffer.spare()), if room => {
                let count = read?;
                if count == 0 {
                    return Ok(());
                }
                incoming.buffer.advance(count);
                take_frames(&mut incoming, daemon, &mut session, &later, &mut outgoing)?
                    .into_iter()
                    .for_each(|request| later.push(request));
            }
            Some(reply) = later.next(), if !later.is_empty() => {
                write_reply(&mut outgoing, reply);
                // A frame may have been left in the buffer for want of room.
                take_frames(&mut incoming, daemon, &mut session, &later, &mut outgoing)?
                    .into_iter()
                    .for_each(|request| later.push(request));
            }
            event = next_event(&mut session, &daemon.clock) => write_event(&mut outgoing, &event),
            () = hung_up(&mut stopping, &mut stopped, patient), if later.is_empty() => {
                return Ok(());
            }
            () = until(deadline) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "half a frame, and no more"));
            }
        }
        if !outgoing.is_empty() {
            flush(stream, &mut outgoing).await?;
        }
    }
}

/// What a client has sent and nobody has looked at yet.
#[derive(Default)]
struct Incoming {
    buffer: FrameBuffer,
    /// Since when the last frame in it is known to be only half there.
    begun_at: Option<Instant>,
}

impl Incoming {
    /// Hands whole frames to `answer` until `room` of them came back to be answered later.
    fn take<L>(
        &mut self,
        room: usize,
        now: Instant,
        mut answer: impl FnMut(&[u8]) -> io::Result<Option<L>>,
    ) -> io::Result<Vec<L>> {
        let mut waiting = Vec::new();
        while waiting.len() < room {
            let Some(frame) = self.buffer.next_frame().map_err(malformed)? else {
                // Half a frame stays as old as it is, however slowly it grows.
                self.begun_at = (!self.buffer.is_empty()).then(|| self.begun_at.unwrap_or(now));
                return Ok(waiting);
            };
            self.begun_at = None;
            waiting.extend(answer(frame)?);
        }
        // What is left waits for the daemon, not for the client: no deadline runs.
        Ok(waiting)
    }
}

fn malformed(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Dispatches every whole frame there is room for. What cannot be answered at once comes back.
fn take_frames(
    incoming: &mut Incoming,
    daemon: &Shared,
    session: &mut Session,
    later: &FuturesUnordered<Later>,
    outgoing: &mut Vec<u8>,
) -> io::Result<Vec<Later>> {
    let room = MAX_IN_FLIGHT.saturating_sub(later.len());
    incoming.take(room, Instant::now(), |frame| {
        let Message::Request { id, method, params } = Message::parse(frame).map_err(malformed)?
        else {
            return Ok(None);
        };
        Ok(match Call::decode(method, params) {
            Ok(call) => dispatch::dispatch(daemon, session, id, call, params.trace_id(), outgoing),
            Err(error) => {
                encode::error(outgoing, id, &error, session.errors);
                None
            }
        })
    })
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
            Ok(event) if subscription.wants(&event) => return Event::clone(&event),
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
    use std::sync::Arc;

    use tokio::sync::broadcast;

    use super::*;

    const HALF: &[u8] = &[0x93, 0x02];
    const WHOLE: &[u8] = &[0x93, 0x02, 0xa1, b'x', 0x90];

    fn receive(incoming: &mut Incoming, bytes: &[u8]) {
        incoming.buffer.spare()[..bytes.len()].copy_from_slice(bytes);
        incoming.buffer.advance(bytes.len());
    }

    /// Takes what is there, with each frame to be answered later; how many were taken.
    fn take(incoming: &mut Incoming, room: usize, now: Instant) -> usize {
        incoming.take(room, now, |_| Ok(Some(()))).unwrap().len()
    }

    #[test]
    fn whole_frames_that_wait_for_room_have_no_deadline() {
        let now = Instant::now();
        let mut incoming = Incoming::default();
        receive(&mut incoming, &WHOLE.repeat(3));
        assert_eq!(take(&mut incoming, 2, now), 2);
        assert_eq!(incoming.begun_at, None, "one whole frame is left");
        assert_eq!(take(&mut incoming, 2, now), 1);
        assert_eq!(incoming.begun_at, None, "nothing is left");
    }

    #[test]
    fn half_a_frame_has_its_deadline_from_its_first_byte_on() {
        let begun = Instant::now();
        let later = begun + FRAME_DEADLINE / 2;
        let mut incoming = Incoming::default();
        receive(&mut incoming, HALF);
        take(&mut incoming, 1, begun);
        receive(&mut incoming, &WHOLE[HALF.len()..4]);
        take(&mut incoming, 1, later);
        assert_eq!(incoming.begun_at, Some(begun), "a byte more renews nothing");
        receive(&mut incoming, &WHOLE[4..]);
        receive(&mut incoming, HALF);
        take(&mut incoming, 2, later);
        assert_eq!(incoming.begun_at, Some(later), "another frame was begun");
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
            ..Session::new(ClientId(1), Access::Owner)
        };
        let event = next_event(&mut session, &clock).await;
        assert_eq!((event.event, event.missed), (EventKind::Lagged, Some(2)));
        assert!(event.at >= before, "{}", event.at);
        assert_eq!(next_event(&mut session, &clock).await.seq, 3);
    }
}
