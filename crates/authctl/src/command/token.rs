//! `authctl token` ↔ `token.get`, `token.reject`: the hot path.
//!
//! Tools run this before every request, so it does nothing that the answer does not need: it connects,
//! asks, and prints.

use std::process::ExitCode;

use authd_proto::SecretStr;
use authd_proto::request::{TokenGet, TokenReject};
use authd_proto::response::TokenReply;
use clap::{Args, ValueEnum};

use crate::cli::{Json, Slot, seconds};
use crate::daemon;
use crate::exit::Failure;
use crate::{input, output};

/// Print an access token that is alive
///
/// Nothing but the token goes to standard output. It never asks anything and never waits longer than
/// --wait.
#[derive(Args)]
pub(crate) struct TokenArgs {
    /// The account; may be left out where there is one, or where --resource decides
    account: Option<String>,

    #[command(flatten)]
    slot: Slot,

    /// How long the token must still live at least
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    min_ttl: Option<u64>,

    /// How long to wait for a renewal
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = seconds)]
    wait: u64,

    /// A server answered 401 to the token on standard input: print a newer one
    #[arg(long, requires = "account", conflicts_with = "min_ttl")]
    rejected: bool,

    /// What to print
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        conflicts_with = "json"
    )]
    format: Format,

    #[command(flatten)]
    json: Json,
}

/// How a token is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The token alone
    Text,
    /// All there is to know about it
    Json,
    /// An Authorization header
    Header,
}

pub(crate) fn run(args: &TokenArgs) -> Result<ExitCode, Failure> {
    let reply = match &args.account {
        Some(account) if args.rejected => reject(args, account)?,
        account => daemon::ask_waiting(
            &mut daemon::reach()?,
            &TokenGet {
                account: account.as_deref(),
                scopes: args.slot.scopes(),
                resource: args.slot.resource.as_deref(),
                min_ttl_secs: args.min_ttl,
                wait_secs: Some(args.wait),
            },
            args.wait,
        )?,
    };
    if output::to_terminal() {
        output::note(format_args!(
            "this shows a secret; to use it, write $(authctl token {})",
            output::clean(&reply.renewal.account)
        ));
    }
    print(
        &reply,
        if args.json.json {
            Format::Json
        } else {
            args.format
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn reject(args: &TokenArgs, account: &str) -> Result<TokenReply, Failure> {
    let rejected = input::secret("the rejected token")?;
    daemon::ask_waiting(
        &mut daemon::reach()?,
        &TokenReject {
            account,
            fingerprint: None,
            access_token: Some(SecretStr::new(rejected.expose())),
            scopes: args.slot.scopes(),
            resource: args.slot.resource.as_deref(),
            status: Some(401),
            www_authenticate: None,
            wait_secs: Some(args.wait),
        },
        args.wait,
    )
}

fn print(reply: &TokenReply, format: Format) -> Result<(), Failure> {
    let token = reply.access_token.expose();
    match format {
        Format::Json => output::json(reply),
        Format::Text => output::bytes(format!("{token}\n").as_bytes()),
        Format::Header => output::bytes(
            format!("Authorization: {} {token}\n", reply.renewal.token_type).as_bytes(),
        ),
    }
}
