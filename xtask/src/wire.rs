//! A bare connection to the daemon, for measuring: what a client library adds is left out.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use authd_client::ClientError;
use authd_proto::frame::FrameBuffer;
use authd_proto::request::TokenGet;
use authd_proto::{Request, encode};

use crate::error::ChoreError;

/// Longer than any answer that is worth waiting for.
const DEADLINE: Duration = Duration::from_secs(30);

/// One connection, one request at a time.
pub(crate) struct Connection {
    stream: UnixStream,
    incoming: FrameBuffer,
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
        })
    }

    /// Sends bytes that are a request and waits for its answer; returns the answer's length.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<usize, ClientError> {
        self.stream.write_all(request).map_err(ClientError::Io)?;
        loop {
            if let Some(frame) = self.incoming.next_frame()? {
                return Ok(frame.len());
            }
            let count = self
                .stream
                .read(self.incoming.spare())
                .map_err(ClientError::Io)?;
            if count == 0 {
                return Err(ClientError::Closed);
            }
            self.incoming.advance(count);
        }
    }
}

/// A request, ready to send.
pub(crate) fn encoded<R: Request>(id: u32, request: &R) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    encode::request(&mut bytes, id, request)?;
    Ok(bytes)
}

/// `token.get` for an account, ready to send.
pub(crate) fn token_get(account: &str, id: u32) -> Result<Vec<u8>, ClientError> {
    let request = TokenGet {
        account: Some(account),
        ..TokenGet::default()
    };
    encoded(id, &request)
}
