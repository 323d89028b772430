//! `socket.*`: who may have the token of one account, and for how long.

use std::sync::Arc;

use authd_core::{
    lease::LeaseKey,
    policy::{self, Tier},
    time::Stamp,
};
use authd_proto::{
    ErrorCode, WireError,
    approval::Asks,
    limits, page,
    socket::{
        SocketCreate, SocketInfo, SocketList, SocketListReply, SocketRevoke, SocketRevokeReply,
    },
};

use super::{gate::Asker, grant, refusal, resource, scopes, to_the_end, unknown_account, wait};
use crate::{
    approvals::Subject,
    daemon::{Daemon, Shared},
    perform::is_bound,
    published::Snapshot,
    restricted::{Login, Place, Terms, Trouble, Which},
};

/// The least time that makes sense, in seconds.
const SHORTEST: u64 = 60;

/// `socket.create`.
pub(crate) async fn create(
    daemon: Shared,
    asker: Asker,
    ask: SocketCreate,
) -> Result<SocketInfo, WireError> {
    let patience = wait(ask.wait_secs);
    let mut terms = terms(&daemon, ask)?;
    let account = terms.account.clone();
    // What it gives is given without a further question: here is the question.
    if daemon.approvals.tier(&account) != Tier::Allow {
        let subject = Subject::Socket(Box::new(terms.clone()));
        grant::approved(&daemon, &asker, &account, subject, patience).await?;
        // It was locked meanwhile, perhaps, and its time begins now.
        daemon.check_open()?;
        terms.created.at = daemon.clock.now();
    }
    // Opened, it is written down, also when nobody waits for it any more.
    to_the_end(async move {
        let summary = terms.summary();
        let socket = daemon.sockets.open(terms).await.map_err(in_words)?;
        let message = format!("{} was opened {summary}", socket.terms.name);
        grant::written_down(&daemon, &asker, &account, Asks::Socket, message).await;
        socket
            .info(daemon.clock.now(), daemon.published.boot_id)
            .ok_or_else(|| in_words(Trouble::Unknown))
    })
    .await
}

/// What is asked for, held against the login as it is.
fn terms(daemon: &Daemon, ask: SocketCreate) -> Result<Terms, WireError> {
    daemon.check_open()?;
    let Some(own_uid) = Place::own_uid() else {
        return Err(WireError::new(
            ErrorCode::Unsupported,
            "there are no restricted sockets on this system",
        ));
    };
    let ttl_secs = ask.ttl_secs.unwrap_or(limits::DEFAULT_SOCKET_SECS);
    if !(SHORTEST..=limits::MAX_SOCKET_SECS).contains(&ttl_secs) {
        return Err(bad(
            "a restricted socket is there for a minute at least and 30 days at most",
        ));
    }
    let mut uids = ask.uids;
    uids.sort_unstable();
    uids.dedup();
    if uids.len() > limits::MAX_UIDS {
        return Err(bad(format!("more than {} uids", limits::MAX_UIDS)));
    }
    if uids.is_empty() {
        uids.push(own_uid);
    }
    let label = ask.label.filter(|label| !label.is_empty());
    let is_plain = |label: &String| {
        label.chars().count() <= limits::MAX_LABEL && !label.chars().any(char::is_control)
    };
    if label.as_ref().is_some_and(|label| !is_plain(label)) {
        return Err(bad(format!(
            "a label has {} characters at most, and none that controls a terminal",
            limits::MAX_LABEL
        )));
    }
    let accounts = daemon.published.load();
    let snapshot = match &ask.account {
        Some(name) => accounts
            .get(name.as_str())
            .ok_or_else(|| unknown_account(name))?,
        None => resource::account(&accounts, ask.resources.first().map(String::as_str))?,
    };
    let grant = &snapshot.view.grant;
    let own = grant.leases.get(&LeaseKey::of_login(grant));
    if own.is_some_and(|lease| is_bound(&lease.token_type)) {
        return Err(bad(
            "the tokens of this account are bound to a key: through a restricted socket nobody could use them",
        )
        .with_account(grant.account.as_str()));
    }
    let scopes = match &ask.scopes {
        Some(named) if !named.is_empty() => scopes(Some(named))?,
        _ => grant.scopes.clone(),
    };
    let resources = resources(snapshot, ask.resources)?;
    for resource in resources
        .iter()
        .map(Some)
        .chain(resources.is_empty().then_some(None))
    {
        allowed(
            snapshot,
            &snapshot.key(LeaseKey {
                resource: resource.cloned(),
                scopes: scopes.clone(),
            }),
        )?;
    }
    Ok(Terms {
        name: String::new(),
        account: grant.account.clone(),
        login: Login::of(grant),
        scopes,
        resources,
        uids,
        label,
        created: Stamp {
            boot_id: daemon.published.boot_id,
            at: daemon.clock.now(),
        },
        ttl_secs,
    })
}

/// Those that are named, as the account spells them; or the login's own.
fn resources(snapshot: &Snapshot, named: Vec<String>) -> Result<Vec<String>, WireError> {
    if named.len() > limits::MAX_RESOURCES {
        return Err(bad(format!(
            "more than {} resources",
            limits::MAX_RESOURCES
        )));
    }
    let mut resources = Vec::new();
    let asked = if named.is_empty() {
        vec![None]
    } else {
        named.into_iter().map(Some).collect()
    };
    for resource in asked {
        let key = snapshot.key(LeaseKey {
            resource,
            ..LeaseKey::default()
        });
        if let Some(resource) = key.resource
            && !resources.contains(&resource)
        {
            resources.push(resource);
        }
    }
    Ok(resources)
}

/// Whether the login covers it at all.
fn allowed(snapshot: &Snapshot, key: &LeaseKey) -> Result<(), WireError> {
    let grant = &snapshot.view.grant;
    let refusal = policy::decide(key, grant).refusal();
    refusal.map_or(Ok(()), |refusal| {
        Err(refusal::token(&grant.account, refusal))
    })
}

/// `socket.list`: also while the store is locked.
#[expect(clippy::unnecessary_wraps, reason = "every handler answers alike")]
pub(crate) fn list(daemon: &Shared, list: &SocketList) -> Result<SocketListReply, WireError> {
    let open = daemon.sockets.open_now();
    let (now, boot_id) = (daemon.clock.now(), daemon.published.boot_id);
    let after = |name: &str| list.cursor.as_deref().is_none_or(|cursor| name > cursor);
    let rest: Vec<SocketInfo> = open
        .iter()
        .filter(|(name, _)| after(name))
        .filter_map(|(_, socket)| socket.info(now, boot_id))
        .collect();
    let count = rest.len();
    let sockets = page::fill(rest, limits::page_limit(list.limit));
    let cursor = (sockets.len() < count)
        .then(|| sockets.last().map(|socket| socket.name.clone()))
        .flatten();
    Ok(SocketListReply { sockets, cursor })
}

/// `socket.revoke`: also while the store is locked.
pub(crate) async fn revoke(
    daemon: Shared,
    asker: Asker,
    revoke: SocketRevoke,
) -> Result<SocketRevokeReply, WireError> {
    let before = Arc::clone(&daemon.sockets.open_now());
    let which = revoke.name.map_or(Which::All, Which::Named);
    let revoked = daemon.sockets.close(which).await.map_err(in_words)?;
    for socket in revoked.iter().filter_map(|name| before.get(name)) {
        let message = format!("{} was revoked", socket.terms.name);
        grant::written_down(
            &daemon,
            &asker,
            &socket.terms.account,
            Asks::Socket,
            message,
        )
        .await;
    }
    Ok(SocketRevokeReply { revoked })
}

fn bad(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::BadRequest, message)
}

fn in_words(trouble: Trouble) -> WireError {
    let message = trouble.to_string();
    match trouble {
        Trouble::TooMany => WireError::new(ErrorCode::Busy, message)
            .with_hint("run 'authctl socket revoke' on those that nobody needs"),
        Trouble::Unknown => WireError::new(ErrorCode::BadRequest, message)
            .with_hint("'authctl socket list' names them"),
        Trouble::Listen(_) | Trouble::Random(_) => WireError::new(ErrorCode::StoreFailed, message),
        Trouble::NotOpened(_) => WireError::new(ErrorCode::StoreFailed, message)
            .with_hint("mend the disk, then create it again"),
        Trouble::Disk(_) => WireError::new(
            ErrorCode::StoreFailed,
            format!("{message}; what was to be closed is closed, until the daemon starts again"),
        )
        .with_hint("mend the disk, then revoke again"),
        Trouble::Stopping => WireError::new(ErrorCode::ShuttingDown, message),
    }
}

/// Closes the sockets of an account that goes. What is left of them on disk opens nothing for another login.
pub(super) async fn close_of(daemon: &Shared, account: authd_core::id::Account) {
    if let Err(error) = daemon.sockets.close(Which::Of(account)).await {
        tracing::warn!(%error, "restricted sockets of an account that goes stay on disk");
    }
}
