//! Why no login begins, in words that say who must act.

use authd_core::policy::LONGEST_RESOURCE;
use authd_oauth::{
    BadAuthorizationRequest, DiscoveryError, EndpointError, LoopbackError, RegistrationError,
    ResourceError,
};
use authd_proto::{ErrorCode, WireError};

use crate::network::mends_the_way;

pub(crate) fn no_randomness() -> WireError {
    WireError::new(ErrorCode::Internal, "the system gives no random bytes")
}

pub(super) fn discovery_failed(error: DiscoveryError) -> WireError {
    let (code, hint) = match &error {
        DiscoveryError::Transport(error) => (ErrorCode::Unavailable, mends_the_way(error.failure)),
        DiscoveryError::IssuerMismatch { .. } => (
            ErrorCode::DiscoveryFailed,
            "give --issuer exactly as the provider names itself, to the last slash",
        ),
        DiscoveryError::NotFound { .. } => (
            ErrorCode::DiscoveryFailed,
            "give --authorization-endpoint and --token-endpoint",
        ),
        DiscoveryError::BadIssuer(_) => (
            ErrorCode::DiscoveryFailed,
            "an issuer is an https address, as the provider states it",
        ),
        DiscoveryError::Unusable { .. } => {
            (ErrorCode::DiscoveryFailed, "give the endpoints by hand")
        }
    };
    WireError::new(code, error.to_string()).with_hint(hint)
}

/// What an account's own issuer promises could not be read.
pub(super) fn unprotected(error: DiscoveryError) -> WireError {
    let hint = match &error {
        DiscoveryError::IssuerMismatch { .. } | DiscoveryError::BadIssuer(_) => {
            "find out whose server that is; log in with --issuer once you know it"
        }
        _ => "try again later: what the provider says there is what protects the login",
    };
    discovery_failed(error).with_hint(hint)
}

pub(super) fn no_listener(error: LoopbackError) -> WireError {
    match &error {
        LoopbackError::BadRedirectUri(_) => {
            WireError::new(ErrorCode::BadRequest, error.to_string())
                .with_hint("give --redirect-uri http://127.0.0.1:PORT/PATH as registered")
        }
        LoopbackError::Bind { address, source } => {
            let port = address.port();
            let who = if cfg!(target_os = "linux") {
                format!("'ss -ltnp sport = :{port}' says who has it")
            } else {
                format!("'lsof -nP -iTCP:{port}' says who has it")
            };
            WireError::new(ErrorCode::LoginFailed, format!("{error}: {source}"))
                .with_hint(format!("free the port ({who}), or log in with --device"))
        }
    }
}

pub(super) fn bad_request(error: BadAuthorizationRequest) -> WireError {
    let hint = match &error {
        BadAuthorizationRequest::NoEndpoint => "give --authorization-endpoint, or use --device",
        _ => "mend the argument",
    };
    WireError::new(ErrorCode::BadRequest, error.to_string()).with_hint(hint)
}

pub(super) fn no_device_code(error: EndpointError) -> WireError {
    let code = if error.is_transient() {
        ErrorCode::Unavailable
    } else {
        ErrorCode::LoginFailed
    };
    let hint = match &error {
        EndpointError::NotOffered => {
            "log in without --device, or give --device-authorization-endpoint"
        }
        EndpointError::Refused { .. } => "check the client id and the scopes",
        _ => "try again later, or log in without --device",
    };
    WireError::new(code, error.to_string()).with_hint(hint)
}

pub(super) fn bad(message: &str, hint: &str) -> WireError {
    WireError::new(ErrorCode::BadRequest, message).with_hint(hint)
}

pub(super) fn resource_too_long(resource: &str) -> WireError {
    let message = format!("a resource of {} bytes is too long", resource.len());
    WireError::new(ErrorCode::BadRequest, message)
        .with_hint(format!("{LONGEST_RESOURCE} bytes at most"))
}

/// The resource does not say where to log in.
pub(super) fn resource_failed(error: &ResourceError) -> WireError {
    let (code, hint) = match error {
        ResourceError::Transport(_) => (
            ErrorCode::Unavailable,
            "check the resource's address and the network".to_owned(),
        ),
        ResourceError::BadAddress(_) => (
            ErrorCode::BadRequest,
            "give --resource as an https address".to_owned(),
        ),
        ResourceError::NotFound { .. } => (
            ErrorCode::DiscoveryFailed,
            "check the address, or give --issuer too".to_owned(),
        ),
        ResourceError::ResourceMismatch { asked, found } => {
            let hint = match (origin(asked), origin(found)) {
                (Some(asked), Some(theirs)) if asked == theirs => {
                    format!("if that is what you mean, give --resource {found}")
                }
                _ => "somebody may be deceiving you: do not log in there".to_owned(),
            };
            (ErrorCode::DiscoveryFailed, hint)
        }
        ResourceError::BadMetadataAddress(_)
        | ResourceError::NoAuthorizationServer
        | ResourceError::BadAuthorizationServer(_) => (
            ErrorCode::DiscoveryFailed,
            "give --issuer too, if you know who protects it".to_owned(),
        ),
    };
    WireError::new(code, error.to_string()).with_hint(hint)
}

/// Scheme, host and port.
fn origin(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    Some(format!("{scheme}://{host}").to_ascii_lowercase())
}

/// The provider did not register this client.
pub(super) fn not_registered(error: &RegistrationError) -> WireError {
    if error.is_transient() {
        let message = format!("the provider cannot register this client now: {error}");
        return WireError::new(ErrorCode::Unavailable, message)
            .with_hint("try again later, or give --client-id if you have one");
    }
    client_id_required(format!(
        "the provider did not register this client: {error}"
    ))
}

pub(super) fn client_id_required(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::ClientIdRequired, message)
        .with_hint("register a client there yourself, and give its id with --client-id")
}

/// A token that another tool was given, and nobody says as which client.
pub(super) fn no_client_id() -> WireError {
    WireError::new(
        ErrorCode::ClientIdRequired,
        "no client id is given, and a refresh token is good for the client alone that it was given to",
    )
    .with_hint("give --client-id, as the other tool has it")
}

/// A secret that would go where only a resource says.
pub(super) fn secret_for_whom(issuer: &str) -> WireError {
    bad(
        "the client's secret would go where the resource says, and nobody else",
        &format!("if it is for {issuer}, give --issuer {issuer} too"),
    )
}
