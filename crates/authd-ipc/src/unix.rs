//! Unix sockets, the client's end: connecting within a deadline, and only to a server of our own uid.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, sockopt};

use crate::error::ConnectError;
use crate::path::SocketPath;
use crate::peer;

/// A connection to the daemon.
#[derive(Debug)]
pub struct Stream(UnixStream);

impl Stream {
    /// How long one read may take; `None` is for ever. It then fails with `WouldBlock` or `TimedOut`.
    ///
    /// # Errors
    /// A time-out of zero, or the system's.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(timeout)
    }

    /// How long one write may take; `None` is for ever.
    ///
    /// # Errors
    /// A time-out of zero, or the system's.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_write_timeout(timeout)
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Connects to the daemon within `timeout` (not zero): checks the place before and the server's uid after
/// (ours, or the one that `AUTHD_SOCKET_UID` names; on macOS also root's), so that not a byte goes to a
/// stranger.
///
/// # Errors
/// [`ConnectError`].
pub fn connect(socket: &SocketPath, timeout: Duration) -> Result<Stream, ConnectError> {
    socket.check()?;
    let path = || socket.path().to_owned();
    let stream = match dial(socket, timeout) {
        Ok(stream) => stream,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ConnectError::NotRunning(path())
                }
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    ConnectError::TimedOut(path())
                }
                _ => ConnectError::Io {
                    path: path(),
                    source: error,
                },
            });
        }
    };
    let server = peer::of_socket(&stream).map_err(|source| ConnectError::Io {
        path: path(),
        source,
    })?;
    let expected = socket.server_uid();
    if !is_trusted(server.uid, expected, LISTENED_BY_LAUNCHD) {
        return Err(ConnectError::ServerUser {
            path: path(),
            found: server
                .uid
                .map_or_else(|| "an unknown user".to_owned(), |uid| format!("uid {uid}")),
            own: format!("uid {expected}"),
        });
    }
    Ok(Stream(stream))
}

/// Whether another process may have called listen(2) for the daemon, and stands for it.
///
/// XNU keeps who that was with the socket and calls it the peer of whoever connects. For a socket that
/// launchd opens for the daemon it is launchd, which is root.
const LISTENED_BY_LAUNCHD: bool = cfg!(target_os = "macos");

/// Whether a server may be the daemon that `expected` runs, going by who called listen(2).
///
/// Where that may be launchd, root will do. Nobody else gets in by it: the place was shown to be `expected`'s
/// before, so that no third one can listen there, and root could read everything anyway.
fn is_trusted(listener: Option<u32>, expected: u32, listened_by_launchd: bool) -> bool {
    match listener {
        Some(0) if listened_by_launchd => true,
        found => found == Some(expected),
    }
}

/// Connects without any check. Where the backlog is full, Linux waits for the send time-out.
pub(crate) fn dial(socket: &SocketPath, timeout: Duration) -> io::Result<UnixStream> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let fd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let fd = {
        let fd = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        fd
    };
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(timeout))?;
    rustix::net::connect(&fd, &SocketAddrUnix::new(socket.path())?)?;
    Ok(UnixStream::from(fd))
}

#[cfg(test)]
mod tests {
    use super::is_trusted;

    #[test]
    fn a_server_is_ours_alone() {
        assert!(is_trusted(Some(1000), 1000, false));
        for stranger in [Some(0), Some(1001), None] {
            assert!(!is_trusted(stranger, 1000, false), "{stranger:?}");
        }
    }

    #[test]
    fn where_launchd_listens_root_stands_for_us_and_nobody_else_does() {
        assert!(is_trusted(Some(1000), 1000, true));
        assert!(is_trusted(Some(0), 1000, true));
        for stranger in [Some(1001), None] {
            assert!(!is_trusted(stranger, 1000, true), "{stranger:?}");
        }
    }
}
