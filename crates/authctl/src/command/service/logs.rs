//! The log of a daemon that writes it to a file.

use std::fs;
use std::io;
use std::path::Path;
#[cfg(unix)]
use std::process::Command;
use std::process::ExitCode;

use crate::exit::Failure;
use crate::output;

/// Lines of the past that are shown before what comes.
#[cfg(unix)]
const BEFORE_FOLLOWING: usize = 10;

/// Prints it: all of it, or from `since` (Unix seconds) on.
pub(super) fn print(log: &Path, follow: bool, since: Option<u64>) -> Result<ExitCode, Failure> {
    let text = match fs::read(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !follow => {
            output::note(format_args!("there is no log yet: '{}'", log.display()));
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        text => text.map_err(|source| Failure::File {
            path: log.to_owned(),
            source,
        })?,
    };
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = since.map_or(0, |since| begins(&lines, since));
    if follow {
        return follow_from(log, since.map(|_| from + 1));
    }
    for line in &lines[from..] {
        output::line(output::clean(line))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The first line of `since` or later. One without a time belongs to the line before.
fn begins(lines: &[&str], since: u64) -> usize {
    let is_later = |line: &&str| {
        let time = line.split(' ').next().unwrap_or_default();
        let time = time.parse::<jiff::Timestamp>();
        time.is_ok_and(|time| u64::try_from(time.as_second()).is_ok_and(|at| at >= since))
    };
    lines.iter().position(is_later).unwrap_or(lines.len())
}

/// Goes on with what is written to the file, also to one that takes its place. `line` counts from 1.
#[cfg(unix)]
fn follow_from(log: &Path, line: Option<usize>) -> Result<ExitCode, Failure> {
    let from = line.map_or_else(|| BEFORE_FOLLOWING.to_string(), |line| format!("+{line}"));
    let mut tail = Command::new("tail");
    tail.args(["-n", &from, "-F", "--"]).arg(log);
    super::command::show("tail", &mut tail)
}

#[cfg(windows)]
fn follow_from(_: &Path, _: Option<usize>) -> Result<ExitCode, Failure> {
    Err(super::ServiceError::NoCommand("tail").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_begins_where_it_was_asked_for() {
        let lines = [
            "2026-01-01T00:00:00.5Z  INFO one",
            "2026-01-01T00:00:10Z  INFO two",
            "more of two",
            "2026-01-01T00:00:20Z  INFO three",
        ];
        let at = |second: u64| begins(&lines, 1_767_225_600 + second);
        assert_eq!(at(0), 0);
        assert_eq!(at(1), 1);
        assert_eq!(at(11), 3);
        assert_eq!(at(21), 4);
    }
}
