//! Starting other programs: cargo above all, always shown before it runs.

use std::env;
use std::process::{Command, Stdio};

use crate::error::ChoreError;
use crate::workspace;

/// Cargo as it was started by the person, at the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root());
    // `cargo run` describes this package to us; inherited by another cargo, these would make
    // build scripts that watch them (ring's) run again at every turn.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text == "CARGO_BIN_NAME"
            || text == "CARGO_CRATE_NAME"
            || text == "CARGO_PRIMARY_PACKAGE"
        {
            command.env_remove(&name);
        }
    }
    command
}

/// Shows the command, runs it with our own stdout and stderr and no stdin, and fails unless it
/// succeeds.
pub(crate) fn run(command: &mut Command) -> Result<(), ChoreError> {
    eprintln!("$ {}", line(command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|source| spawn_error(command, source))?;
    if status.success() {
        Ok(())
    } else {
        Err(ChoreError::Failed {
            command: line(command),
            status,
        })
    }
}

/// Runs the command quietly and returns its stdout; stderr stays ours.
pub(crate) fn stdout(command: &mut Command) -> Result<String, ChoreError> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| spawn_error(command, source))?;
    if !output.status.success() {
        return Err(ChoreError::Failed {
            command: line(command),
            status: output.status,
        });
    }
    String::from_utf8(output.stdout).map_err(|error| ChoreError::Output {
        command: line(command),
        reason: error.to_string(),
    })
}

/// Whether the command can be started and succeeds; its output is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a program of this name stands on the PATH.
pub(crate) fn is_on_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// The command as a person would type it (arguments with spaces are not quoted).
pub(crate) fn line(command: &Command) -> String {
    let mut words = vec![
        std::path::Path::new(command.get_program())
            .file_name()
            .unwrap_or(command.get_program())
            .to_string_lossy()
            .into_owned(),
    ];
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

fn spawn_error(command: &Command, source: std::io::Error) -> ChoreError {
    ChoreError::Spawn {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    }
}
