//! Programs from outside that tests drive.

use std::{ffi::OsStr, path::PathBuf};

/// Where `name` is.
///
/// # Panics
/// When it is not installed: a test that needs it fails then, it is never skipped.
#[must_use]
pub fn required(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    found(name, &path)
}

/// Where `name` is for every user of this machine: this one's own directories may be closed to others.
///
/// # Panics
/// As [`required`].
#[must_use]
pub fn of_everybody(name: &str) -> PathBuf {
    found(name, OsStr::new("/usr/bin:/bin"))
}

fn found(name: &str, path: &OsStr) -> PathBuf {
    std::env::split_paths(path)
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("'{name}' is not installed: run cargo xtask setup"))
}
