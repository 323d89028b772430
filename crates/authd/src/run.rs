//! Wiring: from an empty process to a daemon that serves, and back.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use authd_ipc::{Directories, Environment, InstanceLock, Listener, SocketPath};
use authd_oauth::DpopServers;
use authd_proto::event::EventKind;
use authd_store::disk::{Disk as _, RealDisk};
use tokio::sync::{Notify, watch};

use crate::{
    approvals::Approvals,
    audit::Audit,
    authorize::Logins,
    caller::Callers,
    clock::Clock,
    clocks::Clocks,
    config::{Config, ConfigError},
    credential::Credentials,
    daemon::{Daemon, Figures, Place, Shared, Standing},
    descriptors,
    driver::{self, Mailbox},
    fingerprint::Fingerprinter,
    journal::Journal,
    keys::Keys,
    network::{Network, NetworkError},
    open,
    process::{self, Confinement, Writable, launcher::Launcher},
    published::Published,
    restricted::{self, Sockets, keeper::Keeper},
    serve, service,
    signs::{self, Signs},
    watchdog::Watchdog,
};

/// The configuration file's name.
const CONFIG: &str = "config.toml";

/// How long clients wait at the start for the store; a key store that hangs must not hang them too.
const PATIENCE_AT_START: Duration = Duration::from_secs(3);
/// How long connections may take at the end to write what they owe.
pub(crate) const PATIENCE_AT_END: Duration = Duration::from_secs(2);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The places cannot be used. The user must mend permissions or variables.
    #[error(transparent)]
    Path(#[from] authd_ipc::PathError),
    /// Another daemon runs, or the lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] authd_ipc::LockError),
    /// The socket cannot be listened on.
    #[error(transparent)]
    Listen(#[from] authd_ipc::ListenError),
    /// The configuration is wrong. The user must mend the file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no network thread.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The system refuses something.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// What a daemon is made of.
pub struct Start {
    /// The variables that decide where its socket, its state and its configuration are.
    pub environment: Environment,
    /// What time it is.
    pub clock: Clock,
    /// Where it hears of sleep and of the network.
    pub signs: Signs,
    /// Whether the process is the daemon's own: then it heeds the signals that the process gets.
    pub owns_process: bool,
    /// The socket that somebody else opened for it.
    #[cfg(unix)]
    pub activated: Option<authd_ipc::activation::Activated>,
    /// The folder in which the service manager hands over credentials.
    pub credentials: Option<PathBuf>,
    /// How long it waits for the end of a daemon that is there already. Zero: not at all.
    pub patience: Duration,
    /// How often the service manager wants to hear that it is alive.
    pub watchdog: Option<Duration>,
    /// Called once clients are served.
    pub on_ready: Option<Box<dyn FnOnce()>>,
}

/// Whether a daemon in this environment would have what it needs before it looks at its store: its places and its
/// configuration. Nothing is changed.
///
/// # Errors
/// What keeps it from starting.
pub fn check(environment: &Environment) -> Result<(), RunError> {
    let directories = Directories::locate(environment)?;
    SocketPath::locate(environment, &directories)?;
    Config::load(&directories.config.join(CONFIG))?;
    Ok(())
}

/// Runs a daemon on this thread until a signal or a client stops it.
///
/// `start` keeps what is left of it, so that whoever waits for the process sees its descriptors closed
/// at the very end.
///
/// # Errors
/// When it cannot start, or something ends it before its time; each says who must act.
pub fn run(start: &mut Start) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve_until_stopped(start))
}

async fn serve_until_stopped(start: &mut Start) -> Result<(), RunError> {
    let directories = Directories::locate(&start.environment)?;
    let socket = SocketPath::locate(&start.environment, &directories)?;
    let config_path = directories.config.join(CONFIG);
    let config = Config::load(&config_path)?;
    descriptors::raise();
    let lock = InstanceLock::succeed(&directories.state, start.patience, |pid| {
        tracing::info!(pid, "another daemon is there: waiting for its end");
    })?;
    #[cfg(unix)]
    let listener = match start.activated.take() {
        Some(activated) => Listener::adopt(activated, &socket)?,
        None => Listener::bind(&socket)?,
    };
    #[cfg(windows)]
    let listener = Listener::bind(&socket)?;

    let (mailbox, mail) = Mailbox::new();
    let (sockets, orders) = Sockets::new();
    let restricted = restricted::Place::locate(&socket, &directories.state);
    // Outside the state directory, so that a copy of that directory is told from the original.
    let anchor = directories.config.join("anchor");
    let place = Place {
        socket: socket.path().to_owned(),
        anchor_path: anchor.join("generations"),
        anchor_trouble: anchor_trouble(&anchor),
        state_dir: directories.state,
        config_path,
    };
    // The last moment at which a program can be started, and before there is a thread or a secret.
    let (launcher, confinement) = match start.owns_process {
        true => (Launcher::start(), process::confine(&writable(&place))),
        false => (Launcher::default(), Confinement::default()),
    };
    let clock = start.clock.clone();
    let daemon: Shared = Arc::new(Daemon {
        published: Published::new(clock.boot_id()),
        mailbox: mailbox.clone(),
        network: Network::start(&config, &clock, &launcher)?,
        fingerprints: Fingerprinter::default(),
        journal: Journal::open(place.state_dir.join("events"), clock.clone()),
        audit: Audit::open(place.state_dir.join("audit")),
        approvals: Approvals::open(place.state_dir.clone()),
        callers: Callers::new(launcher.clone()),
        credentials: Credentials::new(launcher.clone()),
        launcher,
        confinement,
        logins: Logins::default(),
        clocks: Clocks::default(),
        dpop: DpopServers::default(),
        sockets,
        keys: Keys::new(
            Duration::from_secs(config.key.timeout_secs),
            start.credentials.clone(),
        ),
        standing: ArcSwap::from_pointee(Standing::opening()),
        figures: Figures::new(&clock),
        place,
        opened: Notify::new(),
        stopping: watch::Sender::new(false),
        stopped: watch::Sender::new(false),
        config: ArcSwap::from_pointee(config),
        clock,
    });
    // Before anybody hears that we are there: a stop that comes at once is to be a clean one.
    let signals = service::signals(Arc::clone(&daemon), start.owns_process)?;
    open::begin(&daemon);
    let seed = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    let watchdog = Watchdog::new(start.watchdog, &daemon.clock);
    let mut driver = tokio::spawn(driver::run(Arc::clone(&daemon), mail, seed, watchdog));
    // Served either way: a store that cannot be opened is told, not waited for.
    let _ = tokio::time::timeout(PATIENCE_AT_START, daemon.opened.notified()).await;

    let mut server = tokio::spawn(serve::serve(listener, Arc::clone(&daemon)));
    let keeper = Keeper::start(&daemon, restricted).await?;
    let mut keeper = tokio::spawn(keeper.run(orders));
    tracing::info!(
        version = crate::handler::daemon::VERSION,
        pid = std::process::id(),
        socket = %daemon.place.socket.display(),
        "serving"
    );
    daemon.journal.add(EventKind::Daemon, |event| {
        event.outcome = Some("started".to_owned())
    });
    signs::listen(
        std::mem::replace(&mut start.signs, Signs::System),
        &mailbox,
        &daemon.clock,
    );
    service::ready();
    if let Some(on_ready) = start.on_ready.take() {
        on_ready();
    }

    let ended = tokio::select! {
        () = signals => {
            daemon.mailbox.stop();
            None
        }
        () = stopped_by_client(&daemon) => None,
        ended = &mut driver => Some(ended),
    };
    daemon.stopping.send_replace(true);
    service::stopping();
    let ended = match ended {
        Some(ended) => ended,
        None => driver.await,
    };
    // Clients that want nothing have been let go: what they were given is counted as each ends. Each looks once
    // more whether anything came in.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    // What restricted sockets there are is written down by now, whatever was under way.
    let left = tokio::time::timeout(PATIENCE_AT_END, &mut keeper).await;
    // The next daemon goes on where these end.
    daemon.journal.close();
    daemon.audit.close();
    // A client that waits for the end of its connection can start the next daemon then.
    drop(lock);
    daemon.stopped.send_replace(true);
    // What the driver answered last is still to be written.
    let served = async {
        let served = (&mut server).await;
        if let Ok(Ok(left)) = left {
            left.gone().await;
        }
        served
    };
    if tokio::time::timeout(PATIENCE_AT_END, served).await.is_err() {
        tracing::debug!("connections were cut");
    }
    ended.map_err(io::Error::other)??;
    tracing::info!("stopped");
    Ok(())
}

/// Why the anchor cannot be kept in this directory, which is made where it is missing. The store does without.
fn anchor_trouble(dir: &Path) -> Option<String> {
    let made = RealDisk.make_dir(dir);
    #[cfg(unix)]
    let made = made.and_then(|()| {
        use rustix::fs::{Access, access};
        Ok(access(dir, Access::WRITE_OK | Access::EXEC_OK)?)
    });
    let trouble = made
        .err()
        .map(|error| format!("{}: {error}", dir.display()));
    if let Some(trouble) = &trouble {
        tracing::warn!(trouble, "an older copy of the store would not be noticed");
    }
    trouble
}

/// Where the daemon writes.
fn writable(place: &Place) -> Writable {
    Writable {
        own: [place.state_dir.as_path()]
            .into_iter()
            .chain(place.anchor_path.parent())
            .map(Path::to_owned)
            .collect(),
        sockets: place
            .socket
            .parent()
            .map(Path::to_owned)
            .into_iter()
            .collect(),
    }
}

async fn stopped_by_client(daemon: &Shared) {
    let mut stopping = daemon.stopping.subscribe();
    // The sender lives as long as the daemon.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
