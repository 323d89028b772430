//! How an event looks: one line, wrapped on a terminal, whole where a program reads it.

use anstyle::Style;
use authd_proto::event::{Event, EventKind};
use authd_proto::response::State;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::output::{BAD, GOOD, STRONG, WARN, clean, span, styled};

/// Columns that an account's name takes at least, so that the text after it stands in line.
const NAME: usize = 8;
/// Where the text goes on: beneath its beginning after a name of that length.
const INDENT: usize = 19 + 2 + NAME + 2;
/// A narrower terminal is left to wrap by itself.
const NARROWEST: usize = 50;

/// Whether another event says the same in better words.
pub(super) fn is_told_elsewhere(event: &Event) -> bool {
    matches!(
        (event.event, event.outcome.as_deref()),
        // By the event for the person; by the account's.
        (EventKind::Decision, Some("login_needed" | "adopted"))
            // By the exchange that brought the first tokens.
            | (EventKind::Login, Some("ok"))
            | (EventKind::Account, Some("added"))
    )
}

/// The event as a person reads it, in local time `zone`; no wider than `columns` where there is such a
/// bound.
pub(super) fn event(event: &Event, zone: &TimeZone, columns: Option<u16>) -> String {
    let what = what(event);
    let rest = [next(event), event.hint.clone()];
    let rest = rest.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let separator = if rest.is_empty() { "" } else { ";" };
    let words = [
        (style(event), format!("{what}{separator}")),
        (Style::new(), rest),
    ];
    let name = event.account.as_deref().unwrap_or("(authd)");
    row(event.at, name, &words, zone, columns)
}

/// A line about `name` at a time (Unix seconds), in local time `zone`; no wider than `columns` where there is
/// such a bound. What the terminal would act on is taken out of the words.
pub(in crate::command) fn row(
    at: u64,
    name: &str,
    words: &[(Style, String)],
    zone: &TimeZone,
    columns: Option<u16>,
) -> String {
    let time = time(at, zone);
    let name = clean(name);
    let padding = " ".repeat(NAME.saturating_sub(name.chars().count()));
    let head = format!("{time}  {}{padding}  ", styled(STRONG, &name));
    let column = time.chars().count() + 2 + name.chars().count().max(NAME) + 2;
    let words: Vec<_> = words
        .iter()
        .map(|(style, text)| (*style, clean(text).into_owned()))
        .collect();
    let columns = columns
        .map(usize::from)
        .filter(|columns| *columns >= NARROWEST);
    head + &wrapped(&words, column, columns.unwrap_or(usize::MAX))
}

fn time(at: u64, zone: &TimeZone) -> String {
    let time = i64::try_from(at).ok().map(Timestamp::from_second);
    match time {
        Some(Ok(time)) => {
            let local = time.to_zoned_datetime(zone.clone());
            local.strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        _ => at.to_string(),
    }
}

/// Breaks between words; the first of them stands in `column`.
fn wrapped(parts: &[(Style, String)], mut column: usize, columns: usize) -> String {
    let mut text = String::new();
    let mut is_first = true;
    for (style, words) in parts {
        for word in words.split_whitespace() {
            let length = word.chars().count();
            let gap = usize::from(!is_first);
            if column + gap + length > columns && column > INDENT {
                text.push('\n');
                text.push_str(&" ".repeat(INDENT));
                column = INDENT;
            } else if !is_first {
                text.push(' ');
                column += 1;
            }
            if *style == Style::new() {
                text.push_str(word);
            } else {
                text.push_str(&styled(*style, word));
            }
            column += length;
            is_first = false;
        }
    }
    text
}

fn style(event: &Event) -> Style {
    let outcome = event.outcome.as_deref();
    match (event.event, outcome) {
        (EventKind::LoginNeeded, _) => BAD,
        (EventKind::Exchange | EventKind::Login, Some("ok")) if event.code.is_none() => GOOD,
        (EventKind::Login, _) | (_, Some("store_degraded" | "events_not_kept")) => BAD,
        (EventKind::Exchange, Some("started")) => Style::new(),
        (EventKind::Exchange | EventKind::Lagged, _) => WARN,
        _ if event.code.is_some() => WARN,
        _ => Style::new(),
    }
}

/// What happened.
fn what(event: &Event) -> String {
    let message = event.message.clone().unwrap_or_default();
    let outcome = event.outcome.as_deref().unwrap_or_default();
    let by = event
        .client
        .as_ref()
        .map_or_else(String::new, |client| format!(" (by {client})"));
    match event.event {
        EventKind::Token => match event.expires_at {
            Some(at) => format!(
                "a new token, good for {}",
                span(at.saturating_sub(event.at))
            ),
            None => "a new token".to_owned(),
        },
        EventKind::State => state(event),
        EventKind::Login => match outcome {
            "ok" => format!("logged in{by}"),
            "cancelled" => "the login was cancelled".to_owned(),
            "expired" => "nobody finished the login in time".to_owned(),
            _ => format!("the login failed: {message}"),
        },
        EventKind::Account => match outcome {
            "added" => "a new account".to_owned(),
            "logged_out" => "logged out".to_owned(),
            "forgotten" => "forgotten; the provider was not told".to_owned(),
            "adopted" => "adopted: it is renewed from now on".to_owned(),
            other => other.to_owned(),
        },
        EventKind::Daemon if message.is_empty() => match outcome {
            "started" => "the daemon started".to_owned(),
            "stopping" => "the daemon stops".to_owned(),
            "reloaded" => "the configuration was read again".to_owned(),
            "locked" => "the store was locked".to_owned(),
            "unlocked" => "the store was unlocked".to_owned(),
            "key_rotated" => "the store's key was replaced".to_owned(),
            "store_degraded" => "the store cannot be written".to_owned(),
            "store_opened" => "the store is open".to_owned(),
            "store_recovered" => "the store can be written again".to_owned(),
            other => other.to_owned(),
        },
        EventKind::Lagged => format!("{} events were missed", event.missed.unwrap_or_default()),
        EventKind::Exchange if outcome == "started" || event.generation == Some(1) => message + &by,
        EventKind::Decision => message + &by,
        _ if message.is_empty() => outcome.to_owned(),
        _ => message,
    }
}

fn state(event: &Event) -> String {
    let state = match event.state {
        Some(State::Fresh) => "fresh",
        Some(State::Due) => "due",
        Some(State::Refreshing) => "refreshing",
        Some(State::Late) => "late",
        Some(State::Expired) => "expired",
        Some(State::NeedsLogin) => "needs login",
        Some(State::Locked) => "locked",
        Some(State::Unknown) | None => "unknown",
    };
    let flags = event.flags.iter().flatten();
    let names = flags.filter_map(|flag| serde_json::to_value(flag).ok());
    let names: Vec<_> = names
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    if names.is_empty() {
        format!("now {state}")
    } else {
        format!("now {state}, {}", names.join(", "))
    }
}

/// What happens next, and when, as it was planned at the time.
fn next(event: &Event) -> Option<String> {
    let wait = event.next_at.map(|at| at.saturating_sub(event.at));
    let within = |wait| match wait {
        0 => "at once".to_owned(),
        wait => format!("in {}", span(wait)),
    };
    Some(match (event.next.as_deref()?, wait) {
        ("renewal", Some(wait)) => {
            let life = event.expires_at.map(|at| at.saturating_sub(event.at));
            let share = life
                .filter(|life| *life > 0 && wait <= *life)
                .map_or_else(String::new, |life| {
                    format!(", at {} % of its life", wait * 100 / life)
                });
            format!("next renewal {}{share}", within(wait))
        }
        ("keep_alive", Some(wait)) => {
            format!(
                "next renewal {}, to keep the unused login alive",
                within(wait)
            )
        }
        ("retry", Some(wait)) => format!("tries again {}", within(wait)),
        ("pause", Some(wait)) => format!("goes on {}", within(wait)),
        ("settling", Some(wait)) => format!("asks again {}", within(wait)),
        ("confirming", Some(wait)) => {
            format!("asks once more {}, before it is believed", within(wait))
        }
        // The hint says it.
        ("login", _) => return None,
        (other, Some(wait)) => format!("{} {}", other.replace('_', " "), within(wait)),
        (_, None) => return None,
    })
}

#[cfg(test)]
mod tests {
    use authd_proto::ErrorCode;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn of(kind: EventKind, outcome: &str, message: &str) -> Event {
        Event {
            account: Some("work".to_owned()),
            outcome: Some(outcome.to_owned()),
            message: (!message.is_empty()).then(|| message.to_owned()),
            ..Event::new(1, NOW, kind)
        }
    }

    fn story() -> Vec<Event> {
        let mut started = Event::new(1, NOW, EventKind::Daemon);
        started.outcome = Some("started".to_owned());
        let mut refused = of(
            EventKind::Exchange,
            "failed",
            "the provider refused the login: 400 invalid_grant, \"Token \x1b[2Jexpired\"",
        );
        refused.code = Some(ErrorCode::LoginRequired);
        (refused.next, refused.next_at) = (Some("confirming".to_owned()), Some(NOW + 83));
        let mut throttled = of(
            EventKind::Exchange,
            "failed",
            "the provider asks for a pause",
        );
        throttled.code = Some(ErrorCode::Throttled);
        (throttled.next, throttled.next_at) = (Some("pause".to_owned()), Some(NOW + 120));
        let mut renewed = of(EventKind::Exchange, "ok", "renewed");
        (renewed.next, renewed.next_at) = (Some("renewal".to_owned()), Some(NOW + 2_340));
        renewed.expires_at = Some(NOW + 3_600);
        let mut asked = of(
            EventKind::Exchange,
            "started",
            "renewing: a person asked for it",
        );
        asked.client = Some("authctl".to_owned());
        asked.account = Some("an.account.with.a.long.name".to_owned());
        let mut needed = of(EventKind::LoginNeeded, "told", "the login has ended");
        needed.hint = Some("run 'authctl login work'".to_owned());
        vec![started, asked, throttled, refused, needed, renewed]
    }

    fn shown(columns: Option<u16>) -> String {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let lines = story()
            .iter()
            .map(|one| event(one, &zone, columns) + "\n")
            .collect::<String>();
        anstream::adapter::strip_str(&lines).to_string()
    }

    #[test]
    fn on_a_terminal_it_fits() {
        let text = shown(Some(80));
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_program_reads_one_line_an_event() {
        insta::assert_snapshot!(shown(None));
    }

    #[test]
    fn a_narrow_terminal_still_shows_everything() {
        let flat = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        for columns in [1, 20, 49, 50, 60] {
            assert_eq!(flat(shown(Some(columns))), flat(shown(None)), "{columns}");
        }
    }
}
