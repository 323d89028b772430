//! Lines from a console that edits and shows them itself, as that of Windows does.

use std::io::{self, IsTerminal as _, PipeReader, Write as _};

/// The console.
pub(crate) struct Keyboard(());

impl Keyboard {
    /// That on standard input; `None` where there is none, or where nobody sees a prompt.
    pub(crate) fn take() -> Option<Self> {
        (io::stdin().is_terminal() && io::stderr().is_terminal()).then_some(Self(()))
    }

    /// Reads a line behind `prompt`; `None` at the end of input.
    pub(crate) fn line(&self, prompt: &str) -> Option<String> {
        let mut out = io::stderr().lock();
        // A console that has gone ends the reading as well.
        let _ = out.write_all(prompt.as_bytes()).and_then(|()| out.flush());
        drop(out);
        let mut line = String::new();
        match io::stdin().read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
        }
    }

    /// The same. What was typed before is taken for the answer here.
    pub(crate) fn answer(&self, prompt: &str) -> Option<String> {
        self.line(prompt)
    }

    /// The same for a secret, which is not shown.
    pub(crate) fn secret(&self, prompt: &str) -> Option<String> {
        rpassword::prompt_password(prompt).ok()
    }

    /// Lines for another thread, until the end of input. A read that has begun is not woken here.
    pub(crate) fn lines(
        &self,
        prompt: &'static str,
        _woken: PipeReader,
    ) -> impl Iterator<Item = String> + Send + use<> {
        std::iter::from_fn(move || Self(()).line(prompt))
    }
}

/// There is nothing to put back.
pub(crate) fn release() {}
