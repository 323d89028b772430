//! Children with a bound on their time.

use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{PATIENCE, redacted};

/// Standard output and standard error, each whole once its pipe is closed.
type Captured = (Receiver<Vec<u8>>, Receiver<Vec<u8>>);

/// A child process. Dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
    exited: Receiver<()>,
    output: Option<Captured>,
}

impl Process {
    /// Starts `command` with its standard streams as they are set.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let pid = as_pid(child.id());
        let (tell, exited) = mpsc::channel();
        thread::spawn(move || {
            // Without reaping: the pid stays the child's until its owner has waited for it.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
            // The owner may have lost interest.
            let _ = tell.send(());
        });
        Self {
            name,
            child,
            exited,
            output: None,
        }
    }

    /// Starts `command` with nothing to read and both outputs captured.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    #[must_use]
    pub fn capture(command: &mut Command) -> Self {
        Self::capture_reading(command, Stdio::null())
    }

    /// The same with `stdin` to read.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    #[must_use]
    pub fn capture_reading(command: &mut Command, stdin: Stdio) -> Self {
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Self::spawn(command);
        let stdout = process.child.stdout.take().map(drain);
        let stderr = process.child.stderr.take().map(drain);
        process.output = stdout.zip(stderr);
        process
    }

    /// The JSON in its first line on a piped standard output: what it says when it is ready. Null when
    /// none comes within [`PATIENCE`].
    ///
    /// # Panics
    /// When its standard output is no pipe.
    pub fn announcement(&mut self) -> serde_json::Value {
        let stdout = self.child.stdout.take().expect("a pipe was asked for");
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let (mut stdout, mut line) = (BufReader::new(stdout), String::new());
            // Nothing read is no announcement.
            let _ = stdout.read_line(&mut line);
            let _ = tell.send(line);
            // It says more in time, and would die of a closed pipe.
            let _ = io::copy(&mut stdout, &mut io::sink());
        });
        let line = told.recv_timeout(PATIENCE).unwrap_or_default();
        serde_json::from_str(&line).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal; to a child that has ended it goes nowhere.
    pub fn signal(&self, signal: Signal) {
        // The child is reaped by `wait` alone, which takes or borrows it: the pid is still its own.
        let _ = kill_process(as_pid(self.child.id()), signal);
    }

    /// Waits for its end; `None` when it did not end in time.
    ///
    /// # Panics
    /// When the system does not say how it ended.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        if let Err(RecvTimeoutError::Timeout) = self.exited.recv_timeout(within) {
            return None;
        }
        Some(self.child.wait().expect("a child can be waited for"))
    }

    /// Waits for its end, and for what it printed if that was captured.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn finish(mut self, within: Duration) -> Finished {
        let Some(status) = self.wait(within) else {
            panic!("{} did not end within {within:?}", self.name);
        };
        let (stdout, stderr) = self.output.take().unzip();
        // A grandchild can hold the pipe open; what came until now has to do then.
        let text = |pipe: Option<Receiver<Vec<u8>>>| {
            let bytes = pipe.and_then(|pipe| pipe.recv_timeout(PATIENCE).ok());
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        Finished {
            status,
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn as_pid(id: u32) -> Pid {
    let id = i32::try_from(id).expect("the system's process ids fit");
    Pid::from_raw(id).expect("a child's process id is not zero")
}

fn drain(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A broken pipe ends the output as its closing does.
        let _ = pipe.read_to_end(&mut bytes);
        let _ = send.send(bytes);
    });
    receive
}

/// A child that has ended. Its `Debug` shows no token.
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// What it printed as data.
    pub stdout: String,
    /// What it said to people.
    pub stderr: String,
}

impl Finished {
    /// Its exit status; -1 when a signal ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Its standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Its standard output without the last line end, after a success.
    ///
    /// # Panics
    /// When it failed.
    #[must_use]
    pub fn line(&self) -> &str {
        assert_eq!(self.code(), 0, "{self:?}");
        self.stdout.trim_end_matches('\n')
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finished")
            .field("status", &self.status)
            .field("stdout", &redacted(&self.stdout))
            .field("stderr", &redacted(&self.stderr))
            .finish()
    }
}
