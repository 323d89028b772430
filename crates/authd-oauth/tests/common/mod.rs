//! What the tests of this crate share: raw servers that do exactly as told, and an exchange with
//! its surroundings.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use authd_core::{
    grant::{Endpoints, Provider},
    id::Fingerprint,
    scope::ScopeSet,
    secret::Secret,
    time::{Boot, Now, Wall},
};
use authd_oauth::{
    Ambient, Client, Credential, ExchangeRequest, Exchanged, Http, HttpConfig, ProxyConfig,
    Surroundings, exchange,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Longer than anything here takes, shorter than anybody's patience.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// Runs a test within [`BOUND`].
pub(crate) async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, test)
        .await
        .expect("the test takes too long")
}

/// A client that no environment reaches, with time-outs as given.
pub(crate) fn http_with(change: impl FnOnce(&mut HttpConfig)) -> Http {
    let mut config = HttpConfig {
        proxy: ProxyConfig::Off,
        ..HttpConfig::default()
    };
    change(&mut config);
    Http::new(config).unwrap()
}

pub(crate) fn http() -> Http {
    http_with(|_| ())
}

pub(crate) fn provider(token_endpoint: impl Into<String>) -> Provider {
    Provider {
        client_id: "client".into(),
        endpoints: Endpoints {
            token: token_endpoint.into(),
            ..Endpoints::default()
        },
        ..Provider::default()
    }
}

pub(crate) fn fingerprint(token: &str) -> Fingerprint {
    let mut bytes = [0; 16];
    for (index, byte) in token.bytes().enumerate() {
        bytes[index % 16] ^= byte;
    }
    Fingerprint(bytes)
}

/// A clock, and no chance: every number drawn is one more than the one before.
pub(crate) struct At<F>(pub(crate) F);

impl<F: Fn() -> Now + Send + Sync> Ambient for At<F> {
    fn now(&self) -> Now {
        (self.0)()
    }

    fn random(&self) -> Option<u128> {
        static DRAWN: AtomicUsize = AtomicUsize::new(1);
        Some(DRAWN.fetch_add(1, Ordering::Relaxed) as u128)
    }
}

/// The client of `provider` at a standing clock.
pub(crate) fn client<'a>(provider: &'a Provider, credential: &'a Credential) -> Client<'a> {
    Client {
        provider,
        credential,
        ambient: &At(now as fn() -> Now),
    }
}

pub(crate) fn now() -> Now {
    Now {
        boot: Boot(1_000),
        wall: Wall::from_unix_secs(1_700_000_000),
    }
}

/// One refresh, and how often it was told that bytes leave.
pub(crate) async fn refresh(http: &Http, provider: &Provider) -> (Exchanged, usize) {
    let refresh_token = Secret::new("canary-rt-sent");
    let scopes = ScopeSet::default();
    let request = ExchangeRequest::Refresh {
        refresh_token: &refresh_token,
        scopes: &scopes,
        resource: None,
    };
    let told = AtomicUsize::new(0);
    let exchanged = exchange(
        http,
        client(provider, &Credential::None),
        request,
        Surroundings {
            fingerprint: &fingerprint,
            on_bytes_sent: &|| {
                told.fetch_add(1, Ordering::Relaxed);
            },
        },
    )
    .await;
    (exchanged, told.into_inner())
}

/// A raw server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// One permit for each connection that came.
    pub(crate) connections: Arc<Semaphore>,
}

impl Server {
    /// Hands every connection to `serve`.
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Semaphore::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.add_permits(1);
                tokio::spawn(serve(stream));
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// Reads each request whole, then writes `response` and closes.
    pub(crate) async fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = Arc::new(response.into());
        Self::start(move |mut stream| {
            let response = response.clone();
            async move {
                read_request(&mut stream).await;
                // The client may have closed already, when the answer was too large for it.
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &response).await;
            }
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn count(&self) -> usize {
        self.connections.available_permits()
    }
}

/// One HTTP request with its body, as it stood on the wire.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return text,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

/// A whole HTTP response.
pub(crate) fn response(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}
