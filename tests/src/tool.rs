//! Programs from outside that tests drive.

use std::path::PathBuf;

/// Where `name` is.
///
/// # Panics
/// When it is not installed: a test that needs it fails then, it is never skipped.
#[must_use]
pub fn required(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("'{name}' is not installed: run cargo xtask setup"))
}
