//! Who asks: the client, as every request to a provider needs it.

use std::sync::Arc;

use authd_core::{grant::Provider, secret::Secret, time::Now};

use crate::{assertion::Signer, certificate::ClientCertificate};

/// The client at its provider, and what it proves itself with.
///
/// Every request takes one, so that what proves a client can grow without each of them changing.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// The provider, with our `client_id` there and the way it wants us to prove ourselves.
    pub provider: &'a Provider,
    /// What we prove it with.
    pub credential: &'a Credential,
    /// The time, and chance.
    pub ambient: &'a dyn Ambient,
}

/// The time, and chance: what a request to a provider takes from around it.
pub trait Ambient: Send + Sync {
    /// The time.
    fn now(&self) -> Now;

    /// A number that nobody can guess; `None` when the system gives none.
    fn random(&self) -> Option<u128>;
}

/// What a client proves itself with at the token endpoint and its kin (RFC 6749 §2.3). It cannot be
/// printed.
#[derive(Clone, Default)]
pub enum Credential {
    /// Nothing: a public client, or one whose credential is not at hand.
    #[default]
    None,
    /// A secret that both sides know (`client_secret_basic`, `client_secret_post`).
    Secret(Secret),
    /// A key that signs assertions (`private_key_jwt`; RFC 7523 §2.2). It also signs those of the JWT
    /// bearer grant (RFC 7523 §2.1).
    Key(Arc<Signer>),
    /// A certificate for the TLS handshake (`tls_client_auth`, `self_signed_tls_client_auth`; RFC 8705
    /// §2).
    Certificate(Arc<ClientCertificate>),
}

impl Credential {
    /// What goes over the wire as it is, and must not come back in a text that is printed.
    pub(crate) fn sent(&self) -> Option<&Secret> {
        match self {
            Self::Secret(secret) => Some(secret),
            Self::None | Self::Key(_) | Self::Certificate(_) => None,
        }
    }
}

impl From<Option<Secret>> for Credential {
    fn from(secret: Option<Secret>) -> Self {
        secret.map_or(Self::None, Self::Secret)
    }
}
