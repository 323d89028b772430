//! Starting the daemon when it is not running.
//!
//! One start at a time: a lock in the state directory lets one command start the daemon, the others wait
//! for it and find the daemon there. The daemon's own instance lock is what keeps it single; this one only
//! saves the race.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use authd_ipc::{ConnectError, path::create_private_directory};

use crate::Instance;
use crate::client::{Client, Who};
use crate::error::{ClientError, StartError};

/// Connects; when nobody listens, starts the daemon first. `timeout` bounds each of the two.
///
/// # Errors
/// [`ClientError::Start`] with [`StartError::Explicit`] when `AUTHD_SOCKET` names the socket: then it is
/// someone else's daemon.
pub fn connect_or_start(
    instance: &Instance,
    who: Who,
    timeout: Duration,
) -> Result<Client, ClientError> {
    match Client::connect(&instance.socket, who, timeout) {
        Err(ClientError::Connect(ConnectError::NotRunning(path))) => {
            if instance.socket.is_explicit() {
                return Err(StartError::Explicit(path).into());
            }
            start(instance, &find_program()?, timeout)?;
            Client::connect(&instance.socket, who, timeout)
        }
        connected => connected,
    }
}

/// The daemon's program: beside this one, else on the `PATH`.
///
/// # Errors
/// [`StartError::NoProgram`].
pub fn find_program() -> Result<PathBuf, StartError> {
    let name = format!("authd{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| own.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        // A relative entry would mean another program in every directory.
        .chain(std::env::split_paths(&path).filter(|dir| dir.is_absolute()))
        .map(|dir| dir.join(&name))
        .find(|program| program.is_file())
        .ok_or(StartError::NoProgram)
}

/// Starts `program` as the daemon of `instance` and waits up to `timeout` until it listens. Returns at
/// once when somebody else has started it meanwhile.
///
/// It gets a session of its own, no input, its log in the state directory as output, `/` as working
/// directory, and of the environment only what [`is_kept`] names. It outlives this process.
///
/// # Errors
/// [`StartError`].
pub fn start(instance: &Instance, program: &Path, timeout: Duration) -> Result<(), StartError> {
    let state = &instance.directories.state;
    create_private_directory(state)?;
    let starting = open_private(&state.join("start.lock"))?;
    starting.lock().map_err(|source| StartError::State {
        path: state.join("start.lock"),
        source,
    })?;
    if listens(instance, timeout) {
        return Ok(());
    }
    let log = Log::open(instance.directories.log())?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_kept(name)));
    command
        .stdin(Stdio::null())
        .stdout(log.writer()?)
        .stderr(log.writer()?);
    let ready =
        platform::spawn(&mut command, instance, timeout).map_err(|source| StartError::Spawn {
            program: program.to_owned(),
            source,
        })?;
    match ready {
        Ready::Yes => Ok(()),
        // Someone else's daemon, started otherwise, may have been first.
        Ready::Ended if listens(instance, timeout) => Ok(()),
        Ready::Ended => Err(StartError::Failed {
            tail: log.tail(),
            log: log.path,
        }),
        Ready::NotYet => Err(StartError::NotReady {
            secs: timeout.as_secs(),
            tail: log.tail(),
            log: log.path,
        }),
    }
}

fn listens(instance: &Instance, timeout: Duration) -> bool {
    authd_ipc::connect(&instance.socket, timeout).is_ok()
}

/// How a start went.
enum Ready {
    Yes,
    Ended,
    NotYet,
}

/// Whether the daemon inherits this environment variable. All others may hold secrets of the caller, or
/// settings that should not outlive its shell.
#[must_use]
pub fn is_kept(name: &OsStr) -> bool {
    const NAMES: &[&str] = &[
        "ALL_PROXY",
        "DBUS_SESSION_BUS_ADDRESS",
        "DISPLAY",
        "HOME",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "LANG",
        "LOGNAME",
        "NO_PROXY",
        "PATH",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "TZ",
        "USER",
        "WAYLAND_DISPLAY",
        "XAUTHORITY",
        // Windows
        "APPDATA",
        "COMPUTERNAME",
        "HOMEDRIVE",
        "HOMEPATH",
        "LOCALAPPDATA",
        "PROGRAMDATA",
        "SYSTEMDRIVE",
        "SYSTEMROOT",
        "TEMP",
        "TMP",
        "USERDOMAIN",
        "USERNAME",
        "USERPROFILE",
        "WINDIR",
    ];
    const PREFIXES: &[&str] = &["AUTHD_", "LC_", "XDG_"];
    // Proxies are as often spelled in lower case, and Windows does not care.
    let Some(name) = name.to_str().map(str::to_ascii_uppercase) else {
        return false;
    };
    NAMES.contains(&name.as_str()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn open_private(path: &Path) -> Result<File, StartError> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW.bits();
        options.mode(0o600).custom_flags(flags.cast_signed());
    }
    options.open(path).map_err(|source| StartError::State {
        path: path.to_owned(),
        source,
    })
}

/// The daemon's log, and where this start begins in it.
struct Log {
    path: PathBuf,
    file: File,
    begins: u64,
}

impl Log {
    /// Beyond this many bytes the log is put aside, once.
    const ENOUGH: u64 = 4 << 20;
    /// Bytes of the log that an error shows at most.
    const TAIL: u64 = 2048;

    fn open(path: PathBuf) -> Result<Self, StartError> {
        if path.metadata().is_ok_and(|meta| meta.len() > Self::ENOUGH) {
            std::fs::rename(&path, path.with_extension("log.old")).map_err(|source| {
                StartError::State {
                    path: path.clone(),
                    source,
                }
            })?;
        }
        let mut file = open_private(&path)?;
        let begins = file
            .seek(SeekFrom::End(0))
            .map_err(|source| StartError::State {
                path: path.clone(),
                source,
            })?;
        Ok(Self { path, file, begins })
    }

    fn writer(&self) -> Result<Stdio, StartError> {
        let file = self.file.try_clone();
        file.map(Stdio::from).map_err(|source| StartError::State {
            path: self.path.clone(),
            source,
        })
    }

    /// The last lines since this start.
    fn tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = &self.file;
            let end = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(
                self.begins.max(end.saturating_sub(Self::TAIL)),
            ))?;
            let mut bytes = Vec::new();
            file.take(Self::TAIL).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let text: String = text
            .chars()
            .filter(|&c| c == '\n' || !c.is_control())
            .collect();
        if text.trim().is_empty() {
            "(nothing)".to_owned()
        } else {
            text.trim_end().to_owned()
        }
    }
}

#[cfg(unix)]
mod platform {
    //! A session of its own, and readiness through an inherited descriptor.
    #![expect(unsafe_code, reason = "between fork and exec")]

    use std::io::{self, Read};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::time::Duration;

    use rustix::io::{FdFlags, fcntl_setfd};

    use super::{Instance, Ready};

    /// Adds `--ready-fd N`: the daemon writes a byte there once it listens. When it ends, the kernel closes
    /// the descriptor, so nothing has to be polled. A socket pair, because it has read time-outs.
    pub(super) fn spawn(
        command: &mut Command,
        _: &Instance,
        timeout: Duration,
    ) -> io::Result<Ready> {
        let (mut ours, theirs) = UnixStream::pair()?;
        command
            .current_dir("/")
            .arg("--ready-fd")
            .arg(theirs.as_raw_fd().to_string());
        let inherited = theirs.as_raw_fd();
        // SAFETY: between fork and exec only two system calls are made, `setsid` and `fcntl`, both
        // async-signal-safe, and nothing is allocated. The descriptor is open: `theirs` lives until after
        // the spawn.
        unsafe {
            command.pre_exec(move || {
                rustix::process::setsid()?;
                let theirs = std::os::fd::BorrowedFd::borrow_raw(inherited);
                Ok(fcntl_setfd(theirs, FdFlags::empty())?)
            });
        }
        // Not waited for: it outlives us, and init takes it over.
        command.spawn()?;
        drop(theirs);
        ours.set_read_timeout(Some(timeout))?;
        match ours.read(&mut [0]) {
            Ok(0) => Ok(Ready::Ended),
            Ok(_) => Ok(Ready::Yes),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(Ready::NotYet)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(windows)]
mod platform {
    //! Detached from the console; readiness by trying, because handles are inherited all or none.
    #![expect(unsafe_code, reason = "handles are kept from children through Win32")]

    use std::io;
    use std::os::windows::io::AsRawHandle;
    use std::os::windows::process::CommandExt;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};

    use super::{Instance, Ready, listens};

    const DETACHED_PROCESS: u32 = 0x0000_0008;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;

    pub(super) fn spawn(
        command: &mut Command,
        instance: &Instance,
        timeout: Duration,
    ) -> io::Result<Ready> {
        keep_standard_handles();
        command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
        let mut child = command.spawn()?;
        let start = Instant::now();
        let mut pause = Duration::from_millis(5);
        while start.elapsed() < timeout {
            if listens(instance, timeout) {
                return Ok(Ready::Yes);
            }
            if child.try_wait()?.is_some() {
                return Ok(Ready::Ended);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(200));
        }
        Ok(Ready::NotYet)
    }

    /// Our own standard handles came to us by inheritance and would go on to the daemon, which has no use
    /// for them: whoever reads our output to its end would wait as long as the daemon lives.
    fn keep_standard_handles() {
        for handle in [
            io::stdin().as_raw_handle(),
            io::stdout().as_raw_handle(),
            io::stderr().as_raw_handle(),
        ] {
            // SAFETY: it changes a flag of a handle of this process, and takes any value: where there is no
            // such handle it says so, and then nothing is inherited either.
            unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_kept;

    #[test]
    fn the_daemon_inherits_what_it_needs_and_nothing_else() {
        for name in [
            "HOME",
            "PATH",
            "XDG_RUNTIME_DIR",
            "AUTHD_LOG",
            "https_proxy",
            "LC_ALL",
        ] {
            assert!(is_kept(name.as_ref()), "{name}");
        }
        for name in [
            "GITHUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "LD_PRELOAD",
            "RUST_LOG",
            "SSH_AUTH_SOCK",
        ] {
            assert!(!is_kept(name.as_ref()), "{name}");
        }
    }
}
