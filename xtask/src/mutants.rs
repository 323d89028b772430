//! Mutation testing of the engine: cargo-mutants makes one small mistake at a time, and a test must notice.
//!
//! Two passes, because the property tests take as long as all others together: the first runs the unit tests,
//! the second everything, on what the first let through.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::error::ChoreError;
use crate::tool;
use crate::workspace;

/// Fewer than so many of a hundred mistakes noticed is a failure.
const ENOUGH: u64 = 85;

/// What one pass counted.
struct Pass {
    total: u64,
    missed: u64,
    timeout: u64,
    unviable: u64,
}

/// Mutates `authd-core`: all of it, or one shard "k/n" of it.
pub(crate) fn run(shard: Option<&str>) -> Result<(), ChoreError> {
    tool::MUTANTS.install()?;
    let out = workspace::target_dir()?.join("mutation-testing");
    fs::create_dir_all(&out).map_err(ChoreError::io("create", &out))?;
    let mutants = || -> Result<Command, ChoreError> {
        let mut mutants = tool::MUTANTS.cargo()?;
        mutants
            .args([
                "--package=authd-core",
                "--colors=never",
                "--cargo-arg=--locked",
            ])
            .arg("--output")
            .arg(&out);
        if let Some(shard) = shard {
            mutants.arg("--shard").arg(shard);
        }
        Ok(mutants)
    };
    let first = pass(mutants()?.arg("--cargo-arg=--lib"), &out)?;
    let left = if first.missed > 0 {
        pass(mutants()?.arg("--iterate"), &out)?.missed
    } else {
        0
    };
    let viable = first.total - first.unviable;
    let noticed = viable - left;
    println!(
        "mutants: total={} unviable={} noticed={noticed} ({} by not ending) missed={left}: {:.1} %",
        first.total,
        first.unviable,
        first.timeout,
        100.0 * noticed as f64 / viable.max(1) as f64
    );
    if noticed * 100 >= viable * ENOUGH {
        Ok(())
    } else {
        Err(ChoreError::Mutants { enough: ENOUGH })
    }
}

/// Runs cargo-mutants, and reads what it found.
fn pass(mutants: &mut Command, out: &Path) -> Result<Pass, ChoreError> {
    let ended = command::run(mutants);
    // Some that were missed, some that did not end: both are findings here.
    if let Err(ChoreError::Failed { status, .. }) = &ended
        && !matches!(status.code(), Some(2 | 3))
    {
        ended?;
    }
    let path = out.join("mutants.out").join("outcomes.json");
    let text = fs::read(&path).map_err(ChoreError::io("read", &path))?;
    counts(&text).ok_or_else(|| ChoreError::Output {
        command: command::line(mutants),
        reason: format!("no counts in {}", path.display()),
    })
}

fn counts(outcomes: &[u8]) -> Option<Pass> {
    let outcomes: serde_json::Value = serde_json::from_slice(outcomes).ok()?;
    let count = |name: &str| outcomes.get(name)?.as_u64();
    Some(Pass {
        total: count("total_mutants")?,
        missed: count("missed")?,
        timeout: count("timeout")?,
        unviable: count("unviable")?,
    })
}
