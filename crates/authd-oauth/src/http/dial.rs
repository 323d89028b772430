//! How a provider is reached: resolve, connect, through a proxy where one is set.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::connect::{
            HttpConnector,
            dns::{GaiResolver, Name},
            proxy::{SocksV5, Tunnel},
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;
use url::Host;

use super::{HttpConfig, HttpConfigError, ProxyConfig, TransportFailure, address};

/// A connection before TLS to the provider; inside is TLS when the *proxy* is spoken to by https.
pub(super) type Reached = MaybeHttpsStream<TokioIo<TcpStream>>;

type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Why there is no connection. Everything that is not this and still fails is TLS.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreached(pub(super) TransportFailure);

/// Connects to a provider's host, below TLS.
#[derive(Clone)]
pub(super) struct Dial {
    direct: HttpConnector<Guarded>,
    /// A proxy is the user's own choice, so its address is not judged.
    to_proxy: HttpConnector<GaiResolver>,
    proxies: Option<Arc<Matcher>>,
    private_allowed: bool,
}

impl Dial {
    pub(super) fn new(config: &HttpConfig) -> Result<Self, HttpConfigError> {
        let mut direct = HttpConnector::new_with_resolver(Guarded {
            resolver: GaiResolver::new(),
            private_allowed: config.private_addresses,
        });
        let mut to_proxy = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        direct.set_connect_timeout(Some(config.connect_timeout));
        to_proxy.enforce_http(false);
        to_proxy.set_nodelay(true);
        to_proxy.set_connect_timeout(Some(config.connect_timeout));
        let proxies = match &config.proxy {
            ProxyConfig::System => Some(Matcher::from_system()),
            ProxyConfig::Off => None,
            ProxyConfig::Explicit { proxy, except } => {
                let matcher = Matcher::builder()
                    .https(proxy.as_str())
                    .no(except.as_str())
                    .build();
                // The builder takes what it cannot read for "no proxy".
                let probe = Uri::from_static("https://probe.invalid/");
                let everything = except.split(',').any(|entry| entry.trim() == "*");
                if matcher.intercept(&probe).is_none() && !everything {
                    return Err(HttpConfigError::Proxy);
                }
                Some(matcher)
            }
        };
        Ok(Self {
            direct,
            to_proxy,
            proxies: proxies.map(Arc::new),
            private_allowed: config.private_addresses,
        })
    }

    /// Plain TCP, for http on loopback.
    pub(super) async fn plain(&self, uri: Uri) -> Result<Reached, Unreached> {
        connect(self.direct.clone(), uri)
            .await
            .map(MaybeHttpsStream::Http)
    }

    /// With TLS `to_host` to the host of `uri`, through a proxy where one is set. A proxy that is itself
    /// spoken to by https gets `to_proxy`: the client's certificate is not for it.
    pub(super) async fn tls(
        &self,
        uri: Uri,
        to_proxy: Arc<ClientConfig>,
        to_host: Arc<ClientConfig>,
    ) -> Result<MaybeHttpsStream<Reached>, BoxError> {
        let below = BelowTls {
            dial: self.clone(),
            tls: to_proxy,
        };
        HttpsConnector::from((below, to_host)).call(uri).await
    }

    fn proxy_for(&self, uri: &Uri) -> Option<Intercept> {
        let host = uri.host()?;
        if Host::parse(host).is_ok_and(|host| address::is_loopback(&host)) {
            return None;
        }
        self.proxies.as_ref()?.intercept(uri)
    }

    async fn below_tls(self, uri: Uri, tls: Arc<ClientConfig>) -> Result<Reached, Unreached> {
        let Some(proxy) = self.proxy_for(&uri) else {
            return self.plain(uri).await;
        };
        if address::endpoint(&uri.to_string(), self.private_allowed).is_err() {
            return Err(Unreached(TransportFailure::PrivateAddress));
        }
        let to = proxy.uri().clone();
        match to.scheme_str() {
            Some("http") => {
                let tunnel = tunnel(to, self.to_proxy, &proxy);
                through(tunnel, uri).await.map(MaybeHttpsStream::Http)
            }
            Some("https") => {
                through(
                    tunnel(to, HttpsConnector::from((self.to_proxy, tls)), &proxy),
                    uri,
                )
                .await
            }
            Some(scheme @ ("socks5" | "socks5h")) => {
                let local_dns = scheme == "socks5";
                let mut socks = SocksV5::new(to, self.to_proxy).local_dns(local_dns);
                if let Some((user, password)) = proxy.raw_auth() {
                    socks = socks.with_auth(user.to_owned(), password.to_owned());
                }
                through(socks, uri).await.map(MaybeHttpsStream::Http)
            }
            _ => Err(Unreached(TransportFailure::Proxy)),
        }
    }
}

fn tunnel<C>(to: Uri, connector: C, proxy: &Intercept) -> Tunnel<C> {
    let tunnel = Tunnel::new(to, connector);
    match proxy.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }
}

/// Through a proxy. Whatever fails on the way, the proxy is what the user must look at.
async fn through<C>(mut proxy: C, uri: Uri) -> Result<C::Response, Unreached>
where
    C: Service<Uri>,
    C::Error: Error,
{
    proxy.call(uri).await.map_err(|error| {
        tracing::debug!(%error, "the proxy gave no connection");
        Unreached(TransportFailure::Proxy)
    })
}

async fn connect(
    mut connector: HttpConnector<Guarded>,
    uri: Uri,
) -> Result<TokioIo<TcpStream>, Unreached> {
    connector.call(uri).await.map_err(|error| {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(unresolved) = error.downcast_ref::<Unresolved>() {
                return Unreached(match unresolved {
                    Unresolved::NotFound(_) => TransportFailure::Dns,
                    Unresolved::Private => TransportFailure::PrivateAddress,
                });
            }
            cause = error.source();
        }
        Unreached(TransportFailure::Connect)
    })
}

/// [`Dial`] as the connector below hyper-rustls' own.
struct BelowTls {
    dial: Dial,
    tls: Arc<ClientConfig>,
}

impl Service<Uri> for BelowTls {
    type Response = Reached;
    type Error = Unreached;
    type Future = BoxFuture<Result<Reached, Unreached>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unreached>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.dial.clone().below_tls(uri, self.tls.clone()))
    }
}

/// The system's resolver, with its answers judged.
#[derive(Clone)]
struct Guarded {
    resolver: GaiResolver,
    private_allowed: bool,
}

#[derive(Debug, thiserror::Error)]
enum Unresolved {
    #[error("the name does not resolve")]
    NotFound(#[source] io::Error),
    #[error("the name leads to a private address")]
    Private,
}

impl Service<Name> for Guarded {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Unresolved;
    type Future = BoxFuture<Result<Self::Response, Unresolved>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        self.resolver.poll_ready(cx).map_err(Unresolved::NotFound)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        // `localhost` may be spoken to by plain http, so it must be nothing but loopback.
        let localhost = name.as_str().eq_ignore_ascii_case("localhost");
        let private_allowed = self.private_allowed;
        let resolving = self.resolver.call(name);
        Box::pin(async move {
            let found: Vec<SocketAddr> = resolving.await.map_err(Unresolved::NotFound)?.collect();
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| match localhost {
                    true => address.ip().is_loopback(),
                    false => private_allowed || address::is_public(address.ip()),
                })
                .collect();
            if allowed.is_empty() {
                Err(Unresolved::Private)
            } else {
                Ok(allowed.into_iter())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolve(name: &str, private_allowed: bool) -> Result<Vec<SocketAddr>, Unresolved> {
        let mut guarded = Guarded {
            resolver: GaiResolver::new(),
            private_allowed,
        };
        guarded
            .call(name.parse().unwrap())
            .await
            .map(Iterator::collect)
    }

    #[tokio::test]
    async fn a_name_must_not_lead_into_the_local_network() {
        // A literal resolves to itself, so it can stand for any name that leads there.
        for inside in ["127.0.0.1", "10.0.0.1", "::1"] {
            assert!(
                matches!(resolve(inside, false).await, Err(Unresolved::Private)),
                "{inside}"
            );
            assert_eq!(resolve(inside, true).await.unwrap().len(), 1, "{inside}");
        }
        assert_eq!(resolve("1.1.1.1", false).await.unwrap().len(), 1);
        let localhost = resolve("localhost", false).await.unwrap();
        assert!(localhost.iter().all(|address| address.ip().is_loopback()));
    }
}
