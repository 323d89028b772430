//! A running daemon.

use std::{
    fs::{self, OpenOptions},
    io::Read as _,
    os::{
        fd::{AsRawFd as _, BorrowedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::Signal,
};

use crate::{
    PATIENCE, binaries,
    instance::Instance,
    process::{Finished, Process},
    redacted, tool,
};

/// A daemon about to be started.
pub struct Start<'a> {
    instance: &'a Instance,
    command: Command,
}

impl<'a> Start<'a> {
    pub(crate) fn new(instance: &'a Instance) -> Self {
        Self {
            instance,
            command: instance.command(binaries::authd()),
        }
    }

    /// Sets a variable for this daemon alone.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// `NAME=kill@N` or `NAME=stall:MILLIS@N`.
    #[must_use]
    pub fn failpoint(self, order: &str) -> Self {
        self.env("AUTHD_FAILPOINT", order)
    }

    /// Runs it with this file in the place of `/etc/machine-id`: on another machine, as far as it can
    /// tell. Takes root; the mount is seen by the daemon alone and ends with it.
    #[must_use]
    pub fn machine_id(mut self, file: &Path) -> Self {
        let script = r#"mount --bind "$0" /etc/machine-id && exec "$@""#;
        self.command = self.instance.command("unshare");
        self.command
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(file)
            .arg(binaries::authd());
        self
    }

    /// Lets it open so many files, and no more whatever it does.
    #[must_use]
    pub fn descriptors(mut self, most: u32) -> Self {
        let script = r#"ulimit -n "$0" && exec "$@""#;
        let mut command = self.instance.command("sh");
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        self.command = command;
        self.command
            .args(["-c", script, &most.to_string()])
            .arg(binaries::authd());
        self
    }

    /// Runs it in a network of its own, where there is nothing but a loopback interface that is down.
    ///
    /// # Panics
    /// When this machine lets nobody make one: a test that needs it fails then, it is never skipped.
    #[must_use]
    pub fn network_of_its_own(mut self) -> Self {
        let unshare = tool::required("unshare");
        let arguments = ["--map-root-user", "--net"];
        let allowed = Command::new(&unshare).args(arguments).arg("true").output();
        let output = allowed.expect("unshare runs");
        assert!(
            output.status.success(),
            "this machine allows no network namespaces: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.command = self.instance.command(unshare);
        self.command.args(arguments).arg(binaries::authd());
        self
    }

    /// Runs it as this user and group, from the instance's directory: where it was built, another user
    /// may have no way in.
    ///
    /// # Panics
    /// When it cannot be brought there.
    #[must_use]
    pub fn user(mut self, uid: u32) -> Self {
        let (built, there) = (binaries::authd(), self.instance.dir().join("authd"));
        let linked = fs::hard_link(&built, &there);
        let brought = linked.or_else(|_| fs::copy(&built, &there).map(drop));
        brought.expect("the daemon's program");
        self.command = self.instance.command(there);
        self.command.uid(uid).gid(uid);
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// When it ends before, or takes longer than [`PATIENCE`].
    #[must_use]
    pub fn ready(mut self) -> Daemon {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let inherited = theirs.as_raw_fd();
        self.command.arg("--ready-fd").arg(inherited.to_string());
        #[expect(unsafe_code, reason = "a descriptor is passed between fork and exec")]
        // SAFETY: only `fcntl` is called, which is async-signal-safe; the descriptor is open, since
        // `theirs` lives until after the spawn.
        unsafe {
            self.command.pre_exec(move || {
                let theirs = BorrowedFd::borrow_raw(inherited);
                Ok(fcntl_setfd(theirs, FdFlags::empty())?)
            });
        }
        let log = self.instance.dir().join("logs").join("authd.log");
        let mut options = OpenOptions::new();
        let stderr = options.append(true).create(true).open(&log);
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr.expect("a log"));
        let process = Process::spawn(&mut self.command);
        drop(theirs);
        ours.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let ready = (&ours).read(&mut [0]);
        if !matches!(ready, Ok(1)) {
            let text = redacted(&fs::read_to_string(&log).unwrap_or_default());
            let tail = text.lines().rev().take(20).collect::<Vec<_>>();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            panic!("authd does not start ({ready:?}); its log ends:\n{tail}");
        }
        Daemon { process }
    }

    /// Runs it to its own end, outputs captured: for one that is not to start.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    #[must_use]
    pub fn refused(mut self) -> Finished {
        Process::capture(&mut self.command).finish(PATIENCE)
    }
}

/// A daemon. Dropping it kills it.
pub struct Daemon {
    process: Process,
}

impl Daemon {
    /// Takes a daemon that was started otherwise.
    #[must_use]
    pub fn of(process: Process) -> Self {
        Self { process }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Runs `ip` with these arguments, separated by blanks, in the network that it lives in.
    ///
    /// # Panics
    /// When that does not work.
    pub fn ip(&self, arguments: &str) {
        let pid = self.pid().to_string();
        let output = Command::new(tool::required("nsenter"))
            .args([
                "--target",
                &pid,
                "--user",
                "--net",
                "--preserve-credentials",
            ])
            .arg(tool::required("ip"))
            .args(arguments.split(' '))
            .output()
            .expect("nsenter runs");
        assert!(
            output.status.success(),
            "ip {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    /// When it outlives that.
    pub fn kill(mut self) {
        self.process.signal(Signal::KILL);
        assert!(self.process.wait(PATIENCE).is_some(), "it outlived SIGKILL");
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub fn stop(mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.ended(PATIENCE)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let status = self.process.wait(within);
        status.unwrap_or_else(|| panic!("authd did not end within {within:?}"))
    }

    /// Whether it has ended within this time.
    pub fn has_ended(&mut self, within: Duration) -> bool {
        self.process.wait(within).is_some()
    }
}
