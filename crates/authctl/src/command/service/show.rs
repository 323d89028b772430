//! How `service status` looks.

use super::Report;
use crate::output::{BAD, GOOD, STRONG, WARN, clean, span, styled};

/// The service, where it listens, and the daemon that answers.
pub(super) fn report(report: &Report) -> String {
    let service = &report.service;
    let mut lines = Vec::new();
    let state = service.state.as_deref().unwrap_or("unknown");
    let style = match state.split(' ').next() {
        Some("active") => GOOD,
        Some("failed") => BAD,
        _ => WARN,
    };
    lines.push(if service.installed {
        let pid = service
            .pid
            .map_or_else(String::new, |pid| format!(", pid {pid}"));
        (
            "service",
            format!(
                "{}{pid}, by {}",
                styled(style, clean(state)),
                service.manager
            ),
        )
    } else {
        let none = styled(WARN, "not installed");
        ("service", format!("{none}: run 'authctl service install'"))
    });
    if let Some(file) = &service.file {
        let from = if service.packaged {
            " (of a package)"
        } else {
            ""
        };
        let hardened = if service.hardened { ", hardened" } else { "" };
        let file = file.display().to_string();
        lines.push(("unit", format!("{}{from}{hardened}", clean(&file))));
    }
    if service.installed {
        let when = if service.at_login {
            "starts at login".to_owned()
        } else {
            format!(
                "{}: run 'authctl service install'",
                styled(WARN, "does not start")
            )
        };
        lines.push(("login", when));
    }
    if let Some(place) = &service.listens_at {
        lines.push(("socket", clean(place).into_owned()));
    }
    lines.push((
        "daemon",
        match &report.daemon {
            Some(daemon) => {
                let other = if service.installed && service.pid != Some(daemon.pid) {
                    "\n         not the service's: run 'authctl service start', which takes its place"
                } else {
                    ""
                };
                format!(
                    "authd {}, pid {}, up {}{other}",
                    clean(&daemon.version),
                    daemon.pid,
                    span(daemon.uptime_secs)
                )
            }
            None => {
                let why = report.trouble.as_deref().unwrap_or("not running");
                styled(WARN, clean(why))
            }
        },
    ));
    let lines = lines
        .into_iter()
        .map(|(name, text)| format!("{}{text}", styled(STRONG, format_args!("{name:<9}"))));
    lines.collect::<Vec<_>>().join("\n")
}
