//! What surrounds this process: its clock, and variables that override credentials (invariant 20), or
//! that say something else than the daemon's and the accounts'.

use std::{collections::BTreeMap, env};

use authd_proto::{
    doctor::{DoctorCheckReply, fingerprint},
    response::AccountInfo,
};

use super::{
    Finding,
    tools::{ISSUERS, TOOLS},
};

/// 2025-01-01: no release of authd is older.
const EARLIEST: u64 = 1_735_689_600;

/// The variables that are set, as `is_set` says, each with the tools that it keeps from their login.
pub(super) fn overrides(is_set: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut set: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for tool in TOOLS {
        for name in tool.variables.iter().filter(|name| is_set(name)) {
            let what = format!("{} (over {})", tool.name, tool.overrides);
            set.entry(name).or_default().push(what);
        }
    }
    let mut findings: Vec<Finding> = set
        .into_iter()
        .map(|(name, tools)| {
            Finding::warn(
                "environment",
                "variable_overrides_login",
                format!(
                    "{name} is set, and counts before any login for {}",
                    tools.join(", ")
                ),
                format!("unset {name}"),
            )
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(
            "environment",
            "no variable overrides the credentials of a known tool",
        ));
    }
    findings
}

/// Variables by which the daemon goes, and that say something else here.
pub(super) fn differences(
    reply: &DoctorCheckReply,
    value: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let differing = reply.variables.iter().filter_map(|variable| {
        let name = variable.name.as_str();
        let lower = name.ends_with("_PROXY").then(|| name.to_ascii_lowercase());
        let own = lower.and_then(|lower| value(&lower));
        let own = own.or_else(|| value(name));
        let own = own.map(|own| fingerprint(&reply.salt, &own));
        let what = match (&own, &variable.fingerprint) {
            (Some(own), Some(daemons)) if own != daemons => {
                format!("{name} has another value here than for the daemon")
            }
            (Some(_), None) => format!("{name} is set here, and not for the daemon"),
            (None, Some(_)) => format!("{name} is set for the daemon, and not here"),
            _ => return None,
        };
        let fix = if name.starts_with("AUTHD_") {
            format!("set {name} alike for both, or unset it")
        } else {
            "authctl daemon stop (the next command starts it with the variables that are set \
             there); or say it in config.toml, under [network]"
                .to_owned()
        };
        Some(Finding::warn("environment", "variable_differs", what, fix))
    });
    differing.collect()
}

/// Variables that point programs to an issuer of which there is no account: another stage, mostly.
pub(super) fn issuers(
    accounts: &[AccountInfo],
    value: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    if accounts.is_empty() {
        return Vec::new();
    }
    let known = |issuer: &str| {
        let plain = |issuer: &str| issuer.trim().trim_end_matches('/').to_owned();
        accounts
            .iter()
            .any(|account| plain(&account.issuer) == plain(issuer))
    };
    let foreign = ISSUERS
        .iter()
        .filter(|name| value(name).is_some_and(|issuer| !known(&issuer)));
    foreign
        .map(|name| {
            Finding::warn(
                "environment",
                "variable_names_another_issuer",
                format!(
                    "{name} names an issuer that no account is of: of another stage (dev, stage, \
                     prod)?"
                ),
                format!("unset {name}; or log in there: authctl login NAME --issuer \"${name}\""),
            )
        })
        .collect()
}

/// A variable of this process that says something.
pub(super) fn value(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a variable of this process says something, whatever it is.
pub(super) fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Whether the clock can be right. `now` is in Unix seconds.
pub(super) fn clock(now: u64) -> Finding {
    if now < EARLIEST {
        Finding::fail(
            "clock",
            "clock_years_behind",
            "the clock is years behind; certificates and tokens look wrong by it",
            "set the clock, or let the system do it: timedatectl set-ntp true",
        )
    } else {
        Finding::ok("clock", "its date is plausible")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use authd_proto::doctor::DoctorVariable;

    use super::*;
    use crate::command::doctor::Level;

    /// RENEWAL invariant 20: for at least 20 tools, each by its own variables.
    #[test]
    fn inv_20_variables_that_override_a_login_are_found_for_each_tool() {
        assert!(TOOLS.len() >= 20, "{} tools", TOOLS.len());
        for tool in TOOLS {
            for name in tool.variables {
                let found = overrides(|other| other == *name);
                let [finding] = &found[..] else {
                    panic!("{name}: {found:?}")
                };
                assert_eq!(finding.level, Level::Warn);
                assert_eq!(finding.code, "variable_overrides_login");
                assert!(finding.message.contains(tool.name), "{finding:?}");
                assert!(finding.message.contains(tool.overrides), "{finding:?}");
                assert_eq!(finding.fix, Some(format!("unset {name}")));
            }
        }
        let all: BTreeSet<_> = TOOLS.iter().flat_map(|tool| tool.variables).collect();
        assert_eq!(
            overrides(|_| true).len(),
            all.len(),
            "one for each variable"
        );
        assert_eq!(overrides(|_| false)[0].level, Level::Ok);
    }

    #[test]
    fn what_says_something_else_than_the_daemon_is_told_without_what_it_says() {
        let set = |name: &str, value: Option<&str>| DoctorVariable {
            name: name.to_owned(),
            fingerprint: value.map(|value| fingerprint("salt", value)),
        };
        let reply = DoctorCheckReply {
            findings: Vec::new(),
            variables: vec![
                set("HTTPS_PROXY", Some("http://canary-old:1")),
                set("ALL_PROXY", None),
                set("NO_PROXY", Some("same")),
                set("SSL_CERT_FILE", Some("/canary")),
                set("AUTHD_STATE_DIR", Some("/canary")),
            ],
            salt: "salt".to_owned(),
        };
        let found = differences(&reply, |name| {
            let value = match name {
                "https_proxy" => "http://canary-new:1",
                "HTTPS_PROXY" => "http://canary-old:1",
                "ALL_PROXY" | "AUTHD_STATE_DIR" => "canary",
                "NO_PROXY" => "same",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let said: Vec<_> = found.iter().map(|finding| &*finding.message).collect();
        assert_eq!(
            said,
            [
                "HTTPS_PROXY has another value here than for the daemon",
                "ALL_PROXY is set here, and not for the daemon",
                "SSL_CERT_FILE is set for the daemon, and not here",
                "AUTHD_STATE_DIR has another value here than for the daemon",
            ]
        );
        assert!(!format!("{found:?}").contains("canary"));
    }

    #[test]
    fn a_clock_that_was_never_set_fails() {
        assert_eq!(clock(0).level, Level::Fail);
        assert_eq!(clock(EARLIEST).level, Level::Ok);
    }
}
