//! A browser without a person, and a page without manners.
//!
//! [`Browser`] speaks plain HTTP to loopback servers, keeps cookies and follows redirects, so that a
//! login through the authorization endpoint reaches the client's callback by itself. [`send_raw`]
//! sends any bytes at all to a socket, for a hostile page.

use std::{fmt, io, net::SocketAddr, time::Duration};

use axum::http::{
    HeaderMap, Method, Request, Uri,
    header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE},
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use url::{Url, form_urlencoded};

/// Redirects followed before giving up.
const MOST_REDIRECTS: usize = 20;
/// The largest body read.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// A person's browser, with nobody before it. Cookies are kept by host and port, whatever their
/// path; they outlive a request, not the browser.
#[derive(Default)]
pub struct Browser {
    cookies: Vec<Cookie>,
}

struct Cookie {
    authority: String,
    name: String,
    value: String,
}

/// A page that was fetched. Its `Debug` shows neither query, headers nor body: they may hold codes
/// and tokens.
pub struct Page {
    /// The address it came from, after redirects.
    pub url: Url,
    /// The HTTP status.
    pub status: u16,
    /// The response's headers.
    pub headers: HeaderMap,
    /// The body, invalid UTF-8 replaced.
    pub body: String,
}

impl Page {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::from_str(&self.body)
    }

    /// A header's value, when there is one and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("origin", &self.url.origin().ascii_serialization())
            .field("path", &self.url.path())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Why a page could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// Only `http` addresses can be fetched.
    #[error("not a usable http address")]
    Address,
    /// The server cannot be reached.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke, or what came is not HTTP.
    #[error("the exchange failed")]
    Http(#[from] hyper::Error),
    /// The response's body broke off.
    #[error("the body broke off")]
    Body,
    /// The response's body is too large.
    #[error("the body is too large")]
    TooLarge,
    /// A redirect led on and on.
    #[error("too many redirects")]
    TooManyRedirects,
    /// No runtime could be made for a blocking call.
    #[error("cannot make a runtime")]
    Runtime(#[source] io::Error),
}

impl Browser {
    /// A browser without cookies.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens `url` and follows redirects to the last page: given an authorization URL, the page of
    /// the client's loopback callback.
    ///
    /// # Errors
    /// When a server on the way cannot be reached, breaks off, or redirects without end.
    pub async fn follow(&mut self, url: &str) -> Result<Page, BrowserError> {
        let page = self.request(Method::GET, url, &[], "").await?;
        self.follow_from(page).await
    }

    /// The same from a blocking caller, outside any runtime.
    ///
    /// # Errors
    /// As [`follow`](Self::follow), or when no runtime can be made.
    pub fn follow_blocking(&mut self, url: &str) -> Result<Page, BrowserError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BrowserError::Runtime)?
            .block_on(self.follow(url))
    }

    /// Submits a form and follows redirects.
    ///
    /// # Errors
    /// As [`follow`](Self::follow).
    pub async fn submit(&mut self, url: &str, form: &[(&str, &str)]) -> Result<Page, BrowserError> {
        let page = self.post_form(url, form, &[]).await?;
        self.follow_from(page).await
    }

    /// Approves a user code at a fake server's verification page (RFC 8628 §3.3).
    ///
    /// # Errors
    /// As [`follow`](Self::follow); an unknown code is a page with status 404.
    pub async fn approve_device(
        &mut self,
        verification_uri: &str,
        user_code: &str,
    ) -> Result<Page, BrowserError> {
        let form = [("user_code", user_code), ("decision", "approve")];
        self.submit(verification_uri, &form).await
    }

    /// Posts a form without following redirects.
    ///
    /// # Errors
    /// As [`follow`](Self::follow).
    pub async fn post_form(
        &mut self,
        url: &str,
        form: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Result<Page, BrowserError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let mut all = vec![(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.request(Method::POST, url, &all, &body).await
    }

    /// One request, redirects not followed.
    ///
    /// # Errors
    /// As [`follow`](Self::follow).
    pub async fn request(
        &mut self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Page, BrowserError> {
        let url = Url::parse(url).map_err(|_| BrowserError::Address)?;
        let (Some(host), Some(port), "http") =
            (url.host_str(), url.port_or_known_default(), url.scheme())
        else {
            return Err(BrowserError::Address);
        };
        let authority = format!("{host}:{port}");
        let target = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        let mut request = Request::builder()
            .method(method)
            .uri(Uri::try_from(target).map_err(|_| BrowserError::Address)?)
            .header(HOST, &authority);
        let cookies = self.cookies_for(&authority);
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .map_err(|_| BrowserError::Address)?;
        let stream = TcpStream::connect(&authority)
            .await
            .map_err(BrowserError::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its errors come out of the request as well.
        tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, BODY_LIMIT)
            .collect()
            .await
            .map_err(|error| match error.is::<LengthLimitError>() {
                true => BrowserError::TooLarge,
                false => BrowserError::Body,
            })?
            .to_bytes();
        for cookie in parts.headers.get_all(SET_COOKIE) {
            if let Ok(cookie) = cookie.to_str() {
                self.keep_cookie(&authority, cookie);
            }
        }
        Ok(Page {
            url,
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// Every redirect is followed with GET, as browsers do after a form.
    async fn follow_from(&mut self, mut page: Page) -> Result<Page, BrowserError> {
        for _ in 0..MOST_REDIRECTS {
            let location = match page.header(LOCATION.as_str()) {
                Some(location) if (300..400).contains(&page.status) => {
                    page.url.join(location).map_err(|_| BrowserError::Address)?
                }
                _ => return Ok(page),
            };
            page = self
                .request(Method::GET, location.as_str(), &[], "")
                .await?;
        }
        Err(BrowserError::TooManyRedirects)
    }

    fn cookies_for(&self, authority: &str) -> String {
        let pairs: Vec<_> = self
            .cookies
            .iter()
            .filter(|cookie| cookie.authority == authority)
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        pairs.join("; ")
    }

    /// An empty value deletes, as servers delete cookies.
    fn keep_cookie(&mut self, authority: &str, set_cookie: &str) {
        let pair = set_cookie.split(';').next().unwrap_or_default();
        let Some((name, value)) = pair.split_once('=') else {
            return;
        };
        let (name, value) = (name.trim(), value.trim());
        self.cookies
            .retain(|cookie| cookie.authority != authority || cookie.name != name);
        if !value.is_empty() {
            self.cookies.push(Cookie {
                authority: authority.to_owned(),
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
    }
}

/// What a raw connection gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// Everything received.
    pub bytes: Vec<u8>,
    /// Whether the other side closed (or reset) the connection; if not, patience ran out.
    pub closed: bool,
}

/// Connects, sends `bytes` as they are, and reads until the other side closes or `patience` is over.
///
/// # Errors
/// When the connection cannot be made. A peer that closes while `bytes` are being sent is an answer,
/// not an error.
pub async fn send_raw(
    address: SocketAddr,
    bytes: &[u8],
    patience: Duration,
) -> io::Result<RawAnswer> {
    let mut stream = TcpStream::connect(address).await?;
    let mut received = Vec::new();
    let exchange = async {
        // A refused write still leaves an answer to read.
        let _ = stream.write_all(bytes).await;
        while let Ok(1..) = stream.read_buf(&mut received).await {}
    };
    let closed = tokio::time::timeout(patience, exchange).await.is_ok();
    Ok(RawAnswer {
        bytes: received,
        closed,
    })
}
