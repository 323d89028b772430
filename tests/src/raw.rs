//! Bytes on the socket that no client of ours would send.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use authd_proto::{call::Request, encode};

use crate::PATIENCE;

/// A connection without manners.
pub struct Raw(UnixStream);

impl Raw {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("a daemon that listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a time-out");
        Self(stream)
    }

    /// Sends; `false` when the daemon has hung up already.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Everything the daemon sends until it hangs up; `None` when it does not hang up in time.
    pub fn until_closed(&mut self, within: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(within)).expect("a time-out");
        let mut received = Vec::new();
        match self.0.read_to_end(&mut received) {
            Ok(_) => Some(received),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(received),
            Err(_) => None,
        }
    }

    /// The stream itself.
    pub fn stream(&mut self) -> &mut UnixStream {
        &mut self.0
    }
}

/// The bytes of a well-formed request.
///
/// # Panics
/// When it does not fit a frame.
#[must_use]
pub fn frame<R: Request>(id: u32, request: &R) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::request(&mut bytes, id, request).expect("a request that fits");
    bytes
}
