//! Taking the place of a daemon that still listens, so that no client finds nobody there.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use crate::error::ListenError;
use crate::path::SocketPath;

/// What the socket is called until it takes the place of the other: in the same directory, which nobody
/// else can write.
const NEXT: &str = "next";

/// Listens in the place of the daemon at `socket`, which goes on with the clients it has and gets no more:
/// they wait in the queue of the socket returned, for whoever accepts from it. When it is closed instead,
/// there is nobody at `socket` any more.
///
/// # Errors
/// [`ListenError`], when the place cannot be used; nothing has changed then.
pub fn take_place(socket: &SocketPath) -> Result<OwnedFd, ListenError> {
    socket.check()?;
    let path = socket.path().with_file_name(NEXT);
    let failed = |source| ListenError::Io {
        path: path.clone(),
        source,
    };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        // Of a command that was interrupted here.
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&path, socket.path()).map_err(failed)?;
    Ok(listener.into())
}
