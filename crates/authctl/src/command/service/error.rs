//! What keeps a service from being installed or managed, and what to do about it.

use std::path::PathBuf;

/// Why there is no service to speak of.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// Nobody to ask.
    #[cfg(unix)]
    #[error("{manager} cannot be reached: {why}")]
    NoManager {
        manager: &'static str,
        why: String,
        hint: String,
    },
    /// There is none.
    #[error("the service is not installed")]
    NotInstalled,
    /// A file of ours is somebody else's.
    #[error("'{}' was not written by 'authctl service install'", .0.display())]
    Foreign(PathBuf),
    /// The variables of this shell are not the service's.
    #[error(
        "{0} is set: the service would not see it, and be another daemon than commands here ask"
    )]
    Isolated(&'static str),
    /// A program's place that a unit cannot name.
    #[error("'{}' cannot be named in a unit", .0.display())]
    Unnameable(PathBuf),
    /// The manager took its unit from elsewhere.
    #[cfg(target_os = "linux")]
    #[error("{manager} does not read '{}'", path.display())]
    Unread {
        manager: &'static str,
        path: PathBuf,
    },
    /// The manager says no, with the opt-in confinement.
    #[error("it does not start with --hardened: '{command}' failed: {why}")]
    Hardened { command: String, why: String },
    /// The manager says no.
    #[error("'{command}' failed: {why}")]
    Refused { command: String, why: String },
    /// A command of the system's that is not there.
    #[error("there is no '{0}' here")]
    NoCommand(&'static str),
}

impl ServiceError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            #[cfg(unix)]
            Self::NoManager { hint, .. } => hint.clone(),
            Self::NotInstalled => "run 'authctl service install'".to_owned(),
            Self::Foreign(path) => format!("look at it, then 'rm {}'", path.display()),
            Self::Isolated(variable) => format!("unset {variable}"),
            Self::Unnameable(_) => "put authd and authctl elsewhere".to_owned(),
            #[cfg(target_os = "linux")]
            Self::Unread { .. } => {
                "is XDG_CONFIG_HOME set here, and not for the service manager?".to_owned()
            }
            Self::Hardened { .. } => {
                "are there user namespaces? 'authctl service uninstall', then install \
                                      without it, undoes it"
                    .to_owned()
            }
            Self::Refused { .. } => "run 'authctl service logs'".to_owned(),
            Self::NoCommand(_) => "authctl starts the daemon when it is needed".to_owned(),
        })
    }
}
