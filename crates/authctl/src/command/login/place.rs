//! Where the person sits, and so which way of logging in is of use to them.
//!
//! A browser that is opened on the far side of an SSH connection, or in a container, shows its page to
//! nobody. What is known of the surroundings is gathered once ([`Surroundings::here`]); what follows from it
//! is a table ([`choose`]).

use std::path::Path;

use authd_proto::request::Flow;

use super::open::WindowsOpener;

/// The variables that tell. A variable that is empty counts as absent.
const VARIABLES: [&str; 9] = [
    "BROWSER",
    "DISPLAY",
    "KUBERNETES_SERVICE_HOST",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "WAYLAND_DISPLAY",
    "WSL_DISTRO_NAME",
    "container",
];

/// What is around this process, as far as it says where the person sits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// Those of [`VARIABLES`] that are set.
    variables: Vec<&'static str>,
    /// Whether the kernel is that of Windows' subsystem for Linux.
    windows_kernel: bool,
    /// Whether a container engine left its mark.
    container_mark: bool,
    /// Whether a browser needs a display server that variables name: on Unix, but not on macOS.
    display_named: bool,
    /// A program of Windows that opens a page there.
    opener: Option<WindowsOpener>,
}

impl Surroundings {
    pub(super) fn here() -> Self {
        let variables = VARIABLES
            .into_iter()
            .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
            .collect();
        let windows_kernel = cfg!(target_os = "linux")
            && std::fs::read_to_string("/proc/version")
                .is_ok_and(|version| version.to_ascii_lowercase().contains("microsoft"));
        let marks = ["/.dockerenv", "/run/.containerenv"];
        Self {
            variables,
            windows_kernel,
            container_mark: cfg!(target_os = "linux")
                && marks.iter().any(|mark| Path::new(mark).exists()),
            display_named: cfg!(all(unix, not(target_os = "macos"))),
            opener: WindowsOpener::find(),
        }
    }

    fn has(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.variables.contains(name))
    }
}

/// What the person said on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Browser,
    NoBrowser,
    Device,
}

/// How the login is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Open the browser of this machine.
    Browser,
    /// Open the browser of the Windows that this Linux runs in.
    WindowsBrowser(WindowsOpener),
    /// Print the address, and take the one that the browser ended at.
    Paste,
    /// With a code, on any device.
    Device,
    /// With a code where the provider lets this client, else as [`Way::Paste`]: nothing was asked for, and a
    /// browser here would be of no use.
    Elsewhere(Reason),
}

/// Why a browser here would be of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Ssh,
    Wsl,
    Container,
    NoDisplay,
}

impl Reason {
    /// The beginning of a sentence that says what follows from it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Ssh => "you are connected by SSH",
            Self::Wsl => "this is WSL, without a way to the browser of Windows",
            Self::Container => "this is a container",
            Self::NoDisplay => "there is no display here",
        }
    }
}

impl Way {
    /// What to ask the daemon for.
    pub(super) fn flow(self) -> Flow {
        match self {
            Self::Browser | Self::WindowsBrowser(_) | Self::Paste => Flow::Browser,
            Self::Device => Flow::Device,
            Self::Elsewhere(_) => Flow::DeviceOrBrowser,
        }
    }

    /// Why it was chosen, where nobody asked for it and it is not the usual one.
    pub(super) fn reason(self) -> Option<Reason> {
        match self {
            Self::Elsewhere(reason) => Some(reason),
            _ => None,
        }
    }
}

/// What is asked for is done; else the surroundings decide.
pub(super) fn choose(asked: Asked, around: &Surroundings) -> Way {
    match asked {
        Asked::NoBrowser => Way::Paste,
        Asked::Device => Way::Device,
        Asked::Browser => match around.opener {
            Some(opener) if around.is_wsl() => Way::WindowsBrowser(opener),
            _ => Way::Browser,
        },
        Asked::Nothing => around.usual(),
    }
}

impl Surroundings {
    fn is_wsl(&self) -> bool {
        self.windows_kernel || self.has(&["WSL_DISTRO_NAME"])
    }

    fn usual(&self) -> Way {
        let display = !self.display_named || self.has(&["DISPLAY", "WAYLAND_DISPLAY"]);
        // Whoever names a browser means it: editors do so for a terminal on another machine, and bring the
        // page to the person.
        if self.has(&["BROWSER"]) {
            return Way::Browser;
        }
        // Before the display: one that is forwarded has seldom a browser behind it.
        if self.has(&["SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"]) {
            return Way::Elsewhere(Reason::Ssh);
        }
        if self.is_wsl() {
            return match self.opener {
                Some(opener) => Way::WindowsBrowser(opener),
                None if display => Way::Browser,
                None => Way::Elsewhere(Reason::Wsl),
            };
        }
        if display {
            return Way::Browser;
        }
        let container = self.container_mark || self.has(&["container", "KUBERNETES_SERVICE_HOST"]);
        Way::Elsewhere(if container {
            Reason::Container
        } else {
            Reason::NoDisplay
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Linux machine with these variables.
    fn linux(variables: &[&'static str]) -> Surroundings {
        Surroundings {
            variables: variables.to_vec(),
            display_named: true,
            ..Surroundings::default()
        }
    }

    fn mac(variables: &[&'static str]) -> Surroundings {
        Surroundings {
            display_named: false,
            ..linux(variables)
        }
    }

    fn wsl(variables: &[&'static str], opener: Option<WindowsOpener>) -> Surroundings {
        Surroundings {
            windows_kernel: true,
            opener,
            ..linux(variables)
        }
    }

    fn container(variables: &[&'static str]) -> Surroundings {
        Surroundings {
            container_mark: true,
            ..linux(variables)
        }
    }

    #[test]
    fn the_surroundings_choose_the_way() {
        use Reason::{Container, NoDisplay, Ssh, Wsl};
        use Way::{Browser, Elsewhere, WindowsBrowser};
        use WindowsOpener::{PowerShell, Wslview};
        let table = [
            // At the desk.
            (linux(&["DISPLAY"]), Browser),
            (linux(&["WAYLAND_DISPLAY"]), Browser),
            (mac(&[]), Browser),
            // A server, a console, a job.
            (linux(&[]), Elsewhere(NoDisplay)),
            // By SSH: from a terminal, without one, with a forwarded display, to a Mac.
            (linux(&["SSH_CONNECTION", "SSH_TTY"]), Elsewhere(Ssh)),
            (linux(&["SSH_CONNECTION"]), Elsewhere(Ssh)),
            (linux(&["SSH_TTY"]), Elsewhere(Ssh)),
            (linux(&["SSH_CLIENT"]), Elsewhere(Ssh)),
            (linux(&["SSH_CONNECTION", "DISPLAY"]), Elsewhere(Ssh)),
            (mac(&["SSH_CONNECTION"]), Elsewhere(Ssh)),
            // The terminal of an editor on another machine.
            (linux(&["BROWSER", "SSH_CONNECTION"]), Browser),
            (container(&["BROWSER"]), Browser),
            (linux(&["BROWSER"]), Browser),
            // Windows' subsystem for Linux, with and without its ways out.
            (wsl(&[], Some(Wslview)), WindowsBrowser(Wslview)),
            (
                wsl(&["DISPLAY"], Some(PowerShell)),
                WindowsBrowser(PowerShell),
            ),
            (wsl(&["DISPLAY"], None), Browser),
            (wsl(&[], None), Elsewhere(Wsl)),
            (linux(&["WSL_DISTRO_NAME"]), Elsewhere(Wsl)),
            (wsl(&["SSH_TTY"], Some(Wslview)), Elsewhere(Ssh)),
            // Containers: Docker's and Podman's mark, systemd's variable, a pod. With a display, it is one
            // for desktop programs.
            (container(&[]), Elsewhere(Container)),
            (linux(&["container"]), Elsewhere(Container)),
            (linux(&["KUBERNETES_SERVICE_HOST"]), Elsewhere(Container)),
            (container(&["WAYLAND_DISPLAY"]), Browser),
            (container(&["SSH_CONNECTION"]), Elsewhere(Ssh)),
        ];
        for (around, way) in table {
            assert_eq!(choose(Asked::Nothing, &around), way, "{around:?}");
        }
    }

    #[test]
    fn what_is_asked_for_is_done_wherever_it_is() {
        let openers = [None, Some(WindowsOpener::Wslview)];
        for opener in openers {
            for around in [
                linux(&["DISPLAY"]),
                linux(&["SSH_CONNECTION"]),
                wsl(&[], opener),
                container(&[]),
            ] {
                assert_eq!(choose(Asked::Device, &around), Way::Device);
                assert_eq!(choose(Asked::NoBrowser, &around), Way::Paste);
                let browser = match around.opener {
                    Some(opener) => Way::WindowsBrowser(opener),
                    None => Way::Browser,
                };
                assert_eq!(choose(Asked::Browser, &around), browser, "{around:?}");
            }
        }
    }

    #[test]
    fn the_daemon_decides_where_the_provider_does() {
        assert_eq!(Way::Elsewhere(Reason::Ssh).flow(), Flow::DeviceOrBrowser);
        assert_eq!(Way::Paste.flow(), Flow::Browser);
        assert_eq!(Way::Device.flow(), Flow::Device);
    }
}
