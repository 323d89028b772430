//! Processes that ask for a token in ways of their own: not ours, so by an interpreter, with the socket in
//! their own hands.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use authd_proto::{
    WireError,
    message::Message,
    request::{Hello, TokenGet},
    response::TokenReply,
};
use rustix::process::{Signal, setsid};

use crate::{PATIENCE, instance::Instance, process::Process, raw, tool};

/// Connects, sends what it is given, and prints what comes back, in hexadecimal digits.
const PROGRAM: &str = r#"
import os, select, signal, socket, sys
path, request, way = sys.argv[1:4]
daemon = socket.socket(socket.AF_UNIX)
daemon.connect(path)
def send():
    daemon.sendall(bytes.fromhex(request))
def receive():
    while True:
        answer = daemon.recv(65536)
        print(answer.hex(), flush=True)
        if not answer:
            break
if way == "itself":
    send()
    receive()
elif way == "orphan":
    parent = os.pidfd_open(os.getpid())
    if os.fork():
        os._exit(0)
    select.select([parent], [], [])
    send()
    receive()
elif way == "child-reads":
    if os.fork():
        send()
        signal.pause()
    receive()
"#;

/// How it asks.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// The process that connected asks.
    Itself,
    /// A child asks, after the process that connected has ended.
    Orphan,
    /// The process that connected asks, and a child waits for the answer.
    ChildReads,
}

/// One that has asked for a token.
pub struct Asker {
    process: Process,
    lines: Receiver<String>,
}

impl Asker {
    /// By Python, as it is installed.
    #[must_use]
    pub fn python(instance: &Instance, account: &str, claimed: &str, way: Way) -> Self {
        let command = instance.command(tool::of_everybody("python3"));
        Self::run(instance, command, account, claimed, way)
    }

    /// By this command, which runs Python.
    #[must_use]
    pub fn by(instance: &Instance, python: Command, account: &str, way: Way) -> Self {
        Self::run(instance, python, account, "x", way)
    }

    /// By Python in user and pid namespaces of its own.
    ///
    /// # Panics
    /// When this machine lets nobody make them: a test that needs them fails then, it is never skipped.
    #[must_use]
    pub fn in_namespaces(instance: &Instance, account: &str, kinds: &[&str]) -> Self {
        let unshare = tool::of_everybody("unshare");
        let allowed = Command::new(&unshare).args(kinds).arg("true").output();
        let output = allowed.expect("unshare runs");
        assert!(
            output.status.success(),
            "this machine allows no such namespaces: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut command = instance.command(unshare);
        command.args(kinds).arg(tool::of_everybody("python3"));
        Self::run(instance, command, account, "x", Way::Itself)
    }

    fn run(
        instance: &Instance,
        mut command: Command,
        account: &str,
        claimed: &str,
        way: Way,
    ) -> Self {
        let hello = Hello {
            client: Some(claimed.to_owned()),
            ..Hello::default()
        };
        let get = TokenGet {
            account: Some(account),
            wait_secs: Some(PATIENCE.as_secs()),
            ..TokenGet::default()
        };
        let mut request = raw::frame(1, &hello);
        request.extend(raw::frame(2, &get));
        let request: String = request.iter().map(|byte| format!("{byte:02x}")).collect();
        let way = match way {
            Way::Itself => "itself",
            Way::Orphan => "orphan",
            Way::ChildReads => "child-reads",
        };
        command
            .args(["-c", PROGRAM])
            .arg(instance.socket())
            .args([request.as_str(), way])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        in_session_of_its_own(&mut command);
        let mut process = Process::spawn(&mut command);
        let lines = lines_of(&mut process);
        Self { process, lines }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends the process that connected, and waits until it is gone.
    ///
    /// # Panics
    /// When it outlives that.
    pub fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        assert!(self.process.wait(PATIENCE).is_some(), "it outlived SIGKILL");
    }

    /// What the daemon answered.
    ///
    /// # Errors
    /// The daemon's.
    ///
    /// # Panics
    /// When there is no answer in time.
    pub fn answer(&self) -> Result<TokenReply, WireError> {
        let mut bytes = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("an answer");
            bytes.extend((0..line.len() / 2).map(|at| {
                u8::from_str_radix(&line[2 * at..2 * at + 2], 16).expect("hexadecimal digits")
            }));
            let mut buffer = authd_proto::frame::FrameBuffer::new();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let room = buffer.spare();
                let count = room.len().min(rest.len());
                room[..count].copy_from_slice(&rest[..count]);
                buffer.advance(count);
                rest = &rest[count..];
            }
            while let Some(frame) = buffer.next_frame().expect("a frame") {
                if let Ok(Message::Response { id: 2, outcome }) = Message::parse(frame) {
                    return outcome.decode().expect("a token or an error");
                }
            }
        }
    }
}

/// A session of its own whose leader is a shell, in which `authctl token` is run as often as it is told.
pub struct Session {
    _process: Process,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Session {
    /// Begins one; each request is for a token of `account`, and waits for nothing.
    ///
    /// # Panics
    /// When there is no shell.
    #[must_use]
    pub fn begin(instance: &Instance, account: &str) -> Self {
        let script = r#"while read -r _; do "$0" token "$1" --wait 0s 2>&1; echo "code $?"; done"#;
        let mut command = instance.command("/bin/sh");
        command
            .args(["-c", script])
            .arg(crate::binaries::authctl())
            .arg(account)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        in_session_of_its_own(&mut command);
        let mut process = Process::spawn(&mut command);
        let stdin = process.child().stdin.take().expect("a pipe was asked for");
        let lines = lines_of(&mut process);
        Self {
            _process: process,
            stdin,
            lines,
        }
    }

    /// Has `authctl token` run once: what it printed, and its exit status.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn token(&mut self) -> (String, i32) {
        self.stdin.write_all(b"\n").expect("a shell that reads");
        let mut text = String::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("a status");
            if let Some(code) = line.strip_prefix("code ") {
                return (text, code.parse().expect("a number"));
            }
            text.push_str(&line);
        }
    }
}

fn in_session_of_its_own(command: &mut Command) {
    #[expect(unsafe_code, reason = "a session begins between fork and exec")]
    // SAFETY: only `setsid` is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| Ok(setsid().map(drop)?));
    }
}

fn lines_of(process: &mut Process) -> Receiver<String> {
    let stdout = process.child().stdout.take().expect("a pipe was asked for");
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // The test may have gone.
            if tell.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
