//! `account.*` and `logout`.

use std::{sync::Arc, time::Duration};

use authd_core::{
    flag::LoginReason,
    grant::Grant,
    lease::{LeaseKey, Standing},
    time::{Boot, Now, Wall},
};
use authd_proto::{
    ErrorCode, WireError, limits, page,
    request::{AccountAdopt, AccountForget, AccountGet, AccountList, Logout},
    response::{
        AccountAdoptReply, AccountForgetReply, AccountInfo, AccountListReply, Expiry, Flag,
        FlagName, LastError, LeaseInfo, LogoutReply, State, TokenKind,
    },
};

use super::{account_name, flag::flags, unknown_account, wait, whole_secs};
use crate::{
    daemon::Shared,
    perform::{Departed, is_bound},
    published::{Snapshot, dpop, expiry},
};

/// `account.list`: sorted by name. The cursor is the last name of the page before.
pub(crate) fn list(daemon: &Shared, list: &AccountList) -> Result<AccountListReply, WireError> {
    daemon.check_open()?;
    let accounts = daemon.published.load();
    let mut names: Vec<_> = accounts
        .keys()
        .filter(|name| {
            list.cursor
                .as_deref()
                .is_none_or(|cursor| name.as_str() > cursor)
        })
        .collect();
    names.sort();
    let now = daemon.clock.now();
    let page: Vec<AccountInfo> = page::fill(
        names
            .iter()
            .filter_map(|name| accounts.get(*name))
            .map(|one| listed(info(daemon, one, now))),
        limits::page_limit(list.limit),
    );
    let cursor = (page.len() < names.len())
        .then(|| page.last().map(|account| account.account.clone()))
        .flatten();
    Ok(AccountListReply {
        accounts: page,
        cursor,
    })
}

/// An account as a list shows it: without what makes it too large for any page. Otherwise the list
/// would seem to end before it.
fn listed(mut account: AccountInfo) -> AccountInfo {
    if !page::fits(&account) {
        account.leases.clear();
    }
    if !page::fits(&account) {
        account.scopes.clear();
        account.flags.clear();
    }
    account
}

/// `account.get`.
pub(crate) fn get(daemon: &Shared, get: &AccountGet) -> Result<AccountInfo, WireError> {
    daemon.check_open()?;
    let accounts = daemon.published.load();
    let snapshot = accounts
        .get(get.account.as_str())
        .ok_or_else(|| unknown_account(&get.account))?;
    Ok(info(daemon, snapshot, daemon.clock.now()))
}

/// `account.forget`.
pub(crate) async fn forget(
    daemon: Shared,
    forget: AccountForget,
) -> Result<AccountForgetReply, WireError> {
    depart(&daemon, &forget.account, false, wait(None)).await?;
    Ok(AccountForgetReply {
        account: forget.account,
    })
}

/// Lets an account go, and says what the provider has revoked and what it is still to hear of.
async fn depart(
    daemon: &Shared,
    name: &str,
    revoke: bool,
    wait: Duration,
) -> Result<(Vec<TokenKind>, Vec<TokenKind>), WireError> {
    daemon.check_open()?;
    let account = account_name(name)?;
    super::socket::close_of(daemon, account.clone()).await;
    daemon.approvals.end_of(&account, daemon.clock.now()).await;
    match daemon.mailbox.depart(account, revoke, wait).await {
        Some(Departed::Gone { revoked, pending }) => Ok((revoked, pending)),
        Some(Departed::Unknown) => Err(unknown_account(name)),
        Some(Departed::Overdue) => Err(WireError::new(
            ErrorCode::Timeout,
            "a renewal of this account is under way; it goes as soon as that has ended",
        )
        .with_account(name)),
        Some(Departed::Kept(why)) => Err(WireError::new(
            ErrorCode::StoreFailed,
            format!("the account could not be taken off the disk: {why}"),
        )
        .with_hint("run 'authctl doctor', then again")
        .with_account(name)),
        None => Err(stopping()),
    }
}

pub(super) fn stopping() -> WireError {
    WireError::new(ErrorCode::ShuttingDown, "the daemon is stopping")
}

/// `account.adopt`.
pub(crate) async fn adopt(
    daemon: Shared,
    adopt: AccountAdopt,
) -> Result<AccountAdoptReply, WireError> {
    daemon.check_open()?;
    let account = adopt.account.as_deref().map(account_name).transpose()?;
    if let Some(account) = &account
        && !daemon.published.load().contains_key(account)
    {
        return Err(unknown_account(account.as_str()));
    }
    let adopted = daemon.mailbox.adopt(account).await.ok_or_else(stopping)?;
    Ok(AccountAdoptReply {
        adopted: adopted.iter().map(ToString::to_string).collect(),
    })
}

/// `logout`: the tokens are kept, sealed, until the provider has heard of it.
pub(crate) async fn logout(daemon: Shared, logout: Logout) -> Result<LogoutReply, WireError> {
    let patience = wait(logout.wait_secs);
    let end_session_url = end_session_url(&daemon, &logout.account);
    let (revoked, pending) = depart(&daemon, &logout.account, true, patience).await?;
    Ok(LogoutReply {
        account: logout.account,
        revoked,
        pending,
        end_session_url,
    })
}

/// Where a person ends the session of their browser at the provider (OpenID Connect RP-Initiated Logout 1.0).
/// The client says who it is by its id: an ID token in an address would show who signed in to everything
/// that sees the address, and none is kept.
fn end_session_url(daemon: &Shared, account: &str) -> Option<String> {
    let accounts = daemon.published.load();
    let grant = &accounts.get(account)?.view.grant;
    // Without a person there is no session.
    let person = grant.renewed_by.needs_refresh_token();
    let endpoint = grant.provider.endpoints.end_session.as_ref()?;
    person
        .then(|| authd_oauth::end_session_url(endpoint, &grant.provider.client_id))
        .flatten()
}

/// An account as the wire shows it.
pub(crate) fn info(daemon: &Shared, snapshot: &Arc<Snapshot>, now: Now) -> AccountInfo {
    let grant = &snapshot.view.grant;
    let own = LeaseKey::of_login(grant);
    let leases: Vec<_> = grant
        .leases
        .keys()
        .map(|key| lease(daemon, snapshot, key, now))
        .collect();
    let worst = leases
        .iter()
        .map(|lease| lease.state)
        .max_by_key(|state| badness(*state));
    let state = if grant.flags.needs_login.is_some() {
        State::NeedsLogin
    } else {
        worst.unwrap_or(State::Expired)
    };
    let main = grant
        .leases
        .keys()
        .position(|key| *key == own)
        .map(|at| &leases[at]);
    AccountInfo {
        account: grant.account.to_string(),
        issuer: grant.provider.name(),
        client_id: grant.provider.client_id.clone(),
        state,
        flags: flags(&grant.flags, now.boot)
            .into_iter()
            .map(|flag| with_limit(flag, grant))
            .collect(),
        expires_at: main.and_then(|lease| lease.expires_at),
        expiry: main.map_or(Expiry::Unknown, |lease| lease.expiry),
        ttl_secs: main.and_then(|lease| lease.ttl_secs),
        next_renewal_at: next_renewal(snapshot, now),
        generation: grant.generation.0,
        renewals: grant.renewals,
        last_error: last_error(grant),
        subject: grant.subject.as_ref().map(|subject| subject.sub.clone()),
        subject_name: grant
            .subject
            .as_ref()
            .and_then(|subject| subject.name.clone()),
        scopes: grant.scopes.iter().map(str::to_owned).collect(),
        resource: grant.resource.clone(),
        profile: grant.provider.profile.name.clone(),
        dpop: grant
            .leases
            .get(&own)
            .filter(|lease| snapshot.holds_key || is_bound(&lease.token_type))
            .map(|lease| dpop(&lease.token_type)),
        created_at: unix(grant.created_at),
        login_ends_at: login_ends_at(grant).map(unix),
        clock_ahead_secs: daemon
            .clocks
            .ahead_of(&grant.provider.host())
            .filter(|ahead| ahead.unsigned_abs() > limits::CLOCK_TOLERANCE_SECS),
        leases,
    }
}

/// When the provider ends the login, however often it is renewed; that is of no matter to a login that
/// cannot be renewed.
fn login_ends_at(grant: &Grant) -> Option<Wall> {
    let limit = grant.provider.profile.absolute_limit?;
    grant.renewable.then(|| grant.created_at.after(limit))
}

/// A refusal that comes when the provider's limit is reached is no riddle: the reason says so. The
/// provider's clock is not ours, and its limit counts from before our answer came.
fn with_limit(mut flag: Flag, grant: &Grant) -> Flag {
    let reason = grant.flags.needs_login.as_ref();
    let revoked = reason.filter(|raised| raised.reason == LoginReason::Revoked);
    let limit = grant.provider.profile.absolute_limit;
    if let (FlagName::NeedsLogin, Some(raised), Some(limit)) = (flag.flag, revoked, limit)
        && raised.since >= grant.created_at.after(limit.mul_f64(0.99))
    {
        let limit = humantime::format_duration(Duration::from_secs(limit.as_secs()));
        flag.reason = format!("the login has ended: the provider ends every login after {limit}");
    }
    flag
}

fn lease(daemon: &Shared, snapshot: &Snapshot, key: &LeaseKey, now: Now) -> LeaseInfo {
    let view = &snapshot.view;
    let lease = &view.grant.leases[key];
    let boot_id = daemon.published.boot_id;
    let refreshing = view.refreshing.as_deref() == Some(key);
    let state = match lease.standing(now, boot_id) {
        // An exchange that takes its time does not keep a token alive.
        Standing::Expired => State::Expired,
        Standing::Late => State::Late,
        Standing::Fresh | Standing::Due if refreshing => State::Refreshing,
        Standing::Fresh | Standing::Due if lease.rejected => State::Expired,
        Standing::Fresh => State::Fresh,
        Standing::Due => State::Due,
    };
    let left = lease.remaining(now, boot_id);
    let learned = view.grant.learned.get(key);
    let learned = learned.filter(|learned| learned.lifetime < learned.stated);
    let due = left.map(|left| now.wall.after(left.saturating_sub(lease.lead)));
    LeaseInfo {
        resource: key.resource.clone(),
        scopes: lease.scopes.iter().map(str::to_owned).collect(),
        state,
        expires_at: lease.expires_at().map(unix),
        expiry: expiry(lease.expiry),
        ttl_secs: whole_secs(left),
        generation: lease.generation.0,
        next_renewal_at: due.filter(|_| view.next_renewal.is_some()).map(unix),
        learned_lifetime_secs: learned.map(|learned| learned.lifetime.as_secs()),
        stated_lifetime_secs: learned.map(|learned| learned.stated.as_secs()),
    }
}

/// The engine plans on the boot clock; people read the wall.
pub(crate) fn next_renewal(snapshot: &Snapshot, now: Now) -> Option<u64> {
    let at: Boot = snapshot.view.next_renewal?;
    Some(unix(now.wall.after(at.since(now.boot))))
}

/// The worst lease speaks for its account; one being renewed is not worse than one that is due.
fn badness(state: State) -> u8 {
    match state {
        State::Fresh => 0,
        State::Due => 1,
        State::Refreshing => 2,
        State::Late => 3,
        State::Expired => 4,
        State::NeedsLogin | State::Locked | State::Unknown => 5,
    }
}

pub(super) fn unix(at: Wall) -> u64 {
    u64::try_from(at.unix_secs()).unwrap_or(0)
}

fn last_error(grant: &Grant) -> Option<LastError> {
    let error = grant.last_error.as_ref()?;
    let code = match error.code.as_str() {
        "throttled" | "slow_down" => ErrorCode::Throttled,
        "invalid_grant" | "interaction_required" | "login_required" | "consent_required" => {
            ErrorCode::LoginRequired
        }
        "invalid_client"
        | "unauthorized_client"
        | "invalid_request"
        | "invalid_scope"
        | "invalid_target"
        | "unsupported_grant_type" => ErrorCode::ProviderRefused,
        _ => ErrorCode::Unavailable,
    };
    Some(LastError {
        code,
        message: error.message.clone(),
        at: unix(error.at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(scope: &str, leases: usize) -> AccountInfo {
        let scopes = vec![scope.to_owned()];
        let lease = LeaseInfo {
            resource: None,
            scopes: scopes.clone(),
            state: State::Fresh,
            expires_at: None,
            expiry: Expiry::Unknown,
            ttl_secs: None,
            generation: 1,
            next_renewal_at: None,
            learned_lifetime_secs: None,
            stated_lifetime_secs: None,
        };
        AccountInfo {
            account: "demo".to_owned(),
            issuer: String::new(),
            client_id: String::new(),
            state: State::Fresh,
            flags: Vec::new(),
            expires_at: None,
            expiry: Expiry::Unknown,
            ttl_secs: None,
            next_renewal_at: None,
            generation: 1,
            renewals: 0,
            last_error: None,
            subject: None,
            subject_name: None,
            scopes,
            resource: None,
            profile: None,
            dpop: None,
            created_at: 0,
            login_ends_at: None,
            clock_ahead_secs: None,
            leases: vec![lease; leases],
        }
    }

    #[test]
    fn no_account_is_too_large_for_a_list() {
        let small = listed(account("api", 2));
        assert_eq!((small.scopes.len(), small.leases.len()), (1, 2));
        let many = listed(account(&"x".repeat(1000), 300));
        assert_eq!((many.scopes.len(), many.leases.len()), (1, 0));
        let huge = listed(account(&"x".repeat(limits::MAX_FRAME), 0));
        assert_eq!(page::fill([huge], 1).len(), 1);
    }
}
