//! Where restricted sockets are: each alone in a directory of its own, which can be given to a container
//! as a whole, within one that is closed to others.
//!
//! ```text
//! restricted/                  0700
//!   work-3fa9c1/               0700, or 0711 where another uid is to be let in
//!     authd.sock               0600, or 0666
//! ```
//!
//! A container that its directory is given to for writing can put anything in there, links included: so a
//! socket is made outside of it, where nobody else gets at it, and moved in when it is whole. No name in
//! there is followed.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::bind::{Bound, SocketFile};
use crate::error::{ListenError, PathError};
use crate::path::{SocketPath, create_private_directory, owned_directory};

/// The directory of all of them.
const DIRECTORY: &str = "restricted";
/// A socket's name within its own directory: the same as the owner's has, so that nothing tells them apart.
const SOCKET: &str = "authd.sock";

/// Whom the modes of a restricted socket let through. Who is let in is decided by the peer's uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Our own uid alone.
    Own,
    /// Whoever gets at its directory.
    Others,
}

/// The directory of all restricted sockets.
#[derive(Clone, Debug)]
pub struct RestrictedDirectory(PathBuf);

impl RestrictedDirectory {
    /// Beside the daemon's own socket; under the state directory where somebody named that one, since its
    /// directory is not authd's.
    #[must_use]
    pub fn locate(socket: &SocketPath, state_dir: &Path) -> Self {
        let beside = socket.path().parent().filter(|_| !socket.is_explicit());
        let runtime = beside.map_or_else(|| state_dir.join("run"), Path::to_owned);
        Self(runtime.join(DIRECTORY))
    }

    /// Where the socket of that name is. `name` is a file name.
    #[must_use]
    pub fn socket(&self, name: &str) -> PathBuf {
        self.0.join(name).join(SOCKET)
    }

    /// Listens there. What is left of a socket of that name is replaced, its directory kept: a container
    /// that has it goes on with the new socket. Call it with the instance lock held.
    ///
    /// # Errors
    /// [`ListenError::Path`] when the place cannot be used, or its name is too long.
    pub(crate) fn listen(&self, name: &str, reach: Reach) -> Result<Bound, ListenError> {
        let (directory_mode, socket_mode) = match reach {
            Reach::Own => (0o700, 0o600),
            Reach::Others => (0o711, 0o666),
        };
        let path = SocketPath::explicit(self.socket(name))?.path().to_owned();
        let directory = self.0.join(name);
        let failed = |source| ListenError::Io {
            path: path.clone(),
            source,
        };
        create_private_directory(&self.0)?;
        owned_directory(&self.0)?;
        set_mode(&self.0, 0o700)?;
        create_private_directory(&directory)?;
        owned_directory(&directory)?;

        let making = SocketPath::explicit(self.0.join(format!("{name}.new")))?;
        remove(making.path()).map_err(failed)?;
        let listener = UnixListener::bind(making.path()).map_err(failed)?;
        set_mode(making.path(), socket_mode)?;
        std::fs::rename(making.path(), &path).map_err(failed)?;
        let file = SocketFile::of(path.clone()).map_err(failed)?;
        set_mode(&directory, directory_mode)?;
        Ok(Bound {
            listener: listener.into(),
            file,
        })
    }

    /// Removes the directory of a socket that is closed.
    ///
    /// # Errors
    /// The system's: somebody who was given the directory may have left something in it.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        remove(&self.socket(name))?;
        match std::fs::remove_dir(self.0.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The names of all that have a directory here, in no order.
    ///
    /// # Errors
    /// The system's.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), PathError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|source| {
        PathError::Io {
            path: path.to_owned(),
            source,
        }
    })
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
