//! The cargo subcommands that the chores need and a toolchain does not bring.
//!
//! A tool on the person's PATH is used as it is. Otherwise a pinned version goes into the cache
//! directory, so that a fresh clone does not build it again: as a prebuilt wheel where pip can
//! serve one, else built from crates.io.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::command;
use crate::error::ChoreError;
use crate::workspace;

/// A cargo subcommand from outside the toolchain.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    /// As in `cargo NAME`.
    name: &'static str,
    /// The version to install when there is none.
    version: &'static str,
}

/// The test runner.
pub(crate) const NEXTEST: Tool = Tool {
    name: "nextest",
    version: "0.9.143",
};

/// The check of licences, bans, sources and advisories.
pub(crate) const DENY: Tool = Tool {
    name: "deny",
    version: "0.20.2",
};

/// The one that makes Debian packages.
pub(crate) const DEB: Tool = Tool {
    name: "deb",
    version: "3.8.0",
};

/// The one that makes mistakes, for the tests to notice.
pub(crate) const MUTANTS: Tool = Tool {
    name: "mutants",
    version: "27.1.0",
};

impl Tool {
    /// `cargo NAME`, found on the PATH or in the cache.
    pub(crate) fn cargo(self) -> Result<Command, ChoreError> {
        let mut command = command::cargo();
        command.env("PATH", path_with_cache()?).arg(self.name);
        Ok(command)
    }

    /// Whether `cargo NAME` works on this machine.
    pub(crate) fn is_present(self) -> Result<bool, ChoreError> {
        Ok(command::succeeds(self.cargo()?.arg("--version")))
    }

    /// Puts the pinned version into the cache, unless some version works already.
    pub(crate) fn install(self) -> Result<(), ChoreError> {
        if self.is_present()? {
            return Ok(());
        }
        let pip = self.install_wheel()?;
        if self.is_present()? {
            return Ok(());
        }
        eprintln!("xtask: {pip}; building cargo-{} instead", self.name);
        command::run(
            command::cargo()
                .args(["install", "--locked", "--quiet", "--version", self.version])
                .arg("--root")
                .arg(install_root()?)
                .arg(format!("cargo-{}", self.name)),
        )
    }

    /// How a person installs it by hand.
    pub(crate) fn remedy(self) -> String {
        format!(
            "cargo install --locked cargo-{} --version {}",
            self.name, self.version
        )
    }

    /// Tries the wheel; that it did not work is no error, but is worth a word.
    fn install_wheel(self) -> Result<&'static str, ChoreError> {
        let root = install_root()?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"])
            .args(["--disable-pip-version-check", "--no-input"])
            .args(["--only-binary", ":all:", "--target"])
            .arg(root)
            .arg(format!(
                "astral-dev-toolchain-cargo-{}=={}",
                self.name, self.version
            ));
        eprintln!("$ {}", command::line(&pip));
        if command::succeeds(&mut pip) {
            Ok("the prebuilt program does not run here")
        } else {
            Ok("pip has no prebuilt program for this machine")
        }
    }
}

fn install_root() -> Result<PathBuf, ChoreError> {
    Ok(workspace::cache_dir()?.join("tools"))
}

/// The PATH with the cache's tools last, so that the person's own come first.
fn path_with_cache() -> Result<OsString, ChoreError> {
    let mut path = env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(if cfg!(windows) { ";" } else { ":" });
    }
    path.push(install_root()?.join("bin"));
    Ok(path)
}
