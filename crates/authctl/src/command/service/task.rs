//! A task of Windows' Task Scheduler that starts the daemon when its user logs on.
//!
//! The task starts it and ends: the daemon is told to stop over its pipe, like any other. A pipe cannot be
//! held for a daemon that is restarted, so commands that call meanwhile wait for its start.

use std::path::Path;
#[cfg(windows)]
use std::path::PathBuf;
#[cfg(windows)]
use std::process::{Command, ExitCode};

#[cfg(windows)]
use authd_client::{ClientError, Instance};

use super::file::MARK;
#[cfg(windows)]
use super::{Manager, ServiceError, Standing, command, file, logs};
#[cfg(windows)]
use crate::daemon;
#[cfg(windows)]
use crate::exit::Failure;

const TASK: &str = include_str!("../../../../../windows/authd-task.xml");

/// The task's description for the command at `authctl` and the user with this SID, as schtasks reads it:
/// UTF-16 with its mark. `None` when the path cannot be named in it.
fn description(authctl: &Path, sid: &str) -> Option<Vec<u8>> {
    let text = TASK
        .replacen("<!--", &format!("<!-- {MARK}. -->\n<!--"), 1)
        .replace("@PROGRAM@", &super::xml_text(authctl)?)
        .replace("@USER@", sid);
    let units = std::iter::once('\u{feff}' as u16).chain(text.encode_utf16());
    Some(units.flat_map(u16::to_le_bytes).collect())
}

/// The task's name for the user with this SID: the users of a machine have one folder of tasks between them.
fn name_for(sid: &str) -> String {
    format!("authd-{sid}")
}

/// The Task Scheduler.
#[cfg(windows)]
pub(super) struct Task {
    instance: Instance,
    /// Whose task it is.
    sid: String,
    name: String,
    /// Kept, so that it is seen whether anything changed.
    description: PathBuf,
}

#[cfg(windows)]
const SCHTASKS: &str = "schtasks";

#[cfg(windows)]
impl Manager for Task {
    fn connect(instance: &Instance) -> Result<Self, Failure> {
        let sid = authd_client::own_sid().map_err(ClientError::Io)?;
        Ok(Self {
            instance: instance.clone(),
            name: name_for(&sid),
            sid,
            description: instance.directories.state.join("authd-task.xml"),
        })
    }

    fn install(&self, _: bool) -> Result<Vec<String>, Failure> {
        let authctl = std::env::current_exe().map_err(|source| Failure::Program {
            program: "authctl".to_owned(),
            source,
        })?;
        let description = description(&authctl, &self.sid)
            .ok_or_else(|| ServiceError::Unnameable(authctl.clone()))?;
        if !file::put(&self.description, &description)? && self.is_there()? {
            return Ok(Vec::new());
        }
        let file = self.description.display().to_string();
        self.ask(&["/Create", "/TN", &self.name, "/XML", &file, "/F"])?;
        Ok(vec![format!("registered the task '{}'", self.name)])
    }

    fn uninstall(&self) -> Result<Vec<String>, Failure> {
        let mut done = Vec::new();
        if self.is_there()? {
            self.ask(&["/Delete", "/TN", &self.name, "/F"])?;
            done.push(format!("removed the task '{}'", self.name));
        }
        file::remove(&self.description)?;
        if !done.is_empty() {
            self.stop()?;
        }
        Ok(done)
    }

    fn standing(&self) -> Result<Standing, Failure> {
        let installed = self.is_there()?;
        // Whatever daemon runs is the one that the task would have started.
        let running = super::running()?;
        let state = if running.is_some() {
            "active"
        } else {
            "inactive"
        };
        Ok(Standing {
            manager: "the Task Scheduler",
            installed,
            file: installed.then(|| self.description.clone()),
            at_login: installed,
            state: Some(state.to_owned()),
            pid: running.map(|found| found.pid()),
            ..Standing::default()
        })
    }

    fn listen(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn start(&self) -> Result<(), Failure> {
        daemon::reach().map(drop)
    }

    fn stop(&self) -> Result<(), Failure> {
        match super::running()? {
            Some(found) => daemon::end(found.client),
            None => Ok(()),
        }
    }

    fn restart(&self) -> Result<(), Failure> {
        match super::running()? {
            Some(found) => daemon::replace(&self.instance, found.client),
            None => self.start(),
        }
    }

    fn logs(&self, follow: bool, since: Option<u64>) -> Result<ExitCode, Failure> {
        logs::print(&self.instance.directories.log(), follow, since)
    }
}

#[cfg(windows)]
impl Task {
    fn is_there(&self) -> Result<bool, Failure> {
        let query = ["/Query", "/TN", &self.name];
        Ok(command::run(SCHTASKS, Command::new(SCHTASKS).args(query))?.success())
    }

    fn ask(&self, arguments: &[&str]) -> Result<(), Failure> {
        let shown = format!("{SCHTASKS} {}", arguments.join(" "));
        command::succeed(SCHTASKS, &shown, Command::new(SCHTASKS).args(arguments)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::command::service::testing::python;

    const SID: &str = "S-1-5-21-1-2-3-1001";

    /// The text of every element by its path, as a parser of XML reads it.
    fn parsed(task: &[u8]) -> Value {
        let script = r#"
import json, sys, xml.etree.ElementTree as tree
NAMESPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
texts = {}
def visit(element, path):
    assert element.tag.startswith(NAMESPACE), element.tag
    path = path + "/" + element.tag[len(NAMESPACE):]
    texts[path] = (element.text or "").strip()
    for child in element:
        visit(child, path)
visit(tree.fromstring(sys.stdin.buffer.read()), "")
print(json.dumps(texts))"#;
        serde_json::from_str(&python(script, task)).unwrap()
    }

    #[test]
    fn the_task_is_xml_in_utf_16_that_says_what_it_must() {
        let authctl = r"C:\Users\A & B\authd\authctl.exe";
        let task = description(Path::new(authctl), SID).unwrap();
        assert_eq!(task[..2], [0xff, 0xfe], "the mark of its byte order");
        let task = parsed(&task);
        for (path, text) in [
            ("/Task/Triggers/LogonTrigger/UserId", SID),
            ("/Task/Principals/Principal/UserId", SID),
            ("/Task/Principals/Principal/LogonType", "InteractiveToken"),
            ("/Task/Principals/Principal/RunLevel", "LeastPrivilege"),
            ("/Task/Settings/MultipleInstancesPolicy", "IgnoreNew"),
            ("/Task/Settings/DisallowStartIfOnBatteries", "false"),
            ("/Task/Settings/StopIfGoingOnBatteries", "false"),
            ("/Task/Actions/Exec/Command", authctl),
            ("/Task/Actions/Exec/Arguments", "daemon start"),
        ] {
            assert_eq!(task[path], text, "{path}");
        }
        let texts = task.as_object().unwrap();
        let open = texts
            .values()
            .any(|text| text.as_str().unwrap().contains('@'));
        assert!(!open, "something is not filled in: {task}");
    }

    #[test]
    fn each_user_has_a_task_whose_name_needs_no_quotes() {
        let name = name_for(SID);
        assert_ne!(name, name_for("S-1-5-21-1-2-3-1002"));
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        assert!(
            name.starts_with("authd-") && name.chars().all(plain),
            "{name}"
        );
    }

    #[test]
    fn a_path_that_no_task_can_name_is_refused() {
        assert_eq!(description(Path::new("C:\\a\u{1}b"), SID), None);
    }
}
