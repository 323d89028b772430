//! Where everything goes, in a Debian package and in the archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Contents, create_parent, write};
use crate::command;
use crate::error::ChoreError;
use crate::workspace;

/// A folder tree to be packed, and the places that differ from one packing to the other.
pub(crate) struct Layout {
    /// It is laid out below this folder.
    pub(crate) root: PathBuf,
    /// The prefix: `usr`, or nothing for an archive that is unpacked into `~/.local`.
    pub(crate) prefix: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) units: &'static str,
    pub(crate) zsh: &'static str,
    /// What the units start, if not `~/.local/bin/authd`.
    pub(crate) daemon: Option<&'static str>,
}

impl Layout {
    /// Lays everything out anew.
    pub(crate) fn fill(&self, contents: &Contents) -> Result<(), ChoreError> {
        super::remove_folder(&self.root)?;
        for binary in [&contents.authd, &contents.authctl] {
            let to = self
                .under(Path::new("bin"))
                .join(binary.file_name().unwrap_or_default());
            copy(binary, &to)?;
        }
        for (name, page) in &contents.manual {
            let section = name.rsplit('.').next().unwrap_or_default();
            let to = format!("share/man/man{section}/{name}.gz");
            gzip(page, &self.under(Path::new(&to)))?;
        }
        for (shell, script) in &contents.completions {
            let to = match *shell {
                "bash" => "share/bash-completion/completions/authctl".to_owned(),
                "zsh" => format!("{}/_authctl", self.zsh),
                _ => "share/fish/vendor_completions.d/authctl.fish".to_owned(),
            };
            write(&self.under(Path::new(&to)), script)?;
        }
        self.units()?;
        self.documents(contents)
    }

    fn units(&self) -> Result<(), ChoreError> {
        let source = workspace::root().join("systemd");
        for name in ["authd.socket", "authd.service"] {
            let path = source.join(name);
            let text = fs::read_to_string(&path).map_err(ChoreError::io("read", &path))?;
            let text = match self.daemon {
                Some(daemon) => packaged_unit(&text, daemon),
                None => text,
            };
            let to = Path::new(self.units).join(name);
            write(&self.under(&to), text.as_bytes())?;
        }
        let drop_in = "authd-hardening.conf";
        let to = Path::new(self.doc).join("examples").join(drop_in);
        copy(&source.join(drop_in), &self.under(&to))
    }

    /// As in the repository, so that they find one another.
    fn documents(&self, contents: &Contents) -> Result<(), ChoreError> {
        let root = workspace::root();
        let doc = self.under(Path::new(self.doc));
        for name in [
            "README.md",
            "SECURITY.md",
            "CONTRIBUTING.md",
            "proto/PROTOCOL.md",
        ] {
            copy(&root.join(name), &doc.join(name))?;
        }
        for folder in ["docs", "docs/decisions"] {
            let from = root.join(folder);
            for entry in fs::read_dir(&from).map_err(ChoreError::io("read", &from))? {
                let path = entry.map_err(ChoreError::io("read", &from))?.path();
                if path.is_file() {
                    let name = path.file_name().unwrap_or_default();
                    copy(&path, &doc.join(folder).join(name))?;
                }
            }
        }
        for (name, text) in &contents.sboms {
            write(&doc.join(name), text)?;
        }
        gzip(
            contents.notices.as_bytes(),
            &doc.join("THIRD-PARTY-NOTICES.gz"),
        )?;
        let changes = root.join("CHANGELOG.md");
        let changes = fs::read(&changes).map_err(ChoreError::io("read", &changes))?;
        gzip(&changes, &doc.join("changelog.gz"))
    }

    /// A path below the prefix.
    pub(crate) fn under(&self, path: &Path) -> PathBuf {
        self.root.join(self.prefix).join(path)
    }
}

/// A unit for a binary that a package installs, without the comments on installing it by hand.
fn packaged_unit(unit: &str, daemon: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in unit.lines() {
        if let Some(command) = line.strip_prefix("ExecStart=") {
            // What is said above it is about the place.
            while lines.last().is_some_and(|last| last.starts_with('#')) {
                lines.pop();
            }
            let arguments = command.split_once(' ').map_or("", |(_, rest)| rest);
            lines.push(
                format!("ExecStart={daemon} {arguments}")
                    .trim_end()
                    .to_owned(),
            );
        } else if line.starts_with("#   ") {
            // A command to type, and the empty line above it.
            if lines.last().is_some_and(|last| last == "#") {
                lines.pop();
            }
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), ChoreError> {
    create_parent(to)?;
    fs::copy(from, to)
        .map(drop)
        .map_err(ChoreError::io("copy to", to))
}

/// Compressed without a name or a time, so that it is the same each time.
pub(crate) fn gzip(bytes: &[u8], to: &Path) -> Result<(), ChoreError> {
    let plain = to.with_extension("");
    write(&plain, bytes)?;
    command::stdout(
        Command::new("gzip")
            .args(["--best", "--no-name", "--force"])
            .arg(&plain)
            .stdin(Stdio::null()),
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packaged_unit_starts_the_packaged_daemon_and_says_nothing_of_another_place() {
        let unit = "# User unit.\n#\n#   cp it ~/.config\n\n[Service]\nType=notify\n# Where it is put.\n# Or not.\n\
                    ExecStart=%h/.local/bin/authd --flag\n# This stays.\nRestart=on-failure\n";
        assert_eq!(
            packaged_unit(unit, "/usr/bin/authd"),
            "# User unit.\n\n[Service]\nType=notify\nExecStart=/usr/bin/authd --flag\n# This stays.\n\
             Restart=on-failure\n"
        );
    }

    #[test]
    fn every_unit_of_ours_starts_the_packaged_daemon() {
        let path = workspace::root().join("systemd").join("authd.service");
        let unit = fs::read_to_string(path).expect("it is there");
        let packaged = packaged_unit(&unit, "/usr/bin/authd");
        assert!(
            packaged.contains("\nExecStart=/usr/bin/authd\n"),
            "{packaged}"
        );
        assert!(!packaged.contains("%h/.local"), "{packaged}");
    }
}
