//! A client registers itself (RFC 7591; OpenID Connect Dynamic Client Registration 1.0 for what is
//! native).
//!
//! What comes back beside the id and the secret stays unread and is wiped: of it the registration
//! access token (RFC 7592) is a secret for which there is no use.

use authd_core::{grant::ClientAuth, scope::ScopeSet, secret::Secret, time::Wall};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    error::EndpointError,
    http::{Http, Outgoing, TOKEN_CAP},
    introspection::object,
    response::{Members, moment, scopes},
};

/// Longest client id that is taken, in bytes.
const CLIENT_ID_LEN: usize = 2048;
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What a client says of itself.
#[derive(Clone, Copy)]
pub struct RegistrationRequest<'a> {
    /// Loopback addresses, the one that will be used first.
    pub redirect_uris: &'a [&'a str],
    /// What it will ask for; empty to say nothing of it.
    pub scopes: &'a ScopeSet,
    /// Whether it will log in by device codes too.
    pub by_device: bool,
}

/// A client that the provider knows now. It cannot be printed.
pub struct Registered {
    /// Its id.
    pub client_id: String,
    /// How it proves itself: not at all, unless the provider wants otherwise.
    pub client_auth: ClientAuth,
    /// What it proves itself with.
    pub client_secret: Option<Secret>,
    /// When the secret ends, if it ever does.
    pub secret_expires_at: Option<Wall>,
    /// What it may ask for at most, if that was said.
    pub scopes: Option<ScopeSet>,
}

/// Why there is no new client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The provider refused, or gave no answer.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// It registers those alone who prove something first: a person must register the client.
    #[error("the provider registers nobody whom it does not know (HTTP {status})")]
    Closed {
        /// 401 or 403.
        status: u16,
    },
    /// What it registered is of no use: a person must register the client.
    #[error("the provider registered a client that is of no use: {0}")]
    Unusable(Unfit),
}

/// What is wrong with a registered client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is no id, or one that cannot be sent.
    #[error("its client_id is missing or malformed")]
    ClientId,
    /// It must prove itself in a way that it was not given anything for.
    #[error("its token_endpoint_auth_method is one that it cannot do")]
    ClientAuth,
}

/// Registers a native, public client at `endpoint`.
///
/// # Errors
/// [`RegistrationError`].
pub async fn register(
    http: &Http,
    endpoint: &str,
    request: RegistrationRequest<'_>,
) -> Result<Registered, RegistrationError> {
    let url = http.endpoint(endpoint).map_err(EndpointError::from)?;
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let outgoing = Outgoing {
        method: Method::POST,
        url,
        headers,
        body: Zeroizing::new(request.metadata().to_string().into_bytes()),
        cap: TOKEN_CAP,
        certificate: None,
    };
    let response = http
        .send(outgoing, &|| ())
        .await
        .map_err(EndpointError::from)?;
    match object(&response, &[]) {
        Ok(members) => read(members).map_err(RegistrationError::Unusable),
        Err(_) if matches!(response.status, 401 | 403) => Err(RegistrationError::Closed {
            status: response.status,
        }),
        Err(error) => Err(error.into()),
    }
}

impl RegistrationError {
    /// Whether what the client said of itself is what was wrong (RFC 7591 §3.2.2).
    #[must_use]
    pub fn is_about_metadata(&self) -> bool {
        matches!(self, Self::Endpoint(EndpointError::Refused { refusal, .. })
            if refusal.code == "invalid_client_metadata")
    }

    /// Whether the same request may succeed later without anybody acting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Endpoint(error) if error.is_transient())
    }
}

impl RegistrationRequest<'_> {
    fn metadata(&self) -> Value {
        let mut grant_types = vec!["authorization_code", "refresh_token"];
        if self.by_device {
            grant_types.push(DEVICE_CODE);
        }
        let mut metadata = json!({
            "client_name": "authd",
            "application_type": "native",
            "redirect_uris": self.redirect_uris,
            "grant_types": grant_types,
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        });
        if !self.scopes.is_empty() {
            metadata["scope"] = self.scopes.to_string().into();
        }
        metadata
    }
}

fn read(mut members: Members) -> Result<Registered, Unfit> {
    // RFC 6749 §A.1.
    let is_id =
        |id: &&str| id.len() <= CLIENT_ID_LEN && id.bytes().all(|b| matches!(b, b' '..=b'~'));
    let client_id = members.text("client_id").filter(is_id);
    let client_id = client_id.ok_or(Unfit::ClientId)?.to_owned();
    let method = members
        .text("token_endpoint_auth_method")
        .map(str::to_owned);
    let has_secret = members.text("client_secret").is_some();
    let client_auth = match (method.as_deref(), has_secret) {
        (Some("none"), _) | (None, false) => ClientAuth::None,
        // What is meant where nothing is said (§2).
        (None | Some("client_secret_basic"), true) => ClientAuth::Basic,
        (Some("client_secret_post"), true) => ClientAuth::Post,
        _ => return Err(Unfit::ClientAuth),
    };
    let proves_itself = client_auth != ClientAuth::None;
    let secret_expires_at = members.value("client_secret_expires_at").and_then(moment);
    Ok(Registered {
        client_id,
        client_auth,
        client_secret: members
            .take_secret("client_secret")
            .filter(|_| proves_itself),
        secret_expires_at: secret_expires_at.filter(|_| proves_itself),
        scopes: scopes(members.value("scope")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(answer: &Value) -> Result<Registered, Unfit> {
        read(Members::from_json(answer.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn a_native_public_client_is_asked_for() {
        let scopes = ScopeSet::parse("b a");
        let request = RegistrationRequest {
            redirect_uris: &["http://127.0.0.1:5/callback", "http://127.0.0.1/callback"],
            scopes: &scopes,
            by_device: true,
        };
        assert_eq!(
            request.metadata(),
            json!({
                "client_name": "authd",
                "application_type": "native",
                "redirect_uris": ["http://127.0.0.1:5/callback", "http://127.0.0.1/callback"],
                "grant_types": ["authorization_code", "refresh_token", DEVICE_CODE],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
                "scope": "a b",
            })
        );
        let (scopes, by_device) = (&ScopeSet::default(), false);
        let plain = RegistrationRequest {
            scopes,
            by_device,
            ..request
        };
        assert_eq!(plain.metadata().get("scope"), None);
        assert_eq!(plain.metadata()["grant_types"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn the_providers_word_on_the_client_counts() {
        for (answer, auth, secret) in [
            (json!({"client_id": "c"}), ClientAuth::None, None),
            (
                json!({"client_id": "c", "client_secret": "s"}),
                ClientAuth::Basic,
                Some("s"),
            ),
            (
                json!({"client_id": "c", "client_secret": "s",
                       "token_endpoint_auth_method": "client_secret_post"}),
                ClientAuth::Post,
                Some("s"),
            ),
            // A secret that nobody asks for.
            (
                json!({"client_id": "c", "client_secret": "s", "client_secret_expires_at": 9,
                       "token_endpoint_auth_method": "none"}),
                ClientAuth::None,
                None,
            ),
        ] {
            let client = registered(&answer).ok().unwrap();
            assert_eq!(client.client_auth, auth, "{answer}");
            let held = client.client_secret.as_ref().map(Secret::expose);
            assert_eq!(held, secret, "{answer}");
            assert_eq!(client.secret_expires_at, None, "{answer}");
        }
    }

    #[test]
    fn limits_are_taken_and_a_secret_that_never_ends_has_no_end() {
        let ending = |at: u64| {
            let answer = json!({"client_id": "c", "client_secret": "s",
                "client_secret_expires_at": at, "scope": "a b"});
            registered(&answer).ok().unwrap()
        };
        assert_eq!(ending(0).secret_expires_at, None);
        assert_eq!(ending(7).secret_expires_at, Some(Wall::from_unix_secs(7)));
        assert_eq!(ending(7).scopes, Some(ScopeSet::parse("a b")));
    }

    #[test]
    fn a_client_that_cannot_be_used_is_refused() {
        for (answer, why) in [
            (json!({}), Unfit::ClientId),
            (json!({"client_id": ""}), Unfit::ClientId),
            (json!({"client_id": 7}), Unfit::ClientId),
            (json!({"client_id": "a\nb"}), Unfit::ClientId),
            (json!({"client_id": "x".repeat(2049)}), Unfit::ClientId),
            (
                json!({"client_id": "c", "token_endpoint_auth_method": "private_key_jwt"}),
                Unfit::ClientAuth,
            ),
            (
                json!({"client_id": "c", "token_endpoint_auth_method": "client_secret_basic"}),
                Unfit::ClientAuth,
            ),
        ] {
            assert_eq!(registered(&answer).err(), Some(why), "{answer}");
        }
    }
}
