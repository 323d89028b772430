//! Socket activation: adopting a listening socket that somebody else has opened: the service manager
//! (`sd_listen_fds(3)`, `launch_activate_socket(3)`), or the command that puts this daemon into the place of
//! another one.
//!
//! Taking descriptors by number and editing the environment are the two things here that the compiler
//! cannot check; both happen in [`take`] and [`handed`], which `main` calls before it starts any thread.
#![expect(unsafe_code, reason = "descriptors by number, and the environment")]

#[cfg(target_os = "macos")]
mod launchd;

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::error::ListenError;

/// A listening local socket that was passed to this process.
#[derive(Debug)]
pub struct Activated {
    fd: OwnedFd,
    name: Name,
}

/// Who removes the socket's name from the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The service manager, which goes on listening when this process ends.
    Managers,
    /// This process, which nobody listens after.
    Ours,
}

impl Activated {
    /// The descriptor, close-on-exec and non-blocking.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Who removes its name.
    #[must_use]
    pub fn name(&self) -> Name {
        self.name
    }
}

/// Takes the socket of the service manager, if this process was activated by one, and removes `LISTEN_PID`,
/// `LISTEN_FDS` and `LISTEN_FDNAMES` from the environment, so that no child takes it for its own.
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
    #[cfg(target_os = "macos")]
    let fds = if fds.is_empty() {
        launchd::sockets()?
    } else {
        fds
    };
    let mut fds = fds.into_iter();
    match (fds.next(), fds.next()) {
        (None, _) => Ok(None),
        (Some(fd), None) => adopt(fd, Name::Managers).map(Some),
        (Some(_), Some(_)) => Err(ListenError::Activation(
            "more than one, where the daemon takes one",
        )),
    }
}

/// Takes the listening socket `fd`, which whoever started this process as the successor of another daemon
/// named on the command line.
///
/// # Errors
/// [`ListenError::Activation`] when it is not one listening Unix stream socket.
///
/// # Safety
/// Nothing else may own the descriptor: call it once, before anything else opens one.
pub unsafe fn handed(fd: RawFd) -> Result<Activated, ListenError> {
    // SAFETY: only the number is looked at; the kernel says whether it is an open descriptor.
    let open = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_setfd(open, rustix::io::FdFlags::CLOEXEC)
        .map_err(|_| ListenError::Activation("its descriptor is not open"))?;
    // SAFETY: it is open, and nothing else owns it, as this function demands.
    adopt(unsafe { OwnedFd::from_raw_fd(fd) }, Name::Ours)
}

fn adopt(fd: OwnedFd, name: Name) -> Result<Activated, ListenError> {
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
    Ok(Activated { fd, name })
}
