//! The daemon's side of a launcher that is a process of its own.

use std::{
    io::{self, IoSlice, PipeWriter, Read as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            net::UnixStream,
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
        SocketType, sendmsg, socketpair,
    },
};

use serde::de::DeserializeOwned;

use super::{LaunchError, Life, Seen, order, order::Order};
use crate::notify::plain_environment;

/// The launcher, as long as it lives.
pub(super) struct Apart {
    /// Orders go in here. Its closing, at the latest with this process, ends the launcher.
    orders: OwnedFd,
    process: Mutex<Child>,
    /// Since when it does not say what it sees.
    silent: Mutex<Option<Instant>>,
}

/// How long it may take to say what it sees: everybody waits for it. It takes a thousandth of that.
const GLIMPSE: Duration = Duration::from_millis(250);
/// How long it is not asked again when it did not say it: it stands still, or is gone.
const SILENCE: Duration = Duration::from_secs(10);
/// How long it may take to say what a sandbox says of itself: that one client waits.
const LOOK: Duration = Duration::from_secs(1);

impl Apart {
    pub(super) fn start() -> io::Result<Self> {
        // Messages that are whole or not at all; and an end that is seen.
        let (orders, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // The very program that runs, also when another has taken its place on disk.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("authd")
            .arg(order::ARGUMENT)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .env_clear()
            .envs(plain_environment())
            // The terminal's Ctrl-C is for the daemon, which may need a command for what it still does.
            .process_group(0);
        Ok(Self {
            orders,
            process: Mutex::new(command.spawn()?),
            silent: Mutex::default(),
        })
    }

    pub(super) fn run(
        &self,
        argv: &[String],
        output: Option<PipeWriter>,
        life: Life,
    ) -> Result<Report, LaunchError> {
        let order = Order::Run {
            argv: argv.to_owned(),
            lasts: life == Life::Own,
        };
        self.order(&order, output).map(Report)
    }

    /// What can be seen of a process; `None` when it is not said in time.
    pub(super) fn see(&self, pid: u32) -> Option<Seen> {
        self.glimpse(&Order::See(pid))
    }

    /// The program that runs in a process; `None` also when it is not said in time.
    pub(super) fn program(&self, pid: u32) -> Option<String> {
        self.glimpse(&Order::Program(pid)).flatten()
    }

    fn glimpse<T: DeserializeOwned>(&self, order: &Order) -> Option<T> {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if silent.is_some_and(|since| since.elapsed() < SILENCE) {
            return None;
        }
        let seen = self.ask(order, GLIMPSE);
        *silent = seen.is_none().then(Instant::now);
        seen
    }

    /// What the sandbox of a process says of itself; `None` also when it is not said in time.
    pub(super) fn sandbox(&self, pid: u32) -> Option<String> {
        self.ask(&Order::Sandbox(pid), LOOK).flatten()
    }

    fn ask<T: DeserializeOwned>(&self, order: &Order, patience: Duration) -> Option<T> {
        let report = self.order(order, None).ok()?;
        report.set_read_timeout(Some(patience)).ok()?;
        let mut words = Vec::new();
        report
            .take(order::LARGEST as u64)
            .read_to_end(&mut words)
            .ok()?;
        serde_json::from_slice(&words).ok()
    }

    /// Sends an order, and gives where it is reported on.
    fn order(&self, order: &Order, output: Option<PipeWriter>) -> Result<UnixStream, LaunchError> {
        let (report, theirs) = UnixStream::pair()?;
        let words = order::write(order)?;
        let mut descriptors = vec![theirs.as_fd()];
        descriptors.extend(output.as_ref().map(|output| output.as_fd()));
        let mut room = [MaybeUninit::uninit(); order::ROOM];
        let mut ancillary = SendAncillaryBuffer::new(&mut room);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(&self.orders, &[IoSlice::new(&words)], &mut ancillary, flags) {
            Ok(_) => Ok(report),
            Err(Errno::MSGSIZE) => Err(io::Error::from(io::ErrorKind::ArgumentListTooLong).into()),
            // It is gone, or it does not get to reading what is there.
            Err(_) => Err(LaunchError::NoLauncher),
        }
    }

    /// Why it is of no use any more.
    pub(super) fn trouble(&self) -> Option<String> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        match process.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("it ended with {status}")),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// Where the launcher says how a command ended. Its closing ends the command.
pub(super) struct Report(UnixStream);

impl Report {
    /// Waits for it; `None` when it does not come by the deadline.
    pub(super) fn wait(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<ExitStatus>, LaunchError> {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // Zero would be for ever.
            left.max(Duration::from_millis(1))
        });
        self.0.set_read_timeout(left)?;
        let mut words = [0; order::REPORT];
        match self.0.read_exact(&mut words) {
            Ok(()) => match order::Ended::read(words) {
                order::Ended::With(status) => Ok(Some(ExitStatus::from_raw(status))),
                order::Ended::NotStarted(Some(code)) => {
                    Err(io::Error::from_raw_os_error(code).into())
                }
                order::Ended::NotStarted(None) => {
                    Err(io::Error::from(io::ErrorKind::InvalidInput).into())
                }
            },
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(None)
            }
            // Its end without a word.
            Err(_) => Err(LaunchError::NoLauncher),
        }
    }
}
