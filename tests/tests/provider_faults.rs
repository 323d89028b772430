//! What a provider may do instead of a token: no login is ever lost to it, the token at hand goes on
//! being served, and it is not asked in a hot loop.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use authd_e2e::{Daemon, Instance, PATIENCE, api, instance::is_flagged};
use authd_proto::{
    ErrorCode,
    response::{Expiry, FlagName, State},
};
use authd_testkit::{
    Endpoint, ExpiresIn, FakeServer, Fault, Options, Phase, RetryAfter, Rule, Settings,
};

fn logged_in(settings: Settings) -> (FakeServer, Instance, Daemon) {
    let server = FakeServer::start(Options {
        settings,
        ..Options::default()
    })
    .unwrap();
    let instance = Instance::new();
    instance.configure("[network]\nrequest_timeout_secs = 1\n");
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    (server, instance, daemon)
}

/// A renewal meets the fault: the error has this code and the account this flag, the token at hand is
/// served and works, and once the fault is over a renewal succeeds with the same login.
fn survives(fault: impl Into<Rule>, code: ErrorCode, flag: Option<FlagName>) {
    let rule = fault.into();
    let (server, instance, _daemon) = logged_in(Settings::default());
    let at_hand = instance.token("demo", Duration::ZERO).unwrap();
    server.fault_always(Endpoint::Token, rule.clone());
    let refused = instance.renew("demo").unwrap_err();
    assert_eq!(refused.code, code, "{rule:?}: {refused}");
    let info = instance.account("demo");
    let flags: Vec<_> = info.flags.iter().map(|raised| raised.flag).collect();
    assert_eq!(flags, Vec::from_iter(flag), "{rule:?}: {:?}", info.flags);
    assert!(info.last_error.is_some(), "{rule:?}");

    let still = instance.token("demo", Duration::ZERO).unwrap();
    assert!(
        still.access_token.expose() == at_hand.access_token.expose(),
        "{rule:?}"
    );
    assert_eq!(
        api::ping(&server, still.access_token.expose()),
        200,
        "{rule:?}"
    );
    assert_eq!(
        server.counts().requests(Endpoint::Token),
        2,
        "{rule:?}: one try, and the login"
    );

    server.clear_faults(Endpoint::Token);
    // What hung never reaches the server's books.
    server.drop_held(Endpoint::Token, usize::MAX);
    let renewed = instance.renew("demo").unwrap();
    assert_eq!(renewed.generation, 2, "{rule:?}");
    let info = instance.account("demo");
    assert_eq!((info.state, info.flags), (State::Fresh, vec![]), "{rule:?}");
    assert_eq!(server.counts().authorizations, 1, "{rule:?}: one login");
    assert_eq!(server.counts().reuse_detected, 0, "{rule:?}");
}

#[test]
fn a_500_is_passing() {
    survives(
        Fault::status(500),
        ErrorCode::Unavailable,
        Some(FlagName::Offline),
    );
}

#[test]
fn a_503_of_a_gateway_may_have_spent_the_refresh_token() {
    survives(
        Fault::status(503),
        ErrorCode::Unavailable,
        Some(FlagName::Ambiguous),
    );
}

#[test]
fn an_oauth_error_that_says_it_is_passing_is_passing() {
    let fault = Fault::OauthError {
        status: 503,
        error: "temporarily_unavailable".to_owned(),
        description: None,
    };
    survives(fault, ErrorCode::Unavailable, Some(FlagName::Offline));
}

#[test]
fn a_hang_ends_with_the_request_and_is_reported_as_a_lost_answer() {
    survives(
        Fault::Hold,
        ErrorCode::Unavailable,
        Some(FlagName::Ambiguous),
    );
}

#[test]
fn a_connection_that_breaks_before_the_answer_is_a_lost_answer() {
    survives(
        Fault::Drop,
        ErrorCode::Unavailable,
        Some(FlagName::Ambiguous),
    );
}

#[test]
fn a_web_page_instead_of_tokens_is_a_portal() {
    survives(
        Fault::HtmlOk,
        ErrorCode::Unavailable,
        Some(FlagName::Offline),
    );
}

#[test]
fn a_web_page_that_forbids_is_a_firewall() {
    survives(Fault::HtmlForbidden, ErrorCode::Unavailable, None);
}

#[test]
fn an_empty_400_while_the_token_is_fresh_is_an_early_refusal() {
    survives(Fault::EmptyBadRequest, ErrorCode::Timeout, None);
}

#[test]
fn one_invalid_grant_is_a_suspicion() {
    survives(
        Fault::oauth_error("invalid_grant"),
        ErrorCode::Unavailable,
        Some(FlagName::Suspect),
    );
}

#[test]
fn invalid_client_is_a_matter_of_configuration() {
    survives(
        Fault::oauth_error("invalid_client"),
        ErrorCode::ProviderRefused,
        Some(FlagName::Misconfigured),
    );
}

#[test]
fn json_that_does_not_parse_is_a_lost_answer() {
    survives(
        Fault::MalformedJson,
        ErrorCode::Unavailable,
        Some(FlagName::Ambiguous),
    );
}

#[test]
fn a_redirect_of_a_post_is_not_followed() {
    let away = Fault::Redirect {
        status: 307,
        location: "https://other.example/token".to_owned(),
    };
    survives(away, ErrorCode::Unavailable, Some(FlagName::Offline));
}

#[test]
fn an_empty_token_is_no_token() {
    let (server, instance, _daemon) = logged_in(Settings::default());
    for fault in [Fault::EmptyAccessToken, Fault::ErrorInAccessToken] {
        let at_hand = instance.token("demo", Duration::ZERO).unwrap();
        server.fault_next(Endpoint::Token, fault);
        instance.renew("demo").unwrap_err();
        let still = instance.token("demo", Duration::ZERO).unwrap();
        assert!(still.access_token.expose() == at_hand.access_token.expose());
        instance.renew("demo").unwrap();
    }
}

#[test]
fn a_429_is_obeyed_even_by_a_person_who_asks() {
    let (server, instance, _daemon) = logged_in(Settings::default());
    let retry_after = Fault::RetryAfter {
        status: 429,
        after: RetryAfter::Seconds(3),
    };
    server.fault_next(Endpoint::Token, retry_after);
    let start = Instant::now();
    let refused = instance.renew("demo").unwrap_err();
    assert_eq!(refused.code, ErrorCode::Throttled, "{refused}");
    assert!(
        refused.retry_after_secs.is_some_and(|secs| secs >= 1),
        "{refused:?}"
    );
    assert!(is_flagged(&instance.account("demo"), FlagName::Throttled));
    assert!(
        instance.token("demo", Duration::ZERO).is_ok(),
        "the token at hand is served"
    );
    // Asked again, it waits for the end of the pause by itself.
    instance.renew("demo").unwrap();
    assert!(
        start.elapsed() >= Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(server.counts().requests(Endpoint::Token), 3);
    assert_eq!(instance.account("demo").flags, vec![]);
}

#[test]
fn a_provider_that_fails_for_good_is_asked_at_most_once_a_second() {
    let settings = Settings {
        access_token_ttl: Duration::from_secs(2),
        ..Settings::default()
    };
    let (server, instance, _daemon) = logged_in(settings);
    server.fault_always(Endpoint::Token, Fault::status(500));
    let start = Instant::now();
    let mut refusals = 0;
    while start.elapsed() < Duration::from_secs(8) {
        if instance.token("demo", Duration::from_secs(1)).is_err() {
            refusals += 1;
        }
    }
    assert!(refusals > 0, "the token did expire");
    let tries = server.counts().requests(Endpoint::Token) - 1;
    let most = start.elapsed().as_secs() + 1;
    assert!((2..=most).contains(&tries), "{tries} tries in {most} s");
    assert!(is_flagged(&instance.account("demo"), FlagName::Offline));
    assert_eq!(instance.account("demo").state, State::Expired);
    // And it is there again as soon as the provider is.
    server.clear_faults(Endpoint::Token);
    instance.token("demo", PATIENCE).unwrap();
}

#[test]
fn a_provider_that_is_down_at_a_restart_costs_no_login() {
    let settings = Settings {
        access_token_ttl: Duration::from_secs(2),
        ..Settings::default()
    };
    let (server, instance, daemon) = logged_in(settings);
    assert!(daemon.stop().success());
    server.kill();
    let _daemon = instance.start_daemon();
    authd_e2e::until("the token expired", || {
        instance.token("demo", Duration::ZERO).is_err()
    });
    let refused = instance.authctl(&["token", "demo", "--wait", "1s"]);
    assert_eq!(refused.code(), 5, "{refused:?}");
    assert_ne!(instance.account("demo").state, State::NeedsLogin);
    server.restart().unwrap();
    let token = instance.token("demo", PATIENCE).unwrap();
    assert_eq!(api::ping(&server, token.access_token.expose()), 200);
}

#[test]
fn bearer_in_any_spelling_is_told_as_bearer() {
    for spelling in ["bearer", "BEARER", "Bearer"] {
        let settings = Settings {
            token_type: spelling.to_owned(),
            ..Settings::default()
        };
        let (_server, instance, _daemon) = logged_in(settings);
        assert_eq!(
            instance
                .token("demo", Duration::ZERO)
                .unwrap()
                .renewal
                .token_type,
            "Bearer"
        );
    }
}

#[test]
fn a_lifetime_that_is_missing_or_zero_is_assumed_and_told_as_assumed() {
    for expires_in in [
        ExpiresIn::Missing,
        ExpiresIn::Null,
        ExpiresIn::Fixed(0),
        ExpiresIn::Fixed(-5),
    ] {
        let settings = Settings {
            expires_in,
            ..Settings::default()
        };
        let (_server, instance, _daemon) = logged_in(settings);
        let token = instance.token("demo", Duration::ZERO).unwrap().renewal;
        assert_eq!(token.expiry, Expiry::Assumed, "{expires_in:?}");
        assert!(
            (3500..=3600).contains(&token.ttl_secs.unwrap()),
            "{expires_in:?}"
        );
        let json = instance.authctl(&["token", "demo", "--json"]).json();
        assert!(json["expires_at"].is_u64() && json["expiry"] == "assumed");
    }
}

#[test]
fn a_lifetime_as_a_string_or_with_a_fraction_is_taken() {
    for expires_in in [ExpiresIn::String, ExpiresIn::Float] {
        let settings = Settings {
            expires_in,
            ..Settings::default()
        };
        let (_server, instance, _daemon) = logged_in(settings);
        let token = instance.token("demo", Duration::ZERO).unwrap().renewal;
        assert_eq!(token.expiry, Expiry::Exact, "{expires_in:?}");
        assert!(
            (3500..=3600).contains(&token.ttl_secs.unwrap()),
            "{expires_in:?}"
        );
    }
}

#[test]
fn tokens_of_one_second_are_served_alive_and_renewed_at_most_once_a_second() {
    let settings = Settings {
        access_token_ttl: Duration::from_secs(1),
        ..Settings::default()
    };
    let (server, instance, _daemon) = logged_in(settings);
    let start = Instant::now();
    let mut served = 0;
    while start.elapsed() < Duration::from_secs(4) {
        let token = instance.token("demo", PATIENCE).unwrap();
        assert_eq!(
            api::ping(&server, token.access_token.expose()),
            200,
            "token {served}"
        );
        served += 1;
    }
    let renewals = server.counts().refreshes();
    let most = start.elapsed().as_secs() + 1;
    assert!(
        (2..=most).contains(&renewals),
        "{renewals} renewals in {most} s, {served} served"
    );
}

#[test]
fn a_token_of_sixty_seconds_is_renewed_between_its_floor_and_its_middle() {
    let settings = Settings {
        access_token_ttl: Duration::from_secs(60),
        ..Settings::default()
    };
    let (server, instance, _daemon) = logged_in(settings);
    let info = instance.account("demo");
    let lead = info.expires_at.unwrap() - info.next_renewal_at.unwrap();
    // The floor is 15 s; the lead at least twice that, give or take 15 %, and one second of rounding.
    assert!((25..=36).contains(&lead), "{lead} s before the end");
    let max = instance.authctl(&["token", "demo", "--min-ttl", "5m"]);
    assert_eq!(max.code(), 1, "{max:?}");
    assert!(max.stderr.contains("60 s"), "{max:?}");
    assert_eq!(server.counts().requests(Endpoint::Token), 1);
}

#[test]
fn an_exchange_goes_on_when_the_client_that_asked_is_gone() {
    let (server, instance, _daemon) = logged_in(Settings::default());
    let mut watcher = instance.watch();
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let command = instance.start_authctl(&["renew", "demo"]);
    server
        .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
        .unwrap();
    drop(command);
    server.open_gate(Endpoint::Token);
    watcher.wait_for_account("demo", PATIENCE, |info| info.generation == 2);
}
