//! A Debian in a folder: made by debootstrap, and commands that run in it. As root.
//!
//! Nothing is mounted outside of the commands: their mounts are in a namespace that ends with them.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Pid;

use crate::apt;
use crate::command;
use crate::error::ChoreError;
use crate::setup::{self, Permission, Program};
use crate::workspace;

const PROGRAMS: &[Program] = &[
    Program::new("debootstrap", "debootstrap", "makes a Debian in a folder"),
    Program::new("unshare", "util-linux", "keeps mounts to itself"),
];

/// Makes a minimal Debian in `folder`, of this machine's release or another one, from the mirror that this
/// machine uses.
pub(crate) fn debootstrap(
    release: Option<&str>,
    packages: &[&str],
    folder: &Path,
) -> Result<(), ChoreError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ChoreError::Missing(
            "  the right to make a Debian in a folder\nrun this chore as root".to_owned(),
        ));
    }
    setup::programs(PROGRAMS, Permission::Install)?;
    let mirror = apt::Mirror::of_this_machine()?;
    let cache = workspace::cache_dir()?.join("debootstrap");
    fs::create_dir_all(&cache).map_err(ChoreError::io("create", &cache))?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .arg("--variant=minbase")
        .arg(format!("--include={}", packages.join(",")))
        .arg(format!("--cache-dir={}", cache.display()))
        .arg(release.unwrap_or(&mirror.release))
        .arg(folder)
        .arg(&mirror.address);
    eprintln!("$ {}", command::line(&debootstrap));
    // Its hundreds of lines would say nothing to anybody; what goes wrong is on stderr.
    command::stdout(&mut debootstrap).map(drop)
}

/// A command that runs there as `user`, with this environment (`NAME=VALUE`) and no other.
pub(crate) fn inside(root: &Path, user: &str, environment: &[&str], words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation=private", "--", "sh", "-c"])
        .arg(
            "mount -t proc proc \"$0/proc\" && user=$1 && shift && \
             exec chroot --userspec=\"$user\" \"$0\" env -i \"$@\"",
        )
        .arg(root)
        .arg(user)
        .args(environment)
        .args(words);
    command
}

/// The processes whose root is this folder: whatever was started there and still runs.
pub(crate) fn running_in(root: &Path) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(Result::ok)
        .filter(|entry| fs::read_link(entry.path().join("root")).is_ok_and(|at| at == root))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .collect()
}
