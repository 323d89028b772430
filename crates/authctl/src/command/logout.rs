//! `authctl logout` ↔ `logout`.

use std::process::ExitCode;

use authd_proto::request::Logout;
use authd_proto::response::TokenKind;
use clap::Args;

use crate::cli::{Json, seconds};
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// Revoke a login at the provider and remove it here
///
/// What the provider cannot revoke now is kept sealed and tried again.
#[derive(Args)]
pub(crate) struct LogoutArgs {
    /// The account to log out
    account: String,

    /// How long to wait for the provider
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = seconds)]
    wait: u64,

    #[command(flatten)]
    json: Json,
}

pub(crate) fn run(args: LogoutArgs) -> Result<ExitCode, Failure> {
    let reply = daemon::ask_waiting(
        &mut daemon::reach()?,
        &Logout {
            account: args.account,
            wait_secs: Some(args.wait),
        },
        args.wait,
    )?;
    if args.json.json {
        output::json(&reply)?;
        return Ok(ExitCode::SUCCESS);
    }
    let account = output::clean(&reply.account);
    match (reply.revoked.as_slice(), reply.pending.as_slice()) {
        ([], []) => output::note(format_args!(
            "logged out '{account}'; the provider offers no revocation, its tokens expire by themselves"
        )),
        (revoked, []) => output::note(format_args!(
            "logged out '{account}'; revoked {}",
            kinds(revoked)
        )),
        ([], pending) => output::note(format_args!(
            "logged out '{account}'; not revoked yet, authd keeps trying: {}",
            kinds(pending)
        )),
        (revoked, pending) => output::note(format_args!(
            "logged out '{account}'; revoked {}; not revoked yet, authd keeps trying: {}",
            kinds(revoked),
            kinds(pending)
        )),
    }
    Ok(ExitCode::SUCCESS)
}

fn kinds(kinds: &[TokenKind]) -> String {
    let names = kinds.iter().map(|kind| match kind {
        TokenKind::RefreshToken => "the refresh token",
        TokenKind::AccessToken => "the access token",
        TokenKind::Unknown => "a token",
    });
    names.collect::<Vec<_>>().join(" and ")
}
