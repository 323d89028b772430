//! `authctl lock` ↔ `daemon.lock`. Does not start a daemon.

use std::process::ExitCode;

use authd_proto::key::DaemonLock;
use authd_proto::limits;
use clap::Args;

use crate::cli::Json;
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// Serve nobody until 'authctl unlock'
///
/// At once no program gets a token, and whoever waits for one is told so. Renewals on their way are finished
/// and written down; then the store's key and all tokens are out of memory. No login is lost, and nobody has
/// to log in again.
///
/// A lock holds until it is undone or the daemon starts anew. A new start is locked only where a passphrase
/// protects the key ('authctl key move --to passphrase').
#[derive(Args)]
pub(crate) struct LockArgs {
    /// How long to wait for renewals on their way
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::seconds, default_value = "10s")]
    wait: u64,

    #[command(flatten)]
    json: Json,
}

pub(crate) fn run(args: &LockArgs) -> Result<ExitCode, Failure> {
    let wait_secs = limits::wait_secs(Some(args.wait));
    let ask = DaemonLock {
        wait_secs: Some(wait_secs),
    };
    let reply = daemon::ask_waiting(&mut daemon::running()?, &ask, wait_secs)?;
    if args.json.json {
        output::json(&reply)?;
    } else if reply.wiped {
        output::note("locked; keys and tokens are out of memory");
    } else {
        output::note("locked; a renewal is still being finished, then keys and tokens go");
    }
    Ok(ExitCode::SUCCESS)
}
