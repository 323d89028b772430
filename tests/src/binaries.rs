//! Where the binaries are: beside the test's own executable.

use std::path::PathBuf;

/// The path of `name` in the build directory of this test's profile.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running test has an executable");
    // target/<profile>/deps/<test>; a documentation test is elsewhere and does not run.
    let path = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    path.unwrap_or_else(|| panic!("'{name}' was not built: run cargo xtask test"))
}

/// The daemon, built with the feature `failpoints`.
#[must_use]
pub fn authd() -> PathBuf {
    path("authd")
}

/// The command.
#[must_use]
pub fn authctl() -> PathBuf {
    path("authctl")
}
