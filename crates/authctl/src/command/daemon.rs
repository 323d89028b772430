//! `authctl daemon` ↔ `daemon.reload`, `daemon.stop`, `daemon.status`. Only `start` starts one where there is
//! none.

use std::process::ExitCode;

use authd_client::Instance;
use authd_proto::request::{DaemonReload, DaemonStatus, DaemonStop};
use authd_proto::response::DaemonStatusReply;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::Json;
use crate::command::service;
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// Start, reload, restart or stop the daemon
#[derive(Args)]
pub(crate) struct DaemonArgs {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do with it.
#[derive(Subcommand)]
enum Verb {
    /// Start the daemon where none runs
    Start {
        #[command(flatten)]
        json: Json,
    },
    /// Read the configuration again; a bad file changes nothing
    Reload {
        #[command(flatten)]
        json: Json,
    },
    /// Put the installed daemon into the place of the one that runs; no request is lost
    Restart {
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
    match args.verb {
        Verb::Start { json } => start(json),
        Verb::Reload { json } => reload(json),
        Verb::Restart { json } => restart(json),
        Verb::Stop { json } => stop(json),
    }
}

fn start(json: Json) -> Result<ExitCode, Failure> {
    let status = daemon::ask(&mut daemon::reach()?, &DaemonStatus {})?;
    if json.json {
        output::json(&status)?;
    } else {
        output::note(format_args!("the daemon (pid {}) runs", status.pid));
    }
    Ok(ExitCode::SUCCESS)
}

fn reload(json: Json) -> Result<ExitCode, Failure> {
    let reply = daemon::ask(&mut daemon::running()?, &DaemonReload {})?;
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
    Ok(ExitCode::SUCCESS)
}

/// What `daemon restart --json` prints.
#[derive(Serialize)]
struct Restarted {
    before: DaemonStatusReply,
    now: DaemonStatusReply,
}

fn restart(json: Json) -> Result<ExitCode, Failure> {
    let instance = Instance::of_process()?;
    let mut client = daemon::running()?;
    let before = daemon::ask(&mut client, &DaemonStatus {})?;
    daemon::check_successor()?;
    if service::runs(&instance, before.pid) {
        drop(client);
        service::restart(&instance)?;
    } else {
        daemon::replace(&instance, client)?;
    }
    let now = daemon::ask(&mut daemon::running()?, &DaemonStatus {})?;
    if json.json {
        output::json(&Restarted { before, now })?;
    } else {
        output::note(format_args!(
            "authd {} (pid {}) has taken the place of authd {} (pid {})",
            output::clean(&now.version),
            now.pid,
            output::clean(&before.version),
            before.pid
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn stop(json: Json) -> Result<ExitCode, Failure> {
    let mut client = daemon::running()?;
    let reply = daemon::ask(&mut client, &DaemonStop {})?;
    daemon::await_end(client)?;
    if json.json {
        output::json(&reply)?;
    } else {
        output::note(format_args!("the daemon (pid {}) has stopped", reply.pid));
    }
    Ok(ExitCode::SUCCESS)
}
