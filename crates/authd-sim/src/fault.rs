//! What can befall one request to a token endpoint.

use authd_core::answer::{Body, Failure, Received};

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident: $words:literal),* $(,)?) => {
        /// What befalls a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $name),*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];
            /// Their names, in the same order.
            pub const NAMES: &[&str] = &[$($words),*];
        }
    };
}

faults! {
    /// The name does not resolve.
    Dns: "dns",
    /// No connection.
    Connect: "connect",
    /// The certificate is not the host's.
    Tls: "tls",
    /// The time-out ran out before any byte left.
    TimeoutUnsent: "timeout unsent",
    /// The connection broke before any byte left.
    BrokenUnsent: "broken unsent",
    /// The request left and never arrived.
    LostBefore: "lost before commit",
    /// The provider did its work, and its answer never arrived.
    LostAfter: "lost after commit",
    /// The provider did its work, and its answer was cut.
    Truncated: "truncated answer",
    /// The provider did its work, and its answer was larger than the cap.
    TooLarge: "answer too large",
    /// The provider did its work, and nobody can read what came.
    Garbled: "garbled success",
    /// A captive portal's page.
    PortalPage: "portal page",
    /// A captive portal's redirect.
    PortalRedirect: "portal redirect",
    /// RFC 6585 §6.
    Portal511: "portal 511",
    /// A proxy wants a password.
    Proxy407: "proxy 407",
    /// The provider failed.
    Error500: "500",
    /// ... and said so as OAuth has it.
    ServerError: "server_error",
    /// ... and said that it passes.
    TemporarilyUnavailable: "temporarily_unavailable",
    /// The provider waited for the request in vain.
    Timeout408: "408",
    /// An error text with status 200.
    ErrorInSuccess: "error in a 200",
    /// A gateway answered; the provider saw nothing.
    GatewayBefore: "gateway before commit",
    /// A gateway answered; the provider did its work.
    GatewayAfter: "gateway after commit",
    /// 429 without a word when.
    Throttled: "429",
    /// 429 with seconds.
    ThrottledSecs: "429 seconds",
    /// 429 with a date.
    ThrottledDate: "429 date",
    /// Throttling as an OAuth error.
    SlowDown: "slow_down",
    /// Entra's throttling, as `invalid_grant`.
    EntraThrottle: "throttle as invalid_grant",
    /// A firewall's page.
    Firewall: "firewall 403",
    /// 400 with nothing.
    EmptyBadRequest: "empty 400",
    /// 400 with a page.
    HtmlBadRequest: "html 400",
    /// The client is unknown for a while.
    InvalidClient: "invalid_client",
    /// The client may not, for a while.
    UnauthorizedClient: "unauthorized_client",
    /// The token endpoint is not there for a while.
    NotFound: "404",
    /// The request is called wrong.
    InvalidRequest: "invalid_request",
    /// The provider errs about the refresh token.
    FalseInvalidGrant: "false invalid_grant",
    /// The provider wants the person.
    InteractionRequired: "interaction_required",
    /// ... in Google's words.
    InvalidRapt: "invalid_rapt",
    /// An error code that no RFC knows.
    UnknownError: "unknown error code",
    /// RFC 9449 §8 after the one permitted resend.
    DpopNonce: "use_dpop_nonce",
}

impl Fault {
    /// Whether the provider does its work all the same.
    #[must_use]
    pub fn is_processed(self) -> bool {
        matches!(
            self,
            Self::LostAfter | Self::Truncated | Self::TooLarge | Self::Garbled | Self::GatewayAfter
        )
    }

    /// Whether nobody can tell if the provider did its work. Behind a gateway's answer that counts
    /// only where a second sending could do harm.
    #[must_use]
    pub fn is_silent(self, reuse_is_dangerous: bool) -> bool {
        match self {
            Self::LostBefore
            | Self::LostAfter
            | Self::Truncated
            | Self::TooLarge
            | Self::Garbled => true,
            Self::GatewayBefore | Self::GatewayAfter => reuse_is_dangerous,
            _ => false,
        }
    }

    /// Whether the provider asks for patience.
    #[must_use]
    pub fn is_throttle(self) -> bool {
        matches!(
            self,
            Self::Throttled
                | Self::ThrottledSecs
                | Self::ThrottledDate
                | Self::SlowDown
                | Self::EntraThrottle
        )
    }

    /// Whether it pauses the client until somebody mends it.
    #[must_use]
    pub fn is_configuration(self) -> bool {
        matches!(
            self,
            Self::InvalidClient | Self::UnauthorizedClient | Self::NotFound | Self::InvalidRequest
        )
    }

    /// Whether it is the provider's word about the refresh token or the person.
    #[must_use]
    pub fn is_word_on_the_login(self) -> bool {
        matches!(
            self,
            Self::FalseInvalidGrant | Self::InteractionRequired | Self::InvalidRapt
        )
    }

    /// Whether it is a refusal in no form that says why.
    #[must_use]
    pub fn is_unintelligible(self) -> bool {
        matches!(
            self,
            Self::Firewall | Self::EmptyBadRequest | Self::HtmlBadRequest | Self::UnknownError
        )
    }

    /// How long the client waits for it, in milliseconds, where that is not the provider's pace.
    #[must_use]
    pub fn delay(self) -> Option<u64> {
        match self {
            Self::TimeoutUnsent | Self::LostBefore | Self::LostAfter => Some(30_000),
            Self::Dns | Self::Connect | Self::Tls => Some(20),
            _ => None,
        }
    }

    /// What arrives.
    #[must_use]
    pub fn received(self) -> Received {
        let nothing = |bytes_left, failure| Received::Nothing {
            bytes_left,
            failure,
        };
        let whole = |status, body| Received::Response { status, body };
        match self {
            Self::Dns => nothing(false, Failure::Dns),
            Self::Connect => nothing(false, Failure::Connect),
            Self::Tls => nothing(false, Failure::Tls),
            Self::TimeoutUnsent => nothing(false, Failure::Timeout),
            Self::BrokenUnsent => nothing(false, Failure::Broken),
            Self::LostBefore | Self::LostAfter => nothing(true, Failure::Timeout),
            Self::Truncated => nothing(true, Failure::Broken),
            Self::TooLarge => nothing(true, Failure::TooLarge),
            Self::Garbled => whole(200, Body::Unintelligible),
            Self::PortalPage => whole(200, Body::Html),
            Self::PortalRedirect => whole(302, Body::Html),
            Self::Portal511 => whole(511, Body::Html),
            Self::Proxy407 => whole(407, Body::Html),
            Self::Error500 => whole(500, Body::Html),
            Self::ServerError => whole(500, error("server_error", None)),
            Self::TemporarilyUnavailable => whole(400, error("temporarily_unavailable", None)),
            Self::Timeout408 => whole(408, Body::Empty),
            Self::ErrorInSuccess => whole(200, error("server_error", None)),
            Self::GatewayBefore => whole(502, Body::Html),
            Self::GatewayAfter => whole(504, Body::Html),
            Self::Throttled | Self::ThrottledSecs | Self::ThrottledDate => whole(429, Body::Empty),
            Self::SlowDown => whole(400, error("slow_down", None)),
            Self::EntraThrottle => whole(400, error("invalid_grant", Some("AADSTS50196: loop"))),
            Self::Firewall => whole(403, Body::Html),
            Self::EmptyBadRequest => whole(400, Body::Empty),
            Self::HtmlBadRequest => whole(400, Body::Html),
            Self::InvalidClient => whole(401, error("invalid_client", None)),
            Self::UnauthorizedClient => whole(400, error("unauthorized_client", None)),
            Self::NotFound => whole(404, Body::Html),
            Self::InvalidRequest => whole(400, error("invalid_request", None)),
            Self::FalseInvalidGrant => whole(400, invalid_grant()),
            Self::InteractionRequired => whole(400, error("interaction_required", None)),
            Self::InvalidRapt => whole(400, error("invalid_grant", Some("invalid_rapt"))),
            Self::UnknownError => whole(400, error("whatever", None)),
            Self::DpopNonce => whole(400, error("use_dpop_nonce", None)),
        }
    }
}

fn error(code: &str, description: Option<&str>) -> Body {
    Body::Error {
        code: code.to_owned(),
        description: description.map(str::to_owned),
        detail: None,
    }
}

/// The provider's word that the refresh token is no good.
#[must_use]
pub fn invalid_grant() -> Body {
    error("invalid_grant", None)
}
