//! `account.check`: whether an account's provider is what it was at login, by a fresh look.

use authd_proto::{
    ErrorCode, WireError,
    request::AccountCheck,
    response::{AccountCheckReply, MetadataState},
};

use super::{account::stopping, account_name, flag, unknown_account, wait};
use crate::{daemon::Shared, perform::Checked};

/// `account.check`. What it finds is seen in the account's flags from then on.
pub(crate) async fn check(
    daemon: Shared,
    check: AccountCheck,
) -> Result<AccountCheckReply, WireError> {
    daemon.check_open()?;
    let account = account_name(&check.account)?;
    let asked = daemon.mailbox.check_metadata(account);
    let checked = tokio::time::timeout(wait(check.wait_secs), asked).await;
    let checked = checked.map_err(|_| {
        WireError::new(
            ErrorCode::Timeout,
            "the provider does not answer in time; it is looked at all the same",
        )
        .with_account(&check.account)
    })?;
    let (metadata, message) = match checked.ok_or_else(stopping)? {
        Checked::Unknown => return Err(unknown_account(&check.account)),
        Checked::NoMetadata => (MetadataState::None, None),
        Checked::Unavailable(why) => (MetadataState::Unavailable, Some(why)),
        Checked::Seen(changes) if changes.is_empty() => (MetadataState::Unchanged, None),
        Checked::Seen(changes) => (
            MetadataState::Changed,
            Some(flag::metadata_changed(&changes)),
        ),
    };
    Ok(AccountCheckReply {
        account: check.account,
        metadata,
        message,
    })
}
