//! The loopback redirect (RFC 8252 §7.3): where the browser brings the provider's answer.
//!
//! Anything on this machine, and any web page in the browser, can send requests here. So only a GET
//! of the exact path with the exact `Host` is looked at, and only an answer with the attempt's own
//! `state` changes anything. Connections are few and short-lived. When all are taken, new ones wait
//! in the system's queue until one ends, or until the oldest has had its moment: a browser speaks at
//! once, so whoever holds a connection in silence is none, and gives way.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod page;

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, Response, header},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use url::{Host, Position, Url};

use self::page::Page;
use crate::authorization_code::{
    AuthorizationAttempt, AuthorizationError, AuthorizationGrant, AuthorizationResponse,
};

/// What is listened on when nothing else is registered: any free port (RFC 8252 §7.3).
pub const DEFAULT_REDIRECT_URI: &str = "http://127.0.0.1/callback";

/// Largest head of a request, in bytes.
const HEAD_CAP: usize = 8 * 1024;
/// The port of `http` where none is named.
const HTTP: u16 = 80;
/// Longest life of a connection.
const CONNECTION_LIFE: Duration = Duration::from_secs(5);
/// Most connections at a time.
const CONNECTIONS: usize = 16;
/// What each connection has for its request before it may have to give way.
const MOMENT: Duration = Duration::from_millis(100);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// The user must give another redirect URI, or log in without a browser on this machine.
    #[error("{0}")]
    BadRedirectUri(#[from] BadRedirectUri),
    /// The port is taken, or loopback is not usable: the user must free it.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LoopbackError {
    fn is_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

/// Why a redirect URI cannot be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRedirectUri {
    /// Not `http://`.
    #[error("a redirect to this machine begins with http://")]
    NotHttp,
    /// The host is none of `127.0.0.1`, `[::1]`, `localhost`.
    #[error("a redirect to this machine goes to 127.0.0.1, [::1] or localhost")]
    NotLoopback,
    /// It has a user name, a query or a fragment.
    #[error("a redirect to this machine has neither user name nor query nor fragment")]
    Decorated,
}

/// A listener for one login, open from [`bind`](Self::bind) to the end of [`wait`](Self::wait).
pub struct LoopbackRedirect {
    /// Two for `localhost` where the machine has IPv6.
    listeners: Vec<TcpListener>,
    uri: String,
    authority: String,
    path: String,
}

/// What a request must be to be looked at.
#[derive(Clone)]
struct Gate {
    /// `host:port`, exactly.
    authority: String,
    /// Exactly.
    path: String,
    answers: mpsc::Sender<Asked>,
}

/// An answer from the gate, and where the page goes.
struct Asked {
    response: AuthorizationResponse,
    page: oneshot::Sender<Page>,
}

impl LoopbackRedirect {
    /// Listens where `redirect_uri` says: on its port, or on any free one when it names none (or
    /// 0). Addresses are always the literals; `localhost` is both of them where there is IPv6,
    /// because the browser may choose either.
    ///
    /// # Errors
    /// [`LoopbackError`].
    pub async fn bind(redirect_uri: &str) -> Result<Self, LoopbackError> {
        let url = Url::parse(redirect_uri).map_err(|_| BadRedirectUri::NotHttp)?;
        if url.scheme() != "http" {
            return Err(BadRedirectUri::NotHttp.into());
        }
        let (first, second): (IpAddr, Option<IpAddr>) = match url.host() {
            Some(Host::Ipv4(Ipv4Addr::LOCALHOST)) => (Ipv4Addr::LOCALHOST.into(), None),
            Some(Host::Ipv6(Ipv6Addr::LOCALHOST)) => (Ipv6Addr::LOCALHOST.into(), None),
            Some(Host::Domain("localhost")) => {
                (Ipv4Addr::LOCALHOST.into(), Some(Ipv6Addr::LOCALHOST.into()))
            }
            _ => return Err(BadRedirectUri::NotLoopback.into()),
        };
        let rest = &url[Position::AfterPath..];
        if !url.username().is_empty() || url.password().is_some() || !rest.is_empty() {
            return Err(BadRedirectUri::Decorated.into());
        }

        let asked_port = asked_port(redirect_uri, &url);
        let (listener, port) = listen(SocketAddr::new(first, asked_port)).await?;
        let mut listeners = vec![listener];
        if let Some(second) = second {
            match listen(SocketAddr::new(second, port)).await {
                Ok((listener, _)) => listeners.push(listener),
                // Somebody else has it, and would be given what is ours.
                Err(taken) if taken.is_in_use() => return Err(taken),
                // No IPv6 here, then.
                Err(_) => {}
            }
        }
        let host = url.host_str().unwrap_or_default();
        let authority = match port {
            // As browsers write it.
            HTTP => host.to_owned(),
            _ => format!("{host}:{port}"),
        };
        Ok(Self {
            listeners,
            // As registered to the byte when the port was given, for such registrations are exact.
            uri: match asked_port {
                0 => format!("http://{authority}{}", url.path()),
                _ => redirect_uri.to_owned(),
            },
            authority,
            path: url.path().to_owned(),
        })
    }

    /// The redirect URI with its port: what the attempt must begin with.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        &self.uri
    }

    /// Waits for the answer to `attempt`, shows the browser what became of it, and closes. Dropping
    /// the future closes as well. It waits for ever; give it a time-out.
    ///
    /// # Errors
    /// [`AuthorizationError`], but never [`AuthorizationError::WrongState`].
    pub async fn wait(
        self,
        attempt: &AuthorizationAttempt,
    ) -> Result<AuthorizationGrant, AuthorizationError> {
        let (answers, mut asked) = mpsc::channel(CONNECTIONS);
        let gate = Gate {
            authority: self.authority,
            path: self.path,
            answers,
        };
        let mut connections = Connections::default();
        loop {
            let gives_way_at = connections.oldest_gives_way_at();
            tokio::select! {
                biased;
                Some(Asked { response, page }) = asked.recv() => {
                    let outcome = attempt.complete(response);
                    // The connection may be gone; the answer counts all the same.
                    let _ = page.send(match &outcome {
                        Ok(_) => Page::Received,
                        Err(AuthorizationError::WrongState) => Page::Strange,
                        Err(AuthorizationError::Denied(_)) => Page::Denied,
                        Err(_) => Page::Failed,
                    });
                    if !matches!(outcome, Err(AuthorizationError::WrongState)) {
                        // Long enough for the page to be written: each ends by its own time-out.
                        connections.tasks.detach_all();
                        return outcome;
                    }
                }
                Some(_) = connections.tasks.join_next() => connections.forget_the_finished(),
                stream = accept(&self.listeners), if gives_way_at.is_none() => {
                    connections.serve(stream, gate.clone());
                }
                () = until(gives_way_at) => connections.shed_the_oldest(),
            }
        }
    }
}

/// The port that the redirect URI names; 0, for any, where it names none. A URL's own port is none both
/// where nothing is said and where 80 is.
fn asked_port(text: &str, url: &Url) -> u16 {
    let after_scheme = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next();
    let port = authority.and_then(|authority| authority.rsplit_once(':'));
    let is_said = port.is_some_and(|(_, port)| {
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    url.port().unwrap_or(if is_said { HTTP } else { 0 })
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, u16), LoopbackError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    bound
        .await
        .map_err(|source| LoopbackError::Bind { address, source })
}

/// The next connection on either listener. One that failed before it was taken is nobody's loss.
async fn accept(listeners: &[TcpListener]) -> Option<TcpStream> {
    let accepted = match listeners {
        [one] => one.accept().await,
        [one, other, ..] => tokio::select! {
            accepted = one.accept() => accepted,
            accepted = other.accept() => accepted,
        },
        [] => std::future::pending().await,
    };
    match accepted {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            tracing::debug!(%error, "a connection was lost before it was taken");
            // Out of descriptors, say: asking again at once would only turn in circles.
            tokio::time::sleep(MOMENT).await;
            None
        }
    }
}

/// The connections that are served.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// Since when, oldest first.
    ages: VecDeque<(Instant, AbortHandle)>,
}

impl Connections {
    /// When the oldest must give way; `None` while there is room.
    fn oldest_gives_way_at(&self) -> Option<Instant> {
        let full = self.ages.len() >= CONNECTIONS;
        self.ages
            .front()
            .filter(|_| full)
            .map(|(since, _)| *since + MOMENT)
    }

    fn serve(&mut self, stream: Option<TcpStream>, gate: Gate) {
        if let Some(stream) = stream {
            self.ages
                .push_back((Instant::now(), self.tasks.spawn(converse(stream, gate))));
        }
    }

    fn forget_the_finished(&mut self) {
        self.ages
            .retain(|(_, connection)| !connection.is_finished());
    }

    fn shed_the_oldest(&mut self) {
        if let Some((_, oldest)) = self.ages.pop_front() {
            oldest.abort();
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, gate: Gate) {
    let router = Router::new().fallback(answer).with_state(gate);
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_LIFE)
        .max_buf_size(HEAD_CAP)
        .max_headers(64)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_LIFE, conversation).await {
        tracing::debug!(%error, "a conversation on loopback broke");
    }
}

async fn answer(State(gate): State<Gate>, request: Request) -> Response<Body> {
    let page = match gate.admit(&request) {
        Ok(response) => gate.ask(response).await,
        Err(page) => page,
    };
    page.response()
}

impl Gate {
    /// Whether this is the browser with an answer; if not, the page to be rid of it.
    fn admit(&self, request: &Request) -> Result<AuthorizationResponse, Page> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let exact_host = hosts
            .next()
            .is_some_and(|host| host == self.authority.as_str())
            && hosts.next().is_none()
            && request.uri().authority().is_none();
        // A page that found us by rebinding a name learns nothing, not even the path.
        if !exact_host || request.uri().path() != self.path {
            return Err(Page::NotFound);
        }
        if request.method() != Method::GET {
            return Err(Page::MethodNotAllowed);
        }
        let query = request.uri().query().unwrap_or_default();
        AuthorizationResponse::from_query(query).map_err(|_| Page::Strange)
    }

    async fn ask(&self, response: AuthorizationResponse) -> Page {
        let (page, shown) = oneshot::channel();
        match self.answers.send(Asked { response, page }).await {
            Ok(()) => shown.await.unwrap_or(Page::Strange),
            Err(_) => Page::Strange,
        }
    }
}
