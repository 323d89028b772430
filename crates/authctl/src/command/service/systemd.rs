//! A user service of systemd, and its socket.
//!
//! The unit files are the project's own. Where a package has brought some, they are used as they are.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use authd_client::{ClientError, Instance, PathError, spawn};

use super::file::{self, MARK};
use super::{Manager, ServiceError, Standing, command, logs};
use crate::exit::Failure;

const SYSTEMCTL: &str = "systemctl";
const SERVICE: &str = "authd.service";
const SOCKET: &str = "authd.socket";
const SERVICE_UNIT: &str = include_str!("../../../../../systemd/authd.service");
const SOCKET_UNIT: &str = include_str!("../../../../../systemd/authd.socket");
const DROP_IN: &str = include_str!("../../../../../systemd/authd-hardening.conf");
const DROP_IN_NAME: &str = "authd-hardening.conf";

/// The user's service manager.
pub(super) struct Systemd {
    /// Where the user's own units are.
    units: PathBuf,
    /// For commands that run where nobody set it.
    runtime_dir: Option<PathBuf>,
    log: PathBuf,
    /// Those of the state and of the configuration.
    directories: [PathBuf; 2],
}

/// What `systemctl show` says of a unit.
type Properties = BTreeMap<String, String>;

impl Manager for Systemd {
    fn connect(instance: &Instance) -> Result<Self, Failure> {
        let config = instance.directories.config.parent();
        let config = config.ok_or(ClientError::Path(PathError::NoHome))?;
        let socket = instance.socket.path();
        let manager = Self {
            units: config.join("systemd").join("user"),
            runtime_dir: socket.ancestors().nth(2).map(Path::to_owned),
            log: instance.directories.log(),
            directories: [
                instance.directories.state.clone(),
                instance.directories.config.clone(),
            ],
        };
        let ended = command::run(
            SYSTEMCTL,
            manager.systemctl().args(["show", "--property=Version"]),
        )?;
        if ended.success() {
            return Ok(manager);
        }
        Err(ServiceError::NoManager {
            manager: "systemd's user manager",
            why: ended.why,
            hint:
                "log in as this user, not by su or sudo; or have it run without a login: 'loginctl \
                   enable-linger'. Until then commands start the daemon when they need it"
                    .to_owned(),
        }
        .into())
    }

    fn install(&self, hardened: bool) -> Result<Vec<String>, Failure> {
        let mut done = Vec::new();
        let fragment = self.show(SERVICE, "FragmentPath")?;
        let packaged = self.is_packaged(&fragment);
        if packaged {
            if !self.is_enabled()? {
                done.push(format!("using '{fragment}', which a package installed"));
            }
        } else {
            let program = spawn::find_program().map_err(ClientError::from)?;
            self.put(SOCKET, &marked(SOCKET_UNIT), &mut done)?;
            self.put(SERVICE, &marked(&unit_for(&program)?), &mut done)?;
        }
        if hardened || file::is_there(&self.drop_in()) {
            // What does not exist cannot be made writable.
            for directory in &self.directories {
                let mut builder = fs::DirBuilder::new();
                let made = builder.recursive(true).mode(0o700).create(directory);
                made.map_err(|source| Failure::File {
                    path: directory.clone(),
                    source,
                })?;
            }
            let path = self.drop_in();
            if file::put(&path, marked(DROP_IN).as_bytes())? {
                done.push(format!("wrote '{}'", path.display()));
            }
        }
        if !done.is_empty() {
            self.ask(&["daemon-reload"])?;
        }
        let unit = self.units.join(SERVICE);
        if !packaged && Path::new(&self.show(SERVICE, "FragmentPath")?) != unit {
            return Err(ServiceError::Unread {
                manager: "systemd's user manager",
                path: unit,
            }
            .into());
        }
        if !self.is_enabled()? {
            self.ask(&["enable", "--quiet", SOCKET, SERVICE])?;
            done.push(format!("enabled {SOCKET} and {SERVICE}"));
        }
        Ok(done)
    }

    fn uninstall(&self) -> Result<Vec<String>, Failure> {
        let mut done = Vec::new();
        if self.show(SERVICE, "LoadState")? == "loaded" {
            let was_there = self.is_enabled()? || self.show(SOCKET, "ActiveState")? == "active";
            self.ask(&["disable", "--now", "--quiet", SOCKET, SERVICE])?;
            if self.is_enabled()? {
                done.push(format!(
                    "stopped {SOCKET} and {SERVICE}, which are enabled for every user of this machine: \
                     'systemctl --user mask {SOCKET} {SERVICE}' keeps them away from your logins"
                ));
            } else if was_there {
                done.push(format!("stopped and disabled {SOCKET} and {SERVICE}"));
            }
        }
        let files = [
            self.drop_in(),
            self.units.join(SERVICE),
            self.units.join(SOCKET),
        ];
        for path in files {
            if file::remove(&path)? {
                done.push(format!("removed '{}'", path.display()));
            }
        }
        // Others may have put something into it.
        let _ = fs::remove_dir(self.drop_ins());
        if !done.is_empty() {
            self.ask(&["daemon-reload"])?;
            // It says so when there is nothing that failed, too.
            let failed = ["reset-failed", SERVICE, SOCKET];
            command::run(SYSTEMCTL, self.systemctl().args(failed))?;
        }
        Ok(done)
    }

    fn standing(&self) -> Result<Standing, Failure> {
        let service = self.properties(SERVICE)?;
        let socket = self.properties(SOCKET)?;
        let of = |unit: &Properties, name: &str| unit.get(name).cloned().unwrap_or_default();
        let fragment = of(&service, "FragmentPath");
        let pid = of(&service, "MainPID").parse().ok();
        let listens = of(&socket, "ActiveState") == "active";
        Ok(Standing {
            manager: "systemd",
            installed: of(&service, "LoadState") == "loaded",
            packaged: self.is_packaged(&fragment),
            file: (!fragment.is_empty()).then(|| PathBuf::from(fragment)),
            hardened: of(&service, "DropInPaths").contains(DROP_IN_NAME),
            at_login: of(&service, "UnitFileState").starts_with("enabled"),
            state: Some(format!(
                "{} ({})",
                of(&service, "ActiveState"),
                of(&service, "SubState")
            )),
            pid: pid.filter(|pid| *pid != 0),
            listens_at: listens.then(|| {
                let listen = of(&socket, "Listen");
                listen.trim_end_matches(" (Stream)").to_owned()
            }),
        })
    }

    fn listen(&self) -> Result<(), Failure> {
        // Also where it listens already, at a name that another daemon took.
        self.ask(&["restart", SOCKET])
    }

    fn start(&self) -> Result<(), Failure> {
        self.ask(&["start", SOCKET, SERVICE])
    }

    fn stop(&self) -> Result<(), Failure> {
        self.ask(&["stop", SOCKET, SERVICE])
    }

    fn restart(&self) -> Result<(), Failure> {
        self.ask(&["restart", SERVICE])
    }

    fn logs(&self, follow: bool, since: Option<u64>) -> Result<ExitCode, Failure> {
        let standing = self.standing()?;
        let other = super::running()?.is_some_and(|found| standing.pid != Some(found.pid()));
        if other || !standing.installed {
            return logs::print(&self.log, follow, since);
        }
        let mut journalctl = self.command("journalctl");
        journalctl.args(["--user", "--unit", SERVICE]);
        if follow {
            journalctl.arg("--follow");
        }
        if let Some(since) = since {
            journalctl.arg(format!("--since=@{since}"));
        }
        command::show("journalctl", &mut journalctl)
    }
}

impl Systemd {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // Without it no manager is found; a shell of su, or of cron, has none.
        let is_set = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| !dir.is_empty());
        if let (false, Some(dir)) = (is_set, &self.runtime_dir) {
            command.env("XDG_RUNTIME_DIR", dir);
        }
        command
    }

    fn systemctl(&self) -> Command {
        let mut command = self.command(SYSTEMCTL);
        command.args(["--user", "--no-pager", "--no-ask-password"]);
        command
    }

    fn ask(&self, arguments: &[&str]) -> Result<(), Failure> {
        let shown = format!("{SYSTEMCTL} --user {}", arguments.join(" "));
        command::succeed(SYSTEMCTL, &shown, self.systemctl().args(arguments)).map(drop)
    }

    fn properties(&self, unit: &str) -> Result<Properties, Failure> {
        let shown = format!("{SYSTEMCTL} --user show {unit}");
        let text = command::succeed(SYSTEMCTL, &shown, self.systemctl().args(["show", unit]))?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    fn show(&self, unit: &str, property: &str) -> Result<String, Failure> {
        Ok(self.properties(unit)?.remove(property).unwrap_or_default())
    }

    fn is_enabled(&self) -> Result<bool, Failure> {
        for unit in [SOCKET, SERVICE] {
            if !self.show(unit, "UnitFileState")?.starts_with("enabled") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_packaged(&self, fragment: &str) -> bool {
        !fragment.is_empty() && !Path::new(fragment).starts_with(&self.units)
    }

    fn drop_ins(&self) -> PathBuf {
        self.units.join(format!("{SERVICE}.d"))
    }

    fn drop_in(&self) -> PathBuf {
        self.drop_ins().join(DROP_IN_NAME)
    }

    fn put(&self, name: &str, content: &str, done: &mut Vec<String>) -> Result<(), Failure> {
        let path = self.units.join(name);
        if file::put(&path, content.as_bytes())? {
            done.push(format!("wrote '{}'", path.display()));
        }
        Ok(())
    }
}

fn marked(unit: &str) -> String {
    format!("# {MARK}; 'authctl service uninstall' removes it.\n\n{unit}")
}

/// The service's unit for the daemon at this place.
fn unit_for(program: &Path) -> Result<String, Failure> {
    const SETTING: &str = "ExecStart=";
    let place = quoted(program).ok_or_else(|| ServiceError::Unnameable(program.to_owned()))?;
    let lines = SERVICE_UNIT.lines().map(|line| {
        if line.starts_with(SETTING) {
            format!("{SETTING}{place}\n")
        } else {
            format!("{line}\n")
        }
    });
    Ok(lines.collect())
}

/// A path as a unit has it (systemd.unit(5), systemd.service(5)): quoted, and without specifiers. `None`
/// when that cannot be.
fn quoted(program: &Path) -> Option<String> {
    let path = program.to_str()?;
    if path.chars().any(char::is_control) {
        return None;
    }
    let path = path.replace('%', "%%");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%,".contains(c);
    if path.chars().all(plain) {
        return Some(path);
    }
    let path = path.replace('\\', r"\\").replace('"', "\\\"");
    Some(format!("\"{path}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec_start(program: &str) -> String {
        let unit = unit_for(Path::new(program)).unwrap();
        let mut lines = unit.lines().filter(|line| line.starts_with("ExecStart="));
        let line = lines.next().unwrap().to_owned();
        assert_eq!(lines.next(), None, "one program");
        line
    }

    #[test]
    fn the_unit_names_the_place_of_the_program() {
        assert_eq!(exec_start("/opt/authd/authd"), "ExecStart=/opt/authd/authd");
        assert_eq!(exec_start("/a b/authd"), "ExecStart=\"/a b/authd\"");
        assert_eq!(
            exec_start("/100%/\"x\"/authd"),
            r#"ExecStart="/100%%/\"x\"/authd""#
        );
        let line_break = unit_for(Path::new("/a\nExecStartPre=/bin/sh/authd"));
        assert!(line_break.is_err(), "a unit of one line more");
    }

    #[test]
    fn all_else_in_the_unit_is_as_it_is_shipped() {
        let unit = unit_for(Path::new("/usr/bin/authd")).unwrap();
        let differing: Vec<_> = SERVICE_UNIT
            .lines()
            .zip(unit.lines())
            .filter(|(shipped, written)| shipped != written)
            .collect();
        assert_eq!(
            differing,
            [("ExecStart=%h/.local/bin/authd", "ExecStart=/usr/bin/authd")]
        );
    }
}
