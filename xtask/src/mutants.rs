//! Mutation testing: cargo-mutants makes one small mistake at a time in a crate, and a test of that crate must
//! notice.
//!
//! Two passes where a few tests take as long as all others together: the first runs those others, the second
//! everything, on what the first let through.

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

/// The crates whose tests are held to it.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Mutated {
    /// The engine
    Core,
    /// What is on disk
    Store,
    /// What is on the wire
    Proto,
}

impl Mutated {
    fn package(self) -> &'static str {
        match self {
            Self::Core => "authd-core",
            Self::Store => "authd-store",
            Self::Proto => "authd-proto",
        }
    }

    /// The targets whose tests take no time; `None` where all of them are so.
    fn quick(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Core => Some(&["--lib"]),
            Self::Store => Some(&[
                "--lib",
                "--test=lifecycle",
                "--test=faults",
                "--test=keys",
                "--test=crash",
            ]),
            Self::Proto => None,
        }
    }
}

/// Mutates a crate: all of it, or one shard "k/n" of it.
pub(crate) fn run(mutated: Mutated, shard: Option<&str>) -> Result<(), ChoreError> {
    tool::MUTANTS.install()?;
    let out = workspace::target_dir()?
        .join("mutation-testing")
        .join(mutated.package());
    fs::create_dir_all(&out).map_err(ChoreError::io("create", &out))?;
    let mutants = || -> Result<Command, ChoreError> {
        let mut mutants = tool::MUTANTS.cargo()?;
        mutants
            .args(["--package", mutated.package()])
            .args(["--colors=never", "--cargo-arg=--locked"])
            .arg("--output")
            .arg(&out);
        if let Some(shard) = shard {
            mutants.arg("--shard").arg(shard);
        }
        Ok(mutants)
    };
    let mut quick = mutants()?;
    for target in mutated.quick().unwrap_or_default() {
        quick.arg(format!("--cargo-arg={target}"));
    }
    let first = pass(&mut quick, &out)?;
    let left = if first.missed > 0 && mutated.quick().is_some() {
        pass(mutants()?.arg("--iterate"), &out)?.missed
    } else {
        first.missed
    };
    let viable = first.total - first.unviable;
    let noticed = viable - left;
    println!(
        "mutants: crate={} total={} unviable={} noticed={noticed} ({} by not ending) missed={left}: {:.1} %",
        mutated.package(),
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
