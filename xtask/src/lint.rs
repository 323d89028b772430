//! Everything that judges the code without running it.

use crate::command;
use crate::error::ChoreError;
use crate::purity;
use crate::tool;
use crate::workspace;

/// Cheap checks first, so that a slip is reported in seconds.
pub(crate) fn run() -> Result<(), ChoreError> {
    command::run(command::cargo().args(["fmt", "--all", "--check"]))?;
    purity::run()?;
    dependencies()?;
    command::run(
        command::cargo()
            .args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--locked",
            ])
            .args(["--", "--deny=warnings"]),
    )?;
    // A workspace of its own, so that only this line sees it rot. What it reads through is there for fuzzing
    // alone: other flags, so that nothing built for the others is of use.
    command::run(
        command::cargo()
            .args(["clippy", "--manifest-path=fuzz/Cargo.toml", "--locked"])
            .args(["--", "--deny=warnings"])
            .env("RUSTFLAGS", "--cfg=fuzzing")
            .env(
                "CARGO_TARGET_DIR",
                workspace::target_dir()?.join("fuzz-lint"),
            ),
    )?;
    command::run(
        command::cargo()
            .args(["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "--deny=warnings"),
    )
}

/// Licences, bans and sources always; advisories when the advisory database can be reached.
fn dependencies() -> Result<(), ChoreError> {
    tool::DENY.install()?;
    let deny = || -> Result<_, ChoreError> {
        let mut deny = tool::DENY.cargo()?;
        deny.args(["--log-level=error", "--all-features", "--locked"]);
        Ok(deny)
    };
    command::run(
        deny()?
            .args(["check", "--hide-inclusion-graph"])
            .args(["licenses", "bans", "sources"]),
    )?;
    if command::succeeds(deny()?.args(["fetch", "db"])) {
        command::run(deny()?.args(["check", "--disable-fetch", "advisories"]))
    } else {
        println!("lint: advisories not checked: the advisory database is out of reach");
        Ok(())
    }
}
