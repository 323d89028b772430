//! What the core and the command must never depend on.
//!
//! The core is a state machine without I/O, so an async runtime or an HTTP stack in its tree
//! means that the line was crossed. `authctl` starts in a millisecond because it has neither.
//! Each package is resolved alone, as `cargo xtask install` builds it: features that another
//! member of the workspace switches on do not count, neither for nor against.

use crate::command;
use crate::error::ChoreError;

const RULES: &[(&str, &[&str])] = &[
    ("authd-core", &["tokio", "hyper", "serde_json"]),
    ("authctl", &["tokio", "hyper"]),
];

/// Fails with the path that leads to the first banned dependency.
pub(crate) fn run() -> Result<(), ChoreError> {
    for &(package, banned) in RULES {
        let dependencies = tree(package, &["--prefix=none", "--format={p}"])?;
        for &banned in banned {
            let found = dependencies
                .lines()
                .any(|line| line.split(' ').next() == Some(banned));
            if found {
                return Err(ChoreError::Impure {
                    package,
                    banned,
                    path: tree(package, &["--invert", banned])?,
                });
            }
        }
        println!("purity: {package} is free of {}", banned.join(", "));
    }
    Ok(())
}

/// The normal dependencies on every platform, not only on this one.
fn tree(package: &str, options: &[&str]) -> Result<String, ChoreError> {
    command::stdout(
        command::cargo()
            .args([
                "tree",
                "--quiet",
                "--locked",
                "--edges=normal",
                "--target=all",
            ])
            .args(["--package", package])
            .args(options),
    )
}
