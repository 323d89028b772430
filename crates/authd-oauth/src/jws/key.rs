//! Private keys, from whatever form a person has them in.

use authd_core::secret::Secret;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeyPairComponents, PublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
    },
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Algorithm, SigningError};
use crate::response::Members;

/// A private key. It cannot be printed.
pub struct SigningKey(Pair);

enum Pair {
    P256(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

/// Why a key cannot be used. The user must give another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Neither PEM, nor a JWK, nor PKCS #8.
    #[error("there is no private key in it (PEM or JWK)")]
    Unreadable,
    /// It is locked by a passphrase.
    #[error("the key is locked by a passphrase; give it unlocked")]
    Encrypted,
    /// No P-256, RSA (2048 to 4096 bits) or Ed25519 key, or one whose parts do not belong together.
    #[error("the key is none of P-256, RSA with 2048 to 4096 bits and Ed25519, or is damaged")]
    Unsupported,
}

impl SigningKey {
    /// From PEM: `PRIVATE KEY` (PKCS #8), `EC PRIVATE KEY` (SEC 1) or `RSA PRIVATE KEY` (PKCS #1). The
    /// first private key counts.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_pem(pem: &str) -> Result<Self, BadKey> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
            if pem.contains("ENCRYPTED") {
                BadKey::Encrypted
            } else {
                BadKey::Unreadable
            }
        })?;
        match &der {
            PrivateKeyDer::Pkcs8(pkcs8) => Self::from_pkcs8(pkcs8.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(sec1) => {
                let pkcs8 = p256_pkcs8(sec1.secret_sec1_der()).ok_or(BadKey::Unsupported)?;
                Self::from_pkcs8(&pkcs8)
            }
            PrivateKeyDer::Pkcs1(pkcs1) => RsaKeyPair::from_der(pkcs1.secret_pkcs1_der())
                .map(|pair| Self(Pair::Rsa(Box::new(pair))))
                .map_err(|_| BadKey::Unsupported),
            _ => Err(BadKey::Unsupported),
        }
    }

    /// From PKCS #8 in DER (RFC 5208, RFC 5958). One of an elliptic curve must hold the public key, as
    /// all common tools write it.
    ///
    /// # Errors
    /// [`BadKey::Unsupported`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, BadKey> {
        let p256 = || {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new())
                .map(Pair::P256)
        };
        let rsa = || RsaKeyPair::from_pkcs8(der).map(|pair| Pair::Rsa(Box::new(pair)));
        let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519);
        p256()
            .or_else(|_| rsa())
            .or_else(|_| ed25519())
            .map(Self)
            .map_err(|_| BadKey::Unsupported)
    }

    /// From a private JWK (RFC 7517; RFC 7518 §6.2 and §6.3; RFC 8037 §2). An RSA key must hold its
    /// primes.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_jwk(json: &str) -> Result<Self, BadKey> {
        let jwk = Members::from_json(json.as_bytes()).ok_or(BadKey::Unreadable)?;
        let part = |name| {
            let text = jwk.text(name).ok_or(BadKey::Unsupported)?;
            URL_SAFE_NO_PAD
                .decode(text)
                .map(Zeroizing::new)
                .map_err(|_| BadKey::Unsupported)
        };
        let pair = match (jwk.text("kty"), jwk.text("crv")) {
            (Some("EC"), Some("P-256")) => EcdsaKeyPair::from_private_key_and_public_key(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                &part("d")?,
                &uncompressed(&part("x")?, &part("y")?),
                &SystemRandom::new(),
            )
            .map(Pair::P256),
            (Some("RSA"), _) => RsaKeyPair::from_components(&KeyPairComponents {
                public_key: PublicKeyComponents {
                    n: part("n")?,
                    e: part("e")?,
                },
                d: part("d")?,
                p: part("p")?,
                q: part("q")?,
                dP: part("dp")?,
                dQ: part("dq")?,
                qInv: part("qi")?,
            })
            .map(|pair| Pair::Rsa(Box::new(pair))),
            (Some("OKP"), Some("Ed25519")) => {
                Ed25519KeyPair::from_seed_and_public_key(&part("d")?, &part("x")?)
                    .map(Pair::Ed25519)
            }
            (Some(_), _) => return Err(BadKey::Unsupported),
            (None, _) => return Err(BadKey::Unreadable),
        };
        pair.map(Self).map_err(|_| BadKey::Unsupported)
    }

    /// A new P-256 key in PKCS #8, for the store; its randomness is the operating system's. `None` when
    /// that gives none.
    #[must_use]
    pub fn generate_p256() -> Option<Zeroizing<Vec<u8>>> {
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .ok()
            .map(|document| Zeroizing::new(document.as_ref().to_vec()))
    }

    /// What it can sign by, the preferred first.
    #[must_use]
    pub const fn algorithms(&self) -> &'static [Algorithm] {
        match &self.0 {
            Pair::P256(_) => &[Algorithm::Es256],
            Pair::Rsa(_) => &[Algorithm::Rs256, Algorithm::Ps256],
            Pair::Ed25519(_) => &[Algorithm::EdDsa],
        }
    }

    /// The public half as a JWK: the required members alone (RFC 7638 §3.2).
    #[must_use]
    pub fn public_jwk(&self) -> Map<String, Value> {
        let text = |bytes: &[u8]| Value::from(URL_SAFE_NO_PAD.encode(bytes));
        let members: Vec<(&str, Value)> = match &self.0 {
            Pair::P256(pair) => {
                // Uncompressed: 0x04, x, y.
                let point = pair.public_key().as_ref();
                vec![
                    ("crv", "P-256".into()),
                    ("kty", "EC".into()),
                    ("x", text(&point[1..33])),
                    ("y", text(&point[33..65])),
                ]
            }
            Pair::Rsa(pair) => {
                let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
                vec![
                    ("e", text(&public.e)),
                    ("kty", "RSA".into()),
                    ("n", text(&public.n)),
                ]
            }
            Pair::Ed25519(pair) => vec![
                ("crv", "Ed25519".into()),
                ("kty", "OKP".into()),
                ("x", text(pair.public_key().as_ref())),
            ],
        };
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// The SHA-256 thumbprint of the public half (RFC 7638 §3), in base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        // In the order of the names, without a blank; serde_json's own order hangs on its features.
        let members: std::collections::BTreeMap<_, _> = self.public_jwk().into_iter().collect();
        let canonical = serde_json::to_vec(&members).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
    }

    pub(super) fn sign(
        &self,
        algorithm: Algorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, SigningError> {
        let random = SystemRandom::new();
        let signed = match (&self.0, algorithm) {
            (Pair::P256(pair), Algorithm::Es256) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec()),
            (Pair::Rsa(pair), Algorithm::Rs256 | Algorithm::Ps256) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .map(|()| signature)
            }
            (Pair::Ed25519(pair), Algorithm::EdDsa) => Ok(pair.sign(message).as_ref().to_vec()),
            _ => return Err(SigningError::Algorithm(algorithm)),
        };
        signed.map_err(|_| SigningError::Failed)
    }
}

/// From PEM or a JWK, whichever `text` is.
impl TryFrom<&Secret> for SigningKey {
    type Error = BadKey;

    fn try_from(text: &Secret) -> Result<Self, BadKey> {
        if text.expose().trim_start().starts_with('{') {
            Self::from_jwk(text.expose())
        } else {
            Self::from_pem(text.expose())
        }
    }
}

/// A point of P-256 as ring takes it: uncompressed.
pub(super) fn uncompressed(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

/// A SEC 1 key of P-256 in the PKCS #8 frame that ring reads. `None` when it is too long for one of
/// P-256. Whether it is one is seen when it is read: ring checks it against the curve.
fn p256_pkcs8(sec1: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    /// Version 0; the algorithm: id-ecPublicKey on prime256v1.
    const HEAD: [u8; 24] = [
        0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
        0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ];
    /// A length of one byte in the long form (X.690 §8.1.3.5), which every length here takes.
    const ONE_BYTE: u8 = 0x81;
    let inner = u8::try_from(sec1.len()).ok()?;
    let outer = u8::try_from(HEAD.len() + 3 + sec1.len()).ok()?;
    // DER wants the short form below 128; a SEC 1 key without its public half is that short, and is
    // of no use to ring anyway.
    let key_length: &[u8] = if inner < 0x80 {
        &[inner]
    } else {
        &[ONE_BYTE, inner]
    };
    let outer = if inner < 0x80 { outer - 1 } else { outer };
    let mut der = Zeroizing::new(Vec::with_capacity(256));
    der.extend_from_slice(&[0x30, ONE_BYTE, outer]);
    der.extend_from_slice(&HEAD);
    der.push(0x04);
    der.extend_from_slice(key_length);
    der.extend_from_slice(sec1);
    Some(der)
}
