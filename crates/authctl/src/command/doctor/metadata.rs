//! The providers: whether each is what it was at login, by a fresh look at its metadata.
//!
//! What has changed is seen in the flags of its accounts afterwards, with what mends it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use authd_client::Client;
use authd_proto::ErrorCode;
use authd_proto::request::AccountCheck;
use authd_proto::response::{AccountCheckReply, AccountInfo, MetadataState};

use super::Finding;
use crate::daemon;
use crate::exit::Failure;

/// For one provider's answer.
const ANSWER_SECS: u64 = 10;
/// For those of all: beyond it no further one is asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// A finding for each provider that does not say how it is, and one for those that do.
pub(super) fn check(client: &mut Client, accounts: &[&AccountInfo]) -> Vec<Finding> {
    // One account speaks for all of its issuer: the daemon looks once, and tells each.
    let issuers: BTreeMap<&str, &str> = accounts
        .iter()
        .rev()
        .map(|account| (account.issuer.as_str(), account.account.as_str()))
        .collect();
    let begun = Instant::now();
    let (mut findings, mut unchanged, mut unasked) = (Vec::new(), 0, 0);
    for (issuer, account) in issuers {
        if begun.elapsed() >= PATIENCE {
            unasked += 1;
            continue;
        }
        let asked = daemon::ask_waiting(
            client,
            &AccountCheck {
                account: account.to_owned(),
                wait_secs: Some(ANSWER_SECS),
            },
            ANSWER_SECS,
        );
        match of_answer(issuer, asked) {
            Answered::Unchanged => unchanged += 1,
            Answered::Silent(finding) => findings.push(finding),
            Answered::Nothing => {}
        }
    }
    if unasked > 0 {
        findings.push(Finding::warn(
            "metadata",
            "metadata_unknown",
            format!("{unasked} more providers were not asked: the others took too long"),
            "authctl doctor",
        ));
    }
    let message = match unchanged {
        0 => return findings,
        1 => "1 provider is what it was at login".to_owned(),
        many => format!("{many} providers are what they were at login"),
    };
    findings.push(Finding::ok("metadata", message));
    findings
}

enum Answered {
    Unchanged,
    /// There is nothing to say, or the account's flags say it.
    Nothing,
    Silent(Finding),
}

fn of_answer(issuer: &str, answer: Result<AccountCheckReply, Failure>) -> Answered {
    let silent = |why: &str| {
        Answered::Silent(Finding::warn(
            "metadata",
            "metadata_unknown",
            format!("whether {issuer} is what it was at login is not known: {why}"),
            "see that its address is right and the network is there, then run 'authctl doctor'",
        ))
    };
    match answer {
        Ok(reply) => match reply.metadata {
            MetadataState::Unchanged => Answered::Unchanged,
            MetadataState::Unavailable => silent(reply.message.as_deref().unwrap_or("no reason")),
            MetadataState::Changed | MetadataState::None | MetadataState::Unknown => {
                Answered::Nothing
            }
        },
        // It went away meanwhile; or this daemon is older, which is said elsewhere.
        Err(failure)
            if matches!(
                failure.wire_code(),
                Some(ErrorCode::UnknownAccount | ErrorCode::UnknownMethod)
            ) =>
        {
            Answered::Nothing
        }
        Err(failure) => silent(&failure.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::Level;

    fn answered(metadata: MetadataState, message: Option<&str>) -> Answered {
        of_answer(
            "https://idp.example",
            Ok(AccountCheckReply {
                account: "work".to_owned(),
                metadata,
                message: message.map(str::to_owned),
            }),
        )
    }

    #[test]
    fn a_provider_that_cannot_be_asked_is_told_with_the_reason() {
        let why = "the issuer publishes no metadata (HTTP 503)";
        let Answered::Silent(finding) = answered(MetadataState::Unavailable, Some(why)) else {
            panic!("it is silent");
        };
        assert_eq!((&*finding.check, finding.level), ("metadata", Level::Warn));
        assert!(
            finding.message.contains("https://idp.example") && finding.message.ends_with(why),
            "{}",
            finding.message
        );
    }

    #[test]
    fn what_changed_is_told_by_the_flags_of_the_account() {
        for metadata in [MetadataState::Changed, MetadataState::None] {
            assert!(matches!(answered(metadata, None), Answered::Nothing));
        }
        let same = answered(MetadataState::Unchanged, None);
        assert!(matches!(same, Answered::Unchanged));
    }
}
