//! Pushed authorization requests (RFC 9126): the provider gets the request from us, over TLS and from a
//! client that proved itself, and the browser carries no more than a name for it.

use std::time::Duration;

use authd_core::grant::ClientAuth;

use crate::{
    authorization_code::AuthorizationAttempt,
    client::{Client, Credential},
    error::EndpointError,
    http::Http,
    introspection::object,
    request::Form,
    response::duration,
};

/// Longest `request_uri` believed, in bytes: it goes into a URL.
const REQUEST_URI_LEN: usize = 2048;

/// Pushes the request of `attempt`, whose URL names it from then on, and says how long the browser has
/// to get there (§2.2 `expires_in`); `None` when the provider does not say.
///
/// # Errors
/// [`EndpointError`]. Then the attempt is as it was, and may go on unless the provider insists on a
/// pushed request; after [`EndpointError::Refused`] the provider would refuse it all the same.
pub async fn push(
    http: &Http,
    client: Client<'_>,
    attempt: &mut AuthorizationAttempt,
) -> Result<Option<Duration>, EndpointError> {
    let provider = client.provider;
    let Some(endpoint) = &provider.endpoints.pushed_authorization_request else {
        return Err(EndpointError::NotOffered);
    };
    let parameters = attempt.parameters();
    let mut form = Form::new();
    for (name, value) in &parameters {
        form = form.with(name, value);
    }
    // §2.1: the request names the client, which the other ways of client authentication do anyway.
    if provider.client_auth == ClientAuth::Basic
        && matches!(client.credential, Credential::Secret(_))
    {
        form = form.with("client_id", &provider.client_id);
    }
    let outgoing = form.post(http.endpoint(endpoint)?, client)?;
    let response = http.send(outgoing, &|| ()).await?;
    let status = response.status;
    let mut sent = attempt.secrets();
    sent.extend(client.credential.sent());
    let members = object(&response, &sent)?;
    let request_uri = members
        .text("request_uri")
        .filter(|uri| uri.len() <= REQUEST_URI_LEN && uri.bytes().all(|b| b.is_ascii_graphic()))
        .ok_or(EndpointError::Unintelligible { status })?;
    attempt.pushed(&provider.client_id, request_uri);
    Ok(duration(members.value("expires_in")))
}
