//! Passphrases at a terminal: typed unseen, asked for again when mistyped, and the terminal as it was before,
//! however it ends.

use std::sync::{Arc, Mutex};

use authd_proto::call::Call;
use authd_proto::error::{ErrorCode, WireError};
use authd_proto::key::{DaemonUnlockReply, KeyPlace, KeyStatusReply};

use crate::daemon::FakeDaemon;
use crate::terminal::Terminal;

const RIGHT: &str = "canary staple";
const NEW: &str = "canary battery";

/// What was given, call by call: the passphrase, and the new one.
type Given = Arc<Mutex<Vec<(Option<String>, Option<String>)>>>;

/// A daemon whose key [`RIGHT`] protects.
fn daemon() -> (FakeDaemon, Given) {
    let given = Given::default();
    let told = Arc::clone(&given);
    let daemon = FakeDaemon::start(move |call, reply| {
        let key = KeyStatusReply {
            place: Some(KeyPlace::Passphrase),
            since_at: None,
            rotations: 0,
            detail: "/state/key.passphrase".to_owned(),
            worth: "as good as the passphrase".to_owned(),
            locked: true,
            left_in: Vec::new(),
        };
        let (passphrase, new_one) = match &call {
            Call::KeyStatus(_) => return reply.ok(&key),
            Call::DaemonUnlock(ask) => (&ask.passphrase, &None),
            Call::KeyRotate(ask) => (&ask.passphrase, &None),
            Call::KeyMove(ask) => (&ask.passphrase, &ask.new_passphrase),
            _ => return reply.hang_up(),
        };
        let text = |secret: &Option<authd_proto::WireSecret>| {
            secret.as_ref().map(|secret| secret.expose().to_owned())
        };
        let passphrase = text(passphrase);
        told.lock()
            .expect("not poisoned")
            .push((passphrase.clone(), text(new_one)));
        match passphrase.as_deref() {
            None => {
                let code = ErrorCode::PassphraseRequired;
                reply.error(&WireError::new(code, "a passphrase protects the key"));
            }
            Some(RIGHT) => match call {
                Call::DaemonUnlock(_) => reply.ok(&DaemonUnlockReply {
                    was_locked: true,
                    accounts: 2,
                }),
                _ => reply.ok(&key),
            },
            Some(_) => {
                let wrong = WireError::new(ErrorCode::WrongPassphrase, "the passphrase is wrong");
                reply.error(&wrong.with_retry_after_secs(0));
            }
        }
    });
    (daemon, given)
}

fn given(given: &Given) -> Vec<(Option<String>, Option<String>)> {
    given.lock().expect("not poisoned").clone()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn unlock_asks_for_it_unseen_and_again_when_it_was_mistyped() {
    let (daemon, calls) = daemon();
    let mut terminal = Terminal::start(&daemon, "unlock");
    terminal.answer("Passphrase (not shown): ", "canary stable");
    terminal.see("the passphrase is wrong");
    terminal.answer("Passphrase (not shown): ", RIGHT);
    terminal.see("unlocked; 2 accounts are there");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
    let expected = [
        (None, None),
        (some("canary stable"), None),
        (some(RIGHT), None),
    ];
    assert_eq!(given(&calls), expected);
}

#[test]
fn three_wrong_ones_are_enough() {
    let (daemon, calls) = daemon();
    let mut terminal = Terminal::start(&daemon, "key rotate");
    for guess in ["one", "two", "three"] {
        terminal.answer("Passphrase (not shown): ", guess);
    }
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(6), "{shown}");
    assert!(shown.contains("the passphrase is wrong"), "{shown}");
    assert_eq!(given(&calls).len(), 3);
}

#[test]
fn a_new_one_is_typed_twice_and_once_however_often_the_old_one_is_mistyped() {
    let (daemon, calls) = daemon();
    let mut terminal = Terminal::start(&daemon, "key move --to passphrase");
    terminal.answer("Passphrase (not shown): ", "mistyped");
    terminal.answer("New passphrase (not shown): ", NEW);
    terminal.answer("The same once more: ", NEW);
    terminal.answer("Passphrase (not shown): ", RIGHT);
    terminal.see("the key is kept so now: passphrase");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
    let expected = [(some("mistyped"), some(NEW)), (some(RIGHT), some(NEW))];
    assert_eq!(given(&calls), expected);
}

#[test]
fn a_new_one_that_is_not_the_same_twice_changes_nothing() {
    let (daemon, calls) = daemon();
    let mut terminal = Terminal::start(&daemon, "key move --to passphrase");
    terminal.answer("Passphrase (not shown): ", RIGHT);
    terminal.answer("New passphrase (not shown): ", NEW);
    terminal.answer("The same once more: ", "another");
    terminal.see("the two passphrases are not the same");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(2), "{shown}");
    assert_eq!(given(&calls), []);
}

#[test]
fn an_interrupt_and_the_end_of_input_leave_the_terminal_as_it_was() {
    for verb in ["unlock", "key rotate", "key move --to passphrase"] {
        for keys in ["canary half\u{3}", "\u{4}"] {
            let (daemon, calls) = daemon();
            let mut terminal = Terminal::start(&daemon, verb);
            terminal.see("Passphrase (not shown): ");
            terminal.press(keys);
            // It looks at the terminal's modes.
            let (shown, status) = terminal.end();
            assert_eq!(status, Some(1), "{shown}");
            assert!(!shown.contains("canary"), "{shown}");
            assert!(given(&calls).iter().all(|given| *given == (None, None)));
        }
    }
}
