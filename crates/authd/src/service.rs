//! The service manager and the signals: readiness, stop, reload.

use std::{io, sync::Arc};

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

#[cfg(target_os = "linux")]
fn tell(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "no service manager listens");
    }
}

/// Watches for signals until the first that stops the daemon, which ends the future.
#[cfg(unix)]
pub(crate) async fn signals(daemon: Shared) -> io::Result<()> {
    use futures_util::StreamExt as _;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let mut signals = signal_hook_tokio::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    while let Some(signal) = signals.next().await {
        match signal {
            SIGHUP => {
                if let Err(error) = handler::daemon::reload(Arc::clone(&daemon)).await {
                    tracing::error!(%error, "the configuration stays as it was");
                }
            }
            _ => {
                tracing::info!(signal, "stopping");
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Watches for the console's signals until one stops the daemon.
#[cfg(windows)]
pub(crate) async fn signals(daemon: Shared) -> io::Result<()> {
    // A reload comes over the socket here: `daemon.reload`.
    let _ = (daemon, handler::daemon::VERSION);
    let mut close = tokio::signal::windows::ctrl_close()?;
    let mut shutdown = tokio::signal::windows::ctrl_shutdown()?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = close.recv() => Ok(()),
        _ = shutdown.recv() => Ok(()),
    }
}
