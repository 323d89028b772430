//! `authctl unlock` ↔ `daemon.unlock`.

use std::process::ExitCode;

use authd_proto::key::{DaemonUnlock, DaemonUnlockReply};
use authd_proto::{ErrorCode, WireSecret};
use clap::Args;

use crate::cli::Json;
use crate::command::passphrase::PassphraseStdin;
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// The daemon waits for a key store within its own time-out, and so do we.
const WAIT_SECS: u64 = 150;

/// Open the store after a lock or a start
///
/// Where a passphrase protects the key it is asked for, on the terminal and without being shown. Where the
/// key store keeps the key, that is asked again, and must be unlocked first.
#[derive(Args)]
pub(crate) struct UnlockArgs {
    #[command(flatten)]
    passphrase: PassphraseStdin,

    #[command(flatten)]
    json: Json,
}

pub(crate) fn run(args: &UnlockArgs) -> Result<ExitCode, Failure> {
    let mut client = daemon::reach()?;
    let mut unlock = |passphrase: Option<WireSecret>| -> Result<DaemonUnlockReply, Failure> {
        let ask = DaemonUnlock { passphrase };
        daemon::ask_waiting(&mut client, &ask, WAIT_SECS)
    };
    let reply = if args.passphrase.is_given() {
        args.passphrase
            .source()?
            .current(|given| unlock(Some(given)))?
    } else {
        match unlock(None) {
            Err(failure) if failure.wire_code() == Some(ErrorCode::PassphraseRequired) => {
                // Where nobody can be asked, the daemon's word says what to do.
                let Ok(source) = args.passphrase.source() else {
                    return Err(failure);
                };
                source.current(|typed| unlock(Some(typed)))?
            }
            reply => reply?,
        }
    };
    if args.json.json {
        output::json(&reply)?;
    } else if reply.was_locked {
        let accounts = match reply.accounts {
            1 => "1 account is".to_owned(),
            accounts => format!("{accounts} accounts are"),
        };
        output::note(format_args!("unlocked; {accounts} there"));
    } else {
        output::note("it was not locked");
    }
    Ok(ExitCode::SUCCESS)
}
