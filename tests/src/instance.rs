//! An isolated instance: its directories and the environment of its programs.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use authd_client::{Client, SocketPath, Who};
use authd_proto::{
    approval::{ApprovalList, Question},
    call::Request,
    error::WireError,
    event::EventKind,
    request::{AccountGet, DaemonStatus, Renew, TokenGet},
    response::{AccountInfo, DaemonStatusReply, FlagName, RenewReply, TokenReply},
};
use authd_testkit::FakeServer;
use rustix::process::{Pid, Signal, getpid, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    PATIENCE, binaries,
    daemon::{Daemon, Start},
    login::PendingLogin,
    process::{Finished, Process},
    watcher::Watcher,
};

/// What tests say they are.
const WHO: Who = Who {
    name: "authd-e2e",
    version: env!("CARGO_PKG_VERSION"),
};

/// Where one daemon and its commands live. Its directory goes away with it.
pub struct Instance {
    dir: TempDir,
    environment: BTreeMap<OsString, OsString>,
    /// Whose it is, when it is not whose the tests are.
    user: Option<u32>,
}

impl Default for Instance {
    fn default() -> Self {
        Self::new()
    }
}

impl Instance {
    /// A fresh one, nothing running.
    ///
    /// # Panics
    /// When no directory can be made.
    #[must_use]
    pub fn new() -> Self {
        // Short: a socket's path has 107 bytes at most.
        let dir = tempfile::Builder::new()
            .prefix("authd-e2e-")
            .tempdir()
            .expect("a temporary directory");
        let mut instance = Self {
            dir,
            environment: BTreeMap::new(),
            user: None,
        };
        for part in ["state", "config", "logs", "home"] {
            private_directory(&instance.dir.path().join(part));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        instance.set_env("PATH", path);
        instance.set_env("HOME", instance.dir.path().join("home"));
        instance.set_env("AUTHD_STATE_DIR", instance.state_dir());
        instance.set_env("AUTHD_CONFIG_DIR", instance.config_dir());
        instance.set_env("AUTHD_LOG", "trace");
        // Not absent: then the bus of whoever runs the tests would be looked for, and found.
        instance.set_env("DBUS_SESSION_BUS_ADDRESS", "disabled:");
        instance
    }

    /// The same of another user, who has all its directories, and as whom all its programs run; the
    /// binaries are in its directory, for where they were built he may have no way in.
    ///
    /// # Panics
    /// When this process may not do that: it takes root.
    #[must_use]
    pub fn of_user(uid: u32) -> Self {
        let mut instance = Self::new();
        for program in [binaries::authd(), binaries::authctl()] {
            let name = program.file_name().expect("a program's name");
            let there = instance.dir().join(name);
            let linked = fs::hard_link(&program, &there);
            let brought = linked.or_else(|_| fs::copy(&program, &there).map(drop));
            brought.expect("the program");
        }
        for part in ["", "state", "config", "logs", "home"] {
            let path = instance.dir().join(part);
            std::os::unix::fs::chown(path, Some(uid), Some(uid)).expect("root");
        }
        instance.user = Some(uid);
        instance
    }

    /// Sets a variable for every program started from now on.
    pub fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.insert(name.into(), value.into());
    }

    /// The directory that holds all others.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `AUTHD_STATE_DIR`.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// `AUTHD_CONFIG_DIR`.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.state_dir().join("run").join("authd.sock")
    }

    /// Writes `config.toml`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, text: &str) {
        fs::write(self.config_dir().join("config.toml"), text).expect("a writable directory");
    }

    /// Everything that any daemon of this instance has logged.
    ///
    /// # Panics
    /// When a log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        let mut logs: Vec<_> = fs::read_dir(self.dir.path().join("logs"))
            .expect("the logs' directory")
            .map(|entry| entry.expect("an entry of the logs' directory").path())
            .collect();
        logs.sort();
        // Of daemons that `authctl` started.
        logs.push(self.state_dir().join("authd.log"));
        let text = |path: &PathBuf| fs::read(path).unwrap_or_default();
        let bytes: Vec<u8> = logs.iter().flat_map(text).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A command that sees this instance's environment and nothing else.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let given = program.as_ref();
        let Some(uid) = self.user else {
            let mut command = Command::new(given);
            command.env_clear().envs(&self.environment);
            return command;
        };
        let own = given.file_name().map(|name| self.dir().join(name));
        let program = own.filter(|own| own.is_file());
        let mut command = Command::new(program.as_deref().unwrap_or(given));
        command.env_clear().envs(&self.environment);
        command.uid(uid).gid(uid);
        command
    }

    /// Starts a daemon and waits until it serves.
    ///
    /// # Panics
    /// When it does not come to that.
    #[must_use]
    pub fn start_daemon(&self) -> Daemon {
        Start::new(self).ready()
    }

    /// The same with settings: variables, another user, a failpoint.
    #[must_use]
    pub fn daemon(&self) -> Start<'_> {
        Start::new(self)
    }

    /// Runs `authctl` to its end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    #[must_use]
    pub fn authctl(&self, arguments: &[&str]) -> Finished {
        self.start_authctl(arguments).finish(PATIENCE)
    }

    /// Starts `authctl` with its outputs captured.
    #[must_use]
    pub fn start_authctl(&self, arguments: &[&str]) -> Process {
        Process::capture(self.command(binaries::authctl()).args(arguments))
    }

    /// Connects to the daemon.
    ///
    /// # Panics
    /// When there is no connection.
    #[must_use]
    pub fn client(&self) -> Client {
        let socket = SocketPath::explicit(self.socket()).expect("a short path");
        Client::connect(&socket, WHO, PATIENCE).expect("a daemon that serves")
    }

    /// One call on a connection of its own.
    ///
    /// # Errors
    /// What the daemon answers.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn call<R: Request>(&self, request: &R) -> Result<R::Reply, WireError> {
        call(&mut self.client(), request)
    }

    /// Asks for a token, and waits up to `wait` for a renewal.
    ///
    /// # Errors
    /// What the daemon answers.
    pub fn token(&self, account: &str, wait: Duration) -> Result<TokenReply, WireError> {
        self.call(&TokenGet {
            account: Some(account),
            wait_secs: Some(wait.as_secs()),
            ..TokenGet::default()
        })
    }

    /// Has the account renewed now, whatever is left of its token.
    ///
    /// # Errors
    /// What the daemon answers.
    pub fn renew(&self, account: &str) -> Result<RenewReply, WireError> {
        self.call(&renewal(account))
    }

    /// How an account is.
    ///
    /// # Panics
    /// When the daemon knows no such account.
    #[must_use]
    pub fn account(&self, account: &str) -> AccountInfo {
        let account = account.to_owned();
        self.call(&AccountGet { account })
            .expect("an account that exists")
    }

    /// How the daemon is.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn status(&self) -> DaemonStatusReply {
        self.call(&DaemonStatus {}).expect("a status")
    }

    /// Subscribes to all events.
    #[must_use]
    pub fn watch(&self) -> Watcher {
        Watcher::new(self.client())
    }

    /// Subscribes to questions alone: with that somebody is there to answer them.
    #[must_use]
    pub fn watch_questions(&self) -> Watcher {
        Watcher::of(self.client(), vec![EventKind::Approval])
    }

    /// The questions that wait for the person.
    ///
    /// # Panics
    /// When the daemon does not say.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        let reply = self.call(&ApprovalList {});
        reply.expect("a list of questions").approvals
    }

    /// Logs in at the server's client `native`, with nobody before the browser; the `done` line.
    ///
    /// # Panics
    /// When the login fails.
    pub fn login(&self, server: &FakeServer, account: &str) -> Value {
        let mut pending = self.begin_login(account, server.issuer(), &[]);
        let page = pending.browse();
        assert_eq!(page.status, 200, "the callback's page");
        let (last, finished) = pending.finish();
        assert_eq!(last["event"], "done", "{finished:?}");
        assert_eq!(finished.code(), 0, "{finished:?}");
        last
    }

    /// Starts `authctl login --no-browser --json` at `issuer`.
    #[must_use]
    pub fn begin_login(&self, account: &str, issuer: &str, more: &[&str]) -> PendingLogin {
        let mut command = self.command(binaries::authctl());
        command
            .args(["login", account, "--no-browser", "--json"])
            .args(["--issuer", issuer, "--client-id", "native"])
            .args(["--scope", "openid offline_access api"])
            .args(more);
        PendingLogin::start(&mut command)
    }
}

impl Drop for Instance {
    /// A daemon that `authctl` started is nobody's child: it must not outlive its directory.
    fn drop(&mut self) {
        let Ok(socket) = SocketPath::explicit(self.socket()) else {
            return;
        };
        let Ok(mut client) = Client::connect(&socket, WHO, PATIENCE) else {
            return;
        };
        let status = client.call(&DaemonStatus {}, PATIENCE);
        if let Ok(pid) = status.map(|status| status.pid.cast_signed())
            && let Some(pid) = Pid::from_raw(pid)
            && pid != getpid()
        {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// One call on this connection.
///
/// # Errors
/// What the daemon answers.
///
/// # Panics
/// When it does not answer.
pub fn call<R: Request>(client: &mut Client, request: &R) -> Result<R::Reply, WireError> {
    match client.call(request, PATIENCE) {
        Ok(reply) => Ok(reply),
        Err(authd_client::ClientError::Wire(error)) => Err(error),
        Err(other) => panic!("no answer: {other}"),
    }
}

/// The request behind [`Instance::renew`].
#[must_use]
pub fn renewal(account: &str) -> Renew {
    Renew {
        account: account.to_owned(),
        scopes: None,
        resource: None,
        wait_secs: Some(10),
    }
}

/// Whether the account has this flag.
#[must_use]
pub fn is_flagged(info: &AccountInfo, name: FlagName) -> bool {
    info.flags.iter().any(|flag| flag.flag == name)
}

/// A directory of mode 0700.
///
/// # Panics
/// When it cannot be made.
pub fn private_directory(path: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
