//! A bare connection to the daemon, for measuring: what a client library adds is left out.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use authd_proto::frame::FrameBuffer;
use authd_proto::message::Message;
use authd_proto::request::TokenGet;
use authd_proto::{Request, encode};

use crate::error::ChoreError;

/// Longer than any answer that is worth waiting for.
const DEADLINE: Duration = Duration::from_secs(30);

/// One connection, one request at a time.
pub(crate) struct Connection {
    stream: UnixStream,
    incoming: FrameBuffer,
    outgoing: Vec<u8>,
}

impl Connection {
    /// Connects to the daemon at `socket`.
    pub(crate) fn open(socket: &Path) -> Result<Self, ChoreError> {
        let stream = UnixStream::connect(socket).map_err(ChoreError::io("connect to", socket))?;
        stream
            .set_read_timeout(Some(DEADLINE))
            .map_err(ChoreError::io("set a deadline on", socket))?;
        Ok(Self {
            stream,
            incoming: FrameBuffer::new(),
            outgoing: Vec::new(),
        })
    }

    /// Calls a method and decodes its result.
    pub(crate) fn call<R: Request>(&mut self, request: &R) -> Result<R::Reply, ChoreError> {
        self.outgoing.clear();
        encode::request(&mut self.outgoing, 0, request).map_err(wrong)?;
        let decode = |frame: &[u8]| match Message::parse(frame).map_err(wrong)? {
            Message::Response { outcome, .. } => outcome
                .decode()
                .map_err(wrong)?
                .map_err(ChoreError::Refused),
            Message::Request { .. } | Message::Notification { .. } => {
                Err(wrong("it sent something that is no response"))
            }
        };
        round_trip(&mut self.stream, &mut self.incoming, &self.outgoing, decode)?
    }

    /// Sends bytes that are a request and waits for its answer; returns the answer's length.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<usize, ChoreError> {
        round_trip(&mut self.stream, &mut self.incoming, request, <[u8]>::len)
    }
}

/// A request, ready to send.
pub(crate) fn encoded<R: Request>(id: u32, request: &R) -> Result<Vec<u8>, ChoreError> {
    let mut bytes = Vec::new();
    encode::request(&mut bytes, id, request).map_err(wrong)?;
    Ok(bytes)
}

/// `token.get` for an account, ready to send.
pub(crate) fn token_get(account: &str, id: u32) -> Result<Vec<u8>, ChoreError> {
    let request = TokenGet {
        account: Some(account),
        ..TokenGet::default()
    };
    encoded(id, &request)
}

/// Sends the request and hands the next frame to `read`.
fn round_trip<T>(
    stream: &mut UnixStream,
    incoming: &mut FrameBuffer,
    request: &[u8],
    read: impl FnOnce(&[u8]) -> T,
) -> Result<T, ChoreError> {
    stream.write_all(request).map_err(wrong)?;
    loop {
        if let Some(frame) = incoming.next_frame().map_err(wrong)? {
            return Ok(read(frame));
        }
        if incoming.read_from(stream).map_err(wrong)? == 0 {
            return Err(wrong("it closed the connection"));
        }
    }
}

fn wrong(reason: impl ToString) -> ChoreError {
    ChoreError::Daemon(reason.to_string())
}
