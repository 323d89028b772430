//! `ssh` as a child in the foreground: what ends this process ends it, and what stops it stops us.

use std::io;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, waitid, waitpid,
};

use super::SshTrouble;
use crate::exit::Failure;

/// The child that runs, and whether somebody wants an end.
#[derive(Clone, Default)]
pub(super) struct Children(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    running: Option<Pid>,
    is_interrupted: bool,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Exited(u8),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    pub(super) fn is_success(self) -> bool {
        self == Self::Exited(0)
    }

    /// Whether it was the command's own end: ssh says 255 of itself.
    pub(super) fn is_of_the_command(self) -> bool {
        matches!(self, Self::Exited(status) if status != 255)
    }

    /// As a shell would pass it on.
    pub(super) fn code(self) -> ExitCode {
        match self {
            Self::Exited(status) => ExitCode::from(status),
            Self::Killed(signal) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        }
    }
}

impl Children {
    /// From now on what ends this process ends the child first, and what is left to do is done.
    pub(super) fn listen() -> Result<Self, Failure> {
        let children = Self::default();
        let handler = children.clone();
        ctrlc::set_handler(move || handler.interrupted())
            .map_err(|source| Failure::Interrupts { source })?;
        Ok(children)
    }

    /// Runs it to its end; not at all when somebody wants an end already.
    pub(super) fn run(&self, command: &mut Command) -> Result<Ended, Failure> {
        let failed = |source| Failure::Program {
            program: command_name(),
            source,
        };
        let pid = {
            let mut state = self.state();
            if state.is_interrupted {
                return Err(Failure::Ssh(SshTrouble::Interrupted));
            }
            let child = command.spawn().map_err(failed)?;
            let pid = Pid::from_child(&child);
            state.running = Some(pid);
            pid
        };
        self.wait(pid).map_err(failed)
    }

    fn wait(&self, pid: Pid) -> io::Result<Ended> {
        loop {
            let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
            match waitid(WaitId::Pid(pid), options) {
                Err(rustix::io::Errno::INTR) => continue,
                waited => waited?,
            };
            // Reaped under the lock, so that no signal goes to another process of the same number.
            let mut state = self.state();
            let options = WaitOptions::UNTRACED | WaitOptions::NOHANG;
            let Some((_, status)) = waitpid(Some(pid), options)? else {
                continue;
            };
            if status.stopped() {
                drop(state);
                // As the shell of whoever typed it sees the two: one job.
                kill_process(getpid(), Signal::STOP)?;
                kill_process(pid, Signal::CONT)?;
                continue;
            }
            state.running = None;
            return Ok(match (status.exit_status(), status.terminating_signal()) {
                (Some(status), _) => Ended::Exited(u8::try_from(status).unwrap_or(u8::MAX)),
                (None, signal) => Ended::Killed(signal.unwrap_or(0)),
            });
        }
    }

    fn interrupted(&self) {
        let mut state = self.state();
        state.is_interrupted = true;
        if let Some(pid) = state.running {
            // It may be ending by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is run.
pub(super) fn command_name() -> String {
    "ssh".to_owned()
}
