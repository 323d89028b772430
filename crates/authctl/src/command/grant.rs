//! `authctl grant` ↔ `grant.list`, `grant.tier`, `grant.add`, `grant.revoke`: who has tokens without a question.

use std::path::PathBuf;
use std::process::ExitCode;

use authd_client::Client;
use authd_proto::approval::{
    AccountGrants, GrantAdd, GrantInfo, GrantList, GrantListReply, GrantRevoke, GrantTier, Tier,
};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::cli::{Json, seconds};
use crate::daemon::{self, Page};
use crate::exit::Failure;
use crate::output::{self, clean, span};

/// How long a change waits for the person, where the account asks.
const WAIT_SECS: u64 = 60;

/// Say which programs get tokens, and whether you are asked
///
/// Each account has a tier: 'allow' hands tokens to every program of yours, 'ask-once' asks you once
/// about each program (good until lock, 10 minutes without a request, or 12 hours), 'ask-each' asks
/// every time. A standing approval lets one program in without a question.
///
/// This keeps programs apart that mean well. It does not stop one that is out to deceive: programs of
/// one user can run and imitate each other.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    authctl grant tier work ask-once\n  \
    authctl grant add work --exe /usr/bin/git --for 8h\n  \
    authctl grant list")]
pub(crate) struct GrantArgs {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Subcommand)]
enum Verb {
    /// Set the tier of an account; asking less is asked about first
    Tier {
        /// The account
        account: String,
        /// Its tier from now on
        tier: WhichTier,
        #[command(flatten)]
        json: Json,
    },
    /// Let a program in without a question
    #[command(
        override_usage = "authctl grant add <ACCOUNT> --exe <PATH> [OPTIONS]\n       \
                          authctl grant add <ACCOUNT> --unit|--flatpak|--snap <NAME> [OPTIONS]"
    )]
    Add {
        /// The account
        account: String,
        #[command(flatten)]
        who: Who,
        /// For how long; without it, until it is revoked
        #[arg(long = "for", value_name = "DURATION", value_parser = seconds)]
        span: Option<u64>,
        #[command(flatten)]
        json: Json,
    },
    /// Show tiers and standing approvals
    List {
        /// This account alone
        account: Option<String>,
        #[command(flatten)]
        json: Json,
    },
    /// End a standing approval, or all of an account
    Revoke {
        /// The account
        account: String,
        /// The approval, by its number in 'grant list'
        #[arg(required_unless_present = "all")]
        id: Option<u64>,
        /// All of the account, and every answer you gave that still holds
        #[arg(long, conflicts_with = "id")]
        all: bool,
        #[command(flatten)]
        json: Json,
    },
}

/// A tier, as it is typed.
#[derive(Clone, Copy, ValueEnum)]
enum WhichTier {
    Allow,
    AskOnce,
    AskEach,
}

/// Who is let in.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// A program, by its path: one that root alone can replace, and no interpreter
    #[arg(long, value_name = "PATH")]
    exe: Option<PathBuf>,
    /// A service or scope of systemd's
    #[arg(long, value_name = "NAME")]
    unit: Option<String>,
    /// An application of Flatpak's
    #[arg(long, value_name = "ID")]
    flatpak: Option<String>,
    /// A snap
    #[arg(long, value_name = "NAME")]
    snap: Option<String>,
}

impl Who {
    fn name(&self) -> Result<String, Failure> {
        if let Some(path) = &self.exe {
            // The kernel names a program by where it is, not by the links that lead there.
            let found = path.canonicalize().map_err(|source| Failure::File {
                path: path.clone(),
                source,
            })?;
            return Ok(format!("exe:{}", found.display()));
        }
        let named = [
            ("unit", &self.unit),
            ("flatpak", &self.flatpak),
            ("snap", &self.snap),
        ];
        let name = named
            .into_iter()
            .find_map(|(kind, name)| name.as_ref().map(|name| format!("{kind}:{name}")));
        Ok(name.unwrap_or_default())
    }
}

/// Says who is not asked about at any tier. Whoever was let in while nobody was asked is among them.
fn note_standing(client: &mut Client, account: &str) -> Result<(), Failure> {
    let accounts = daemon::pages(client, |cursor| GrantList {
        account: Some(account.to_owned()),
        limit: None,
        cursor,
    })?;
    let standing: usize = accounts.iter().map(|account| account.grants.len()).sum();
    let account = clean(account);
    match standing {
        0 => {}
        1 => output::note(format_args!(
            "one standing approval lets a program in without a question: see 'authctl grant list {account}'"
        )),
        count => output::note(format_args!(
            "{count} standing approvals let programs in without a question: see 'authctl grant list {account}'"
        )),
    }
    Ok(())
}

impl Page for GrantListReply {
    type Entry = AccountGrants;

    fn turn(self) -> (Vec<AccountGrants>, Option<String>) {
        (self.accounts, self.cursor)
    }
}

/// What `grant list --json` prints.
#[derive(Serialize)]
struct Listing {
    accounts: Vec<AccountGrants>,
}

pub(crate) fn run(args: GrantArgs) -> Result<ExitCode, Failure> {
    let mut client = daemon::reach()?;
    match args.verb {
        Verb::Tier {
            account,
            tier,
            json,
        } => {
            let tier = match tier {
                WhichTier::Allow => Tier::Allow,
                WhichTier::AskOnce => Tier::AskOnce,
                WhichTier::AskEach => Tier::AskEach,
            };
            let ask = GrantTier {
                account,
                tier,
                wait_secs: Some(WAIT_SECS),
            };
            let reply = daemon::ask_waiting(&mut client, &ask, WAIT_SECS)?;
            if json.json {
                output::json(&reply)?;
            } else {
                let account = clean(&reply.account);
                let (now, before) = (word(reply.tier), word(reply.before));
                output::note(format_args!("'{account}': {now}; before it was {before}"));
                if reply.tier != Tier::Allow {
                    note_standing(&mut client, &reply.account)?;
                }
            }
        }
        Verb::Add {
            account,
            who,
            span,
            json,
        } => {
            let ask = GrantAdd {
                account,
                caller: who.name()?,
                for_secs: span,
                wait_secs: Some(WAIT_SECS),
            };
            let grant = daemon::ask_waiting(&mut client, &ask, WAIT_SECS)?;
            if json.json {
                output::json(&grant)?;
            } else {
                let account = clean(&grant.account);
                output::note(format_args!("'{account}': {}", shown(&grant)));
            }
        }
        Verb::List { account, json } => {
            let accounts = daemon::pages(&mut client, |cursor| GrantList {
                account: account.clone(),
                limit: None,
                cursor,
            })?;
            if json.json {
                output::json(&Listing { accounts })?;
            } else {
                list(&accounts)?;
            }
        }
        Verb::Revoke {
            account, id, json, ..
        } => {
            let ask = GrantRevoke {
                account,
                grant_id: id,
            };
            let reply = daemon::ask(&mut client, &ask)?;
            if json.json {
                output::json(&reply)?;
            } else {
                let account = clean(&reply.account);
                output::note(format_args!("'{account}': {} revoked", reply.revoked));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(accounts: &[AccountGrants]) -> Result<(), Failure> {
    let longest = accounts.iter().map(|one| one.account.chars().count()).max();
    let width = longest.unwrap_or(0).max("ACCOUNT".len());
    output::line(format_args!(
        "{:<width$}  {:<8}  APPROVED",
        "ACCOUNT", "TIER"
    ))?;
    for one in accounts {
        let mut grants = one.grants.iter().map(shown);
        let first = grants.next().unwrap_or_else(|| "-".to_owned());
        let name = clean(&one.account);
        output::line(format_args!(
            "{name:<width$}  {:<8}  {first}",
            word(one.tier)
        ))?;
        for grant in grants {
            output::line(format_args!("{:<width$}  {:<8}  {grant}", "", ""))?;
        }
    }
    Ok(())
}

fn shown(grant: &GrantInfo) -> String {
    let caller = clean(&grant.caller);
    let until = match grant.expires_at {
        Some(at) => format!("for {}", span(at.saturating_sub(output::now()))),
        None => "until it is revoked".to_owned(),
    };
    format!("{}: {caller}, {until}", grant.grant_id)
}

/// A tier as people type it.
pub(crate) fn word(tier: Tier) -> &'static str {
    match tier {
        Tier::Allow => "allow",
        Tier::AskOnce => "ask-once",
        Tier::AskEach => "ask-each",
        Tier::Unknown => "unknown",
    }
}
