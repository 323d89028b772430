//! `approve` at a terminal: one question after the other, and no is what nothing means.

use std::sync::{Arc, Mutex};

use authd_proto::approval::{
    Answer, ApprovalAnswerReply, ApprovalListReply, Asks, CallerInfo, Question, Tier,
};
use authd_proto::call::Call;
use authd_proto::error::{ErrorCode, WireError};
use authd_proto::event::EventKind;
use authd_proto::response::SubscribeReply;

use crate::daemon::{FakeDaemon, PATIENCE, run};
use crate::terminal::Terminal;

fn question(id: u64, tier: Tier) -> Question {
    Question {
        approval_id: id,
        account: "work".into(),
        asks: Asks::Token,
        caller: CallerInfo {
            name: "exe:/usr/bin/git".into(),
            pid: Some(900),
            executable: Some("/usr/bin/git".into()),
            ..CallerInfo::default()
        },
        claimed: Some("\u{1b}[31mgit".into()),
        tier,
        scopes: Vec::new(),
        resource: None,
        change: None,
        asked_at: 1,
        expires_at: u64::MAX / 2,
    }
}

/// Answers, in the order in which they came.
type Answers = Arc<Mutex<Vec<(u64, Answer, Option<u64>)>>>;

fn daemon(questions: Vec<Question>) -> (FakeDaemon, Answers) {
    daemon_that_waits(questions, || {})
}

/// The same; it does that before it says that an answer has come.
fn daemon_that_waits(
    questions: Vec<Question>,
    wait: impl Fn() + Send + Sync + 'static,
) -> (FakeDaemon, Answers) {
    let answers = Answers::default();
    let told = Arc::clone(&answers);
    let waiting = Mutex::new(questions);
    let daemon = FakeDaemon::start(move |call, reply| {
        let mut waiting = waiting.lock().expect("not poisoned");
        match call {
            Call::Subscribe(subscribe) => {
                assert_eq!(subscribe.events, Some(vec![EventKind::Approval]));
                reply.ok(&SubscribeReply {
                    events: vec![EventKind::Approval],
                });
            }
            Call::ApprovalList(_) => reply.ok(&ApprovalListReply {
                approvals: waiting.clone(),
            }),
            Call::ApprovalAnswer(answer) => {
                wait();
                let before = waiting.len();
                waiting.retain(|question| question.approval_id != answer.approval_id);
                if waiting.len() == before {
                    let none = WireError::new(ErrorCode::BadRequest, "no such question waits");
                    return reply.error(&none);
                }
                let mut told = told.lock().expect("not poisoned");
                told.push((answer.approval_id, answer.answer, answer.for_secs));
                reply.ok(&ApprovalAnswerReply {
                    approval_id: answer.approval_id,
                    account: "work".into(),
                    answer: answer.answer,
                });
            }
            _ => reply.hang_up(),
        }
    });
    (daemon, answers)
}

#[test]
fn at_a_terminal_each_question_is_asked_and_enter_is_no() {
    let questions = vec![
        question(1, Tier::AskOnce),
        question(2, Tier::AskOnce),
        question(3, Tier::AskEach),
        question(4, Tier::AskEach),
    ];
    let (daemon, answers) = daemon(questions);
    let mut terminal = Terminal::start(&daemon, "approve");
    terminal.see("1  asks for a token of ");
    terminal.see("/usr/bin/git (pid 900)");
    terminal.answer("o(nce), y(es) until lock, or Enter for no: ", "y");
    // The prompt is drawn anew with each key: what comes next begins with its question.
    terminal.see("2  asks for a token of ");
    terminal.answer("Enter for no: ", "o");
    terminal.see("3  asks for a token of ");
    terminal.answer("Allow it once? y(es), or Enter for no: ", "");
    terminal.see("4  asks for a token of ");
    terminal.answer("Enter for no: ", "yes please");
    terminal.see("no program waits for an answer");
    terminal.press("\u{3}");
    let (shown, _) = terminal.end();
    assert!(!shown.contains("\u{1b}[31mgit"), "{shown:?}");
    assert_eq!(
        *answers.lock().expect("not poisoned"),
        [
            (1, Answer::Allow, None),
            (2, Answer::Once, None),
            (3, Answer::Deny, None),
            (4, Answer::Deny, None),
        ]
    );
}

#[test]
fn what_was_typed_before_a_question_was_there_is_no_answer_to_it() {
    let (go_on, gone_on) = std::sync::mpsc::channel();
    let gone_on = Mutex::new(gone_on);
    let questions = vec![question(1, Tier::AskOnce), question(2, Tier::AskOnce)];
    let (daemon, answers) = daemon_that_waits(questions, move || {
        let gone_on = gone_on.lock().expect("not poisoned");
        gone_on.recv_timeout(PATIENCE).expect("the word to go on");
    });
    let mut terminal = Terminal::start(&daemon, "approve");
    terminal.answer("Enter for no: ", "y");
    while daemon.next_call() != "approval.answer" {}
    // Nobody reads now, and the terminal itself shows what is typed.
    terminal.press("yes\r");
    terminal.see("yes\r\n");
    go_on.send(()).expect("the daemon waits");
    terminal.see("2  asks for a token of ");
    go_on.send(()).expect("the daemon waits");
    terminal.answer("Enter for no: ", "");
    terminal.see("no program waits for an answer");
    terminal.press("\u{3}");
    terminal.end();
    assert_eq!(
        *answers.lock().expect("not poisoned"),
        [(1, Answer::Allow, None), (2, Answer::Deny, None)]
    );
}

#[test]
fn an_interrupt_at_a_question_answers_nothing_and_leaves_the_terminal_as_it_was() {
    let (daemon, answers) = daemon(vec![question(1, Tier::AskOnce)]);
    let mut terminal = Terminal::start(&daemon, "approve");
    terminal.see("Enter for no: ");
    terminal.press("y\u{3}");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(1), "{shown}");
    assert_eq!(*answers.lock().expect("not poisoned"), []);
}

#[test]
fn each_answer_can_be_given_without_a_terminal() {
    let answer = |arguments: &[&str]| {
        let (daemon, answers) = daemon(vec![question(7, Tier::AskOnce)]);
        let arguments = ["approve", "7"].iter().chain(arguments).copied();
        let (out, errors, status) = run(&mut daemon.authctl(arguments));
        assert_eq!((out.as_str(), status), ("", Some(0)), "{errors}");
        let answers = answers.lock().expect("not poisoned");
        let (_, answer, for_secs) = answers[0];
        (answer, for_secs, errors)
    };
    assert_eq!(answer(&[]).0, Answer::Allow);
    assert_eq!(answer(&["--once"]).0, Answer::Once);
    assert_eq!(answer(&["--deny"]).0, Answer::Deny);
    assert_eq!(answer(&["--always"]).0, Answer::Always);
    let (always, for_secs, said) = answer(&["--for", "8h"]);
    assert_eq!((always, for_secs), (Answer::Always, Some(28_800)));
    assert_eq!(said, "authctl: 'work': allowed for 8h\n");
}

#[test]
fn without_a_terminal_the_questions_are_listed() {
    let (daemon, answers) = daemon(vec![question(7, Tier::AskOnce)]);
    let (out, errors, status) = run(&mut daemon.authctl(["approve"]));
    assert_eq!((errors.as_str(), status), ("", Some(0)));
    assert!(out.starts_with("7  asks for a token of work\n"), "{out}");
    assert!(answers.lock().expect("not poisoned").is_empty());
    let (_, errors, status) = run(&mut daemon.authctl(["approve", "8"]));
    assert_eq!(status, Some(2), "{errors}");
    let (_, errors, status) = run(&mut daemon.authctl(["approve", "--deny"]));
    assert_eq!(status, Some(2), "{errors}");
}
