//! HTTP to providers: one request, one connection, hard limits.
//!
//! Every request has a connection of its own, driven by hyper's HTTP/1 client directly. A pool
//! would save a handshake a few times an hour, and would cost the certainty that a renewal needs:
//! on a pooled connection a reset cannot be told from a request that was processed, and a pool
//! sends a request again of its own accord. Here nothing is ever sent twice, and whether a byte of
//! the request may have left is known exactly: writing begins after TLS stands.
//!
//! No redirect is followed but on discovery, and there not to another host. Buffers of hyper and
//! rustls cannot be wiped; ours are.

mod address;
mod config;
mod dial;
mod hosts;
mod proxy;
mod watched;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use authd_core::answer::Failure;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Body, client::conn::http1};
use rustls::{ClientConfig, RootCertStore, client::Resumption, pki_types::CertificateDer};
use rustls_platform_verifier::Verifier;
use tokio::sync::OnceCell;
use url::{Position, Url};
use zeroize::Zeroizing;

use crate::certificate::ClientCertificate;

pub(crate) use self::address::{endpoint, is_loopback};
pub use self::{
    address::BadEndpoint,
    config::{BadRoots, HttpConfig, HttpConfigError, PrivateAddresses, roots_from_pem},
    hosts::{BadHost, HostList},
    proxy::{ExplicitProxy, Later, ProxyConfig, ProxyLogin, ProxyOrigin, ProxyPassword},
};
use self::{
    dial::{Dial, Unreached, tls_failure},
    watched::Watched,
};

/// Largest token response, and of all that comes from endpoints beside discovery, in bytes.
pub(crate) const TOKEN_CAP: usize = 64 * 1024;
/// Largest metadata document, in bytes.
pub(crate) const METADATA_CAP: usize = 1024 * 1024;
/// Largest head of a response, in bytes.
const HEAD_CAP: usize = 32 * 1024;
/// Most header fields in a response.
const HEADER_FIELDS: usize = 100;

/// Why no whole response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportFailure {
    /// The name did not resolve.
    #[error("the host's name does not resolve")]
    Dns,
    /// No connection.
    #[error("the host cannot be reached")]
    Connect,
    /// The proxy cannot be reached.
    #[error("the proxy cannot be reached; check the proxy settings")]
    ProxyUnreachable,
    /// The proxy does not know us: no name and password, or wrong ones.
    #[error("the proxy wants another name and password")]
    ProxyLogin,
    /// The password for the proxy cannot be had.
    #[error("the password for the proxy cannot be had")]
    ProxyPassword,
    /// The proxy refused, or is of an unknown kind.
    #[error("the proxy gave no connection; check the proxy settings")]
    Proxy,
    /// The name leads into the local network.
    #[error(
        "the host is at a private address; allow private addresses if this provider is your own"
    )]
    PrivateAddress,
    /// The URL is none that authd speaks to.
    #[error("the URL is not https (or http on loopback)")]
    BadEndpoint,
    /// No TLS: the handshake failed.
    #[error("no verified TLS connection; something else may be answering in the host's place")]
    Tls,
    /// Nobody whom this machine trusts vouches for the certificate.
    #[error("nobody whom this machine trusts vouches for the host's certificate")]
    UntrustedCertificate,
    /// The certificate is another host's.
    #[error("the certificate is another host's; something else answers in the host's place")]
    ForeignCertificate,
    /// The certificate is past its time or before it, by this machine's clock.
    #[error("by this machine's clock the host's certificate is not valid now")]
    OutdatedCertificate,
    /// This machine has no root certificates.
    #[error("this machine has no root certificates; install them (ca-certificates)")]
    NoRoots,
    /// The client's key did not sign.
    #[error("the client's key did not sign: the system gives no randomness, or the key is damaged")]
    Unsigned,
    /// The time ran out.
    #[error("the time ran out")]
    Timeout,
    /// The connection broke before the response was whole.
    #[error("the connection broke before the answer was complete")]
    Broken,
    /// The response is larger than the cap.
    #[error("the answer is too large")]
    TooLarge,
}

impl TransportFailure {
    /// The same in the engine's words.
    #[must_use]
    pub fn failure(self) -> Failure {
        match self {
            Self::Dns => Failure::Dns,
            Self::Connect | Self::PrivateAddress | Self::BadEndpoint | Self::Unsigned => {
                Failure::Connect
            }
            Self::Proxy | Self::ProxyUnreachable => Failure::Proxy,
            Self::ProxyLogin | Self::ProxyPassword => Failure::ProxyLogin,
            Self::Tls | Self::NoRoots => Failure::Tls,
            Self::UntrustedCertificate => Failure::UntrustedCertificate,
            Self::ForeignCertificate => Failure::ForeignCertificate,
            Self::OutdatedCertificate => Failure::OutdatedCertificate,
            Self::Timeout => Failure::Timeout,
            Self::Broken => Failure::Broken,
            Self::TooLarge => Failure::TooLarge,
        }
    }
}

/// No whole response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct TransportError {
    /// Why.
    pub failure: TransportFailure,
    /// Whether a byte of the request may have left.
    pub bytes_left: bool,
}

/// A request to one endpoint.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// Wiped when sent or dropped.
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// Largest response body, in bytes.
    pub(crate) cap: usize,
    /// What the client proves itself with in the handshake (RFC 8705 §2).
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
}

/// A whole response.
pub(crate) struct Incoming {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// The HTTP client. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    shared: Arc<Shared>,
}

struct Shared {
    config: HttpConfig,
    extra_roots: Vec<CertificateDer<'static>>,
    dial: Dial,
    /// Made at the first https request: reading the platform's roots costs time and memory that
    /// a daemon with nothing to do should not spend.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Http {
    /// A client by `config`.
    ///
    /// # Errors
    /// [`HttpConfigError`] when the proxy or an extra root cannot be read.
    pub fn new(config: HttpConfig) -> Result<Self, HttpConfigError> {
        let extra_roots: Vec<_> = config
            .extra_roots
            .iter()
            .map(|der| CertificateDer::from(der.clone()))
            .collect();
        let mut probe = RootCertStore::empty();
        for root in &extra_roots {
            probe.add(root.clone()).map_err(HttpConfigError::Root)?;
        }
        let dial = Dial::new(&config)?;
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                extra_roots,
                dial,
                tls: OnceCell::new(),
            }),
        })
    }

    /// Which hosts may be at private addresses.
    pub(crate) fn private_addresses(&self) -> &PrivateAddresses {
        &self.shared.config.private_addresses
    }

    /// The proxy that `url` is reached through: where it is, without a name or password, and who named
    /// it. `None` where the host is spoken to directly.
    #[must_use]
    pub fn proxy_for(&self, url: &str) -> Option<(String, ProxyOrigin)> {
        self.shared.dial.proxy_named_for(&Url::parse(url).ok()?)
    }

    /// Checks and reads an endpoint's URL.
    pub(crate) fn endpoint(&self, text: &str) -> Result<Url, TransportError> {
        endpoint(text, self.private_addresses()).map_err(|why| {
            tracing::warn!(%why, "this endpoint is not spoken to");
            let failure = match why {
                BadEndpoint::Private => TransportFailure::PrivateAddress,
                _ => TransportFailure::BadEndpoint,
            };
            TransportError {
                failure,
                bytes_left: false,
            }
        })
    }

    /// Sends one request, once, and reads the whole response. `before_first_byte` is called before
    /// the first byte of the request can have left, and not at all when none did.
    pub(crate) async fn send(
        &self,
        request: Outgoing,
        before_first_byte: &(dyn Fn() + Send + Sync),
    ) -> Result<Incoming, TransportError> {
        let left = AtomicBool::new(false);
        let before_write = || {
            if !left.swap(true, Ordering::AcqRel) {
                before_first_byte();
            }
        };
        let conversation = self.converse(request, &before_write);
        let failure =
            match tokio::time::timeout(self.shared.config.request_timeout, conversation).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(failure)) => failure,
                Err(_) => TransportFailure::Timeout,
            };
        Err(TransportError {
            failure,
            bytes_left: left.load(Ordering::Acquire),
        })
    }

    async fn converse(
        &self,
        request: Outgoing,
        before_write: &(dyn Fn() + Send + Sync),
    ) -> Result<Incoming, TransportFailure> {
        let uri: Uri = request
            .url
            .as_str()
            .parse()
            .map_err(|_| TransportFailure::BadEndpoint)?;
        let patience = self.shared.config.connect_timeout;
        if request.url.scheme() == "https" {
            let connecting = async {
                let to_proxy = self.tls().await?;
                let to_host = match &request.certificate {
                    Some(certificate) => with_certificate(&to_proxy, certificate),
                    None => Arc::clone(&to_proxy),
                };
                let dialled = self.shared.dial.tls(uri, to_proxy, to_host);
                dialled.await.map_err(|error| {
                    tracing::debug!(%error, "no connection");
                    error
                        .downcast_ref::<Unreached>()
                        .map_or_else(|| tls_failure(&error), |why| why.0)
                })
            };
            let connection = within(patience, connecting).await?;
            speak(
                Watched {
                    io: connection,
                    before_write,
                },
                request,
            )
            .await
        } else {
            let connecting = async { self.shared.dial.plain(uri).await.map_err(|why| why.0) };
            let connection = within(patience, connecting).await?;
            speak(
                Watched {
                    io: connection,
                    before_write,
                },
                request,
            )
            .await
        }
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, TransportFailure> {
        let shared = self.shared.clone();
        let made = self.shared.tls.get_or_try_init(|| async move {
            let extra_roots = shared.extra_roots.clone();
            tokio::task::spawn_blocking(move || tls_config(extra_roots))
                .await
                .map_err(|_| TransportFailure::NoRoots)?
                .map_err(|error| {
                    tracing::warn!(%error, "no TLS without root certificates");
                    TransportFailure::NoRoots
                })
        });
        made.await.cloned()
    }
}

fn tls_config(
    extra_roots: Vec<CertificateDer<'static>>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(extra_roots, provider.clone())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous() // The name is rustls's for any verifier not its own; this one is the platform's.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The same, with a client certificate.
fn with_certificate(
    config: &Arc<ClientConfig>,
    certificate: &ClientCertificate,
) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(config);
    config.client_auth_cert_resolver = certificate.resolver.clone();
    // A session that began without the certificate must not be resumed for one with it.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

async fn within<T>(
    patience: Duration,
    step: impl Future<Output = Result<T, TransportFailure>>,
) -> Result<T, TransportFailure> {
    tokio::time::timeout(patience, step)
        .await
        .unwrap_or(Err(TransportFailure::Timeout))
}

/// The request and its response on a fresh connection.
async fn speak<T>(connection: T, outgoing: Outgoing) -> Result<Incoming, TransportFailure>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let (mut sender, driver) = http1::Builder::new()
        .max_headers(HEADER_FIELDS)
        .max_header_size(HEAD_CAP)
        .max_buf_size(2 * HEAD_CAP)
        .handshake(connection)
        .await
        .map_err(|_| TransportFailure::Broken)?;
    let cap = outgoing.cap;
    let request = outgoing.into_request()?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        whole(response, cap).await
    };
    let (mut driver, mut answer) = (pin!(driver), pin!(answer));
    // The driver ends when the server closes; what it read before is still to be taken.
    tokio::select! {
        biased;
        answered = &mut answer => answered,
        _ = &mut driver => answer.await,
    }
}

impl Outgoing {
    fn into_request(self) -> Result<http::Request<Full<Bytes>>, TransportFailure> {
        let target = &self.url[Position::BeforePath..Position::AfterQuery];
        let host = &self.url[Position::BeforeHost..Position::AfterPort];
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(target)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/json")
            .header(header::ACCEPT_ENCODING, "identity")
            .header(
                header::USER_AGENT,
                concat!("authd/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from_owner(self.body)))
            .map_err(|_| TransportFailure::BadEndpoint)?;
        request.headers_mut().extend(self.headers);
        Ok(request)
    }
}

async fn whole(
    response: http::Response<hyper::body::Incoming>,
    cap: usize,
) -> Result<Incoming, TransportFailure> {
    let (parts, mut body) = response.into_parts();
    let stated = body.size_hint().exact();
    if stated.is_some_and(|length| length > cap as u64) {
        return Err(TransportFailure::TooLarge);
    }
    // Sized at once where it may hold secrets: a buffer that grows leaves copies behind.
    let capacity = stated.map_or(cap.min(TOKEN_CAP), |length| length as usize);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if bytes.len() + data.len() > cap {
            return Err(TransportFailure::TooLarge);
        }
        bytes.extend_from_slice(data);
    }
    Ok(Incoming {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: bytes,
    })
}

fn broken(error: &hyper::Error) -> TransportFailure {
    tracing::debug!(%error, "the conversation broke");
    if error.is_parse_too_large() {
        TransportFailure::TooLarge
    } else {
        TransportFailure::Broken
    }
}

/// A header value that no log prints.
pub(crate) fn sensitive(value: &str) -> Result<HeaderValue, TransportFailure> {
    let mut value = HeaderValue::from_str(value).map_err(|_| TransportFailure::BadEndpoint)?;
    value.set_sensitive(true);
    Ok(value)
}
