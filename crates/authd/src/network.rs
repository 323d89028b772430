//! The thread that speaks to providers: a runtime of its own, so that a TLS verification or a
//! resolver that blocks delays no client.

use std::{future::Future, io, sync::Arc, thread, time::Duration};

use authd_oauth::{Http, ProxyLogin, TransportFailure};
use tokio::{runtime, sync::oneshot, task::JoinHandle};

use crate::{
    clock::Clock,
    config::{Config, Network as Settings},
    credential::ProxySecret,
    process::launcher::Launcher,
};

/// The thread and its client.
pub(crate) struct Network {
    handle: runtime::Handle,
    http: Http,
    /// Dropped to end the thread.
    _running: oneshot::Sender<()>,
}

/// Why there is no network thread.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The system gives no thread or runtime.
    #[error("no thread for the network: {0}")]
    Thread(#[from] io::Error),
    /// The settings are wrong; the user must mend the configuration.
    #[error(transparent)]
    Http(#[from] authd_oauth::HttpConfigError),
    /// A file that they name has changed since they were read; the user must mend it.
    #[error("{0}")]
    Settings(String),
}

impl Network {
    /// Starts the thread.
    pub(crate) fn start(
        config: &Config,
        clock: &Clock,
        launcher: &Launcher,
    ) -> Result<Self, NetworkError> {
        let login = proxy_login(config, clock, launcher).map_err(NetworkError::Settings)?;
        let settings = config.network.http(login).map_err(NetworkError::Settings)?;
        let http = Http::new(settings)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || {
                // Ends when the sender is dropped, and with it every request still under way.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            http,
            _running: running,
        })
    }

    /// The client.
    pub(crate) fn http(&self) -> Http {
        self.http.clone()
    }

    /// Runs `work` there, detached from whoever asked.
    pub(crate) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.spawn(work)
    }
}

fn proxy_login(
    config: &Config,
    clock: &Clock,
    launcher: &Launcher,
) -> Result<Option<ProxyLogin>, String> {
    let Settings { proxy_user, .. } = &config.network;
    let Some(source) = config.network.password_source()? else {
        return Ok(None);
    };
    let key_store_timeout = Duration::from_secs(config.key.timeout_secs);
    let password = ProxySecret::new(source, key_store_timeout, clock.clone(), launcher.clone());
    Ok(Some(ProxyLogin {
        user: proxy_user.clone(),
        password: Arc::new(password),
    }))
}

/// What mends the way to a provider.
pub(crate) fn mends_the_way(failure: TransportFailure) -> &'static str {
    match failure {
        TransportFailure::UntrustedCertificate => {
            "if your company vouches for it, name its certificate by ca_file under [network] in \
             config.toml, then: authctl daemon stop"
        }
        TransportFailure::ForeignCertificate => {
            "sign in to this network in a browser first, or check the address"
        }
        TransportFailure::OutdatedCertificate => "check the clock: timedatectl status",
        TransportFailure::ProxyUnreachable | TransportFailure::Proxy => {
            "check proxy under [network] in config.toml, or HTTPS_PROXY; then: authctl daemon stop"
        }
        TransportFailure::ProxyLogin | TransportFailure::ProxyPassword => {
            "check proxy_user and proxy_password_file under [network] in config.toml"
        }
        TransportFailure::PrivateAddress => {
            "if it is your own, name its host in private_addresses under [network] in \
             config.toml, then: authctl daemon stop"
        }
        _ => "check the issuer's address and the network",
    }
}
