//! `doctor.check`: what the daemon alone can look at. Nothing is exchanged, and no command is run but one that
//! prints the password of the proxy.

mod files;
mod protections;
mod provider;
mod variables;

use std::{collections::BTreeMap, sync::Arc};

use authd_core::{grant::Provider, id::Host};
use authd_proto::{
    ErrorCode, WireError,
    doctor::{DoctorCheck, DoctorCheckReply, DoctorFinding, FindingLevel},
};
use futures_util::{StreamExt as _, stream};
use tokio::{sync::Semaphore, time::Instant};

use super::{account_name, unknown_account, wait};
use crate::{authorize::no_randomness, daemon::Shared};

/// Most providers that are looked at.
const PROVIDERS: usize = 64;
/// Most of them at once.
const AT_ONCE: usize = 8;
/// Looks at a time: each takes connections, of which renewals are to have enough.
static LOOKS: Semaphore = Semaphore::const_new(4);
/// Most accounts that a finding names.
const ACCOUNTS: usize = 10;

/// `doctor.check`.
pub(crate) async fn check(
    daemon: Shared,
    check: DoctorCheck,
) -> Result<DoctorCheckReply, WireError> {
    let Ok(_place) = LOOKS.try_acquire() else {
        return Err(WireError::new(
            ErrorCode::Busy,
            "others have the providers looked at already",
        )
        .with_hint("wait for that, and ask again"));
    };
    let subjects = subjects(&daemon, check.account.as_deref())?;
    let salt = salt()?;
    let patience = wait(check.wait_secs);
    let files = {
        let daemon = Arc::clone(&daemon);
        // A disk may hang.
        tokio::task::spawn_blocking(move || files::check(&daemon))
    };
    let deadline = Instant::now() + patience;
    let mut findings = providers(&daemon, subjects, deadline).await;
    match tokio::time::timeout_at(deadline, files).await {
        Ok(Ok(of_files)) => findings.extend(of_files),
        _ => findings.push(DoctorFinding::new(
            "config",
            "config_overdue",
            FindingLevel::Fail,
            "the files of the configuration cannot be read in time",
            Some("look at the disk: df -h; dmesg".to_owned()),
        )),
    }
    findings.extend(protections::check(&daemon));
    findings.extend(daemon.approvals.unread().map(|why| {
        DoctorFinding::new(
            "approvals",
            "approvals_unread",
            FindingLevel::Fail,
            format!("who may have tokens without a question is not known: {why}"),
            Some("mend or remove approvals.json in the state directory, then run 'authctl daemon stop'".to_owned()),
        )
    }));
    Ok(DoctorCheckReply {
        findings,
        variables: variables::fingerprints(&daemon.config.load(), &salt),
        salt,
    })
}

/// A provider, and the accounts that are there.
struct Subject {
    provider: Arc<Provider>,
    accounts: Vec<String>,
}

/// Each provider once, in the order of their names. Without a store there are no accounts to go by.
fn subjects(daemon: &Shared, account: Option<&str>) -> Result<Vec<Subject>, WireError> {
    if let Some(name) = account {
        daemon.check_open()?;
        let name = account_name(name)?;
        if !daemon.published.load().contains_key(&name) {
            return Err(unknown_account(name.as_str()));
        }
    }
    let accounts = daemon.published.load();
    let mut names: Vec<_> = accounts
        .keys()
        .filter(|name| account.is_none_or(|only| name.as_str() == only))
        .collect();
    names.sort();
    let mut found: BTreeMap<(String, Host), Subject> = BTreeMap::new();
    for name in names {
        let provider = &accounts[name].view.grant.provider;
        let subject = found
            .entry((provider.name(), provider.host()))
            .or_insert_with(|| Subject {
                provider: Arc::clone(provider),
                accounts: Vec::new(),
            });
        subject.accounts.push(name.to_string());
    }
    Ok(found.into_values().take(PROVIDERS).collect())
}

async fn providers(
    daemon: &Shared,
    subjects: Vec<Subject>,
    deadline: Instant,
) -> Vec<DoctorFinding> {
    let looks = subjects.into_iter().map(|subject| {
        let daemon = Arc::clone(daemon);
        async move {
            let of_network = Arc::clone(&daemon);
            let Subject { provider, accounts } = subject;
            let look = {
                let provider = Arc::clone(&provider);
                async move { provider::check(&of_network, &provider).await }
            };
            // Its own thread does what may block.
            let task = daemon
                .network
                .spawn(tokio::time::timeout_at(deadline, look));
            let mut findings = match task.await {
                Ok(Ok(findings)) => findings,
                _ => vec![provider::overdue(&provider)],
            };
            for finding in &mut findings {
                finding.provider = Some(provider.name());
                finding.accounts = accounts.iter().take(ACCOUNTS).cloned().collect();
            }
            findings
        }
    });
    let found: Vec<Vec<DoctorFinding>> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    found.into_iter().flatten().collect()
}

/// What fingerprints are made with, so that they cannot be compared with those of another time.
fn salt() -> Result<String, WireError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| no_randomness())?;
    Ok(format!("{:032x}", u128::from_ne_bytes(salt)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_salt_is_another_one() {
        let salts: std::collections::BTreeSet<_> =
            (0..100).map(|_| super::salt().unwrap()).collect();
        assert_eq!(salts.len(), 100);
    }
}
