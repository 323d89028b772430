//! `authctl logout` ↔ `logout`.

use std::process::ExitCode;

use authd_proto::request::Logout;
use authd_proto::response::TokenKind;
use clap::Args;

use super::login::browser;
use crate::cli::{Json, seconds};
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// Revoke a login at the provider and remove it here
///
/// What the provider cannot revoke now is kept sealed and tried again; 'authctl status' tells. Where the provider
/// has a page that ends the session of your browser, its address is shown.
#[derive(Args)]
pub(crate) struct LogoutArgs {
    /// The account to log out
    account: String,

    /// How long to wait for the provider
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = seconds)]
    wait: u64,

    /// Open the page where the session of your browser ends, if the provider has one
    #[arg(long)]
    browser: bool,

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
    let opened = args.browser && reply.end_session_url.as_deref().is_some_and(browser::open);
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
    match &reply.end_session_url {
        Some(_) if opened => {
            output::note("your browser opens the page that ends its session there")
        }
        Some(url) => output::tell(format_args!(
            "Your browser may still be signed in there; to end that too, open:\n\n  {}\n",
            output::clean(url)
        )),
        None if args.browser => {
            output::note("the provider names no page that ends the session of a browser");
        }
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Names tokens in a sentence.
pub(crate) fn kinds(kinds: &[TokenKind]) -> String {
    let names = kinds.iter().map(|kind| match kind {
        TokenKind::RefreshToken => "the refresh token",
        TokenKind::AccessToken => "the access token",
        TokenKind::Unknown => "a token",
    });
    names.collect::<Vec<_>>().join(" and ")
}
