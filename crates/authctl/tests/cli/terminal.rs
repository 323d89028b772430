//! The command on a terminal of its own: that of util-linux's `script`.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use crate::daemon::{FakeDaemon, PATIENCE};

/// A terminal with a command in it.
pub(crate) struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: Receiver<Vec<u8>>,
    /// All that was shown, and how much of it was looked for already.
    shown: Vec<u8>,
    looked: usize,
}

impl Terminal {
    /// Runs `authctl` with `arguments`, as a shell reads them, on a terminal of 80 columns and 50 rows; then
    /// says how the terminal is, and how the command ended.
    pub(crate) fn start(daemon: &FakeDaemon, arguments: &str) -> Self {
        Self::sized(daemon, arguments, 80)
    }

    pub(crate) fn sized(daemon: &FakeDaemon, arguments: &str, columns: u16) -> Self {
        let authctl = env!("CARGO_BIN_EXE_authctl");
        // An interrupt is for the command alone.
        let script = format!(
            "trap : INT; stty cols {columns} rows 50; '{authctl}' {arguments}; code=$?; stty -a; exit $code"
        );
        let mut child = Command::new("script")
            .args(["-qefc", &script, "/dev/null"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("SHELL", "/bin/sh")
            .env("LANG", "C.UTF-8")
            .env("DISPLAY", ":0")
            .env("BROWSER", "true")
            .env("AUTHD_SOCKET", daemon.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script of util-linux");
        let mut stdout = child.stdout.take().expect("a pipe");
        let (tell, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if tell.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            keyboard: child.stdin.take().expect("a pipe"),
            child,
            screen,
            shown: Vec::new(),
            looked: 0,
        }
    }

    /// Waits until `text` is shown behind what was waited for before.
    pub(crate) fn see(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let new = String::from_utf8_lossy(&self.shown[self.looked..]).into_owned();
            if let Some(at) = new.find(text) {
                self.looked += at + text.len();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.shown.extend(bytes),
                Err(_) => panic!("{text:?} is not shown: {new}"),
            }
        }
    }

    /// Presses these keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .and_then(|()| self.keyboard.flush())
            .expect("the terminal takes keys");
    }

    /// Waits for `question` and answers it.
    pub(crate) fn answer(&mut self, question: &str, answer: &str) {
        self.see(question);
        self.press(&format!("{answer}\r"));
    }

    /// Everything that was shown, and how the command ended. The terminal must be as it was before.
    pub(crate) fn end(mut self) -> (String, Option<i32>) {
        // To the end of what `stty` says.
        self.see("icanon");
        while let Ok(bytes) = self.screen.recv_timeout(PATIENCE) {
            self.shown.extend(bytes);
        }
        let status = self.child.wait().expect("it has ended");
        let shown = String::from_utf8_lossy(&self.shown).into_owned();
        let modes = shown.rsplit("speed ").next().unwrap_or_default();
        for mode in ["icanon", "echo", "isig"] {
            let is_on = modes.split_ascii_whitespace().any(|word| word == mode);
            assert!(is_on, "{mode} is off: {modes}");
        }
        (shown, status.code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only for one that was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
