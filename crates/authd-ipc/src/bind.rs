//! Binding a Unix socket without displacing a live daemon.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::ListenError;
use crate::path::SocketPath;
use crate::unix::dial;

/// How long the probe of a socket that is already there may take.
const PROBE: Duration = Duration::from_secs(2);

/// A bound socket, and the file that stands for it, removed when dropped.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: OwnedFd,
    pub(crate) file: SocketFile,
}

/// Listens on `socket`. The caller holds the instance lock; a socket that a dead daemon left behind is
/// removed, one that answers is not.
pub(crate) fn listen(socket: &SocketPath) -> Result<Bound, ListenError> {
    socket.prepare_directory()?;
    socket.check()?;
    let path = socket.path();
    let failed = |source| ListenError::Io {
        path: path.to_owned(),
        source,
    };
    match dial(socket, PROBE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)?;
        }
        // Anything else, a full backlog included, is a sign of life.
        Ok(_) | Err(_) => return Err(ListenError::InUse(path.to_owned())),
    }
    let listener = UnixListener::bind(path).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(path.to_owned()),
        _ => failed(source),
    })?;
    let file = SocketFile::of(path.to_owned()).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Bound {
        listener: listener.into(),
        file,
    })
}

/// The socket's name in the file system. Dropping it removes the name, unless it is another's by now.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    pub(crate) fn of(path: PathBuf) -> io::Result<Self> {
        let meta = path.symlink_metadata()?;
        Ok(Self {
            identity: (meta.dev(), meta.ino()),
            path,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let current = self
            .path
            .symlink_metadata()
            .map(|meta| (meta.dev(), meta.ino()));
        if current.is_ok_and(|current| current == self.identity) {
            // Best effort: a name left behind is removed by the next daemon.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
