//! Type-checks the binaries for the platforms that this machine is not.
//!
//! Nothing is linked, so nothing is needed but the compiler of [`crate::foreign`] and the tool for import
//! libraries that the standard library itself calls.

use crate::command;
use crate::error::ChoreError;
use crate::foreign::{Compiler, WINDOWS};
use crate::setup::{self, Permission};
use crate::workspace;

const MACOS: &str = "aarch64-apple-darwin";

/// Checks authd and authctl for Windows and for macOS. A warning is a failure.
pub(crate) fn run() -> Result<(), ChoreError> {
    setup::programs(&[setup::DLLTOOL], Permission::Install)?;
    let compiler = Compiler::obtain()?;
    check(&compiler, WINDOWS)?;
    check(&compiler, MACOS)
}

fn check(compiler: &Compiler, target: &str) -> Result<(), ChoreError> {
    let mut check = compiler.cargo();
    check
        .args(["-Zwarnings", "check", "--locked"])
        .arg("--config=build.warnings='deny'")
        .args(["--package=authd", "--package=authctl", "--target", target])
        // Apart from the other chores', whose artefacts come from another compiler.
        .env(
            "CARGO_TARGET_DIR",
            workspace::target_dir()?.join("platforms"),
        );
    // Build scripts may want to compile C for the target (ring's does). A check links nothing,
    // so a compiler that accepts everything and writes nothing will do.
    let suffix = target.replace('-', "_");
    for variable in ["CC", "AR"] {
        check.env(format!("{variable}_{suffix}"), "true");
    }
    command::run(&mut check)?;
    println!("check-platforms: authd and authctl type-check for {target}");
    Ok(())
}
