//! The tests: what they need, the binaries they start, then all of them.

use std::process::Command;

use crate::command;
use crate::error::ChoreError;
use crate::fuzz;
use crate::setup::{self, Permission};
use crate::tool;

/// All three steps build alike, or each would replace the binaries of the one before. The end-to-end
/// tests make the daemon die and stall where they want. The engine's planted bugs are inert until a
/// thread of the simulator's tests switches one on for itself.
const EVERYTHING: [&str; 3] = [
    "--workspace",
    "--features=authd/failpoints,authd-sim/planted",
    "--locked",
];

/// How long the long tier fuzzes each target.
const FUZZ_SECONDS: u64 = 60;

/// Runs the ordinary tier, or every test when `full`. `nextest` goes to `cargo nextest run`.
///
/// A long test is marked `#[ignore = "long: cargo xtask test --full"]`: it is then listed as
/// skipped instead of passing without having run.
pub(crate) fn run(
    full: bool,
    permission: Permission,
    nextest: &[String],
) -> Result<(), ChoreError> {
    setup::run(permission)?;
    command::run(
        Command::new("node")
            .args(["--test", "--test-reporter=dot"])
            .current_dir(setup::provider_folder()),
    )?;
    // Documentation examples first: nextest does not run them, and its summary should come last.
    command::run(command::cargo().args(["test", "--doc"]).args(EVERYTHING))?;
    // The end-to-end tests start the real binaries, which no test target of theirs builds.
    command::run(command::cargo().args(["build", "--bins"]).args(EVERYTHING))?;
    let mut tests = tool::NEXTEST.cargo()?;
    tests.args(["run", "--no-fail-fast"]).args(EVERYTHING);
    if full {
        tests
            .args(["--run-ignored=all", "--profile=full"])
            .env("AUTHD_FULL", "1");
    }
    command::run(tests.args(nextest))?;
    if full {
        fuzz::run(None, FUZZ_SECONDS)?;
    }
    Ok(())
}
