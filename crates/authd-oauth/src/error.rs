//! Errors of the endpoints beside the token endpoint, by who must act.

use authd_core::secret::Secret;

use crate::{
    http::{TransportError, TransportFailure},
    response::{CODE_LEN, DESCRIPTION_LEN, printable},
};

/// Why a request to one of the provider's endpoints brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The provider offers no such endpoint. Nobody can mend it.
    #[error("the provider offers no such endpoint")]
    NotOffered,
    /// No whole response came. Usually passing.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The provider refused, with an OAuth error (RFC 6749 §5.2). Its code says who must act.
    #[error("the provider refused: {refusal}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        refusal: Refusal,
    },
    /// The provider answered what is no answer to this request: it must act, or something else
    /// answers in its place.
    #[error("the provider's answer (HTTP {status}) makes no sense")]
    Unintelligible {
        /// The HTTP status.
        status: u16,
    },
}

impl EndpointError {
    /// The HTTP status, when there was a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Unintelligible { status } => Some(*status),
            Self::NotOffered | Self::Transport(_) => None,
        }
    }
}

impl From<TransportFailure> for EndpointError {
    fn from(failure: TransportFailure) -> Self {
        Self::Transport(TransportError {
            failure,
            bytes_left: false,
        })
    }
}

impl EndpointError {
    /// Whether the same request may succeed later without anybody acting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotOffered => false,
            Self::Transport(_) => true,
            Self::Refused { status, refusal } => {
                transient_status(*status)
                    || matches!(
                        refusal.code.as_str(),
                        "server_error" | "temporarily_unavailable" | "slow_down"
                    )
            }
            Self::Unintelligible { status } => transient_status(*status),
        }
    }
}

fn transient_status(status: u16) -> bool {
    status >= 500 || matches!(status, 408 | 429)
}

/// An OAuth error as the provider worded it, made fit to print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}", .description.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
pub struct Refusal {
    /// The `error` code.
    pub code: String,
    /// `error_description`.
    pub description: Option<String>,
}

impl Refusal {
    /// Cleaned, and without what repeats a secret that was `sent`.
    pub(crate) fn new(code: &str, description: Option<&str>, sent: &[&Secret]) -> Self {
        Self {
            code: printable(code, CODE_LEN, sent).unwrap_or_default(),
            description: description.and_then(|text| printable(text, DESCRIPTION_LEN, sent)),
        }
    }
}
