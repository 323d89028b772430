//! A peer's process, held so that its number cannot come to mean another one unnoticed.
//!
//! On Linux it is a pidfd: the kernel's own for the socket where it has that (`SO_PEERPIDFD`, Linux 6.5),
//! else one that is opened by the number at once. On Windows it is an open handle. macOS has nothing of
//! the kind; there the number alone is asked for.

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

use crate::listener::TokioStream;
use crate::peer::Peer;

/// The process of a peer, pinned.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    #[cfg(target_os = "linux")]
    pidfd: OwnedFd,
    #[cfg(windows)]
    handle: std::os::windows::io::OwnedHandle,
}

impl Process {
    /// Pins the process at the other end of `stream`. `None` where the system does not say which it is (one
    /// of another pid namespace), where it has ended, or where there is nothing to pin it with: then nobody
    /// knows who it is.
    #[must_use]
    pub fn pin(stream: &TokioStream, peer: Peer) -> Option<Self> {
        let pid = peer.pid?;
        #[cfg(target_os = "linux")]
        let process = Self {
            pid,
            pidfd: linux::pidfd(stream, pid)?,
        };
        #[cfg(windows)]
        let process = {
            let _ = stream;
            let handle = crate::windows::hold(pid).ok()?;
            Self { pid, handle }
        };
        #[cfg(not(any(target_os = "linux", windows)))]
        let process = {
            let _ = stream;
            Self { pid }
        };
        process.is_alive().then_some(process)
    }

    /// Its number. It means this process for as long as [`Self::is_alive`].
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended. Costs one system call, and never waits.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        #[cfg(target_os = "linux")]
        return linux::is_alive(&self.pidfd);
        #[cfg(windows)]
        return crate::windows::runs(&self.handle);
        #[cfg(not(any(target_os = "linux", windows)))]
        return i32::try_from(self.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok());
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::{AsFd as _, OwnedFd};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use crate::listener::TokioStream;
    use crate::option;

    pub(super) fn pidfd(stream: &TokioStream, pid: u32) -> Option<OwnedFd> {
        let TokioStream::UdSocket(stream) = stream;
        if let Some(pidfd) = option::pidfd(stream.as_fd()) {
            return Some(pidfd);
        }
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        pidfd_open(pid, PidfdFlags::empty()).ok()
    }

    /// A pidfd becomes readable when its process ends.
    pub(super) fn is_alive(pidfd: &OwnedFd) -> bool {
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        loop {
            match poll(&mut fds, Some(&at_once)) {
                Ok(ready) => return ready == 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}
