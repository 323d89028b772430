//! A login with nobody before the browser.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use authd_testkit::{Browser, Page};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    PATIENCE,
    process::{Finished, Process},
};

/// `authctl login --json` under way.
pub struct PendingLogin {
    process: Process,
    lines: Receiver<Value>,
    stderr: Receiver<String>,
    authorize: Value,
    last: Value,
}

impl PendingLogin {
    /// Starts `command`, an `authctl login --json`, and reads its first line: that of the
    /// authorization, or an error.
    ///
    /// # Panics
    /// When no line comes in time.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        Self::start_reading(command, Stdio::null())
    }

    /// The same with `input` on its standard input.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with_input(command: &mut Command, input: &str) -> Self {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        // It is less than a pipe holds.
        writer.write_all(input.as_bytes()).expect("a pipe");
        drop(writer);
        Self::start_reading(command, reader.into())
    }

    fn start_reading(command: &mut Command, stdin: Stdio) -> Self {
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::spawn(command);
        let stdout = process.child().stdout.take().expect("a pipe was asked for");
        let stderr = process.child().stderr.take().expect("a pipe was asked for");
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line)
                    .unwrap_or_else(|error| Value::String(format!("no JSON: {error}")));
                // The test may have gone.
                let _ = send.send(value);
            }
        });
        let (send, said) = mpsc::channel();
        thread::spawn(move || {
            let text = io::read_to_string(stderr).unwrap_or_default();
            let _ = send.send(text);
        });
        let authorize: Value = lines.recv_timeout(PATIENCE).unwrap_or_default();
        Self {
            process,
            lines,
            stderr: said,
            last: authorize.clone(),
            authorize,
        }
    }

    /// The first line: `{"event":"authorize",…}` unless the login failed at once.
    #[must_use]
    pub fn authorize(&self) -> &Value {
        &self.authorize
    }

    /// The authorization URL.
    ///
    /// # Panics
    /// When the login failed at once.
    #[must_use]
    pub fn url(&self) -> &str {
        let url = self.authorize["url"].as_str();
        url.unwrap_or_else(|| panic!("no URL: {}", self.authorize))
    }

    /// Opens the URL as a browser does; the page it ends at.
    ///
    /// # Panics
    /// When it ends nowhere.
    pub fn browse(&mut self) -> Page {
        Browser::new()
            .follow_blocking(self.url())
            .expect("a page at the end")
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        self.process.signal(Signal::INT);
    }

    /// The login's last line and how the command ended.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn finish(mut self) -> (Value, Finished) {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.last = line;
        }
        let status = self.process.wait(PATIENCE).expect("the login's end");
        let stderr = self.stderr.recv_timeout(PATIENCE).unwrap_or_default();
        let finished = Finished {
            status,
            stdout: self.last.to_string(),
            stderr,
        };
        (self.last, finished)
    }
}
