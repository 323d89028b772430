//! Where an account is logged in to again, and what its provider is compared with from then on.
//!
//! The endpoints of a login are pinned. A move that the person was told of, and that the metadata still
//! says, is accepted by logging in; any other has to be told first.

use authd_core::{
    grant::{Endpoints, Provider},
    metadata::{Change, Stated},
};
use authd_oauth::Metadata;
use authd_proto::{ErrorCode, WireError, request::LoginStart};

use super::target::Known;

/// The provider as a login without a place in it takes it.
pub(super) fn as_told(
    known: &Known,
    found: Option<&Metadata>,
    start: &LoginStart,
) -> Result<Provider, WireError> {
    let mut provider = known.provider.clone();
    let Some(found) = found else {
        return Ok(provider);
    };
    let now = found.endpoints_for(provider.client_auth);
    for change in &known.told {
        if let Change::Endpoint { name, to, .. } = change
            && now.by_name(name) == to.as_deref()
        {
            provider.endpoints.take_over(name, to.as_deref());
        }
    }
    let moved = provider.endpoints.token != known.provider.endpoints.token;
    if moved && known.client_secret.is_some() && start.client_secret.is_none() {
        let message = format!(
            "the token endpoint moved to {}; the client's secret was given for {}",
            provider.endpoints.token, known.provider.endpoints.token
        );
        return Err(WireError::new(ErrorCode::BadRequest, message).with_hint(
            "if you trust that place, give the secret again: --client-secret-stdin, and the secret \
             on standard input",
        ));
    }
    Ok(provider)
}

/// What the metadata states at a login at `provider`. Where that is one of `before`, pinned, an endpoint
/// that was not given by hand then is given now only if this login did so.
pub(super) fn stated(
    provider: &Provider,
    found: Option<&Metadata>,
    before: Option<&Provider>,
) -> Option<Stated> {
    let Some(found) = found else {
        return before.and_then(|before| before.stated.clone());
    };
    let now = found.for_client(provider.client_auth);
    let Some(before) = before else {
        return Some(now.stated.at_login(&provider.endpoints, &now.endpoints));
    };
    let given_then = before.stated.as_ref().map(|stated| &stated.given);
    let is_given = |name: &str, url: &str| {
        let elsewhere = |endpoints: &Endpoints| endpoints.by_name(name) != Some(url);
        given_then.is_some_and(|given| given.contains(name))
            || (elsewhere(&before.endpoints) && elsewhere(&now.endpoints))
    };
    let endpoints = provider.endpoints.named();
    let given = endpoints
        .filter(|(name, url)| is_given(name, url))
        .map(|(name, _)| name.to_owned())
        .collect();
    Some(Stated {
        given,
        ..now.stated
    })
}
