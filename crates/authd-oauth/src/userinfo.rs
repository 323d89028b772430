//! Who signed in, by the userinfo endpoint (OpenID Connect Core §5.3), where no ID token says it.

use authd_core::{
    grant::{Provider, Subject},
    secret::Secret,
};
use http::{HeaderMap, Method, header};
use zeroize::Zeroizing;

use crate::{
    error::EndpointError,
    http::{Http, Outgoing, TOKEN_CAP, sensitive},
    id_token::subject_of,
    introspection::object,
};

/// Asks whose `access_token` is.
///
/// # Errors
/// [`EndpointError`] when the provider has no such endpoint, refuses the token, gives no answer, or
/// answers without `sub`. A 401 comes as [`EndpointError::Refused`] or
/// [`EndpointError::Unintelligible`] with that status.
pub async fn userinfo(
    http: &Http,
    provider: &Provider,
    access_token: &Secret,
) -> Result<Subject, EndpointError> {
    let Some(endpoint) = &provider.endpoints.userinfo else {
        return Err(EndpointError::NotOffered);
    };
    let bearer = Zeroizing::new(["Bearer ", access_token.expose()].concat());
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, sensitive(&bearer)?)]);
    let outgoing = Outgoing {
        method: Method::GET,
        url: http.endpoint(endpoint)?,
        headers,
        body: Zeroizing::default(),
        cap: TOKEN_CAP,
        certificate: None,
    };
    let response = http.send(outgoing, &|| ()).await?;
    let status = response.status;
    subject_of(&object(&response, &[access_token])?).ok_or(EndpointError::Unintelligible { status })
}
