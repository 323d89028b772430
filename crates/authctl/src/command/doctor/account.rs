//! The accounts: which of them want the person.

use authd_proto::response::{AccountInfo, FlagName, State};

use super::Finding;
use crate::command::status::needs_login;

/// One finding for each account that is not well, or one that all are.
pub(super) fn check(accounts: &[AccountInfo]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = accounts.iter().filter_map(of_account).collect();
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

fn of_account(account: &AccountInfo) -> Option<Finding> {
    let name = &account.account;
    let reason = |wanted| {
        let flag = account.flags.iter().find(|flag| flag.flag == wanted)?;
        Some(flag.reason.as_str())
    };
    if let Some(why) = reason(FlagName::StaleStore) {
        return Some(Finding::fail(
            "accounts",
            format!("'{name}' is in a store that was restored or copied: {why}"),
            format!("authctl adopt '{name}' (only if no other copy is in use)"),
        ));
    }
    if needs_login(account) {
        let why = reason(FlagName::NeedsLogin).unwrap_or("no reason given");
        return Some(Finding::fail(
            "accounts",
            format!("'{name}' needs a login: {why}"),
            format!("authctl login '{name}'"),
        ));
    }
    if let Some(why) = reason(FlagName::ProviderRejects) {
        return Some(Finding::fail(
            "accounts",
            format!("servers reject even new tokens of '{name}': {why}"),
            format!("authctl login '{name}'"),
        ));
    }
    if let Some(why) = reason(FlagName::Misconfigured) {
        return Some(Finding::fail(
            "accounts",
            format!("the provider refuses the client of '{name}': {why}"),
            format!("authctl renew '{name}' (once that is mended at the provider)"),
        ));
    }
    if account.flags.is_empty() && account.state != State::Expired {
        return None;
    }
    Some(Finding::warn(
        "accounts",
        format!("'{name}' is not well, and authd is at it"),
        format!("authctl status '{name}'"),
    ))
}
