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

use http::{HeaderValue, Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{
        HttpConnector,
        dns::{GaiResolver, Name},
        proxy::{SocksV5, Tunnel},
    },
    rt::TokioIo,
};
use rustls::{CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tower_service::Service;
use url::{Host, Url};

use super::{
    HttpConfig, HttpConfigError, PrivateAddresses, TransportFailure, address,
    proxy::{Login, Proxies, Proxy, ProxyOrigin},
};

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
    guarded: Guarded,
    /// A proxy is the user's own choice, so its address is not judged.
    to_proxy: HttpConnector<GaiResolver>,
    proxies: Proxies,
    private: Arc<PrivateAddresses>,
}

impl Dial {
    pub(super) fn new(config: &HttpConfig) -> Result<Self, HttpConfigError> {
        let private = Arc::new(config.private_addresses.clone());
        let guarded = Guarded {
            resolver: GaiResolver::new(),
            private: Arc::clone(&private),
        };
        let mut direct = HttpConnector::new_with_resolver(guarded.clone());
        let mut to_proxy = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        direct.set_connect_timeout(Some(config.connect_timeout));
        to_proxy.enforce_http(false);
        to_proxy.set_nodelay(true);
        to_proxy.set_connect_timeout(Some(config.connect_timeout));
        Ok(Self {
            direct,
            guarded,
            to_proxy,
            proxies: Proxies::new(&config.proxy)?,
            private,
        })
    }

    /// The proxy that `url` is reached through, for people.
    pub(super) fn proxy_named_for(&self, url: &Url) -> Option<(String, ProxyOrigin)> {
        self.proxies.named_for(url)
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

    async fn below_tls(self, uri: Uri, tls: Arc<ClientConfig>) -> Result<Reached, Unreached> {
        let Some(proxy) = self.proxies.for_uri(&uri) else {
            return self.plain(uri).await;
        };
        if address::endpoint(&uri.to_string(), &self.private).is_err() {
            return Err(Unreached(TransportFailure::PrivateAddress));
        }
        let login = proxy.fetched(false).await?;
        match self.through(&proxy, &login, uri.clone(), &tls).await {
            // Nothing of ours has left, and the password may have been changed. The same once more would
            // but count as one more that is wrong.
            Err(Unreached(TransportFailure::ProxyLogin)) if login.is_some() => {
                match proxy.fetched(true).await? {
                    anew if anew == login => Err(Unreached(TransportFailure::ProxyLogin)),
                    anew => self.through(&proxy, &anew, uri, &tls).await,
                }
            }
            reached => reached,
        }
    }

    async fn through(
        &self,
        proxy: &Proxy,
        login: &Option<Login>,
        uri: Uri,
        tls: &Arc<ClientConfig>,
    ) -> Result<Reached, Unreached> {
        let at = proxy.at.uri().clone();
        match at.scheme_str() {
            Some(scheme @ ("http" | "https")) => {
                let authorization = proxy.authorization(login.as_ref());
                if scheme == "http" {
                    let tunnel = tunnel(at, self.to_proxy.clone(), authorization);
                    ask(tunnel, uri).await.map(MaybeHttpsStream::Http)
                } else {
                    let to_proxy = HttpsConnector::from((self.to_proxy.clone(), Arc::clone(tls)));
                    ask(tunnel(at, to_proxy, authorization), uri).await
                }
            }
            Some(scheme @ ("socks5" | "socks5h")) => {
                // Not by the connector's own `local_dns`: that blocks the thread, and judges nothing.
                let uri = match scheme {
                    "socks5" => resolved(self.guarded.clone(), uri).await?,
                    _ => uri,
                };
                let mut socks = SocksV5::new(at, self.to_proxy.clone());
                if let Some((user, password)) = proxy.name_and_password(login.as_ref()) {
                    socks = socks.with_auth(user, password);
                }
                ask(socks, uri).await.map(MaybeHttpsStream::Http)
            }
            _ => Err(Unreached(TransportFailure::Proxy)),
        }
    }
}

fn tunnel<C>(to: Uri, connector: C, authorization: Option<HeaderValue>) -> Tunnel<C> {
    let tunnel = Tunnel::new(to, connector);
    match authorization {
        Some(authorization) => tunnel.with_auth(authorization),
        None => tunnel,
    }
}

/// Through a proxy. Whatever fails on the way, the proxy is what the user must look at.
async fn ask<C>(mut proxy: C, uri: Uri) -> Result<C::Response, Unreached>
where
    C: Service<Uri>,
    C::Error: Error,
{
    proxy.call(uri).await.map_err(|error| {
        tracing::debug!(%error, "the proxy gave no connection");
        // Their types are not to be had; what they say is (and tests hold them to it).
        let said = error.to_string();
        let says = |words: &str| said.contains(words);
        Unreached(if says("failed to create underlying connection") {
            TransportFailure::ProxyUnreachable
        } else if says("proxy authorization required")
            || says("credentials not accepted")
            || says("user/pass authentication")
        {
            TransportFailure::ProxyLogin
        } else {
            TransportFailure::Proxy
        })
    })
}

/// Why TLS could not be had.
pub(super) fn tls_failure(error: &BoxError) -> TransportFailure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return match error {
                rustls::Error::InvalidCertificate(why) => bad_certificate(why),
                _ => TransportFailure::Tls,
            };
        }
        // The source of an `io::Error` is that of the error in it, not that error.
        cause = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    TransportFailure::Tls
}

fn bad_certificate(why: &CertificateError) -> TransportFailure {
    use CertificateError as Bad;
    match why {
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            TransportFailure::ForeignCertificate
        }
        Bad::Expired
        | Bad::ExpiredContext { .. }
        | Bad::NotValidYet
        | Bad::NotValidYetContext { .. } => TransportFailure::OutdatedCertificate,
        // `Other` is what the platforms call everything that they have no word for; here above all a
        // certificate that signed itself, and says that it is a certification authority's.
        Bad::UnknownIssuer | Bad::Other(_) => TransportFailure::UntrustedCertificate,
        _ => TransportFailure::Tls,
    }
}

async fn connect(
    mut connector: HttpConnector<Guarded>,
    uri: Uri,
) -> Result<TokioIo<TcpStream>, Unreached> {
    connector.call(uri).await.map_err(|error| {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(unresolved) = error.downcast_ref::<Unresolved>() {
                return unresolved.into();
            }
            cause = error.source();
        }
        Unreached(TransportFailure::Connect)
    })
}

/// The same place by its address instead of its name.
async fn resolved(mut guarded: Guarded, uri: Uri) -> Result<Uri, Unreached> {
    let port = uri.port_u16().unwrap_or(443);
    let name: Name = uri
        .host()
        .unwrap_or_default()
        .parse()
        .map_err(|_| Unreached(TransportFailure::BadEndpoint))?;
    let mut found = guarded
        .call(name)
        .await
        .map_err(|why| Unreached::from(&why))?;
    let Some(mut address) = found.next() else {
        return Err(Unreached(TransportFailure::Dns));
    };
    address.set_port(port);
    let by_address = Uri::builder()
        .scheme("https")
        .authority(address.to_string())
        .path_and_query("/");
    by_address
        .build()
        .map_err(|_| Unreached(TransportFailure::BadEndpoint))
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
    private: Arc<PrivateAddresses>,
}

#[derive(Debug, thiserror::Error)]
enum Unresolved {
    #[error("the name does not resolve")]
    NotFound(#[source] io::Error),
    #[error("the name leads to a private address")]
    Private,
}

impl From<&Unresolved> for Unreached {
    fn from(why: &Unresolved) -> Self {
        Self(match why {
            Unresolved::NotFound(_) => TransportFailure::Dns,
            Unresolved::Private => TransportFailure::PrivateAddress,
        })
    }
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
        let private = Arc::clone(&self.private);
        let host = Host::Domain(name.as_str().to_owned());
        let resolving = self.resolver.call(name);
        Box::pin(async move {
            let found: Vec<SocketAddr> = resolving.await.map_err(Unresolved::NotFound)?.collect();
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| match localhost {
                    true => address.ip().is_loopback(),
                    false => private.allow(&host, address.ip()),
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

    async fn resolve(name: &str, private: PrivateAddresses) -> Result<Vec<SocketAddr>, Unresolved> {
        let mut guarded = Guarded {
            resolver: GaiResolver::new(),
            private: Arc::new(private),
        };
        guarded
            .call(name.parse().unwrap())
            .await
            .map(Iterator::collect)
    }

    #[tokio::test]
    async fn a_name_must_not_lead_into_the_local_network() {
        // A literal resolves to itself, so it can stand for any name that leads there.
        use PrivateAddresses::{Allowed, Refused};
        for inside in ["127.0.0.1", "10.0.0.1", "::1"] {
            assert!(
                matches!(resolve(inside, Refused).await, Err(Unresolved::Private)),
                "{inside}"
            );
            assert_eq!(resolve(inside, Allowed).await.unwrap().len(), 1, "{inside}");
        }
        assert_eq!(resolve("1.1.1.1", Refused).await.unwrap().len(), 1);
        let localhost = resolve("localhost", Refused).await.unwrap();
        assert!(localhost.iter().all(|address| address.ip().is_loopback()));
    }
}
