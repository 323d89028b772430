//! `authctl service`: the daemon as a service of the system's own manager, there at every login.
//!
//! What is the same everywhere is here: which daemon is meant, and how one that runs already gives way.
//! [`Manager`] is what differs: `systemd`, `launchd`, `task`. The units are the ones of the project,
//! with the place of the program filled in.

mod command;
mod error;
mod file;
#[cfg(any(target_os = "macos", test))]
mod launchd;
mod logs;
mod show;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(any(windows, test))]
mod task;
#[cfg(test)]
mod testing;

use std::path::PathBuf;
use std::process::ExitCode;

use authd_client::{Client, Instance};
use authd_proto::ExitStatus;
use authd_proto::request::DaemonStatus;
use authd_proto::response::DaemonStatusReply;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::Json;
use crate::command::events::since;
use crate::daemon;
use crate::exit::Failure;
use crate::output;

pub(crate) use self::error::ServiceError;
#[cfg(target_os = "macos")]
use self::launchd::Launchd as Native;
#[cfg(target_os = "linux")]
use self::systemd::Systemd as Native;
#[cfg(windows)]
use self::task::Task as Native;

/// Have the daemon started at every login, by systemd, launchd or the Task Scheduler
///
/// Without it, commands start the daemon when they need it.
#[derive(Args)]
pub(crate) struct ServiceArgs {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do with it.
#[derive(Subcommand)]
enum Verb {
    /// Install, enable and start it; again to bring it up to date
    Install {
        /// Add the confinement of systemd that needs user namespaces; it stays until uninstalled
        #[arg(long)]
        #[cfg_attr(not(target_os = "linux"), arg(hide = true))]
        hardened: bool,
    },
    /// Stop it and remove what install wrote; logins stay
    Uninstall,
    /// Start it; a daemon that runs otherwise gives way, and nothing is lost
    Start,
    /// Stop it until the next login
    Stop,
    /// Stop it and start it again; what is asked meanwhile waits
    Restart,
    /// How it is
    ///
    /// Exit status: 0 it runs, 1 it is not installed, 7 it does not run.
    Status {
        #[command(flatten)]
        json: Json,
    },
    /// Print the daemon's log
    Logs(LogsArgs),
}

/// Which part of the log.
#[derive(Args)]
struct LogsArgs {
    /// Go on with what is logged from now on, until interrupted
    #[arg(long, short)]
    follow: bool,

    /// Since when: 90s, 5m, 1h, 2d ago, or a time as RFC 3339 has it
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<u64>,
}

/// How the service is, by the manager's word.
#[derive(Debug, Default, Serialize)]
struct Standing {
    /// Whose word.
    manager: &'static str,
    installed: bool,
    /// The unit's file.
    file: Option<PathBuf>,
    /// Whether it came with a package and not by `install`.
    packaged: bool,
    /// Whether the opt-in confinement is there.
    hardened: bool,
    /// Whether it starts at login.
    at_login: bool,
    /// In the manager's own words: `active (running)`, say.
    state: Option<String>,
    /// The daemon's process.
    pid: Option<u32>,
    /// Where the manager listens for it.
    listens_at: Option<String>,
}

/// What starts and stops a daemon on behalf of the system.
trait Manager: Sized {
    /// Reaches it, for the daemon of this instance.
    fn connect(instance: &Instance) -> Result<Self, Failure>;

    /// Writes what is needed and enables it; starts nothing. What was done, a line each; none when all was
    /// there already.
    fn install(&self, hardened: bool) -> Result<Vec<String>, Failure>;

    /// Stops it, disables it, and removes what `install` wrote. What was done, a line each.
    fn uninstall(&self) -> Result<Vec<String>, Failure>;

    /// How it is.
    fn standing(&self) -> Result<Standing, Failure>;

    /// Begins to listen in the place of whoever listens now, where the manager does that.
    fn listen(&self) -> Result<(), Failure>;

    /// Starts it, and returns when it serves. Whoever listened otherwise is gone.
    fn start(&self) -> Result<(), Failure>;

    /// Stops it, and has it not started by the next call, where the manager can do that.
    fn stop(&self) -> Result<(), Failure>;

    /// Stops it and starts it again, and returns when it serves.
    fn restart(&self) -> Result<(), Failure>;

    /// Prints its log.
    fn logs(&self, follow: bool, since: Option<u64>) -> Result<ExitCode, Failure>;
}

pub(crate) fn run(args: &ServiceArgs) -> Result<ExitCode, Failure> {
    let instance = Instance::of_process()?;
    if let Verb::Install { .. } | Verb::Start = args.verb {
        refuse_isolated()?;
    }
    let manager = Native::connect(&instance)?;
    match &args.verb {
        Verb::Install { hardened } => {
            let done = manager.install(*hardened)?;
            tell_all(&done);
            let up = bring_up(&manager, &instance, !done.is_empty());
            up.map_err(|failure| match failure {
                Failure::Service(ServiceError::Refused { command, why }) if *hardened => {
                    ServiceError::Hardened { command, why }.into()
                }
                failure => failure,
            })?;
            if done.is_empty() {
                output::note("the service was installed already");
            }
            report(&manager)?;
        }
        Verb::Uninstall => {
            let done = manager.uninstall()?;
            tell_all(&done);
            output::note(if manager.standing()?.at_login {
                "the service starts again at the next login; logins are kept"
            } else if done.is_empty() {
                "the service was not installed"
            } else {
                "the service is uninstalled; logins are kept, and commands start the daemon when they \
                 need it"
            });
        }
        Verb::Start => {
            installed(&manager)?;
            bring_up(&manager, &instance, false)?;
            report(&manager)?;
        }
        Verb::Stop => {
            installed(&manager)?;
            manager.stop()?;
            output::note("the service has stopped; it starts again at the next login");
        }
        Verb::Restart => {
            installed(&manager)?;
            daemon::check_successor()?;
            match running()? {
                // What runs is not the service's: it gives way to the service.
                Some(found) if manager.standing()?.pid != Some(found.pid()) => {
                    bring_up(&manager, &instance, false)?;
                }
                _ => manager.restart()?,
            }
            report(&manager)?;
        }
        Verb::Status { json } => return status(&manager, *json),
        Verb::Logs(args) => return manager.logs(args.follow, args.since),
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the service's own daemon serve: one that runs otherwise finishes what it is doing and ends, while
/// whoever calls waits. `changed`: a daemon of the service's is started anew.
fn bring_up(manager: &Native, instance: &Instance, changed: bool) -> Result<(), Failure> {
    let found = running()?;
    let own = manager.standing()?.pid;
    match found {
        Some(found) if own == Some(found.pid()) => {
            if changed {
                manager.restart()?;
            }
        }
        Some(found) => {
            output::note(format_args!(
                "the daemon that runs (pid {}) gives way to the service",
                found.pid()
            ));
            // Asked for on the connection that there is: from now on others wait for the service's.
            manager.listen()?;
            daemon::end(found.client)?;
            manager.start()?;
        }
        None => manager.start()?,
    }
    let status = ask_status()?;
    let state = &instance.directories.state;
    if status.state_dir != state.display().to_string() {
        output::note(format_args!(
            "warning: the service keeps its state in '{}', this shell means '{}': set XDG_STATE_HOME for \
             both, or for neither",
            output::clean(&status.state_dir),
            state.display()
        ));
    }
    Ok(())
}

/// A daemon that serves, however it was started.
struct Found {
    client: Client,
    status: DaemonStatusReply,
}

impl Found {
    fn pid(&self) -> u32 {
        self.status.pid
    }
}

fn running() -> Result<Option<Found>, Failure> {
    let mut client = match daemon::running() {
        Err(failure) if failure.is_not_running() => return Ok(None),
        client => client?,
    };
    let status = daemon::ask(&mut client, &DaemonStatus {})?;
    Ok(Some(Found { client, status }))
}

fn ask_status() -> Result<DaemonStatusReply, Failure> {
    daemon::ask(&mut daemon::running()?, &DaemonStatus {})
}

/// Whether the manager of this system runs the process `pid` as its service: then it is the manager's to
/// restart. Without a manager nobody does.
pub(super) fn runs(instance: &Instance, pid: u32) -> bool {
    let standing = Native::connect(instance).and_then(|manager| manager.standing());
    standing.is_ok_and(|standing| standing.pid == Some(pid))
}

/// Has the manager restart its service.
pub(super) fn restart(instance: &Instance) -> Result<(), Failure> {
    Native::connect(instance)?.restart()
}

fn installed(manager: &Native) -> Result<(), Failure> {
    if manager.standing()?.installed {
        return Ok(());
    }
    Err(ServiceError::NotInstalled.into())
}

/// A service has the ordinary places: a shell that means others means another daemon.
fn refuse_isolated() -> Result<(), Failure> {
    const ISOLATING: [&str; 3] = ["AUTHD_SOCKET", "AUTHD_STATE_DIR", "AUTHD_CONFIG_DIR"];
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match ISOLATING.into_iter().find(is_set) {
        Some(name) => Err(ServiceError::Isolated(name).into()),
        None => Ok(()),
    }
}

/// A path as the text of an XML element. `None` when it cannot be written there.
#[cfg(any(target_os = "macos", windows, test))]
fn xml_text(path: &std::path::Path) -> Option<String> {
    let text = path.to_str()?;
    let clean = !text.chars().any(char::is_control);
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    clean.then_some(escaped)
}

fn tell_all(done: &[String]) {
    for line in done {
        output::note(output::clean(line));
    }
}

/// Says what runs now.
fn report(manager: &Native) -> Result<(), Failure> {
    let status = ask_status()?;
    let standing = manager.standing()?;
    let when = if standing.at_login {
        ", from now on at every login"
    } else {
        ""
    };
    output::note(format_args!(
        "authd {} serves at {} (pid {}){when}",
        output::clean(&status.version),
        output::clean(&status.socket),
        status.pid
    ));
    Ok(())
}

/// What `service status --json` prints.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    service: Standing,
    /// The daemon that answers, whoever started it.
    daemon: Option<DaemonStatusReply>,
    /// Why none does, where that is not simply that none runs.
    trouble: Option<String>,
}

fn status(manager: &Native, json: Json) -> Result<ExitCode, Failure> {
    let service = manager.standing()?;
    // Where the manager listens for it, to ask would be to start it.
    let asked = if service.listens_at.is_some() && service.pid.is_none() {
        Ok(None)
    } else {
        running()
    };
    let (daemon, trouble) = match asked {
        Ok(found) => (found.map(|found| found.status), None),
        Err(failure) => (None, Some(failure.message())),
    };
    let report = Report {
        service,
        daemon,
        trouble,
    };
    if json.json {
        output::json(&report)?;
    } else {
        output::line(show::report(&report))?;
    }
    let runs = report
        .daemon
        .as_ref()
        .is_some_and(|daemon| report.service.pid == Some(daemon.pid));
    let status = if !report.service.installed {
        ExitStatus::Failure
    } else if runs {
        ExitStatus::Success
    } else {
        ExitStatus::DaemonUnreachable
    };
    Ok(ExitCode::from(status as u8))
}
