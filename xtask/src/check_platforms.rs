//! Type-checks the binaries for the platforms that this machine is not.
//!
//! A rustup toolchain brings the standard library of its own platform alone. Debian ships a
//! compiler together with the library's source (`rustc-web`, `rust-web-src`), so the library can
//! be checked for any target first, and our code after it. Both are unpacked into the cache
//! directory; nothing is installed but the import-library tool that the library itself calls.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt;
use crate::command;
use crate::error::ChoreError;
use crate::setup::{self, Permission};
use crate::workspace;

const WINDOWS: &str = "x86_64-pc-windows-gnu";
const MACOS: &str = "aarch64-apple-darwin";

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

/// Checks authd and authctl for Windows, and for macOS when asked.
pub(crate) fn run(macos: bool) -> Result<(), ChoreError> {
    setup::programs(&[setup::DLLTOOL], Permission::Install)?;
    let compiler = Compiler::obtain()?;
    check(&compiler, WINDOWS)?;
    if macos {
        check(&compiler, MACOS)?;
    }
    Ok(())
}

fn check(compiler: &Compiler, target: &str) -> Result<(), ChoreError> {
    let mut check = command::cargo();
    compiler.apply(&mut check);
    check
        .args(["check", "--locked", "-Zbuild-std=std,panic_abort"])
        .args(["--package=authd", "--package=authctl", "--target", target])
        // Apart from the other chores', whose artefacts come from another compiler.
        .env(
            "CARGO_TARGET_DIR",
            workspace::target_dir()?.join("platforms"),
        );
    // Build scripts may want to compile C for the target (ring's does). A check links nothing,
    // so a compiler that accepts everything and writes nothing will do.
    let suffix = target.replace('-', "_");
    for variable in ["CC", "AR"] {
        check.env(format!("{variable}_{suffix}"), "true");
    }
    command::run(&mut check)?;
    println!("check-platforms: authd and authctl type-check for {target}");
    Ok(())
}

/// Debian's compiler, unpacked.
struct Compiler {
    rustc: PathBuf,
    libraries: OsString,
}

impl Compiler {
    /// From the cache, or from Debian's packages.
    fn obtain() -> Result<Self, ChoreError> {
        let root = workspace::cache_dir()?.join("rustc-web");
        if let Some(compiler) = Self::in_folder(&root) {
            return Ok(compiler);
        }
        if !command::is_on_path("apt-get") || !command::is_on_path("dpkg") {
            return Err(ChoreError::Missing(
                "  Debian's package tools: this check unpacks Debian's rustc-web\n\
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

    /// Makes a cargo (or the compiler itself) use this compiler and its unstable options.
    fn apply(&self, command: &mut Command) {
        command
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("LD_LIBRARY_PATH", &self.libraries)
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER");
    }
}
