//! End-to-end tests: the real binaries, each instance isolated, against a real authorization server.
//!
//! - [`Instance`]: directories of its own for socket, state, configuration and logs, and the
//!   environment that `authd` and `authctl` see. Nothing of the person's reaches it: no session bus
//!   above all, so that no test key ever ends in their key store.
//! - [`Daemon`]: a running `authd`; ready when it is returned, dead when it is dropped.
//! - [`driven`]: the daemon in the test's own process, on a clock that the test drives.
//! - [`Process`], [`Finished`]: any child with a bound on its time.
//! - [`PendingLogin`]: a login with nobody before the browser.
//! - [`Holder`]: another tool with a login of its own, that is taken over.
//! - [`Watcher`]: waits for what happens through the daemon's own events.
//! - [`Raw`]: bytes on the socket that no client of ours would send.
//! - [`sweep`]: looks for secrets where none may be; [`swept`]: an instance that is looked through.
//! - [`api`]: calls of the fake server's protected API; [`latency`]: how long cached tokens take; [`usage`]:
//!   what a process takes of the machine.
//! - [`sshd`]: another host, by OpenSSH's own server on loopback.
//! - [`chromium`], [`provider`], [`neovim`], [`dbus`]: what is not ours, as it comes from its own makers; a
//!   test that misses one of them fails. [`logind`], [`notifier`]: stand-ins, on a real bus.
//! - [`asker`]: processes that ask for a token and are not ours.
//! - [`user_manager`]: systemd's own, with services of its own.
//!
//! Nothing here sleeps: every wait blocks on a pipe, a socket or an event, and is bounded.
//!
//! ```no_run
//! use authd_e2e::Instance;
//! use authd_testkit::{FakeServer, Options};
//!
//! let server = FakeServer::start(Options::default())?;
//! let instance = Instance::new();
//! let daemon = instance.start_daemon();
//! instance.login(&server, "demo");
//! let token = instance.authctl(&["token", "demo"]);
//! assert_eq!(token.code(), 0);
//! daemon.kill();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod api;
pub mod asker;
pub mod binaries;
pub mod chromium;
pub mod daemon;
pub mod dbus;
pub mod driven;
pub mod holder;
pub mod instance;
pub mod latency;
pub mod login;
pub mod logind;
pub mod mcp;
pub mod neovim;
pub mod notifier;
pub mod process;
pub mod provider;
pub mod raw;
pub mod sshd;
pub mod sweep;
pub mod swept;
pub mod tool;
pub mod usage;
pub mod user_manager;
pub mod watcher;

pub use self::{
    daemon::{Daemon, Start},
    holder::Holder,
    instance::Instance,
    login::PendingLogin,
    process::{Finished, Process},
    raw::Raw,
    watcher::Watcher,
};

use std::time::{Duration, Instant};

/// The bound of every wait that a test does not bound itself: on an idle machine nothing takes a
/// tenth of it, and a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again, without a pause, until `holds`: for what makes no event, as the passing of
/// time and the number of those who wait.
///
/// # Panics
/// When it does not come to that within twice [`PATIENCE`].
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + 2 * PATIENCE;
    let held = std::iter::repeat_with(holds)
        .take_while(|_| Instant::now() < deadline)
        .any(|holds| holds);
    assert!(held, "not in time: {what}");
}

/// Whether this process may start others as another user. Said aloud when not: then the test shows nothing.
#[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
#[must_use]
pub fn may_change_users() -> bool {
    let may = rustix::process::geteuid().is_root();
    if !may {
        eprintln!("SKIPPED: only root can run a process as another user");
    }
    may
}

/// `text` with every token of the fake server's replaced, for test output.
#[must_use]
pub fn redacted(text: &str) -> String {
    let mut parts = text.split("canary-");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest =
            part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        clean.push_str("[token]");
        clean.push_str(rest);
    }
    clean
}
