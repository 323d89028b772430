//! Where the socket, the state and the configuration are.
//!
//! Command and daemon must come to the same answer without talking, so it follows from the environment
//! and from who owns which directory, never from what is running.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::PathError;

/// The socket's own directory under a runtime directory.
const DIRECTORY: &str = "authd";
/// The socket's file name.
#[cfg(unix)]
const SOCKET: &str = "authd.sock";

/// The variables that decide. An empty one counts as unset.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `AUTHD_SOCKET`
    pub socket: Option<OsString>,
    /// `AUTHD_SOCKET_UID`
    pub socket_uid: Option<OsString>,
    /// `AUTHD_STATE_DIR`
    pub state_dir: Option<OsString>,
    /// `AUTHD_CONFIG_DIR`
    pub config_dir: Option<OsString>,
    /// `XDG_RUNTIME_DIR`
    pub runtime_dir: Option<OsString>,
}

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let read = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            socket: read("AUTHD_SOCKET"),
            socket_uid: read("AUTHD_SOCKET_UID"),
            state_dir: read("AUTHD_STATE_DIR"),
            config_dir: read("AUTHD_CONFIG_DIR"),
            runtime_dir: read("XDG_RUNTIME_DIR"),
        }
    }
}

fn absolute(variable: &'static str, value: &OsString) -> Result<PathBuf, PathError> {
    let path = PathBuf::from(value);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(PathError::Relative { variable, path })
    }
}

/// Where state and configuration are. Nothing is created by asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// The store, the lock, the log.
    pub state: PathBuf,
    /// `config.toml`.
    pub config: PathBuf,
}

impl Directories {
    /// `AUTHD_STATE_DIR` and `AUTHD_CONFIG_DIR`, else what is native to the platform.
    ///
    /// # Errors
    /// A relative path, or no home directory.
    pub fn locate(environment: &Environment) -> Result<Self, PathError> {
        let state = environment
            .state_dir
            .as_ref()
            .map(|dir| absolute("AUTHD_STATE_DIR", dir));
        let config = environment
            .config_dir
            .as_ref()
            .map(|dir| absolute("AUTHD_CONFIG_DIR", dir));
        if let (Some(state), Some(config)) = (&state, &config)
            && let (Ok(state), Ok(config)) = (state, config)
        {
            return Ok(Self {
                state: state.clone(),
                config: config.clone(),
            });
        }
        // Asked only now: without a home directory the variables alone have to do.
        let native = directories::ProjectDirs::from("", "", DIRECTORY);
        let native = || native.as_ref().ok_or(PathError::NoHome);
        Ok(Self {
            state: match state {
                Some(given) => given?,
                // Only Linux tells state from data.
                None => native()
                    .map(|dirs| dirs.state_dir().unwrap_or(dirs.data_local_dir()).to_owned())?,
            },
            config: match config {
                Some(given) => given?,
                None => native().map(|dirs| dirs.config_dir().to_owned())?,
            },
        })
    }

    /// The log of a daemon that the command started.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.state.join("authd.log")
    }
}

/// Where the daemon listens: a socket, or on Windows a named pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath {
    path: PathBuf,
    explicit: bool,
    /// Whose the socket is to be, where it is not to be ours.
    #[cfg(unix)]
    server: Option<u32>,
}

impl SocketPath {
    /// In this order: `AUTHD_SOCKET` (of the user that `AUTHD_SOCKET_UID` names, where it does); under the
    /// state directory when `AUTHD_STATE_DIR` is set, because that isolates an instance;
    /// `$XDG_RUNTIME_DIR/authd/` if that directory is ours alone to write; `/run/user/UID/authd/` likewise;
    /// else under the state directory. Never `/tmp`.
    ///
    /// # Errors
    /// A relative path, one too long for a socket, or a uid that is no number.
    #[cfg(unix)]
    pub fn locate(environment: &Environment, directories: &Directories) -> Result<Self, PathError> {
        if let Some(socket) = &environment.socket {
            let server = environment.socket_uid.as_deref().map(server_uid);
            return Ok(Self {
                server: server.transpose()?,
                ..Self::explicit(absolute("AUTHD_SOCKET", socket)?)?
            });
        }
        let uid = rustix::process::geteuid().as_raw();
        let runtime = environment.runtime_dir.as_ref().map(PathBuf::from);
        let runtime = runtime
            .into_iter()
            .chain([PathBuf::from(format!("/run/user/{uid}"))]);
        let isolated = environment.state_dir.is_some();
        let directory = runtime
            .filter(|_| !isolated)
            .find(|dir| dir.is_absolute() && check_directory(dir).is_ok())
            .map_or_else(|| directories.state.join("run"), |dir| dir.join(DIRECTORY));
        Self::checked(directory.join(SOCKET), false)
    }

    /// `AUTHD_SOCKET` (a pipe's name), else `\\.\pipe\authd-SID`; with a hash of the state directory where
    /// `AUTHD_STATE_DIR` is set, because that isolates an instance.
    ///
    /// # Errors
    /// [`PathError::Io`] when the system does not tell who we are.
    #[cfg(windows)]
    pub fn locate(environment: &Environment, directories: &Directories) -> Result<Self, PathError> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        if let Some(socket) = &environment.socket {
            return Self::explicit(PathBuf::from(socket));
        }
        let prefix = PathBuf::from(format!(r"\\.\pipe\{DIRECTORY}"));
        let sid = crate::windows::own_sid().map_err(|source| PathError::Io {
            path: prefix,
            source,
        })?;
        let isolated = environment.state_dir.as_ref().map(|_| {
            // Without a random key: command and daemon must find the same one.
            let mut hasher = DefaultHasher::new();
            directories.state.hash(&mut hasher);
            format!("-{:016x}", hasher.finish())
        });
        let path = format!(
            r"\\.\pipe\{DIRECTORY}-{sid}{}",
            isolated.unwrap_or_default()
        );
        Ok(Self {
            path: PathBuf::from(path),
            explicit: false,
        })
    }

    /// The socket that someone named.
    ///
    /// # Errors
    /// [`PathError::TooLong`].
    pub fn explicit(path: PathBuf) -> Result<Self, PathError> {
        Self::checked(path, true)
    }

    #[cfg(unix)]
    fn checked(path: PathBuf, explicit: bool) -> Result<Self, PathError> {
        use std::os::unix::ffi::OsStrExt;
        // `sun_path` has 108 bytes on Linux and 104 elsewhere, the final NUL included.
        let limit = if cfg!(target_os = "linux") { 107 } else { 103 };
        if path.as_os_str().as_bytes().len() > limit {
            return Err(PathError::TooLong { path, limit });
        }
        Ok(Self {
            path,
            explicit,
            server: None,
        })
    }

    #[cfg(windows)]
    fn checked(path: PathBuf, explicit: bool) -> Result<Self, PathError> {
        let limit = 256;
        if path.as_os_str().len() > limit {
            return Err(PathError::TooLong { path, limit });
        }
        Ok(Self { path, explicit })
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `AUTHD_SOCKET` named it: then it is someone else's daemon, and none is started for it.
    #[must_use]
    pub fn is_explicit(&self) -> bool {
        self.explicit
    }

    /// Creates the socket's directory where it is missing and makes it trustworthy: ours, no symbolic
    /// link, mode 0700 where it is authd's own, at least not writable by others where `AUTHD_SOCKET` names
    /// it. For the daemon, before it listens.
    ///
    /// # Errors
    /// [`PathError`], when that cannot be.
    #[cfg(unix)]
    pub fn prepare_directory(&self) -> Result<(), PathError> {
        let directory = self.directory();
        create_private_directory(directory)?;
        if !self.explicit {
            use std::os::unix::fs::PermissionsExt;
            owned_directory(directory)?;
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).map_err(
                |source| PathError::Io {
                    path: directory.to_owned(),
                    source,
                },
            )?;
        }
        check_directory(directory)
    }

    /// Who the server must be: ourselves, where `AUTHD_SOCKET_UID` names no other.
    #[cfg(unix)]
    pub(crate) fn server_uid(&self) -> u32 {
        self.server.unwrap_or_else(own_uid)
    }

    /// Whether a client may connect: the directory is ours and no one else can write there, and the
    /// socket, if there is one, is a socket of ours. Where the server is to be another user, both are theirs.
    ///
    /// # Errors
    /// [`PathError`], when not. A missing directory or socket is no error here.
    #[cfg(unix)]
    pub fn check(&self) -> Result<(), PathError> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let server = self.server_uid();
        match check_directory_of(self.directory(), server) {
            Err(PathError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(());
            }
            checked => checked?,
        }
        match self.path.symlink_metadata() {
            Ok(meta) if !meta.file_type().is_socket() => {
                Err(PathError::NotASocket(self.path.clone()))
            }
            Ok(meta) => check_owner_is(&self.path, meta.uid(), server),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(PathError::Io {
                path: self.path.clone(),
                source,
            }),
        }
    }

    #[cfg(unix)]
    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

/// Creates `path` and its missing parents with mode 0700. What exists is left as it is.
///
/// # Errors
/// [`PathError::Io`].
pub fn create_private_directory(path: &Path) -> Result<(), PathError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| PathError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(unix)]
fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Reads `AUTHD_SOCKET_UID`.
#[cfg(unix)]
fn server_uid(text: &std::ffi::OsStr) -> Result<u32, PathError> {
    let uid = text.to_str().and_then(|text| text.parse().ok());
    uid.ok_or_else(|| PathError::NoUid(text.to_string_lossy().into_owned()))
}

#[cfg(unix)]
fn check_directory(path: &Path) -> Result<(), PathError> {
    check_directory_of(path, own_uid())
}

#[cfg(unix)]
fn check_directory_of(path: &Path, owner: u32) -> Result<(), PathError> {
    let mode = directory_of(path, owner)?;
    if mode & 0o022 != 0 {
        return Err(PathError::Writable {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// The permission bits of a directory that is ours and no symbolic link.
#[cfg(unix)]
pub(crate) fn owned_directory(path: &Path) -> Result<u32, PathError> {
    directory_of(path, own_uid())
}

#[cfg(unix)]
fn directory_of(path: &Path, owner: u32) -> Result<u32, PathError> {
    use std::os::unix::fs::MetadataExt;
    let meta = path.symlink_metadata().map_err(|source| PathError::Io {
        path: path.to_owned(),
        source,
    })?;
    if !meta.is_dir() {
        return Err(PathError::NotADirectory(path.to_owned()));
    }
    check_owner_is(path, meta.uid(), owner)?;
    Ok(meta.mode() & 0o7777)
}

#[cfg(unix)]
pub(crate) fn check_owner(path: &Path, owner: u32) -> Result<(), PathError> {
    check_owner_is(path, owner, own_uid())
}

#[cfg(unix)]
fn check_owner_is(path: &Path, owner: u32, expected: u32) -> Result<(), PathError> {
    if owner == expected {
        Ok(())
    } else {
        Err(PathError::Owner {
            path: path.to_owned(),
            owner,
            own: expected,
        })
    }
}
