//! What can go wrong with paths, the lock, listening and connecting. Each says who must act.

use std::io;
use std::path::PathBuf;

/// A place that cannot be used, or not be trusted.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// An environment variable holds a relative path.
    #[error("{variable} must be an absolute path, but is '{}'", path.display())]
    Relative {
        /// Which one.
        variable: &'static str,
        /// What it holds.
        path: PathBuf,
    },
    /// Longer than the address of a socket can be.
    #[error(
        "the socket path '{}' is longer than the system's {limit} bytes; set AUTHD_SOCKET to a shorter one",
        path.display()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Bytes it may have.
        limit: usize,
    },
    /// Neither a home directory nor `AUTHD_STATE_DIR` and `AUTHD_CONFIG_DIR`.
    #[error("there is no home directory; set AUTHD_STATE_DIR and AUTHD_CONFIG_DIR")]
    NoHome,
    /// Not a directory, or a symbolic link to one.
    #[error("'{}' is not a directory (symbolic links are not followed here)", .0.display())]
    NotADirectory(PathBuf),
    /// Something other than a socket stands where the socket should.
    #[error("'{}' is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// It belongs to someone else.
    #[error("'{}' belongs to uid {owner}, not to uid {own}", path.display())]
    Owner {
        /// The path.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it is to be: ours, or the one's that `AUTHD_SOCKET_UID` names.
        own: u32,
    },
    /// `AUTHD_SOCKET_UID` is no number.
    #[error("AUTHD_SOCKET_UID must be a number, but is '{0}'")]
    NoUid(String),
    /// Others can write there.
    #[error("others can write to '{}' (mode {mode:04o})", path.display())]
    Writable {
        /// The path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The system says no.
    #[error("'{}' cannot be used: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Why this process is not the one instance.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon is running on this state directory.
    #[error("authd is already running{}", pid.map_or_else(String::new, |pid| format!(" (pid {pid})")))]
    Held {
        /// Its process, where the lock file says so.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Someone answers there already.
    #[error("another daemon listens on '{}'", .0.display())]
    InUse(PathBuf),
    /// The place cannot be used.
    #[error(transparent)]
    Path(#[from] PathError),
    /// What was passed to this process is no listening local socket.
    #[error("no usable socket was passed to the daemon: {0}")]
    Activation(&'static str),
    /// The system says no.
    #[error("the daemon cannot listen on '{}': {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No daemon is listening: no socket, or one that a dead daemon left behind.
    #[error("no daemon is listening on '{}'", .0.display())]
    NotRunning(PathBuf),
    /// The place cannot be trusted.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Someone else is listening there.
    #[error("the server on '{}' runs as {found}, not as {own}", path.display())]
    ServerUser {
        /// The socket.
        path: PathBuf,
        /// Who it is.
        found: String,
        /// Who it is to be: ourselves, or the one that `AUTHD_SOCKET_UID` names.
        own: String,
    },
    /// The daemon accepts nothing.
    #[error("the daemon on '{}' did not accept the connection in time", .0.display())]
    TimedOut(PathBuf),
    /// The system says no.
    #[error("no connection to '{}': {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}
