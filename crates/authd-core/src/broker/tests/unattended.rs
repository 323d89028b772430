//! Grants that need nobody: by the client's own credentials and by its assertions; and tokens that are
//! derived from others.

use super::*;
use crate::{
    answer::GrantType,
    grant::{FurtherResources, RenewedBy},
    renewal::Verdict,
};

const LOGIN: LoginId = LoginId(1);
const API: &str = "https://api.example";

fn without_refresh_token() -> Received {
    tokens_with(|tokens| tokens.refresh_token = false)
}

fn logged_in(by: RenewedBy) -> Bench {
    let mut bench = Bench::empty();
    bench.server = Server::Says(without_refresh_token());
    bench.happen(Event::LoginBegun(Box::new(LoginBegun {
        login: LOGIN,
        account: work(),
        grant: GrantId(2),
        provider: provider("idp.example"),
        scopes: ScopeSet::parse("api mail"),
        resource: None,
        resources: BTreeSet::new(),
        replace_subject: false,
        method: LoginMethod::Direct(by),
        patience: secs(600),
    })));
    bench
}

fn grant_types(bench: &Bench) -> Vec<GrantType> {
    bench.sent.iter().map(|(_, sent)| sent.grant_type).collect()
}

#[test]
fn a_grant_without_a_refresh_token_is_renewed_by_asking_again() {
    let subject = Some("jane".to_owned());
    for (by, grant_type) in [
        (RenewedBy::ClientCredentials, GrantType::ClientCredentials),
        (RenewedBy::JwtBearer { subject }, GrantType::JwtBearer),
    ] {
        let mut bench = logged_in(by);
        assert!(bench.grant().renewable);
        let (planned, now) = (bench.view().next_renewal, bench.now.boot);
        let within = planned.expect("a renewal").since(now);
        assert!(within < secs(3600), "before the token ends: {within:?}");
        bench.pass(secs(3600));
        assert_eq!(grant_types(&bench), [grant_type; 2]);
        assert_eq!(bench.grant().generation, Generation(2));
        assert_eq!(*bench.flags(), Flags::default());
        let rotation = bench.grant().provider.profile.rotation;
        assert_eq!(rotation, Rotation::Unknown, "nothing was seen of it");
    }
}

#[test]
fn a_lost_answer_to_it_is_no_ambiguity_and_is_asked_again() {
    for received in [lost(), plain(504, Body::Html)] {
        let mut bench = logged_in(RenewedBy::ClientCredentials);
        bench.server = Server::Says(received);
        bench.pass(secs(3000));
        assert!(bench.sent.len() > 1);
        assert_eq!(bench.flags().ambiguous, None);
        bench.server = Server::Says(without_refresh_token());
        bench.pass(secs(600));
        assert_eq!(*bench.flags(), Flags::default());
    }
}

#[test]
fn an_interrupted_one_is_no_ambiguity_after_the_next_start() {
    let mut bench = Bench::empty();
    let mut grant = grant("work", bench.now);
    grant.renewed_by = RenewedBy::ClientCredentials;
    bench.happen(Event::Loaded {
        grant: Box::new(grant),
        interrupted: Some(Stamp {
            boot_id: BOOT,
            at: bench.now,
        }),
        stale: None,
    });
    assert_eq!(*bench.flags(), Flags::default());
}

#[test]
fn one_that_nobody_uses_is_not_kept_alive_and_is_there_when_asked_for() {
    let mut bench = logged_in(RenewedBy::ClientCredentials);
    bench.pass(Config::default().idle_after + secs(7200));
    let sent = bench.sent.len();
    bench.pass(secs(7 * 86_400));
    assert_eq!(bench.sent.len(), sent, "no refresh token can die of it");
    let ticket = bench.ask();
    bench.pass(secs(1));
    assert!(bench.served(ticket).renewed);
}

#[test]
fn a_credential_that_cannot_be_had_is_said_and_tried_again_and_blames_nobody_else() {
    let why = "the command 'pass' ended with exit status 1";
    let mut bench = Bench::new();
    bench.server = Server::Says(Received::Unproven {
        why: why.to_owned(),
    });
    bench.pass(secs(2500));
    let raised = bench.flags().misconfigured.as_ref().expect("a reason");
    assert!(raised.reason.contains(why), "{}", raised.reason);
    assert_eq!(bench.flags().offline, None);
    let tried = bench.sent.len();
    assert!(tried > 1, "it may pass");
    let ticket = bench.ask();
    assert!(!bench.served(ticket).renewed, "what is held is served");
    bench.pass(secs(1200));
    let ticket = bench.ask();
    bench.pass(secs(60));
    assert!(
        matches!(bench.refusal(ticket), Refusal::Misconfigured(words) if words.contains(why)),
        "{:?}",
        bench.refusal(ticket)
    );
    bench.server = Server::Says(tokens());
    bench.pass(secs(400));
    assert_eq!(*bench.flags(), Flags::default());
}

#[test]
fn a_login_whose_credential_cannot_be_had_says_so() {
    let mut bench = Bench::empty();
    bench.server = Server::Says(Received::Unproven {
        why: "no such file".to_owned(),
    });
    bench.happen(Event::LoginBegun(Box::new(LoginBegun {
        login: LOGIN,
        account: work(),
        grant: GrantId(2),
        provider: provider("idp.example"),
        scopes: ScopeSet::default(),
        resource: None,
        resources: BTreeSet::new(),
        replace_subject: false,
        method: LoginMethod::Direct(RenewedBy::ClientCredentials),
        patience: secs(600),
    })));
    let ended = bench.seen.iter().find_map(|effect| match effect {
        Effect::LoginEnded { result, .. } => Some(result.clone()),
        _ => None,
    });
    let why = "no such file".to_owned();
    assert_eq!(ended, Some(Err(LoginFailure::Unproven(why))));
}

/// A login whose tokens for further resources are exchanged for.
fn deriving() -> Bench {
    Bench::with_profile(|profile| profile.further_resources = FurtherResources::TokenExchange)
}

#[test]
fn a_token_for_another_resource_is_exchanged_for_and_stands_beside_the_others() {
    let mut bench = deriving();
    bench.server = Server::Says(without_refresh_token());
    for resource in [API, "https://mail.example"] {
        let first = bench.ask_with(|demand| demand.key = of(resource));
        let second = bench.ask_with(|demand| demand.key = of(resource));
        bench.pass(secs(5));
        assert!(bench.served(first).renewed);
        bench.served(second);
    }
    assert_eq!(grant_types(&bench), [GrantType::TokenExchange; 2]);
    let held: Vec<_> = bench.grant().leases.keys().cloned().collect();
    assert_eq!(
        held,
        [LeaseKey::default(), of(API), of("https://mail.example")]
    );
    assert!(bench.grant().renewable, "its refresh token is where it was");
    let own = bench.ask();
    assert!(!bench.served(own).renewed);
}

#[test]
fn what_is_exchanged_must_live_and_is_renewed_first() {
    let mut bench = deriving();
    bench.server = Server::Says(tokens());
    // Nobody uses it, so the login's own token has ended.
    bench.pass(Config::default().idle_after + secs(7200));
    bench.sent.clear();
    let ticket = bench.ask_with(|demand| demand.key = of(API));
    bench.pass(secs(5));
    assert!(bench.served(ticket).renewed);
    assert_eq!(
        grant_types(&bench),
        [GrantType::RefreshToken, GrantType::TokenExchange]
    );
}

#[test]
fn a_refused_exchange_of_tokens_is_that_resources_trouble_alone() {
    for code in [
        "invalid_grant",
        "invalid_target",
        "unauthorized_client",
        "interaction_required",
    ] {
        let mut bench = deriving();
        bench.server = Server::Says(error(400, code));
        let ticket = bench.ask_with(|demand| demand.key = of(API));
        bench.pass(secs(1));
        assert!(
            matches!(bench.refusal(ticket), Refusal::Misconfigured(_)),
            "{code}"
        );
        assert_eq!(*bench.flags(), Flags::default(), "{code}");
        let own = bench.ask();
        bench.served(own);
    }
    let profile = Profile::default();
    let lost = Answer {
        sent_at: Now::default(),
        received: lost(),
        date: None,
        retry_after: None,
        request_id: None,
    };
    let verdict = crate::renewal::classify::classify(&lost, GrantType::TokenExchange, &profile);
    assert_eq!(verdict, Verdict::Transient);
}
