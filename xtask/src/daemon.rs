//! An isolated daemon as a child process: its own socket, state and configuration, in a directory
//! that goes away with it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use authd_client::{Client, ClientError, SocketPath, Who};
use authd_proto::Request;
use authd_proto::request::DaemonStatus;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::command;
use crate::error::ChoreError;
use crate::fake_as::{self, FakeAs};

/// A daemon that takes longer to start, or to answer, has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running daemon. Dropping it ends the process and removes its directory.
pub(crate) struct Daemon {
    child: Child,
    authctl: PathBuf,
    dir: TempDir,
}

impl Daemon {
    /// Starts `authd` and waits until it says that it is ready. `authctl` is the command to use
    /// with it.
    pub(crate) fn start(authd: &Path, authctl: &Path) -> Result<Self, ChoreError> {
        let dir = tempfile::Builder::new()
            .prefix("authd-")
            .tempdir()
            .map_err(ChoreError::io("create", &std::env::temp_dir()))?;
        let mut daemon = Self {
            child: spawn(authd, dir.path())?,
            authctl: authctl.to_owned(),
            dir,
        };
        daemon.expect_ready().map(|()| daemon)
    }

    /// Stops it and starts it anew where it was.
    pub(crate) fn restart(&mut self, authd: &Path) -> Result<(), ChoreError> {
        self.end()?;
        self.child = spawn(authd, self.dir.path())?;
        self.expect_ready()
    }

    fn expect_ready(&mut self) -> Result<(), ChoreError> {
        if self.becomes_ready() {
            return Ok(());
        }
        let log = fs::read_to_string(log(self.dir.path())).unwrap_or_default();
        Err(ChoreError::Daemon(format!("it does not start:\n{log}")))
    }

    /// Waits until it answers; `false` when it ended instead, or takes too long.
    fn becomes_ready(&mut self) -> bool {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            if self.call(&DaemonStatus {}).is_ok() {
                return true;
            }
            // Only Linux has a readiness message; asking again works everywhere.
            thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(self.dir.path())
    }

    /// Its directory, for whatever should go away with it.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Connects to it and makes one call.
    pub(crate) fn call<R: Request>(&self, request: &R) -> Result<R::Reply, ClientError> {
        let socket = SocketPath::explicit(self.socket())?;
        let who = Who {
            name: "xtask",
            version: env!("CARGO_PKG_VERSION"),
        };
        Client::connect(&socket, who, DEADLINE)?.call(request, DEADLINE)
    }

    /// A connection on which these bytes were sent, and nothing is read.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<UnixStream, ChoreError> {
        let socket = self.socket();
        UnixStream::connect(&socket)
            .and_then(|mut stream| stream.write_all(bytes).map(|()| stream))
            .map_err(ChoreError::io("send to", &socket))
    }

    /// An `authctl` that talks to this daemon alone.
    pub(crate) fn authctl(&self) -> Command {
        isolated(&self.authctl, self.dir.path())
    }

    /// Logs `account` in at the demo server, playing the person's browser.
    pub(crate) fn login(&self, account: &str, server: &FakeAs) -> Result<(), ChoreError> {
        log_in(&mut self.authctl(), account, server)
    }

    /// Asks it to stop and waits until it did: what a service manager does.
    pub(crate) fn stop(mut self) -> Result<(), ChoreError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), ChoreError> {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)
                .map_err(|errno| ChoreError::Daemon(format!("cannot stop it: {errno}")))?;
        }
        let status = self
            .child
            .wait()
            .map_err(|error| ChoreError::Daemon(format!("cannot wait for it: {error}")))?;
        if status.success() {
            Ok(())
        } else {
            Err(ChoreError::Failed {
                command: "authd".to_owned(),
                status,
            })
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        fake_as::end(&mut self.child);
    }
}

/// Logs `account` in at the demo server by this `authctl`, and plays the person's browser.
pub(crate) fn log_in(
    authctl: &mut Command,
    account: &str,
    server: &FakeAs,
) -> Result<(), ChoreError> {
    let login = authctl
        .args(["login", account, "--no-browser", "--json"])
        .args(["--issuer", &server.issuer])
        .args(["--client-id", FakeAs::CLIENT_ID]);
    let mut child = login
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| ChoreError::Spawn {
            program: command::line(login),
            source,
        })?;
    let events = child.stdout.take().map(BufReader::new);
    for line in events.into_iter().flat_map(BufReader::lines) {
        let line = line.map_err(ChoreError::io(
            "read events of",
            Path::new(login.get_program()),
        ))?;
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if event["event"] == "authorize"
            && let Some(url) = event["url"].as_str()
        {
            // Consent is given at once, so the redirects lead to the callback's page.
            fake_as::http_agent()
                .get(url)
                .call()
                .map_err(ChoreError::http(url))?;
        }
    }
    let status = child
        .wait()
        .map_err(ChoreError::io("wait for", Path::new(login.get_program())))?;
    if status.success() {
        Ok(())
    } else {
        Err(ChoreError::Failed {
            command: command::line(login),
            status,
        })
    }
}

fn log(dir: &Path) -> PathBuf {
    dir.join("authd.log")
}

fn spawn(authd: &Path, dir: &Path) -> Result<Child, ChoreError> {
    let log = log(dir);
    let log_file = fs::File::create(&log).map_err(ChoreError::io("create", &log))?;
    let mut command = isolated(authd, dir);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log_file)
        .spawn()
        .map_err(|source| ChoreError::Spawn {
            program: authd.display().to_string(),
            source,
        })
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("run").join("authd.sock")
}

/// A command that sees this instance and nothing else of the person's: no session bus above all,
/// so that no test key ever reaches their key store.
fn isolated(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("AUTHD_SOCKET", socket(dir))
        .env("AUTHD_STATE_DIR", dir.join("state"))
        .env("AUTHD_CONFIG_DIR", dir.join("config"))
        .env("DBUS_SESSION_BUS_ADDRESS", "disabled:")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        // Ctrl-C is for us: we end what we started, in order.
        .process_group(0);
    command
}
