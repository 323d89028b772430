//! Puts a question to the person: by a notification that can be answered, where the desktop has that, and
//! in the terminals where `authctl approve` waits. Where there is neither, nobody is kept waiting.

use std::sync::Arc;

use authd_core::policy::Purpose;
use authd_proto::approval::Answer;
use tokio::sync::watch;

use super::{Asked, LIFE, Question, Standing, Subject};
use crate::{
    daemon::Shared,
    handler::approval,
    notify::{self, Message, Prompt, Reaction},
};

/// Begins to put a new question to the person.
pub(crate) fn put(daemon: &Shared, asked: &Asked) {
    let (daemon, id, standing) = (Arc::clone(daemon), asked.id, asked.standing.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = converse(&daemon, id, standing) => {}
            () = tokio::time::sleep(LIFE) => daemon.approvals.expire(id),
        }
    });
}

async fn converse(daemon: &Shared, id: u64, mut standing: watch::Receiver<Standing>) {
    let now = daemon.clock.now();
    let told = daemon.approvals.question(id, now, |question| {
        approval::tell(daemon, question, "asked", &sentence(question));
        (
            question.account.clone(),
            prompt(question),
            sentence(question),
        )
    });
    let Some((account, prompt, sentence)) = told else {
        return;
    };
    let config = daemon.config.load_full();
    let over = {
        let mut standing = standing.clone();
        async move { is_over(&mut standing).await }
    };
    let reaction = if config.notify.desktop {
        notify::ask(&prompt, over).await
    } else {
        Reaction::Nobody
    };
    match reaction {
        Reaction::Pressed(answer) => {
            let taken = approval::take(daemon, id, answer, None, "a desktop notification").await;
            if let Err(error) = taken {
                tracing::error!(%error, "an answer could not be kept");
            }
            return;
        }
        Reaction::Settled => return,
        Reaction::Nobody => {}
    }
    let mut told = config.notify.clone();
    // What cannot be answered can still be read.
    told.desktop &= !daemon.approvals.has_listeners();
    let message = Message {
        kind: "approval_needed",
        text: format!("{account}: {sentence}. Run 'authctl approve {id}'."),
    };
    notify::tell(&daemon.launcher, &told, &account, &message);
    if !daemon.approvals.has_listeners() {
        daemon.approvals.nobody_to_ask(id, now);
    }
    is_over(&mut standing).await;
}

/// Waits until the question is settled.
async fn is_over(standing: &mut watch::Receiver<Standing>) {
    let waits = |standing: &Standing| matches!(standing, Standing::Open | Standing::NobodyToAsk);
    // The question that is dropped is over as well.
    let _ = standing.wait_for(|standing| !waits(standing)).await;
}

/// What the person reads: what the system says first, then what the caller says.
fn prompt(question: &Question) -> Prompt {
    let mut lines = vec![format!("{}.", sentence(question))];
    if !question.scopes.is_empty() {
        lines.push(format!("scopes: {}", question.scopes.join(" ")));
    }
    if let Some(resource) = &question.resource {
        lines.push(format!("resource: {resource}"));
    }
    if let Some(claimed) = &question.claimed {
        lines.push(format!("It claims to be \"{claimed}\"."));
    }
    Prompt {
        summary: format!("authd: '{}'", question.account),
        body: lines.join("\n"),
        // What is changed is changed once and for all.
        answers: match question.subject {
            Subject::HandOut(_) => &[
                (Answer::Once, "Allow once"),
                (Answer::Allow, "Allow"),
                (Answer::Deny, "Deny"),
            ],
            Subject::Tier(_) | Subject::Grant(..) | Subject::Socket(_) => {
                &[(Answer::Once, "Allow"), (Answer::Deny, "Deny")]
            }
        },
    }
}

fn sentence(question: &Question) -> String {
    let who = question.caller.info().summary();
    match &question.subject {
        Subject::HandOut(Purpose::Token) => format!("{who} asks for a token"),
        Subject::HandOut(Purpose::Proof) => format!("{who} asks for proofs for its token"),
        Subject::Tier(tier) => {
            format!("{who} asks to lower the tier to {}", approval::word(*tier))
        }
        Subject::Grant(caller, None) => format!("{who} asks to let {caller} in from now on"),
        Subject::Grant(caller, Some(secs)) => {
            let span = humantime::format_duration(std::time::Duration::from_secs(*secs));
            format!("{who} asks to let {caller} in for {span}")
        }
        Subject::Socket(terms) => {
            format!("{who} asks for a restricted socket {}", terms.summary())
        }
    }
}
