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
    access::Access,
    connection::Session,
    daemon::Shared,
    dispatch::{Later, Reply},
    driver::{Ask, Question},
    journal::Origin,
};

/// `token.get`: from the snapshot if it holds what is asked for, else through the engine.
pub(crate) fn get(
    daemon: &Shared,
    access: &Access,
    shape: ErrorShape,
    id: u32,
    get: &TokenGet<'_>,
    origin: impl FnOnce() -> Origin,
    out: &mut Vec<u8>,
) -> Option<Later> {
    let ask = match cached(daemon, access, id, get, out) {
        Ok(None) => return None,
        Ok(Some(ask)) => Ask {
            origin: origin(),
            ..ask
        },
        Err(error) => {
            encode::error(out, id, &access.shield(error), shape);
            return None;
        }
    };
    Some(answer(daemon, access, shape, id, ask))
}

/// Writes the cached token, or says what to ask the engine.
fn cached(
    daemon: &Shared,
    access: &Access,
    id: u32,
    get: &TokenGet<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<Ask>, WireError> {
    daemon.check_open()?;
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
    if let Some((token, left)) = snapshot.servable(&key, min_ttl.unwrap_or_default(), now, boot_id)
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
    session: &Session,
    id: u32,
    reject: &TokenReject<'_>,
    origin: impl FnOnce() -> Origin,
    out: &mut Vec<u8>,
) -> Option<Later> {
    let (access, shape) = (&session.access, session.errors);
    match report(daemon, access, session.process, reject) {
        Ok(ask) => {
            let ask = Ask {
                origin: origin(),
                ..ask
            };
            Some(answer(daemon, access, shape, id, ask))
        }
        Err(error) => {
            encode::error(out, id, &access.shield(error), shape);
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

/// Asks the engine and waits.
fn answer(daemon: &Shared, access: &Access, shape: ErrorShape, id: u32, ask: Ask) -> Later {
    let (daemon, access) = (Arc::clone(daemon), access.clone());
    Box::pin(async move {
        let account: Account = ask.account.clone();
        let handed = daemon.mailbox.ask(&daemon.figures, ask).await;
        let handed = handed
            .map_err(|refused| refusal::token(&account, refused))
            .and_then(|handed| {
                access.check_token(&handed.snapshot, &handed.key)?;
                Ok(handed)
            });
        match handed {
            Ok(handed) => {
                access.count_served();
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
            Err(error) => Reply::Error {
                id,
                error: access.shield(error),
                shape,
            },
        }
    })
}
