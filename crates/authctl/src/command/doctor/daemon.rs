//! The daemon: whether it runs, of which version, on what key and what store.

use std::path::Path;

use authd_client::Instance;
use authd_proto::ErrorCode;
use authd_proto::doctor::{DoctorCheck, DoctorCheckReply, FindingLevel};
use authd_proto::request::DaemonStatus;
use authd_proto::response::{AccountInfo, DaemonStatusReply};

use super::{Finding, Level, account, environment, forks, metadata, place};
use crate::exit::Failure;
use crate::{daemon, output, release};

/// How far the wall clock may have moved since the daemon started before it is worth a word.
const CLOCK_STEP_SECS: u64 = 60;

/// Seconds that providers may take for their answers.
const PATIENCE: u64 = 10;

/// What a daemon said of itself.
struct Said {
    status: DaemonStatusReply,
    accounts: Vec<AccountInfo>,
    looked: Result<DoctorCheckReply, Failure>,
    metadata: Vec<Finding>,
}

/// All that a daemon can be asked. `now` is in Unix seconds.
pub(super) fn check(instance: &Instance, now: u64) -> Vec<Finding> {
    let said = match ask() {
        Ok(said) => said,
        Err(failure) => return vec![unreachable(instance, &failure)],
    };
    let status = &said.status;
    let mut findings = of_status(status, &instance.directories.state, now);
    findings.push(status.config_path.as_ref().map_or_else(
        || Finding::ok("config", "there is no file; the defaults apply"),
        |path| place::config(Path::new(path)),
    ));
    match &said.looked {
        Ok(looked) => {
            findings.extend(looked.findings.iter().cloned().map(Finding::from));
            findings.extend(environment::differences(looked, environment::value));
        }
        Err(failure) => findings.push(Finding::warn(
            "providers",
            "providers_not_looked_at",
            format!("nobody looked at the providers: {}", failure.message()),
            "authctl daemon restart (when the daemon is older than authctl)",
        )),
    }
    findings.extend(match status.store.state.as_str() {
        "ok" => account::check(&said.accounts, now),
        state => vec![Finding::new(
            "accounts",
            "accounts_not_looked_at",
            Level::Note,
            format!("nobody looked at them: the store is {state}"),
            None,
        )],
    });
    findings.extend(said.metadata);
    findings.extend(environment::issuers(&said.accounts, environment::value));
    if let Some(home) = std::env::home_dir() {
        findings.extend(forks::check(&home, &said.accounts));
    }
    findings
}

fn ask() -> Result<Said, Failure> {
    let mut client = daemon::running()?;
    let status = daemon::ask(&mut client, &DaemonStatus {})?;
    // While the store is shut nobody knows the accounts; the store's finding says why.
    let accounts = match status.store.state.as_str() {
        "locked" | "failed" => Vec::new(),
        _ => daemon::accounts(&mut client)?,
    };
    let check = DoctorCheck {
        account: None,
        wait_secs: Some(PATIENCE),
    };
    let looked = daemon::ask_waiting(&mut client, &check, PATIENCE);
    // A provider that is not reached is told of once, with what keeps it.
    let reached: Vec<_> = accounts
        .iter()
        .filter(|account| {
            looked
                .as_ref()
                .is_ok_and(|looked| is_reached(looked, account))
        })
        .collect();
    let metadata = metadata::check(&mut client, &reached);
    // What was found there is in their flags.
    let accounts = match reached.is_empty() {
        true => accounts,
        false => daemon::accounts(&mut client)?,
    };
    Ok(Said {
        status,
        accounts,
        looked,
        metadata,
    })
}

/// Whether nothing is known to be between the daemon and the account's provider.
fn is_reached(looked: &DoctorCheckReply, account: &AccountInfo) -> bool {
    !looked.findings.iter().any(|finding| {
        let is_about_it = finding.accounts.contains(&account.account)
            || finding.provider.as_deref() == Some(&account.issuer);
        finding.check == "provider" && finding.level == FindingLevel::Fail && is_about_it
    })
}

fn unreachable(instance: &Instance, failure: &Failure) -> Finding {
    if failure.is_not_running() {
        return Finding::warn(
            "daemon",
            "daemon_not_running",
            "it is not running; accounts, key and store were not checked",
            match instance.socket.is_explicit() {
                true => "start that daemon, or unset AUTHD_SOCKET",
                false => "authctl list (starts it)",
            },
        );
    }
    // A restricted socket answers nothing but tokens, and says so.
    if instance.socket.is_explicit() && failure.wire_code() == Some(ErrorCode::Denied) {
        return Finding::new(
            "daemon",
            "restricted_socket",
            Level::Note,
            failure.message(),
            None,
        );
    }
    let fix = match failure.status() {
        authd_proto::ExitStatus::DaemonUnreachable => {
            "see its log ('authctl service logs'), then restart it: authctl daemon restart"
        }
        _ => "install the same version of authd and authctl",
    };
    Finding::fail("daemon", "daemon_unreachable", failure.message(), fix)
}

fn of_status(status: &DaemonStatusReply, state: &Path, now: u64) -> Vec<Finding> {
    let mut findings = vec![version(status)];
    if Path::new(&status.state_dir) != state {
        findings.push(Finding::warn(
            "state",
            "state_elsewhere",
            format!(
                "the daemon keeps its state in '{}', this environment says '{}'",
                status.state_dir,
                state.display()
            ),
            "set AUTHD_STATE_DIR alike for both, or unset it",
        ));
    }
    findings.push(clock(status, now));
    findings.push(key(status));
    findings.push(store(status));
    findings.extend(audit(status));
    findings
}

fn version(status: &DaemonStatusReply) -> Finding {
    let message = format!(
        "authd {} runs (pid {}, up {})",
        status.version,
        status.pid,
        output::span(status.uptime_secs)
    );
    match release::mend(&status.version) {
        None => Finding::ok("daemon", message),
        Some(mend) => Finding::warn(
            "daemon",
            "daemon_version",
            format!("{message}, but this is authctl {}", release::OWN),
            mend,
        ),
    }
}

/// By the daemon's own account of when it started and how long ago that was.
fn clock(status: &DaemonStatusReply, now: u64) -> Finding {
    let by_clock = now.checked_sub(status.started_at);
    match by_clock {
        Some(secs) if secs.abs_diff(status.uptime_secs) <= CLOCK_STEP_SECS => {
            Finding::ok("clock", "it ran evenly since the daemon started")
        }
        _ => Finding::warn(
            "clock",
            "clock_was_set",
            "it was set while the daemon ran; expiry times shown may be off until the next renewal",
            "timedatectl status",
        ),
    }
}

fn audit(status: &DaemonStatusReply) -> Option<Finding> {
    (status.audit_lost > 0).then(|| {
        Finding::warn(
            "audit",
            "audit_lost",
            format!(
                "{} lines of the audit log never reached the disk",
                status.audit_lost
            ),
            "look at the disk: df -h; dmesg",
        )
    })
}

fn key(status: &DaemonStatusReply) -> Finding {
    let protection = &status.key_protection;
    if protection.kind == "file" {
        Finding::warn(
            "key",
            "key_in_file",
            format!("weak: {}", protection.detail),
            "authctl key move --to keyring (where gnome-keyring or KeePassXC runs); or authctl key move --to passphrase",
        )
    } else {
        Finding::ok(
            "key",
            format!("{} ({})", protection.kind, protection.detail),
        )
    }
}

fn store(status: &DaemonStatusReply) -> Finding {
    let store = &status.store;
    let why = store.detail.as_deref().unwrap_or("no reason given");
    let fix = match store.state.as_str() {
        "ok" => return Finding::ok("store", "it can be read and written"),
        "failed" => format!("df -h '{0}'; ls -ld '{0}'", status.state_dir),
        "locked" => match &store.hint {
            Some(_) => "authctl unlock".to_owned(),
            None => "unlock the key store of your session".to_owned(),
        },
        _ => "upgrade authctl".to_owned(),
    };
    Finding::fail(
        "store",
        "store_not_ok",
        format!("{}: {why}", store.state),
        fix,
    )
}

#[cfg(test)]
mod tests {
    use authd_proto::response::{KeyProtection, StoreStatus};

    use super::*;

    fn status() -> DaemonStatusReply {
        DaemonStatusReply {
            version: release::OWN.to_owned(),
            protocol: 1,
            pid: 1,
            started_at: 1_000,
            uptime_secs: 500,
            socket: "/s".to_owned(),
            state_dir: "/state".to_owned(),
            config_path: None,
            key_protection: KeyProtection {
                kind: "keyring".to_owned(),
                detail: "Secret Service".to_owned(),
            },
            sandbox: "full".to_owned(),
            protections: Vec::new(),
            store: StoreStatus {
                state: "ok".to_owned(),
                detail: None,
                hint: None,
            },
            accounts: 0,
            connections: 1,
            watchers: 0,
            waiters: 0,
            exchanges_in_flight: 0,
            questions_in_flight: 0,
            served: 0,
            renewals: 0,
            revocations: Vec::new(),
            approvals_waiting: 0,
            audit_lost: 0,
        }
    }

    fn levels(status: &DaemonStatusReply, now: u64) -> Vec<(String, Level)> {
        of_status(status, Path::new("/state"), now)
            .into_iter()
            .filter(|finding| finding.level != Level::Ok)
            .map(|finding| (finding.check, finding.level))
            .collect()
    }

    #[test]
    fn a_healthy_daemon_has_no_finding() {
        assert_eq!(levels(&status(), 1_500), []);
    }

    #[test]
    fn whatever_is_not_well_is_found() {
        let mut ill = status();
        ill.version = "9.9.9".to_owned();
        ill.state_dir = "/elsewhere".to_owned();
        ill.key_protection.kind = "file".to_owned();
        ill.store.state = "failed".to_owned();
        assert_eq!(
            levels(&ill, 9_000),
            [
                ("daemon", Level::Warn),
                ("state", Level::Warn),
                ("clock", Level::Warn),
                ("key", Level::Warn),
                ("store", Level::Fail),
            ]
            .map(|(check, level)| (check.to_owned(), level))
        );
    }
}
