//! The thread that speaks to providers: a runtime of its own, so that a TLS verification or a
//! resolver that blocks delays no client.

use std::{future::Future, io, thread, time::Duration};

use authd_oauth::{Http, HttpConfig};
use tokio::{runtime, sync::oneshot, task::JoinHandle};

use crate::config::Network as Settings;

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
    /// The proxy settings are wrong; the user must mend the environment.
    #[error(transparent)]
    Http(#[from] authd_oauth::HttpConfigError),
}

impl Network {
    /// Starts the thread.
    pub(crate) fn start(settings: &Settings) -> Result<Self, NetworkError> {
        let http = Http::new(HttpConfig {
            request_timeout: Duration::from_secs(settings.request_timeout_secs),
            private_addresses: settings.private_addresses,
            ..HttpConfig::default()
        })?;
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
