//! The engine's refusals in the wire's words: one place for what a person reads.

use std::time::Duration;

use authd_core::{
    broker::{LoginFailure, Refusal, Unavailable},
    flag::{LoginReason, StaleStore},
    id::Account,
    policy::{LONGEST_RESOURCE, MOST_LEASES},
};
use authd_proto::{ErrorCode, WireError};

/// What a client hears that gets no token of `account`.
pub(crate) fn token(account: &Account, refusal: Refusal) -> WireError {
    let login = format!("run 'authctl login {account}'");
    let error = match refusal {
        Refusal::UnknownAccount => super::unknown_account(account.as_str()),
        Refusal::LoginRequired(reason) => {
            WireError::new(ErrorCode::LoginRequired, login_reason(&reason)).with_hint(login)
        }
        Refusal::Unavailable { why, retry_after } => {
            let (code, message) = unavailable(why);
            let error = WireError::new(code, message);
            match retry_after {
                Some(after) => error.with_retry_after_secs(ceil(after)),
                None => error,
            }
        }
        Refusal::MaxTtlExceeded { max_ttl } => WireError::new(
            ErrorCode::MaxTtlExceeded,
            format!(
                "no token of this account can have more than {} s left",
                max_ttl.as_secs()
            ),
        )
        .with_max_ttl_secs(max_ttl.as_secs()),
        Refusal::NotGranted(scopes) => WireError::new(
            ErrorCode::InsufficientScope,
            format!("the login was not granted: {scopes}"),
        )
        .with_hint(format!("run 'authctl login {account} --scope …' with it")),
        Refusal::NotNamed(resource) => WireError::new(
            ErrorCode::InsufficientScope,
            format!("the login does not cover the resource {resource}"),
        )
        .with_hint(format!(
            "run 'authctl login {account} --resource …' with it"
        )),
        Refusal::ResourceTooLong => WireError::new(
            ErrorCode::BadRequest,
            format!("a resource has at most {LONGEST_RESOURCE} bytes"),
        ),
        Refusal::TooManyLeases => WireError::new(
            ErrorCode::BadRequest,
            format!(
                "this account has {MOST_LEASES} living tokens for other resources and scopes, and \
                 gets no more"
            ),
        )
        .with_hint("ask for fewer, or wait until some of them have expired"),
        Refusal::ProviderRejects => WireError::new(
            ErrorCode::ProviderRejects,
            "the API refuses even new tokens; renewing does not help",
        )
        .with_hint(format!("check your access at the provider, then {login}")),
        Refusal::Misconfigured(words) => WireError::new(ErrorCode::ProviderRefused, words)
            .with_hint(format!("check the client's registration, then {login}")),
        Refusal::StaleStore(stale) => {
            WireError::new(ErrorCode::AdoptionRequired, stale_store(stale)).with_hint(format!(
                "run 'authctl adopt {account}' if the other copy is gone"
            ))
        }
    };
    error.with_account(account.as_str())
}

/// Why only the user can go on.
pub(crate) fn login_reason(reason: &LoginReason) -> &'static str {
    match reason {
        LoginReason::Revoked => "the login has ended: the provider refused it twice",
        LoginReason::InteractionRequired => "the provider wants you to sign in again",
        LoginReason::NotRenewable => {
            "the login has expired, and the provider gave nothing to renew it with"
        }
        LoginReason::SubjectChanged => "the provider answered for someone else",
        LoginReason::Unintelligible => "the provider refuses again and again without saying why",
    }
}

/// Why a store is not trusted to exchange.
pub(crate) fn stale_store(stale: StaleStore) -> &'static str {
    match stale {
        StaleStore::OtherMachine => "the store was copied from another machine",
        StaleStore::OlderGeneration => "the store is an older copy: newer tokens were issued since",
    }
}

fn unavailable(why: Unavailable) -> (ErrorCode, &'static str) {
    match why {
        Unavailable::Provider => (ErrorCode::Unavailable, "the provider cannot be reached"),
        Unavailable::Throttled => (ErrorCode::Throttled, "the provider asked for a pause"),
        Unavailable::Store => (
            ErrorCode::StoreFailed,
            "the store cannot be written, so nothing is renewed",
        ),
        Unavailable::Ambiguous => (
            ErrorCode::Unavailable,
            "an answer of the provider was lost; it is asked again when that is safe",
        ),
        Unavailable::Suspect => (
            ErrorCode::Unavailable,
            "the provider refused the login; this is being confirmed",
        ),
        Unavailable::Deadline => (ErrorCode::Timeout, "no answer from the provider in time"),
        Unavailable::TooManyReports => (
            ErrorCode::Throttled,
            "too many reports of refused tokens for this account",
        ),
        Unavailable::ShuttingDown => (ErrorCode::ShuttingDown, "the daemon is stopping"),
    }
}

/// What a person hears whose login failed.
pub(crate) fn login(account: &Account, failure: &LoginFailure) -> WireError {
    let again = format!("run 'authctl login {account}' again");
    let message = failure.to_string();
    match failure {
        LoginFailure::Cancelled => WireError::new(ErrorCode::LoginCancelled, message),
        LoginFailure::Replaced => WireError::new(ErrorCode::LoginCancelled, message),
        LoginFailure::TimedOut => WireError::new(ErrorCode::LoginExpired, message).with_hint(again),
        LoginFailure::Denied => WireError::new(ErrorCode::Denied, message).with_hint(again),
        LoginFailure::Refused { .. } => WireError::new(ErrorCode::LoginFailed, message)
            .with_hint("check the client id, the redirect URI and the scopes"),
        LoginFailure::Unproven(_) => WireError::new(ErrorCode::LoginFailed, message)
            .with_hint(format!("mend that, then {again}")),
        LoginFailure::Unreachable(_) => {
            WireError::new(ErrorCode::Unavailable, message).with_hint(again)
        }
        LoginFailure::SubjectMismatch { expected, found } => {
            let owner = expected.name.as_ref().unwrap_or(&expected.sub);
            match found {
                Some(found) => WireError::new(
                    ErrorCode::SubjectMismatch,
                    format!(
                        "this account belongs to {owner}, but {} signed in; nothing was changed",
                        found.name.as_ref().unwrap_or(&found.sub),
                    ),
                )
                .with_hint("choose another account name, or log in with --replace-subject"),
                None => WireError::new(
                    ErrorCode::SubjectMismatch,
                    format!(
                        "this account belongs to {owner}, but the provider did not say who signed \
                         in; nothing was changed"
                    ),
                )
                .with_hint(
                    "log in again, with the scope openid where it was left out; or with \
                     --replace-subject",
                ),
            }
        }
        LoginFailure::IssuerMismatch { .. } | LoginFailure::ClientMismatch { .. } => {
            WireError::new(
                ErrorCode::SubjectMismatch,
                format!("{message}; nothing was changed"),
            )
            .with_hint("choose another account name, or log in with --replace-subject")
        }
        LoginFailure::Store(_) => {
            WireError::new(ErrorCode::StoreFailed, message).with_hint("run 'authctl doctor'")
        }
        LoginFailure::ShuttingDown => WireError::new(ErrorCode::ShuttingDown, message),
    }
    .with_account(account.as_str())
}

/// Whole seconds, rounded up: asking again sooner would be in vain.
fn ceil(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
