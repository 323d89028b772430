//! Every chore of the project in one place: `cargo xtask CHORE`.
//!
//! One file per chore; what a chore prints is for people, and its exit status is for scripts.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to the person who started it"
)]

mod apt;
mod bench;
mod check_platforms;
mod command;
mod daemon;
mod debian;
mod demo;
mod dist;
mod error;
mod fake_as;
mod foreign;
mod fuzz;
mod install;
mod lint;
mod mutants;
mod purity;
mod setup;
mod test;
mod tool;
mod windows_smoke;
mod wire;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::error::ChoreError;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Watch tokens turn over under eight clients, with a demo authorization server
    Demo {
        /// For how long
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Install what the tests need (Debian packages, npm packages, cargo tools); safe to repeat
    Setup {
        /// Only say what is missing and how to install it
        #[arg(long)]
        no_install: bool,
    },
    /// Measure the figures that authd promises, beside what they are compared with
    Bench {
        /// For how long the daemon is left alone to count its wake-ups
        #[arg(long, default_value_t = 120)]
        idle_secs: u64,
        /// A command of another agent that prints a token, such as "oidc-token work", to time
        /// beside ours; may be repeated
        #[arg(long, value_name = "COMMAND")]
        peer: Vec<String>,
    },
    /// Set up, then run every test of the ordinary tier
    Test {
        /// Run the long tests too
        #[arg(long)]
        full: bool,
        /// Do not install anything: fail with a list when something is missing
        #[arg(long)]
        no_install: bool,
        /// Passed on to `cargo nextest run`, for example a filter
        #[arg(last = true)]
        nextest: Vec<String>,
    },
    /// Formatting, clippy, documentation, licences and sources of dependencies, purity
    Lint,
    /// Prove that the core and the command stay free of what they must not depend on
    Purity,
    /// Fuzz what is read from outside: one target, or each in turn
    Fuzz {
        /// A file of fuzz/fuzz_targets, without .rs
        target: Option<String>,
        /// For how long, each
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Make small mistakes in a crate, one at a time, and see that its tests notice (hours)
    Mutants {
        /// The crate in which the mistakes are made
        #[arg(value_name = "CRATE", default_value = "core")]
        mutated: mutants::Mutated,
        /// Only one part of them: the k-th of n, counted from 0
        #[arg(long, value_name = "K/N")]
        shard: Option<String>,
    },
    /// Build both release binaries and put them into ROOT/bin
    Install {
        /// Where to install [default: ~/.local]
        #[arg(long)]
        root: Option<PathBuf>,
    },
    /// Make a Debian package, an archive, lists of their parts and checksums, in target/dist
    Dist {
        /// Install the package into a fresh Debian as well, use it there and purge it; as root
        #[arg(long)]
        check: bool,
        /// Who answers for the package, a name and an address in angle brackets [default: DEBFULLNAME and DEBEMAIL]
        #[arg(long)]
        maintainer: Option<String>,
    },
    /// Type-check authd and authctl for Windows and macOS, from Linux
    CheckPlatforms,
    /// Build authd and authctl for Windows and run them under wine: login, token, status
    WindowsSmoke,
}

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<(), ChoreError> {
    match chore {
        Chore::Demo { seconds } => demo::run(seconds),
        Chore::Bench { idle_secs, peer } => bench::run(Duration::from_secs(idle_secs), &peer),
        Chore::Setup { no_install } => setup::run(setup::Permission::from_flag(no_install)),
        Chore::Test {
            full,
            no_install,
            nextest,
        } => test::run(full, setup::Permission::from_flag(no_install), &nextest),
        Chore::Fuzz { target, seconds } => fuzz::run(target, seconds),
        Chore::Mutants { mutated, shard } => mutants::run(mutated, shard.as_deref()),
        Chore::Lint => lint::run(),
        Chore::Purity => purity::run(),
        Chore::Install { root } => install::run(root),
        Chore::Dist { check, maintainer } => dist::run(check, maintainer.as_deref()),
        Chore::CheckPlatforms => check_platforms::run(),
        Chore::WindowsSmoke => windows_smoke::run(),
    }
}
