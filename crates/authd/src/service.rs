//! The service manager and the signals: readiness, stop, reload.

use std::io;
#[cfg(unix)]
use std::sync::Arc;

use crate::{daemon::Shared, handler};

/// Tells the service manager, where there is one, that clients are served.
pub(crate) fn ready() {
    #[cfg(target_os = "linux")]
    tell(&[sd_notify::NotifyState::Ready]);
}

/// Tells it that the daemon stops.
pub(crate) fn stopping() {
    #[cfg(target_os = "linux")]
    tell(&[sd_notify::NotifyState::Stopping]);
}

/// Tells it that the daemon is alive.
pub(crate) fn alive() {
    #[cfg(target_os = "linux")]
    tell(&[sd_notify::NotifyState::Watchdog]);
}

/// How often the service manager wants to hear that this process is alive; `None` when it does not.
#[cfg(target_os = "linux")]
#[must_use]
pub fn watchdog_of_process() -> Option<std::time::Duration> {
    sd_notify::watchdog_enabled()
}

/// No other service manager asks.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn watchdog_of_process() -> Option<std::time::Duration> {
    None
}

#[cfg(target_os = "linux")]
fn tell(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "no service manager listens");
    }
}

/// Catches the signals of a process that is the daemon's `own` from now on. The future handles them and
/// ends with the first that stops the daemon.
#[cfg(unix)]
pub(crate) fn signals(daemon: Shared, own: bool) -> io::Result<impl Future<Output = ()>> {
    use futures_util::StreamExt as _;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let heeded: &[i32] = if own { &[SIGTERM, SIGINT, SIGHUP] } else { &[] };
    let mut signals = signal_hook_tokio::Signals::new(heeded)?;
    Ok(async move {
        while let Some(signal) = signals.next().await {
            match signal {
                SIGHUP => {
                    if let Err(error) = handler::daemon::reload(Arc::clone(&daemon)).await {
                        tracing::error!(%error, "the configuration stays as it was");
                    }
                }
                _ => {
                    tracing::info!(signal, "stopping");
                    return;
                }
            }
        }
    })
}

/// Catches the console's signals from now on, where the process is the daemon's `own`. The future ends
/// with the first.
#[cfg(windows)]
pub(crate) fn signals(daemon: Shared, own: bool) -> io::Result<impl Future<Output = ()>> {
    // A reload comes over the socket here: `daemon.reload`.
    let _ = (daemon, handler::daemon::VERSION);
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    let mut close = tokio::signal::windows::ctrl_close()?;
    let mut shutdown = tokio::signal::windows::ctrl_shutdown()?;
    Ok(async move {
        if !own {
            return std::future::pending().await;
        }
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = close.recv() => {}
            _ = shutdown.recv() => {}
        }
    })
}
