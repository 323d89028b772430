//! `authctl forget` ↔ `account.forget`.

use std::process::ExitCode;

use authd_proto::limits::DEFAULT_WAIT_SECS;
use authd_proto::request::AccountForget;
use clap::Args;

use crate::cli::Json;
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// Remove a login here, without telling the provider
///
/// The tokens stay valid at the provider until they expire; `logout` revokes them.
#[derive(Args)]
pub(crate) struct ForgetArgs {
    /// The account to forget
    account: String,

    #[command(flatten)]
    json: Json,
}

pub(crate) fn run(args: ForgetArgs) -> Result<ExitCode, Failure> {
    let forget = AccountForget {
        account: args.account,
    };
    // The daemon waits so long for a renewal that is under way.
    let reply = daemon::ask_waiting(&mut daemon::reach()?, &forget, DEFAULT_WAIT_SECS)?;
    if args.json.json {
        output::json(&reply)?;
    } else {
        output::note(format_args!(
            "forgot '{}'; the provider was not told",
            output::clean(&reply.account)
        ));
    }
    Ok(ExitCode::SUCCESS)
}
