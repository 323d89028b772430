//! The Debian package, by cargo-deb. What it is called and needs stands in crates/authd/Cargo.toml.

use std::path::{Path, PathBuf};

use super::layout::{self, Layout};
use super::{Contents, Release};
use crate::command;
use crate::error::ChoreError;
use crate::tool;
use crate::workspace;

/// The package's name; why it is not `authd`: docs/decisions/0034-the-package-is-oauth-authd.md.
pub(crate) const NAME: &str = "oauth-authd";

/// Builds it into `folder`.
pub(crate) fn build(
    release: &Release,
    contents: &Contents,
    folder: &Path,
) -> Result<PathBuf, ChoreError> {
    let layout = Layout {
        // cargo-deb finds the target directory by itself, and takes from it what is below release.
        root: workspace::target_dir()?.join("release").join("deb"),
        prefix: "usr",
        doc: "share/doc/oauth-authd",
        units: "lib/systemd/user",
        zsh: "share/zsh/vendor-completions",
        daemon: Some("/usr/bin/authd"),
    };
    layout.fill(contents)?;
    let version = format!("{}-1", release.version);
    let changes = format!(
        "{NAME} ({version}) unstable; urgency=medium\n\n  * Version {}: see changelog.gz.\n\n -- {}  {}\n",
        release.version,
        release.maintainer,
        release.date("+%a, %d %b %Y %H:%M:%S +0000")?,
    );
    let doc = layout.under(Path::new(layout.doc));
    layout::gzip(changes.as_bytes(), &doc.join("changelog.Debian.gz"))?;
    layout::copy(
        &workspace::root()
            .join("packaging")
            .join("lintian-overrides"),
        &layout
            .under(Path::new("share/lintian/overrides"))
            .join(NAME),
    )?;
    let architecture =
        command::stdout(std::process::Command::new("dpkg").arg("--print-architecture"))?;
    let package = folder.join(format!("{NAME}_{version}_{}.deb", architecture.trim()));
    command::run(
        tool::DEB
            .cargo()?
            .args(["--package=authd", "--no-build", "--no-strip", "--locked"])
            .args(["--deb-version", &version])
            .args(["--maintainer", &release.maintainer])
            .arg("--output")
            .arg(&package)
            .env("SOURCE_DATE_EPOCH", release.epoch.to_string()),
    )?;
    Ok(package)
}
