//! Where things are: the workspace, its target directory, and the cache that outlives a clone.

use std::env;
use std::path::{Path, PathBuf};

use crate::command;
use crate::error::ChoreError;

/// The root of the workspace that this run belongs to.
pub(crate) fn root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .parent()
        .map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// Cargo's target directory, wherever the person's configuration puts it.
pub(crate) fn target_dir() -> Result<PathBuf, ChoreError> {
    let mut metadata = command::cargo();
    metadata.args(["metadata", "--format-version=1", "--no-deps", "--offline"]);
    let text = command::stdout(&mut metadata)?;
    serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|value| Some(PathBuf::from(value.get("target_directory")?.as_str()?)))
        .ok_or_else(|| ChoreError::Output {
            command: command::line(&metadata),
            reason: "no target_directory".to_owned(),
        })
}

/// A directory for what is slow to obtain and the same for every clone: cargo tools, the
/// toolchain of `check-platforms`.
pub(crate) fn cache_dir() -> Result<PathBuf, ChoreError> {
    let base = match env::var_os("XDG_CACHE_HOME").map(PathBuf::from) {
        Some(dir) if dir.is_absolute() => dir,
        _ => home()
            .ok_or(ChoreError::NoHome("set HOME or XDG_CACHE_HOME"))?
            .join(".cache"),
    };
    Ok(base.join("authd-xtask"))
}

/// The person's home directory.
pub(crate) fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| home.is_absolute())
}
