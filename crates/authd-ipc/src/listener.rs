//! What the daemon accepts from, on a tokio runtime.

use std::io;
#[cfg(unix)]
use std::os::fd::AsFd as _;

use interprocess::local_socket::tokio as local;
use interprocess::local_socket::traits::tokio::Listener as _;

use crate::error::ListenError;
use crate::path::SocketPath;
use crate::peer::Peer;

/// An accepted connection: `AsyncRead` and `AsyncWrite`, also by shared reference.
pub type TokioStream = local::Stream;

/// A listening socket. Dropping it removes the socket's file, unless the service manager owns it.
#[derive(Debug)]
pub struct Listener {
    inner: local::Listener,
    #[cfg(unix)]
    file: Option<crate::bind::SocketFile>,
}

impl Listener {
    /// Listens on `socket`, inside a tokio runtime. Call it with the instance lock held: a socket file
    /// that nobody answers on is taken for a dead daemon's and replaced.
    ///
    /// # Errors
    /// [`ListenError::InUse`] when somebody answers; others when the place cannot be used.
    #[cfg(unix)]
    pub fn bind(socket: &SocketPath) -> Result<Self, ListenError> {
        let crate::bind::Bound { listener, file } = crate::bind::listen(socket)?;
        let failed = |source| ListenError::Io {
            path: socket.path().to_owned(),
            source,
        };
        Self::from_fd(listener, Some(file)).map_err(failed)
    }

    /// Listens on a restricted socket, inside a tokio runtime. The same goes for it as for [`bind`](Self::bind).
    ///
    /// # Errors
    /// [`ListenError`], when the place cannot be used.
    #[cfg(unix)]
    pub fn bind_restricted(
        directory: &crate::RestrictedDirectory,
        name: &str,
        reach: crate::Reach,
    ) -> Result<Self, ListenError> {
        let crate::bind::Bound { listener, file } = directory.listen(name, reach)?;
        let path = directory.socket(name);
        Self::from_fd(listener, Some(file)).map_err(|source| ListenError::Io { path, source })
    }

    /// Listens on the pipe `socket`, inside a tokio runtime, for the owner alone.
    ///
    /// # Errors
    /// [`ListenError::InUse`] when somebody else has the pipe's first instance.
    #[cfg(windows)]
    pub fn bind(socket: &SocketPath) -> Result<Self, ListenError> {
        crate::windows::listen(socket).map(|inner| Self { inner })
    }

    /// Listens on a socket that was passed to this process, inside a tokio runtime. `socket` is its name,
    /// for one that is removed with this listener.
    ///
    /// # Errors
    /// [`ListenError::Activation`] when tokio does not take it, or it has not that name.
    #[cfg(unix)]
    pub fn adopt(
        activated: crate::activation::Activated,
        socket: &SocketPath,
    ) -> Result<Self, ListenError> {
        use crate::activation::Name;
        let file = match activated.name() {
            Name::Managers => None,
            Name::Ours => Some(
                crate::bind::SocketFile::of(socket.path().to_owned())
                    .map_err(|_| ListenError::Activation("its name is gone"))?,
            ),
        };
        Self::from_fd(activated.into_fd(), file)
            .map_err(|_| ListenError::Activation("the runtime does not take it"))
    }

    #[cfg(unix)]
    fn from_fd(
        fd: std::os::fd::OwnedFd,
        file: Option<crate::bind::SocketFile>,
    ) -> io::Result<Self> {
        use interprocess::os::unix::uds_local_socket::tokio as uds;
        // Sets it non-blocking. Its own name reclamation stays off: it would not look whose name it is.
        let inner = local::Listener::from(uds::Listener::try_from(fd)?);
        Ok(Self { inner, file })
    }

    /// Waits for the next connection. Ask [`Peer::of`] and the [`crate::PeerRule`] who it is before
    /// reading from it. Cancel-safe.
    ///
    /// # Errors
    /// The system's; `EMFILE` and its like pass, so the caller pauses and goes on.
    pub async fn accept(&self) -> io::Result<(TokioStream, io::Result<Peer>)> {
        let stream = self.inner.accept().await?;
        let peer = Peer::of(&stream);
        Ok((stream, peer))
    }

    /// A connection that is there already and that nobody but this listener will accept; `None` when there
    /// is none. What waits at a service manager's socket is for the next process.
    #[cfg(unix)]
    pub fn accept_last(&self) -> Option<(TokioStream, io::Result<Peer>)> {
        use interprocess::os::unix::uds_local_socket::tokio as uds;
        self.file.as_ref()?;
        let local::Listener::UdSocket(listener) = &self.inner;
        // Asked of the kernel: the runtime knows only of those that it was woken for.
        let fd = rustix::net::accept(listener.inner().as_fd()).ok()?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
        let stream = std::os::unix::net::UnixStream::from(fd);
        stream.set_nonblocking(true).ok()?;
        let stream = tokio::net::UnixStream::from_std(stream).ok()?;
        let stream = TokioStream::from(uds::Stream::from(stream));
        let peer = Peer::of(&stream);
        Some((stream, peer))
    }

    /// None: a client of a pipe waits for an instance of it, not in a queue.
    #[cfg(windows)]
    pub fn accept_last(&self) -> Option<(TokioStream, io::Result<Peer>)> {
        None
    }
}
