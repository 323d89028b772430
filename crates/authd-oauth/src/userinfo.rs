//! Who signed in, by the userinfo endpoint (OpenID Connect Core §5.3), where no ID token says it.

use authd_core::{grant::Subject, secret::Secret};
use http::{HeaderMap, Method, header};
use zeroize::Zeroizing;

use crate::{
    client::Client,
    dpop::{self, Dpop},
    error::EndpointError,
    http::{Http, Incoming, Outgoing, TOKEN_CAP, TransportFailure, sensitive},
    id_token::subject_of,
    introspection::object,
};

/// Asks whose `access_token` is; with `dpop` as one that is bound to that key (RFC 9449 §7.1).
///
/// # Errors
/// [`EndpointError`] when the provider has no such endpoint, refuses the token, gives no answer, or
/// answers without `sub`. A 401 comes as [`EndpointError::Refused`] or
/// [`EndpointError::Unintelligible`] with that status.
pub async fn userinfo(
    http: &Http,
    client: Client<'_>,
    access_token: &Secret,
    dpop: Option<Dpop<'_>>,
) -> Result<Subject, EndpointError> {
    let mut response = ask(http, client, access_token, dpop).await?;
    // §9: a resource server wants a nonce, or a new one. Once is enough.
    if dpop.is_some() && asks_for_nonce(&response) {
        response = ask(http, client, access_token, dpop).await?;
    }
    let status = response.status;
    subject_of(&object(&response, &[access_token])?).ok_or(EndpointError::Unintelligible { status })
}

async fn ask(
    http: &Http,
    client: Client<'_>,
    access_token: &Secret,
    dpop: Option<Dpop<'_>>,
) -> Result<Incoming, EndpointError> {
    let Some(endpoint) = &client.provider.endpoints.userinfo else {
        return Err(EndpointError::NotOffered);
    };
    let url = http.endpoint(endpoint)?;
    let scheme = if dpop.is_some() { "DPoP " } else { "Bearer " };
    let authorization = Zeroizing::new([scheme, access_token.expose()].concat());
    let mut headers = HeaderMap::from_iter([(header::AUTHORIZATION, sensitive(&authorization)?)]);
    if let Some(dpop) = dpop {
        let (proof, _) = dpop
            .proof("GET", &url, Some(access_token), client.ambient)
            .map_err(|_| TransportFailure::BadEndpoint)?;
        dpop::attach(&mut headers, &proof)?;
    }
    let outgoing = Outgoing {
        method: Method::GET,
        url: url.clone(),
        headers,
        body: Zeroizing::default(),
        cap: TOKEN_CAP,
        certificate: None,
    };
    let response = http.send(outgoing, &|| ()).await?;
    if let Some(dpop) = dpop {
        dpop.servers
            .hear(&url, &response.headers, client.ambient.now());
    }
    Ok(response)
}

fn asks_for_nonce(response: &Incoming) -> bool {
    let challenges = response.headers.get_all(header::WWW_AUTHENTICATE);
    response.status == 401
        && dpop::nonce(&response.headers).is_some()
        && challenges.iter().any(|challenge| {
            challenge
                .to_str()
                .is_ok_and(|text| text.contains("use_dpop_nonce"))
        })
}
