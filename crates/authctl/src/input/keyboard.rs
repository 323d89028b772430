//! Lines from a terminal, key by key. See [`super::line`] for why.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, PipeReader, Write as _};
use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
    tcgetpgrp, tcsetattr,
};

use super::line::{Line, Typed, tail};
use crate::exit::Failure;
use crate::output::clean;

/// How the terminal was before, while it is otherwise. Whoever ends the process has it put back, and so
/// does an interrupt.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// What is no key, in the terminal's table (`_POSIX_VDISABLE`).
const DISABLED: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

/// The terminal, its keys taken as they come; as it was before when this is dropped.
pub(crate) struct Keyboard {
    ahead: Ahead,
}

/// Keys that came behind the end of a line.
type Ahead = Arc<Mutex<VecDeque<u8>>>;

impl Keyboard {
    /// Takes the keys of the terminal on standard input; `None` where there is none, where nobody sees a
    /// prompt, or where another program has it: reading would stop a command in the background.
    ///
    /// From now on an interrupt ends the process with the terminal as it was, unless the command does
    /// something of its own on one.
    pub(crate) fn take() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        if tcgetpgrp(&stdin).ok()? != rustix::process::getpgrp() {
            return None;
        }
        // It fails only where there is a handler already.
        let _ = ctrlc::set_handler(|| {
            release();
            exit(Failure::GivenUp.status() as i32);
        });
        let before = tcgetattr(&stdin).ok()?;
        let mut keys = before.clone();
        // Interrupts stay what they are; the echo is ours.
        keys.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO);
        // No key that kills without the terminal being put back.
        keys.special_codes[SpecialCodeIndex::VQUIT] = DISABLED;
        keys.special_codes[SpecialCodeIndex::VMIN] = 1;
        keys.special_codes[SpecialCodeIndex::VTIME] = 0;
        let mut kept = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        tcsetattr(&stdin, OptionalActions::Drain, &keys).ok()?;
        *kept = Some(before);
        drop(kept);
        Some(Self {
            ahead: Ahead::default(),
        })
    }

    /// Reads a line behind `prompt`, which is one row at most; `None` at the end of input.
    pub(crate) fn line(&self, prompt: &str) -> Option<String> {
        read(&self.ahead, prompt, Shown::Yes, None)
    }

    /// The same, without what was typed before the prompt was there: that was no answer to it.
    pub(crate) fn answer(&self, prompt: &str) -> Option<String> {
        // A terminal that refuses has gone, which ends the reading.
        let _ = tcflush(io::stdin(), QueueSelector::IFlush);
        self.line(prompt)
    }

    /// The same for a secret, which is not shown.
    pub(crate) fn secret(&self, prompt: &str) -> Option<String> {
        read(&self.ahead, prompt, Shown::No, None)
    }

    /// Lines for another thread, until the end of input or until the other end of `woken` is closed.
    pub(crate) fn lines(
        &self,
        prompt: &'static str,
        woken: PipeReader,
    ) -> impl Iterator<Item = String> + Send + use<> {
        let ahead = Arc::clone(&self.ahead);
        std::iter::from_fn(move || read(&ahead, prompt, Shown::Yes, Some(&woken)))
    }
}

fn read(ahead: &Ahead, prompt: &str, shown: Shown, woken: Option<&PipeReader>) -> Option<String> {
    // One reader at a time: who is woken gives way.
    let mut ahead = ahead.lock().unwrap_or_else(PoisonError::into_inner);
    let mut line = Line::default();
    loop {
        while let Some(key) = ahead.pop_front() {
            let ended = match line.take(key) {
                Typed::More => continue,
                Typed::Line(text) => Some(text),
                Typed::End => None,
            };
            draw(prompt, shown.of(ended.as_deref().unwrap_or_default()));
            show("\n");
            return ended;
        }
        draw(prompt, shown.of(&line.text()));
        ahead.extend(keys(woken)?);
    }
}

/// Whether what is typed is seen.
#[derive(Clone, Copy)]
enum Shown {
    Yes,
    No,
}

impl Shown {
    fn of(self, text: &str) -> &str {
        match self {
            Self::Yes => text,
            Self::No => "",
        }
    }
}

/// The next keys, however many; `None` when there will be none, or when woken.
fn keys(woken: Option<&PipeReader>) -> Option<Vec<u8>> {
    let stdin = io::stdin();
    if let Some(woken) = woken {
        let mut waiting = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(woken, PollFlags::IN),
        ];
        while let Err(error) = poll(&mut waiting, None) {
            if error != rustix::io::Errno::INTR {
                return None;
            }
        }
        if !waiting[1].revents().is_empty() {
            return None;
        }
    }
    let mut keys = vec![0; 4096];
    loop {
        match rustix::io::read(&stdin, &mut keys) {
            Ok(0) => return None,
            Ok(count) => {
                keys.truncate(count);
                return Some(keys);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        release();
    }
}

/// Puts the terminal back, if it was taken, and clears a line that was begun.
pub(crate) fn release() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        show("\r\x1b[K");
        // There is nobody left to tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &before);
    }
}

/// The prompt and the end of the line, in one row.
fn draw(prompt: &str, text: &str) {
    let columns = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0);
    let left = usize::from(columns).saturating_sub(prompt.chars().count() + 1);
    show(&format!("\r\x1b[K{prompt}{}", clean(&tail(text, left))));
}

fn show(text: &str) {
    let mut out = io::stderr().lock();
    // A terminal that has gone ends the reading as well.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
