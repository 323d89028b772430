//! What an answer means: the error taxonomy.
//!
//! A verdict that could end a login needs a well-formed OAuth error from the token endpoint itself.
//! Everything that could come from somebody in between (portals, proxies, gateways, firewalls) is
//! never terminal, and what is not listed falls into a class that keeps the refresh token.

use crate::{
    answer::{Answer, Body, Failure, GrantType, Received},
    flag::Ambiguity,
    grant::{Profile, Quirk, Rotation},
    planted::{self, Bug},
};

/// What an answer means for the exchange that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Tokens came.
    Accepted,
    /// Failed in passing; nothing was spent.
    Transient,
    /// Somebody else answers, or nobody: portal, proxy, wrong certificate.
    Offline,
    /// Too many requests.
    Throttled,
    /// The refresh token may have been spent.
    Ambiguous(Ambiguity),
    /// `invalid_grant`: to be confirmed once.
    InvalidGrant,
    /// The provider wants the person.
    InteractionRequired,
    /// The client or the request is wrong; an administrator must act.
    Misconfigured,
    /// The token endpoint is not there any more.
    EndpointMoved,
    /// What proves the client could not be had; nothing was sent.
    Unproven,
    /// A refusal in no form that the RFCs know.
    Unintelligible,
    /// RFC 8628 §3.5: the person has not decided yet.
    AuthorizationPending,
    /// RFC 8628 §3.5: poll more slowly.
    SlowDown,
    /// RFC 8628 §3.5: the device code ran out.
    ExpiredToken,
    /// The person said no.
    AccessDenied,
}

/// Judges `answer` to an exchange of `grant_type` at a provider with `profile`.
#[must_use]
pub fn classify(answer: &Answer, grant_type: GrantType, profile: &Profile) -> Verdict {
    match &answer.received {
        Received::Nothing {
            bytes_left: false,
            failure:
                Failure::Tls
                | Failure::UntrustedCertificate
                | Failure::ForeignCertificate
                | Failure::OutdatedCertificate,
        } => Verdict::Offline,
        Received::Nothing {
            bytes_left: false, ..
        } => Verdict::Transient,
        Received::Nothing {
            bytes_left: true, ..
        } => lost(grant_type, Ambiguity::AnswerLost),
        Received::Unproven { .. } => Verdict::Unproven,
        Received::Response { status: 429, .. } => Verdict::Throttled,
        Received::Response {
            status,
            body: Body::Tokens(_),
        } if is_success(*status) => Verdict::Accepted,
        Received::Response {
            status,
            body:
                Body::Error {
                    code,
                    description,
                    detail,
                },
        } => {
            let said = Said {
                status: *status,
                code,
                description,
                detail,
            };
            said.judge(grant_type, profile)
        }
        Received::Response { status, body } => by_status(*status, body, grant_type, profile),
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// A loss matters only where the request could have spent something.
fn lost(grant_type: GrantType, ambiguity: Ambiguity) -> Verdict {
    if grant_type.spends() {
        Verdict::Ambiguous(ambiguity)
    } else {
        Verdict::Transient
    }
}

/// Whether a second sending of a spent refresh token could revoke what is still good. A leeway does
/// not change that; it says for how long it cannot.
#[must_use]
pub fn reuse_is_dangerous(profile: &Profile) -> bool {
    matches!(
        profile.rotation,
        Rotation::Unknown | Rotation::ReuseDetected
    )
}

/// No OAuth error in the body: the status is all there is.
fn by_status(status: u16, body: &Body, grant_type: GrantType, profile: &Profile) -> Verdict {
    match status {
        // A proxy or a portal wants something before it lets anybody through.
        407 | 511 => Verdict::Offline,
        502..=504 if reuse_is_dangerous(profile) => lost(grant_type, Ambiguity::Gateway),
        408 | 500.. => Verdict::Transient,
        400 | 403 if *body == Body::Html && planted::is(Bug::HtmlIsInvalidGrant) => {
            Verdict::InvalidGrant
        }
        404 | 410 => Verdict::EndpointMoved,
        300..400 => Verdict::Offline,
        200..300 => match body {
            Body::Html => Verdict::Offline,
            // The provider said yes and we cannot read what it gave: the old token may be spent.
            _ => lost(grant_type, Ambiguity::AnswerLost),
        },
        _ => Verdict::Unintelligible,
    }
}

/// A well-formed OAuth error.
struct Said<'a> {
    status: u16,
    code: &'a str,
    description: &'a Option<String>,
    detail: &'a Option<String>,
}

impl Said<'_> {
    fn mentions(&self, words: &[&str]) -> bool {
        [self.description, self.detail]
            .into_iter()
            .flatten()
            .any(|text| words.iter().any(|word| text.contains(word)))
    }

    fn judge(&self, grant_type: GrantType, profile: &Profile) -> Verdict {
        let derived = grant_type == GrantType::TokenExchange;
        match profile.meaning(self.code) {
            "server_error" | "temporarily_unavailable" => Verdict::Transient,
            // A server in trouble is not believed about the token, nor is a redirect.
            _ if self.status == 408 || self.status >= 500 || (300..400).contains(&self.status) => {
                by_status(self.status, &Body::Unintelligible, grant_type, profile)
            }
            // Entra reports a loop of requests as `invalid_grant`; it passes by itself.
            "invalid_grant" if self.mentions(&["AADSTS50196"]) => Verdict::Throttled,
            "invalid_grant" if self.mentions(INTERACTION) && !derived => {
                Verdict::InteractionRequired
            }
            // It was said of the access token that was to be exchanged, and no more.
            "invalid_grant" if derived => Verdict::Misconfigured,
            "invalid_grant" => Verdict::InvalidGrant,
            // What another resource wants of the person is no reason to end the login.
            "interaction_required" | "login_required" | "consent_required" | "invalid_rapt"
                if derived =>
            {
                Verdict::Misconfigured
            }
            "interaction_required" | "login_required" | "consent_required" | "invalid_rapt" => {
                Verdict::InteractionRequired
            }
            "invalid_client" | "unauthorized_client" => {
                if profile
                    .quirks
                    .contains(&Quirk::ClientErrorMeansDeadRefreshToken)
                {
                    Verdict::InvalidGrant
                } else {
                    Verdict::Misconfigured
                }
            }
            "invalid_request" | "invalid_scope" | "invalid_target" | "unsupported_grant_type" => {
                Verdict::Misconfigured
            }
            "slow_down" if grant_type == GrantType::DeviceCode => Verdict::SlowDown,
            "slow_down" => Verdict::Throttled,
            "authorization_pending" if asks_a_person(grant_type) => Verdict::AuthorizationPending,
            "expired_token" if asks_a_person(grant_type) => Verdict::ExpiredToken,
            "access_denied" if asks_a_person(grant_type) => Verdict::AccessDenied,
            // RFC 9449 §8: the resend with the nonce is the shell's; nothing was spent.
            "use_dpop_nonce" => Verdict::Transient,
            // RFC 9449 §5: nothing was looked at but the proof. The shell has mended what it could, its
            // date; what is left is for whoever looks after the client.
            "invalid_dpop_proof" => Verdict::Misconfigured,
            _ if matches!(self.status, 404 | 410) => Verdict::EndpointMoved,
            _ => Verdict::Unintelligible,
        }
    }
}

/// Whether a person decides about the exchange, so that "not yet" and "no" are answers to it.
fn asks_a_person(grant_type: GrantType) -> bool {
    matches!(
        grant_type,
        GrantType::DeviceCode | GrantType::AuthorizationCode
    )
}

/// Google's `invalid_rapt`, and Entra's codes and suberrors for multi-factor, consent and changed
/// sign-in rules.
const INTERACTION: &[&str] = &[
    "invalid_rapt",
    "rapt_required",
    "AADSTS50076",
    "AADSTS50078",
    "AADSTS50079",
    "AADSTS50158",
    "AADSTS53003",
    "AADSTS65001",
    "AADSTS70044",
    "interaction_required",
    "consent_required",
    "basic_action",
    "additional_action",
];

#[cfg(test)]
mod tests;
