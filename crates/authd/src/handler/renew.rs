//! `renew`: an exchange now, because a person asked for it.

use authd_core::lease::LeaseKey;
use authd_proto::{WireError, request::Renew, response::RenewReply};

use super::{refusal, scopes, wait, whole_secs};
use crate::{
    daemon::Shared,
    driver::{Ask, Question},
    journal::Origin,
};

/// `renew`.
pub(crate) async fn renew(
    daemon: Shared,
    renew: Renew,
    origin: Origin,
) -> Result<RenewReply, WireError> {
    daemon.check_open()?;
    let ask = {
        let accounts = daemon.published.load();
        let snapshot = accounts
            .get(renew.account.as_str())
            .ok_or_else(|| super::unknown_account(&renew.account))?;
        let key = snapshot.key(LeaseKey {
            resource: renew.resource,
            scopes: scopes(renew.scopes.as_deref())?,
        });
        Ask {
            question: Question::Renew,
            account: snapshot.view.grant.account.clone(),
            key,
            min_ttl: None,
            wait: wait(renew.wait_secs),
            origin,
        }
    };
    let account = ask.account.clone();
    let handed = daemon
        .mailbox
        .ask(&daemon.figures, ask)
        .await
        .map_err(|refused| refusal::token(&account, refused))?;
    let about = handed.snapshot.about(&handed.key);
    let mut reply = about.ok_or_else(|| super::unknown_account(account.as_str()))?;
    reply.ttl_secs = whole_secs(handed.ttl);
    reply.low = handed.low;
    reply.renewed = handed.renewed;
    Ok(reply)
}
