//! A user agent of launchd, which listens for it.
//!
//! `launchctl bootout` returns before the agent is gone, and until then `bootstrap` of the same label fails.
//! launchctl cannot be told to wait, so it is asked again and again.

use std::path::Path;
#[cfg(target_os = "macos")]
use std::path::PathBuf;
#[cfg(target_os = "macos")]
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use super::file::MARK;

#[cfg(target_os = "macos")]
use authd_client::{ClientError, Instance, PathError, spawn};

#[cfg(target_os = "macos")]
use super::command::Ended;
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

/// How long an agent may take to be gone after `bootout`: launchd kills it after the `ExitTimeOut` of its
/// property list.
const GONE_WITHIN: Duration = Duration::from_secs(170);
/// How long its label may not be free then. An agent that launchd will not have is refused by the same word,
/// so this is also how long one waits to be told.
#[cfg(target_os = "macos")]
const FREE_WITHIN: Duration = Duration::from_secs(20);
/// How often launchctl is asked meanwhile.
#[cfg(target_os = "macos")]
const PAUSE: Duration = Duration::from_millis(200);

/// Whether after `bootout` there is nothing to do but to wait: it is on its way, or there was no such agent.
fn leaves(bootout: Option<i32>) -> bool {
    // ESRCH; EINPROGRESS, where it takes the agent some time to end.
    matches!(bootout, Some(0 | 3 | 36))
}

/// Whether `bootstrap` may work a moment later: the label is not free yet.
fn is_early(bootstrap: Option<i32>) -> bool {
    // EIO, which may also mean something else; EALREADY.
    matches!(bootstrap, Some(5 | 37))
}

/// Asks until the answer is a settled one, and for `patience` at most. The last answer.
fn ask_until<T, E>(
    patience: Duration,
    pause: Duration,
    mut ask: impl FnMut() -> Result<T, E>,
    is_settled: impl Fn(&T) -> bool,
) -> Result<T, E> {
    let start = Instant::now();
    loop {
        let answer = ask()?;
        if is_settled(&answer) || start.elapsed() >= patience {
            return Ok(answer);
        }
        thread::sleep(pause);
    }
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
        let ended = run(&["print", &manager.domain])?;
        if ended.success() {
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
            self.unload()?;
        }
        Ok(vec![format!("wrote '{}'", self.plist.display())])
    }

    fn uninstall(&self) -> Result<Vec<String>, Failure> {
        let mut done = Vec::new();
        if self.is_loaded()? {
            self.unload()?;
            done.push("stopped the agent 'authd'".to_owned());
        }
        if file::remove(&self.plist)? {
            done.push(format!("removed '{}'", self.plist.display()));
        }
        Ok(done)
    }

    fn standing(&self) -> Result<Standing, Failure> {
        let ended = run(&["print", &self.target()])?;
        let of = |name: &str| {
            let mut lines = ended.stdout.lines().map(str::trim);
            lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(" = ")?.to_owned()))
        };
        let loaded = ended.success();
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
            self.unload()?;
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
        self.unload()
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
        Ok(run(&["print", &self.target()])?.success())
    }

    /// Returns when it is loaded.
    fn load(&self) -> Result<(), Failure> {
        let plist = self.plist.display().to_string();
        let arguments = ["bootstrap", &self.domain, &plist];
        let is_settled = |ended: &Ended| !is_early(ended.code);
        let ended = ask_until(FREE_WITHIN, PAUSE, || run(&arguments), is_settled)?;
        if ended.success() {
            return Ok(());
        }
        Err(refused(&arguments, ended.why))
    }

    /// Returns when it is gone. One that is not loaded is fine.
    fn unload(&self) -> Result<(), Failure> {
        let target = self.target();
        let arguments = ["bootout", &target];
        let ended = run(&arguments)?;
        if !leaves(ended.code) {
            return Err(refused(&arguments, ended.why));
        }
        let is_there = ask_until(GONE_WITHIN, PAUSE, || self.is_loaded(), |loaded| !loaded)?;
        if is_there {
            return Err(refused(&arguments, "it does not end".to_owned()));
        }
        Ok(())
    }

    fn ask(&self, arguments: &[&str]) -> Result<(), Failure> {
        command::succeed(
            LAUNCHCTL,
            &shown(arguments),
            Command::new(LAUNCHCTL).args(arguments),
        )
        .map(drop)
    }
}

#[cfg(target_os = "macos")]
fn run(arguments: &[&str]) -> Result<Ended, Failure> {
    command::run(LAUNCHCTL, Command::new(LAUNCHCTL).args(arguments))
}

#[cfg(target_os = "macos")]
fn refused(arguments: &[&str], why: String) -> Failure {
    let command = shown(arguments);
    ServiceError::Refused { command, why }.into()
}

#[cfg(target_os = "macos")]
fn shown(arguments: &[&str]) -> String {
    format!("{LAUNCHCTL} {}", arguments.join(" "))
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
        let kills_after = agent["ExitTimeOut"].as_u64().unwrap();
        assert!(kills_after >= 160);
        assert!(
            GONE_WITHIN > Duration::from_secs(kills_after),
            "what launchd kills must be seen to be gone"
        );
        let keys = agent.as_object().unwrap().len();
        assert_eq!(keys, 10, "a key that this test knows nothing of: {agent}");
    }

    #[test]
    fn an_agent_that_is_not_there_has_left_and_a_label_that_is_not_free_will_be() {
        for done in [0, 3, 36] {
            assert!(leaves(Some(done)), "{done}");
        }
        for early in [5, 37] {
            assert!(is_early(Some(early)), "{early}");
            assert!(!leaves(Some(early)), "{early}");
        }
        for settled in [Some(0), Some(78), None] {
            assert!(!is_early(settled), "{settled:?}");
        }
        assert!(!leaves(None));
    }

    #[test]
    fn it_is_asked_until_the_answer_settles_or_patience_ends() {
        let pause = Duration::from_millis(1);
        let mut answers = [37, 37, 0, 1].into_iter();
        let mut ask = || answers.next().ok_or(());
        let settled = ask_until(GONE_WITHIN, pause, &mut ask, |code| !is_early(Some(*code)));
        assert_eq!(settled, Ok(0));
        assert_eq!(ask(), Ok(1), "it was asked no more");
        let never = ask_until(Duration::ZERO, pause, || Ok::<_, ()>(37), |_| false);
        assert_eq!(never, Ok(37));
        let failed = ask_until(GONE_WITHIN, pause, || Err::<(), _>("gone"), |()| false);
        assert_eq!(failed, Err("gone"));
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
