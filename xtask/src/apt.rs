//! Debian's packages: installed on the machine, or only unpacked into a folder.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::error::ChoreError;

/// Installs packages, or says `false` where there is no apt or no right to use it.
pub(crate) fn install(packages: &[&str]) -> Result<bool, ChoreError> {
    let Some(mut install) = privileged() else {
        return Ok(false);
    };
    // A stale package list may name versions that are gone, but an unreachable mirror may still
    // leave us with everything we need: only the installation decides.
    if let Err(stale) = update() {
        eprintln!("xtask: {stale}; going on with the package lists as they are");
    }
    command::run(
        install
            .args(["--quiet", "--quiet", "--yes", "--no-install-recommends"])
            .arg("install")
            .args(packages),
    )?;
    Ok(true)
}

/// Unpacks those packages into `root` that the `wanted` ones depend on, directly or not, and
/// whose names start with one of the `prefixes`. Nothing is installed, so no right is needed.
pub(crate) fn unpack(wanted: &[&str], prefixes: &[&str], root: &Path) -> Result<(), ChoreError> {
    let closure = match closure(wanted) {
        // Fresh containers come without package lists.
        Err(_) => {
            update()?;
            closure(wanted)?
        }
        Ok(closure) => closure,
    };
    let packages = closure
        .lines()
        .filter(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)));
    let downloads = root.join("downloads");
    fs::create_dir_all(&downloads).map_err(ChoreError::io("create", &downloads))?;
    command::run(
        Command::new("apt-get")
            .args(["--quiet", "--quiet", "download"])
            .args(packages)
            .current_dir(&downloads),
    )?;
    for entry in fs::read_dir(&downloads).map_err(ChoreError::io("read", &downloads))? {
        let package = entry.map_err(ChoreError::io("read", &downloads))?.path();
        command::run(Command::new("dpkg").arg("-x").arg(package).arg(root))?;
    }
    fs::remove_dir_all(&downloads).map_err(ChoreError::io("remove", &downloads))
}

/// Where this machine has its Debian from.
pub(crate) struct Mirror {
    pub(crate) address: String,
    /// The release's code name.
    pub(crate) release: String,
}

impl Mirror {
    /// The first one of apt's configuration that has the release this machine runs, whole.
    pub(crate) fn of_this_machine() -> Result<Self, ChoreError> {
        let os = Path::new("/etc/os-release");
        let text = fs::read_to_string(os).map_err(ChoreError::io("read", os))?;
        let release = text
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .map(|name| name.trim_matches('"').to_owned());
        let mut targets = Command::new("apt-get");
        targets.args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        ]);
        let known = command::stdout(&mut targets)?;
        let release = release.unwrap_or_default();
        known
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(_, what)| *what == format!("{release} main"))
            .map(|(address, _)| Self {
                address: address.to_owned(),
                release: release.clone(),
            })
            .ok_or_else(|| ChoreError::Output {
                command: command::line(&targets),
                reason: format!("no mirror of Debian's release '{release}'"),
            })
    }
}

/// The packages and everything they need: package names at the start of a line, relations
/// indented.
fn closure(packages: &[&str]) -> Result<String, ChoreError> {
    command::stdout(
        Command::new("apt-cache")
            .args(["depends", "--recurse", "--no-recommends", "--no-suggests"])
            .args([
                "--no-conflicts",
                "--no-breaks",
                "--no-replaces",
                "--no-enhances",
            ])
            .args(packages),
    )
}

fn update() -> Result<(), ChoreError> {
    privileged().map_or(Ok(()), |mut update| {
        command::run(update.args(["--quiet", "--quiet", "update"]))
    })
}

/// apt-get with the right to change the machine: as root, or by sudo without a password.
fn privileged() -> Option<Command> {
    if !command::is_on_path("apt-get") {
        return None;
    }
    let is_root = command::stdout(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0");
    let mut command = if is_root {
        Command::new("apt-get")
    } else if command::succeeds(Command::new("sudo").args(["--non-interactive", "true"])) {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "apt-get"]);
        sudo
    } else {
        return None;
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Some(command)
}
