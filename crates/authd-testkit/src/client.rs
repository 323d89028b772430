//! Registered clients: how each authenticates, and where it may be redirected.

use std::fmt;

use serde::Deserialize;
use url::{Host, Url};

/// A client that the server knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// How it must authenticate at the token, revocation and introspection endpoints; any other
    /// method is refused with `invalid_client`.
    pub authentication: ClientAuthentication,
    /// Its redirect URIs, compared exactly, or, for a `native` client, with any port where the host
    /// is a loopback literal (RFC 8252 §7.3).
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Whether it is a native application.
    #[serde(default)]
    pub native: bool,
    /// The public half of its key, as a JWK: what it signs assertions with.
    #[serde(default)]
    pub jwk: Option<serde_json::Value>,
}

/// A client's authentication method (RFC 6749 §2.3).
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// `none`: a public client, known by its `client_id` alone.
    None,
    /// `client_secret_basic`.
    Basic(String),
    /// `client_secret_post`.
    Post(String),
    /// `private_key_jwt`, by the client's `jwk`.
    PrivateKeyJwt,
}

impl fmt::Debug for ClientAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic(_) => "Basic(…)",
            Self::Post(_) => "Post(…)",
            Self::PrivateKeyJwt => "PrivateKeyJwt",
        })
    }
}

impl Client {
    /// A public native client: `http://127.0.0.1/callback` and `http://[::1]/callback`, any port.
    pub fn native(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            authentication: ClientAuthentication::None,
            redirect_uris: vec![
                "http://127.0.0.1/callback".to_owned(),
                "http://[::1]/callback".to_owned(),
            ],
            native: true,
            jwk: None,
        }
    }

    /// The same with another authentication method.
    #[must_use]
    pub fn authenticated_by(mut self, authentication: ClientAuthentication) -> Self {
        self.authentication = authentication;
        self
    }

    /// The same with this public key for assertions.
    #[must_use]
    pub fn with_jwk(mut self, jwk: serde_json::Value) -> Self {
        self.jwk = Some(jwk);
        self
    }

    /// The same with exactly these redirect URIs, ports included.
    #[must_use]
    pub fn with_exact_redirect_uris<const N: usize>(mut self, uris: [&str; N]) -> Self {
        self.redirect_uris = uris.map(str::to_owned).to_vec();
        self.native = false;
        self
    }

    /// Whether `uri` is one of the registered redirect URIs.
    pub(crate) fn may_redirect_to(&self, uri: &str) -> bool {
        self.redirect_uris.iter().any(|registered| {
            registered == uri || (self.native && same_loopback_uri(registered, uri))
        })
    }
}

/// Whether both are one http URI on one loopback literal, apart from the port.
fn same_loopback_uri(registered: &str, asked: &str) -> bool {
    let (Ok(mut registered), Ok(mut asked)) = (Url::parse(registered), Url::parse(asked)) else {
        return false;
    };
    let loopback = match registered.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    };
    loopback
        && registered.scheme() == "http"
        && registered.set_port(None).is_ok()
        && asked.set_port(None).is_ok()
        && registered == asked
}

#[cfg(test)]
mod tests {
    use super::Client;

    #[test]
    fn a_native_client_may_use_any_port_of_its_loopback_literal_and_nothing_else() {
        let client = Client::native("demo");
        assert!(client.may_redirect_to("http://127.0.0.1:4711/callback"));
        assert!(client.may_redirect_to("http://[::1]:4711/callback"));
        for refused in [
            "http://127.0.0.1:4711/other",
            "https://127.0.0.1:4711/callback",
            "http://localhost:4711/callback",
            "http://127.0.0.1.evil.example:4711/callback",
            "http://user@127.0.0.1:4711/callback",
            "http://127.0.0.1:4711/callback?more=1",
        ] {
            assert!(!client.may_redirect_to(refused), "{refused}");
        }
    }

    #[test]
    fn an_exact_client_may_use_its_registered_port_alone() {
        let client =
            Client::native("exact").with_exact_redirect_uris(["http://127.0.0.1:9999/callback"]);
        assert!(client.may_redirect_to("http://127.0.0.1:9999/callback"));
        assert!(!client.may_redirect_to("http://127.0.0.1:9998/callback"));
    }

    #[test]
    fn a_client_secret_has_no_debug_output() {
        let client = Client::native("secretive").authenticated_by(
            super::ClientAuthentication::Basic("canary-secret".to_owned()),
        );
        assert!(!format!("{client:?}").contains("canary-secret"));
    }
}
