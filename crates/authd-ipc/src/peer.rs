//! Who is on the other end, as the kernel says, and whether the daemon talks to them.

#[cfg(any(unix, feature = "tokio"))]
use std::io;

#[cfg(all(any(unix, feature = "tokio"), not(target_os = "linux")))]
use interprocess::local_socket::{PeerCreds, traits::StreamCommon};

/// The process that connected, at the moment it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective uid. `None` on Windows, where the pipe's DACL lets no one else in.
    pub uid: Option<u32>,
    /// Its process. `None` where the system does not tell, a process of another pid namespace included:
    /// then it is unidentified.
    pub pid: Option<u32>,
}

#[cfg(any(unix, feature = "tokio"))]
impl Peer {
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn from_creds(creds: &PeerCreds) -> Self {
        #[cfg(unix)]
        let (uid, pid) = (
            creds.euid(),
            creds.pid().and_then(|pid| u32::try_from(pid).ok()),
        );
        #[cfg(windows)]
        let (uid, pid) = (None, creds.pid());
        let pid = pid.filter(|&pid| pid != 0);
        Self { uid, pid }
    }

    /// The peer of an accepted stream.
    ///
    /// # Errors
    /// The system's; the peer is then unknown and must be refused.
    #[cfg(all(feature = "tokio", not(any(target_os = "linux", target_os = "macos"))))]
    pub fn of(stream: &interprocess::local_socket::tokio::Stream) -> io::Result<Self> {
        stream.peer_creds().map(|creds| Self::from_creds(&creds))
    }

    /// The peer of an accepted stream.
    ///
    /// # Errors
    /// The system's; the peer is then unknown and must be refused.
    #[cfg(all(feature = "tokio", target_os = "linux"))]
    pub fn of(stream: &interprocess::local_socket::tokio::Stream) -> io::Result<Self> {
        use std::os::fd::AsFd as _;
        let interprocess::local_socket::tokio::Stream::UdSocket(stream) = stream;
        Self::at(stream.as_fd())
    }

    /// The peer of an accepted stream.
    ///
    /// # Errors
    /// The system's; the peer is then unknown and must be refused.
    #[cfg(all(feature = "tokio", target_os = "macos"))]
    pub fn of(stream: &interprocess::local_socket::tokio::Stream) -> io::Result<Self> {
        use std::os::fd::AsFd as _;
        let peer = Self::from_creds(&stream.peer_creds()?);
        let interprocess::local_socket::tokio::Stream::UdSocket(stream) = stream;
        let pid = crate::option::pid(stream.as_fd());
        Ok(Self { pid, ..peer })
    }

    #[cfg(target_os = "linux")]
    fn at(socket: std::os::fd::BorrowedFd<'_>) -> io::Result<Self> {
        let (uid, pid) = crate::option::credentials(socket)?;
        Ok(Self { uid, pid })
    }
}

/// Whom the daemon talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRule {
    /// The daemon's own effective uid.
    pub own_uid: u32,
    /// Whether the user lets root in. A daemon that runs as root always does.
    pub allow_root: bool,
}

/// Why the daemon does not talk to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another user.
    #[error("the peer runs as uid {0}, another user's")]
    OtherUser(u32),
    /// Root, without the user's leave.
    #[error("the peer runs as root, which the configuration does not allow")]
    Root,
    /// The system does not say.
    #[error("the system does not say who the peer is")]
    Unidentified,
}

impl PeerRule {
    /// The rule of this process.
    #[must_use]
    pub fn of_process(allow_root: bool) -> Self {
        #[cfg(unix)]
        let own_uid = rustix::process::geteuid().as_raw();
        #[cfg(windows)]
        let own_uid = 0;
        Self {
            own_uid,
            allow_root,
        }
    }

    /// Lets `peer` in or says why not.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(self, peer: Peer) -> Result<(), Refused> {
        match peer.uid {
            Some(uid) if uid == self.own_uid => Ok(()),
            Some(0) if self.allow_root => Ok(()),
            Some(0) => Err(Refused::Root),
            Some(uid) => Err(Refused::OtherUser(uid)),
            // The pipe's DACL has already let in the owner alone.
            None if cfg!(windows) => Ok(()),
            None => Err(Refused::Unidentified),
        }
    }
}

/// Asks the system who is on the other end of a blocking socket.
#[cfg(target_os = "linux")]
pub(crate) fn of_socket(stream: &std::os::unix::net::UnixStream) -> io::Result<Peer> {
    use std::os::fd::AsFd as _;
    Peer::at(stream.as_fd())
}

/// Asks the system who is on the other end of a blocking socket.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn of_socket(stream: &std::os::unix::net::UnixStream) -> io::Result<Peer> {
    use interprocess::os::unix::uds_local_socket as uds;
    use std::os::fd::{AsFd, OwnedFd};
    // interprocess reads the credentials of a stream it owns: it gets a duplicate.
    let duplicate: OwnedFd = stream.as_fd().try_clone_to_owned()?;
    let stream = uds::Stream::from(duplicate);
    stream.peer_creds().map(|creds| Peer::from_creds(&creds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32) -> Peer {
        Peer {
            uid: Some(uid),
            pid: Some(1),
        }
    }

    #[test]
    fn the_own_uid_alone_is_admitted() {
        let rule = PeerRule {
            own_uid: 1000,
            allow_root: false,
        };
        assert_eq!(rule.admit(peer(1000)), Ok(()));
        assert_eq!(rule.admit(peer(1001)), Err(Refused::OtherUser(1001)));
        assert_eq!(rule.admit(peer(0)), Err(Refused::Root));
    }

    #[test]
    fn root_is_admitted_by_leave_or_by_being_root() {
        assert_eq!(
            PeerRule {
                own_uid: 1000,
                allow_root: true
            }
            .admit(peer(0)),
            Ok(())
        );
        assert_eq!(
            PeerRule {
                own_uid: 0,
                allow_root: false
            }
            .admit(peer(0)),
            Ok(())
        );
        let root = PeerRule {
            own_uid: 0,
            allow_root: true,
        };
        assert_eq!(root.admit(peer(1000)), Err(Refused::OtherUser(1000)));
    }

    #[cfg(unix)]
    #[test]
    fn a_peer_without_a_uid_is_refused() {
        let rule = PeerRule {
            own_uid: 0,
            allow_root: true,
        };
        assert_eq!(
            rule.admit(Peer {
                uid: None,
                pid: Some(1)
            }),
            Err(Refused::Unidentified)
        );
    }
}
