//! A compiler for platforms that this machine is not.
//!
//! A rustup toolchain brings the standard library of its own platform alone. Debian ships a compiler together
//! with the library's source (`rustc-web`, `rust-web-src`), so the library can be built for any target first,
//! and our code after it. Both are unpacked into the cache directory; nothing is installed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt;
use crate::command;
use crate::error::ChoreError;
use crate::workspace;

/// Windows as mingw-w64 links for it.
pub(crate) const WINDOWS: &str = "x86_64-pc-windows-gnu";

/// What `rustc-web` needs to run, out of its dependencies: itself, its library, LLVM, and those
/// of LLVM's libraries that a small installation may lack. The C toolchain is left out.
const COMPILER_PACKAGES: &[&str] = &[
    "rustc-web",
    "rust-web-src",
    "libstd-rust-web",
    "libllvm",
    "libz3",
    "libxml2",
    "libicu",
    "libedit",
    "libbsd",
    "libmd0",
    "libffi",
];

/// Debian's compiler, unpacked.
pub(crate) struct Compiler {
    rustc: PathBuf,
    libraries: OsString,
}

impl Compiler {
    /// From the cache, or from Debian's packages.
    pub(crate) fn obtain() -> Result<Self, ChoreError> {
        let root = workspace::cache_dir()?.join("rustc-web");
        if let Some(compiler) = Self::in_folder(&root) {
            return Ok(compiler);
        }
        if !command::is_on_path("apt-get") || !command::is_on_path("dpkg") {
            return Err(ChoreError::Missing(
                "  Debian's package tools: this chore unpacks Debian's rustc-web\n\
                 run it on Debian bookworm, or in a container of it"
                    .to_owned(),
            ));
        }
        // Unpacked beside and renamed, so that an interrupted run leaves nothing half-done.
        let staged = root.with_extension("new");
        if staged.exists() {
            fs::remove_dir_all(&staged).map_err(ChoreError::io("remove", &staged))?;
        }
        apt::unpack(&["rustc-web", "rust-web-src"], COMPILER_PACKAGES, &staged)?;
        if root.exists() {
            fs::remove_dir_all(&root).map_err(ChoreError::io("remove", &root))?;
        }
        fs::rename(&staged, &root).map_err(ChoreError::io("rename to", &root))?;
        Self::in_folder(&root).ok_or_else(|| ChoreError::Output {
            command: format!("{} --version", root.join("usr/bin/rustc").display()),
            reason: "Debian's compiler does not run on this machine".to_owned(),
        })
    }

    /// The compiler in an unpacked tree, if it is there and runs.
    fn in_folder(root: &Path) -> Option<Self> {
        let usr = root.join("usr");
        // Debian names the directory after the architecture: usr/lib/x86_64-linux-gnu.
        let libraries = fs::read_dir(usr.join("lib"))
            .ok()?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.to_string_lossy().ends_with("-linux-gnu"))?;
        let compiler = Self {
            rustc: usr.join("bin").join("rustc"),
            libraries: libraries.into_os_string(),
        };
        let mut version = Command::new(&compiler.rustc);
        compiler.apply(&mut version);
        command::succeeds(version.arg("--version")).then_some(compiler)
    }

    /// Makes a cargo use this compiler, and build the standard library with what it builds.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = command::cargo();
        self.apply(&mut cargo);
        cargo.arg("-Zbuild-std=std,panic_abort");
        cargo
    }

    /// The environment in which cargo uses this compiler and takes unstable options.
    fn apply(&self, command: &mut Command) {
        command
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("LD_LIBRARY_PATH", &self.libraries)
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER");
    }
}
