//! `authctl doctor`: what is not as it should be, and the command that mends it.
//!
//! It looks and changes nothing; the daemon is not started.

mod account;
mod daemon;
mod environment;
mod metadata;
mod place;

use std::fmt::Write as _;
use std::process::ExitCode;

use authd_client::Instance;
use clap::Args;
use serde::Serialize;

use crate::cli::Json;
use crate::exit::Failure;
use crate::output::{self, BAD, GOOD, WARN, clean, styled};

/// Find what is not as it should be, and how to mend it
///
/// Exit status: 1 when something fails, 0 otherwise; warnings are no failure.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    json: Json,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    /// It works, but not as well or as safely as it could.
    Warn,
    /// Something does not work.
    Fail,
}

/// What a check found.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    level: Level,
    message: String,
    /// The command that mends it.
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            message: message.into(),
            fix: None,
        }
    }

    fn warn(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Warn,
            message: message.into(),
            fix: Some(fix.into()),
        }
    }

    fn fail(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Fail,
            message: message.into(),
            fix: Some(fix.into()),
        }
    }
}

/// What `doctor --json` prints.
#[derive(Serialize)]
struct Diagnosis {
    /// The worst of the findings.
    level: Level,
    findings: Vec<Finding>,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let findings = examine();
    let is = |level| findings.iter().any(|finding| finding.level == level);
    let level = match (is(Level::Fail), is(Level::Warn)) {
        (true, _) => Level::Fail,
        (_, true) => Level::Warn,
        _ => Level::Ok,
    };
    if args.json.json {
        output::json(&Diagnosis { level, findings })?;
    } else {
        output::line(render(&findings))?;
    }
    Ok(match level {
        Level::Fail => ExitCode::FAILURE,
        Level::Ok | Level::Warn => ExitCode::SUCCESS,
    })
}

fn examine() -> Vec<Finding> {
    let now = output::now();
    let mut findings = vec![environment::clock(now)];
    match Instance::of_process() {
        Ok(instance) => {
            findings.push(place::program());
            findings.extend(place::socket(&instance));
            findings.extend(place::state(&instance.directories.state));
            findings.extend(daemon::check(&instance, now));
        }
        Err(error) => findings.push(Finding::fail(
            "paths",
            error.to_string(),
            "set the variable it names to an absolute path, or unset it",
        )),
    }
    findings.extend(environment::overrides(|name| {
        std::env::var_os(name).is_some_and(|value| !value.is_empty())
    }));
    findings
}

fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        if !text.is_empty() {
            text.push('\n');
        }
        let (style, word) = match finding.level {
            Level::Ok => (GOOD, "ok  "),
            Level::Warn => (WARN, "warn"),
            Level::Fail => (BAD, "FAIL"),
        };
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "{}  {:<13}{}",
            styled(style, word),
            finding.check,
            clean(&finding.message)
        );
        if let Some(fix) = &finding.fix {
            let _ = write!(text, "\n                   -> {}", clean(fix));
        }
    }
    text
}
