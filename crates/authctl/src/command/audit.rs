//! `authctl audit` ↔ `audit.query`: who was given which token, and who was refused.

use std::num::NonZero;
use std::process::ExitCode;

use anstyle::Style;
use authd_client::{Client, ClientError};
use authd_proto::approval::Asks;
use authd_proto::audit::{AuditLine, AuditQuery, Because, Decision};
use authd_proto::limits;
use clap::Args;
use jiff::tz::TimeZone;

use super::events::{show, since};
use super::grant::word;
use crate::daemon;
use crate::exit::Failure;
use crate::output::{self, BAD, GOOD, WARN};

/// Shown where neither --since nor --limit says how many.
const DEFAULT_LIMIT: usize = 100;
/// How long one question for what comes next may wait. Another follows.
const WAIT_SECS: u64 = 60;

/// Show which program was given which token, and which was refused
///
/// One line for the first time that a connection gets a token, and one for how often it got it again:
/// each minute, and when it ends. Times are local. The log is kept on disk, the latest 8 MiB. It
/// holds no token: each is named by a fingerprint.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    authctl audit work                  who was given tokens of one account\n  \
    authctl audit --client git          what was given to git\n  \
    authctl audit -f --json             as it happens, for programs")]
pub(crate) struct AuditArgs {
    /// This account alone
    account: Option<String>,

    /// Programs whose name, path or unit, or what they say they are, has this in it
    #[arg(long, value_name = "TEXT")]
    client: Option<String>,

    /// Go on with what happens from now on, until interrupted
    #[arg(long, short)]
    follow: bool,

    /// Since when: 90s, 5m, 1h, 2d ago, or a time as RFC 3339 has it
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<u64>,

    /// The latest so many
    #[arg(long, value_name = "N")]
    limit: Option<NonZero<usize>>,

    /// Print JSON, a line each, all there is; times are Unix seconds
    #[arg(long)]
    json: bool,
}

impl AuditArgs {
    fn query(&self) -> AuditQuery {
        AuditQuery {
            account: self.account.clone(),
            client: self.client.clone(),
            since_at: self.since,
            limit: Some(limits::MAX_PAGE as u64),
            ..AuditQuery::default()
        }
    }

    fn print(&self, line: &AuditLine) -> Result<(), Failure> {
        if self.json {
            return output::json_line(line);
        }
        let columns = output::to_terminal().then(output::columns);
        output::line(shown(line, &TimeZone::system(), columns))
    }
}

pub(crate) fn run(args: &AuditArgs) -> Result<ExitCode, Failure> {
    let mut client = daemon::reach()?;
    let (told, latest) = match (args.limit, args.since) {
        (None, Some(_)) => list_forward(&mut client, args)?,
        (limit, _) => list_latest(&mut client, args, limit.map_or(DEFAULT_LIMIT, NonZero::get))?,
    };
    if args.follow {
        return follow(client, args, latest);
    }
    if told == 0 {
        output::note("nothing of that kind was written down");
    }
    Ok(ExitCode::SUCCESS)
}

/// From the earliest on, a page at a time: how many, and the last one's number.
fn list_forward(client: &mut Client, args: &AuditArgs) -> Result<(usize, u64), Failure> {
    let (mut told, mut latest) = (0, 0);
    let mut query = args.query();
    loop {
        let page = daemon::ask(client, &query)?;
        for line in &page.lines {
            args.print(line)?;
            (told, latest) = (told + 1, line.seq);
        }
        query.cursor = page.cursor;
        if query.cursor.is_none() {
            return Ok((told, latest));
        }
    }
}

/// The latest `limit`, from the newest page back.
fn list_latest(
    client: &mut Client,
    args: &AuditArgs,
    limit: usize,
) -> Result<(usize, u64), Failure> {
    let mut query = AuditQuery {
        newest: true,
        ..args.query()
    };
    let mut found: Vec<AuditLine> = Vec::new();
    loop {
        let page = daemon::ask(client, &query)?;
        found.extend(page.lines.into_iter().rev());
        query.cursor = page.cursor;
        if query.cursor.is_none() || found.len() >= limit {
            break;
        }
    }
    let latest = found.first().map_or(0, |line| line.seq);
    found.truncate(limit);
    found.iter().rev().try_for_each(|line| args.print(line))?;
    Ok((found.len(), latest))
}

/// What comes after line `latest`. Ends when it is interrupted, or with the daemon.
fn follow(mut client: Client, args: &AuditArgs, mut latest: u64) -> Result<ExitCode, Failure> {
    ctrlc::set_handler(|| std::process::exit(0))
        .map_err(|source| Failure::Interrupts { source })?;
    loop {
        let query = AuditQuery {
            after_seq: Some(latest),
            since_at: None,
            wait_secs: Some(WAIT_SECS),
            ..args.query()
        };
        let page = daemon::ask_waiting(&mut client, &query, WAIT_SECS);
        let page = page.map_err(|failure| match failure {
            Failure::Daemon(ClientError::Closed) => Failure::DaemonEnded,
            failure => failure,
        })?;
        for line in &page.lines {
            args.print(line)?;
            latest = line.seq;
        }
    }
}

/// The line as a person reads it, in local time `zone`.
fn shown(line: &AuditLine, zone: &TimeZone, columns: Option<u16>) -> String {
    let account = line.account.as_deref().unwrap_or("(authd)");
    let who = line.caller.as_ref().map(|caller| {
        let known = format!(" [{}]", caller.name);
        caller.summary()
            + if caller.name.starts_with("process:") {
                ""
            } else {
                &known
            }
    });
    let mut parts = vec![who.unwrap_or_default()];
    if let Some(claimed) = &line.claimed {
        parts.push(format!("claims \"{claimed}\""));
    }
    if !line.scopes.is_empty() {
        parts.push(format!("scopes {}", line.scopes.join(" ")));
    }
    parts.extend(
        line.resource
            .as_ref()
            .map(|resource| format!("for {resource}")),
    );
    let because = line.because.and_then(|because| match because {
        Because::Answer => Some("you said yes"),
        Because::Approval => Some("you said yes, until lock"),
        Because::Grant => Some("a standing approval"),
        Because::Tier | Because::Socket | Because::Unknown => None,
    });
    parts.extend(because.map(str::to_owned));
    if line.decision == Decision::Refused
        && let Some(tier) = line.tier
    {
        parts.push(format!("the tier is {}", word(tier)));
    }
    if let Some(since) = line.since_at {
        let secs = line.at.saturating_sub(since);
        let times = if line.count == 1 { "once" } else { "times" };
        let count = if line.count == 1 {
            String::new()
        } else {
            format!("{} ", line.count)
        };
        parts.push(format!("{count}{times} more within {}", output::span(secs)));
    }
    parts.extend(line.message.clone());
    parts.retain(|part| !part.is_empty());
    let (style, what) = decided(line);
    let words = [
        (style, format!("{what}:")),
        (Style::new(), parts.join("; ")),
    ];
    show::row(line.at, account, &words, zone, columns)
}

fn decided(line: &AuditLine) -> (Style, String) {
    let what = match line.asks {
        Some(Asks::Token) => "a token",
        Some(Asks::Proof) => "proofs",
        Some(Asks::Tier) => "the tier",
        Some(Asks::Grant) => "a standing approval",
        Some(Asks::Socket) => "a restricted socket",
        Some(Asks::Unknown) | None => "something",
    };
    match line.decision {
        Decision::HandedOut => (GOOD, format!("gave {what}")),
        Decision::Refused => {
            let code = line
                .code
                .map(|code| format!(" ({code})"))
                .unwrap_or_default();
            (BAD, format!("refused {what}{code}"))
        }
        Decision::Answered => (WARN, format!("you were asked for {what}")),
        Decision::Changed => (WARN, format!("changed {what}")),
        Decision::Unknown => (Style::new(), what.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use authd_proto::ErrorCode;
    use authd_proto::approval::{CallerInfo, Tier};

    use super::*;

    fn line(decision: Decision) -> AuditLine {
        AuditLine {
            asks: Some(Asks::Token),
            account: Some("work".into()),
            caller: Some(CallerInfo {
                name: "exe:/usr/bin/git".into(),
                pid: Some(900),
                executable: Some("/usr/bin/git".into()),
                ..CallerInfo::default()
            }),
            ..AuditLine::new(1_800_000_000, decision)
        }
    }

    fn plain(line: &AuditLine) -> String {
        let text = anstream::adapter::strip_str(&shown(line, &TimeZone::UTC, None)).to_string();
        text.replace("2027-01-15 08:00:00  work      ", "")
    }

    #[test]
    fn a_line_says_who_was_given_what_and_why() {
        let given = AuditLine {
            claimed: Some("helper\u{1b}[2J".into()),
            scopes: vec!["a".into(), "b".into()],
            because: Some(Because::Grant),
            ..line(Decision::HandedOut)
        };
        assert_eq!(
            plain(&given),
            "gave a token: /usr/bin/git (pid 900) [exe:/usr/bin/git]; claims \"helper[2J\"; scopes a b; \
             a standing approval"
        );
        let counted = AuditLine {
            count: 12,
            since_at: Some(1_800_000_000 - 60),
            code: Some(ErrorCode::Denied),
            tier: Some(Tier::AskEach),
            ..line(Decision::Refused)
        };
        assert_eq!(
            plain(&counted),
            "refused a token (denied): /usr/bin/git (pid 900) [exe:/usr/bin/git]; the tier is ask-each; \
             12 times more within 1m"
        );
    }
}
