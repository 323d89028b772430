//! The accounts: which of them want the person.

use authd_proto::response::{AccountInfo, State};

use super::Finding;
use crate::trouble::{self, Severity};

/// A finding for each thing that is not well, or one that all is. `now` is in Unix seconds.
pub(super) fn check(accounts: &[AccountInfo], now: u64) -> Vec<Finding> {
    let mut findings: Vec<Finding> = accounts
        .iter()
        .flat_map(|account| of_account(account, now))
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(
            "accounts",
            match accounts.len() {
                0 => "there is none yet".to_owned(),
                1 => "the one account is well".to_owned(),
                many => format!("all {many} accounts are well"),
            },
        ));
    }
    findings
}

fn of_account(account: &AccountInfo, now: u64) -> Vec<Finding> {
    let name = &account.account;
    let mut findings = Vec::new();
    // Of the clock its provider's own look has the newest word.
    let troubles = trouble::of(account, now).into_iter();
    for trouble in troubles.filter(|trouble| trouble.code != trouble::CLOCK) {
        let message = format!("'{name}': {}", trouble.what);
        findings.extend(match trouble.severity {
            Severity::Know => None,
            Severity::Watch => Some(Finding::warn(
                "accounts",
                trouble.code,
                message,
                trouble.mend,
            )),
            Severity::Act => Some(Finding::fail(
                "accounts",
                trouble.code,
                message,
                trouble.mend,
            )),
        });
    }
    if findings.is_empty() && account.state == State::Expired {
        findings.push(Finding::warn(
            "accounts",
            "no_live_token",
            format!("'{name}' has no token that is alive"),
            format!("see what happened: 'authctl events {name}'"),
        ));
    }
    findings
}
