//! The daemon's command line.

use std::{process::ExitCode, time::Duration};

use authd::{Clock, RunError, Signs, Start};
use authd_ipc::Environment;

/// What `--help` prints.
const HELP: &str = "\
Owns your OAuth logins and hands out access tokens that are always alive.

Started by the service manager, or by authctl when it is needed; seldom by hand.
It stays in the foreground, logs to stderr, and stops at SIGTERM after finishing
what is in flight. SIGHUP reads the configuration again.

Usage: authd

Options:
      --check    Read the configuration, say what is wrong with it, and end
  -h, --help     Print this
  -V, --version  Print the version

Environment:
  AUTHD_SOCKET      where to listen
  AUTHD_STATE_DIR   where the store is
  AUTHD_CONFIG_DIR  where config.toml is
  AUTHD_LOG         what to log, e.g. info or authd=debug (default: info)";

/// What the command line asks for.
enum Asked {
    /// To print this.
    Text(String),
    /// To start commands for a daemon.
    #[cfg(target_os = "linux")]
    Launch,
    /// To look whether it could serve.
    Check,
    /// To serve.
    Serve(Inherited),
}

/// Descriptors that whoever started us passed on, by number.
#[derive(Default)]
struct Inherited {
    /// Where readiness is to be told.
    ready_fd: Option<i32>,
    /// The socket to listen on, in the place of the daemon before; a pipe of Windows cannot be passed on.
    listen_fd: Option<i32>,
}

/// How long the successor of another daemon waits for its end. Service managers wait for 90 s until one is
/// there.
const PATIENCE_AS_SUCCESSOR: Duration = Duration::from_secs(60);
/// The same for one that a command started, which waits for 20 s: it may have come upon one that ends.
const PATIENCE_FOR_COMMANDS: Duration = Duration::from_secs(10);

/// Reads the command line. There is next to nothing on it, and this process stays in memory all
/// day: a parser of some hundred kilobytes is for `authctl`.
fn arguments() -> Result<Asked, lexopt::Error> {
    use lexopt::{Arg, ValueExt as _};
    let mut parser = lexopt::Parser::from_env();
    let mut inherited = Inherited::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Asked::Text(HELP.to_owned())),
            Arg::Short('V') | Arg::Long("version") => {
                return Ok(Asked::Text(format!("authd {}", env!("CARGO_PKG_VERSION"))));
            }
            Arg::Long("check") => return Ok(Asked::Check),
            #[cfg(target_os = "linux")]
            Arg::Long("launch") => return Ok(Asked::Launch),
            Arg::Long("ready-fd") => inherited.ready_fd = Some(parser.value()?.parse()?),
            Arg::Long("listen-fd") => inherited.listen_fd = Some(parser.value()?.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Asked::Serve(inherited))
}

fn main() -> ExitCode {
    authd::harden();
    #[cfg(unix)]
    #[expect(
        unsafe_code,
        reason = "adopting descriptors of the service manager is unsafe by nature"
    )]
    // SAFETY: nothing was started yet, so no other thread runs and no descriptor is owned.
    let activated = unsafe { authd_ipc::activation::take() };
    let inherited = match arguments() {
        Ok(Asked::Serve(inherited)) => inherited,
        Ok(Asked::Text(text)) => return print(&text),
        Ok(Asked::Check) => {
            return match authd::check(&Environment::of_process()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error),
            };
        }
        #[cfg(target_os = "linux")]
        Ok(Asked::Launch) => {
            return match authd::take_orders() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tell(&error.to_string());
                    ExitCode::from(USAGE)
                }
            };
        }
        Err(error) => {
            tell(&format!("{error}; see 'authd --help'"));
            return ExitCode::from(USAGE);
        }
    };
    authd::share_one_arena();
    authd::start_log();
    #[cfg(unix)]
    let activated = match handed(inherited.listen_fd).map_or(activated, |handed| handed.map(Some)) {
        Ok(activated) => activated,
        Err(error) => return fail(&error.into()),
    };
    #[cfg(unix)]
    let is_successor = activated.is_some();
    #[cfg(windows)]
    let is_successor = false;
    // Kept to the end: whoever started us reads our last words when the descriptor closes.
    let mut start = Start {
        environment: Environment::of_process(),
        clock: Clock::System,
        signs: Signs::System,
        owns_process: true,
        #[cfg(unix)]
        activated,
        // systemd's, of LoadCredential= and LoadCredentialEncrypted=.
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(Into::into),
        patience: match inherited.ready_fd {
            _ if is_successor => PATIENCE_AS_SUCCESSOR,
            Some(_) => PATIENCE_FOR_COMMANDS,
            None => Duration::ZERO,
        },
        watchdog: authd::watchdog_of_process(),
        on_ready: Some(ready(inherited.ready_fd)),
    };
    match authd::run(&mut start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// The exit status of a command line that makes no sense, as `authctl` has it.
const USAGE: u8 = 2;

fn fail(error: &RunError) -> ExitCode {
    tell(&error.to_string());
    ExitCode::FAILURE
}

#[expect(
    clippy::print_stderr,
    reason = "the one line a person sees who started it by hand"
)]
fn tell(what: &str) {
    eprintln!("authd: {what}");
}

#[expect(clippy::print_stdout, reason = "the person asked for it")]
fn print(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

/// The socket on which the daemon before listened, or whoever takes its place.
#[cfg(unix)]
fn handed(
    descriptor: Option<i32>,
) -> Option<Result<authd_ipc::activation::Activated, authd_ipc::ListenError>> {
    let descriptor = descriptor.filter(|descriptor| *descriptor > 2)?;
    #[expect(
        unsafe_code,
        reason = "a descriptor named on the command line has no other owner"
    )]
    // SAFETY: our parent passed it for this and nothing else in this process knows it.
    Some(unsafe { authd_ipc::activation::handed(descriptor) })
}

/// Whoever started us waits on the other end of this descriptor.
#[cfg(unix)]
fn ready(descriptor: Option<i32>) -> Box<dyn FnOnce()> {
    use std::os::fd::{FromRawFd as _, OwnedFd};
    let Some(descriptor) = descriptor.filter(|descriptor| *descriptor > 2) else {
        return Box::new(|| {});
    };
    #[expect(
        unsafe_code,
        reason = "a descriptor named on the command line has no other owner"
    )]
    // SAFETY: our parent passed it for this and nothing else in this process knows it.
    let pipe = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Box::new(move || {
        // Closing would do; a byte tells readiness from death. The parent may have gone.
        let _ = rustix::io::write(&pipe, b"1");
    })
}

#[cfg(windows)]
fn ready(_: Option<i32>) -> Box<dyn FnOnce()> {
    Box::new(|| {})
}
