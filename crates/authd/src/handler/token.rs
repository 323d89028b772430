//! `token.get` and `token.reject`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authd_core::{
    broker::Report,
    id::ClientId,
    lease::{Lease, LeaseKey},
    policy::{Purpose, Tier},
};
use authd_proto::{
    ErrorCode, ErrorShape, WireError,
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
    audit::{Key, Tally},
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
    shape: ErrorShape,
    id: u32,
    get: &TokenGet<'_>,
    tally: &Arc<Tally>,
    origin: impl Fn() -> Origin,
    out: &mut Vec<u8>,
) -> Option<Later> {
    let ask = match cached(daemon, id, get, tally, &origin, out) {
        Ok(None) => return None,
        Ok(Some(ask)) => Ask {
            origin: origin(),
            ..ask
        },
        Err(error) => {
            encode::error(out, id, &error, shape);
            return None;
        }
    };
    Some(answer(daemon, shape, id, tally, ask))
}

/// Writes the cached token, or says what to ask the engine.
fn cached(
    daemon: &Shared,
    id: u32,
    get: &TokenGet<'_>,
    tally: &Tally,
    origin: impl Fn() -> Origin,
    out: &mut Vec<u8>,
) -> Result<Option<Ask>, WireError> {
    daemon.check_open()?;
    let accounts = daemon.published.load();
    let snapshot = match get.account {
        Some(name) => accounts
            .get(name)
            .ok_or_else(|| super::unknown_account(name))?,
        None => resource::account(&accounts, get.resource)?,
    };
    let key = snapshot.key(LeaseKey {
        resource: get.resource.map(str::to_owned),
        scopes: scopes(get.scopes.as_deref())?,
    });
    let min_ttl = get.min_ttl_secs.map(Duration::from_secs);
    let now = daemon.clock.now();
    let boot_id = daemon.published.boot_id;
    let account = &snapshot.view.grant.account;
    if daemon.approvals.tier(account) == Tier::Allow
        && let Some((token, left)) =
            snapshot.servable(&key, min_ttl.unwrap_or_default(), now, boot_id)
    {
        let tail = TokenTail {
            ttl_secs: whole_secs(left),
            low: false,
            renewed: false,
        };
        token.encoded.response(out, id, tail);
        daemon.figures.served.fetch_add(1, Ordering::Relaxed);
        tally.count(&daemon.audit, &Key::Token(token.fingerprint), now, || {
            line(daemon, Pass::OF_TIER, snapshot, &key, origin())
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
    let (shape, tally) = (session.errors, &session.tally);
    match report(daemon, session.process, reject) {
        Ok(ask) => {
            let ask = Ask {
                origin: origin(),
                ..ask
            };
            Some(answer(daemon, shape, id, tally, ask))
        }
        Err(error) => {
            encode::error(out, id, &error, shape);
            None
        }
    }
}

fn report(daemon: &Shared, client: ClientId, reject: &TokenReject<'_>) -> Result<Ask, WireError> {
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
    let key = snapshot.key(LeaseKey {
        resource: reject.resource.map(str::to_owned),
        scopes: scopes(reject.scopes.as_deref())?,
    });
    Ok(Ask {
        question: Question::Reject(Report {
            fingerprint,
            client,
            // Every socket so far is its owner's own.
            teaches: true,
        }),
        account: snapshot.view.grant.account.clone(),
        key,
        min_ttl: None,
        wait: wait(reject.wait_secs),
        origin: Origin::default(),
    })
}

/// Asks whoever is to be asked, and waits.
fn answer(daemon: &Shared, shape: ErrorShape, id: u32, tally: &Arc<Tally>, ask: Ask) -> Later {
    let daemon = Arc::clone(daemon);
    let asker = Asker {
        tally: Arc::clone(tally),
        origin: ask.origin.clone(),
    };
    Box::pin(async move {
        let (account, key) = (ask.account.clone(), ask.key.clone());
        let request = Request {
            account: &account,
            key: &key,
            purpose: Purpose::Token,
        };
        match hand_out(&daemon, &asker, &request, ask).await {
            Ok((token, tail)) => {
                daemon.figures.served.fetch_add(1, Ordering::Relaxed);
                Reply::Token { id, token, tail }
            }
            Err(error) => {
                gate::refused(&daemon, &asker, &request, error.code);
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
    let pass = gate::admit(daemon, asker, request, deadline).await?;
    if pass.tier != Tier::Allow {
        // While the person was asked the store may have been locked.
        daemon.check_open()?;
    }
    let (snapshot, token, tail) = match at_hand(daemon, &ask, pass) {
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
            let tail = TokenTail {
                ttl_secs: whole_secs(handed.ttl),
                low: handed.low,
                renewed: handed.renewed,
            };
            (handed.snapshot, handed.token, tail)
        }
    };
    gate::recheck(asker.tally.caller(), pass)?;
    let now = daemon.clock.now();
    let key = Key::Token(token.fingerprint);
    asker.tally.count(&daemon.audit, &key, now, || {
        line(daemon, pass, &snapshot, request.key, asker.origin.clone())
    });
    Ok((token, tail))
}

/// For one who was let through by who it is: the token that is at hand. The others have looked already.
fn at_hand(
    daemon: &Shared,
    ask: &Ask,
    pass: Pass,
) -> Option<(Arc<Snapshot>, Arc<Token>, TokenTail)> {
    if pass.tier == Tier::Allow || !matches!(ask.question, Question::Demand) {
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
    Some((Arc::clone(snapshot), Arc::clone(token), tail))
}

/// The line of the audit log on a token that is handed out.
fn line(
    daemon: &Shared,
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
    if let Some((fingerprint, generation, scopes)) = grant.leases.get(key).map(of_token) {
        line.fingerprint = Some(fingerprint);
        line.generation = Some(generation);
        // What it has, not only what was asked for.
        line.scopes = scopes;
    }
    line
}
