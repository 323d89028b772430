//! One client: reads its frames, answers as they finish, and keeps to its deadlines.
//!
//! A client that sends half a frame, or never reads what it is sent, holds nothing but its own
//! connection, and that only for a while.

use std::{io, time::Duration};

use authd_ipc::TokioStream as Stream;
use authd_proto::{
    Call, ErrorShape, encode,
    event::{Event, EventKind},
    frame::FrameBuffer,
    limits::MAX_IN_FLIGHT,
    message::Message,
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::broadcast::error::RecvError,
    time::{Instant, timeout},
};

use crate::{
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

/// What a client agreed on.
#[derive(Default)]
pub(crate) struct Session {
    /// How it wants its errors.
    pub(crate) errors: ErrorShape,
    /// What it says it is.
    pub(crate) client: Option<String>,
    /// The events it wants.
    pub(crate) subscription: Option<Subscription>,
}

/// Serves one client until it leaves or misbehaves.
pub(crate) async fn run(mut stream: Stream, daemon: &Shared) {
    if let Err(error) = exchange(&mut stream, daemon).await {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn exchange(stream: &mut Stream, daemon: &Shared) -> io::Result<()> {
    let mut session = Session::default();
    let mut incoming = FrameBuffer::new();
    let mut outgoing = Vec::new();
    let mut later: FuturesUnordered<Later> = FuturesUnordered::new();
    let mut begun_at = None;
    let mut stop = daemon.stopping.subscribe();
    loop {
        let room = later.len() < MAX_IN_FLIGHT;
        let deadline = begun_at.map(|begun: Instant| begun + FRAME_DEADLINE);
        tokio::select! {
            read = stream.read(incoming.spare()), if room => {
                let count = read?;
                if count == 0 {
                    return Ok(());
                }
                incoming.advance(count);
                take_frames(&mut incoming, daemon, &mut session, &later, &mut outgoing)?
                    .into_iter()
                    .for_each(|request| later.push(request));
                begun_at = (!incoming.is_empty()).then(Instant::now);
            }
            Some(reply) = later.next(), if !later.is_empty() => {
                write_reply(&mut outgoing, reply);
                // A frame may have been left in the buffer for want of room.
                take_frames(&mut incoming, daemon, &mut session, &later, &mut outgoing)?
                    .into_iter()
                    .for_each(|request| later.push(request));
            }
            event = next_event(&mut session) => write_event(&mut outgoing, &event),
            _ = stop.wait_for(|stopping| *stopping), if later.is_empty() => return Ok(()),
            () = until(deadline) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "half a frame, and no more"));
            }
        }
        if !outgoing.is_empty() {
            flush(stream, &mut outgoing).await?;
        }
    }
}

/// Dispatches every whole frame there is room for. What cannot be answered at once comes back.
fn take_frames(
    incoming: &mut FrameBuffer,
    daemon: &Shared,
    session: &mut Session,
    later: &FuturesUnordered<Later>,
    outgoing: &mut Vec<u8>,
) -> io::Result<Vec<Later>> {
    let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut waiting = Vec::new();
    while later.len() + waiting.len() < MAX_IN_FLIGHT {
        let Some(frame) = incoming.next_frame().map_err(malformed)? else {
            break;
        };
        let Message::Request { id, method, params } = Message::parse(frame).map_err(malformed)?
        else {
            continue;
        };
        match Call::decode(method, params) {
            Ok(call) => {
                let trace_id = params.trace_id();
                waiting.extend(dispatch::dispatch(
                    daemon, session, id, call, trace_id, outgoing,
                ));
            }
            Err(error) => encode::error(outgoing, id, &error, session.errors),
        }
    }
    Ok(waiting)
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
async fn next_event(session: &mut Session) -> Event {
    loop {
        let Some(subscription) = &mut session.subscription else {
            return std::future::pending().await;
        };
        match subscription.receiver.recv().await {
            Ok(event) if subscription.wants(&event) => return Event::clone(&event),
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                let mut event = Event::new(0, 0, EventKind::Lagged);
                event.missed = Some(missed);
                return event;
            }
            Err(RecvError::Closed) => session.subscription = None,
        }
    }
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
