//! authd: the daemon that owns a person's OAuth logins.
//!
//! It keeps the refresh tokens, renews access tokens before they expire, and hands short-lived
//! access tokens to tools over a local socket. `docs/architecture.md` shows the way through this
//! crate; the engine is `authd-core`.

mod authorize;
mod clock;
mod config;
mod connection;
mod daemon;
mod dispatch;
mod driver;
mod failpoint;
mod fingerprint;
mod handler;
mod journal;
mod log;
mod network;
mod notify;
mod open;
mod perform;
mod published;
mod run;
mod serve;
mod service;

use std::process::ExitCode;

use clap::Parser;

/// Owns your OAuth logins and hands out access tokens that are always alive.
///
/// Started by the service manager, or by authctl when it is needed; seldom by hand. It stays in the
/// foreground, logs to stderr, and stops at SIGTERM after finishing what is in flight. SIGHUP reads
/// the configuration again.
#[derive(Parser)]
#[command(name = "authd", version, after_help = AFTER_HELP)]
struct Arguments {
    /// Close this inherited descriptor once clients are served
    #[arg(long, value_name = "N", hide = true)]
    ready_fd: Option<i32>,
}

const AFTER_HELP: &str = "\
Environment:
  AUTHD_SOCKET      where to listen
  AUTHD_STATE_DIR   where the store is
  AUTHD_CONFIG_DIR  where config.toml is
  AUTHD_LOG         what to log, e.g. info or authd=debug (default: info)";

fn main() -> ExitCode {
    #[cfg(unix)]
    let (activated, arguments) = {
        #[expect(
            unsafe_code,
            reason = "adopting descriptors of the service manager is unsafe by nature"
        )]
        // SAFETY: nothing was started yet, so no other thread runs and no descriptor is owned.
        let activated = unsafe { authd_ipc::activation::take() };
        (activated, Arguments::parse())
    };
    #[cfg(windows)]
    let arguments = Arguments::parse();
    log::start();
    #[cfg(unix)]
    let activated = match activated {
        Ok(activated) => activated,
        Err(error) => return fail(&error.into()),
    };
    // Kept to the end: whoever started us reads our last words when the descriptor closes.
    let mut start = run::Start {
        #[cfg(unix)]
        activated,
        on_ready: Some(ready(arguments.ready_fd)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(run::RunError::from)
        .and_then(|runtime| runtime.block_on(run::run(&mut start)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the one line a person sees who started it by hand"
)]
fn fail(error: &run::RunError) -> ExitCode {
    eprintln!("authd: {error}");
    ExitCode::FAILURE
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
