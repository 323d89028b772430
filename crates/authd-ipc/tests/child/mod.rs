//! Children of a test: this very test program again, running one ignored test as its body.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::common::set_mode;

/// The variable that tells a child where to work.
const PLACE: &str = "TEST_PLACE";

/// A running child. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    /// Closing it tells the child to end.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Whether the body's assertions held.
    pub(crate) fn finish(mut self) -> bool {
        drop(self.stdin.take());
        // Or the harness in the child has nowhere to report to, and fails.
        self.stdout.by_ref().lines().for_each(drop);
        self.child.wait().expect("it is our child").success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the ignored test `body` in a process of its own, as `uid`, and waits until it says [`ready`].
pub(crate) fn spawn(body: &str, place: &Path, uid: Option<u32>) -> Running {
    let program = std::env::current_exe().expect("known on Linux");
    let copies = tempfile::tempdir().expect("a temporary directory");
    let mut command = if let Some(uid) = uid {
        // Another user may not reach the build directory.
        set_mode(copies.path(), 0o755);
        let copy = copies.path().join("child");
        std::fs::copy(program, &copy).expect("copied");
        set_mode(&copy, 0o755);
        let mut command = Command::new(copy);
        command.uid(uid).gid(uid).current_dir("/");
        command
    } else {
        Command::new(program)
    };
    command
        .args(["--exact", body, "--ignored", "--nocapture"])
        .env(PLACE, place);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let stdin = child.stdin.take();
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut running = Running {
        child,
        stdin,
        stdout,
    };
    let mut lines = running.stdout.by_ref().lines().map_while(Result::ok);
    let said = lines.any(|line| line.ends_with("ready"));
    assert!(said, "the child '{body}' ended before it was ready");
    running
}

/// In a child: where to work.
pub(crate) fn place() -> PathBuf {
    std::env::var_os(PLACE)
        .expect("the body of a child, not a test of its own")
        .into()
}

/// In a child: lets the parent go on, then waits until it closes our stdin.
pub(crate) fn ready() {
    writeln!(std::io::stdout(), "\nready").expect("the parent listens");
    std::io::stdin().lines().for_each(drop);
}
