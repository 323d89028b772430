//! A command of the user's that prints a secret.
//!
//! No shell, an environment with the names that a program of the user's needs and no others, nothing on
//! standard input, a time-out, a cap on what it prints; and all that it printed is wiped. What goes wrong
//! is told by the command's name and its exit status: what it printed, on either stream, is never told.

use std::{
    io::{self, Read},
    process::ExitStatus,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use authd_core::secret::Secret;
use zeroize::Zeroizing;

use crate::process::launcher::{self, LaunchError, Launcher, Life};

/// How long a command may take: a person may have to touch a key for it.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Most bytes that it may print.
const CAP: usize = 64 * 1024;

/// Why a command gave no secret. The user must mend it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandTrouble {
    #[error("the secret command is empty")]
    Empty,
    #[error("the secret command {0:?} did not start: {1}")]
    NotStarted(String, LaunchError),
    #[error("the secret command {0:?} ended with {1}")]
    Failed(String, ExitStatus),
    #[error("the secret command {0:?} took longer than {secs} s", secs = TIMEOUT.as_secs())]
    Overdue(String),
    #[error("the secret command {0:?} printed more than {CAP} bytes")]
    TooMuch(String),
    #[error("the secret command {0:?} printed nothing")]
    Nothing(String),
    #[error("the secret command {0:?} printed something that is no text")]
    NoText(String),
}

/// Runs the command and takes the first line that it prints. Blocks.
pub(crate) fn run(launcher: &Launcher, argv: &[String]) -> Result<Secret, CommandTrouble> {
    run_within(launcher, argv, TIMEOUT)
}

fn run_within(
    launcher: &Launcher,
    argv: &[String],
    timeout: Duration,
) -> Result<Secret, CommandTrouble> {
    let name = argv.first().ok_or(CommandTrouble::Empty)?.clone();
    let deadline = Instant::now() + timeout;
    let not_started = |error: LaunchError| CommandTrouble::NotStarted(name.clone(), error);
    let (output, theirs) = launcher::pipe().map_err(|error| not_started(error.into()))?;
    // Dropped, it is ended with all that it started: at every return from here.
    let mut running = launcher
        .run(argv, Some(theirs), Life::Asked)
        .map_err(not_started)?;
    let (sender, printed) = mpsc::sync_channel(1);
    // Ends with the command's output: at the latest when the command and its children are ended, but
    // for a child that left their group and keeps the output open. That one keeps this thread as well.
    thread::Builder::new()
        .name("secret-command".to_owned())
        .spawn(move || {
            let _ = sender.send(read(output));
        })
        .map_err(|error| not_started(error.into()))?;
    let printed = match printed.recv_timeout(timeout) {
        Ok(Ok(printed)) => printed,
        Ok(Err(_)) => return Err(CommandTrouble::Nothing(name)),
        Err(_) => return Err(CommandTrouble::Overdue(name)),
    };
    if printed.len() > CAP {
        return Err(CommandTrouble::TooMuch(name));
    }
    let status = match running.wait_until(deadline) {
        Ok(Some(status)) => status,
        Ok(None) => return Err(CommandTrouble::Overdue(name)),
        Err(error) => return Err(not_started(error)),
    };
    if !status.success() {
        return Err(CommandTrouble::Failed(name, status));
    }
    let text = std::str::from_utf8(&printed).map_err(|_| CommandTrouble::NoText(name.clone()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => Err(CommandTrouble::Nothing(name)),
    }
}

/// Reads to the end or one byte beyond the cap, into a buffer that never grows.
fn read(mut output: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut printed = Zeroizing::new(vec![0; CAP + 1]);
    let mut length = 0;
    while length < printed.len() {
        match output.read(&mut printed[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    printed.truncate(length);
    Ok(printed)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::testing::make_fifo;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn said(argv: &[String], timeout: Duration) -> String {
        let error = run_within(&Launcher::default(), argv, timeout)
            .err()
            .unwrap()
            .to_string();
        assert!(!error.contains("canary"), "{error}");
        error
    }

    #[test]
    fn the_first_line_is_the_secret() {
        let printed = run(
            &Launcher::default(),
            &shell("printf 's3 cret\\nuser: me\\n'"),
        );
        assert!(printed.ok().unwrap().matches("s3 cret"));
    }

    #[test]
    fn its_environment_is_scrubbed_and_its_input_empty() {
        let script = "cat; env | cut -d= -f1 | grep -c CARGO";
        // grep finds none, prints 0 and fails; the status of the pipe is its own.
        let error = said(&shell(script), TIMEOUT);
        assert!(error.contains("exit status: 1"), "{error}");
    }

    #[test]
    fn one_that_fails_is_named_with_its_status_and_not_its_words() {
        let error = said(&shell("echo canary; echo canary >&2; exit 3"), TIMEOUT);
        assert_eq!(error, "the secret command \"sh\" ended with exit status: 3");
        let missing = ["/no/such/program".to_owned()];
        assert!(said(&missing, TIMEOUT).contains("\"/no/such/program\" did not start"));
        assert!(matches!(
            run(&Launcher::default(), &[]),
            Err(CommandTrouble::Empty)
        ));
    }

    #[test]
    fn one_that_hangs_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("alive");
        make_fifo(&fifo);
        let path = fifo.display();
        // The inner one holds the pipe open for as long as it lives.
        let script = format!("sh -c 'echo alive; exec tail -f /dev/null' > {path} & wait");
        let reading = thread::spawn(move || std::fs::read_to_string(fifo));
        let error = said(&shell(&script), Duration::from_millis(500));
        assert!(error.contains("took longer than"), "{error}");
        assert_eq!(reading.join().unwrap().unwrap(), "alive\n");
    }

    #[test]
    fn one_that_closes_its_output_and_hangs_is_ended_too() {
        let script = "echo canary; exec >/dev/null; exec tail -f /dev/null";
        let error = said(&shell(script), Duration::from_millis(500));
        assert!(error.contains("took longer than"), "{error}");
    }

    #[test]
    fn one_that_prints_ten_megabytes_or_nothing_or_no_text_is_refused() {
        let error = said(&shell("head -c 10000000 /dev/zero"), TIMEOUT);
        assert!(error.contains("printed more than 65536 bytes"), "{error}");
        for script in ["true", "echo; echo canary"] {
            let error = said(&shell(script), TIMEOUT);
            assert!(error.contains("printed nothing"), "{error}");
        }
        let error = said(&shell("printf '\\377'"), TIMEOUT);
        assert!(error.contains("no text"), "{error}");
    }
}
