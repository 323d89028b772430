//! `authctl daemon` ↔ `daemon.reload`, `daemon.stop`. Neither starts a daemon.

use std::process::ExitCode;

use authd_proto::request::{DaemonReload, DaemonStop};
use clap::{Args, Subcommand};

use crate::cli::Json;
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// Reload or stop the daemon
#[derive(Args)]
pub(crate) struct DaemonArgs {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do with it.
#[derive(Subcommand)]
enum Verb {
    /// Read the configuration again; a bad file changes nothing
    Reload {
        #[command(flatten)]
        json: Json,
    },
    /// Stop the daemon; what it is doing with providers is finished first
    Stop {
        #[command(flatten)]
        json: Json,
    },
}

pub(crate) fn run(args: &DaemonArgs) -> Result<ExitCode, Failure> {
    let mut client = daemon::running()?;
    match args.verb {
        Verb::Reload { json } => {
            let reply = daemon::ask(&mut client, &DaemonReload {})?;
            if json.json {
                output::json(&reply)?;
                return Ok(ExitCode::SUCCESS);
            }
            if reply.changed.is_empty() {
                output::note("reloaded; nothing changed");
            } else {
                let names = reply.changed.join(", ");
                output::note(format_args!("reloaded; changed: {}", output::clean(&names)));
            }
            for warning in &reply.warnings {
                output::note(format_args!("warning: {}", output::clean(warning)));
            }
        }
        Verb::Stop { json } => {
            let reply = daemon::ask(&mut client, &DaemonStop {})?;
            daemon::await_end(client)?;
            if json.json {
                output::json(&reply)?;
            } else {
                output::note(format_args!("the daemon (pid {}) has stopped", reply.pid));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
