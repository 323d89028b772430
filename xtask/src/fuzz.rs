//! Fuzzing: libFuzzer against what arrives from outside, with the toolchain that builds the rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::ChoreError;
use crate::workspace;

/// What cargo-fuzz switches on, as far as it needs no unstable compiler: coverage as libFuzzer
/// reads it. There is no unsafe code of ours for a sanitizer to watch.
const INSTRUMENTATION: &str = "--cfg fuzzing \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1";

/// The largest input: a frame's cap and a little more.
const MAX_LEN: usize = 256 * 1024 + 64;

/// Runs one target, or all of them in turn, for `seconds` each.
pub(crate) fn run(target: Option<String>, seconds: u64) -> Result<(), ChoreError> {
    let folder = workspace::root().join("fuzz");
    let built = folder.join("target");
    let host = command::stdout(Command::new("rustc").arg("--print=host-tuple"))?;
    let host = host.trim();
    command::run(
        command::cargo()
            .args(["build", "--release", "--bins", "--locked"])
            // Named, the target alone is instrumented: build scripts have no libFuzzer to link with.
            .args(["--target", host])
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", &built)
            .env("RUSTFLAGS", INSTRUMENTATION),
    )?;
    let targets = match target {
        Some(target) => vec![target],
        None => targets(&folder.join("fuzz_targets"))?,
    };
    for target in targets {
        // What was found interesting is kept for the next run.
        let corpus = built.join("corpus").join(&target);
        let artifacts = folder.join("artifacts").join(&target);
        for dir in [&corpus, &artifacts] {
            fs::create_dir_all(dir).map_err(ChoreError::io("create", dir))?;
        }
        if target == "configuration" {
            let template = workspace::root().join("docs/config.toml");
            let copied = fs::copy(&template, corpus.join("template"));
            copied.map_err(ChoreError::io("copy", &template))?;
        }
        command::run(
            Command::new(built.join(host).join("release").join(&target))
                .arg(&corpus)
                .args(seeds(&folder, &target))
                .arg(format!("-max_total_time={seconds}"))
                .arg(format!("-max_len={MAX_LEN}"))
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                .args(["-timeout=10", "-print_final_stats=1", "-verbosity=0"]),
        )?;
    }
    Ok(())
}

/// Where a target's valid examples are: those of its own, and what the repository has of the kind anyway.
fn seeds(folder: &Path, target: &str) -> Vec<PathBuf> {
    let root = workspace::root();
    let own = folder.join("corpus").join(target);
    let others = match target {
        "wire_server" | "wire_client" => Some(root.join("proto/vectors")),
        "helper_input" => Some(root.join("crates/authctl/src/command/import/fixtures")),
        _ => None,
    };
    let all = [Some(own), others].into_iter().flatten();
    all.filter(|dir| dir.is_dir()).collect()
}

/// The names of the targets, in order.
fn targets(folder: &Path) -> Result<Vec<String>, ChoreError> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .map_err(ChoreError::io("read", folder))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort_unstable();
    Ok(names)
}
