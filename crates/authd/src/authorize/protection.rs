//! What protects a login beyond its PKCE: a key that its tokens are bound to (RFC 9449), a request that is
//! pushed (RFC 9126), an answer that is signed (JARM).

use std::{sync::Arc, time::Duration};

use authd_core::grant::Provider;
use authd_oauth::{
    AuthorizationAttempt, Client, DpopKey, EndpointError, Http, Jarm, Metadata, Proving, push,
};
use authd_proto::{ErrorCode, WireError};

use super::begin::no_randomness;
use crate::daemon::Shared;

/// The key of a login, and when it is proved to be held.
#[derive(Clone)]
pub(crate) struct Binding {
    pub(crate) key: Arc<DpopKey>,
    pub(crate) when: Proving,
}

/// What a login is protected by.
#[derive(Default)]
pub(super) struct Protections {
    pub(super) binding: Option<Binding>,
    push_required: bool,
    signed: Signed,
}

/// Whether the provider signs its answer.
#[derive(Default)]
enum Signed {
    #[default]
    No,
    /// By the keys that are found there.
    By { jwks_uri: String },
}

/// Who wants tokens bound to a key.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    /// The person, at this login: that they are, or that they are not any more.
    pub(super) asked: Option<bool>,
    /// The account's tokens are bound already.
    pub(super) before: bool,
}

impl Protections {
    /// By what the provider's metadata and profile say. Without metadata the word of the person counts.
    pub(super) fn choose(
        wish: Wish,
        provider: &Provider,
        metadata: Option<&Metadata>,
    ) -> Result<Self, WireError> {
        let takes_dpop = metadata.map(Metadata::takes_dpop);
        let wanted = wish.asked.unwrap_or(wish.before || provider.profile.dpop);
        if wanted && takes_dpop == Some(false) {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                "the provider takes no proofs of possession by ES256",
            )
            .with_hint(match wish.asked {
                Some(_) => "log in without --dpop",
                // Nobody is to find out later that their tokens work for whoever has them.
                None => {
                    "the account's tokens were bound to a key; log in with --no-dpop to do without"
                }
            }));
        }
        let when = match (wanted, takes_dpop) {
            (true, None | Some(true)) => Some(Proving::Always),
            (false, Some(true)) => Some(Proving::WhenDemanded),
            _ => None,
        };
        let binding = when.map(|when| {
            let key = DpopKey::generate().ok_or_else(no_randomness)?;
            Ok::<_, WireError>(Binding {
                key: Arc::new(key),
                when,
            })
        });
        let signs = provider.profile.jarm || metadata.is_some_and(Metadata::insists_on_jarm);
        Ok(Self {
            binding: binding.transpose()?,
            push_required: metadata.is_some_and(|it| it.require_pushed_authorization_requests),
            signed: if signs {
                let jwks_uri = metadata.and_then(|metadata| metadata.jwks_uri.clone());
                Signed::By {
                    jwks_uri: jwks_uri.ok_or_else(no_keys)?,
                }
            } else {
                Signed::No
            },
        })
    }

    /// `dpop_jkt`: only where proofs will be sent for certain is the code bound to the key.
    pub(super) fn jkt(&self) -> Option<String> {
        let binding = self.binding.as_ref()?;
        (binding.when == Proving::Always).then(|| binding.key.thumbprint())
    }

    /// The keys that the provider's answer is to be checked by.
    pub(super) async fn jarm(
        &self,
        daemon: &Shared,
        http: &Http,
    ) -> Result<Option<Jarm>, WireError> {
        let Signed::By { jwks_uri } = &self.signed else {
            return Ok(None);
        };
        let fetched =
            Jarm::fetch(http, jwks_uri, Arc::<crate::daemon::Daemon>::clone(daemon)).await;
        fetched.map(Some).map_err(|error| {
            let message = format!("the keys that the provider signs its answer by: {error}");
            WireError::new(code(&error), message).with_hint("try again later")
        })
    }

    /// Pushes the request where the provider takes that, and says how long the browser has to get there.
    /// Where the provider does not insist, a push that brought neither a yes nor a no is done without.
    pub(super) async fn push(
        &self,
        http: &Http,
        client: Client<'_>,
        attempt: &mut AuthorizationAttempt,
    ) -> Result<Option<Duration>, WireError> {
        let error = match push(http, client, attempt).await {
            Ok(expires_in) => return Ok(expires_in),
            Err(error) => error,
        };
        let is_refusal = matches!(error, EndpointError::Refused { .. }) && !error.is_transient();
        if !self.push_required && !is_refusal {
            if !matches!(error, EndpointError::NotOffered) {
                tracing::warn!(%error, "the login goes on with a request that is not pushed");
            }
            return Ok(None);
        }
        let message = match error {
            EndpointError::NotOffered => {
                "the provider wants pushed requests and does not say where".to_owned()
            }
            _ => format!("the provider did not take the authorization request: {error}"),
        };
        let hint = if is_refusal {
            "check the client id, its authentication, the redirect URI and the scopes"
        } else {
            "try again later"
        };
        Err(WireError::new(code(&error), message).with_hint(hint))
    }
}

fn code(error: &EndpointError) -> ErrorCode {
    if error.is_transient() {
        ErrorCode::Unavailable
    } else {
        ErrorCode::LoginFailed
    }
}

fn no_keys() -> WireError {
    WireError::new(
        ErrorCode::DiscoveryFailed,
        "the provider signs its answers and does not say by which keys",
    )
    .with_hint("give --issuer, so that its metadata can be read")
}
