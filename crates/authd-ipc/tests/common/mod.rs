//! What the tests of this crate share.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Not ours, and on every system: `nobody`.
pub(crate) const NOBODY: u32 = 65534;

/// Only root can act as someone else; elsewhere the tests that need it have nothing to do.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory of mode 0700 of ours.
pub(crate) fn private_dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours to change");
}
