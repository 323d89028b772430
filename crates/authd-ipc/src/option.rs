//! What the kernel says of the peer of a socket, where no crate asks for it as we need it.
//!
//! On Linux `interprocess` takes a process without a number for nobody, but that is what every process outside of
//! the asker's pid namespace looks like: the daemon, seen from a container. Its uid is told all the same. On macOS
//! it asks for the uid alone.
#![expect(unsafe_code, reason = "a socket's options are read through libc alone")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
#[cfg(all(feature = "tokio", target_os = "linux"))]
use std::os::fd::{FromRawFd as _, OwnedFd};

/// What stands for a uid where there is nobody: no peer, or none any more.
#[cfg(target_os = "linux")]
const NOBODY: u32 = u32::MAX;

/// The effective uid of the peer when it connected, or listened, and its number (`SO_PEERCRED`); each `None` where the
/// kernel has no name for it here.
#[cfg(target_os = "linux")]
pub(crate) fn credentials(socket: BorrowedFd<'_>) -> io::Result<(Option<u32>, Option<u32>)> {
    let mut found = libc::ucred {
        pid: 0,
        uid: NOBODY,
        gid: NOBODY,
    };
    // SAFETY: that is what the kernel writes for this option.
    unsafe { get(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, &mut found) }?;
    let pid = u32::try_from(found.pid).ok().filter(|&pid| pid != 0);
    Ok(((found.uid != NOBODY).then_some(found.uid), pid))
}

/// The peer's pidfd, which the kernel keeps with the socket (`SO_PEERPIDFD`, Linux 6.5). Close-on-exec, as the kernel
/// makes it.
#[cfg(all(feature = "tokio", target_os = "linux"))]
pub(crate) fn pidfd(socket: BorrowedFd<'_>) -> Option<OwnedFd> {
    let mut found: libc::c_int = -1;
    // SAFETY: that is what the kernel writes for this option.
    unsafe { get(socket, libc::SOL_SOCKET, libc::SO_PEERPIDFD, &mut found) }.ok()?;
    // SAFETY: the kernel just made this descriptor for us.
    (found >= 0).then(|| unsafe { OwnedFd::from_raw_fd(found) })
}

/// The number of the process that used the other end last (`LOCAL_PEERPID`): right after a connection was made,
/// the one that made it. `None` where the other end is closed.
#[cfg(target_os = "macos")]
pub(crate) fn pid(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut found: libc::pid_t = 0;
    // SAFETY: that is what the kernel writes for this option.
    unsafe { get(socket, libc::SOL_LOCAL, libc::LOCAL_PEERPID, &mut found) }.ok()?;
    u32::try_from(found).ok().filter(|&pid| pid != 0)
}

/// Reads one of the options of a socket.
///
/// # Safety
/// The kernel must write a valid `T` for this option, or nothing.
unsafe fn get<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &mut T,
) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let mut length = size;
    // SAFETY: value and length are ours and as large as said; the socket is open.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw mut *value).cast(),
            &raw mut length,
        )
    };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    if length == size {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}
