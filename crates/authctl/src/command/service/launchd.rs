//! A user agent of launchd, which listens for it.

use std::path::Path;
#[cfg(target_os = "macos")]
use std::path::PathBuf;
#[cfg(target_os = "macos")]
use std::process::{Command, ExitCode};

use super::file::MARK;

#[cfg(target_os = "macos")]
use authd_client::{ClientError, Instance, PathError, spawn};

#[cfg(target_os = "macos")]
use super::{Manager, ServiceError, Standing, command, file, logs};
#[cfg(target_os = "macos")]
use crate::exit::Failure;

const PLIST: &str = include_str!("../../../../../launchd/authd.plist");

/// The agent's property list for this program, socket and log. `None` when a path cannot be named in it.
fn agent(program: &Path, socket: &Path, log: &Path) -> Option<String> {
    let [program, socket, log] = [program, socket, log].map(super::xml_text);
    let plist = PLIST
        .replacen("<!--", &format!("<!-- {MARK}. -->\n<!--"), 1)
        .replace("@PROGRAM@", &program?)
        .replace("@SOCKET@", &socket?)
        .replace("@LOG@", &log?);
    Some(plist)
}

/// The launchd of this user's session.
#[cfg(target_os = "macos")]
pub(super) struct Launchd {
    instance: Instance,
    /// `gui/501`
    domain: String,
    plist: PathBuf,
}

#[cfg(target_os = "macos")]
const LAUNCHCTL: &str = "launchctl";
#[cfg(target_os = "macos")]
const LABEL: &str = "authd";

#[cfg(target_os = "macos")]
impl Manager for Launchd {
    fn connect(instance: &Instance) -> Result<Self, Failure> {
        let home = std::env::home_dir().ok_or(ClientError::Path(PathError::NoHome))?;
        let manager = Self {
            instance: instance.clone(),
            domain: format!("gui/{}", rustix::process::geteuid().as_raw()),
            plist: home.join("Library/LaunchAgents").join("authd.plist"),
        };
        let print = ["print", &manager.domain];
        let ended = command::run(LAUNCHCTL, Command::new(LAUNCHCTL).args(print))?;
        if ended.success {
            return Ok(manager);
        }
        Err(ServiceError::NoManager {
            manager: "launchd's user domain",
            why: ended.why,
            hint: "log in at the screen; until then commands start the daemon when they need it"
                .to_owned(),
        }
        .into())
    }

    fn install(&self, _: bool) -> Result<Vec<String>, Failure> {
        let program = spawn::find_program().map_err(ClientError::from)?;
        let socket = &self.instance.socket;
        // launchd makes no directories.
        socket.prepare_directory().map_err(ClientError::from)?;
        let log = self.instance.directories.log();
        let agent = agent(&program, socket.path(), &log)
            .ok_or_else(|| ServiceError::Unnameable(program.clone()))?;
        if !file::put(&self.plist, agent.as_bytes())? {
            return Ok(Vec::new());
        }
        if self.is_loaded()? {
            // What is loaded is another one.
            self.ask(&["bootout", &self.target()])?;
        }
        Ok(vec![format!("wrote '{}'", self.plist.display())])
    }

    fn uninstall(&self) -> Result<Vec<String>, Failure> {
        let mut done = Vec::new();
        if self.is_loaded()? {
            self.ask(&["bootout", &self.target()])?;
            done.push("stopped the agent 'authd'".to_owned());
        }
        if file::remove(&self.plist)? {
            done.push(format!("removed '{}'", self.plist.display()));
        }
        Ok(done)
    }

    fn standing(&self) -> Result<Standing, Failure> {
        let ended = command::run(
            LAUNCHCTL,
            Command::new(LAUNCHCTL).args(["print", &self.target()]),
        )?;
        let of = |name: &str| {
            let mut lines = ended.stdout.lines().map(str::trim);
            lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(" = ")?.to_owned()))
        };
        let loaded = ended.success;
        let installed = file::is_there(&self.plist);
        Ok(Standing {
            manager: "launchd",
            installed,
            file: installed.then(|| self.plist.clone()),
            at_login: installed,
            state: Some(of("state").unwrap_or_else(|| "not loaded".to_owned())),
            pid: of("pid").and_then(|pid| pid.parse().ok()),
            listens_at: loaded.then(|| self.instance.socket.path().display().to_string()),
            ..Standing::default()
        })
    }

    fn listen(&self) -> Result<(), Failure> {
        if self.is_loaded()? {
            self.ask(&["bootout", &self.target()])?;
        }
        self.load()
    }

    fn start(&self) -> Result<(), Failure> {
        if !self.is_loaded()? {
            self.load()?;
        }
        self.ask(&["kickstart", &self.target()])
    }

    fn stop(&self) -> Result<(), Failure> {
        self.ask(&["bootout", &self.target()])
    }

    fn restart(&self) -> Result<(), Failure> {
        if !self.is_loaded()? {
            return self.load();
        }
        // SIGTERM, and the socket goes on listening; `kickstart -k` would kill at once.
        self.ask(&["kill", "SIGTERM", &self.target()])?;
        self.ask(&["kickstart", &self.target()])
    }

    fn logs(&self, follow: bool, since: Option<u64>) -> Result<ExitCode, Failure> {
        logs::print(&self.instance.directories.log(), follow, since)
    }
}

#[cfg(target_os = "macos")]
impl Launchd {
    fn target(&self) -> String {
        format!("{}/{LABEL}", self.domain)
    }

    fn is_loaded(&self) -> Result<bool, Failure> {
        let print = ["print", &self.target()];
        Ok(command::run(LAUNCHCTL, Command::new(LAUNCHCTL).args(print))?.success)
    }

    fn load(&self) -> Result<(), Failure> {
        let plist = self.plist.display().to_string();
        self.ask(&["bootstrap", &self.domain, &plist])
    }

    fn ask(&self, arguments: &[&str]) -> Result<(), Failure> {
        let shown = format!("{LAUNCHCTL} {}", arguments.join(" "));
        command::succeed(LAUNCHCTL, &shown, Command::new(LAUNCHCTL).args(arguments)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::command::service::testing::python;

    /// As a parser of property lists reads it, not ours.
    fn parsed(plist: &str) -> Value {
        let script = "import json, plistlib, sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))";
        serde_json::from_str(&python(script, plist.as_bytes())).unwrap()
    }

    #[test]
    fn the_agent_is_a_property_list_that_says_what_it_must() {
        let [program, socket, log] = [
            "/Applications/A & B <1>/authd",
            "/Users/me/Library/Application Support/authd/run/authd.sock",
            "/Users/me/Library/Application Support/authd/authd.log",
        ];
        let agent = agent(Path::new(program), Path::new(socket), Path::new(log)).unwrap();
        for open in ["@PROGRAM@", "@SOCKET@", "@LOG@"] {
            assert!(!agent.contains(open), "{open} is not filled in");
        }
        let agent = parsed(&agent);
        assert_eq!(agent["Label"], "authd");
        assert_eq!(agent["ProgramArguments"], serde_json::json!([program]));
        let listener = &agent["Sockets"]["Listener"];
        assert_eq!(listener["SockPathName"], socket);
        assert_eq!(listener["SockPathMode"], 0o600);
        assert_eq!(agent["RunAtLoad"], true);
        assert_eq!(agent["KeepAlive"]["SuccessfulExit"], false);
        assert_eq!(agent["StandardErrorPath"], log);
        assert_eq!(agent["Umask"], 0o077);
        for limits in ["HardResourceLimits", "SoftResourceLimits"] {
            assert_eq!(agent[limits]["Core"], 0);
        }
        assert!(agent["ExitTimeOut"].as_u64() >= Some(160));
        let keys = agent.as_object().unwrap().len();
        assert_eq!(keys, 10, "a key that this test knows nothing of: {agent}");
    }

    #[test]
    fn the_daemon_asks_launchd_for_the_socket_by_its_name_there() {
        let asks = include_str!("../../../../authd-ipc/src/activation/launchd.rs");
        let (_, name) = asks.split_once("NAME: &std::ffi::CStr = c\"").unwrap();
        let (name, _) = name.split_once('"').unwrap();
        let somewhere = Path::new("/s");
        let agent = parsed(&agent(somewhere, somewhere, somewhere).unwrap());
        assert!(agent["Sockets"][name].is_object(), "{name}");
    }

    #[test]
    fn a_path_that_no_property_list_can_name_is_refused() {
        assert_eq!(
            agent(Path::new("/a\nb"), Path::new("/s"), Path::new("/l")),
            None
        );
    }
}
