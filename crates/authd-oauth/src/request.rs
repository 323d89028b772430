//! Requests to the token endpoint and its kin: a form, and the client's proof of itself.
//!
//! These are not built by the `oauth2` crate, although its grammar is followed: its types keep
//! tokens in plain strings that are never wiped, its device request owns the polling loop that is
//! the engine's business, and it refuses a revocation endpoint on loopback.

use std::sync::Arc;

use authd_core::{grant::ClientAuth, secret::Secret};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Method, header};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use crate::{
    certificate::ClientCertificate,
    client::{Client, Credential},
    http::{Outgoing, TOKEN_CAP, TransportFailure, sensitive},
};

/// `client_assertion_type` of a signed token (RFC 7523 §2.2).
const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A form that is wiped when dropped, and never moved while it grows.
pub(crate) struct Form<'a> {
    fields: Vec<(&'a str, &'a str)>,
    speaks_for_the_client: bool,
}

impl<'a> Form<'a> {
    pub(crate) fn new() -> Self {
        Self {
            fields: Vec::new(),
            speaks_for_the_client: false,
        }
    }

    pub(crate) fn with(mut self, name: &'a str, value: &'a str) -> Self {
        self.fields.push((name, value));
        self
    }

    /// What is in it says who the client is, so that a client without a proof need not.
    pub(crate) fn speaking_for_the_client(mut self) -> Self {
        self.speaks_for_the_client = true;
        self
    }

    pub(crate) fn with_some(self, name: &'a str, value: Option<&'a str>) -> Self {
        match value {
            Some(value) if !value.is_empty() => self.with(name, value),
            _ => self,
        }
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Escaping makes three bytes of one at most; `=` and `&` are two more.
        let room = self
            .fields
            .iter()
            .map(|(name, value)| 3 * (name.len() + value.len()) + 2)
            .sum();
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(room));
        form.extend_pairs(&self.fields);
        Zeroizing::new(form.finish().into_bytes())
    }

    /// A POST of this form to `url`, by `client` (RFC 6749 §2.3, §3.2.1).
    pub(crate) fn post(
        mut self,
        url: Url,
        client: Client<'a>,
    ) -> Result<Outgoing, TransportFailure> {
        let provider = client.provider;
        let mut headers = HeaderMap::new();
        let mut certificate = None;
        // Outlives the form, which borrows it.
        let assertion;
        match (provider.client_auth, client.credential) {
            (ClientAuth::Basic, Credential::Secret(secret)) => {
                headers.insert(header::AUTHORIZATION, basic(&provider.client_id, secret)?);
            }
            (ClientAuth::Post, Credential::Secret(secret)) => {
                self = self
                    .with("client_id", &provider.client_id)
                    .with("client_secret", secret.expose());
            }
            (ClientAuth::PrivateKeyJwt, Credential::Key(signer)) => {
                assertion = signer
                    .client_assertion(provider, client.ambient)
                    .ok_or(TransportFailure::Unsigned)?;
                return self
                    .with("client_id", &provider.client_id)
                    .with("client_assertion_type", CLIENT_ASSERTION)
                    .with("client_assertion", assertion.expose())
                    .outgoing(url, headers, None);
            }
            (ClientAuth::Tls, Credential::Certificate(held)) => {
                certificate = Some(Arc::clone(held));
                self = self.with("client_id", &provider.client_id);
            }
            // Who says it all in what is exchanged has no more to say of itself (RFC 7523 §2.1).
            _ if self.speaks_for_the_client => {}
            _ => self = self.with("client_id", &provider.client_id),
        }
        self.outgoing(url, headers, certificate)
    }

    fn outgoing(
        self,
        url: Url,
        mut headers: HeaderMap,
        certificate: Option<Arc<ClientCertificate>>,
    ) -> Result<Outgoing, TransportFailure> {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        Ok(Outgoing {
            method: Method::POST,
            url,
            headers,
            body: self.encode(),
            cap: TOKEN_CAP,
            certificate,
        })
    }
}

/// `client_secret_basic`: id and secret are form-encoded first (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, TransportFailure> {
    let room = 3 * (client_id.len() + secret.expose().len()) + 1;
    let mut pair = Zeroizing::new(String::with_capacity(room));
    pair.extend(form_urlencoded::byte_serialize(client_id.as_bytes()));
    pair.push(':');
    pair.extend(form_urlencoded::byte_serialize(secret.expose().as_bytes()));
    let mut value = Zeroizing::new(String::with_capacity("Basic ".len() + 4 * (room / 3 + 1)));
    value.push_str("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut value);
    sensitive(&value)
}

#[cfg(test)]
mod tests {
    use authd_core::{grant::Provider, time::Now};

    use super::*;
    use crate::client::Ambient;

    struct Nothing;

    impl Ambient for Nothing {
        fn now(&self) -> Now {
            Now::default()
        }

        fn random(&self) -> Option<u128> {
            None
        }
    }

    fn sent(auth: ClientAuth, secret: Option<&Secret>) -> (Option<String>, String) {
        let provider = Provider {
            client_id: "a b:c".into(),
            client_auth: auth,
            ..Provider::default()
        };
        let url = Url::parse("https://idp.example/token").unwrap();
        let client = Client {
            provider: &provider,
            credential: &secret.cloned().into(),
            ambient: &Nothing,
        };
        let outgoing = Form::new()
            .with("grant_type", "refresh_token")
            .with_some("scope", Some(""))
            .with_some("resource", None)
            .post(url, client)
            .ok()
            .unwrap();
        let header = outgoing.headers.get(header::AUTHORIZATION);
        let header = header.map(|value| {
            assert!(value.is_sensitive());
            value.to_str().unwrap().to_owned()
        });
        (header, String::from_utf8(outgoing.body.to_vec()).unwrap())
    }

    #[test]
    fn basic_encodes_id_and_secret_before_base64() {
        let secret = Secret::new("s&c:r%t ü");
        let (header, body) = sent(ClientAuth::Basic, Some(&secret));
        let header = header.unwrap();
        let pair = STANDARD
            .decode(header.strip_prefix("Basic ").unwrap())
            .unwrap();
        assert_eq!(pair, b"a+b%3Ac:s%26c%3Ar%25t+%C3%BC");
        assert_eq!(body, "grant_type=refresh_token");
    }

    #[test]
    fn post_puts_both_into_the_body_and_a_public_client_its_id_alone() {
        let secret = Secret::new("s&c");
        assert_eq!(
            sent(ClientAuth::Post, Some(&secret)),
            (
                None,
                "grant_type=refresh_token&client_id=a+b%3Ac&client_secret=s%26c".into()
            )
        );
        for (auth, secret) in [
            (ClientAuth::None, Some(&secret)),
            (ClientAuth::None, None),
            (ClientAuth::Basic, None),
        ] {
            assert_eq!(
                sent(auth, secret),
                (None, "grant_type=refresh_token&client_id=a+b%3Ac".into())
            );
        }
    }
}
