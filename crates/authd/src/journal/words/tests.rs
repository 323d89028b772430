use authd_core::{
    broker::Next,
    flag::LoginReason,
    id::{Account, AttemptId, Generation, GrantId},
};

use super::*;

fn record(what: Decided, next: Option<(u64, Cause)>) -> Record {
    Record {
        account: Account::new("work").unwrap(),
        grant: GrantId(1),
        generation: Generation(7),
        attempt: Some(AttemptId(2)),
        request_id: None,
        what,
        words: Some("the provider answered 400 x: y".to_owned()),
        next: next.map(|(secs, cause)| Next {
            within: Duration::from_secs(secs),
            cause,
        }),
    }
}

#[test]
fn what_comes_next_follows_from_what_happened() {
    let judged = Decided::Judged;
    for (what, cause, next) in [
        (Decided::Committed, Cause::Due, Some("renewal")),
        (Decided::Committed, Cause::KeepAlive, Some("keep_alive")),
        (judged(Verdict::Transient), Cause::Due, Some("retry")),
        (judged(Verdict::Transient), Cause::KeepAlive, Some("retry")),
        (judged(Verdict::Throttled), Cause::Demanded, Some("pause")),
        (
            judged(Verdict::InvalidGrant),
            Cause::Confirming,
            Some("confirming"),
        ),
        (
            judged(Verdict::Ambiguous(authd_core::flag::Ambiguity::AnswerLost)),
            Cause::Settling,
            Some("settling"),
        ),
        (Decided::ReportBelieved, Cause::Due, None),
        (Decided::Renewal(Cause::Due), Cause::Due, None),
    ] {
        let said = describe(&record(what.clone(), Some((60, cause)))).next;
        assert_eq!(said, next, "{what:?} and {cause:?}");
    }
    let ended = describe(&record(Decided::LoginNeeded(LoginReason::Revoked), None));
    assert_eq!(ended.next, Some("login"));
    assert_eq!(ended.hint.as_deref(), Some("run 'authctl login work'"));
}

#[test]
fn an_answer_is_told_in_the_providers_words_and_then_in_ours() {
    let said = describe(&record(Decided::Judged(Verdict::InvalidGrant), None));
    assert_eq!(
        said.message,
        "the provider answered 400 x: y; the login may have ended"
    );
    assert_eq!(
        (said.outcome, said.code),
        ("failed", Some(ErrorCode::LoginRequired))
    );
}

#[test]
fn a_learned_lifetime_is_told_with_what_the_provider_says() {
    let hour = Duration::from_secs(3600);
    let learned = |lifetime| {
        let what = Decided::LifetimeLearned {
            lifetime,
            stated: hour,
        };
        describe(&record(what, None)).message
    };
    assert_eq!(
        learned(hour / 2),
        "tokens end earlier than the provider says: after 30m instead of 1h; renewed earlier from \
         now on"
    );
    assert_eq!(
        learned(hour),
        "tokens live as long as the provider says: 1h"
    );
}
