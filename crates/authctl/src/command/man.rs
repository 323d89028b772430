//! `authctl man`: the manual, written by the command that it describes.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::exit::Failure;
use crate::{manual, output};

/// Print a manual page, or write them all
///
/// They are in the format of man(1), and come with packages of authd.
#[derive(Args)]
#[command(after_help = "Examples:\n  authctl man token | man -l -\n  \
                        authctl man --dir ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The command it is about, like 'token' or 'provider show'; authctl itself where none is named
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,

    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &ManArgs) -> Result<ExitCode, Failure> {
    let pages = manual::pages().map_err(Failure::Stdout)?;
    let Some(dir) = &args.dir else {
        let page = pages.iter().find(|page| page.command == args.command);
        let page = page.ok_or_else(|| Failure::NoSuchCommand {
            command: args.command.join(" "),
        })?;
        output::bytes(&page.text)?;
        return Ok(ExitCode::SUCCESS);
    };
    let written = |path: PathBuf| move |source| Failure::File { path, source };
    fs::create_dir_all(dir).map_err(written(dir.clone()))?;
    for page in &pages {
        let path = dir.join(&page.file_name);
        fs::write(&path, &page.text).map_err(written(path))?;
    }
    Ok(ExitCode::SUCCESS)
}
