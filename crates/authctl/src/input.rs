//! Standard input: secrets that must not stand on the command line, the pasted redirect, and what a person
//! answers.

#[cfg(not(unix))]
#[path = "input/console.rs"]
mod keyboard;
#[cfg(unix)]
mod keyboard;
#[cfg(unix)]
mod line;

use std::io::{self, BufRead, IsTerminal, PipeReader, PipeWriter, Read};

use authd_proto::WireSecret;
use authd_proto::limits::MAX_FRAME;

pub(crate) use self::keyboard::{Keyboard, release};
use crate::exit::Failure;

/// Reads the first line of standard input. `what` names it in errors.
///
/// Not from a terminal: what is typed there is shown.
pub(crate) fn secret(what: &'static str) -> Result<WireSecret, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::SecretFromTerminal { what });
    }
    // Through the shared buffer, so that lines after the first are still there for who comes next.
    match first_line(stdin.lock()) {
        Ok(line) if line.is_empty() => Err(Failure::NothingOnStdin { what }),
        Ok(line) => Ok(WireSecret::new(line)),
        Err(source) => Err(Failure::Stdin { what, source }),
    }
}

/// No more than a frame could carry: input without an end is an error, not a full memory.
fn first_line(input: impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.take(MAX_FRAME as u64).read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// Closing the writer ends what [`Keyboard::lines`] yields.
pub(crate) fn waker() -> Result<(PipeReader, PipeWriter), Failure> {
    io::pipe().map_err(|source| Failure::Stdin {
        what: "an answer",
        source,
    })
}

/// The lines of standard input that are not empty, until its end.
pub(crate) fn lines() -> impl Iterator<Item = WireSecret> {
    std::iter::from_fn(|| {
        let mut line = String::new();
        match io::stdin()
            .lock()
            .take(MAX_FRAME as u64)
            .read_line(&mut line)
        {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(WireSecret::new(line.trim())),
        }
    })
    .filter(|line| !line.expose().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_to_the_letter() {
        let read = |text: &str| first_line(text.as_bytes()).unwrap();
        assert_eq!(read("s3 cr\u{e9}t \r\nrest"), "s3 cr\u{e9}t ");
        assert_eq!(read("alone"), "alone");
        assert_eq!(read("\n"), "");
    }
}
