//! Commands of the system's, with arguments that are fixed, and their errors in one line.

use std::io;
#[cfg(unix)]
use std::process::ExitCode;
use std::process::{Command, Stdio};

use super::ServiceError;
use crate::exit::Failure;
use crate::output;

/// How one ended.
pub(super) struct Ended {
    /// Its exit status; none where a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    /// Its last words, in one line, or how it ended.
    pub(super) why: String,
}

impl Ended {
    pub(super) fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs it to its end, with nothing to read.
pub(super) fn run(program: &'static str, command: &mut Command) -> Result<Ended, Failure> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_run(program, error))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| output::clean(line).into_owned())
        .collect();
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        why: if said.is_empty() {
            output.status.to_string()
        } else {
            said.join("; ")
        },
    })
}

/// The same for one that must succeed; `shown` is it in words. What it printed.
pub(super) fn succeed(
    program: &'static str,
    shown: &str,
    command: &mut Command,
) -> Result<String, Failure> {
    let ended = run(program, command)?;
    if ended.success() {
        return Ok(ended.stdout);
    }
    let refused = ServiceError::Refused {
        command: shown.to_owned(),
        why: ended.why,
    };
    Err(refused.into())
}

/// Runs it with our own standard output and error, and ends as it does.
#[cfg(unix)]
pub(super) fn show(program: &'static str, command: &mut Command) -> Result<ExitCode, Failure> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| not_run(program, error))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn not_run(program: &'static str, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => ServiceError::NoCommand(program).into(),
        _ => Failure::Program {
            program: program.to_owned(),
            source: error,
        },
    }
}
