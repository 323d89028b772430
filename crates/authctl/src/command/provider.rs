//! `authctl provider` ↔ `provider.list`, `provider.show`.

mod show;

use std::process::ExitCode;

use authd_proto::provider::{ProviderInfo, ProviderList, ProviderShow};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::Json;
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// Providers that 'login --provider' knows by name
#[derive(Args)]
pub(crate) struct ProviderArgs {
    #[command(subcommand)]
    verb: Verb,
}

/// What to tell of them.
#[derive(Subcommand)]
enum Verb {
    /// List them: how to log in there, and what each needs to know
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Tell what is known of one, whence, and how to get a client id there
    Show {
        /// Its name, as 'authctl provider list' has it
        #[arg(value_name = "NAME")]
        provider: String,
        #[command(flatten)]
        json: Json,
    },
}

/// What `provider list --json` prints.
#[derive(Serialize)]
struct Listing {
    providers: Vec<ProviderInfo>,
}

pub(crate) fn run(args: ProviderArgs) -> Result<ExitCode, Failure> {
    let mut client = daemon::reach()?;
    match args.verb {
        Verb::List { json } => {
            let providers = daemon::pages(&mut client, |cursor| ProviderList {
                limit: None,
                cursor,
            })?;
            if json.json {
                output::json(&Listing { providers })?;
            } else {
                output::line(show::table(&providers, output::columns()))?;
            }
        }
        Verb::Show { provider, json } => {
            let shown = daemon::ask(&mut client, &ProviderShow { provider })?;
            if json.json {
                output::json(&shown)?;
            } else {
                output::line(show::all(&shown, output::columns()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
