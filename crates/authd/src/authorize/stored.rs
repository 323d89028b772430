//! Whether what the store keeps to prove a client may be used for a login, which any program on the socket
//! may have begun.

use authd_core::{grant::Provider, secret::Secret};
use authd_oauth::Metadata;
use authd_proto::{ErrorCode, WireError};

use super::begin::Known;

/// The secret, or the key, that was given for the client of the account.
///
/// Every endpoint that is sent it must be one that the account was logged in with, or one that the very
/// issuer of the account names now: a request that says where else has no say in where the secret goes.
///
/// # Errors
/// `bad_request` where one of them is another: then the secret must be given once more.
pub(super) fn secret(
    known: &Known,
    provider: &Provider,
    metadata: Option<&Metadata>,
) -> Result<Option<Secret>, WireError> {
    let Some(secret) = &known.client_secret else {
        return Ok(None);
    };
    match strange(known, provider, metadata) {
        None => Ok(Some(secret.clone())),
        Some(name) => Err(WireError::new(
            ErrorCode::BadRequest,
            format!("the client's secret was not given for this {name}"),
        )
        .with_hint("give the secret once more (--client-secret-stdin), or leave the endpoint out")),
    }
}

/// The name of the first endpoint that the secret was not given for.
fn strange(
    known: &Known,
    provider: &Provider,
    metadata: Option<&Metadata>,
) -> Option<&'static str> {
    let before = known.provider.endpoints.that_get_the_credential();
    let theirs = metadata
        .filter(|metadata| known.provider.issuer.as_ref() == Some(&metadata.issuer))
        .map(|metadata| metadata.endpoints.that_get_the_credential());
    let now = provider.endpoints.that_get_the_credential();
    now.into_iter()
        .find(|named| {
            let is_named = named.1.is_some();
            is_named && !before.contains(named) && !theirs.is_some_and(|it| it.contains(named))
        })
        .map(|(name, _)| name)
}
