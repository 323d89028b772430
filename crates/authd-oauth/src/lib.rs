//! OAuth 2.0 for authd: the one crate that speaks HTTP to providers.
//!
//! | Flow | Here |
//! |---|---|
//! | Discovery (RFC 8414, OpenID Connect Discovery) | [`discover`] |
//! | Protected resources (RFC 9728) and their challenges (RFC 6750 §3) | [`protected_resource`](fn@protected_resource), [`Challenge`] |
//! | Clients that register themselves (RFC 7591) | [`register`] |
//! | Authorization code with PKCE (RFC 6749 §4.1, RFC 7636, RFC 9207) | [`AuthorizationAttempt`] |
//! | Pushed authorization requests (RFC 9126) | [`push`] |
//! | Signed authorization responses (JARM) | [`Jarm`] |
//! | Loopback redirect (RFC 8252 §7.3) | [`LoopbackRedirect`] |
//! | Device authorization (RFC 8628) | [`authorize_device`] |
//! | Token endpoint (RFC 6749 §3.2) | [`exchange`](fn@exchange) |
//! | Revocation (RFC 7009) | [`revoke`] |
//! | End of the browser's session (RP-Initiated Logout) | [`end_session_url`] |
//! | Introspection (RFC 7662) | [`introspect`] |
//! | Whether two resource indicators are one (RFC 8707) | [`ResourceIndicator`] |
//! | A look that costs nothing | [`probe`](fn@probe) |
//! | Proof of possession (RFC 9449) | [`DpopKey`], [`DpopServers`] |
//! | What is known of providers, as data | [`preset`] |
//! | Signed tokens (RFC 7515) | [`sign`], [`KeySet`] |
//! | Who signed in (OpenID Connect Core) | [`exchange`](fn@exchange) by the ID token, [`userinfo`](fn@userinfo) |
//!
//! Facts are gathered here and judged in `authd-core`. Time and randomness are arguments. Nothing
//! with a secret in it can be printed, and what providers say is made fit to print.

mod assertion;
mod authorization_code;
mod certificate;
mod challenge;
mod client;
mod device_authorization;
mod document;
mod dpop;
mod end_session;
mod error;
mod exchange;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod id_token;
mod introspection;
mod jarm;
mod jws;
mod loopback;
mod metadata;
pub mod preset;
mod probe;
mod protected_resource;
mod pushed;
mod registration;
mod request;
mod resource;
mod response;
mod revocation;
mod text;
mod userinfo;

pub use self::{
    assertion::{BadSigner, Signer, SignerOptions},
    authorization_code::{
        AuthorizationAttempt, AuthorizationError, AuthorizationGrant, AuthorizationRequest,
        AuthorizationResponse, BadAuthorizationRequest, BadQuery,
    },
    certificate::{BadCertificate, ClientCertificate},
    challenge::{BadChallenge, Challenge, LONGEST_CHALLENGE},
    client::{Ambient, Client, Credential},
    device_authorization::{DeviceAuthorization, authorize_device},
    dpop::{Dpop, DpopKey, DpopServers, ProofError, ProofRequest, Proving},
    end_session::end_session_url,
    error::{EndpointError, Refusal},
    exchange::{ExchangeRequest, Exchanged, ID_TOKEN_REJECTED, Surroundings, exchange},
    http::{
        BadEndpoint, BadHost, BadRoots, ExplicitProxy, HostList, Http, HttpConfig, HttpConfigError,
        Later, PrivateAddresses, ProxyConfig, ProxyLogin, ProxyOrigin, ProxyPassword,
        TransportError, TransportFailure, roots_from_pem,
    },
    id_token::IdTokenError,
    introspection::{Introspection, introspect},
    jarm::{Jarm, JarmError},
    jws::{Algorithm, BadKey, KeySet, SignatureError, SigningError, SigningKey, Verified, sign},
    loopback::{BadRedirectUri, DEFAULT_REDIRECT_URI, LoopbackError, LoopbackRedirect},
    metadata::{BadIssuer, DiscoveryError, Metadata, Unusable, check_endpoints, discover},
    probe::{Portal, Probed, clock_ahead, probe},
    protected_resource::{ProtectedResource, ResourceError, protected_resource},
    pushed::push,
    registration::{Registered, RegistrationError, RegistrationRequest, Unfit, register},
    resource::{Likeness, ResourceIndicator},
    response::Tokens,
    revocation::{Revocation, RevocationFailure, TokenTypeHint, revoke},
    userinfo::userinfo,
};
