//! The server and the handle that drives it.

mod assertion;
mod authorize;
mod device;
mod discovery;
mod dpop;
mod faulty;
mod issue;
pub(crate) mod listener;
mod params;
mod protected;
mod pushed;
mod routes;
mod signer;
mod token;
mod unattended;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use self::{
    dpop::Seen,
    listener::Listener,
    pushed::PushedRequests,
    routes::router,
    signer::Signer,
    world::{Shared, World},
};
use crate::{
    client::Client,
    clock::Clock,
    fault::{Endpoint, Fault, Faults, Phase, Release, Rule},
    ledger::{Counts, Ledger, Revocation},
    settings::Settings,
};

/// What a server starts with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its behaviour; [`FakeServer::update`] changes it later.
    pub settings: Settings,
    /// The registered clients. By default `native`, a public native client.
    pub clients: Vec<Client>,
    /// Its clock.
    pub clock: Clock,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// A path for the issuer: empty, or `/tenant/a`.
    pub issuer_path: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            clients: vec![Client::native("native")],
            clock: Clock::Real,
            port: 0,
            issuer_path: String::new(),
        }
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or a socket or thread cannot be had.
    #[error("cannot serve on 127.0.0.1")]
    Serve(#[from] io::Error),
    /// The operating system gave no randomness for the signing key.
    #[error("cannot make a signing key")]
    Key,
    /// `restart` was called while the server runs.
    #[error("the server is running")]
    Running,
    /// The issuer path must be empty, or begin with a slash and not end with one.
    #[error("the issuer path is not of the form /a/b")]
    IssuerPath,
}

/// What was awaited did not happen in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it did not happen within {within:?}")]
pub struct TimedOut {
    /// How long it was awaited.
    pub within: Duration,
}

/// No pending device code has this user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no device code with this user code is waiting for a decision")]
pub struct NoSuchUserCode;

/// A fake authorization server with its resource server. Clones drive the same server; when the last
/// one is dropped the server stops hard.
#[derive(Clone)]
pub struct FakeServer(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    address: SocketAddr,
    issuer: String,
    issuer_path: String,
    listener: Mutex<Option<Listener>>,
}

impl fmt::Debug for FakeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeServer")
            .field("issuer", &self.0.issuer)
            .finish_non_exhaustive()
    }
}

impl FakeServer {
    /// Starts a server on 127.0.0.1, on a thread of its own; no runtime is needed. It answers as
    /// soon as this returns.
    ///
    /// # Errors
    /// When the port cannot be had, the issuer path is malformed, or there is no randomness.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let path = &options.issuer_path;
        if !path.is_empty() && (!path.starts_with('/') || path.ends_with('/')) {
            return Err(StartError::IssuerPath);
        }
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        let address = socket.local_addr()?;
        let issuer = format!("http://{address}{path}");
        let shared = Arc::new(Shared::new(World {
            clock: options.clock,
            issuer: issuer.clone(),
            signer: Signer::new().map_err(|_| StartError::Key)?,
            settings: options.settings,
            clients: options.clients,
            ledger: Ledger::default(),
            faults: Faults::default(),
            codes: BTreeMap::new(),
            assertions: BTreeSet::new(),
            devices: BTreeMap::new(),
            pushed: PushedRequests::default(),
            proofs: Seen::default(),
            proven: None,
            requests: 0,
        }));
        let listener = Listener::serve(socket, router(&shared, path))?;
        Ok(Self(Arc::new(Inner {
            shared,
            address,
            issuer,
            issuer_path: options.issuer_path,
            listener: Mutex::new(Some(listener)),
        })))
    }

    /// The issuer identifier: `http://127.0.0.1:PORT` and the issuer path.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The socket's address; it stays the same over a restart.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The address of an endpoint.
    pub fn url(&self, endpoint: Endpoint) -> String {
        endpoint.url(&self.0.issuer)
    }

    /// The server's clock.
    pub fn clock(&self) -> Clock {
        self.0.shared.read(|world| world.clock.clone())
    }

    /// The present settings.
    pub fn settings(&self) -> Settings {
        self.0.shared.read(|world| world.settings.clone())
    }

    /// Changes settings, for requests from now on.
    pub fn update(&self, change: impl FnOnce(&mut Settings)) {
        self.0.shared.change(|world| change(&mut world.settings));
    }

    /// Registers a client, in place of one with the same id.
    pub fn register(&self, client: Client) {
        self.0.shared.change(|world| {
            world.clients.retain(|known| known.id != client.id);
            world.clients.push(client);
        });
    }

    /// Lets a fault strike the next request to `endpoint` that has none queued for it yet.
    pub fn fault_next(&self, endpoint: Endpoint, rule: impl Into<Rule>) {
        let rule = rule.into();
        self.0
            .shared
            .change(|world| world.faults.push(endpoint, rule));
    }

    /// Lets a fault strike every request to `endpoint` that the queue does not take, until
    /// [`clear_faults`](Self::clear_faults).
    pub fn fault_always(&self, endpoint: Endpoint, rule: impl Into<Rule>) {
        let rule = rule.into();
        self.0
            .shared
            .change(|world| world.faults.stand(endpoint, rule));
    }

    /// Takes all rules off `endpoint`. Requests already held stay held.
    pub fn clear_faults(&self, endpoint: Endpoint) {
        self.0.shared.change(|world| world.faults.clear(endpoint));
    }

    /// Closes a gate: holds every request to `endpoint`, before or after it is processed.
    /// [`wait_held`](Self::wait_held) tells when requests stand before it,
    /// [`open_gate`](Self::open_gate) ends it.
    pub fn close_gate(&self, endpoint: Endpoint, phase: Phase) {
        self.fault_always(
            endpoint,
            Rule {
                fault: Fault::Hold,
                phase,
                grant_type: None,
            },
        );
    }

    /// Takes all rules off `endpoint` and lets all held requests go; how many went.
    pub fn open_gate(&self, endpoint: Endpoint) -> usize {
        self.clear_faults(endpoint);
        self.release(endpoint, usize::MAX)
    }

    /// Lets the `n` oldest held requests go on to their answers; how many went.
    pub fn release(&self, endpoint: Endpoint, n: usize) -> usize {
        self.let_go(endpoint, n, Release::Answer)
    }

    /// Ends the connections of the `n` oldest held requests without an answer; how many went. Those
    /// held before processing are then never processed.
    pub fn drop_held(&self, endpoint: Endpoint, n: usize) -> usize {
        self.let_go(endpoint, n, Release::Drop)
    }

    fn let_go(&self, endpoint: Endpoint, n: usize, release: Release) -> usize {
        self.0
            .shared
            .change(|world| world.faults.release(endpoint, n, release))
    }

    /// How many requests to `endpoint` are held, those whose client has gone included.
    pub fn held(&self, endpoint: Endpoint) -> usize {
        self.0.shared.read(|world| world.faults.held(endpoint))
    }

    /// Waits until at least `n` requests to `endpoint` are held. Without end: bound it.
    pub async fn wait_held(&self, endpoint: Endpoint, n: usize) {
        self.0
            .shared
            .wait(|world| world.faults.held(endpoint) >= n)
            .await;
    }

    /// The same for a blocking test.
    ///
    /// # Errors
    /// When it did not happen `within` this time.
    pub fn wait_held_blocking(
        &self,
        endpoint: Endpoint,
        n: usize,
        within: Duration,
    ) -> Result<(), TimedOut> {
        self.0
            .shared
            .wait_blocking(within, |world| world.faults.held(endpoint) >= n)
    }

    /// A copy of the whole ledger.
    pub fn ledger(&self) -> Ledger {
        self.0.shared.read(|world| world.ledger.clone())
    }

    /// A copy of the ledger's sums.
    pub fn counts(&self) -> Counts {
        self.0.shared.read(|world| world.ledger.counts.clone())
    }

    /// Waits until the ledger satisfies `holds`, which is asked anew at each change. Without end:
    /// bound it.
    pub async fn wait_for(&self, holds: impl Fn(&Ledger) -> bool) {
        self.0.shared.wait(|world| holds(&world.ledger)).await;
    }

    /// The same for a blocking test.
    ///
    /// # Errors
    /// When it did not happen `within` this time.
    pub fn wait_for_blocking(
        &self,
        within: Duration,
        holds: impl Fn(&Ledger) -> bool,
    ) -> Result<(), TimedOut> {
        self.0
            .shared
            .wait_blocking(within, |world| holds(&world.ledger))
    }

    /// Approves a device authorization (RFC 8628) in the person's place.
    ///
    /// # Errors
    /// When no device code with this user code is waiting.
    pub fn approve_device(&self, user_code: &str) -> Result<(), NoSuchUserCode> {
        self.decide_device(user_code, true)
    }

    /// Denies it.
    ///
    /// # Errors
    /// When no device code with this user code is waiting.
    pub fn deny_device(&self, user_code: &str) -> Result<(), NoSuchUserCode> {
        self.decide_device(user_code, false)
    }

    fn decide_device(&self, user_code: &str, approve: bool) -> Result<(), NoSuchUserCode> {
        self.0
            .shared
            .change(|world| world.decide_device(user_code, approve))
            .then_some(())
            .ok_or(NoSuchUserCode)
    }

    /// Revokes every access token issued so far; refresh tokens stay good.
    pub fn revoke_access_tokens(&self) {
        self.0
            .shared
            .change(|world| world.ledger.revoke_access_tokens(|_| true));
    }

    /// Revokes every family issued so far, as an administrator would.
    pub fn revoke_families(&self) {
        self.0.shared.change(|world| {
            for id in 0..world.ledger.families.len() {
                world.revoke_family(id, Revocation::Administrator);
            }
        });
    }

    /// Whether the server listens.
    pub fn is_running(&self) -> bool {
        self.listener().is_some()
    }

    /// Stops accepting, waits for open requests (held ones too) and closes. State is kept.
    pub async fn stop(&self) {
        let listener = self.listener().take();
        if let Some(listener) = listener {
            listener.stop_gracefully().await;
        }
    }

    /// Breaks every connection and closes, at once. State is kept; requests held or delayed before
    /// they were processed never will be.
    pub fn kill(&self) {
        let listener = self.listener().take();
        drop(listener);
        self.0.shared.change(|world| world.faults.forget_dead());
    }

    /// Listens again on the same port with the state as it was.
    ///
    /// # Errors
    /// When the server runs, or another process took the port in the meantime.
    pub fn restart(&self) -> Result<(), StartError> {
        let mut listener = self.listener();
        if listener.is_some() {
            return Err(StartError::Running);
        }
        let socket = TcpListener::bind(self.0.address)?;
        *listener = Some(Listener::serve(
            socket,
            router(&self.0.shared, &self.0.issuer_path),
        )?);
        Ok(())
    }

    /// Waits until `holds` of both sums and held requests; for the control API.
    pub(crate) async fn wait_until(&self, holds: impl Fn(&Counts, &Faults) -> bool) {
        self.0
            .shared
            .wait(|world| holds(&world.ledger.counts, &world.faults))
            .await;
    }

    fn listener(&self) -> std::sync::MutexGuard<'_, Option<Listener>> {
        self.0
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
