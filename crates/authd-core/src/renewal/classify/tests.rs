//! Every row of the taxonomy, by its name.

use std::time::Duration;

use super::*;
use crate::{
    answer::{ExpiresIn, TokenSummary},
    id::Fingerprint,
    time::Now,
};

fn answer(received: Received) -> Answer {
    Answer {
        sent_at: Now::default(),
        received,
        date: None,
        retry_after: None,
        request_id: None,
    }
}

/// Judged as a refresh at a provider of which nothing is known.
fn judged(received: Received) -> Verdict {
    judged_at(received, &Profile::default())
}

fn judged_at(received: Received, profile: &Profile) -> Verdict {
    classify(&answer(received), GrantType::RefreshToken, profile)
}

fn nothing(bytes_left: bool, failure: Failure) -> Received {
    Received::Nothing {
        bytes_left,
        failure,
    }
}

fn with(status: u16, body: Body) -> Received {
    Received::Response { status, body }
}

fn error(status: u16, code: &str) -> Received {
    said(status, code, None, None)
}

fn said(status: u16, code: &str, description: Option<&str>, detail: Option<&str>) -> Received {
    let owned = |text: &str| text.to_owned();
    with(
        status,
        Body::Error {
            code: owned(code),
            description: description.map(owned),
            detail: detail.map(owned),
        },
    )
}

fn tokens(token_type: &str) -> Body {
    Body::Tokens(Box::new(TokenSummary {
        fingerprint: Fingerprint::default(),
        token_type: token_type.to_owned(),
        expires_in: ExpiresIn::Missing,
        jwt_expiry: None,
        refresh_in: None,
        scopes: None,
        refresh_token: false,
        subject: None,
    }))
}

fn rotating(rotation: Rotation, leeway: Option<u64>) -> Profile {
    Profile {
        rotation,
        leeway: leeway.map(Duration::from_secs),
        ..Profile::default()
    }
}

const FAILURES: [Failure; 11] = [
    Failure::Dns,
    Failure::Connect,
    Failure::Proxy,
    Failure::ProxyLogin,
    Failure::Tls,
    Failure::UntrustedCertificate,
    Failure::ForeignCertificate,
    Failure::OutdatedCertificate,
    Failure::Timeout,
    Failure::Broken,
    Failure::TooLarge,
];
const LOST: Verdict = Verdict::Ambiguous(Ambiguity::AnswerLost);
const GATEWAY: Verdict = Verdict::Ambiguous(Ambiguity::Gateway);

#[test]
fn row_nothing_sent_is_transient() {
    for failure in FAILURES {
        let expected = match failure {
            Failure::Tls
            | Failure::UntrustedCertificate
            | Failure::ForeignCertificate
            | Failure::OutdatedCertificate => Verdict::Offline,
            _ => Verdict::Transient,
        };
        assert_eq!(judged(nothing(false, failure)), expected, "{failure:?}");
    }
}

#[test]
fn row_sent_and_lost_is_ambiguous() {
    for failure in FAILURES {
        assert_eq!(judged(nothing(true, failure)), LOST, "{failure:?}");
    }
    let answer = answer(nothing(true, Failure::Timeout));
    for spends_nothing in [
        GrantType::ClientCredentials,
        GrantType::TokenExchange,
        GrantType::JwtBearer,
    ] {
        let verdict = classify(&answer, spends_nothing, &Profile::default());
        assert_eq!(verdict, Verdict::Transient);
    }
}

#[test]
fn row_portal_html_is_offline() {
    assert_eq!(judged(with(200, Body::Html)), Verdict::Offline);
    for status in [301, 302, 303, 307, 308] {
        for body in [Body::Html, Body::Empty, Body::Unintelligible] {
            assert_eq!(judged(with(status, body)), Verdict::Offline, "{status}");
        }
        assert_eq!(judged(error(status, "invalid_grant")), Verdict::Offline);
    }
    assert_eq!(judged(with(407, Body::Html)), Verdict::Offline);
    assert_eq!(judged(with(511, Body::Html)), Verdict::Offline);
}

#[test]
fn row_server_errors_are_transient() {
    for status in [408, 500, 501, 505, 507, 599] {
        for body in [Body::Html, Body::Empty, Body::Unintelligible] {
            assert_eq!(judged(with(status, body)), Verdict::Transient, "{status}");
        }
        assert_eq!(judged(error(status, "whatever")), Verdict::Transient);
        let verdict = judged(error(status, "invalid_grant"));
        assert_eq!(
            verdict,
            Verdict::Transient,
            "a server in trouble ends no login"
        );
    }
    for status in [400, 500, 502, 503] {
        for code in ["server_error", "temporarily_unavailable"] {
            assert_eq!(judged(error(status, code)), Verdict::Transient, "{status}");
        }
    }
}

#[test]
fn row_gateways_are_ambiguous_where_reuse_is_detected() {
    for status in [502, 503, 504] {
        for body in [Body::Html, Body::Empty, Body::Unintelligible] {
            let received = with(status, body);
            for (profile, verdict) in [
                (rotating(Rotation::Unknown, None), GATEWAY),
                (rotating(Rotation::ReuseDetected, None), GATEWAY),
                (rotating(Rotation::ReuseDetected, Some(60)), GATEWAY),
                (rotating(Rotation::None, None), Verdict::Transient),
                (rotating(Rotation::Rotates, None), Verdict::Transient),
            ] {
                assert_eq!(
                    judged_at(received.clone(), &profile),
                    verdict,
                    "{profile:?}"
                );
            }
        }
    }
}

#[test]
fn row_invalid_dpop_proof_is_a_matter_of_configuration() {
    assert_eq!(
        judged(error(400, "invalid_dpop_proof")),
        Verdict::Misconfigured
    );
}

#[test]
fn row_use_dpop_nonce_is_transient() {
    assert_eq!(judged(error(400, "use_dpop_nonce")), Verdict::Transient);
    assert_eq!(judged(error(401, "use_dpop_nonce")), Verdict::Transient);
}

#[test]
fn row_refusal_without_json_is_unintelligible() {
    for status in [400, 401, 403, 405, 406, 415, 422] {
        for body in [Body::Html, Body::Empty, Body::Unintelligible] {
            assert_eq!(
                judged(with(status, body)),
                Verdict::Unintelligible,
                "{status}"
            );
        }
    }
}

#[test]
fn row_anything_else_is_never_terminal() {
    for (status, code) in [
        (400, "made_up"),
        (400, ""),
        (400, "INVALID_GRANT"),
        (401, "token_expired"),
        (403, "forbidden"),
        (200, "bad_refresh_token"),
        (418, "teapot"),
        (400, "access_denied"),
        (400, "expired_token"),
        (400, "authorization_pending"),
    ] {
        assert_eq!(
            judged(error(status, code)),
            Verdict::Unintelligible,
            "{code}"
        );
    }
    assert_eq!(judged(with(100, Body::Empty)), Verdict::Unintelligible);
}

#[test]
fn row_429_is_throttled_whatever_it_says() {
    for received in [
        with(429, Body::Html),
        with(429, Body::Empty),
        with(429, tokens("bearer")),
        error(429, "invalid_grant"),
    ] {
        assert_eq!(judged(received), Verdict::Throttled);
    }
    assert_eq!(judged(error(400, "slow_down")), Verdict::Throttled);
}

#[test]
fn row_invalid_grant_is_suspect() {
    for status in [200, 400, 401, 403] {
        assert_eq!(
            judged(error(status, "invalid_grant")),
            Verdict::InvalidGrant
        );
    }
    let entra = said(400, "invalid_grant", Some("AADSTS50196: a loop"), None);
    assert_eq!(judged(entra), Verdict::Throttled);
    let expired = said(400, "invalid_grant", Some("AADSTS700082: expired"), None);
    assert_eq!(judged(expired), Verdict::InvalidGrant);
}

#[test]
fn row_interaction_needed() {
    for received in [
        said(400, "invalid_grant", None, Some("invalid_rapt")),
        said(400, "invalid_grant", Some("AADSTS50076: MFA"), None),
        said(400, "invalid_grant", Some("AADSTS65001: consent"), None),
        said(400, "invalid_grant", None, Some("basic_action")),
        error(400, "interaction_required"),
        error(400, "login_required"),
        error(400, "consent_required"),
        error(400, "invalid_rapt"),
    ] {
        assert_eq!(
            judged(received.clone()),
            Verdict::InteractionRequired,
            "{received:?}"
        );
    }
}

#[test]
fn row_client_errors_are_configuration_but_for_the_quirk() {
    let quirky = Profile {
        quirks: vec![Quirk::ClientErrorMeansDeadRefreshToken],
        ..Profile::default()
    };
    for code in ["invalid_client", "unauthorized_client"] {
        for status in [400, 401] {
            assert_eq!(judged(error(status, code)), Verdict::Misconfigured);
            let verdict = judged_at(error(status, code), &quirky);
            assert_eq!(verdict, Verdict::InvalidGrant);
        }
    }
}

#[test]
fn row_request_errors_are_configuration() {
    for code in [
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "unsupported_grant_type",
    ] {
        assert_eq!(judged(error(400, code)), Verdict::Misconfigured, "{code}");
    }
}

#[test]
fn row_404_is_an_endpoint_that_moved() {
    for status in [404, 410] {
        for body in [Body::Html, Body::Empty, Body::Unintelligible] {
            assert_eq!(judged(with(status, body)), Verdict::EndpointMoved);
        }
        assert_eq!(judged(error(status, "not_found")), Verdict::EndpointMoved);
        let verdict = judged(error(status, "invalid_grant"));
        assert_eq!(
            verdict,
            Verdict::InvalidGrant,
            "the endpoint is there and speaks"
        );
    }
}

#[test]
fn row_200_with_an_error_is_that_error() {
    assert_eq!(judged(error(200, "invalid_grant")), Verdict::InvalidGrant);
    assert_eq!(judged(error(200, "invalid_client")), Verdict::Misconfigured);
}

#[test]
fn row_an_empty_or_false_token_is_no_success() {
    for body in [Body::Empty, Body::Unintelligible] {
        assert_eq!(
            judged(with(200, body)),
            LOST,
            "the provider said yes: to what?"
        );
    }
}

#[test]
fn row_tokens_are_accepted_whatever_the_case_of_bearer() {
    for token_type in ["Bearer", "bearer", "BEARER"] {
        for status in [200, 201] {
            assert_eq!(judged(with(status, tokens(token_type))), Verdict::Accepted);
        }
    }
    assert_eq!(judged(with(400, tokens("bearer"))), Verdict::Unintelligible);
}

#[test]
fn the_device_flows_answers_are_its_own() {
    for (code, device, code_exchange) in [
        (
            "authorization_pending",
            Verdict::AuthorizationPending,
            Verdict::AuthorizationPending,
        ),
        ("slow_down", Verdict::SlowDown, Verdict::Throttled),
        (
            "expired_token",
            Verdict::ExpiredToken,
            Verdict::ExpiredToken,
        ),
        (
            "access_denied",
            Verdict::AccessDenied,
            Verdict::AccessDenied,
        ),
    ] {
        let answer = answer(error(400, code));
        let profile = Profile::default();
        assert_eq!(classify(&answer, GrantType::DeviceCode, &profile), device);
        let verdict = classify(&answer, GrantType::AuthorizationCode, &profile);
        assert_eq!(verdict, code_exchange);
    }
}

#[test]
fn inv_08_nothing_between_us_and_the_provider_speaks_a_verdict() {
    for status in 100..600 {
        for body in [Body::Html, Body::Empty, Body::Unintelligible] {
            let verdict = judged(with(status, body));
            assert!(
                !matches!(
                    verdict,
                    Verdict::InvalidGrant | Verdict::InteractionRequired | Verdict::Accepted
                ),
                "{status}: {verdict:?}"
            );
        }
    }
}
