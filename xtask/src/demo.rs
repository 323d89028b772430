//! The demo: tokens turn over under eight clients, and none of them notices.
//!
//! A demo authorization server with 20-second tokens and strict rotation, an isolated daemon, one
//! login, and clients that use what they are handed at a protected API. What went wrong is counted
//! by the server, which knows better than any client: see [`Summary`].

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use authd_client::ClientError;
use authd_proto::request::{AccountGet, TokenGet};
use authd_proto::response::{AccountInfo, State};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::command;
use crate::daemon::Daemon;
use crate::error::ChoreError;
use crate::fake_as::{self, FakeAs};
use crate::workspace;

const ACCOUNT: &str = "demo";
const TOKEN_TTL: Duration = Duration::from_secs(20);
const CLIENTS: usize = 8;
/// Between two calls of one client.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two looks at the account, on a terminal and in a log.
const LIVE: Duration = Duration::from_millis(500);
const LOGGED: Duration = Duration::from_secs(5);

/// Builds, runs for `seconds` or until interrupted, and fails unless tokens were renewed and nothing
/// went wrong.
pub(crate) fn run(seconds: u64) -> Result<(), ChoreError> {
    // As `cargo xtask test` builds them, so that whoever runs both builds once.
    command::run(command::cargo().args(["build", "--workspace", "--bins", "--locked"]))?;
    let binaries = workspace::target_dir()?.join("debug");
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|error| ChoreError::Daemon(format!("cannot watch for signals: {error}")))?;
    }

    let server = FakeAs::start(&binaries.join("fake-as"), TOKEN_TTL)?;
    println!(
        "demo: authorization server at {}: tokens live {} s, each refresh token works once",
        server.issuer,
        TOKEN_TTL.as_secs()
    );
    let daemon = Daemon::start(&binaries.join("authd"), &binaries.join("authctl"))?;
    daemon.login(ACCOUNT, &server)?;
    println!("demo: logged in; {CLIENTS} clients call for {seconds} s, half of them by authctl");

    let deadline = Instant::now() + Duration::from_secs(seconds);
    let tally = Tally::default();
    let watched = thread::scope(|scope| {
        for number in 0..CLIENTS {
            let client = Client {
                daemon: &daemon,
                api: &server.api,
                http: fake_as::http_agent(),
                tally: &tally,
            };
            scope.spawn(move || client.work(number % 2 == 0));
        }
        let watched = watch(&daemon, &tally, deadline, &interrupted);
        tally.end();
        watched
    });
    let account = watched.and_then(|()| account(&daemon))?;
    let summary = Summary {
        served: tally.served.load(Ordering::Relaxed),
        renewals: server.count("/exchanges/refresh_token")?,
        rejected: tally.refused.load(Ordering::Relaxed) + server.count("/api_unknown")?,
        expired_seen: server.count("/api_expired")?,
        logins_lost: server
            .count("/families_revoked")?
            .max(u64::from(account.state == State::NeedsLogin)),
    };
    daemon.stop()?;
    drop(server);
    println!("{summary}");
    summary.verdict()
}

/// What the demo ends with.
struct Summary {
    /// Tokens that clients were handed.
    served: u64,
    /// Refreshes that the server granted.
    renewals: u64,
    /// Calls that the daemon refused or the API left unanswered, and tokens that the API did not
    /// know.
    rejected: u64,
    /// Calls that the API answered with 401 because the token had expired.
    expired_seen: u64,
    /// Logins that the server revoked, or that the daemon gave up.
    logins_lost: u64,
}

impl Summary {
    fn verdict(&self) -> Result<(), ChoreError> {
        if self.rejected + self.expired_seen + self.logins_lost > 0 {
            Err(ChoreError::Demo("something went wrong, see above"))
        } else if self.renewals == 0 {
            Err(ChoreError::Demo("nothing was renewed: let it run longer"))
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "demo: served={} renewals={} rejected={} expired_seen={} logins_lost={}",
            self.served, self.renewals, self.rejected, self.expired_seen, self.logins_lost
        )
    }
}

/// What the clients share.
#[derive(Default)]
struct Tally {
    served: AtomicU64,
    refused: AtomicU64,
    ended: Mutex<bool>,
    end: Condvar,
}

impl Tally {
    fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.end.notify_all();
    }

    /// Waits this long, or until the end; `true` when that has come.
    fn pause(&self, duration: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *self
            .end
            .wait_timeout_while(ended, duration, |ended| !*ended)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// A tool that calls a protected API.
struct Client<'a> {
    daemon: &'a Daemon,
    api: &'a str,
    http: ureq::Agent,
    tally: &'a Tally,
}

impl Client<'_> {
    /// Takes a token and uses it, again and again.
    fn work(&self, by_command: bool) {
        while !self.tally.pause(PAUSE) {
            let token = if by_command {
                self.token_by_command()
            } else {
                self.token_by_socket()
            };
            match token {
                Ok(token) => {
                    self.tally.served.fetch_add(1, Ordering::Relaxed);
                    self.call(&token);
                }
                Err(error) => {
                    self.tally.refused.fetch_add(1, Ordering::Relaxed);
                    eprintln!("demo: a client got no token: {error}");
                }
            }
        }
    }

    /// As a shell script would.
    fn token_by_command(&self) -> Result<String, ChoreError> {
        let mut token = self.daemon.authctl();
        token.args(["token", ACCOUNT]).stderr(Stdio::inherit());
        Ok(command::stdout(&mut token)?.trim().to_owned())
    }

    /// As an editor would.
    fn token_by_socket(&self) -> Result<String, ChoreError> {
        let reply = self.daemon.call(&TokenGet {
            account: Some(ACCOUNT),
            ..TokenGet::default()
        })?;
        Ok(reply.access_token.expose().to_owned())
    }

    /// The server counts what it thinks of the token; that a call never arrived is ours to count.
    fn call(&self, token: &str) {
        let request = self
            .http
            .get(self.api)
            .header("Authorization", format!("Bearer {token}"));
        if let Err(error) = request.call() {
            self.tally.refused.fetch_add(1, Ordering::Relaxed);
            eprintln!("demo: the API did not answer: {error}");
        }
    }
}

/// Shows how the account is until the deadline.
fn watch(
    daemon: &Daemon,
    tally: &Tally,
    deadline: Instant,
    interrupted: &AtomicBool,
) -> Result<(), ClientError> {
    let live = io::stdout().is_terminal();
    let started = Instant::now();
    let mut logged = started;
    while Instant::now() < deadline && !interrupted.load(Ordering::Relaxed) {
        if live || logged.elapsed() >= LOGGED {
            logged = Instant::now();
            let line = line(&account(daemon)?, tally, started.elapsed());
            if live {
                print!("\r\x1b[K{line}");
                // A terminal that is gone takes no harm.
                let _ = io::stdout().flush();
            } else {
                println!("{line}");
            }
        }
        tally.pause(LIVE.min(deadline.saturating_duration_since(Instant::now())));
    }
    if live {
        println!();
    }
    Ok(())
}

fn account(daemon: &Daemon) -> Result<AccountInfo, ClientError> {
    daemon.call(&AccountGet {
        account: ACCOUNT.to_owned(),
    })
}

/// At most 80 columns.
fn line(account: &AccountInfo, tally: &Tally, elapsed: Duration) -> String {
    let state = format!("{:?}", account.state).to_lowercase();
    format!(
        "demo: {:>3} s  {state:<10}  expires in {:>2} s  renewals {:>3}  served {:>6}",
        elapsed.as_secs(),
        account.ttl_secs.unwrap_or(0),
        account.renewals,
        tally.served.load(Ordering::Relaxed)
    )
}
