//! One connection to the host, and what goes over it in turn.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use authd_proto::socket::SocketInfo;

use super::arguments::{MARK, place, remote};
use super::child::{Children, Ended, command_name};
use super::{Lent, SshTrouble};
use crate::exit::Failure;

/// How long ssh keeps the connection when nobody uses it: after us, when we were killed.
const PERSIST: &str = "ControlPersist=30";
/// How long the host may take to remove what was made there, ...
const TIDYING: Duration = Duration::from_secs(5);
/// ... and how often that is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// What the host says at most where its directory is: no more is read.
const MOST_SAID: u64 = 64 * 1024;

/// Runs the session from its connection to its end; the exit status is that of ssh.
pub(super) fn run(
    host: &str,
    options: &[OsString],
    command: &[OsString],
    lent: Lent,
    children: &Children,
) -> Result<ExitCode, Failure> {
    let socket = &lent.0;
    // ssh reads a colon as the end of the path, and a percent sign as the name of something.
    if socket.path.contains([':', '%', '\\', '[', ']']) || !socket.path.starts_with('/') {
        return Err(SshTrouble::Path(socket.path.clone()).into());
    }
    let control = Control::new(&socket.name)?;
    let connection = Connection {
        host,
        options,
        control: &control,
        children,
    };
    let (place, ended) = connection.session(command, socket);
    // Before anything else that the host has a part in.
    drop(lent);
    if let Some(directory) = place {
        connection.remove(&directory);
    }
    connection.end();
    ended
}

struct Connection<'a> {
    host: &'a str,
    options: &'a [OsString],
    control: &'a Control,
    children: &'a Children,
}

impl Connection<'_> {
    /// How it ended; and what is to be removed on the host, where that can be reached still.
    fn session(
        &self,
        command: &[OsString],
        socket: &SocketInfo,
    ) -> (Option<String>, Result<ExitCode, Failure>) {
        let directory = match self.make_place() {
            Ok(Ok(directory)) => directory,
            // ssh has said why.
            Ok(Err(ended)) => return (None, Ok(ended.code())),
            Err(failure) => return (None, Err(failure)),
        };
        let there = format!("{directory}/authd.sock");
        let way = format!("{there}:{}", socket.path);
        let mut forward = self.control_command("forward", Some(&way));
        let forwarded = self.children.run(&mut forward);
        let ended = forwarded.and_then(|forwarded| {
            if forwarded.is_success() {
                return self.children.run(&mut self.interactive(&there, command));
            }
            let host = self.host.to_owned();
            Err(SshTrouble::NotForwarded { host }.into())
        });
        // Where the connection is broken nothing can be removed there.
        let is_reached = ended
            .as_ref()
            .map_or(true, |ended| ended.is_of_the_command());
        (is_reached.then_some(directory), ended.map(Ended::code))
    }

    /// Connects, and makes a directory on the host that is the user's alone.
    fn make_place(&self) -> Result<Result<String, Ended>, Failure> {
        let script = format!(
            "exec sh -c 'umask 077; test -w \"$XDG_RUNTIME_DIR\" || XDG_RUNTIME_DIR=/tmp; \
             d=$(mktemp -d \"$XDG_RUNTIME_DIR/authd.XXXXXXXX\") && echo {MARK}$d'"
        );
        let (said, told) = io::pipe().map_err(|source| self.not_run(source))?;
        // Read while it is said: a host that says more than a pipe holds would wait for us, and we for it.
        let reader = thread::spawn(move || {
            let mut text = String::new();
            let mut said = io::BufReader::new(said);
            let read = said.by_ref().take(MOST_SAID).read_to_string(&mut text);
            let rest = io::copy(&mut said, &mut io::sink());
            read.and(rest).map(|_| text)
        });
        let mut command = self.ssh(&["ControlMaster=yes", PERSIST]);
        command
            .args(self.options)
            .args(["-T", "--", self.host, script.as_str()])
            .stdin(Stdio::null())
            .stdout(told);
        let ended = self.children.run(&mut command)?;
        // Our own end of it too, or what is said never ends.
        drop(command);
        let text = reader.join().ok().and_then(Result::ok).unwrap_or_default();
        if !ended.is_success() && !ended.is_of_the_command() {
            return Ok(Err(ended));
        }
        let place = place(&text);
        let host = self.host.to_owned();
        match place {
            Some(place) if ended.is_success() => Ok(Ok(place.to_owned())),
            _ => Err(SshTrouble::NoPlace { host }.into()),
        }
    }

    /// The session itself, with our own input and outputs.
    fn interactive(&self, there: &str, words: &[OsString]) -> Command {
        let mut command = self.ssh(&["ControlMaster=no"]);
        if words.is_empty() && io::stdin().is_terminal() {
            command.arg("-t");
        }
        command
            .args(self.options)
            .args(["--", self.host])
            .arg(remote(there, words));
        command
    }

    /// Best effort: what is left behind is an empty directory and a socket that leads nowhere.
    fn remove(&self, directory: &str) {
        // Without the connection another one would be made, and ask for a password.
        if !self.is_there() {
            return;
        }
        let script = format!("exec sh -c 'rm -f {directory}/authd.sock; rmdir {directory}'");
        let mut command = self.ssh(&["ControlMaster=no", "BatchMode=yes"]);
        command
            .args(self.options)
            .args(["-T", "--", self.host, script.as_str()]);
        let Ok(mut child) = silent(&mut command).spawn() else {
            return;
        };
        // Whoever has the host decides how long it takes; we do not wait for that.
        let deadline = Instant::now() + TIDYING;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(GLANCE);
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Ends the connection, which ssh would keep for a while.
    fn end(&self) {
        if self.is_there() {
            let _ = silent(&mut self.control_command("exit", None)).status();
        }
    }

    fn is_there(&self) -> bool {
        let checked = silent(&mut self.control_command("check", None)).status();
        checked.is_ok_and(|status| status.success())
    }

    /// Something that the process which keeps the connection is to do.
    fn control_command(&self, what: &str, forward: Option<&str>) -> Command {
        let mut command = self.ssh(&[]);
        // Without the person's files: what they forward is forwarded already.
        command
            .args(["-F", "/dev/null", "-O", what])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(forward) = forward {
            command.args(["-R", forward]);
        }
        command.args(["--", self.host]);
        command
    }

    /// The first value of an option counts: ours go before those of the person and of their files.
    fn ssh(&self, options: &[&str]) -> Command {
        let mut command = Command::new(command_name());
        let mut path = OsString::from("ControlPath=");
        path.push(&self.control.socket);
        command
            .arg("-o")
            .arg(path)
            .args(["-o", "RemoteCommand=none"]);
        for option in options {
            command.args(["-o", option]);
        }
        command
    }

    fn not_run(&self, source: io::Error) -> Failure {
        Failure::Program {
            program: command_name(),
            source,
        }
    }
}

fn silent(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// Where ssh listens for those who share its connection: in a directory of our own, removed when dropped.
struct Control {
    directory: PathBuf,
    socket: PathBuf,
}

impl Control {
    /// `name` is one that nobody else has at the moment.
    fn new(name: &str) -> Result<Self, Failure> {
        let suffix = name.rsplit('-').next().unwrap_or(name);
        let own = format!("authd-ssh-{}-{suffix}", std::process::id());
        let directory = std::env::temp_dir().join(own);
        // It must not be there: somebody else may have made it.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(|source| Failure::File {
                path: directory.clone(),
                source,
            })?;
        let socket = directory.join("c");
        Ok(Self { directory, socket })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        remove_both(&self.socket, &self.directory);
    }
}

/// ssh removes its socket itself, unless it was killed.
fn remove_both(socket: &Path, directory: &Path) {
    let _ = fs::remove_file(socket);
    let _ = fs::remove_dir(directory);
}
