//! What stands between a program and a provider in a company's network: a forward proxy that wants a
//! name and a password, and a host with TLS by a private authority. Real ones, on loopback.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::TcpStream,
    sync::oneshot,
};
use tokio_rustls::TlsAcceptor;

/// Largest head of a request to the proxy, in bytes.
const HEAD: usize = 8 * 1024;

/// A listening socket with a thread and a runtime of its own. Dropping it ends both.
struct Background {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Hands every connection to `serve`.
    fn start<F>(name: &str, serve: impl Fn(TcpStream) -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let socket = {
            let _runtime = runtime.enter();
            tokio::net::TcpListener::from_std(socket)?
        };
        let (stop, mut stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    loop {
                        tokio::select! {
                            _ = &mut stopped => return,
                            accepted = socket.accept() => match accepted {
                                Ok((stream, _)) => drop(tokio::spawn(serve(stream))),
                                Err(_) => return,
                            },
                        }
                    }
                });
            })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// A forward proxy for CONNECT (RFC 9110 §9.3.6). It leads names to addresses as it is told, and knows
/// of no others.
pub struct ForwardProxy {
    background: Background,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    routes: Mutex<BTreeMap<String, SocketAddr>>,
    /// `name:password`, when it wants one.
    login: Mutex<Option<String>>,
    led: AtomicUsize,
    refused: AtomicUsize,
}

impl ForwardProxy {
    /// Starts one that knows nobody by password and leads nowhere.
    ///
    /// # Errors
    /// When the port or the thread cannot be had.
    pub fn start() -> io::Result<Self> {
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let background = Background::start("forward-proxy", move |stream| {
            lead(stream, Arc::clone(&shared))
        })?;
        Ok(Self { background, seen })
    }

    /// Leads `authority` (`host:port`) to `address` from now on.
    pub fn route(&self, authority: &str, address: SocketAddr) {
        let mut routes = lock(&self.seen.routes);
        routes.insert(authority.to_ascii_lowercase(), address);
    }

    /// Wants this name and password from now on (RFC 7617), and answers 407 to all others.
    pub fn want(&self, name: &str, password: &str) {
        *lock(&self.seen.login) = Some(format!("{name}:{password}"));
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.background.address)
    }

    /// How many connections it has led on.
    pub fn led(&self) -> usize {
        self.seen.led.load(Ordering::Acquire)
    }

    /// How often it has answered 407.
    pub fn refused(&self) -> usize {
        self.seen.refused.load(Ordering::Acquire)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn lead(mut client: TcpStream, seen: Arc<Seen>) {
    let Some(head) = head(&mut client).await else {
        return;
    };
    let answer = |text: &'static str| format!("HTTP/1.1 {text}\r\ncontent-length: 0\r\n");
    let mut lines = head.split("\r\n");
    let mut request = lines.next().unwrap_or_default().split(' ');
    let (method, authority) = (request.next(), request.next().unwrap_or_default());
    let refusal = if method != Some("CONNECT") {
        Some(answer("405 Method Not Allowed"))
    } else if !admits(&seen, lines) {
        seen.refused.fetch_add(1, Ordering::AcqRel);
        let scheme = "proxy-authenticate: Basic realm=\"corp\"\r\n";
        Some(answer("407 Proxy Authentication Required") + scheme)
    } else {
        None
    };
    let address = lock(&seen.routes)
        .get(&authority.to_ascii_lowercase())
        .copied();
    let server = match (refusal, address) {
        (Some(refusal), _) => Err(refusal),
        (None, Some(address)) => TcpStream::connect(address)
            .await
            .map_err(|_| answer("502 Bad Gateway")),
        (None, None) => Err(answer("502 Bad Gateway")),
    };
    // Whoever has gone meanwhile has no use for it.
    let _ = match server {
        Ok(mut server) => {
            seen.led.fetch_add(1, Ordering::AcqRel);
            if client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_err() {
                return;
            }
            copy_bidirectional(&mut client, &mut server).await.map(drop)
        }
        Err(refusal) => client.write_all(format!("{refusal}\r\n").as_bytes()).await,
    };
}

/// All of a request's head, and nothing that comes after it: a client says no more before the answer.
async fn head(client: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let more = client.read_buf(&mut bytes).await.ok()?;
        if more == 0 || bytes.len() > HEAD {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}

fn admits<'a>(seen: &Seen, mut fields: impl Iterator<Item = &'a str>) -> bool {
    let Some(login) = lock(&seen.login).clone() else {
        return true;
    };
    let expected = format!("Basic {}", STANDARD.encode(login));
    fields.any(|field| {
        field.split_once(':').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("proxy-authorization") && value.trim() == expected
        })
    })
}

/// An authority that nobody knows who was not told of it.
pub struct PrivateAuthority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl PrivateAuthority {
    /// A new one.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// Its certificate, in PEM.
    pub fn pem(&self) -> String {
        let text = STANDARD.encode(&self.certificate);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }
}

/// A host with TLS before a server that has none.
pub struct TlsFront(Background);

/// Why there is no such host.
#[derive(Debug, thiserror::Error)]
pub enum TlsFrontError {
    /// The port or the thread cannot be had.
    #[error("cannot serve on 127.0.0.1")]
    Serve(#[from] io::Error),
    /// No certificate could be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS does not take it.
    #[error("TLS does not take the certificate")]
    Tls(#[from] rustls::Error),
}

impl TlsFront {
    /// Serves as `name`, for which `authority` vouches, and hands what comes to `behind`.
    ///
    /// # Errors
    /// [`TlsFrontError`].
    pub fn start(
        name: &str,
        authority: &PrivateAuthority,
        behind: SocketAddr,
    ) -> Result<Self, TlsFrontError> {
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &authority.issuer)?;
        let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let background = Background::start("tls-front", move |client| {
            let acceptor = acceptor.clone();
            async move {
                // Whoever does not like the certificate ends it here.
                let Ok(mut client) = acceptor.accept(client).await else {
                    return;
                };
                if let Ok(mut server) = TcpStream::connect(behind).await {
                    // Either end may break off.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            }
        })?;
        Ok(Self(background))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}
