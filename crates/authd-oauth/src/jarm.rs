//! Authorization responses that the provider signed (JARM: JWT Secured Authorization Response Mode for
//! OAuth 2.0). Asked for only where a provider insists; encrypted ones are not understood.

use std::{sync::Arc, time::Duration};

use authd_core::secret::Secret;
use http::{HeaderMap, Method};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    authorization_code::AuthorizationResponse,
    client::Ambient,
    error::EndpointError,
    http::{Http, METADATA_CAP, Outgoing},
    id_token::is_audience,
    jws::{Algorithm, KeySet, SignatureError, unverified},
    response::moment,
};

/// How far the clocks may differ.
const LEEWAY: Duration = Duration::from_secs(120);

/// What the provider's signed responses are checked by.
pub struct Jarm {
    keys: KeySet,
    clock: Arc<dyn Ambient>,
}

/// Why a signed response does not count. The provider must act, or somebody else answers in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JarmError {
    /// A response in the clear, where a signed one was asked for.
    #[error("it is not signed, though that was asked for")]
    NotSigned,
    /// The signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// `iss` is missing. One that is another's is the mix-up that RFC 9207 is about.
    #[error("it does not say who answers")]
    Issuer,
    /// `aud` is not our client.
    #[error("it is for another client")]
    Audience,
    /// `exp` is missing or past.
    #[error("it has expired")]
    Expired,
}

impl Jarm {
    /// Fetches the provider's keys (RFC 7517), at most 1 MiB of them.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub async fn fetch(
        http: &Http,
        jwks_uri: &str,
        clock: Arc<dyn Ambient>,
    ) -> Result<Self, EndpointError> {
        let outgoing = Outgoing {
            method: Method::GET,
            url: http.endpoint(jwks_uri)?,
            headers: HeaderMap::new(),
            body: Zeroizing::default(),
            cap: METADATA_CAP,
            certificate: None,
        };
        let response = http.send(outgoing, &|| ()).await?;
        let keys = (response.status == 200)
            .then(|| KeySet::from_json(&response.body))
            .flatten();
        let status = response.status;
        Ok(Self {
            keys: keys.ok_or(EndpointError::Unintelligible { status })?,
            clock,
        })
    }

    /// The `state` that a signed response claims, unverified: it tells whether the response is to this
    /// attempt at all. Whoever knows it is the provider, or was told by it.
    pub(crate) fn claimed_state(response: &Secret) -> Option<Secret> {
        let claims = unverified(response.expose())?;
        claims.get("state")?.as_str().map(Secret::new)
    }

    /// The parameters in a signed response (§2.4). `iss` is compared by whoever knows the issuer.
    pub(crate) fn open(
        &self,
        response: &Secret,
        client_id: &str,
    ) -> Result<AuthorizationResponse, JarmError> {
        let claims = self.keys.verify(response.expose(), &Algorithm::ALL)?.claims;
        if !claims.get("iss").is_some_and(Value::is_string) {
            return Err(JarmError::Issuer);
        }
        if !claims
            .get("aud")
            .is_some_and(|audience| is_audience(audience, client_id))
        {
            return Err(JarmError::Audience);
        }
        let expiry = claims
            .get("exp")
            .and_then(moment)
            .ok_or(JarmError::Expired)?;
        if self.clock.now().wall >= expiry.after(LEEWAY) {
            return Err(JarmError::Expired);
        }
        Ok(parameters(&claims))
    }
}

fn parameters(claims: &Map<String, Value>) -> AuthorizationResponse {
    let mut response = AuthorizationResponse::default();
    for (name, value) in claims {
        if let Value::String(value) = value {
            response.take(name, value.clone());
        }
    }
    response
}
