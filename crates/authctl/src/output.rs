//! The one way to the terminal: standard output is data, standard error is for people.
//!
//! Whatever comes from outside (an account's label, a provider's words) goes through [`clean`] first:
//! control characters in it could rewrite what the person sees.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use serde::Serialize;

use crate::exit::Failure;

/// What is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What wants watching.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// What wants doing.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// What to look at first.
pub(crate) const STRONG: Style = Style::new().bold();

/// Where no terminal says how wide it is.
const COLUMNS: u16 = 80;

/// Applies `--color`. `auto` is colour on a terminal without `NO_COLOR`.
pub(crate) fn set_color(choice: ColorChoice) {
    match choice {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

/// Columns of the terminal behind standard output, else 80.
pub(crate) fn columns() -> u16 {
    terminal_size::terminal_size().map_or(COLUMNS, |(width, _)| width.0)
}

/// Whether standard output is a terminal.
pub(crate) fn to_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints a line of data.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(Failure::Stdout)
}

/// Prints bytes of data as they are.
pub(crate) fn bytes(data: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(data)
        .and_then(|()| out.flush())
        .map_err(Failure::Stdout)
}

/// Prints a JSON document: on one line, or indented where a person reads it.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = if to_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    }
    .map_err(|error| Failure::Stdout(error.into()))?;
    let mut text = escape(&text).into_owned();
    text.push('\n');
    bytes(text.as_bytes())
}

/// Prints one object of a stream of JSON lines.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::Stdout(error.into()))?;
    let mut text = escape(&text).into_owned();
    text.push('\n');
    bytes(text.as_bytes())
}

/// Tells the person something. Whether standard error still has a reader makes no difference.
pub(crate) fn tell(text: impl Display) {
    // In one write, so that lines of several commands on one terminal do not mix.
    let _ = anstream::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Tells the person something, in the one line that says who speaks.
pub(crate) fn note(text: impl Display) {
    tell(format_args!("authctl: {text}"));
}

/// `text` without what a terminal would act on; line breaks become spaces.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(acts_on_terminal) {
        return Cow::Borrowed(text);
    }
    let kept = text.chars().filter_map(|c| match c {
        '\n' | '\r' | '\t' => Some(' '),
        c if acts_on_terminal(c) => None,
        c => Some(c),
    });
    Cow::Owned(kept.collect())
}

/// JSON escapes the control characters below 0x20 only; a terminal acts on more. Outside of strings none
/// of them occurs, so the document means the same.
fn escape(json: &str) -> Cow<'_, str> {
    let acts = |c| acts_on_terminal(c) && c != '\n';
    if !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if acts(c) {
            // Writing into a string cannot fail; all of these are below 0x10000.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Control characters, and those that change the direction of the text around them.
fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Unix seconds now.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A duration in its two greatest units: `2d 3h`, `1h 5m`, `4m 10s`, `9s`.
pub(crate) fn span(secs: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = UNITS
        .iter()
        .position(|(size, _)| secs >= *size)
        .unwrap_or(UNITS.len() - 1);
    let (size, unit) = UNITS[first];
    let mut text = format!("{}{unit}", secs / size);
    if let Some((next, unit)) = UNITS.get(first + 1)
        && secs % size / next > 0
    {
        let _ = write!(text, " {}{unit}", secs % size / next);
    }
    text
}

/// `text` in `style`.
pub(crate) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_stripped() {
        assert_eq!(clean("plain – ünï"), "plain – ünï");
        assert_eq!(clean("a\x1b[31mb\x07\u{9b}2Jc\x7f"), "a[31mb2Jc");
        assert_eq!(clean("one\r\ntwo\tthree"), "one  two three");
        assert_eq!(clean("user\u{202e}gpj.exe"), "usergpj.exe");
    }

    #[test]
    fn json_keeps_its_meaning_and_loses_what_a_terminal_acts_on() {
        let value = serde_json::json!({ "name": "a\u{9b}2J\x7f\u{202e}b\x1b" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let safe = escape(&text);
        assert!(!safe.chars().any(|c| acts_on_terminal(c) && c != '\n'));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&safe).unwrap(),
            value
        );
    }

    #[test]
    fn a_span_has_its_two_greatest_units() {
        let shown = [0, 9, 60, 250, 3_600, 3_905, 90_000, 86_400, 86_430].map(span);
        let expected = [
            "0s", "9s", "1m", "4m 10s", "1h", "1h 5m", "1d 1h", "1d", "1d",
        ];
        assert_eq!(shown, expected);
    }
}
