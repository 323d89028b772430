//! A Windows of this run's own: wine, with a prefix in a folder that goes away, and every process in it.
//!
//! Debian bookworm's wine (8) lacks functions that the standard library and the daemon's clock call
//! (`bcryptprimitives.dll`, `QueryInterruptTime`). So a newer Debian is made once in the cache directory, with
//! nothing but wine in it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command;
use crate::debian;
use crate::error::ChoreError;
use crate::fake_as;
use crate::workspace;

/// The Debian whose wine is new enough, and its package.
const RELEASE: &str = "trixie";
const PACKAGES: &[&str] = &["wine64"];

const LOADER: &str = "/usr/lib/wine/wine64";
const SERVER: &str = "/usr/lib/wine/wineserver";

/// For one command; wine itself takes half a minute to make its prefix.
const PATIENCE: Duration = Duration::from_secs(180);

/// Wine with its prefix.
pub(super) struct Wine {
    /// As it calls itself.
    pub(super) version: String,
    /// The Debian that it is in.
    root: PathBuf,
    /// In there: the prefix, and the programs to run.
    home: TempDir,
}

impl Wine {
    /// Makes a prefix beside a copy of the `binaries`.
    pub(super) fn start(binaries: &[PathBuf]) -> Result<Self, ChoreError> {
        let root = debian_with_wine()?;
        let above = root.join("tmp");
        let home = tempfile::Builder::new()
            .prefix("wine-")
            .tempdir_in(&above)
            .map_err(ChoreError::io("create a folder in", &above))?;
        for binary in binaries {
            let to = home.path().join(binary.file_name().unwrap_or_default());
            fs::copy(binary, &to).map_err(ChoreError::io("copy to", &to))?;
        }
        let mut wine = Self {
            version: String::new(),
            root,
            home,
        };
        wine.version = command::stdout(&mut wine.inside(&[LOADER, "--version"], &[]))?
            .trim()
            .to_owned();
        let mut boot = wine.inside(&[LOADER, "cmd", "/c", "ver"], &[]);
        boot.stdout(Stdio::null()).stderr(Stdio::null());
        match wine.ends(&mut boot, PATIENCE)? {
            Some(0) => Ok(wine),
            status => Err(ChoreError::Windows(format!(
                "wine does not start: {status:?}"
            ))),
        }
    }

    /// A program of ours in it.
    pub(super) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        self.command_with(&[], program, arguments)
    }

    /// A program of ours, with these variables as well.
    pub(super) fn command_with(
        &self,
        environment: &[&str],
        program: &str,
        arguments: &[&str],
    ) -> Command {
        let program = format!("{}/{program}", self.seen_from_inside());
        let words = [&[LOADER, program.as_str()], arguments].concat();
        self.inside(&words, environment)
    }

    /// What it prints. It must succeed, in time, and let go of its output.
    pub(super) fn prints(&self, program: &str, arguments: &[&str]) -> Result<String, ChoreError> {
        let mut command = self.command(program, arguments);
        // Read to the end, as a shell does: what it started must not hold it open.
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| ChoreError::Spawn {
                program: command::line(&command),
                source,
            })?;
        let output = child.stdout.take();
        let (send, receive) = std::sync::mpsc::channel();
        thread::spawn(move || {
            // Nobody may listen any more.
            let _ = send.send(output.map(std::io::read_to_string));
        });
        let text = receive.recv_timeout(PATIENCE);
        let status = wait(&mut child, PATIENCE);
        fake_as::end(&mut child);
        let line = format!("{program} {}", arguments.join(" "));
        match (text, status) {
            (Ok(Some(Ok(text))), Some(0)) => Ok(text.replace("\r\n", "\n")),
            (Err(_), Some(0)) => Err(ChoreError::Windows(format!(
                "{line} ended, and what it started holds its output open"
            ))),
            (_, status) => Err(ChoreError::Windows(format!(
                "{line} ends with {status:?}\n{}",
                self.log()
            ))),
        }
    }

    /// Its exit status.
    pub(super) fn status(
        &self,
        program: &str,
        arguments: &[&str],
    ) -> Result<Option<i32>, ChoreError> {
        let mut command = self.command(program, arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.ends(&mut command, PATIENCE)
    }

    /// Its exit status; `None` when it still runs after that time, and is ended.
    pub(super) fn ends(
        &self,
        command: &mut Command,
        patience: Duration,
    ) -> Result<Option<i32>, ChoreError> {
        let mut child =
            command
                .stdin(Stdio::null())
                .spawn()
                .map_err(|source| ChoreError::Spawn {
                    program: command::line(command),
                    source,
                })?;
        let status = wait(&mut child, patience);
        fake_as::end(&mut child);
        Ok(status)
    }

    /// A folder that programs can write to, by a path of theirs.
    pub(super) fn folder(&self, name: &str) -> Result<String, ChoreError> {
        let path = self.home.path().join(name);
        fs::create_dir_all(&path).map_err(ChoreError::io("create", &path))?;
        let inside = format!("{}/{name}", self.seen_from_inside());
        Ok(format!("Z:{}", inside.replace('/', r"\")))
    }

    /// The log of the daemon that authctl started.
    fn log(&self) -> String {
        let users = self.home.path().join("prefix/drive_c/users");
        let users = fs::read_dir(users).into_iter().flatten();
        users
            .filter_map(Result::ok)
            .map(|user| user.path().join("AppData/Local/authd/data/authd.log"))
            .find_map(|log| fs::read_to_string(log).ok())
            .unwrap_or_else(|| "(there is no log of the daemon)".to_owned())
    }

    fn seen_from_inside(&self) -> String {
        let name = self.home.path().file_name().unwrap_or_default();
        format!("/tmp/{}", name.to_string_lossy())
    }

    fn inside(&self, words: &[&str], further: &[&str]) -> Command {
        let home = self.seen_from_inside();
        let home_variable = format!("HOME={home}");
        let prefix = format!("WINEPREFIX={home}/prefix");
        let environment = [
            &[
                "PATH=/usr/bin:/bin",
                home_variable.as_str(),
                prefix.as_str(),
                "WINEDEBUG=-all",
                // Nothing asks for a browser engine or .NET.
                "WINEDLLOVERRIDES=mscoree=;mshtml=;winemenubuilder.exe=",
            ],
            further,
        ]
        .concat();
        debian::inside(&self.root, "root", &environment, words)
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        // Ends every process of this prefix, and of no other.
        command::succeeds(&mut self.inside(&[SERVER, "--kill"], &[]));
        command::succeeds(&mut self.inside(&[SERVER, "--wait"], &[]));
    }
}

/// From the cache, or made now.
fn debian_with_wine() -> Result<PathBuf, ChoreError> {
    let root = workspace::cache_dir()?.join(format!("wine-{RELEASE}"));
    if root.is_dir() {
        return Ok(root);
    }
    // Made beside and renamed, so that an interrupted run leaves nothing half-done.
    let staged = root.with_extension("new");
    if staged.exists() {
        fs::remove_dir_all(&staged).map_err(ChoreError::io("remove", &staged))?;
    }
    debian::debootstrap(Some(RELEASE), PACKAGES, &staged)?;
    fs::rename(&staged, &root).map_err(ChoreError::io("rename to", &root))?;
    Ok(root)
}

fn wait(child: &mut Child, patience: Duration) -> Option<i32> {
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.code(),
            _ if Instant::now() >= deadline => return None,
            _ => thread::sleep(Duration::from_millis(50)),
        }
    }
}
