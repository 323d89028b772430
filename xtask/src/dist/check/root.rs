//! A Debian of this run's own, to be changed at will. It goes away with whatever still runs there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::layout;
use crate::command;
use crate::debian;
use crate::error::ChoreError;
use crate::workspace;

/// Who is logged in there.
const PERSON: &str = "person";

/// What a command there sees of the world.
const ENVIRONMENT: &[&str] = &[
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
    // At the width of a terminal, and nothing asks to press a key.
    "MANWIDTH=80",
    "MANPAGER=cat",
];

/// For a process to end after it was told to.
const PATIENCE: Duration = Duration::from_secs(10);

/// The folder.
pub(super) struct Root {
    dir: TempDir,
}

impl Root {
    /// Makes a minimal Debian of this machine's release.
    pub(super) fn debootstrap(packages: &[&str]) -> Result<Self, ChoreError> {
        let target = workspace::target_dir()?;
        let dir = tempfile::Builder::new()
            .prefix("debian-")
            .tempdir_in(&target)
            .map_err(ChoreError::io("create a folder in", &target))?;
        debian::debootstrap(None, packages, dir.path())?;
        let root = Self { dir };
        root.as_root(&["useradd", "--create-home", "--shell=/bin/bash", PERSON])?;
        Ok(root)
    }

    /// A path in it, seen from outside.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Installs a package file with what it depends on.
    pub(super) fn install(&self, package: &Path) -> Result<(), ChoreError> {
        layout::copy(package, &self.path("tmp/package.deb"))?;
        self.apt(&["install", "/tmp/package.deb"])?;
        let copy = self.path("tmp/package.deb");
        fs::remove_file(&copy).map_err(ChoreError::io("remove", &copy))
    }

    /// apt-get, without recommendations and questions.
    pub(super) fn apt(&self, arguments: &[&str]) -> Result<(), ChoreError> {
        let apt = ["apt-get", "--quiet", "--quiet", "--yes"];
        let options = ["--no-install-recommends", "-o=Dpkg::Use-Pty=0"];
        self.as_root(&[&apt[..], &options, arguments].concat())
            .map(drop)
    }

    /// What a command prints there that root runs.
    pub(super) fn as_root(&self, words: &[&str]) -> Result<String, ChoreError> {
        command::stdout(&mut self.command("root", "/root", words))
    }

    /// What a command prints there that the person runs.
    pub(super) fn as_person(&self, words: &[&str]) -> Result<String, ChoreError> {
        command::stdout(&mut self.person_command(words))
    }

    /// A command that the person runs.
    pub(super) fn person_command(&self, words: &[&str]) -> Command {
        self.command(PERSON, "/home/person", words)
    }

    fn command(&self, user: &str, home: &str, words: &[&str]) -> Command {
        let home = format!("HOME={home}");
        let environment = [ENVIRONMENT, &[&home]].concat();
        debian::inside(self.dir.path(), user, &environment, words)
    }

    /// Every path where a package puts files.
    pub(super) fn files(&self) -> Result<BTreeSet<PathBuf>, ChoreError> {
        let mut found = BTreeSet::new();
        // On a merged system /bin and /lib are below /usr; they are looked at where they are not.
        for top in ["etc", "usr", "bin", "sbin", "lib", "opt", "var/lib/systemd"] {
            let top = self.path(top);
            if top.is_dir() && !top.is_symlink() {
                walk(&top, &mut found)?;
            }
        }
        Ok(found)
    }
}

fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) -> Result<(), ChoreError> {
    for entry in fs::read_dir(folder).map_err(ChoreError::io("read", folder))? {
        let path = entry.map_err(ChoreError::io("read", folder))?.path();
        if path.is_dir() && !path.is_symlink() {
            walk(&path, found)?;
        }
        found.insert(path);
    }
    Ok(())
}

impl Drop for Root {
    fn drop(&mut self) {
        // Whatever has its root in this folder was started by us: a daemon, after a check that failed.
        let deadline = Instant::now() + PATIENCE;
        for pid in debian::running_in(self.dir.path()) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
        while !debian::running_in(self.dir.path()).is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
