//! `grant.*`: tiers and standing approvals.
//!
//! What asks the person more often is done at once. What asks less is asked about first where the account
//! asks at all, or a program would grant itself whatever it is to be kept from.

use std::{sync::Arc, time::Duration};

use authd_core::{
    id::Account,
    policy::{BadCallerName, CallerName, Tier},
};
use authd_proto::{
    ErrorCode, WireError,
    approval::{
        AccountGrants, Asks, GrantAdd, GrantInfo, GrantList, GrantListReply, GrantRevoke,
        GrantRevokeReply, GrantTier, GrantTierReply, Tier as WireTier,
    },
    audit::{AuditLine, Decision},
    limits, page,
};

use super::{
    account_name,
    approval::word,
    blocking,
    gate::{self, Asker},
    to_the_end, unknown_account, wait, wire_tier,
};
use crate::{
    approvals::{Admission, Grant, NotKept, Subject, Wish},
    caller::not_a_name,
    daemon::Shared,
};

/// Longest standing approval that has an end, in seconds: what is meant for longer has none.
const LONGEST_SECS: u64 = 366 * 86_400;

/// `grant.list`: sorted by name. The cursor is the last name of the page before.
pub(crate) fn list(daemon: &Shared, list: &GrantList) -> Result<GrantListReply, WireError> {
    daemon.check_open()?;
    let accounts = daemon.published.load();
    let mut names: Vec<_> = accounts
        .keys()
        .filter(|name| {
            let wanted = list.account.as_deref();
            let after = list.cursor.as_deref();
            wanted.is_none_or(|only| name.as_str() == only)
                && after.is_none_or(|cursor| name.as_str() > cursor)
        })
        .collect();
    names.sort();
    if let (Some(only), true) = (&list.account, names.is_empty() && list.cursor.is_none()) {
        return Err(unknown_account(only));
    }
    let now = daemon.clock.now();
    let entries = names.iter().map(|name| AccountGrants {
        account: name.to_string(),
        tier: wire_tier(daemon.approvals.tier(name)),
        grants: daemon
            .approvals
            .grants(name, now)
            .into_iter()
            .map(info)
            .collect(),
    });
    let accounts = page::fill(entries, limits::page_limit(list.limit));
    let last = accounts
        .last()
        .map(|entry: &AccountGrants| entry.account.clone());
    let cursor = last.filter(|_| accounts.len() < names.len());
    Ok(GrantListReply { accounts, cursor })
}

/// `grant.tier`.
pub(crate) async fn tier(
    daemon: Shared,
    asker: Asker,
    ask: GrantTier,
) -> Result<GrantTierReply, WireError> {
    let account = known(&daemon, &ask.account)?;
    let tier = match ask.tier {
        WireTier::Allow => Tier::Allow,
        WireTier::AskOnce => Tier::AskOnce,
        WireTier::AskEach => Tier::AskEach,
        WireTier::Unknown => {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                "the tiers are 'allow', 'ask_once' and 'ask_each'",
            ));
        }
    };
    let before = daemon.approvals.tier(&account);
    let is_less = tier < before;
    if tier > before {
        let caller = asker.tally.caller();
        caller.look().await;
        if caller.name().is_unidentified() {
            return Err(WireError::new(
                ErrorCode::Denied,
                "this daemon cannot tell which process you are, so it could take no answer of yours",
            )
            .with_hint("leave the tier at 'allow' here")
            .with_account(account.as_str()));
        }
    }
    if is_less {
        let subject = Subject::Tier(tier);
        approved(&daemon, &asker, &account, subject, wait(ask.wait_secs)).await?;
    }
    to_the_end(async move {
        if !is_less {
            let now = daemon.clock.now();
            let set = daemon.approvals.set_tier(&account, tier, now).await;
            set.map_err(|error| not_kept(&error))?;
        }
        let message = format!("the tier is {}; before it was {}", word(tier), word(before));
        written_down(&daemon, &asker, &account, Asks::Tier, message).await;
        Ok(GrantTierReply {
            account: account.to_string(),
            tier: wire_tier(tier),
            before: wire_tier(before),
        })
    })
    .await
}

/// `grant.add`.
pub(crate) async fn add(
    daemon: Shared,
    asker: Asker,
    ask: GrantAdd,
) -> Result<GrantInfo, WireError> {
    let account = known(&daemon, &ask.account)?;
    let bad = |message: String| WireError::new(ErrorCode::BadRequest, message);
    let caller: CallerName = ask
        .caller
        .parse()
        .map_err(|error: BadCallerName| bad(error.to_string()))?;
    if ask
        .for_secs
        .is_some_and(|secs| secs == 0 || secs > LONGEST_SECS)
    {
        return Err(bad(format!("'for_secs' is from 1 to {LONGEST_SECS}")));
    }
    if let CallerName::Executable(path) = &caller {
        let looked_at = path.clone();
        if let Some(why) = blocking(move || not_a_name(&looked_at)).await? {
            return Err(bad(format!("{path} {why}"))
                .with_hint("name the unit or the application it runs in"));
        }
    }
    let is_asked = daemon.approvals.tier(&account) != Tier::Allow;
    if is_asked {
        let subject = Subject::Grant(caller.clone(), ask.for_secs);
        approved(&daemon, &asker, &account, subject, wait(ask.wait_secs)).await?;
    }
    to_the_end(async move {
        let now = daemon.clock.now();
        let grant = if is_asked {
            let grants = daemon.approvals.grants(&account, now);
            let added = grants.into_iter().find(|grant| grant.caller == caller);
            added.ok_or_else(|| bad("it was revoked again already".to_owned()))?
        } else {
            let name = caller.clone();
            let added = daemon.approvals.add(&account, name, ask.for_secs, now);
            added.await.map_err(|error| not_kept(&error))?
        };
        let message = format!("a standing approval for {caller}");
        written_down(&daemon, &asker, &account, Asks::Grant, message).await;
        Ok(info(grant))
    })
    .await
}

/// `grant.revoke`. Nobody is asked: it gives nothing away.
pub(crate) async fn revoke(
    daemon: Shared,
    asker: Asker,
    ask: GrantRevoke,
) -> Result<GrantRevokeReply, WireError> {
    let account = account_name(&ask.account)?;
    let now = daemon.clock.now();
    let revoked = daemon.approvals.revoke(&account, ask.grant_id, now).await;
    let revoked = revoked.map_err(|error| not_kept(&error))?;
    if revoked > 0 {
        let message = format!("{revoked} standing approvals were revoked");
        written_down(&daemon, &asker, &account, Asks::Grant, message).await;
    } else if ask.grant_id.is_some() {
        return Err(
            WireError::new(ErrorCode::BadRequest, "there is no such standing approval")
                .with_hint(format!(
                    "'authctl grant list {account}' shows those there are"
                ))
                .with_account(account.as_str()),
        );
    }
    Ok(GrantRevokeReply {
        account: account.to_string(),
        revoked,
    })
}

/// Asks the person whether something may be changed, and waits. The answer itself changes it.
pub(super) async fn approved(
    daemon: &Shared,
    asker: &Asker,
    account: &Account,
    subject: Subject,
    wait: Duration,
) -> Result<(), WireError> {
    let (scopes, resource) = match &subject {
        Subject::Socket(terms) => (
            gate::scopes(&terms.scopes),
            terms.resources.first().cloned(),
        ),
        _ => (Vec::new(), None),
    };
    asker.tally.caller().look().await;
    let wish = Wish {
        account: account.clone(),
        subject,
        caller: Arc::clone(asker.tally.caller()),
        claimed: asker.origin.client.clone(),
        scopes,
        resource,
    };
    match daemon.approvals.ask(&wish, daemon.clock.now()) {
        Admission::Asked(asked) => {
            let yes = gate::settled(daemon, account, asked, gate::deadline(wait)).await?;
            yes.then_some(()).ok_or_else(|| {
                WireError::new(ErrorCode::Denied, "you said no").with_account(account.as_str())
            })
        }
        Admission::NotAsked(why) => Err(gate::not_asked(account, why)),
        // A question about a change is asked each time.
        Admission::Granted(_) | Admission::Denied => Ok(()),
    }
}

pub(super) async fn written_down(
    daemon: &Shared,
    asker: &Asker,
    account: &Account,
    asks: Asks,
    message: String,
) {
    // While it waits for its answer it is there to be looked at.
    asker.tally.caller().look().await;
    let line = AuditLine {
        asks: Some(asks),
        account: Some(account.to_string()),
        claimed: asker.origin.client.clone(),
        trace_id: asker.origin.trace_id.clone(),
        message: Some(message),
        ..AuditLine::new(daemon.clock.unix_now(), Decision::Changed)
    };
    daemon.audit.put(line, asker.tally.caller());
}

/// An account that there is.
fn known(daemon: &Shared, name: &str) -> Result<Account, WireError> {
    daemon.check_open()?;
    let account = account_name(name)?;
    if daemon.published.load().contains_key(&account) {
        Ok(account)
    } else {
        Err(unknown_account(name))
    }
}

fn info(grant: Grant) -> GrantInfo {
    GrantInfo {
        grant_id: grant.id,
        account: grant.account.to_string(),
        caller: grant.caller.to_string(),
        created_at: grant.created_at,
        expires_at: grant.expires_at,
    }
}

/// What a person hears whose change was not made.
pub(super) fn not_kept(error: &NotKept) -> WireError {
    let code = match error {
        NotKept::TooMany => ErrorCode::BadRequest,
        NotKept::Unread(_) | NotKept::Disk(_) => ErrorCode::StoreFailed,
    };
    let hint = match error {
        NotKept::TooMany => "revoke some: 'authctl grant list'",
        NotKept::Unread(_) => "mend or remove it, and start authd again",
        NotKept::Disk(_) => "run 'authctl doctor'",
    };
    WireError::new(code, error.to_string()).with_hint(hint)
}
