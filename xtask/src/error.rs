//! Why a chore stopped. Each message says what to do next, or shows the command that failed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use authd_client::ClientError;
use thiserror::Error;

/// The one error of all chores.
#[derive(Debug, Error)]
pub(crate) enum ChoreError {
    /// A program could not be started at all.
    #[error("cannot start `{program}`: {source}")]
    Spawn { program: String, source: io::Error },
    /// A program ran and failed; its own output says why.
    #[error("`{command}` failed ({status})")]
    Failed { command: String, status: ExitStatus },
    /// A program's output is not what this chore understands.
    #[error("cannot read the output of `{command}`: {reason}")]
    Output { command: String, reason: String },
    /// Something is missing and we may not, or cannot, install it.
    #[error("missing on this machine:\n{0}")]
    Missing(String),
    /// A crate reaches a dependency that it must stay free of.
    #[error("{package} must not depend on {banned}, but does:\n{path}")]
    Impure {
        package: &'static str,
        banned: &'static str,
        path: String,
    },
    /// The daemon says no, or cannot be talked to.
    #[error("the daemon: {0}")]
    Client(#[from] ClientError),
    /// The daemon does not do what its client takes for granted.
    #[error("the daemon: {0}")]
    Daemon(String),
    /// The demo authorization server cannot be talked to.
    #[error("{url}: {source}")]
    Http {
        url: String,
        source: Box<ureq::Error>,
    },
    /// The demo ran, and did not show what it should.
    #[error("demo: {0}")]
    Demo(&'static str),
    /// Too many mistakes in the engine went unnoticed.
    #[error("mutants: fewer than {enough} % were noticed")]
    Mutants { enough: u64 },
    /// The programs for Windows do not do what they should.
    #[error("windows-smoke: {0}")]
    Windows(String),
    /// What is to be handed out is not as it should be.
    #[error("dist: {0}")]
    Dist(String),
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Neither an option nor the environment says where a directory is.
    #[error("no home directory: {0}")]
    NoHome(&'static str),
}

impl ChoreError {
    /// For `map_err` on a request.
    pub(crate) fn http(url: &str) -> impl FnOnce(ureq::Error) -> Self {
        move |source| Self::Http {
            url: url.to_owned(),
            source: Box::new(source),
        }
    }

    /// For `map_err` on a file operation: `action` is a verb, as in "cannot copy …".
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
