//! `authctl doctor`: what is not as it should be, and the command that mends it.
//!
//! It looks and changes nothing; the daemon is not started, and nothing is exchanged.

mod account;
mod daemon;
mod environment;
mod forks;
mod metadata;
mod place;
mod tools;

use std::fmt::Write as _;
use std::process::ExitCode;

use anstyle::Style;
use authd_client::Instance;
use authd_proto::doctor::{DoctorFinding, FindingLevel};
use clap::Args;
use serde::Serialize;

use crate::cli::Json;
use crate::exit::Failure;
use crate::output::{self, BAD, GOOD, WARN, clean, styled};

/// Find what is not as it should be, and how to mend it
///
/// Providers are asked for what they publish; nothing is exchanged, and nothing is changed. Exit status: 1
/// when something fails, 0 otherwise; warnings are no failure.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    json: Json,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    /// Nothing is wrong, and it is worth knowing.
    Note,
    /// It works, but not as well or as safely as it could.
    Warn,
    /// Something does not work.
    Fail,
}

/// What a check found.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    check: String,
    /// What was found, in one word that does not change.
    code: String,
    level: Level,
    message: String,
    /// The command that mends it.
    fix: Option<String>,
    /// Which provider it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// Which accounts it concerns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<String>,
}

impl Finding {
    fn new(check: &str, code: &str, level: Level, message: String, fix: Option<String>) -> Self {
        Self {
            check: check.to_owned(),
            code: code.to_owned(),
            level,
            message,
            fix,
            provider: None,
            accounts: Vec::new(),
        }
    }

    fn ok(check: &str, message: impl Into<String>) -> Self {
        Self::new(check, "ok", Level::Ok, message.into(), None)
    }

    fn note(check: &str, code: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, code, Level::Note, message.into(), Some(fix.into()))
    }

    fn warn(check: &str, code: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, code, Level::Warn, message.into(), Some(fix.into()))
    }

    fn fail(check: &str, code: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, code, Level::Fail, message.into(), Some(fix.into()))
    }
}

/// What the daemon found.
impl From<DoctorFinding> for Finding {
    fn from(found: DoctorFinding) -> Self {
        Self {
            check: found.check,
            code: found.code,
            level: match found.level {
                FindingLevel::Ok => Level::Ok,
                FindingLevel::Note => Level::Note,
                FindingLevel::Warn | FindingLevel::Unknown => Level::Warn,
                FindingLevel::Fail => Level::Fail,
            },
            message: found.message,
            fix: found.fix,
            provider: found.provider,
            accounts: found.accounts,
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
    let worst = findings.iter().map(|finding| finding.level).max();
    let level = worst.unwrap_or(Level::Ok);
    if args.json.json {
        output::json(&Diagnosis { level, findings })?;
    } else {
        output::line(render(&findings))?;
    }
    Ok(match level {
        Level::Fail => ExitCode::FAILURE,
        Level::Ok | Level::Note | Level::Warn => ExitCode::SUCCESS,
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
            "paths_unusable",
            error.to_string(),
            "set the variable it names to an absolute path, or unset it",
        )),
    }
    findings.extend(environment::overrides(environment::is_set));
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
            Level::Note => (Style::new(), "note"),
            Level::Warn => (WARN, "warn"),
            Level::Fail => (BAD, "FAIL"),
        };
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "{}  {:<13}{}",
            styled(style, word),
            clean(&finding.check),
            clean(&finding.message)
        );
        if let Some(fix) = &finding.fix {
            let _ = write!(text, "\n                   -> {}", clean(fix));
        }
    }
    text
}
