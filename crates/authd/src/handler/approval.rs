//! `approval.list` and `approval.answer`: the person's side of a question.

use std::sync::Arc;

use authd_core::{
    policy::{Purpose, Tier as CoreTier},
    time::Now,
};
use authd_proto::{
    ErrorCode, WireError,
    approval::{
        Answer, ApprovalAnswer, ApprovalAnswerReply, ApprovalList, ApprovalListReply, Asks,
        Question as WireQuestion,
    },
    audit::{AuditLine, Decision},
    event::EventKind,
};

use super::{grant::not_kept, to_the_end, wire_tier};
use crate::{
    approvals::{LIFE, Question, Subject, may_answer},
    caller::Caller,
    daemon::Shared,
};

/// `approval.list`.
#[expect(clippy::unnecessary_wraps, reason = "every handler answers alike")]
pub(crate) fn list(daemon: &Shared, _: &ApprovalList) -> Result<ApprovalListReply, WireError> {
    let now = daemon.clock.now();
    Ok(ApprovalListReply {
        approvals: daemon.approvals.waiting(now, shown),
    })
}

/// `approval.answer`.
pub(crate) async fn answer(
    daemon: Shared,
    caller: Arc<Caller>,
    ask: ApprovalAnswer,
) -> Result<ApprovalAnswerReply, WireError> {
    caller.look().await;
    let ancestors = caller.ancestors().await;
    let now = daemon.clock.now();
    let id = ask.approval_id;
    let may = daemon
        .approvals
        .question(id, now, |question| {
            may_answer(&caller, &ancestors, question)
        })
        .ok_or_else(no_such_question)?;
    may.map_err(|why| {
        WireError::new(ErrorCode::Denied, why)
            .with_hint("answer in a terminal of your own, with 'authctl approve'")
    })?;
    if ask.for_secs.is_some() && ask.answer != Answer::Always {
        return Err(WireError::new(
            ErrorCode::BadRequest,
            "'for_secs' goes with the answer 'always'",
        ));
    }
    if ask.answer == Answer::Always {
        let lasts = daemon.approvals.question(id, now, |question| {
            !matches!(question.subject, Subject::HandOut(_)) || question.caller.name().lasts()
        });
        if lasts == Some(false) {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                "this caller has no name that lasts: nobody could tell it from others later",
            )
            .with_hint(format!("allow it for now: run 'authctl approve {id}'")));
        }
    }
    let by = caller.info().summary();
    let taken = to_the_end(async move {
        let taken = take(&daemon, id, ask.answer, ask.for_secs, &by);
        taken.await
    });
    let (account, answer) = taken.await?.ok_or_else(no_such_question)?;
    Ok(ApprovalAnswerReply {
        approval_id: id,
        account,
        answer,
    })
}

fn no_such_question() -> WireError {
    WireError::new(ErrorCode::BadRequest, "no such question waits")
        .with_hint("'authctl approve' lists those that do")
}

/// Takes an answer that came `by` somebody who may give it, and writes it down. `None` where the question
/// does not wait any more.
pub(crate) async fn take(
    daemon: &Shared,
    id: u64,
    answer: Answer,
    for_secs: Option<u64>,
    by: &str,
) -> Result<Option<(String, Answer)>, WireError> {
    let now = daemon.clock.now();
    let answered = daemon.approvals.answer(id, answer, for_secs, now).await;
    let Some((question, counts)) = answered.map_err(|error| not_kept(&error))? else {
        return Ok(None);
    };
    let account = question.account.to_string();
    let word = match counts {
        Answer::Deny => "denied",
        Answer::Once => "allowed once",
        Answer::Allow => "allowed until lock",
        Answer::Always => "allowed from now on",
    };
    let line = AuditLine {
        asks: Some(asks(&question.subject)),
        account: Some(account.clone()),
        claimed: question.claimed.clone(),
        scopes: question.scopes.clone(),
        resource: question.resource.clone(),
        tier: Some(wire_tier(question.tier)),
        message: Some(format!("{word}, by {by}{}", changed(&question.subject))),
        ..AuditLine::new(daemon.clock.unix_now(), Decision::Answered)
    };
    daemon.audit.put(line, &question.caller);
    tell(
        daemon,
        &question,
        if counts == Answer::Deny {
            "denied"
        } else {
            "allowed"
        },
        &format!("{word}: {}", question.caller.info().summary()),
    );
    Ok(Some((account, counts)))
}

/// An event on a question.
pub(crate) fn tell(daemon: &Shared, question: &Question, outcome: &str, message: &str) {
    daemon.journal.add(EventKind::Approval, |event| {
        event.account = Some(question.account.to_string());
        event.client.clone_from(&question.claimed);
        event.outcome = Some(outcome.to_owned());
        event.message = Some(message.to_owned());
        if outcome == "asked" {
            event.hint = Some(format!("run 'authctl approve {}'", question.id));
        }
    });
}

/// A question as the wire shows it.
pub(crate) fn shown(question: &Question) -> WireQuestion {
    let unix = |now: Now| u64::try_from(now.wall.unix_secs()).unwrap_or(0);
    let asked_at = unix(question.asked);
    WireQuestion {
        approval_id: question.id,
        account: question.account.to_string(),
        asks: asks(&question.subject),
        caller: question.caller.info(),
        claimed: question.claimed.clone(),
        tier: wire_tier(question.tier),
        scopes: question.scopes.clone(),
        resource: question.resource.clone(),
        change: match &question.subject {
            Subject::HandOut(_) => None,
            Subject::Tier(tier) => Some(word(*tier).to_owned()),
            Subject::Grant(caller, _) => Some(caller.to_string()),
            Subject::Socket(terms) => Some(terms.summary()),
        },
        asked_at,
        expires_at: asked_at + LIFE.as_secs(),
    }
}

fn asks(subject: &Subject) -> Asks {
    match subject {
        Subject::HandOut(Purpose::Token) => Asks::Token,
        Subject::HandOut(Purpose::Proof) => Asks::Proof,
        Subject::Tier(_) => Asks::Tier,
        Subject::Grant(..) => Asks::Grant,
        Subject::Socket(_) => Asks::Socket,
    }
}

fn changed(subject: &Subject) -> String {
    match subject {
        Subject::HandOut(_) => String::new(),
        Subject::Tier(tier) => format!("; the tier {}", word(*tier)),
        Subject::Grant(caller, _) => format!("; a standing approval for {caller}"),
        Subject::Socket(terms) => format!("; a restricted socket {}", terms.summary()),
    }
}

/// A tier as people spell it.
pub(crate) fn word(tier: CoreTier) -> &'static str {
    match tier {
        CoreTier::Allow => "allow",
        CoreTier::AskOnce => "ask-once",
        CoreTier::AskEach => "ask-each",
    }
}
