//! Passphrases: typed unseen on the terminal, or by the line on standard input; never on the command line,
//! nor in a variable.

use std::thread;

use authd_proto::{ErrorCode, WireSecret};
use clap::Args;

use crate::exit::Failure;
use crate::input::{self, Keyboard};
use crate::output;

/// How often somebody may mistype one, as with other programs that ask.
const TRIES: usize = 3;

/// `--passphrase-stdin`.
#[derive(Args, Clone, Copy)]
pub(crate) struct PassphraseStdin {
    /// Read the passphrase from standard input instead of asking for it
    #[arg(long = "passphrase-stdin")]
    stdin: bool,
}

/// Where passphrases come from.
pub(crate) enum Passphrases {
    /// From its lines, in the order in which they are needed.
    Stdin,
    /// From somebody who types. Kept from the first question to the last: what is typed in between is not
    /// shown either.
    Terminal(Keyboard),
}

impl PassphraseStdin {
    pub(crate) fn is_given(self) -> bool {
        self.stdin
    }

    /// # Errors
    /// [`Failure::NoPassphrase`] where nobody can be asked.
    pub(crate) fn source(self) -> Result<Passphrases, Failure> {
        if self.stdin {
            return Ok(Passphrases::Stdin);
        }
        let keyboard = Keyboard::take().ok_or(Failure::NoPassphrase)?;
        Ok(Passphrases::Terminal(keyboard))
    }
}

impl Passphrases {
    /// Has `ask` do what takes the passphrase that protects the key now. Whoever types another one is asked
    /// again, after the pause that the daemon wants.
    pub(crate) fn current<T>(
        &self,
        mut ask: impl FnMut(WireSecret) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut once = || ask(self.next("the passphrase", "Passphrase (not shown): ")?);
        if let Self::Terminal(_) = self {
            for _ in 1..TRIES {
                match once() {
                    Err(failure) if failure.wire_code() == Some(ErrorCode::WrongPassphrase) => {
                        output::note(failure.message());
                        thread::sleep(failure.retry_after());
                    }
                    reply => return reply,
                }
            }
        }
        once()
    }

    /// The one that is to protect it; typed twice.
    pub(crate) fn new_one(&self) -> Result<WireSecret, Failure> {
        let first = self.next("the new passphrase", "New passphrase (not shown): ")?;
        if let Self::Terminal(_) = self {
            let second = self.next("", "The same once more: ")?;
            if first.expose() != second.expose() {
                return Err(Failure::PassphrasesDiffer);
            }
        }
        Ok(first)
    }

    /// `what` names it where standard input has none.
    fn next(&self, what: &'static str, prompt: &str) -> Result<WireSecret, Failure> {
        match self {
            Self::Stdin => input::secret(what),
            Self::Terminal(keyboard) => {
                let typed = keyboard.secret(prompt).ok_or(Failure::GivenUp)?;
                Ok(WireSecret::new(typed))
            }
        }
    }
}
