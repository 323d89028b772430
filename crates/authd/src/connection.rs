//! One client: reads its frames, answers as they finish, and keeps to its deadlines.
//!
//! A client that sends half a frame, or never reads what it is sent, holds nothing but its own
//! connection, and that only for a while. What it makes the daemon keep is little: large frames on their way
//! are few at a time, and no more requests are answered than the client reads answers.

use std::{io, sync::Arc, time::Duration};

use authd_core::id::ClientId;
use authd_ipc::TokioStream as Stream;
use authd_proto::{
    Call, ErrorCode, ErrorShape, WireError, encode,
    event::{Event, EventKind},
    frame::{FrameBuffer, FrameError},
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

use crate::{
    access::Access,
    admission::{Admission, Place},
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
/// A frame that is larger, and only half there, takes one of the places for such frames.
const LARGE: usize = 16 * 1024;
/// Large frames on their way at a time, from all clients; a quarter of them from one process.
const LARGE_FRAMES: usize = 64;
/// Requests that wait for their answers at a time, of all clients; a quarter of them of one process.
const WAITING: usize = 16 * 1024;
/// Room for an answer with a token in it.
const ROOM: usize = 4 * 1024;
/// With so many bytes of answers to be written, no further request is looked at.
const ANSWERED: usize = 16 * 1024;

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

/// What a client has sent and nobody has looked at yet.
struct Incoming {
    buffer: FrameBuffer,
    /// Since when the last frame in it is known to be only half there.
    begun_at: Option<Instant>,
    /// Whether something in it has not been looked at.
    is_left: bool,
    shares: Arc<Shares>,
    process: ClientId,
    /// That of the frame on its way, once it is large.
    place: Option<Place>,
}

impl Incoming {
    fn new(shares: Arc<Shares>, process: ClientId) -> Self {
        Self {
            buffer: FrameBuffer::new(),
            begun_at: None,
            is_left: false,
            shares,
            process,
            place: None,
        }
    }

    /// Hands whole frames to `answer`: until `room` of them came back to be answered later, or the answers
    /// written to `outgoing` are enough for once.
    fn take<L>(
        &mut self,
        room: usize,
        now: Instant,
        outgoing: &mut Vec<u8>,
        mut answer: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<Option<L>>,
    ) -> io::Result<Vec<L>> {
        let mut waiting = Vec::new();
        while waiting.len() < room && outgoing.len() < ANSWERED {
            let Some(frame) = self.buffer.next_frame().map_err(malformed)? else {
                self.is_left = false;
                // Half a frame stays as old as it is, however slowly it grows.
                self.begun_at = (!self.buffer.is_empty()).then(|| self.begun_at.unwrap_or(now));
                self.buffer.forget_taken(KEPT_BUFFER);
                self.make_room()?;
                return Ok(waiting);
            };
            self.begun_at = None;
            waiting.extend(answer(frame, outgoing)?);
        }
        // What is left waits for the daemon, not for the client: no deadline runs.
        Ok(waiting)
    }

    /// Half a frame that is large already is taken in only while such frames are few.
    fn make_room(&mut self) -> io::Result<()> {
        if self.buffer.len() <= LARGE {
            self.place = None;
        } else if self.place.is_none() {
            let place = self.shares.large.enter(self.process);
            self.place = Some(place.map_err(|_| {
                io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    "too many large frames are on their way",
                )
            })?);
        }
        Ok(())
    }
}

fn malformed(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
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

    const HALF: &[u8] = &[0x93, 0x02];
    const WHOLE: &[u8] = &[0x93, 0x02, 0xa1, b'x', 0x90];

    fn receive(incoming: &mut Incoming, bytes: &[u8]) {
        incoming.buffer.spare()[..bytes.len()].copy_from_slice(bytes);
        incoming.buffer.advance(bytes.len());
    }

    fn incoming() -> Incoming {
        Incoming::new(Shares::new(), ClientId(1))
    }

    /// Takes what is there, with each frame to be answered later; how many were taken.
    fn take(incoming: &mut Incoming, room: usize, now: Instant) -> usize {
        let taken = incoming.take(room, now, &mut Vec::new(), |_, _| Ok(Some(())));
        taken.unwrap().len()
    }

    #[test]
    fn whole_frames_that_wait_for_room_have_no_deadline() {
        let now = Instant::now();
        let mut incoming = incoming();
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
        let mut incoming = incoming();
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

    #[test]
    fn requests_wait_while_many_answers_are_to_be_written() {
        let now = Instant::now();
        let mut incoming = incoming();
        receive(&mut incoming, &WHOLE.repeat(10));
        let mut outgoing = Vec::new();
        let round = |incoming: &mut Incoming, outgoing: &mut Vec<u8>| {
            let mut answered = 0;
            let taken = incoming.take(9, now, outgoing, |_, outgoing| {
                answered += 1;
                outgoing.resize(outgoing.len() + ANSWERED / 4, 0);
                Ok(None::<()>)
            });
            assert!(taken.unwrap().is_empty());
            answered
        };
        incoming.is_left = true;
        assert_eq!(round(&mut incoming, &mut outgoing), 4);
        assert!(incoming.is_left && outgoing.len() == ANSWERED);
        assert_eq!(round(&mut incoming, &mut outgoing), 0, "nothing was read");
        outgoing.clear();
        assert_eq!(round(&mut incoming, &mut outgoing), 4);
        outgoing.clear();
        assert_eq!(round(&mut incoming, &mut outgoing), 2);
        assert!(!incoming.is_left);
    }

    #[test]
    fn large_frames_on_their_way_are_few_and_fewer_from_one_process() {
        let now = Instant::now();
        let shares = Shares::new();
        // A string of 64 KiB, of which a third has come.
        let mut frame = vec![0x93, 0x02, 0xdb, 0, 1, 0, 0];
        frame.resize(LARGE + 1, b'x');
        let begin = |process| {
            let mut incoming = Incoming::new(Arc::clone(&shares), ClientId(process));
            for piece in frame.chunks(1024) {
                receive(&mut incoming, piece);
                incoming.take(1, now, &mut Vec::new(), |_, _| Ok(Some(())))?;
            }
            io::Result::Ok(incoming)
        };
        let mut begun: Vec<Incoming> = (0..LARGE_FRAMES / 4).map(|_| begin(1).unwrap()).collect();
        assert!(begin(1).is_err(), "the share of one process");
        begun.extend((4..LARGE_FRAMES as u64 / 4 * 4).map_while(|n| begin(n / 4 + 1).ok()));
        assert_eq!(begun.len(), LARGE_FRAMES);
        assert!(begin(100).is_err(), "all of them");
        // The first is whole, and gives its place and its memory back.
        let first = &mut begun[0];
        let rest = vec![b'x'; 7 + 64 * 1024 - frame.len()];
        for piece in rest.chunks(1024).chain([&[0x90][..]]) {
            receive(first, piece);
            take(first, 2, now);
        }
        assert!(first.buffer.is_empty() && first.place.is_none());
        assert!(begin(100).is_ok());
    }

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
