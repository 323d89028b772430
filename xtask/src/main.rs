//! Every chore of the project in one place: `cargo xtask CHORE`.
//!
//! One file per chore; what a chore prints is for people, and its exit status is for scripts.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to the person who started it"
)]

mod apt;
mod check_platforms;
mod command;
mod error;
mod install;
mod lint;
mod purity;
mod setup;
mod test;
mod tool;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

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
    /// Install what the tests need (Debian packages, npm packages, cargo tools); safe to repeat
    Setup {
        /// Only say what is missing and how to install it
        #[arg(long)]
        no_install: bool,
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
    /// Build both release binaries and put them into ROOT/bin
    Install {
        /// Where to install [default: ~/.local]
        #[arg(long)]
        root: Option<PathBuf>,
    },
    /// Type-check authd and authctl for Windows, from Linux
    CheckPlatforms {
        /// Check for macOS as well
        #[arg(long)]
        macos: bool,
    },
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
        Chore::Setup { no_install } => setup::run(setup::Permission::from_flag(no_install)),
        Chore::Test {
            full,
            no_install,
            nextest,
        } => test::run(full, setup::Permission::from_flag(no_install), &nextest),
        Chore::Lint => lint::run(),
        Chore::Purity => purity::run(),
        Chore::Install { root } => install::run(root),
        Chore::CheckPlatforms { macos } => check_platforms::run(macos),
    }
}
