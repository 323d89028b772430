//! Starting the daemon when it is not running, and putting a new one into the place of one that is.
//!
//! One start at a time: a lock in the state directory lets one command start the daemon, the others wait
//! for it and find the daemon there. The daemon's own instance lock is what keeps it single; this one only
//! saves the race.

mod log;

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use authd_ipc::{ConnectError, path::create_private_directory, variables::OF_WINDOWS};
use authd_proto::request::{DaemonStatus, DaemonStop};

use self::log::{Log, open_private};
use crate::Instance;
use crate::client::{Client, Who};
use crate::error::{ClientError, StartError};

/// For a daemon to start: a key store that does not answer has its own time-out within.
pub const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A socket to listen on that the daemon is passed. Pipes cannot be passed.
#[cfg(unix)]
type Place = std::os::fd::OwnedFd;
#[cfg(windows)]
type Place = std::convert::Infallible;

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
    .map(|client| client.starting(instance))
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
/// directory (on Windows the state directory), and of the environment only what [`is_kept`] names. It outlives
/// this process.
///
/// # Errors
/// [`StartError`].
pub fn start(instance: &Instance, program: &Path, timeout: Duration) -> Result<(), StartError> {
    let _starting = one_at_a_time(instance)?;
    if listens(instance, timeout) {
        return Ok(());
    }
    launch(instance, program, timeout, None)
}

/// Has `program` say whether it would start in this environment. What does not know how to say is taken at its
/// word once it is started.
///
/// # Errors
/// [`StartError::Refused`] with what it says is wrong; [`StartError::Spawn`].
pub fn check(program: &Path) -> Result<(), StartError> {
    let checked = with_own_environment(program)
        .arg("--check")
        .stdin(Stdio::null())
        .output();
    let checked = checked.map_err(|source| StartError::Spawn {
        program: program.to_owned(),
        source,
    })?;
    match checked.status.code() {
        Some(1) => {
            let said = String::from_utf8_lossy(&checked.stderr);
            let said = said.trim().trim_start_matches("authd: ").to_owned();
            Err(StartError::Refused { said })
        }
        _ => Ok(()),
    }
}

/// Puts `program` into the place of the daemon that `running` leads to: that one finishes what it is doing
/// and ends within `end_timeout`, and what clients ask meanwhile waits for the new one, which then has
/// `start_timeout`. No request is lost (on Windows clients that come in between wait for the start).
///
/// # Errors
/// [`StartError::Explicit`] when `AUTHD_SOCKET` names the socket; what keeps the old daemon from ending;
/// what keeps the new one from starting, and then there is none.
pub fn replace(
    instance: &Instance,
    mut running: Client,
    program: &Path,
    end_timeout: Duration,
    start_timeout: Duration,
) -> Result<(), ClientError> {
    if instance.socket.is_explicit() {
        return Err(StartError::NotOurs(instance.socket.path().to_owned()).into());
    }
    let _starting = one_at_a_time(instance)?;
    // Somebody else may have replaced it while this waited, and a place is nobody's to take twice: then
    // `running` leads to the one that is there now.
    match running.call(&DaemonStatus {}, start_timeout) {
        Ok(_) => {}
        Err(error @ (ClientError::Wire(_) | ClientError::TimedOut(_))) => return Err(error),
        Err(_) if listens(instance, start_timeout) => return Ok(()),
        Err(_) => return Ok(launch(instance, program, start_timeout, None)?),
    }
    #[cfg(unix)]
    let place = Some(authd_ipc::take_place(&instance.socket).map_err(StartError::from)?);
    #[cfg(windows)]
    let place = None;
    end(running, end_timeout)?;
    Ok(launch(instance, program, start_timeout, place)?)
}

/// Has the daemon that `running` leads to stop, and waits until it has closed its store.
///
/// # Errors
/// [`ClientError::TimedOut`] when it is still there after `timeout`.
pub fn end(mut running: Client, timeout: Duration) -> Result<(), ClientError> {
    running.call(&DaemonStop {}, timeout)?;
    running.await_end(timeout)
}

/// Held while a daemon is started: others who would start one wait, and find it there.
fn one_at_a_time(instance: &Instance) -> Result<File, StartError> {
    let state = &instance.directories.state;
    create_private_directory(state)?;
    let path = state.join("start.lock");
    let starting = open_private(&path)?;
    starting
        .lock()
        .map_err(|source| StartError::State { path, source })?;
    Ok(starting)
}

fn launch(
    instance: &Instance,
    program: &Path,
    timeout: Duration,
    place: Option<Place>,
) -> Result<(), StartError> {
    let log = Log::open(instance.directories.log())?;
    let mut command = with_own_environment(program);
    command
        .stdin(Stdio::null())
        .stdout(log.writer()?)
        .stderr(log.writer()?);
    let ready = platform::spawn(&mut command, instance, timeout, place).map_err(|source| {
        StartError::Spawn {
            program: program.to_owned(),
            source,
        }
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

/// `program`, with what a daemon is given of the environment.
fn with_own_environment(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_kept(name)));
    command
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
    ];
    const PREFIXES: &[&str] = &["AUTHD_", "LC_", "XDG_"];
    // Proxies are as often spelled in lower case, and Windows does not care.
    let Some(name) = name.to_str().map(str::to_ascii_uppercase) else {
        return false;
    };
    [NAMES, OF_WINDOWS]
        .iter()
        .any(|names| names.contains(&name.as_str()))
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(unix)]
mod platform {
    //! A session of its own, and readiness through an inherited descriptor.
    #![expect(unsafe_code, reason = "between fork and exec")]

    use std::io::{self, Read};
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::time::Duration;

    use rustix::io::{FdFlags, fcntl_setfd};

    use super::{Instance, Place, Ready};

    /// Adds `--ready-fd N`, and `--listen-fd N` where it is passed a socket. The daemon writes a byte there once it listens. When it ends, the kernel closes
    /// the descriptor, so nothing has to be polled. A socket pair, because it has read time-outs.
    pub(super) fn spawn(
        command: &mut Command,
        _: &Instance,
        timeout: Duration,
        place: Option<Place>,
    ) -> io::Result<Ready> {
        let (mut ours, theirs) = UnixStream::pair()?;
        command
            .current_dir("/")
            .arg("--ready-fd")
            .arg(theirs.as_raw_fd().to_string());
        if let Some(place) = &place {
            command
                .arg("--listen-fd")
                .arg(place.as_raw_fd().to_string());
        }
        let place_fd = place.as_ref().map(AsRawFd::as_raw_fd);
        let inherited = [Some(theirs.as_raw_fd()), place_fd];
        // SAFETY: between fork and exec only two system calls are made, `setsid` and `fcntl`, both
        // async-signal-safe, and nothing is allocated. The descriptors are open: `theirs` and `place` live
        // until after the spawn.
        unsafe {
            command.pre_exec(move || {
                rustix::process::setsid()?;
                for fd in inherited.into_iter().flatten() {
                    fcntl_setfd(BorrowedFd::borrow_raw(fd), FdFlags::empty())?;
                }
                Ok(())
            });
        }
        // Not waited for: it outlives us, and init takes it over.
        command.spawn()?;
        // From now on whoever waits at the socket waits for the daemon, and not for us.
        drop((theirs, place));
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

    use super::{Instance, Place, Ready, listens};

    const DETACHED_PROCESS: u32 = 0x0000_0008;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;

    pub(super) fn spawn(
        command: &mut Command,
        instance: &Instance,
        timeout: Duration,
        _: Option<Place>,
    ) -> io::Result<Ready> {
        keep_standard_handles();
        command
            // A directory that some process works in cannot be removed there.
            .current_dir(&instance.directories.state)
            .creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
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
            // As Windows spells them.
            "SystemRoot",
            "ComSpec",
            "PATHEXT",
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
