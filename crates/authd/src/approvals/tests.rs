use authd_core::time::{Boot, Wall};

use super::*;
use crate::caller::Callers;

fn at(secs: u64) -> Now {
    Now {
        boot: Boot(1_000_000 + secs * 1000),
        wall: Wall(1_800_000_000_000 + i64::try_from(secs).unwrap() * 1000),
    }
}

fn work() -> Account {
    Account::new("work").unwrap()
}

fn wish(caller: &Arc<Caller>) -> Wish {
    Wish {
        account: work(),
        subject: Subject::HandOut(Purpose::Token),
        caller: Arc::clone(caller),
        claimed: None,
        scopes: Vec::new(),
        resource: None,
    }
}

fn shown(approvals: &Approvals, caller: &Arc<Caller>, secs: u64) -> String {
    admission(approvals, Purpose::Token, &wish(caller), secs)
}

fn admission(approvals: &Approvals, purpose: Purpose, wish: &Wish, secs: u64) -> String {
    match approvals.admit(purpose, wish, at(secs)) {
        Admission::Granted(because) => format!("{because:?}"),
        Admission::Denied => "denied".to_owned(),
        Admission::Asked(asked) => format!("asked {}", asked.id),
        Admission::NotAsked(why) => format!("{why:?}"),
    }
}

/// The question that is asked.
fn question_of(admission: Admission) -> Asked {
    match admission {
        Admission::Asked(asked) => asked,
        _ => panic!("it is not asked"),
    }
}

async fn answer(approvals: &Approvals, id: u64, answer: Answer, secs: u64) -> Option<Answer> {
    let answered = approvals.answer(id, answer, None, at(secs)).await;
    answered.unwrap().map(|(_, counts)| counts)
}

async fn open(dir: &tempfile::TempDir, tier: Tier) -> Approvals {
    let approvals = Approvals::open(dir.path().to_owned());
    approvals.set_tier(&work(), tier, at(0)).await.unwrap();
    approvals
}

#[tokio::test]
async fn an_answer_once_is_used_up_by_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let approvals = open(&dir, Tier::AskEach).await;
    let git = Callers::named("exe:/usr/bin/git");
    assert_eq!(shown(&approvals, &git, 0), "asked 1");
    // At this tier a plain yes is for one request.
    assert_eq!(
        answer(&approvals, 1, Answer::Allow, 1).await,
        Some(Answer::Once)
    );
    assert_eq!(shown(&approvals, &git, 1), "Answer");
    assert_eq!(shown(&approvals, &git, 1), "asked 2");
    assert_eq!(
        answer(&approvals, 1, Answer::Allow, 1).await,
        None,
        "it is over"
    );
    assert_eq!(
        answer(&approvals, 2, Answer::Deny, 2).await,
        Some(Answer::Deny)
    );
    assert_eq!(shown(&approvals, &git, 3), "denied");
    assert_eq!(
        shown(&approvals, &Callers::named("exe:/usr/bin/gh"), 3),
        "asked 3"
    );
}

#[tokio::test]
async fn a_yes_at_ask_once_holds_until_lock() {
    let dir = tempfile::tempdir().unwrap();
    let approvals = open(&dir, Tier::AskOnce).await;
    let git = Callers::named("exe:/usr/bin/git");
    assert_eq!(shown(&approvals, &git, 0), "asked 1");
    assert_eq!(
        answer(&approvals, 1, Answer::Allow, 1).await,
        Some(Answer::Allow)
    );
    for secs in [1, 600, 1199] {
        assert_eq!(shown(&approvals, &git, secs), "Approval");
    }
    let waiting = question_of(approvals.admit(
        Purpose::Token,
        &wish(&Callers::named("exe:/usr/bin/gh")),
        at(1199),
    ));
    approvals.forget();
    assert_eq!(*waiting.standing.borrow(), Standing::Cancelled);
    assert_eq!(shown(&approvals, &git, 1200), "asked 3");
}

#[tokio::test]
async fn what_stands_is_there_after_a_restart_and_a_lock() {
    let dir = tempfile::tempdir().unwrap();
    let approvals = open(&dir, Tier::AskEach).await;
    let git = Callers::named("exe:/usr/bin/git");
    assert_eq!(shown(&approvals, &git, 0), "asked 1");
    let answered = approvals.answer(1, Answer::Always, Some(3600), at(1)).await;
    assert_eq!(answered.unwrap().unwrap().1, Answer::Always);
    approvals.forget();
    assert_eq!(shown(&approvals, &git, 2), "Grant");
    let again = Approvals::open(dir.path().to_owned());
    assert_eq!(again.tier(&work()), Tier::AskEach);
    assert_eq!(shown(&again, &git, 3600), "Grant");
    assert_eq!(shown(&again, &git, 3601), "asked 1");
    assert_eq!(again.grants(&work(), at(3600)).len(), 1);
    assert_eq!(again.revoke(&work(), None, at(3)).await.unwrap(), 1);
    assert!(again.grants(&work(), at(3)).is_empty());
}

#[tokio::test]
async fn a_caller_without_a_lasting_name_gets_less_than_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let approvals = open(&dir, Tier::AskOnce).await;
    let nobody = Callers::default().unidentified();
    assert_eq!(shown(&approvals, &nobody, 0), "asked 1");
    assert_eq!(
        answer(&approvals, 1, Answer::Always, 1).await,
        Some(Answer::Once)
    );
    assert_eq!(shown(&approvals, &nobody, 2), "Answer");
    assert_eq!(shown(&approvals, &nobody, 3), "asked 2");
    assert!(approvals.grants(&work(), at(3)).is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_makes_every_account_ask_and_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, Tier::AskOnce).await);
    let path = dir.path().join(FILE);
    let torn = std::fs::read(&path).unwrap();
    std::fs::write(&path, &torn[..torn.len() / 2]).unwrap();
    let approvals = Approvals::open(dir.path().to_owned());
    assert!(approvals.unread().is_some());
    for name in ["work", "home"] {
        assert_eq!(approvals.tier(&Account::new(name).unwrap()), Tier::AskEach);
    }
    let refused = approvals.set_tier(&work(), Tier::Allow, at(0)).await;
    assert!(matches!(refused, Err(NotKept::Unread(_))));
    assert_eq!(std::fs::read(&path).unwrap().len(), torn.len() / 2);
}

#[tokio::test]
async fn a_lower_tier_is_set_by_the_answer_itself() {
    let dir = tempfile::tempdir().unwrap();
    let approvals = open(&dir, Tier::AskEach).await;
    let lower = Wish {
        subject: Subject::Tier(Tier::Allow),
        ..wish(&Callers::named("unit:x.service"))
    };
    let asked = question_of(approvals.ask(&lower, at(0)));
    assert_eq!(
        answer(&approvals, asked.id, Answer::Deny, 1).await,
        Some(Answer::Deny)
    );
    assert_eq!(approvals.tier(&work()), Tier::AskEach);
    let asked = question_of(approvals.ask(&lower, at(2)));
    assert_eq!(
        answer(&approvals, asked.id, Answer::Once, 3).await,
        Some(Answer::Once)
    );
    assert_eq!(*asked.standing.borrow(), Standing::Answered(true));
    assert_eq!(approvals.tier(&work()), Tier::Allow);
}

#[test]
fn only_a_known_process_that_did_not_ask_answers() {
    let dir = tempfile::tempdir().unwrap();
    let approvals = Approvals::open(dir.path().to_owned());
    let nobody = Callers::default().unidentified();
    let asked = question_of(approvals.ask(&wish(&nobody), at(0)));
    let refused = approvals.question(asked.id, at(0), |question| {
        may_answer(&nobody, &[], question)
    });
    assert!(refused.unwrap().is_err());
}

#[tokio::test]
async fn a_yes_to_one_token_is_none_to_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let approvals = open(&dir, Tier::AskEach).await;
    let (git, gh) = (
        Callers::named("exe:/usr/bin/git"),
        Callers::named("exe:/usr/bin/gh"),
    );
    let asks = |caller, purpose, scopes: &[&str], resource: Option<&str>| {
        let wish = Wish {
            subject: Subject::HandOut(purpose),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            resource: resource.map(str::to_owned),
            ..wish(caller)
        };
        admission(&approvals, purpose, &wish, 1)
    };
    let (token, proof) = (Purpose::Token, Purpose::Proof);
    assert_eq!(asks(&git, token, &["profile"], None), "asked 1");
    answer(&approvals, 1, Answer::Once, 1).await;
    assert_eq!(asks(&git, token, &["profile", "admin"], None), "asked 2");
    answer(&approvals, 2, Answer::Deny, 1).await;
    // A no takes every yes of that program with it.
    assert_eq!(asks(&git, token, &["profile"], None), "denied");

    assert_eq!(asks(&gh, token, &["profile"], None), "asked 3");
    answer(&approvals, 3, Answer::Once, 1).await;
    assert_eq!(asks(&gh, token, &["profile"], None), "Answer");
    assert_eq!(asks(&gh, proof, &[], None), "Answer", "of what it got");
    assert_eq!(
        asks(&gh, token, &["profile"], Some("https://rs.example")),
        "asked 4"
    );
}

#[tokio::test]
async fn of_two_answers_at_once_the_first_counts_and_the_other_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let approvals = open(&dir, Tier::AskEach).await;
    let lower = Wish {
        subject: Subject::Tier(Tier::Allow),
        ..wish(&Callers::named("unit:x.service"))
    };
    let asked = question_of(approvals.ask(&lower, at(0)));
    // The disk is busy with something else.
    let busy = approvals.changing.lock().await;
    let mut yes = std::pin::pin!(answer(&approvals, asked.id, Answer::Once, 1));
    let waits = std::future::poll_fn(|context| std::task::Poll::Ready(yes.as_mut().poll(context)));
    assert!(waits.await.is_pending());
    assert_eq!(answer(&approvals, asked.id, Answer::Deny, 1).await, None);
    assert_eq!(*asked.standing.borrow(), Standing::Open);
    drop(busy);
    assert_eq!(yes.await, Some(Answer::Once));
    assert_eq!(*asked.standing.borrow(), Standing::Answered(true));
    assert_eq!(approvals.tier(&work()), Tier::Allow);
}

#[tokio::test]
async fn an_answer_that_is_not_kept_is_none_and_the_question_waits() {
    let dir = tempfile::tempdir().unwrap();
    let approvals = open(&dir, Tier::AskEach).await;
    let git = Callers::named("exe:/usr/bin/git");
    assert_eq!(shown(&approvals, &git, 0), "asked 1");
    let state_dir = dir.path().to_owned();
    drop(dir);
    let not_kept = approvals.answer(1, Answer::Always, None, at(1)).await;
    assert!(not_kept.is_err());
    std::fs::create_dir(&state_dir).unwrap();
    assert_eq!(
        answer(&approvals, 1, Answer::Always, 2).await,
        Some(Answer::Always)
    );
    std::fs::remove_dir_all(state_dir).unwrap();
}

#[tokio::test]
async fn with_an_account_go_its_answers_and_questions() {
    let dir = tempfile::tempdir().unwrap();
    let approvals = open(&dir, Tier::AskOnce).await;
    let git = Callers::named("exe:/usr/bin/git");
    assert_eq!(shown(&approvals, &git, 0), "asked 1");
    answer(&approvals, 1, Answer::Allow, 1).await;
    assert_eq!(shown(&approvals, &git, 1), "Approval");
    let gh = wish(&Callers::named("exe:/usr/bin/gh"));
    let waiting = question_of(approvals.admit(Purpose::Token, &gh, at(1)));
    approvals.forget_of(&work());
    assert_eq!(*waiting.standing.borrow(), Standing::Gone);
    assert_eq!(answer(&approvals, waiting.id, Answer::Allow, 1).await, None);
    assert_eq!(shown(&approvals, &git, 1), "asked 3");
}
