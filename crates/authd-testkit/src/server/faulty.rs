//! The layer around every endpoint that counts requests and lets faults strike.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use hyper::body::Frame;
use serde_json::json;
use url::form_urlencoded;

use super::world::Shared;
use crate::{
    fault::{Endpoint, Fault, Phase, Release, RetryAfter},
    ledger::{Fingerprint, RefreshTokenOutcome},
};

/// The largest request body taken.
const BODY_LIMIT: usize = 64 * 1024;

/// What the layer of one endpoint needs.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) shared: Arc<Shared>,
    pub(super) endpoint: Endpoint,
}

/// Marks a response that must never be sent: the connection ends instead.
#[derive(Clone)]
pub(super) struct Severed;

/// Counts, processes and spoils. It works in a task of its own: a request once received is processed
/// even if its client has gone, as at a real server.
pub(super) async fn faulty(
    State(watched): State<Watched>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::spawn(handle(watched, request, next)).await {
        Ok(response) => response,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => severed(),
    }
}

async fn handle(watched: Watched, request: Request, next: Next) -> Response {
    let Watched { shared, endpoint } = watched;
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let (rule, number) = shared.change(|world| {
        world.requests += 1;
        let counts = &mut world.ledger.counts;
        *counts.requests.entry(endpoint).or_default() += 1;
        let grant_type = form_value(&body, "grant_type").filter(|_| endpoint == Endpoint::Token);
        let rule = world
            .faults
            .strike(endpoint, grant_type.as_deref())
            .filter(|rule| rule.fault != Fault::Pass);
        if rule.is_some() {
            *counts.faulted.entry(endpoint).or_default() += 1;
        }
        (rule, world.requests)
    });
    let request = Request::from_parts(parts, Body::from(body.clone()));
    let mut response = match rule {
        None => next.run(request).await,
        Some(rule) if rule.phase == Phase::AfterCommit => {
            let response = next.run(request).await;
            spoil(&shared, endpoint, rule.fault, response).await
        }
        Some(rule) => match instead(&shared, endpoint, rule.fault).await {
            None => next.run(request).await,
            Some(response) => {
                not_processed(&shared, endpoint, &body);
                response
            }
        },
    };
    stamp(&shared, &mut response, number);
    response
}

/// What a fault gives in place of the true answer; `None`: it only took its time.
async fn instead(shared: &Shared, endpoint: Endpoint, fault: Fault) -> Option<Response> {
    match fault {
        Fault::Delay { by } => {
            tokio::time::sleep(by).await;
            None
        }
        Fault::Hold => match held(shared, endpoint).await {
            Release::Answer => None,
            Release::Drop => Some(severed()),
        },
        fault => {
            let made_up = json!({
                "access_token": "never-issued", "token_type": "Bearer", "expires_in": 3600,
            });
            let made_up = axum::Json(made_up).into_response();
            Some(spoil(shared, endpoint, fault, made_up).await)
        }
    }
}

/// Writes down a refresh token that arrived and was not looked at.
fn not_processed(shared: &Shared, endpoint: Endpoint, body: &[u8]) {
    if endpoint != Endpoint::Token {
        return;
    }
    if let Some(presented) = form_value(body, "refresh_token") {
        shared.change(|world| {
            let now = world.clock.now();
            world.ledger.record_use(
                &Fingerprint::of(&presented),
                now,
                RefreshTokenOutcome::NotProcessed,
            );
        });
    }
}

/// The server's clock and a request id on every answer.
fn stamp(shared: &Shared, response: &mut Response, number: u64) {
    let now = std::time::UNIX_EPOCH + shared.read(|world| world.clock.now());
    let headers = response.headers_mut();
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(now)) {
        headers.insert(DATE, date);
    }
    if let Ok(id) = HeaderValue::from_str(&format!("req-{number}")) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
}

/// Turns a true answer into the fault's.
async fn spoil(shared: &Shared, endpoint: Endpoint, fault: Fault, response: Response) -> Response {
    let json = |body: serde_json::Value| axum::Json(body).into_response();
    match fault {
        Fault::Pass => response,
        Fault::Delay { by } => {
            tokio::time::sleep(by).await;
            response
        }
        Fault::Hold => match held(shared, endpoint).await {
            Release::Answer => response,
            Release::Drop => severed(),
        },
        Fault::Drop => severed(),
        Fault::HalfBody => halved(response).await,
        Fault::Status { status } => (code(status), "injected fault\n").into_response(),
        Fault::RetryAfter { status, after } => {
            let value = match after {
                RetryAfter::Seconds(seconds) => seconds.to_string(),
                RetryAfter::DateIn(seconds) => {
                    let now = shared.read(|world| world.clock.now());
                    httpdate::fmt_http_date(
                        std::time::UNIX_EPOCH + now + std::time::Duration::from_secs(seconds),
                    )
                }
            };
            (code(status), [(RETRY_AFTER, value)], "slow down\n").into_response()
        }
        Fault::OauthError {
            status,
            error,
            description,
        } => {
            let mut body = json!({"error": error});
            if let Some(description) = description {
                body["error_description"] = description.into();
            }
            let mut response = (code(status), axum::Json(body)).into_response();
            if status == 401
                && let Ok(value) = HeaderValue::from_str(&format!("Bearer error=\"{error}\""))
            {
                response.headers_mut().insert(WWW_AUTHENTICATE, value);
            }
            response
        }
        Fault::EmptyBadRequest => StatusCode::BAD_REQUEST.into_response(),
        Fault::HtmlForbidden => (StatusCode::FORBIDDEN, page("Forbidden")).into_response(),
        Fault::HtmlOk => page("Sign in to this network").into_response(),
        Fault::MalformedJson => (
            [(CONTENT_TYPE, "application/json")],
            r#"{"access_token":"never-issued","token_type":"Bearer","expires_in":36"#,
        )
            .into_response(),
        Fault::Redirect { status, location } => {
            (code(status), [(LOCATION, location)]).into_response()
        }
        Fault::ErrorInAccessToken => json(json!({
            "access_token": "error: the session has ended", "token_type": "Bearer",
            "expires_in": 3600,
        })),
        Fault::EmptyAccessToken => json(json!({
            "access_token": "", "token_type": "Bearer", "expires_in": 3600,
        })),
        Fault::NotOk { error } => json(json!({"ok": false, "error": error})),
        Fault::ErrorMember { error } => {
            json(json!({"error": error, "error_description": "injected fault"}))
        }
        Fault::FormEncodedError { error } => {
            let body = form_urlencoded::Serializer::new(String::new())
                .append_pair("error", &error)
                .finish();
            ([(CONTENT_TYPE, "application/x-www-form-urlencoded")], body).into_response()
        }
    }
}

/// Waits until the test lets this request go. A server stopped hard drops it.
async fn held(shared: &Shared, endpoint: Endpoint) -> Release {
    let released = shared.change(|world| world.faults.hold(endpoint));
    released.await.unwrap_or(Release::Drop)
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn page(title: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html><head><title>{title}</title></head><body>{title}</body></html>\n"
    ))
}

fn form_value(body: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(body)
        .find(|(given, _)| given == name)
        .map(|(_, value)| value.into_owned())
}

pub(super) fn severed() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.extensions_mut().insert(Severed);
    response
}

/// The same headers with the full length, and half of the body.
async fn halved(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let half = whole.slice(..whole.len() / 2);
    Response::from_parts(parts, Body::new(Half::Unsent(half)))
}

/// A body that breaks off after its first half.
enum Half {
    Unsent(Bytes),
    /// One turn to let the half be written out: a body that fails at once takes it along.
    Flushing,
    Broken,
}

/// Why a halved body ends.
#[derive(Debug, thiserror::Error)]
#[error("half of the body is enough")]
struct BrokenOff;

impl HttpBody for Half {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        match std::mem::replace(this, Self::Broken) {
            Self::Unsent(half) => {
                *this = Self::Flushing;
                Poll::Ready(Some(Ok(Frame::data(half))))
            }
            Self::Flushing => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Self::Broken => Poll::Ready(Some(Err(BrokenOff))),
        }
    }
}
