//! `token.get` and `token.reject`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authd_core::{
    broker::Report,
    id::{Account, ClientId},
    lease::LeaseKey,
};
use authd_proto::{
    ErrorCode, ErrorShape, WireError,
    encode::{self, TokenTail},
    request::{TokenGet, TokenReject},
};

use super::{refusal, resource, scopes, wait, whole_secs};
use crate::{
    daemon::Shared,
    dispatch::{Later, Reply},
    driver::{Ask, Question},
    journal::Origin,
};

/// `token.get`: from the snapshot if it holds what is asked for, else through the engine.
pub(crate) fn get(
    daemon: &Shared,
    shape: ErrorShape,
    id: u32,
    get: &TokenGet<'_>,
    origin: impl FnOnce() -> Origin,
    out: &mut Vec<u8>,
) -> Option<Later> {
    let ask = match cached(daemon, id, get, out) {
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
    Some(answer(daemon, shape, id, ask))
}

/// Writes the cached token, or says what to ask the engine.
fn cached(
    daemon: &Shared,
    id: u32,
    get: &TokenGet<'_>,
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
    if let Some((token, left)) = snapshot.servable(&key, min_ttl.unwrap_or_default(), now, boot_id)
    {
        let tail = TokenTail {
            ttl_secs: whole_secs(left),
            low: false,
            renewed: false,
        };
        token.encoded.response(out, id, tail);
        daemon.figures.served.fetch_add(1, Ordering::Relaxed);
        if token.use_is_news(now.boot) {
            daemon
                .mailbox
                .used(snapshot.view.grant.account.clone(), key);
        }
        return Ok(None);
    }
    Ok(Some(Ask {
        question: Question::Demand,
        account: snapshot.view.grant.account.clone(),
        key,
        min_ttl,
        wait: wait(get.wait_secs),
        origin: Origin::default(),
    }))
}

/// `token.reject`: a report that an API refused a token.
pub(crate) fn reject(
    daemon: &Shared,
    shape: ErrorShape,
    id: u32,
    reject: &TokenReject<'_>,
    client: ClientId,
    origin: impl FnOnce() -> Origin,
    out: &mut Vec<u8>,
) -> Option<Later> {
    match report(daemon, client, reject) {
        Ok(ask) => {
            let ask = Ask {
                origin: origin(),
                ..ask
            };
            Some(answer(daemon, shape, id, ask))
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

/// Asks the engine and waits.
fn answer(daemon: &Shared, shape: ErrorShape, id: u32, ask: Ask) -> Later {
    let daemon = Arc::clone(daemon);
    Box::pin(async move {
        let account: Account = ask.account.clone();
        match daemon.mailbox.ask(&daemon.figures, ask).await {
            // It came for somebody who is not to be served any more.
            Ok(_) if daemon.check_open().is_err() => locked(&daemon, id, shape),
            Ok(handed) => {
                daemon.figures.served.fetch_add(1, Ordering::Relaxed);
                let tail = TokenTail {
                    ttl_secs: whole_secs(handed.ttl),
                    low: handed.low,
                    renewed: handed.renewed,
                };
                Reply::Token {
                    id,
                    token: handed.token,
                    tail,
                }
            }
            Err(_) if daemon.check_open().is_err() => locked(&daemon, id, shape),
            Err(refused) => Reply::Error {
                id,
                error: refusal::token(&account, refused),
                shape,
            },
        }
    })
}

/// Whoever waited while it was locked hears that, whatever else there is to say.
fn locked(daemon: &Shared, id: u32, shape: ErrorShape) -> Reply {
    Reply::of::<()>(id, shape, daemon.check_open())
}
