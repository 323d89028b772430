//! The archive for those without Debian: unpacked into `~/.local` or `/usr/local`, everything is in its place.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::layout::{self, Layout};
use super::{Contents, Release, remove_folder};
use crate::command;
use crate::error::ChoreError;
use crate::workspace;

/// Builds it into `folder`.
pub(crate) fn build(
    release: &Release,
    contents: &Contents,
    folder: &Path,
) -> Result<PathBuf, ChoreError> {
    let name = format!("authd-{}-{}", release.version, release.target);
    let staging = folder.join(".archive");
    let layout = Layout {
        root: staging.join(&name),
        prefix: "",
        doc: "share/doc/authd",
        units: "share/systemd/user",
        zsh: "share/zsh/site-functions",
        daemon: None,
    };
    layout.fill(contents)?;
    let root = workspace::root();
    for file in [
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "README.md",
        "launchd/authd.plist",
    ] {
        layout::copy(
            &root.join(file),
            &layout.under(Path::new(layout.doc)).join(file),
        )?;
    }
    let archive = folder.join(format!("{name}.tar.gz"));
    command::run(
        Command::new("tar")
            .args(["--create", "--sort=name", "--format=gnu"])
            .args([
                "--owner=0",
                "--group=0",
                "--numeric-owner",
                "--mode=go=rX,u+w",
            ])
            .arg(format!("--mtime=@{}", release.epoch))
            .arg("--use-compress-program=gzip --best --no-name")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(&staging)
            .arg(&name),
    )?;
    remove_folder(&staging)?;
    Ok(archive)
}
