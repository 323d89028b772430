//! systemd's user manager, the real one, for a user of the test's own.
//!
//! It takes root, to be another user and to have a control group of its own. systemd need not run this
//! machine: the manager is told that it does, in a mount namespace of its own, where there is a journal too.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixDatagram,
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use authd_testkit::FakeServer;
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::{
    PATIENCE, PendingLogin, binaries,
    process::{Finished, Process},
    tool,
};

/// A user that is nobody here, and no user of the system's: those have no journal of their own.
const USER: u32 = 23_456;
/// Where distributions have the manager, and the journal's daemon.
const PLACES: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];

/// A running user manager. Dropping it ends it, and all that it started.
pub struct UserManager {
    dir: TempDir,
    cgroup: PathBuf,
    /// For threads that share it.
    manager: Mutex<Option<Process>>,
    pid: u32,
}

impl UserManager {
    /// Starts it and waits until it is ready. `None`, said aloud, where a user manager cannot be had.
    ///
    /// # Panics
    /// When it does not start although it could.
    #[must_use]
    #[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
    pub fn start() -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root can run a user manager for another user");
            return None;
        }
        let Some(cgroup) = own_cgroup() else {
            eprintln!("SKIPPED: no control group (version 2) can be made here");
            return None;
        };
        let mut places = PLACES.into_iter().map(Path::new);
        let programs = places.find(|place| place.join("systemd").exists());
        let programs = programs.expect("systemd is installed: run cargo xtask setup");
        let mut started = Self {
            dir: directories(),
            cgroup,
            manager: Mutex::new(None),
            pid: 0,
        };
        let notify = started.dir.path().join("notify");
        let ready = UnixDatagram::bind(&notify).expect("a socket");
        give(&notify);
        ready.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        // In this order: seen as booted by systemd, in its own group, a journal, and only then the user.
        let script = r#"
            mount -t tmpfs tmpfs /run || exit
            # As the machine's own leaves them; the last two are where namespaces are put together.
            cd /run && mkdir -p systemd/system systemd/journal systemd/unit-root systemd/mount-rootfs || exit
            mount -t tmpfs tmpfs /var/log && mkdir /var/log/journal || exit
            touch /run/systemd/journal/flushed
            # What an administrator enabled on this machine is not for this user.
            mount -t tmpfs tmpfs /etc/systemd/user || exit
            echo $$ >"$1/cgroup.procs" || exit
            "$3/systemd-journald" &
            exec setpriv --reuid "$2" --regid "$2" --clear-groups "$3/systemd" --user"#;
        let mut command = started.command(tool::required("unshare"));
        // The user comes later.
        command.uid(0).gid(0);
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(&started.cgroup)
            .arg(USER.to_string())
            .arg(programs)
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let manager = Process::spawn(&mut command);
        started.pid = manager.pid();
        started.manager = Mutex::new(Some(manager));
        let (mut said, mut who) = ([0; 1024], 0);
        // The journal and the manager, in whatever order.
        while who < 2 {
            let count = ready.recv(&mut said).expect("both say that they are ready");
            let mut lines = said[..count].split(|byte| *byte == b'\n');
            who += usize::from(lines.any(|line| line == b"READY=1"));
        }
        Some(started)
    }

    /// The user's home.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Where the service listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("run/authd/authd.sock")
    }

    /// A command of the user's, with the environment of a session.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.dir.path().join("run"))
            // Not absent: then a bus would be looked for.
            .env("DBUS_SESSION_BUS_ADDRESS", "disabled:")
            .current_dir("/")
            .uid(USER)
            .gid(USER);
        command
    }

    /// `authctl` of the user's own, with `authd` beside it.
    #[must_use]
    pub fn authctl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(self.home().join(".local/bin/authctl"));
        command.args(arguments);
        command
    }

    /// Runs `authctl` to its end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    #[must_use]
    pub fn authctl(&self, arguments: &[&str]) -> Finished {
        Process::capture(&mut self.authctl_command(arguments)).finish(PATIENCE)
    }

    /// `authctl` where the manager's journal is.
    #[must_use]
    pub fn authctl_beside_the_journal(&self, arguments: &[&str]) -> Command {
        let mut command = self.beside_the_manager();
        let user = USER.to_string();
        command
            .args(["--setuid", &user, "--setgid", &user])
            .arg(self.home().join(".local/bin/authctl"))
            .args(arguments);
        command
    }

    /// Puts the units there for every user, and enables them, as an administrator does.
    ///
    /// # Panics
    /// When that fails.
    pub fn enable_for_everybody(&self, units: &[(&str, &str)]) {
        let everybodys = Path::new("/proc")
            .join(self.pid.to_string())
            .join("root/etc/systemd/user");
        for (name, text) in units {
            fs::write(everybodys.join(name), text).expect("root may write there");
        }
        let mut command = self.beside_the_manager();
        command
            .arg(tool::required("systemctl"))
            .args(["--global", "enable"])
            .args(units.iter().map(|(name, _)| name));
        let enabled = Process::capture(&mut command).finish(PATIENCE);
        assert_eq!(enabled.code(), 0, "{enabled:?}");
        let reloaded = self.systemctl(&["daemon-reload"]);
        assert_eq!(reloaded.code(), 0, "{reloaded:?}");
    }

    /// A program that root runs, with the files that the manager sees.
    fn beside_the_manager(&self) -> Command {
        let mut command = self.command(tool::required("nsenter"));
        let target = self.pid.to_string();
        command
            .args(["--target", &target, "--mount", "--wd=/"])
            .uid(0)
            .gid(0);
        command
    }

    /// Runs `systemctl --user` to its end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    #[must_use]
    pub fn systemctl(&self, arguments: &[&str]) -> Finished {
        let mut command = self.command(tool::required("systemctl"));
        command.args(["--user", "--no-pager"]).args(arguments);
        Process::capture(&mut command).finish(PATIENCE)
    }

    /// Logs in, with nobody before the browser.
    ///
    /// # Panics
    /// When the login fails.
    pub fn login(&self, server: &FakeServer, account: &str) {
        let mut command = self.authctl_command(&["login", account, "--no-browser", "--json"]);
        command
            .args(["--issuer", server.issuer(), "--client-id", "native"])
            .args(["--scope", "openid offline_access api"]);
        let mut pending = PendingLogin::start(&mut command);
        assert_eq!(pending.browse().status, 200, "the callback's page");
        let (last, finished) = pending.finish();
        assert_eq!(last["event"], "done", "{finished:?}");
    }
}

impl Drop for UserManager {
    fn drop(&mut self) {
        // A daemon that a command started is not the manager's.
        if self.socket().exists() {
            let mut stop = self.authctl_command(&["daemon", "stop"]);
            let _ = Process::capture(&mut stop).wait(PATIENCE);
        }
        let manager = self.manager.get_mut().ok().and_then(Option::take);
        if let Some(mut manager) = manager {
            manager.signal(Signal::TERM);
            let _ = manager.wait(Duration::from_secs(10));
        }
        // What is left of its group is the manager's and the services'.
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        let gone = std::time::Instant::now() + PATIENCE;
        let slice = self.cgroup.parent().unwrap_or(&self.cgroup);
        while !remove_group(slice) && std::time::Instant::now() < gone {}
    }
}

/// Removes a control group with those in it; `false` while something lives in one.
fn remove_group(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// A control group that the user owns, below that of this process. By such a name the journal knows the units
/// of a user.
fn own_cgroup() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))?
        .to_owned();
    let (pid, random) = (std::process::id(), fastrand::u32(..));
    let slice = format!("authde2e{pid}x{random:08x}.slice");
    let group = mount
        .join(own)
        .join(slice)
        .join(format!("user@{USER}.service"));
    fs::create_dir_all(&group).ok()?;
    for file in [
        "",
        "cgroup.procs",
        "cgroup.subtree_control",
        "cgroup.threads",
    ] {
        give(&group.join(file));
    }
    Some(group)
}

/// A home with the binaries in it, and a runtime directory. Short: a socket's path has 107 bytes at most. Not
/// in a temporary directory: a service may be given one of its own.
fn directories() -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("authd-um-")
        .tempdir_in("/var/lib")
        .expect("root may make a directory");
    give(dir.path());
    let bin = dir.path().join("home/.local/bin");
    fs::create_dir_all(&bin).expect("a home");
    for part in ["run", "home", "home/.local", "home/.local/bin"] {
        let part = dir.path().join(part);
        if !part.exists() {
            fs::create_dir(&part).expect("a directory");
        }
        fs::set_permissions(&part, fs::Permissions::from_mode(0o700)).expect("its mode");
        give(&part);
    }
    for (name, built) in [
        ("authd", binaries::authd()),
        ("authctl", binaries::authctl()),
    ] {
        let there = bin.join(name);
        let linked = fs::hard_link(&built, &there);
        linked
            .or_else(|_| fs::copy(&built, &there).map(drop))
            .expect("the program");
    }
    dir
}

fn give(path: &Path) {
    chown(path, Some(USER), Some(USER)).expect("root may give things away");
}
