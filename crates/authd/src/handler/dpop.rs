//! `dpop.proof`: a proof of possession (RFC 9449 §4) for one request of a client. The key stays here.

use authd_core::lease::LeaseKey;
use authd_core::policy::Purpose;
use authd_core::secret::Secret;
use authd_oauth::{Ambient as _, DpopKey, ProofError, ProofRequest};
use authd_proto::{ErrorCode, WireError, WireSecret, request::DpopProof, response::DpopProofReply};

use super::{
    gate::{self, Asker, Request},
    scopes, wait,
};
use crate::{audit::Key, daemon::Shared};

/// Longest address that a proof is made for, in bytes.
const LONGEST_URL: usize = 8192;
/// Longest nonce of a server, in bytes.
const LONGEST_NONCE: usize = 1024;

/// `dpop.proof`. Whoever may have the token may have a proof for it, and no one else has any use of one.
pub(crate) async fn proof(
    daemon: Shared,
    asker: Asker,
    ask: DpopProof,
) -> Result<DpopProofReply, WireError> {
    daemon.check_open()?;
    check(&ask)?;
    let (account, key, token_endpoint) = {
        let accounts = daemon.published.load();
        let snapshot = accounts
            .get(ask.account.as_str())
            .ok_or_else(|| super::unknown_account(&ask.account))?;
        let grant = &snapshot.view.grant;
        let key = snapshot.key(LeaseKey {
            resource: ask.resource.clone(),
            scopes: scopes(ask.scopes.as_deref())?,
        });
        (
            grant.account.clone(),
            key,
            grant.provider.endpoints.token.clone(),
        )
    };
    let request = Request {
        account: &account,
        key: &key,
        purpose: Purpose::Proof,
    };
    let deadline = gate::deadline(wait(None));
    let pass = gate::admit(&daemon, &asker, &request, deadline)
        .await
        .inspect_err(|error| gate::refused(&daemon, &asker, &request, error.code))?;
    if !pass.is_unasked() {
        // While the person was asked the store may have been locked.
        daemon.check_open()?;
    }
    let held = daemon.mailbox.dpop(account.clone(), key.clone()).await;
    daemon.check_open()?;
    let stored = held.key.ok_or_else(|| {
        WireError::new(
            ErrorCode::BadRequest,
            "the tokens of this account are not bound to a key",
        )
        .with_hint("send them as Bearer, or log in again with --dpop")
        .with_account(ask.account.clone())
    })?;
    let access_token = match &ask.access_token {
        Some(token) => Secret::new(token.expose()),
        None => held.access_token.ok_or_else(|| {
            WireError::new(ErrorCode::BadRequest, "there is no such token yet")
                .with_hint("get the token first, and name it in 'access_token'")
        })?,
    };
    let signing = DpopKey::from_stored(&stored)
        .map_err(|error| WireError::new(ErrorCode::StoreFailed, error.to_string()))?;
    // The clock of the provider is the best guess at that of its protected resources.
    let at = daemon.dpop.time_at(&token_endpoint, daemon.now());
    let proof = daemon
        .random()
        .ok_or(ProofError::NoRandomness)
        .and_then(|jti| {
            signing.proof(ProofRequest {
                method: &ask.method,
                url: &ask.url,
                access_token: Some(&access_token),
                nonce: ask.nonce.as_deref(),
                at,
                jti,
            })
        })
        .map_err(no_proof)?;
    let pass = gate::admit_again(&daemon, &asker, &request, deadline, pass).await?;
    gate::recheck(asker.tally.caller(), pass).await?;
    daemon.check_open()?;
    let counted = Key::Proof(account.clone());
    asker
        .tally
        .count(&daemon.audit, &counted, daemon.clock.now(), || {
            gate::handed_out(
                pass,
                &request,
                asker.origin.clone(),
                daemon.clock.unix_now(),
            )
        });
    Ok(DpopProofReply {
        proof: WireSecret::new(proof.expose()),
        account: ask.account,
        jkt: signing.thumbprint(),
    })
}

fn check(ask: &DpopProof) -> Result<(), WireError> {
    let bad = |message: &str| Err(WireError::new(ErrorCode::BadRequest, message));
    // RFC 9110 §9.1 and §5.6.2: a method is a token, and its case counts.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !(1..=32).contains(&ask.method.len()) || !ask.method.bytes().all(is_token) {
        return bad("'method' is no HTTP method");
    }
    if ask.url.len() > LONGEST_URL {
        return bad("'url' is too long");
    }
    let fits = |nonce: &str| {
        (1..=LONGEST_NONCE).contains(&nonce.len())
            && nonce.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !ask.nonce.as_deref().is_none_or(fits) {
        return bad("'nonce' is none that a server may give");
    }
    Ok(())
}

fn no_proof(error: ProofError) -> WireError {
    let code = match error {
        ProofError::Url => ErrorCode::BadRequest,
        ProofError::NoRandomness | ProofError::Signing(_) => ErrorCode::Internal,
    };
    WireError::new(code, error.to_string())
}
