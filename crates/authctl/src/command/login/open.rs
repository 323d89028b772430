//! Opening a page in the person's browser.

use std::io::Write as _;
use std::process::{Command, Stdio};

use url::Url;

use super::place::Way;

/// A program of Windows that a Linux within it can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowsOpener {
    /// Of the package `wslu`.
    Wslview,
    /// Windows' own.
    PowerShell,
}

impl WindowsOpener {
    /// The first that is there.
    pub(super) fn find() -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let path = std::env::var_os("PATH")?;
        [Self::Wslview, Self::PowerShell]
            .into_iter()
            .find(|opener| {
                std::env::split_paths(&path).any(|folder| folder.join(opener.program()).is_file())
            })
    }

    fn program(self) -> &'static str {
        match self {
            Self::Wslview => "wslview",
            Self::PowerShell => "powershell.exe",
        }
    }

    fn open(self, url: &str) -> bool {
        let mut command = Command::new(self.program());
        match self {
            Self::Wslview => command.arg(url).stdin(Stdio::null()),
            // By its standard input: nothing of the address is ever read as a command.
            Self::PowerShell => command
                .args(["-NoLogo", "-NoProfile", "-NonInteractive", "-Command"])
                .arg("Start-Process -FilePath ([Console]::In.ReadLine())")
                .stdin(Stdio::piped()),
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = child else { return false };
        if let Some(mut stdin) = child.stdin.take()
            && writeln!(stdin, "{url}").is_err()
        {
            return false;
        }
        child.wait().is_ok_and(|status| status.success())
    }
}

/// Whether the page could be opened, as far as that can be known.
pub(super) fn open(way: Way, url: &str) -> bool {
    // Whatever else a provider's metadata may name is nothing for a browser to start.
    let web = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    web && match way {
        Way::Browser => webbrowser::open(url).is_ok(),
        Way::WindowsBrowser(opener) => opener.open(url),
        Way::Paste | Way::Device | Way::Elsewhere(_) => false,
    }
}
