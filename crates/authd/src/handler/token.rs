//! `token.get` and `token.reject`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authd_core::{
    broker::Report,
    id::ClientId,
    lease::{Lease, LeaseKey},
    policy::Purpose,
};
use authd_proto::{
    ErrorCode, WireError,
    approval::Asks,
    audit::AuditLine,
    encode::{self, TokenTail},
    request::{TokenGet, TokenReject},
};
use tokio::time::Instant;

use super::{
    gate::{self, Asker, Pass, Request},
    refusal, resource, scopes, wait, whole_secs,
};
use crate::{
    access::Access,
    audit::Key,
    connection::Session,
    daemon::Shared,
    dispatch::{Later, Reply},
    driver::{Ask, Question},
    journal::Origin,
    published::{Snapshot, Token},
};

/// `token.get`: from the snapshot if it holds what is asked for, else through the engine; and where the
/// account's tier has it so, not before the person said yes.
pub(crate) fn get(
    daemon: &Shared,
    session: &Session,
    id: u32,
    get: &TokenGet<'_>,
    origin: impl Fn() -> Origin,
    out: &mut Vec<u8>,
) -> Option<Later> {
    let ask = match cached(daemon, session, id, get, &origin, out) {
        Ok(None) => return None,
        Ok(Some(ask)) => Ask {
            origin: origin(),
            ..ask
        },
        Err(error) => {
            refused(daemon, session, id, error, origin(), out);
            return None;
        }
    };
    Some(answer(daemon, session, id, ask))
}

/// Writes the cached token, or says what to ask the engine.
fn cached(
    daemon: &Shared,
    session: &Session,
    id: u32,
    get: &TokenGet<'_>,
    origin: impl Fn() -> Origin,
    out: &mut Vec<u8>,
) -> Result<Option<Ask>, WireError> {
    daemon.check_open()?;
    let access = &session.access;
    let accounts = daemon.published.load();
    let snapshot = match access.account(get.account) {
        Some(name) => accounts
            .get(name)
            .ok_or_else(|| super::unknown_account(name))?,
        None => resource::account(&accounts, get.resource)?,
    };
    let key = LeaseKey {
        resource: get.resource.map(str::to_owned),
        scopes: scopes(get.scopes.as_deref())?,
    };
    let key = access.key(snapshot, key)?;
    let min_ttl = get.min_ttl_secs.map(Duration::from_secs);
    let now = daemon.clock.now();
    let boot_id = daemon.published.boot_id;
    let account = &snapshot.view.grant.account;
    if let Some(pass) = gate::unasked(daemon, access, account)
        && let Some((token, left)) =
            snapshot.servable(&key, min_ttl.unwrap_or_default(), now, boot_id)
    {
        access.check_token(snapshot, &key)?;
        let tail = TokenTail {
            ttl_secs: whole_secs(left),
            low: false,
            renewed: false,
        };
        access.count_served();
        token.encoded.response(out, id, tail);
        daemon.figures.served.fetch_add(1, Ordering::Relaxed);
        let counted = Key::Token(token.fingerprint);
        session.tally.count(&daemon.audit, &counted, now, || {
            line(daemon, access, pass, snapshot, &key, origin())
        });
        if token.use_is_news(now.boot) {
            daemon.mailbox.used(account.clone(), key);
        }
        return Ok(None);
    }
    Ok(Some(Ask {
        question: Question::Demand,
        account: account.clone(),
        key,
        min_ttl,
        wait: wait(get.wait_secs),
        origin: Origin::default(),
    }))
}

/// `token.reject`: a report that an API refused a token.
pub(crate) fn reject(
    daemon: &Shared,
    session: &Session,
    id: u32,
    reject: &TokenReject<'_>,
    origin: impl FnOnce() -> Origin,
    out: &mut Vec<u8>,
) -> Option<Later> {
    let access = &session.access;
    match report(daemon, access, session.process, reject) {
        Ok(ask) => {
            let ask = Ask {
                origin: origin(),
                ..ask
            };
            Some(answer(daemon, session, id, ask))
        }
        Err(error) => {
            refused(daemon, session, id, error, origin(), out);
            None
        }
    }
}

fn report(
    daemon: &Shared,
    access: &Access,
    client: ClientId,
    reject: &TokenReject<'_>,
) -> Result<Ask, WireError> {
    daemon.check_open()?;
    let bad = |message: String| WireError::new(ErrorCode::BadRequest, message);
    let fingerprint = match (reject.fingerprint, reject.access_token) {
        (Some(fingerprint), None) => fingerprint
            .parse()
            .map_err(|error: authd_core::id::BadFingerprint| bad(error.to_string()))?,
        (None, Some(token)) => daemon.fingerprints.of(token.expose()),
        _ => return Err(bad("give either 'fingerprint' or 'access_token'".to_owned())),
    };
    let accounts = daemon.published.load();
    let snapshot = accounts
        .get(reject.account)
        .ok_or_else(|| super::unknown_account(reject.account))?;
    let key = LeaseKey {
        resource: reject.resource.map(str::to_owned),
        scopes: scopes(reject.scopes.as_deref())?,
    };
    let key = access.key(snapshot, key)?;
    Ok(Ask {
        question: Question::Reject(Report {
            fingerprint,
            client,
            teaches: access.teaches(),
        }),
        account: snapshot.view.grant.account.clone(),
        key,
        min_ttl: None,
        wait: wait(reject.wait_secs),
        origin: Origin::default(),
    })
}

/// Answers what is refused before anybody is asked.
fn refused(
    daemon: &Shared,
    session: &Session,
    id: u32,
    error: WireError,
    origin: Origin,
    out: &mut Vec<u8>,
) {
    let error = session.access.shield(error);
    gate::refused_unseen(
        daemon,
        &session.asker(origin),
        Some(Asks::Token),
        error.code,
    );
    encode::error(out, id, &error, session.errors);
}

/// Asks whoever is to be asked, and waits.
fn answer(daemon: &Shared, session: &Session, id: u32, ask: Ask) -> Later {
    let (daemon, shape) = (Arc::clone(daemon), session.errors);
    let asker = session.asker(ask.origin.clone());
    Box::pin(async move {
        let (account, key) = (ask.account.clone(), ask.key.clone());
        let request = Request {
            account: &account,
            key: &key,
            purpose: Purpose::Token,
        };
        match hand_out(&daemon, &asker, &request, ask).await {
            Ok((token, tail)) => {
                asker.access.count_served();
                daemon.figures.served.fetch_add(1, Ordering::Relaxed);
                Reply::Token { id, token, tail }
            }
            Err(error) => {
                gate::refused(&daemon, &asker, &request, error.code);
                let error = asker.access.shield(error);
                Reply::Error { id, error, shape }
            }
        }
    })
}

/// The person first where they are to be asked, then the snapshot or the engine; all within the wait.
async fn hand_out(
    daemon: &Shared,
    asker: &Asker,
    request: &Request<'_>,
    ask: Ask,
) -> Result<(Arc<Token>, TokenTail), WireError> {
    let deadline = gate::deadline(ask.wait);
    let mut pass = gate::admit(daemon, asker, request, deadline).await?;
    if !pass.is_unasked() {
        // While the person was asked the store may have been locked.
        daemon.check_open()?;
    }
    let (snapshot, key, token, tail) = match at_hand(daemon, &ask, pass) {
        Some(found) => found,
        None => {
            let ask = Ask {
                wait: deadline.saturating_duration_since(Instant::now()),
                ..ask
            };
            let handed = daemon.mailbox.ask(&daemon.figures, ask).await;
            // Whatever came: for somebody who is not to be served any more there is only that to say.
            daemon.check_open()?;
            let handed = handed.map_err(|refused| refusal::token(request.account, refused))?;
            pass = gate::admit_again(daemon, asker, request, deadline, pass).await?;
            let tail = TokenTail {
                ttl_secs: whole_secs(handed.ttl),
                low: handed.low,
                renewed: handed.renewed,
            };
            (handed.snapshot, handed.key, handed.token, tail)
        }
    };
    asker
        .access
        .check_time(&daemon.clock, daemon.published.boot_id)?;
    asker.access.check_token(&snapshot, &key)?;
    gate::recheck(asker.tally.caller(), pass).await?;
    daemon.check_open()?;
    let now = daemon.clock.now();
    let counted = Key::Token(token.fingerprint);
    asker.tally.count(&daemon.audit, &counted, now, || {
        let origin = asker.origin.clone();
        line(daemon, &asker.access, pass, &snapshot, request.key, origin)
    });
    Ok((token, tail))
}

/// For one who was let through by who it is: the token that is at hand. The others have looked already.
fn at_hand(
    daemon: &Shared,
    ask: &Ask,
    pass: Pass,
) -> Option<(Arc<Snapshot>, LeaseKey, Arc<Token>, TokenTail)> {
    if pass.is_unasked() || !matches!(ask.question, Question::Demand) {
        return None;
    }
    let accounts = daemon.published.load();
    let snapshot = accounts.get(&ask.account)?;
    let (now, boot_id) = (daemon.clock.now(), daemon.published.boot_id);
    let min_ttl = ask.min_ttl.unwrap_or_default();
    let (token, left) = snapshot.servable(&ask.key, min_ttl, now, boot_id)?;
    let tail = TokenTail {
        ttl_secs: whole_secs(left),
        low: false,
        renewed: false,
    };
    if token.use_is_news(now.boot) {
        daemon.mailbox.used(ask.account.clone(), ask.key.clone());
    }
    let key = ask.key.clone();
    Some((Arc::clone(snapshot), key, Arc::clone(token), tail))
}

/// The line of the audit log on a token that is handed out.
fn line(
    daemon: &Shared,
    access: &Access,
    pass: Pass,
    snapshot: &Snapshot,
    key: &LeaseKey,
    origin: Origin,
) -> AuditLine {
    let grant = &snapshot.view.grant;
    let request = Request {
        account: &grant.account,
        key,
        purpose: Purpose::Token,
    };
    let of_token = |lease: &Lease| {
        (
            lease.fingerprint.to_string(),
            lease.generation.0,
            gate::scopes(&lease.scopes),
        )
    };
    let mut line = gate::handed_out(pass, &request, origin, daemon.clock.unix_now());
    line.message = gate::through(access);
    if let Some((fingerprint, generation, scopes)) = grant.leases.get(key).map(of_token) {
        line.fingerprint = Some(fingerprint);
        line.generation = Some(generation);
        // What it has, not only what was asked for.
        line.scopes = scopes;
    }
    line
}
