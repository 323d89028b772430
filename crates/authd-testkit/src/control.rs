//! The control API: everything the in-process handle does, as JSON over a second loopback port.
//!
//! Bodies are JSON with `Content-Type: application/json`; durations are seconds, fractions allowed;
//! commands answer 204, refusals `{"error": …}`. Whoever reaches the port commands the server: it is
//! for tests alone.
//!
//! | Request | Does |
//! |---|---|
//! | `GET /control/ledger` | the whole [`Ledger`] |
//! | `GET /control/counts` | its [`Counts`] |
//! | `GET /control/settings` | the [`Settings`] |
//! | `PATCH /control/settings` | lays the given members over them: `{"access_token_ttl": 20, "leeway": 0.5}` |
//! | `POST /control/clients` | registers a [`Client`]: `{"id": "c", "authentication": {"basic": "secret"}, "redirect_uris": ["http://127.0.0.1/callback"], "native": true}` (public: `"authentication": "none"`) |
//! | `POST /control/faults` | a [`Rule`]: `{"endpoint": "token", "fault": {"kind": "status", "status": 503}, "phase": "after_commit", "grant_type": "refresh_token", "times": 2}`; `"always": true` makes it a standing one; `{"kind": "hold"}` is the gate |
//! | `DELETE /control/faults/ENDPOINT` | takes all rules off it |
//! | `GET /control/held` | held requests by endpoint: `{"token": 1}` |
//! | `POST /control/release` | `{"endpoint": "token", "n": 1, "drop": false}`; without `n` all; answers `{"released": 1}` |
//! | `POST /control/wait` | waits until all sums have grown to these: `{"counts": {"/exchanges/refresh_token": 3, "/api_ok": 10}, "held": {"token": 1}, "within": 10}` (JSON pointers into the counts); 408 when `within` (10) passes |
//! | `POST /control/device` | `{"user_code": "ABCD-EFGH", "approve": true}` |
//! | `POST /control/clock` | `{"advance": 60}`, with `--manual-clock` |
//! | `POST /control/revoke` | `{"what": "access_tokens"}` or `{"what": "families"}` |
//! | `POST /control/stop`, `/control/kill`, `/control/restart` | the authorization server, not its control |
//! | `POST /control/exit` | ends `fake-as` |

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::{
    client::Client,
    clock::Clock,
    fault::{Endpoint, Fault, Phase, Rule},
    ledger::{Counts, Ledger},
    server::{FakeServer, listener::Listener},
    settings::{Settings, seconds},
};

const ENDPOINTS: [Endpoint; 10] = [
    Endpoint::Discovery,
    Endpoint::Authorization,
    Endpoint::Token,
    Endpoint::DeviceAuthorization,
    Endpoint::DeviceVerification,
    Endpoint::Revocation,
    Endpoint::Introspection,
    Endpoint::Userinfo,
    Endpoint::Jwks,
    Endpoint::Api,
];

/// A running control API. Dropping it closes its port; the server it drives goes on.
pub struct Control {
    address: SocketAddr,
    exit: watch::Receiver<bool>,
    listener: Listener,
}

#[derive(Clone)]
struct Steering {
    server: FakeServer,
    exit: Arc<watch::Sender<bool>>,
}

impl Control {
    /// Serves the control API of `server` on this port of 127.0.0.1; 0 takes a free one.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start(server: FakeServer, port: u16) -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = socket.local_addr()?;
        let (sender, exit) = watch::channel(false);
        let router = router(Steering {
            server,
            exit: Arc::new(sender),
        });
        Ok(Self {
            address,
            exit,
            listener: Listener::serve(socket, router)?,
        })
    }

    /// Where it listens: `http://127.0.0.1:PORT/control`.
    pub fn url(&self) -> String {
        format!("http://{}/control", self.address)
    }

    /// Closes the port after the open requests have been answered.
    pub async fn stop(self) {
        self.listener.stop_gracefully().await;
    }

    /// Waits until a client asked for the end.
    pub async fn exit_requested(&self) {
        // The sender lives as long as the listener.
        let _ = self.exit.clone().wait_for(|asked| *asked).await;
    }
}

fn router(steering: Steering) -> Router {
    Router::new()
        .route("/control/ledger", get(ledger))
        .route("/control/counts", get(counts))
        .route("/control/settings", get(settings).patch(change_settings))
        .route("/control/clients", post(register))
        .route("/control/faults", post(add_fault))
        .route("/control/faults/{endpoint}", delete(clear_faults))
        .route("/control/held", get(held))
        .route("/control/release", post(release))
        .route("/control/wait", post(wait))
        .route("/control/device", post(decide_device))
        .route("/control/clock", post(advance_clock))
        .route("/control/revoke", post(revoke))
        .route("/control/stop", post(stop))
        .route("/control/kill", post(kill))
        .route("/control/restart", post(restart))
        .route("/control/exit", post(exit))
        .with_state(steering)
}

fn refused(status: StatusCode, error: impl ToString) -> Response {
    (status, Json(json!({"error": error.to_string()}))).into_response()
}

fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

async fn ledger(State(steering): State<Steering>) -> Json<Ledger> {
    Json(steering.server.ledger())
}

async fn counts(State(steering): State<Steering>) -> Json<Counts> {
    Json(steering.server.counts())
}

async fn settings(State(steering): State<Steering>) -> Json<Settings> {
    Json(steering.server.settings())
}

async fn change_settings(
    State(steering): State<Steering>,
    Json(patch): Json<Map<String, Value>>,
) -> Response {
    match steering.server.settings().patched(patch) {
        Ok(patched) => {
            steering.server.update(|settings| *settings = patched);
            done()
        }
        Err(error) => refused(StatusCode::BAD_REQUEST, error),
    }
}

async fn register(State(steering): State<Steering>, Json(client): Json<Client>) -> Response {
    steering.server.register(client);
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFault {
    endpoint: Endpoint,
    fault: Fault,
    #[serde(default)]
    phase: Phase,
    grant_type: Option<String>,
    #[serde(default)]
    always: bool,
    times: Option<u32>,
}

async fn add_fault(State(steering): State<Steering>, Json(new): Json<NewFault>) -> Response {
    let rule = Rule {
        fault: new.fault,
        phase: new.phase,
        grant_type: new.grant_type,
    };
    match (new.always, new.times) {
        (true, Some(_)) => return refused(StatusCode::BAD_REQUEST, "either always or times"),
        (true, None) => steering.server.fault_always(new.endpoint, rule),
        (false, times) => {
            for _ in 0..times.unwrap_or(1) {
                steering.server.fault_next(new.endpoint, rule.clone());
            }
        }
    }
    done()
}

async fn clear_faults(
    State(steering): State<Steering>,
    Path(endpoint): Path<Endpoint>,
) -> Response {
    steering.server.clear_faults(endpoint);
    done()
}

async fn held(State(steering): State<Steering>) -> Json<BTreeMap<Endpoint, usize>> {
    Json(
        ENDPOINTS
            .into_iter()
            .map(|endpoint| (endpoint, steering.server.held(endpoint)))
            .filter(|(_, n)| *n > 0)
            .collect(),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Released {
    endpoint: Endpoint,
    n: Option<usize>,
    #[serde(default)]
    drop: bool,
}

async fn release(State(steering): State<Steering>, Json(which): Json<Released>) -> Json<Value> {
    let n = which.n.unwrap_or(usize::MAX);
    let released = if which.drop {
        steering.server.drop_held(which.endpoint, n)
    } else {
        steering.server.release(which.endpoint, n)
    };
    Json(json!({"released": released}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Awaited {
    #[serde(default)]
    counts: BTreeMap<String, u64>,
    #[serde(default)]
    held: BTreeMap<Endpoint, usize>,
    #[serde(default = "ten_seconds", with = "seconds")]
    within: Duration,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

async fn wait(State(steering): State<Steering>, Json(awaited): Json<Awaited>) -> Response {
    let happened = steering.server.wait_until(|counts, faults| {
        let held = awaited
            .held
            .iter()
            .all(|(endpoint, n)| faults.held(*endpoint) >= *n);
        held && (awaited.counts.is_empty() || reached(counts, &awaited.counts))
    });
    match tokio::time::timeout(awaited.within, happened).await {
        Ok(()) => done(),
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "it did not happen in time"),
    }
}

/// Whether each sum, named by a JSON pointer, has grown to its number. A sum that is not there is 0.
fn reached(counts: &Counts, goals: &BTreeMap<String, u64>) -> bool {
    let sums = serde_json::to_value(counts).unwrap_or_default();
    goals.iter().all(|(pointer, goal)| {
        let sum = sums.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        sum >= *goal
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceDecision {
    user_code: String,
    approve: bool,
}

async fn decide_device(
    State(steering): State<Steering>,
    Json(decision): Json<DeviceDecision>,
) -> Response {
    let decided = if decision.approve {
        steering.server.approve_device(&decision.user_code)
    } else {
        steering.server.deny_device(&decision.user_code)
    };
    match decided {
        Ok(()) => done(),
        Err(error) => refused(StatusCode::NOT_FOUND, error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    #[serde(with = "seconds")]
    advance: Duration,
}

async fn advance_clock(State(steering): State<Steering>, Json(by): Json<Advance>) -> Response {
    match steering.server.clock() {
        Clock::Manual(clock) => {
            clock.advance(by.advance);
            done()
        }
        Clock::Real => refused(StatusCode::CONFLICT, "the server runs on the real clock"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoked {
    what: Revocable,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Revocable {
    AccessTokens,
    Families,
}

async fn revoke(State(steering): State<Steering>, Json(revoked): Json<Revoked>) -> Response {
    match revoked.what {
        Revocable::AccessTokens => steering.server.revoke_access_tokens(),
        Revocable::Families => steering.server.revoke_families(),
    }
    done()
}

async fn stop(State(steering): State<Steering>) -> Response {
    steering.server.stop().await;
    done()
}

async fn kill(State(steering): State<Steering>) -> Response {
    steering.server.kill();
    done()
}

async fn restart(State(steering): State<Steering>) -> Response {
    match steering.server.restart() {
        Ok(()) => done(),
        Err(error) => refused(StatusCode::CONFLICT, error),
    }
}

async fn exit(State(steering): State<Steering>) -> Response {
    steering.exit.send_replace(true);
    done()
}
