//! Socket activation: adopting a listening socket that the service manager has opened
//! (`sd_listen_fds(3)`).
//!
//! Taking descriptors by number and editing the environment are the two things here that the compiler
//! cannot check; both happen in [`take`], which `main` calls before it starts any thread.
#![expect(unsafe_code, reason = "descriptors by number, and the environment")]

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::error::ListenError;

/// A listening local socket from the service manager.
#[derive(Debug)]
pub struct Activated(OwnedFd);

impl Activated {
    /// The descriptor, close-on-exec and non-blocking.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

/// Takes the socket, if this process was activated by one, and removes `LISTEN_PID`, `LISTEN_FDS` and
/// `LISTEN_FDNAMES` from the environment, so that no child takes it for its own.
///
/// Returns `None` when the process was not activated.
///
/// # Errors
/// [`ListenError::Activation`] when what was passed is not one listening Unix stream socket.
///
/// # Safety
/// No other thread may run (it edits the environment), and nothing else may own the descriptors from 3
/// on: call it once, first thing in `main`.
pub unsafe fn take() -> Result<Option<Activated>, ListenError> {
    // SAFETY: no other thread runs, as this function demands.
    let fds = unsafe { sd_notify::listen_fds_with_names_and_unset_env() };
    let fds = fds.map_err(|_| ListenError::Activation("its variables LISTEN_* are malformed"))?;
    let fds: Vec<OwnedFd> = fds
        // SAFETY: the service manager passed these to us, and nothing else owns them, as this function
        // demands. `listen_fds` has proved them open by setting close-on-exec.
        .map(|(fd, _)| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect();
    let mut fds = fds.into_iter();
    match (fds.next(), fds.next()) {
        (None, _) => Ok(None),
        (Some(fd), None) => adopt(fd).map(Some),
        (Some(_), Some(_)) => Err(ListenError::Activation(
            "more than one, where the daemon takes one",
        )),
    }
}

fn adopt(fd: OwnedFd) -> Result<Activated, ListenError> {
    let wrong = |what| ListenError::Activation(what);
    let stream = sockopt::socket_type(&fd).is_ok_and(|kind| kind == SocketType::STREAM);
    let unix = rustix::net::getsockname(&fd)
        .is_ok_and(|name| name.address_family() == AddressFamily::UNIX);
    if !stream || !unix {
        return Err(wrong("it is no Unix stream socket"));
    }
    // Darwin does not say whether a socket listens; one that does not is refused by its first `accept`.
    #[cfg(not(target_vendor = "apple"))]
    if !sockopt::socket_acceptconn(&fd).unwrap_or(false) {
        return Err(wrong("it does not listen (Accept=yes is not supported)"));
    }
    rustix::io::ioctl_fionbio(&fd, true).map_err(|_| wrong("it cannot be made non-blocking"))?;
    Ok(Activated(fd))
}
