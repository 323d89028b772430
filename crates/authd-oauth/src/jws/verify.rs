//! Public keys, and whether a signature holds.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Map, Value};

use super::{Algorithm, key::uncompressed};

/// A JWK set (RFC 7517 §5) of public keys. What cannot be used in it is passed over, as §5 says.
pub struct KeySet(Vec<PublicKey>);

struct PublicKey {
    /// `kid`.
    id: Option<String>,
    /// `alg`, when the key is for that alone.
    algorithm: Option<String>,
    material: Material,
}

enum Material {
    P256(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ed25519(Vec<u8>),
}

/// A token whose signature holds.
pub struct Verified {
    /// The header's members.
    pub header: Map<String, Value>,
    /// What it claims. Nothing of it has been checked.
    pub claims: Map<String, Value>,
}

/// Why a token proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No JWS of a JSON object, or one with extensions that must be understood (`crit`).
    #[error("it is no signed token that can be read")]
    Malformed,
    /// The algorithm is not among those allowed.
    #[error("it is signed in a way that is not allowed")]
    Algorithm,
    /// No key of the set is the one that it names. The set may have been fetched before a rotation.
    #[error("it is signed by a key that is not among the published ones")]
    UnknownKey,
    /// The signature does not hold.
    #[error("its signature does not hold")]
    Signature,
}

impl KeySet {
    /// Reads a set. `None` when it is none.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let set: Value = serde_json::from_slice(json).ok()?;
        let keys = set.get("keys")?.as_array()?;
        Some(Self(keys.iter().filter_map(PublicKey::read).collect()))
    }

    /// Checks the signature of `token`, which must be by one of `allowed`.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, token: &str, allowed: &[Algorithm]) -> Result<Verified, SignatureError> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SignatureError::Malformed);
        };
        let signed = &token[..header.len() + 1 + claims.len()];
        let header = object(header)?;
        let claims = object(claims)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| SignatureError::Malformed)?;
        if header.contains_key("crit") {
            return Err(SignatureError::Malformed);
        }
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(Algorithm::named)
            .filter(|algorithm| allowed.contains(algorithm))
            .ok_or(SignatureError::Algorithm)?;
        let id = header.get("kid").and_then(Value::as_str);
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.is_for(algorithm) && (id.is_none() || key.id.as_deref() == id))
            .peekable();
        if fitting.peek().is_none() {
            return Err(SignatureError::UnknownKey);
        }
        if fitting.any(|key| key.holds(algorithm, signed.as_bytes(), &signature)) {
            Ok(Verified { header, claims })
        } else {
            Err(SignatureError::Signature)
        }
    }
}

impl PublicKey {
    fn read(jwk: &Value) -> Option<Self> {
        let text = |name| jwk.get(name).and_then(Value::as_str);
        let part = |name| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let material = match (text("kty")?, text("crv")) {
            ("EC", Some("P-256")) => Material::P256(uncompressed(&part("x")?, &part("y")?)),
            ("RSA", _) => Material::Rsa {
                n: part("n")?,
                e: part("e")?,
            },
            ("OKP", Some("Ed25519")) => Material::Ed25519(part("x")?),
            _ => return None,
        };
        Some(Self {
            id: text("kid").map(str::to_owned),
            algorithm: text("alg").map(str::to_owned),
            material,
        })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        let named = self.algorithm.as_deref();
        let fits = matches!(
            (&self.material, algorithm),
            (Material::P256(_), Algorithm::Es256)
                | (Material::Rsa { .. }, Algorithm::Rs256 | Algorithm::Ps256)
                | (Material::Ed25519(_), Algorithm::EdDsa)
        );
        fits && named.is_none_or(|named| named == algorithm.name())
    }

    fn holds(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let plain = |by: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(by, key).verify(message, signature)
        };
        let verified = match &self.material {
            Material::P256(point) => plain(&ECDSA_P256_SHA256_FIXED, point),
            Material::Ed25519(point) => plain(&ED25519, point),
            Material::Rsa { n, e } => {
                let by: &'static RsaParameters = match algorithm {
                    Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                RsaPublicKeyComponents { n, e }.verify(by, message, signature)
            }
        };
        verified.is_ok()
    }
}

fn object(part: &str) -> Result<Map<String, Value>, SignatureError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| SignatureError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| SignatureError::Malformed)
}
