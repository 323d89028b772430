//! Proof of possession (RFC 9449): tokens that are of use only with a key.
//!
//! A proof is a small signed token for one request: its method, its address, the moment, and at a
//! protected resource the access token. Whoever steals a token and not the key has stolen nothing.
//!
//! Two things a proof needs only the server knows, and both are learned from whatever it answers, and
//! kept for each origin in [`DpopServers`]: the nonce that it wants to see (§8, §9), and what time it
//! takes it to be. A proof is dated by the server's own clock, so a clock that is wrong on this machine
//! does no harm from the first answer on.

mod proofs;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use authd_core::{
    secret::Secret,
    time::{Boot, Now, Wall},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

pub(crate) use self::proofs::Proofs;
use crate::{
    client::Ambient,
    http::{TransportFailure, sensitive},
    jws::{Algorithm, BadKey, SigningError, SigningKey, sign},
    response::date,
};

/// Longest nonce believed, in bytes.
const NONCE_LEN: usize = 1024;
/// Origins remembered; beyond that the first in order gives way, and learns again.
const ORIGINS: usize = 1024;
/// A proof whose date was farther off than that was refused for its date. Servers overlook a few
/// seconds, some of them minutes (§11.1).
const FAR: Duration = Duration::from_secs(4);

const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The key pair of one grant (P-256, proofs by ES256). It cannot be printed.
pub struct DpopKey {
    key: SigningKey,
    stored: Secret,
}

impl DpopKey {
    /// A new one. `None` when the system gives no randomness.
    #[must_use]
    pub fn generate() -> Option<Self> {
        let pkcs8 = SigningKey::generate_p256()?;
        // Exactly as long as it must be, so that no shorter buffer is left behind.
        let mut text = String::with_capacity(pkcs8.len().div_ceil(3) * 4);
        URL_SAFE_NO_PAD.encode_string(pkcs8.as_slice(), &mut text);
        Self::from_stored(&Secret::from(text)).ok()
    }

    /// From what [`stored`](Self::stored) gave.
    ///
    /// # Errors
    /// [`BadKey`] when it is something else.
    pub fn from_stored(stored: &Secret) -> Result<Self, BadKey> {
        let pkcs8 = URL_SAFE_NO_PAD
            .decode(stored.expose())
            .map(zeroize::Zeroizing::new)
            .map_err(|_| BadKey::Unreadable)?;
        let key = SigningKey::from_pkcs8(&pkcs8)?;
        if key.algorithms() != [Algorithm::Es256] {
            return Err(BadKey::Unsupported);
        }
        Ok(Self {
            key,
            stored: stored.clone(),
        })
    }

    /// For the store: PKCS #8 in base64url.
    #[must_use]
    pub fn stored(&self) -> &Secret {
        &self.stored
    }

    /// `jkt`: what tokens are bound to (§6.1), the thumbprint of the public half (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.key.thumbprint()
    }

    /// A proof of possession (§4.2) for one request.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn proof(&self, request: ProofRequest<'_>) -> Result<Secret, ProofError> {
        let jti = request.jti.to_be_bytes();
        let mut claims = Map::from_iter([
            ("jti".to_owned(), URL_SAFE_NO_PAD.encode(jti).into()),
            ("htm".to_owned(), request.method.into()),
            ("htu".to_owned(), target(request.url)?.into()),
            ("iat".to_owned(), request.at.unix_secs().into()),
        ]);
        if let Some(nonce) = request.nonce {
            claims.insert("nonce".to_owned(), nonce.into());
        }
        if let Some(token) = request.access_token {
            let hash = Sha256::digest(token.expose().as_bytes());
            claims.insert("ath".to_owned(), URL_SAFE_NO_PAD.encode(hash).into());
        }
        let header = Map::from_iter([
            ("typ".to_owned(), "dpop+jwt".into()),
            ("jwk".to_owned(), Value::Object(self.key.public_jwk())),
        ]);
        Ok(sign(&self.key, Algorithm::Es256, header, &claims)?)
    }
}

/// The request that a proof is for.
#[derive(Clone, Copy)]
pub struct ProofRequest<'a> {
    /// The HTTP method, as it will be sent.
    pub method: &'a str,
    /// Where it goes; query and fragment are left out of the proof.
    pub url: &'a str,
    /// At a protected resource, the token that goes with it.
    pub access_token: Option<&'a Secret>,
    /// The nonce that the server wants, where it said one.
    pub nonce: Option<&'a str>,
    /// When, by the server's clock as far as that is known.
    pub at: Wall,
    /// 128 random bits: no two proofs have the same (§4.2 wants 96 at least).
    pub jti: u128,
}

/// Why there is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The caller must give the address of the request.
    #[error("the address of the request is no http or https URL")]
    Url,
    /// The system gave no randomness.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// Signing failed.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

/// `htu` (§4.2): scheme, authority and path.
fn target(url: &str) -> Result<String, ProofError> {
    let mut url = Url::parse(url).map_err(|_| ProofError::Url)?;
    let plain = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
        return Err(ProofError::Url);
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url.into())
}

/// What servers said about the proofs they want, by origin. Shared by all that speaks to them.
#[derive(Default)]
pub struct DpopServers(Mutex<BTreeMap<String, Heard>>);

#[derive(Clone, Default)]
struct Heard {
    /// The newest (§8.2).
    nonce: Option<String>,
    /// The server's `Date`, and when it came on a clock that nobody sets.
    date: Option<(Wall, Boot)>,
}

impl DpopServers {
    /// Takes what the headers of a response from `url` say.
    pub(crate) fn hear(&self, url: &Url, headers: &HeaderMap, now: Now) {
        let nonce = nonce(headers);
        let date = date(headers);
        if nonce.is_none() && date.is_none() {
            return;
        }
        let origin = url.origin().ascii_serialization();
        let mut origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if origins.len() >= ORIGINS && !origins.contains_key(&origin) {
            origins.pop_first();
        }
        let heard = origins.entry(origin).or_default();
        if nonce.is_some() {
            heard.nonce = nonce;
        }
        if let Some(date) = date {
            heard.date = Some((date, now.boot));
        }
    }

    /// The newest nonce of the server at `url`.
    pub(crate) fn nonce(&self, url: &Url) -> Option<String> {
        self.heard(url).nonce
    }

    /// What time it is at the server of that address: by its own `Date` where one came, else by our
    /// clock.
    #[must_use]
    pub fn time_at(&self, url: &str, now: Now) -> Wall {
        Url::parse(url).map_or(now.wall, |url| self.time(&url, now))
    }

    /// The same of an address that was read.
    pub(crate) fn time(&self, url: &Url, now: Now) -> Wall {
        match self.heard(url).date {
            Some((date, at)) => date.after(now.boot.since(at)),
            None => now.wall,
        }
    }

    fn heard(&self, url: &Url) -> Heard {
        let origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        origins
            .get(&url.origin().ascii_serialization())
            .cloned()
            .unwrap_or_default()
    }
}

/// `DPoP-Nonce` (§8.1): printable, and not without end.
pub(crate) fn nonce(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(DPOP_NONCE)?.to_str().ok()?;
    let fit = (1..=NONCE_LEN).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    fit.then(|| text.to_owned())
}

/// Puts a proof into the headers of a request.
pub(crate) fn attach(headers: &mut HeaderMap, proof: &Secret) -> Result<(), TransportFailure> {
    headers.insert(DPOP, sensitive(proof.expose())?);
    Ok(())
}

/// What proofs are made with.
#[derive(Clone, Copy)]
pub struct Dpop<'a> {
    /// The key of the grant.
    pub key: &'a DpopKey,
    /// What the servers said.
    pub servers: &'a DpopServers,
    /// Whether to prove from the start, or only when the server asks for it.
    pub when: Proving,
}

/// When an exchange comes with a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proving {
    /// Always: the grant is bound to the key, or is to be.
    Always,
    /// When the token endpoint refuses the request for want of a proof, and not before.
    WhenDemanded,
}

impl Dpop<'_> {
    /// A proof for a request to `url` now, with the newest nonce of that server; and the date it bears.
    pub(crate) fn proof(
        &self,
        method: &str,
        url: &Url,
        access_token: Option<&Secret>,
        ambient: &dyn Ambient,
    ) -> Result<(Secret, Wall), ProofError> {
        let at = self.servers.time(url, ambient.now());
        let nonce = self.servers.nonce(url);
        let proof = self.key.proof(ProofRequest {
            method,
            url: url.as_str(),
            access_token,
            nonce: nonce.as_deref(),
            at,
            jti: ambient.random().ok_or(ProofError::NoRandomness)?,
        })?;
        Ok((proof, at))
    }
}

/// Whether two moments are farther apart than a server can be asked to overlook.
pub(crate) fn far_apart(one: Wall, other: Wall) -> bool {
    one.since(other).max(other.since(one)) > FAR
}

#[cfg(test)]
mod tests;
