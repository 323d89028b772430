//! `authctl events` ↔ `events.query`, `subscribe`: the story of a login.
//!
//! To follow without a gap or a double it subscribes first and lists afterwards, and passes over what it
//! has shown already; after a gap (events came faster than they were read, or the daemon was restarted)
//! it asks for what came since.

pub(super) mod show;

use std::num::NonZero;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use authd_client::{Client, ClientError};
use authd_proto::event::{Event, EventKind};
use authd_proto::request::{AccountGet, EventsQuery, Subscribe};
use authd_proto::{ErrorCode, limits};
use clap::Args;

use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// Shown where neither --since nor --limit says how many.
const DEFAULT_LIMIT: usize = 100;
/// Between two looks whether the daemon is back: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// What the story is without: events that say again what others have said.
const TOLD_ELSEWHERE: &[EventKind] = &[EventKind::Token, EventKind::State];

/// Show what happened to your logins, and what happens next
///
/// One line an event: when, to which account, why it was renewed, what the provider said, what comes
/// next. Times are local. Events are kept on disk, the latest 10,000 or so. Without --since and --limit,
/// the latest 100 are shown.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    authctl events work                 the story of one login\n  \
    authctl events --since 1h           all that happened in the last hour\n  \
    authctl events -f --json            as it happens, for programs")]
pub(crate) struct EventsArgs {
    /// This account alone
    account: Option<String>,

    /// The same
    #[arg(
        long = "account",
        value_name = "ACCOUNT",
        conflicts_with = "account",
        hide = true
    )]
    named: Option<String>,

    /// Go on with what happens from now on, until interrupted
    #[arg(long, short)]
    follow: bool,

    /// Since when: 90s, 5m, 1h, 2d ago, or a time as RFC 3339 has it
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<u64>,

    /// The latest so many
    #[arg(long, value_name = "N")]
    limit: Option<NonZero<usize>>,

    /// What belongs to one attempt: the start and the end of an exchange
    #[arg(long, value_name = "ID")]
    attempt: Option<String>,

    /// What one request caused, by the trace id that came with it
    #[arg(long, value_name = "ID")]
    trace_id: Option<String>,

    /// Also what says nothing new: tokens published, states changed
    #[arg(long)]
    all: bool,

    /// Print JSON, an event a line, all there is of each; times are Unix seconds
    #[arg(long)]
    json: bool,
}

/// Reads `--since` as Unix seconds.
pub(crate) fn since(text: &str) -> Result<u64, String> {
    if let Ok(duration) = humantime::parse_duration(text) {
        return Ok(output::now().saturating_sub(duration.as_secs()));
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| "neither a duration like 90s, 5m, 1h, 2d nor an RFC 3339 time".to_owned())?;
    Ok(u64::try_from(time.as_second()).unwrap_or(0))
}

impl EventsArgs {
    fn account(&self) -> Option<&String> {
        self.account.as_ref().or(self.named.as_ref())
    }

    /// The kinds to ask for.
    fn kinds(&self) -> Option<Vec<EventKind>> {
        if self.all || self.json {
            return None;
        }
        let told_here = EventKind::ALL
            .iter()
            .filter(|kind| !TOLD_ELSEWHERE.contains(kind));
        Some(told_here.copied().collect())
    }

    fn query(&self) -> EventsQuery {
        EventsQuery {
            account: self.account().cloned(),
            events: self.kinds(),
            since_at: self.since,
            limit: Some(limits::MAX_PAGE as u64),
            ..EventsQuery::default()
        }
    }

    /// Whether the event is one that was asked for, beyond what the daemon sorts out.
    fn wants(&self, event: &Event) -> bool {
        let is = |asked: &Option<String>, has: &Option<String>| asked.is_none() || asked == has;
        is(&self.attempt, &event.attempt_id)
            && is(&self.trace_id, &event.trace_id)
            && (self.all || self.json || !show::is_told_elsewhere(event))
    }
}

pub(crate) fn run(args: &EventsArgs) -> Result<ExitCode, Failure> {
    let mut client = daemon::reach()?;
    if args.follow {
        return follow(client, args);
    }
    let mut teller = Teller::new(args);
    teller.list(&mut client)?;
    if teller.told == 0 {
        explain_silence(&mut client, args)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing may have happened; or the name may be wrong.
fn explain_silence(client: &mut Client, args: &EventsArgs) -> Result<(), Failure> {
    if let Some(account) = args.account() {
        let get = AccountGet {
            account: account.clone(),
        };
        match daemon::ask(client, &get) {
            Err(failure) if failure.wire_code() == Some(ErrorCode::UnknownAccount) => {
                return Err(failure);
            }
            _ => {}
        }
    }
    output::note("nothing of that kind has happened");
    Ok(())
}

/// Lists, and goes on with what happens; over restarts of the daemon. Ends when it is interrupted.
fn follow(client: Client, args: &EventsArgs) -> Result<ExitCode, Failure> {
    ctrlc::set_handler(|| std::process::exit(0))
        .map_err(|source| Failure::Interrupts { source })?;
    let mut teller = Teller::new(args);
    let mut client = client;
    let mut ended = subscribe(&mut client, args)
        .and_then(|()| teller.list(&mut client))
        .and_then(|()| teller.listen(&mut client));
    loop {
        match ended {
            Err(failure) if is_end_of_daemon(&failure) => {}
            Ok(()) => {}
            Err(failure) => return Err(failure),
        }
        output::note("the daemon has stopped; waiting for it to come back");
        ended = await_daemon(args).and_then(|mut client| {
            output::note("the daemon is back");
            teller.take_up(&mut client)?;
            teller.listen(&mut client)
        });
    }
}

fn subscribe(client: &mut Client, args: &EventsArgs) -> Result<(), Failure> {
    let wanted = Subscribe {
        events: args.kinds(),
        account: args.account().cloned(),
    };
    daemon::ask(client, &wanted).map(drop)
}

/// Whether it stopped, or is about to.
fn is_end_of_daemon(failure: &Failure) -> bool {
    match failure {
        Failure::Daemon(ClientError::Closed | ClientError::Io(_)) => true,
        failure => failure.is_not_running() || failure.wire_code() == Some(ErrorCode::ShuttingDown),
    }
}

/// Waits until a daemon is there again and has heard what is wanted. It is not started: whoever stopped
/// it may have meant it.
fn await_daemon(args: &EventsArgs) -> Result<Client, Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        let subscribed = daemon::running().and_then(|mut client| {
            subscribe(&mut client, args)?;
            Ok(client)
        });
        match subscribed {
            // The one before may still be on its way out.
            Err(failure) if is_end_of_daemon(&failure) => {}
            subscribed => return subscribed,
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Prints events, each once.
struct Teller<'a> {
    args: &'a EventsArgs,
    /// The greatest number seen.
    latest: u64,
    /// How many were printed.
    told: usize,
}

impl<'a> Teller<'a> {
    fn new(args: &'a EventsArgs) -> Self {
        Self {
            args,
            latest: 0,
            told: 0,
        }
    }

    /// What is remembered, as far as it was asked for.
    fn list(&mut self, client: &mut Client) -> Result<(), Failure> {
        match (self.args.limit, self.args.since) {
            (None, Some(_)) => self.list_forward(client),
            (limit, _) => self.list_latest(client, limit.map_or(DEFAULT_LIMIT, NonZero::get)),
        }
    }

    /// From the earliest on, a page at a time.
    fn list_forward(&mut self, client: &mut Client) -> Result<(), Failure> {
        let mut query = EventsQuery {
            after_seq: (self.latest > 0).then_some(self.latest),
            ..self.args.query()
        };
        loop {
            let page = daemon::ask(client, &query)?;
            for event in &page.events {
                self.tell(event)?;
            }
            query.cursor = page.cursor;
            if query.cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// The latest `limit`: from the newest page back, until there are enough.
    fn list_latest(&mut self, client: &mut Client, limit: usize) -> Result<(), Failure> {
        let mut query = EventsQuery {
            newest: true,
            ..self.args.query()
        };
        let mut found: Vec<Event> = Vec::new();
        loop {
            let page = daemon::ask(client, &query)?;
            let newest = page.events.last().map_or(0, |event| event.seq);
            self.latest = self.latest.max(newest);
            let wanted = page.events.into_iter().rev();
            found.extend(wanted.filter(|event| self.args.wants(event)));
            found.truncate(limit);
            query.cursor = page.cursor;
            if query.cursor.is_none() || found.len() >= limit {
                break;
            }
        }
        found.iter().rev().try_for_each(|event| self.print(event))
    }

    /// What is pushed, until the connection ends.
    fn listen(&mut self, client: &mut Client) -> Result<(), Failure> {
        loop {
            match client.next_event(None)? {
                Some(event) if event.event == EventKind::Lagged => self.list_forward(client)?,
                Some(event) => {
                    self.tell(&event)?;
                    daemon::unless_locked(&event)?;
                }
                None => {}
            }
        }
    }

    /// There was another daemon before: goes on with this one where that one ended.
    fn take_up(&mut self, client: &mut Client) -> Result<(), Failure> {
        let newest = EventsQuery {
            newest: true,
            limit: Some(1),
            ..EventsQuery::default()
        };
        let page = daemon::ask(client, &newest)?;
        if page
            .events
            .last()
            .is_none_or(|event| event.seq < self.latest)
        {
            // Its events were removed, and it counts anew.
            self.latest = 0;
        }
        self.list_forward(client)
    }

    fn tell(&mut self, event: &Event) -> Result<(), Failure> {
        if event.seq <= self.latest {
            return Ok(());
        }
        self.latest = event.seq;
        if self.args.wants(event) {
            self.print(event)?;
        }
        Ok(())
    }

    fn print(&mut self, event: &Event) -> Result<(), Failure> {
        self.told += 1;
        if self.args.json {
            return output::json_line(event);
        }
        let columns = output::to_terminal().then(output::columns);
        output::line(show::event(event, &jiff::tz::TimeZone::system(), columns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_duration_or_a_time() {
        let ago = |text| output::now() - since(text).unwrap();
        for (text, secs) in [("90s", 90), ("5m", 300), ("1h", 3600), ("2d", 172_800)] {
            assert!(ago(text).abs_diff(secs) <= 1, "{text}");
        }
        assert_eq!(since("2026-08-01T12:00:00Z"), Ok(1_785_585_600));
        assert_eq!(since("2026-08-01T14:00:00+02:00"), Ok(1_785_585_600));
        for wrong in ["yesterday", "5", "2026-13-01T00:00:00Z", ""] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
