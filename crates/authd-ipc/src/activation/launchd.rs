//! launchd's way of passing sockets: asked for by name, at most once in the life of a process.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd};

use crate::error::ListenError;

/// The key under `Sockets` in the agent's property list.
const NAME: &std::ffi::CStr = c"Listener";

/// What says that this process was not started by launchd, or that its agent has no such socket.
const NOT_MANAGED: [c_int; 2] = [
    rustix::io::Errno::SRCH.raw_os_error(),
    rustix::io::Errno::NOENT.raw_os_error(),
];

unsafe extern "C" {
    /// `launch.h`: returns an errno; on success `*fds` is an array of `*count` descriptors to be freed.
    fn launch_activate_socket(
        name: *const c_char,
        fds: *mut *mut c_int,
        count: *mut usize,
    ) -> c_int;
    fn free(pointer: *mut c_void);
}

/// The sockets that launchd listens on for us; none when it did not start us.
///
/// # Errors
/// [`ListenError::Activation`] when it refuses for another reason.
pub(super) fn sockets() -> Result<Vec<OwnedFd>, ListenError> {
    let mut fds = std::ptr::null_mut();
    let mut count = 0;
    // SAFETY: the name ends in NUL, and both places are ours to be written to.
    match unsafe { launch_activate_socket(NAME.as_ptr(), &mut fds, &mut count) } {
        0 => {}
        error if NOT_MANAGED.contains(&error) => return Ok(Vec::new()),
        _ => return Err(ListenError::Activation("launchd does not hand it over")),
    }
    let mut sockets = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: the call succeeded, so `fds` has `count` open descriptors that nobody else owns.
        sockets.push(unsafe { OwnedFd::from_raw_fd(*fds.add(index)) });
    }
    // SAFETY: the array was allocated for us, and nothing points into it any more.
    unsafe { free(fds.cast()) };
    for socket in &sockets {
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)
            .map_err(|_| ListenError::Activation("it cannot be kept from children"))?;
    }
    Ok(sockets)
}
