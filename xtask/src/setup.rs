//! What the tests need beyond a Rust toolchain, installed when it is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt;
use crate::command;
use crate::error::ChoreError;
use crate::tool::{self, Tool};
use crate::workspace;

/// Whether a chore may install things on this machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Install what is missing.
    Install,
    /// Only say what is missing.
    Report,
}

impl Permission {
    /// From `--no-install`.
    pub(crate) fn from_flag(no_install: bool) -> Self {
        if no_install {
            Self::Report
        } else {
            Self::Install
        }
    }
}

/// A program that comes in a Debian package.
pub(crate) struct Program {
    name: &'static str,
    package: &'static str,
    why: &'static str,
}

impl Program {
    /// `why` completes "it …".
    pub(crate) const fn new(name: &'static str, package: &'static str, why: &'static str) -> Self {
        Self { name, package, why }
    }
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "nvim",
        package: "neovim",
        why: "speaks to the socket without a plugin",
    },
    Program {
        name: "gnome-keyring-daemon",
        package: "gnome-keyring",
        why: "a real Secret Service holds the data key",
    },
    Program {
        name: "dbus-run-session",
        package: "dbus-daemon",
        why: "a session bus of the test's own",
    },
    Program {
        name: "ip",
        package: "iproute2",
        why: "changes the network of a namespace that a daemon lives in",
    },
    Program {
        name: "gdb",
        package: "gdb",
        why: "tries to attach to the daemon",
    },
    Program {
        name: "chromium",
        package: "chromium",
        why: "a person's browser, at a real consent page and at the page where a login ends",
    },
    Program {
        name: "chromedriver",
        package: "chromium-driver",
        why: "clicks in that browser",
    },
    Program {
        name: "npm",
        package: "npm",
        why: "installs the certified OpenID provider",
    },
    Program {
        name: "python3",
        package: "python3",
        why: "runs an MCP server that a provider protects, reads what other systems are to read",
    },
    Program {
        name: "systemd-analyze",
        package: "systemd",
        why: "judges the units; its user manager runs the service",
    },
    Program {
        name: "ssh",
        package: "openssh-client",
        why: "carries a restricted socket to another host",
    },
    Program {
        // Not on everybody's path.
        name: "/usr/sbin/sshd",
        package: "openssh-server",
        why: "is that other host",
    },
];

/// For `check-platforms`: the import-library tool of mingw-w64, which Windows crates call.
pub(crate) const DLLTOOL: Program = Program {
    name: "x86_64-w64-mingw32-dlltool",
    package: "binutils-mingw-w64-x86-64",
    why: "writes import libraries for Windows",
};

/// The oldest Node.js that the certified provider runs on.
const NODE_MAJOR: u32 = 20;

/// Makes this machine ready for `cargo xtask test`. Nothing happens when it is ready already.
pub(crate) fn run(permission: Permission) -> Result<(), ChoreError> {
    programs(PROGRAMS, permission)?;
    node()?;
    tools(&[tool::NEXTEST], permission)?;
    provider(permission)?;
    mcp_server(permission)
}

/// Installs those of the programs that are missing, by apt.
pub(crate) fn programs(wanted: &[Program], permission: Permission) -> Result<(), ChoreError> {
    let missing = || -> Vec<&Program> {
        wanted
            .iter()
            .filter(|program| !command::is_on_path(program.name))
            .collect()
    };
    let packages: Vec<&str> = missing().iter().map(|program| program.package).collect();
    if packages.is_empty() || permission == Permission::Install && apt::install(&packages)? {
        return Ok(());
    }
    let mut report = String::new();
    for program in missing() {
        report += &format!("  {} ({})\n", program.name, program.why);
    }
    Err(ChoreError::Missing(format!(
        "{report}install with: sudo apt-get install {}",
        packages.join(" ")
    )))
}

fn tools(wanted: &[Tool], permission: Permission) -> Result<(), ChoreError> {
    for &tool in wanted {
        match permission {
            Permission::Install => tool.install()?,
            Permission::Report if tool.is_present()? => {}
            Permission::Report => {
                return Err(ChoreError::Missing(format!(
                    "install with: {}",
                    tool.remedy()
                )));
            }
        }
    }
    Ok(())
}

/// Debian's Node.js may be older than the provider needs, and no package of Debian's mends that.
fn node() -> Result<(), ChoreError> {
    let mut node = Command::new("node");
    let version = command::stdout(node.arg("--version"))?;
    let major = version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= NODE_MAJOR) {
        Ok(())
    } else {
        Err(ChoreError::Missing(format!(
            "  Node.js {NODE_MAJOR} or newer (found {})\ninstall with: see https://nodejs.org/download",
            version.trim()
        )))
    }
}

/// The certified provider of the end-to-end tests.
pub(crate) fn provider_folder() -> PathBuf {
    workspace::root().join("tests").join("oidc-provider")
}

/// Its packages, exactly as the lock file names them.
fn provider(permission: Permission) -> Result<(), ChoreError> {
    let folder = provider_folder();
    let is_current = command::succeeds(
        Command::new("npm")
            .args(["ls", "--all", "--silent"])
            .current_dir(&folder),
    );
    if is_current {
        return Ok(());
    }
    match permission {
        Permission::Install => command::run(
            Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(&folder),
        ),
        Permission::Report => Err(ChoreError::Missing(format!(
            "  the packages of {}\ninstall with: npm ci --ignore-scripts",
            folder.display()
        ))),
    }
}

/// The packages of the MCP server, exactly as its list names them, in an environment of their own that
/// lasts as long as the target directory.
fn mcp_server(permission: Permission) -> Result<(), ChoreError> {
    const LIST: &str = "requirements.txt";
    let list = workspace::root()
        .join("tests")
        .join("mcp-server")
        .join(LIST);
    let environment = workspace::target_dir()?.join("mcp-server");
    let installed = environment.join(LIST);
    let read = |path: &Path| fs::read_to_string(path).ok();
    if read(&installed).is_some() && read(&installed) == read(&list) {
        return Ok(());
    }
    if permission == Permission::Report {
        return Err(ChoreError::Missing(format!(
            "  the packages of {}\ninstall with: python3 -m venv {} && {}/bin/pip install -r {}",
            list.display(),
            environment.display(),
            environment.display(),
            list.display()
        )));
    }
    // Debian keeps what makes an environment apart from Python.
    let has_pip = || command::succeeds(Command::new("python3").args(["-c", "import ensurepip"]));
    let can_install = has_pip() || apt::install(&["python3-venv"])? && has_pip();
    if !can_install {
        return Err(ChoreError::Missing(
            "  ensurepip of Python\ninstall with: sudo apt-get install python3-venv".to_owned(),
        ));
    }
    command::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )?;
    command::run(
        Command::new(environment.join("bin").join("pip"))
            .args([
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
            ])
            .arg("--requirement")
            .arg(&list),
    )?;
    // Last of all: what broke off half way is begun again.
    fs::copy(&list, &installed).map_err(ChoreError::io("write", &installed))?;
    Ok(())
}
