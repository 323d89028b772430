//! Starts the commands that the user has configured, for a daemon that can start nothing.
//!
//! On Linux that is a process of its own: the daemon's program once more, started before the daemon confined
//! itself, with nothing inherited but one socket and a scrubbed environment. An order goes to it as one
//! message, with the descriptors that the command is to have; what the command prints goes straight from
//! there to the daemon, through a pipe, and is never in the launcher. It ends with the daemon, however that
//! ends, and ends what it started for it.
//!
//! It also says what a confined process cannot see of others: the program of a client, and its namespaces.
//!
//! It can be started once only. When it is gone, commands fail and say so until the daemon is restarted.
//!
//! Where the daemon is not confined (other platforms, a test that runs it in its own process), commands are
//! started by the daemon itself.

#[cfg(target_os = "linux")]
mod apart;
#[cfg(target_os = "linux")]
mod order;
#[cfg(target_os = "linux")]
mod seen;

use std::{
    io::{self, PipeReader, PipeWriter},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
pub use self::order::take_orders;
#[cfg(target_os = "linux")]
pub(crate) use self::seen::Seen;

/// How often a command of ours is looked at until it has ended.
const GLANCE: Duration = Duration::from_millis(10);

/// What starts commands.
#[derive(Clone, Default)]
pub(crate) struct Launcher(Arc<Way>);

#[derive(Default)]
enum Way {
    /// This process does.
    #[default]
    Here,
    /// The launcher does.
    #[cfg(target_os = "linux")]
    Apart(apart::Apart),
    /// Nobody does: why there is no launcher.
    #[cfg(target_os = "linux")]
    Nobody(String),
}

/// Why a command does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// The system does not start it. The user must mend what was asked for.
    #[error("{}", .0.kind())]
    NotStarted(#[from] io::Error),
    /// Nothing can be started any more. The user must restart the daemon.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "there is a launcher on Linux alone")
    )]
    #[error(
        "the process that starts commands is gone; run: authctl daemon stop (the next command starts both)"
    )]
    NoLauncher,
}

/// How long a command may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// No longer than whoever asked for it: dropping the [`Running`] ends it and all that it started.
    Asked,
    /// For as long as it likes.
    Own,
}

impl Launcher {
    /// Starts the launcher. To be called before the daemon is confined, while it has one thread.
    #[cfg(target_os = "linux")]
    pub(crate) fn start() -> Self {
        let way = match apart::Apart::start() {
            Ok(apart) => Way::Apart(apart),
            Err(error) => {
                tracing::warn!(%error, "no commands can be run");
                Way::Nobody(error.to_string())
            }
        };
        Self(Arc::new(way))
    }

    /// Commands are started by the daemon itself here.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn start() -> Self {
        Self::default()
    }

    /// Starts a command, in a process group of its own, with nothing to read. What it prints goes to
    /// `output`, or nowhere.
    ///
    /// # Errors
    /// When it does not start; that may also turn out only when it is waited for.
    pub(crate) fn run(
        &self,
        argv: &[String],
        output: Option<PipeWriter>,
        life: Life,
    ) -> Result<Running, LaunchError> {
        match &*self.0 {
            Way::Here => {
                let mut command = command(argv, output)?;
                command.env_clear().envs(crate::notify::plain_environment());
                let child = command.spawn()?;
                Ok(Running(match life {
                    Life::Asked => Place::Here(Some(child)),
                    Life::Own => Place::OnItsOwn(child),
                }))
            }
            #[cfg(target_os = "linux")]
            Way::Apart(apart) => {
                let report = apart.run(argv, output, life)?;
                Ok(Running(Place::Apart(report)))
            }
            #[cfg(target_os = "linux")]
            Way::Nobody(_) => Err(LaunchError::NoLauncher),
        }
    }

    /// What can be seen of a process, for which a confined daemon asks the launcher; where that does not say,
    /// as far as the daemon sees it itself. Waits a moment at most.
    #[cfg(target_os = "linux")]
    pub(crate) fn see(&self, pid: u32) -> Seen {
        let told = match &*self.0 {
            Way::Apart(apart) => apart.see(pid),
            Way::Here | Way::Nobody(_) => None,
        };
        told.unwrap_or_else(|| Seen::of(pid))
    }

    /// The program that runs in a process, by its path. Waits a moment at most, and for less than [`Self::see`]:
    /// this is asked of everybody who connects.
    #[cfg(target_os = "linux")]
    pub(crate) fn program(&self, pid: u32) -> Option<String> {
        match &*self.0 {
            Way::Apart(apart) => apart.program(pid),
            Way::Here => seen::program(pid),
            Way::Nobody(_) => None,
        }
    }

    /// What the sandbox of a process says of itself. May wait for a second.
    #[cfg(target_os = "linux")]
    pub(crate) fn sandbox(&self, pid: u32) -> Option<String> {
        match &*self.0 {
            Way::Apart(apart) => apart.sandbox(pid),
            Way::Here => seen::sandbox(pid),
            Way::Nobody(_) => None,
        }
    }

    /// Why commands cannot be started; `None` when they can.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &*self.0 {
            Way::Here => None,
            #[cfg(target_os = "linux")]
            Way::Apart(apart) => apart.trouble(),
            #[cfg(target_os = "linux")]
            Way::Nobody(why) => Some(why.clone()),
        }
    }

    /// Whether it is a process of its own.
    pub(crate) fn is_apart(&self) -> bool {
        !matches!(*self.0, Way::Here)
    }
}

/// A pipe for what a command prints.
///
/// # Errors
/// When there are no descriptors left.
pub(crate) fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    io::pipe()
}

/// What is said of a command to the system, whoever starts it.
fn command(argv: &[String], output: Option<PipeWriter>) -> io::Result<Command> {
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.map_or_else(Stdio::null, Stdio::from))
        .stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    // The daemon has no console that they could share, so each would open a window of its own.
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(
        &mut command,
        windows_sys::Win32::System::Threading::CREATE_NO_WINDOW,
    );
    Ok(command)
}

/// A command that was started. Dropping it ends it, unless it has a [`Life::Own`].
pub(crate) struct Running(Place);

enum Place {
    /// A child of this process; none once it has been waited for.
    Here(Option<Child>),
    /// The same, and it is left alone.
    OnItsOwn(Child),
    /// The launcher's, which says here how it ended.
    #[cfg(target_os = "linux")]
    Apart(apart::Report),
}

impl Running {
    /// How it ended; `None` when it has not by then. Blocks.
    ///
    /// # Errors
    /// When it did not start after all, or nobody can say.
    pub(crate) fn wait_until(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<ExitStatus>, LaunchError> {
        match &mut self.0 {
            Place::Here(child) => {
                let ended = match child {
                    Some(child) => glance_until(child, deadline)?,
                    None => None,
                };
                if ended.is_some() {
                    *child = None;
                }
                Ok(ended)
            }
            Place::OnItsOwn(child) => Ok(glance_until(child, deadline)?),
            #[cfg(target_os = "linux")]
            Place::Apart(report) => report.wait(Some(deadline)),
        }
    }

    /// How it ended, however long that takes.
    ///
    /// # Errors
    /// As [`wait_until`](Self::wait_until).
    pub(crate) fn wait(self) -> Result<ExitStatus, LaunchError> {
        let mut running = self;
        match &mut running.0 {
            Place::Here(Some(child)) | Place::OnItsOwn(child) => Ok(child.wait()?),
            Place::Here(None) => Err(LaunchError::NotStarted(io::ErrorKind::NotFound.into())),
            #[cfg(target_os = "linux")]
            Place::Apart(report) => report.wait(None)?.ok_or(LaunchError::NoLauncher),
        }
    }
}

fn glance_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(GLANCE);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Place::Here(Some(child)) = &mut self.0 {
            end(child);
        }
    }
}

/// Ends the command and what it started. Its id is its own still: nobody has waited for it yet.
fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}
