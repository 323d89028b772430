//! Assertions: short-lived tokens that the client signs itself (RFC 7521, RFC 7523).
//!
//! One form for both uses: to prove who the client is (`private_key_jwt`; RFC 7523 §2.2, OpenID Connect
//! Core §9) and to be exchanged for tokens (the JWT bearer grant; RFC 7523 §2.1).

use std::time::Duration;

use authd_core::{
    grant::{AssertionAudience, Provider},
    secret::Secret,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{
    client::Ambient,
    jws::{Algorithm, BadKey, SigningKey, sign},
    response::Members,
};

/// How long an assertion is good for. It is used at once; the rest is for clocks that differ.
const LIFETIME: Duration = Duration::from_secs(60);

/// A key with what has to be said of it. It cannot be printed.
pub struct Signer {
    key: SigningKey,
    key_id: Option<String>,
    algorithm: Algorithm,
    audience: Option<String>,
}

/// Why a key cannot sign assertions. The user must give another, or another algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSigner {
    /// The key itself.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// No such algorithm.
    #[error("the algorithm is none of ES256, RS256, PS256 and EdDSA")]
    UnknownAlgorithm,
    /// The key is of another type than the algorithm needs.
    #[error("the key is of a type that cannot sign by {}", .0.name())]
    WrongType(Algorithm),
}

/// What the caller says of a key beside the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignerOptions {
    /// `kid`, for providers that know several keys of one client; else that of the JWK, if it is one.
    pub key_id: Option<String>,
    /// `alg` by name; else what fits the key.
    pub algorithm: Option<String>,
    /// `aud`, in place of what the provider's profile says.
    pub audience: Option<String>,
}

impl Signer {
    /// Reads a private key in PEM or as a JWK. A JWK's own `kid` and `alg` count where `options` says
    /// nothing.
    ///
    /// # Errors
    /// [`BadSigner`].
    pub fn new(text: &Secret, options: SignerOptions) -> Result<Self, BadSigner> {
        let key = SigningKey::try_from(text)?;
        let jwk = Members::from_json(text.expose().as_bytes());
        let own = |name| Some(jwk.as_ref()?.text(name)?.to_owned());
        let algorithm = match options.algorithm.or_else(|| own("alg")) {
            Some(name) => Algorithm::named(&name).ok_or(BadSigner::UnknownAlgorithm)?,
            None => key.algorithms()[0],
        };
        if !key.algorithms().contains(&algorithm) {
            return Err(BadSigner::WrongType(algorithm));
        }
        Ok(Self {
            key_id: options.key_id.or_else(|| own("kid")),
            algorithm,
            key,
            audience: options.audience,
        })
    }

    /// The public half, as what a provider is given at registration: a JWK with `kid`, `alg` and `use`.
    #[must_use]
    pub fn public_jwk(&self) -> Map<String, Value> {
        let mut jwk = self.key.public_jwk();
        jwk.insert("alg".to_owned(), self.algorithm.name().into());
        jwk.insert("use".to_owned(), "sig".into());
        if let Some(key_id) = &self.key_id {
            jwk.insert("kid".to_owned(), key_id.as_str().into());
        }
        jwk
    }

    /// The proof of who the client is: `iss` and `sub` are its id (RFC 7523 §3).
    pub(crate) fn client_assertion(
        &self,
        provider: &Provider,
        ambient: &dyn Ambient,
    ) -> Option<Secret> {
        let id = provider.client_id.as_str();
        let audience = self.audience.as_deref().unwrap_or(audience(provider));
        self.assert(id, id, audience, None, ambient)
    }

    /// What is exchanged for tokens at the token endpoint: about `subject`, else about the issuer
    /// itself. The audience is the token endpoint (RFC 7523 §3, rule 3), and the scope stands inside
    /// too, where Google looks for it.
    pub(crate) fn grant_assertion(
        &self,
        provider: &Provider,
        subject: Option<&str>,
        scope: &str,
        ambient: &dyn Ambient,
    ) -> Option<Secret> {
        let id = provider.client_id.as_str();
        let audience = self.audience.as_deref();
        let audience = audience.unwrap_or(&provider.endpoints.token);
        let scope = (!scope.is_empty()).then_some(scope);
        self.assert(id, subject.unwrap_or(id), audience, scope, ambient)
    }

    fn assert(
        &self,
        issuer: &str,
        subject: &str,
        audience: &str,
        scope: Option<&str>,
        ambient: &dyn Ambient,
    ) -> Option<Secret> {
        let now = ambient.now().wall;
        let jti = URL_SAFE_NO_PAD.encode(ambient.random()?.to_be_bytes());
        let mut claims = Map::from_iter([
            ("iss".to_owned(), Value::from(issuer)),
            ("sub".to_owned(), subject.into()),
            ("aud".to_owned(), audience.into()),
            ("jti".to_owned(), jti.into()),
            ("iat".to_owned(), now.unix_secs().into()),
            ("exp".to_owned(), now.after(LIFETIME).unix_secs().into()),
        ]);
        if let Some(scope) = scope {
            claims.insert("scope".to_owned(), scope.into());
        }
        let mut header = Map::from_iter([("typ".to_owned(), Value::from("JWT"))]);
        if let Some(key_id) = &self.key_id {
            header.insert("kid".to_owned(), key_id.as_str().into());
        }
        sign(&self.key, self.algorithm, header, &claims).ok()
    }
}

/// Whom a client assertion is for. The issuer where it is known, because an assertion for one
/// authorization server must be worth nothing at another (the update of RFC 7523 makes it the only
/// value); some providers want their token endpoint, and their profile says so.
fn audience(provider: &Provider) -> &str {
    match (provider.profile.assertion_audience, &provider.issuer) {
        (AssertionAudience::Issuer, Some(issuer)) => issuer,
        _ => &provider.endpoints.token,
    }
}

#[cfg(test)]
mod tests;
