//! `authctl status` ↔ `daemon.status`, `account.list`, `account.get`, `subscribe`.

mod show;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use authd_client::{Client, ClientError};
use authd_proto::request::{AccountGet, DaemonStatus, Subscribe};
use authd_proto::response::{AccountInfo, DaemonStatusReply, FlagName, State};
use authd_proto::{Event, ExitStatus};
use clap::Args;
use serde::Serialize;

use crate::cli::Json;
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// How often what counts down is drawn anew.
const TICK: Duration = Duration::from_secs(1);

/// Show how the daemon and the accounts are
///
/// Exit status: 0 all is well, 1 the store cannot be read or written, 4 an account needs a login, 6 the store
/// is locked, 7 there is no daemon. The daemon is not started.
#[derive(Args)]
pub(crate) struct StatusArgs {
    /// This account alone, and more about it
    account: Option<String>,

    /// Keep watching: show every change until interrupted
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    json: Json,
}

/// What `status --json` prints.
#[derive(Serialize)]
struct Report {
    /// `None` where no daemon runs.
    daemon: Option<DaemonStatusReply>,
    accounts: Vec<AccountInfo>,
}

impl Report {
    fn ask(client: &mut Client, account: Option<&str>) -> Result<Self, Failure> {
        let daemon = daemon::ask(client, &DaemonStatus {})?;
        // While the store is shut nobody knows the accounts; the store's line says why.
        let accounts = match account {
            _ if is_shut(&daemon) => Vec::new(),
            Some(account) => vec![daemon::ask(
                client,
                &AccountGet {
                    account: account.to_owned(),
                },
            )?],
            None => daemon::accounts(client)?,
        };
        Ok(Self {
            daemon: Some(daemon),
            accounts,
        })
    }

    /// Whether the store is not open, so that the accounts are not known.
    fn is_shut(&self) -> bool {
        self.daemon.as_ref().is_some_and(is_shut)
    }

    fn status(&self) -> ExitStatus {
        match self
            .daemon
            .as_ref()
            .map(|daemon| daemon.store.state.as_str())
        {
            Some("locked") => return ExitStatus::Denied,
            Some("failed") => return ExitStatus::Failure,
            _ => {}
        }
        if self.accounts.iter().any(needs_login) {
            ExitStatus::LoginRequired
        } else {
            ExitStatus::Success
        }
    }
}

fn is_shut(daemon: &DaemonStatusReply) -> bool {
    matches!(daemon.store.state.as_str(), "locked" | "failed")
}

/// Whether the person has to log in to `account` again.
pub(crate) fn needs_login(account: &AccountInfo) -> bool {
    account.state == State::NeedsLogin
        || account
            .flags
            .iter()
            .any(|flag| flag.flag == FlagName::NeedsLogin)
}

pub(crate) fn run(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let mut client = match daemon::running() {
        Ok(client) => client,
        Err(failure) => {
            if args.json.json && failure.is_not_running() {
                output::json(&Report {
                    daemon: None,
                    accounts: Vec::new(),
                })?;
            }
            return Err(failure);
        }
    };
    if args.watch {
        return watch(client, args);
    }
    let report = Report::ask(&mut client, args.account.as_deref())?;
    if args.json.json {
        output::json(&report)?;
    } else {
        output::line(render(&report, args))?;
    }
    Ok(ExitCode::from(report.status() as u8))
}

fn render(report: &Report, args: &StatusArgs) -> String {
    let mut text = show::overview(report, output::now(), output::columns());
    if let (Some(_), [account]) = (&args.account, report.accounts.as_slice()) {
        text.push_str("\n\n");
        text.push_str(&show::details(account, output::now()));
    }
    text
}

/// Shows the report whenever an event comes, on a terminal each second too. Ends with the daemon.
fn watch(mut client: Client, args: &StatusArgs) -> Result<ExitCode, Failure> {
    daemon::ask(
        &mut client,
        &Subscribe {
            events: None,
            account: args.account.clone(),
        },
    )?;
    // Subscribed first and asked afterwards, so no change falls in between.
    let redraw = output::to_terminal() && !args.json.json;
    loop {
        let report = Report::ask(&mut client, args.account.as_deref())?;
        if args.json.json {
            output::json_line(&report)?;
        } else if redraw {
            draw(&render(&report, args))?;
        } else {
            output::line(format_args!("{}\n", render(&report, args)))?;
        }
        next_event(&mut client, redraw.then_some(TICK))?;
        // What has piled up is one change to look at.
        while next_event(&mut client, Some(Duration::ZERO))?.is_some() {}
    }
}

fn next_event(client: &mut Client, timeout: Option<Duration>) -> Result<Option<Event>, Failure> {
    let event = client.next_event(timeout).map_err(|error| match error {
        ClientError::Closed => Failure::DaemonEnded,
        error => error.into(),
    })?;
    event.iter().try_for_each(daemon::unless_locked)?;
    Ok(event)
}

/// Draws over what was drawn before. The movements bypass `--color`: they are no colour.
fn draw(text: &str) -> Result<(), Failure> {
    const HOME: &[u8] = b"\x1b[H";
    const CLEAR_LINE_END: &str = "\x1b[K\n";
    const CLEAR_BELOW: &[u8] = b"\x1b[J";
    output::bytes(HOME)?;
    let mut out = anstream::stdout().lock();
    for line in text.lines() {
        write!(out, "{line}").map_err(Failure::Stdout)?;
        out.flush().map_err(Failure::Stdout)?;
        output::bytes(CLEAR_LINE_END.as_bytes())?;
    }
    output::bytes(CLEAR_BELOW)
}
