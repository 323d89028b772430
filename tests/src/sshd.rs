//! Another host: OpenSSH's own server on loopback, with keys of its own.
//!
//! It runs as whoever runs the tests and lets that user in, by one key. As root it also wants a directory
//! under `/run`, which it finds in a mount namespace of its own, so that nothing of the machine is touched.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use crate::{
    PATIENCE,
    instance::private_directory,
    process::{Finished, Process},
    tool,
};

/// Where Debian has it.
const SSHD: &str = "/usr/sbin/sshd";
/// Ports that somebody else may take between our look and its start.
const TRIES: usize = 5;

/// A running server. Dropping it ends it.
pub struct Sshd {
    _process: Process,
    directory: PathBuf,
    port: u16,
}

/// Somebody whom only this server knows.
#[derive(Clone, Copy, Debug)]
pub struct Stranger {
    /// The name to log in by.
    pub name: &'static str,
    /// Uid and gid.
    pub uid: u32,
}

impl Sshd {
    /// Starts one whose files are in `directory`, which must not exist.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, None)
    }

    /// The same with one more user, whose home is `directory`/home. Takes root.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(directory: &Path, stranger: Option<Stranger>) -> Self {
        private_directory(directory);
        for key in ["host", "user"] {
            make_key(&directory.join(key));
        }
        fs::copy(directory.join("user.pub"), directory.join("authorized")).expect("a copy");
        let (process, port) = (0..TRIES)
            .find_map(|_| try_start(directory, stranger))
            .expect("a server on one of five ports");
        Self {
            _process: process,
            directory: directory.to_owned(),
            port,
        }
    }

    /// What `ssh` must be told to get there, and to ask nobody.
    #[must_use]
    pub fn options(&self) -> Vec<OsString> {
        let mut options: Vec<OsString> = ["-F", "none", "-p"].map(Into::into).into();
        options.push(self.port.to_string().into());
        options.push("-i".into());
        options.push(self.directory.join("user").into());
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ] {
            options.extend(["-o".into(), option.into()]);
        }
        options
    }

    /// `ssh`, told so.
    #[must_use]
    pub fn ssh(&self) -> Command {
        let mut command = Command::new(tool::required("ssh"));
        command.args(self.options());
        command
    }

    /// Forwards `here` to `there` by OpenSSH's own `-R`. When this returns, the socket is there; it goes
    /// with the returned process.
    ///
    /// # Panics
    /// When the server does not take it.
    #[must_use]
    pub fn forward(&self, there: &Path, here: &Path, login: &str) -> Process {
        let mut way = there.as_os_str().to_owned();
        way.push(":");
        way.push(here);
        let mut command = self.ssh();
        command
            .args(["-o", "ExitOnForwardFailure=yes", "-R"])
            .arg(way)
            // Asked for after the forward, and answered after it.
            .args([login, "echo '\"ready\"'; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        assert_eq!(process.announcement(), "ready", "the forward");
        process
    }

    /// Runs `words` on the host to its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn run(&self, login: &str, words: &str) -> Finished {
        let mut command = self.ssh();
        Process::capture(command.args([login, words])).finish(PATIENCE)
    }
}

fn make_key(file: &Path) {
    let mut command = Command::new(tool::required("ssh-keygen"));
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(file);
    let made = Process::capture(&mut command).finish(PATIENCE);
    assert_eq!(made.code(), 0, "{made:?}");
}

/// `None` when it ends before it listens.
fn try_start(directory: &Path, stranger: Option<Stranger>) -> Option<(Process, u16)> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = free.expect("a free port").port();
    let path = |name: &str| directory.join(name).display().to_string();
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n",
        path("host"),
        path("authorized"),
    );
    fs::write(directory.join("sshd_config"), config).expect("a configuration");
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new(tool::required("unshare"));
        let script = match stranger {
            None => String::new(),
            Some(Stranger { name, uid }) => {
                let home = directory.join("home");
                let line = format!("{name}:x:{uid}:{uid}::{}:/bin/sh\n", home.display());
                let known = fs::read_to_string("/etc/passwd").expect("the system's users");
                fs::write(directory.join("passwd"), known + &line).expect("users");
                format!("mount --bind {} /etc/passwd && ", path("passwd"))
            }
        };
        let script = format!(
            "{script}mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec \"$0\" \"$@\""
        );
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .arg(SSHD);
        command
    } else {
        Command::new(SSHD)
    };
    assert!(
        Path::new(SSHD).is_file(),
        "there is no {SSHD}: run cargo xtask setup"
    );
    command
        .args(["-D", "-e", "-f"])
        .arg(directory.join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut process = Process::spawn(&mut command);
    let stderr = process.child().stderr.take().expect("a pipe was asked for");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stderr);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
            if line.contains("Server listening") {
                // The test may have given up.
                let _ = tell.send(());
            }
            line.clear();
        }
        // It says more in time, and would die of a closed pipe.
        let _ = lines.read_to_end(&mut Vec::new());
    });
    told.recv_timeout(PATIENCE).ok().map(|()| (process, port))
}
