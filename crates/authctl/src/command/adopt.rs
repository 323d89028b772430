//! `authctl adopt` ↔ `account.adopt`.

use std::process::ExitCode;

use authd_proto::request::AccountAdopt;
use clap::Args;

use crate::cli::Json;
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// Go on with a store that was restored or copied
///
/// authd renews nothing from a store that it finds on another machine or older than it was: the tokens
/// in it may be in use elsewhere, and using them twice can end the login in both places. Adopt it when
/// this is the only copy in use.
#[derive(Args)]
pub(crate) struct AdoptArgs {
    /// The account to adopt
    #[arg(required_unless_present = "all")]
    account: Option<String>,

    /// Adopt every account
    #[arg(long, conflicts_with = "account")]
    all: bool,

    #[command(flatten)]
    json: Json,
}

pub(crate) fn run(args: AdoptArgs) -> Result<ExitCode, Failure> {
    let reply = daemon::ask(
        &mut daemon::reach()?,
        &AccountAdopt {
            account: args.account,
        },
    )?;
    if args.json.json {
        output::json(&reply)?;
    } else if reply.adopted.is_empty() {
        output::note("there was nothing to adopt");
    } else {
        let names = reply.adopted.join(", ");
        output::note(format_args!("adopted {}", output::clean(&names)));
    }
    Ok(ExitCode::SUCCESS)
}
