//! Signed tokens: JSON Web Signatures in compact form (RFC 7515 §7.1), made and checked.
//!
//! One place for all that authd signs (DPoP proofs, RFC 9449; client assertions, RFC 7523) and for all
//! whose signature it checks (JARM). The mathematics is ring's, which TLS brings anyway. What a token
//! claims is the business of who asks: here it is only whether the signature holds.
//!
//! ring draws the randomness of a signature from the operating system itself, so that it alone, of all
//! the randomness in this crate, is no argument.

mod key;
mod verify;

use authd_core::secret::Secret;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

pub use self::{
    key::{BadKey, SigningKey},
    verify::{KeySet, SignatureError, Verified},
};

/// How a token is signed (RFC 7518 §3.1, RFC 8037 §3.1): the asymmetric ones in common use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    Rs256,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Es256, Self::Rs256, Self::Ps256, Self::EdDsa];

    /// The value of `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// By the value of `alg`. `none` is not among them, nor is anything symmetric.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// Why nothing was signed. Neither happens with an algorithm that the key offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The key is of another kind. The user must name another algorithm or another key.
    #[error("the key cannot sign by {}", .0.name())]
    Algorithm(Algorithm),
    /// The system gave no randomness, or the parts of an RSA key do not belong together.
    #[error("the key did not sign")]
    Failed,
}

/// Of RSA with 4096 bits, in base64url.
const LONGEST_SIGNATURE: usize = 683;

/// `claims` signed by `key`. The header holds `alg` and the members of `header` (`typ`, `kid`, `jwk`);
/// an `alg` among these is overruled.
///
/// The token is a secret: whoever holds an assertion or a proof can use it while it is new.
///
/// # Errors
/// [`SigningError`].
pub fn sign(
    key: &SigningKey,
    algorithm: Algorithm,
    mut header: Map<String, Value>,
    claims: &Map<String, Value>,
) -> Result<Secret, SigningError> {
    header.insert("alg".to_owned(), algorithm.name().into());
    let (header, claims) = (encoded(&header), encoded(claims));
    // In one piece: what a growing one leaves behind is not wiped.
    let mut token = String::with_capacity(header.len() + claims.len() + LONGEST_SIGNATURE + 2);
    token.push_str(&header);
    token.push('.');
    token.push_str(&claims);
    let signature = key.sign(algorithm, token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(Secret::from(token))
}

/// What a token claims, whoever signed it; good for nothing but to tell whether it is worth a check.
pub(crate) fn unverified(token: &str) -> Option<Map<String, Value>> {
    let claims = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

fn encoded(members: &Map<String, Value>) -> String {
    // A map with string keys always serializes.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(members).unwrap_or_default())
}

#[cfg(test)]
mod tests;
