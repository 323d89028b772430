//! `authctl renew` ↔ `renew`.

use std::process::ExitCode;

use authd_proto::request::Renew;
use clap::Args;

use crate::cli::{Json, Slot, seconds};
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// Renew an account's access token now
///
/// Seldom needed: authd renews by itself, in time.
#[derive(Args)]
pub(crate) struct RenewArgs {
    /// The account to renew
    account: String,

    #[command(flatten)]
    slot: Slot,

    /// How long to wait for the provider
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = seconds)]
    wait: u64,

    #[command(flatten)]
    json: Json,
}

pub(crate) fn run(args: RenewArgs) -> Result<ExitCode, Failure> {
    let scopes = args.slot.scopes();
    let reply = daemon::ask_waiting(
        &mut daemon::reach()?,
        &Renew {
            account: args.account,
            scopes: scopes.map(|scopes| scopes.into_iter().map(str::to_owned).collect()),
            resource: args.slot.resource,
            wait_secs: Some(args.wait),
        },
        args.wait,
    )?;
    if args.json.json {
        output::json(&reply)?;
    } else {
        let life = reply.ttl_secs.map_or_else(
            || "for as long as the provider accepts it".to_owned(),
            |secs| format!("for {}", output::span(secs)),
        );
        output::note(format_args!(
            "renewed '{}'; the token is good {life}",
            output::clean(&reply.account)
        ));
    }
    Ok(ExitCode::SUCCESS)
}
