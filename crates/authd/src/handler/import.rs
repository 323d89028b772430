//! `account.import`: the refresh token is on disk first, and then the daemon holds the newest link of the
//! chain.

use std::time::Duration;

use authd_core::{
    broker::Refusal,
    flag::LoginReason,
    id::{Account, ClientId},
    lease::LeaseKey,
};
use authd_proto::{
    ErrorCode, WireError,
    request::AccountImport,
    response::{LoginDone, LoginProgress},
};
use tokio::time::Instant;

use super::{refusal, wait};
use crate::{
    authorize::{self, Imported},
    daemon::Shared,
    driver::{Ask, Question},
    journal::Origin,
};

/// How long a disk may take to write it, whatever the one who asks waits.
const WRITTEN: Duration = Duration::from_secs(5);

/// `account.import`.
pub(crate) async fn import(
    daemon: Shared,
    import: AccountImport,
    process: ClientId,
    origin: Origin,
) -> Result<LoginProgress, WireError> {
    daemon.check_open()?;
    let until = Instant::now() + wait(import.wait_secs);
    super::login::check(&import.login)?;
    let place = daemon.logins.enter_import(process)?;
    let imported = authorize::import(daemon.clone(), import, origin.clone(), place).await?;
    // Where it takes the place of a login that works, this is the end; else it is on disk then. That takes no
    // time: it is waited for although finding out about the provider has taken all there was.
    let patience = left(until).max(WRITTEN);
    let Some(done) = daemon.logins.wait(imported.login, patience).await? else {
        return Err(not_taken_over(&imported.account));
    };
    if is_exchanged(&daemon, &imported.account) {
        return Ok(LoginProgress::Done(Box::new((*done).clone())));
    }
    first_exchange(&daemon, &imported, &done, left(until), origin).await
}

/// Nobody may believe that it is safe here.
fn not_taken_over(account: &Account) -> WireError {
    WireError::new(
        ErrorCode::Timeout,
        "the refresh token is not taken over yet, and may never be: it is kept here once the provider has \
         taken it",
    )
    .with_hint(format!(
        "leave what holds it as it is, but let it rest; 'authctl status {account}' tells which login is here"
    ))
    .with_account(account.as_str())
}

/// Waits for the exchange that the engine makes by itself.
async fn first_exchange(
    daemon: &Shared,
    imported: &Imported,
    taken: &LoginDone,
    wait: Duration,
    origin: Origin,
) -> Result<LoginProgress, WireError> {
    let account = &imported.account;
    let key = daemon
        .published
        .load()
        .get(account)
        .map(|snapshot| LeaseKey::of_login(&snapshot.view.grant));
    let Some(key) = key else {
        return Err(super::unknown_account(account.as_str()));
    };
    let ask = Ask {
        question: Question::Demand,
        account: account.clone(),
        key,
        min_ttl: None,
        wait,
        origin,
    };
    match daemon.mailbox.ask(&daemon.figures, ask).await {
        Ok(handed) => {
            let grant = &handed.snapshot.view.grant;
            let asked = taken.scopes.iter().map(String::as_str).collect();
            let done = authorize::done(grant, &asked, daemon.clock.now());
            Ok(LoginProgress::Done(Box::new(done)))
        }
        // It goes on by itself.
        Err(Refusal::Unavailable { .. }) => Ok(LoginProgress::Pending),
        Err(Refusal::LoginRequired(LoginReason::Revoked)) => Err(undo(daemon, imported).await),
        Err(refused) => Err(refusal::token(account, refused)),
    }
}

/// The provider has refused the refresh token twice: nothing half-made is left of a new account.
async fn undo(daemon: &Shared, imported: &Imported) -> WireError {
    let account = &imported.account;
    if imported.is_new {
        // Should it not leave the disk, it is there as an account that needs a login.
        let _ = daemon
            .mailbox
            .depart(account.clone(), false, wait(None))
            .await;
    }
    refused(account)
}

/// Whose fault it may be that a refresh token is refused.
pub(crate) fn refused(account: &Account) -> WireError {
    WireError::new(
        ErrorCode::LoginFailed,
        "the provider refuses the refresh token (invalid_grant): it was used up, ended, or given to \
         another client",
    )
    .with_hint(format!(
        "if what held it still runs, it may have used it since: stop it and import its newest one; else run \
         'authctl login {account}'"
    ))
    .with_account(account.as_str())
}

/// Whether the account's own token is there.
fn is_exchanged(daemon: &Shared, account: &Account) -> bool {
    let accounts = daemon.published.load();
    accounts.get(account).is_some_and(|snapshot| {
        let grant = &snapshot.view.grant;
        grant.leases.contains_key(&LeaseKey::of_login(grant))
    })
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
