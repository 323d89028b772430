//! `authctl list` ↔ `account.list`.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use authd_proto::response::AccountInfo;

use crate::cli::Json;
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// List the accounts, one name a line
#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    json: Json,
}

/// What `list --json` prints.
#[derive(Serialize)]
struct Listing {
    accounts: Vec<AccountInfo>,
}

pub(crate) fn run(args: &ListArgs) -> Result<ExitCode, Failure> {
    let accounts = daemon::accounts(&mut daemon::reach()?)?;
    if args.json.json {
        output::json(&Listing { accounts })?;
        return Ok(ExitCode::SUCCESS);
    }
    if accounts.is_empty() {
        output::note("no account yet: run 'authctl login NAME --issuer URL --client-id ID'");
    }
    let mut names = String::new();
    for account in &accounts {
        names.push_str(&output::clean(&account.account));
        names.push('\n');
    }
    output::bytes(names.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
