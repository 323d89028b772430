//! `hello` and `daemon.*`.

use std::sync::atomic::Ordering;

use authd_proto::{
    ErrorCode, WireError,
    event::EventKind,
    limits::{MAX_DEPTH, MAX_FRAME, MAX_WAIT_SECS},
    request::Hello,
    response::{DaemonReloadReply, DaemonStatusReply, DaemonStopReply, HelloReply},
    version::{MAX_VERSION, MIN_VERSION, negotiate},
};

use crate::{config::Config, connection::Session, daemon::Shared, process::protections};

/// The release.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bytes of a client's name that are kept.
const CLIENT_NAME: usize = 64;

/// `hello`.
pub(crate) fn hello(session: &mut Session, hello: Hello) -> Result<HelloReply, WireError> {
    session.errors = hello.errors;
    session.client = hello.client.map(|name| {
        name.chars()
            .filter(|c| !c.is_control())
            .take(CLIENT_NAME)
            .collect()
    });
    let version = negotiate((hello.min_version, hello.max_version))?;
    tracing::debug!(client = session.client, version, "hello");
    Ok(HelloReply {
        version,
        min_version: MIN_VERSION,
        max_version: MAX_VERSION,
        daemon_version: VERSION.to_owned(),
        max_frame: MAX_FRAME as u64,
        max_depth: MAX_DEPTH as u64,
        max_wait_secs: MAX_WAIT_SECS,
    })
}

/// `daemon.status`.
#[expect(clippy::unnecessary_wraps, reason = "every handler answers alike")]
pub(crate) fn status(daemon: &Shared) -> Result<DaemonStatusReply, WireError> {
    let standing = daemon.standing.load();
    let figures = &daemon.figures;
    let place = &daemon.place;
    let now = daemon.clock.unix_now();
    let config_path = place
        .config_path
        .exists()
        .then(|| place.config_path.display().to_string());
    let protections = protections::all(daemon);
    Ok(DaemonStatusReply {
        version: VERSION.to_owned(),
        protocol: MAX_VERSION,
        pid: std::process::id(),
        started_at: figures.started_at,
        uptime_secs: now.saturating_sub(figures.started_at),
        socket: place.socket.display().to_string(),
        state_dir: place.state_dir.display().to_string(),
        config_path,
        key_protection: standing.key_protection.clone(),
        sandbox: protections::word(&protections).to_owned(),
        protections,
        store: standing.store.clone(),
        accounts: daemon.published.load().len() as u64,
        connections: figures.connections.load(Ordering::Relaxed) as u64,
        watchers: daemon.journal.watchers() as u64,
        waiters: figures.waiters.load(Ordering::Relaxed) as u64,
        exchanges_in_flight: figures.exchanges.load(Ordering::Relaxed) as u64,
        questions_in_flight: figures.questions.load(Ordering::Relaxed) as u64,
        served: figures.served.load(Ordering::Relaxed),
        renewals: figures.renewals.load(Ordering::Relaxed),
        revocations: figures.revocations.load().to_vec(),
        approvals_waiting: daemon.approvals.count(daemon.clock.now()) as u64,
        audit_lost: daemon.audit.lost(),
    })
}

/// `daemon.reload`: a bad file changes nothing and is told.
pub(crate) async fn reload(daemon: Shared) -> Result<DaemonReloadReply, WireError> {
    let path = daemon.place.config_path.clone();
    let new = Config::load(&path).map_err(|error| {
        WireError::new(ErrorCode::BadConfig, error.to_string())
            .with_hint("the configuration before stays in force")
    })?;
    let old = daemon.config.load_full();
    let changed = old.differences(&new);
    let engine = new.engine();
    let warnings = Config::needs_restart(&changed);
    daemon.config.store(new.reloaded_over(&old).into());
    daemon.mailbox.configure(engine);
    daemon.journal.add(EventKind::Daemon, |event| {
        event.outcome = Some("reloaded".to_owned())
    });
    tracing::info!(?changed, "configuration reloaded");
    Ok(DaemonReloadReply {
        changed: changed.into_iter().map(str::to_owned).collect(),
        warnings,
    })
}

/// `daemon.stop`: answered before it happens.
#[expect(clippy::unnecessary_wraps, reason = "every handler answers alike")]
pub(crate) fn stop(daemon: &Shared, session: &mut Session) -> Result<DaemonStopReply, WireError> {
    session.asked_to_stop = true;
    daemon.mailbox.stop();
    Ok(DaemonStopReply {
        pid: std::process::id(),
    })
}
