//! The two release binaries, each built by itself, put where the shell finds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::ChoreError;
use crate::workspace;

/// Builds both and copies them to `root`/bin (`~/.local/bin` unless said otherwise).
pub(crate) fn run(root: Option<PathBuf>) -> Result<(), ChoreError> {
    let root = match root {
        Some(root) => root,
        None => workspace::home()
            .ok_or(ChoreError::NoHome("say where to install with --root DIR"))?
            .join(".local"),
    };
    let bin = root.join("bin");
    fs::create_dir_all(&bin).map_err(ChoreError::io("create", &bin))?;
    for built in [build_authd()?, build_authctl()?] {
        place(&built, &bin)?;
    }
    Ok(())
}

/// The release daemon.
pub(crate) fn build_authd() -> Result<PathBuf, ChoreError> {
    let mut build = command::cargo();
    build.args(["build", "--release", "--locked", "--package=authd"]);
    forget_folders(&mut build);
    command::run(&mut build)?;
    release_binary("authd")
}

/// The release command. Built alone, so that no feature another crate asks for reaches it, and
/// on Linux with glibc linked statically: resolving shared libraries would be the largest part
/// of its run time.
pub(crate) fn build_authctl() -> Result<PathBuf, ChoreError> {
    let mut build = command::cargo();
    build.args([
        "rustc",
        "--release",
        "--locked",
        "--package=authctl",
        "--bin=authctl",
    ]);
    if cfg!(all(target_os = "linux", target_env = "gnu")) {
        build.args(["--", "-C", "target-feature=+crt-static"]);
    }
    forget_folders(&mut build);
    command::run(&mut build)?;
    release_binary("authctl")
}

/// The folders of this machine that would stand in the binaries otherwise, where code says in which line
/// of which file it panics: where cargo keeps what it downloads, and the workspace.
pub(crate) fn private_folders() -> Vec<PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(workspace::home()?.join(".cargo")));
    cargo.into_iter().chain([workspace::root()]).collect()
}

/// Makes the binaries the same wherever they are built. What the person passes to the compiler goes on
/// to count.
fn forget_folders(build: &mut Command) {
    const SEPARATOR: &str = "\x1f";
    let mut flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_else(|_| {
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        flags.split_whitespace().collect::<Vec<_>>().join(SEPARATOR)
    });
    for folder in private_folders() {
        if !flags.is_empty() {
            flags += SEPARATOR;
        }
        flags += &format!("--remap-path-prefix={}=", folder.display());
    }
    build.env("CARGO_ENCODED_RUSTFLAGS", flags);
}

fn release_binary(name: &str) -> Result<PathBuf, ChoreError> {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    Ok(workspace::target_dir()?.join("release").join(file))
}

/// Copies beside the old binary and renames over it: a running program keeps its own file, and
/// nobody ever sees half of one.
fn place(built: &Path, bin: &Path) -> Result<(), ChoreError> {
    let name = built.file_name().unwrap_or(built.as_os_str());
    let installed = bin.join(name);
    let staged = bin.join(format!(".{}.new", name.to_string_lossy()));
    fs::copy(built, &staged).map_err(ChoreError::io("copy to", &staged))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o755))
            .map_err(ChoreError::io("set the mode of", &staged))?;
    }
    fs::rename(&staged, &installed).map_err(ChoreError::io("replace", &installed))?;
    println!("installed {}", installed.display());
    Ok(())
}
