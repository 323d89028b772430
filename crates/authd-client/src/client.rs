//! One connection to the daemon.
//!
//! A daemon that is replaced while a request is on its way to it has either answered it, or read nothing of
//! it, or said that it is stopping. In the last two cases nothing has happened, and the request is made once
//! more, of the daemon that comes after.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use authd_ipc::{SocketPath, Stream};
use authd_proto::call::{Method, Request};
use authd_proto::encode;
use authd_proto::error::{ErrorCode, ErrorShape};
use authd_proto::event::{EVENT_METHOD, Event};
use authd_proto::frame::FrameBuffer;
use authd_proto::message::Message;
use authd_proto::request::{Hello, Subscribe};
use authd_proto::response::{HelloReply, SubscribeReply};

use crate::Instance;
use crate::error::ClientError;
use crate::spawn;

/// What the client says it is; shown in events, never trusted.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// The program.
    pub name: &'static str,
    /// Its release.
    pub version: &'static str,
}

/// A connection. One call at a time; events that come in between are kept.
///
/// After an error other than [`ClientError::Wire`] it is out of step: drop it.
pub struct Client {
    socket: SocketPath,
    who: Who,
    /// What is started where nobody listens.
    starts: Option<Instance>,
    stream: Stream,
    /// The daemon has hung up before it read all that was sent.
    unread: bool,
    /// This connection has a state that another would not have.
    subscribed: bool,
    incoming: FrameBuffer,
    outgoing: Vec<u8>,
    /// Of the next request. 0 is `hello`'s.
    next_id: u32,
    /// Whether the answer to `hello` is still to come.
    greeting: bool,
    events: VecDeque<Event>,
}

const HELLO_ID: u32 = 0;
/// How often a request is made at most, of daemons that come one after the other.
const TRIES: u32 = 4;

impl Client {
    /// Connects within `timeout` (not zero). `hello` rides ahead of the first call, in the same write.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(socket: &SocketPath, who: Who, timeout: Duration) -> Result<Self, ClientError> {
        let stream = authd_ipc::connect(socket, timeout)?;
        let mut outgoing = Vec::with_capacity(256);
        let hello = Hello {
            client: Some(who.name.to_owned()),
            client_version: Some(who.version.to_owned()),
            errors: ErrorShape::Map,
            ..Hello::default()
        };
        encode::request(&mut outgoing, HELLO_ID, &hello)?;
        Ok(Self {
            socket: socket.clone(),
            who,
            starts: None,
            stream,
            unread: false,
            subscribed: false,
            incoming: FrameBuffer::new(),
            outgoing,
            next_id: HELLO_ID + 1,
            greeting: true,
            events: VecDeque::new(),
        })
    }

    /// Has it start the daemon of `instance` when, later on, nobody listens.
    #[must_use]
    pub(crate) fn starting(mut self, instance: &Instance) -> Self {
        self.starts = Some(instance.clone());
        self
    }

    /// Makes one call and waits up to `timeout` for its end. For methods that wait in the daemon let
    /// `timeout` be somewhat longer than their `wait_secs`.
    ///
    /// When the daemon stops before it has looked at the request, it is made again, of its successor; unless
    /// this connection is subscribed to events, of which some might be lost.
    ///
    /// # Errors
    /// [`ClientError::Wire`] when the daemon says no (a version mismatch included); else the connection
    /// is of no more use.
    pub fn call<R: Request>(
        &mut self,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Reply, ClientError> {
        let deadline = Deadline::after(timeout);
        let mut tries = 1;
        loop {
            let error = match self.call_once(request, &deadline) {
                Ok(reply) => {
                    self.subscribed |= R::METHOD == Method::Subscribe;
                    return Ok(reply);
                }
                Err(error) => error,
            };
            if tries == TRIES || !self.may_repeat(R::METHOD, &error) {
                return Err(error);
            }
            tries += 1;
            let Ok(next) = self.successor(&deadline) else {
                return Err(error);
            };
            *self = next;
        }
    }

    /// Whether a request that failed so has certainly not been carried out, and is still wanted.
    fn may_repeat(&self, method: Method, error: &ClientError) -> bool {
        let undone = match error {
            ClientError::Wire(error) => error.code == ErrorCode::ShuttingDown,
            ClientError::Closed => self.unread,
            _ => false,
        };
        // To stop is what it was to do; its successor is not meant.
        undone && !self.subscribed && method != Method::DaemonStop
    }

    /// A connection to the daemon that comes after this one's.
    fn successor(&self, deadline: &Deadline) -> Result<Self, ClientError> {
        let left = deadline.left()?.unwrap_or(spawn::START_TIMEOUT);
        match &self.starts {
            Some(instance) => spawn::connect_or_start(instance, self.who, left),
            None => Self::connect(&self.socket, self.who, left),
        }
    }

    fn call_once<R: Request>(
        &mut self,
        request: &R,
        deadline: &Deadline,
    ) -> Result<R::Reply, ClientError> {
        let id = self.next_id;
        // 0 stays `hello`'s: an answer to it can then never be taken for another's.
        self.next_id = id.checked_add(1).unwrap_or(HELLO_ID + 1);
        encode::request(&mut self.outgoing, id, request)?;
        self.flush(deadline)?;
        loop {
            let Some(frame) = self.incoming.next_frame()? else {
                self.receive(deadline)?;
                continue;
            };
            match Message::parse(frame)? {
                Message::Response {
                    id: HELLO_ID,
                    outcome,
                } if self.greeting => {
                    self.greeting = false;
                    outcome.decode::<HelloReply>()??;
                }
                Message::Response {
                    id: answered,
                    outcome,
                } if answered == id => {
                    return Ok(outcome.decode::<R::Reply>()??);
                }
                Message::Response { .. } => return Err(ClientError::Unasked),
                Message::Notification {
                    method: EVENT_METHOD,
                    params,
                } => {
                    self.events.push_back(params.decode()?);
                }
                // The daemon never makes requests; those of a stranger are not executed.
                Message::Notification { .. } | Message::Request { .. } => {}
            }
        }
    }

    /// Asks for events. Take them with [`next_event`](Self::next_event) or [`events`](Self::events); to
    /// watch without a gap, subscribe first and list afterwards, on this same connection.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn subscribe(
        &mut self,
        wanted: &Subscribe,
        timeout: Duration,
    ) -> Result<SubscribeReply, ClientError> {
        self.call(wanted, timeout)
    }

    /// The next event, or `None` when none came within `timeout` (`None`: wait for ever).
    ///
    /// # Errors
    /// [`ClientError::Closed`] when the daemon has stopped.
    pub fn next_event(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, ClientError> {
        let deadline = timeout.map_or(Deadline::NEVER, Deadline::after);
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.incoming.next_frame()? {
                None => match self.receive(&deadline) {
                    Err(ClientError::TimedOut(_)) => return Ok(None),
                    received => received?,
                },
                Some(frame) => match Message::parse(frame)? {
                    Message::Notification {
                        method: EVENT_METHOD,
                        params,
                    } => {
                        return Ok(Some(params.decode()?));
                    }
                    Message::Response { .. } => return Err(ClientError::Unasked),
                    Message::Notification { .. } | Message::Request { .. } => {}
                },
            }
        }
    }

    /// Waits until a daemon that was asked to stop has closed its last connection: this one.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] when it is still there after `timeout`.
    pub fn await_end(mut self, timeout: Duration) -> Result<(), ClientError> {
        loop {
            match self.next_event(Some(timeout)) {
                Err(ClientError::Closed) => return Ok(()),
                Ok(None) => return Err(ClientError::TimedOut(timeout.as_secs())),
                Ok(Some(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// All further events; ends with the error that ended the connection.
    pub fn events(&mut self) -> impl Iterator<Item = Result<Event, ClientError>> + '_ {
        let mut ended = false;
        std::iter::from_fn(move || {
            let next = (!ended).then(|| self.next_event(None))?;
            ended = next.is_err();
            next.transpose()
        })
    }

    fn flush(&mut self, deadline: &Deadline) -> Result<(), ClientError> {
        let left = deadline.left()?;
        self.stream
            .set_write_timeout(left)
            .map_err(ClientError::Io)?;
        let written = self.stream.write_all(&self.outgoing);
        self.outgoing.clear();
        written.map_err(|error| self.lost(error, deadline))?;
        Ok(())
    }

    /// Reads once.
    fn receive(&mut self, deadline: &Deadline) -> Result<(), ClientError> {
        let left = deadline.left()?;
        self.stream
            .set_read_timeout(left)
            .map_err(ClientError::Io)?;
        loop {
            match self.incoming.read_from(&mut self.stream) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error, deadline)),
            }
        }
    }

    /// The system says so when a peer hangs up with something unread; when all was read, there is an end and
    /// no error.
    fn lost(&mut self, error: io::Error, deadline: &Deadline) -> ClientError {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        self.unread |= matches!(error.kind(), BrokenPipe | ConnectionReset);
        deadline.blame(error)
    }
}

/// When to give up.
struct Deadline {
    at: Option<Instant>,
    allowed: Duration,
}

impl Deadline {
    const NEVER: Self = Self {
        at: None,
        allowed: Duration::MAX,
    };

    fn after(allowed: Duration) -> Self {
        Self {
            at: Instant::now().checked_add(allowed),
            allowed,
        }
    }

    /// What is left, never zero; `None` is for ever.
    fn left(&self) -> Result<Option<Duration>, ClientError> {
        let Some(at) = self.at else { return Ok(None) };
        match at.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(ClientError::TimedOut(self.allowed.as_secs())),
        }
    }

    fn blame(&self, error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::TimedOut(self.allowed.as_secs())
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Closed,
            _ => ClientError::Io(error),
        }
    }
}
