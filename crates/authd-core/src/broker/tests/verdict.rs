//! What only the user can mend, and how sure the engine must be of it.

use super::*;
use crate::flag::LoginReason;

fn due() -> Bench {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench
}

#[test]
fn inv_09_invalid_grant_is_confirmed_once_after_one_to_two_minutes() {
    let mut bench = due();
    bench.answer(error(400, "invalid_grant"));
    assert!(bench.flags().suspect.is_some());
    assert!(bench.notices().is_empty(), "nobody is troubled yet");
    bench.pass(secs(59));
    assert!(bench.out.is_empty());
    bench.pass(secs(61));
    assert_eq!(bench.causes(), [Cause::Due, Cause::Confirming]);
    bench.answer(error(400, "invalid_grant"));
    let needed = Notice::LoginNeeded(LoginReason::Revoked);
    assert_eq!(bench.notices(), [&needed]);
    assert_eq!(bench.flags().suspect, None);
}

#[test]
fn inv_09_the_confirmation_of_an_early_refusal_waits_for_no_renew_point() {
    let mut bench = Bench::new();
    bench.pass(secs(60));
    bench.renew();
    bench.answer(error(400, "invalid_grant"));
    bench.pass(secs(59));
    assert_eq!(bench.sent.len(), 1);
    bench.pass(secs(61));
    assert_eq!(bench.causes(), [Cause::Asked, Cause::Confirming]);
    bench.answer(error(400, "invalid_grant"));
    let needed = Notice::LoginNeeded(LoginReason::Revoked);
    assert_eq!(bench.notices(), [&needed]);
}

#[test]
fn inv_10_needs_login_keeps_the_refresh_token_and_serves_what_lives() {
    let mut bench = due();
    bench.server = Server::Says(error(400, "invalid_grant"));
    bench.answer(error(400, "invalid_grant"));
    bench.pass(secs(121));
    assert!(bench.grant().renewable);
    let ticket = bench.ask();
    assert!(!bench.served(ticket).low);
    bench.pass(secs(1060));
    let low = bench.ask();
    assert!(bench.served(low).low && bench.served(low).ttl > Some(Duration::ZERO));
    bench.pass(secs(60));
    let spent = bench.ask();
    assert_eq!(
        *bench.refusal(spent),
        Refusal::LoginRequired(LoginReason::Revoked)
    );
    bench.pass(secs(10 * 86_400));
    assert_eq!(bench.sent.len(), 2, "the quarantined token is never sent");
    assert_eq!(bench.broker.poll_timeout(), None);
}

#[test]
fn inv_09_the_confirmation_comes_sooner_when_nothing_is_left() {
    let mut bench = Bench::new();
    bench.move_to(bench.now.boot.after(secs(3600)));
    let ticket = bench.ask();
    bench.answer(error(400, "invalid_grant"));
    bench.pass(secs(5));
    assert_eq!(bench.sent.len(), 2);
    bench.answer(error(400, "invalid_grant"));
    assert_eq!(
        *bench.refusal(ticket),
        Refusal::LoginRequired(LoginReason::Revoked)
    );
}

#[test]
fn a_suspicion_that_is_not_confirmed_is_forgotten() {
    let mut bench = due();
    bench.answer(error(400, "invalid_grant"));
    bench.pass(secs(120));
    bench.answer(unreachable());
    assert!(
        bench.flags().suspect.is_some(),
        "no answer confirms nothing"
    );
    bench.pass(secs(2));
    bench.answer(tokens());
    assert_eq!(bench.flags().suspect, None);
    assert_eq!(bench.grant().generation, Generation(2));
}

#[test]
fn a_person_who_insists_neither_confirms_nor_puts_the_confirmation_off() {
    let mut bench = due();
    bench.answer(error(400, "invalid_grant"));
    for _ in 0..5 {
        bench.pass(secs(10));
        bench.renew();
        bench.answer(error(400, "invalid_grant"));
        assert_eq!(bench.flags().needs_login, None);
    }
    bench.pass(secs(70));
    bench.answer(error(400, "invalid_grant"));
    assert!(bench.flags().needs_login.is_some());
}

#[test]
fn a_suspicion_survives_a_restart() {
    let mut bench = Bench::with(|grant| {
        grant.flags.suspect = Some(crate::flag::Raised {
            reason: "invalid_grant".to_owned(),
            since: grant.created_at,
        });
    });
    bench.pass(secs(2400));
    assert_eq!(bench.causes(), [Cause::Confirming]);
}

#[test]
fn interaction_is_the_users_at_once_and_the_token_is_served_on() {
    let mut bench = due();
    bench.answer(error(400, "interaction_required"));
    let needed = Notice::LoginNeeded(LoginReason::InteractionRequired);
    assert_eq!(bench.notices(), [&needed]);
    let ticket = bench.ask();
    assert!(!bench.served(ticket).low);
}

#[test]
fn inv_12_a_response_without_a_refresh_token_keeps_the_old_one() {
    let mut bench = due();
    bench.answer(tokens_with(|tokens| tokens.refresh_token = false));
    assert!(bench.grant().renewable);
    let ticket = bench.renew();
    bench.pass(secs(1));
    bench.answer(tokens_with(|tokens| tokens.refresh_token = false));
    assert!(bench.served(ticket).renewed);
}

#[test]
fn rotation_is_learned_with_care() {
    let mut bench = due();
    bench.answer(tokens());
    assert_eq!(
        bench.grant().provider.profile.rotation,
        Rotation::ReuseDetected
    );
    let mut still = due();
    still.server = Server::Says(tokens_with(|tokens| tokens.refresh_token = false));
    still.answer(tokens_with(|tokens| tokens.refresh_token = false));
    assert_eq!(still.grant().provider.profile.rotation, Rotation::Unknown);
    for known in [Rotation::Unknown, Rotation::None] {
        still.renew();
        still.pass(secs(1));
        assert_eq!(still.grant().provider.profile.rotation, known);
    }
}

#[test]
fn inv_13_another_subject_never_takes_the_grants_place() {
    let mut bench = due();
    let before = bench.lease().fingerprint;
    bench.answer(tokens_with(|tokens| tokens.subject = Some(subject("bob"))));
    assert_eq!(
        bench.lease().fingerprint,
        before,
        "nobody gets another person's token"
    );
    assert_eq!(bench.grant().subject, Some(subject("ann")));
    assert_eq!(
        bench.grant().generation,
        Generation(2),
        "the new refresh token is kept"
    );
    let needed = Notice::LoginNeeded(LoginReason::SubjectChanged);
    assert_eq!(bench.notices(), [&needed]);
    bench.pass(secs(3600));
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn inv_13_other_scopes_are_told_once_and_not_taken_over() {
    let mut bench = due();
    let narrowed = || tokens_with(|tokens| tokens.scopes = Some(ScopeSet::parse("api")));
    bench.answer(narrowed());
    assert_eq!(bench.notices(), [&Notice::ScopeChanged]);
    assert_eq!(bench.grant().scopes, ScopeSet::parse("api mail"));
    assert_eq!(bench.lease().scopes, ScopeSet::parse("api"));
    let ticket = bench.ask_with(|demand| demand.key = key("mail"));
    bench.pass(secs(1));
    bench.answer(tokens());
    assert!(bench.served(ticket).renewed);
    assert!(
        bench.flags().scope_changed.is_some(),
        "another lease's scopes mend nothing"
    );
    let since = bench.flags().scope_changed.as_ref().unwrap().since;
    bench.server = Server::Says(narrowed());
    bench.pass(secs(3600));
    assert_eq!(bench.notices().len(), 1);
    let changed = bench.flags().scope_changed.as_ref().unwrap();
    assert_eq!(changed.since, since, "it is as old as it is");
    bench.server = Server::Says(tokens());
    bench.pass(secs(7200));
    assert_eq!(bench.flags().scope_changed, None);
}

#[test]
fn inv_09_a_lease_that_was_never_fetched_hastens_no_confirmation() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench.answer(error(400, "invalid_grant"));
    bench.ask_with(|demand| demand.key = key("api"));
    bench.pass(secs(50));
    assert_eq!(bench.sent.len(), 1, "the login's own token lives");
}
