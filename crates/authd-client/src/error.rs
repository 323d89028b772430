//! What can go wrong between a client and the daemon.

use std::io;
use std::path::PathBuf;

use authd_ipc::{ConnectError, ListenError, PathError};
use authd_proto::encode::EncodeError;
use authd_proto::error::{ExitStatus, WireError};
use authd_proto::frame::FrameError;
use authd_proto::message::BadResponse;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The daemon answered with an error.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// No connection: nobody listens, or it is not to be trusted.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The environment names no usable place.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The daemon was not running and did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The daemon hung up without an answer: it is stopping, or it refuses this user.
    #[error("the daemon closed the connection without an answer")]
    Closed,
    /// No answer in time.
    #[error("the daemon did not answer within {0} s")]
    TimedOut(u64),
    /// What the daemon sent is not the protocol.
    #[error("the daemon sent something else than an answer: {0}")]
    Frame(#[from] FrameError),
    /// An answer that does not read as one.
    #[error(transparent)]
    BadResponse(#[from] BadResponse),
    /// An answer to a question that was never asked.
    #[error("the daemon answered a request that was not made")]
    Unasked,
    /// The request does not fit a frame.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The connection broke.
    #[error("the connection to the daemon broke: {0}")]
    Io(#[source] io::Error),
}

impl ClientError {
    /// The exit status of `authctl` for this error.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Wire(error) => error.code.exit_status(),
            Self::Start(StartError::Refused { .. }) => ExitStatus::Failure,
            Self::Connect(_)
            | Self::Path(_)
            | Self::Start(_)
            | Self::Closed
            | Self::TimedOut(_)
            | Self::Io(_) => ExitStatus::DaemonUnreachable,
            Self::Frame(_) | Self::BadResponse(_) | Self::Unasked | Self::Encode(_) => {
                ExitStatus::Failure
            }
        }
    }
}

/// Why no daemon was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `AUTHD_SOCKET` names someone else's daemon, which is not ours to start.
    #[error("no daemon is listening on '{}', and none is started for AUTHD_SOCKET", .0.display())]
    Explicit(PathBuf),
    /// `AUTHD_SOCKET` names someone else's daemon, which is not ours to replace.
    #[error("AUTHD_SOCKET names the daemon on '{}', which is someone else's to restart", .0.display())]
    NotOurs(PathBuf),
    /// The place of the daemon that listens cannot be taken.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no `authd` beside this program or on the `PATH`.
    #[error("the program 'authd' is neither beside this one nor on the PATH; install it")]
    NoProgram,
    /// It cannot be run.
    #[error("'{}' cannot be run: {source}", program.display())]
    Spawn {
        /// The daemon's program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It says that it would not start; none was started, and one that runs goes on.
    #[error("authd would not start as things are, so nothing was stopped: {said}")]
    Refused {
        /// What it says is wrong.
        said: String,
    },
    /// It ended before it was ready.
    #[error("authd did not start; the end of '{}' says:\n{tail}", log.display())]
    Failed {
        /// Its log.
        log: PathBuf,
        /// The last lines of the log, without control characters.
        tail: String,
    },
    /// It runs but was not ready in time.
    #[error("authd is not ready after {secs} s; the end of '{}' says:\n{tail}", log.display())]
    NotReady {
        /// How long it had.
        secs: u64,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log, without control characters.
        tail: String,
    },
    /// A file in the state directory cannot be used.
    #[error("'{}' cannot be used: {source}", path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    Path(#[from] PathError),
}
