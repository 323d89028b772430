//! `authctl completions`: a completion script for a shell.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Failure;
use crate::output;

/// Print the completion script of a shell
#[derive(Args)]
#[command(after_help = "Example: authctl completions bash > \
                        ~/.local/share/bash-completion/completions/authctl")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "authctl", &mut script);
    output::bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
