//! Whatever text comes from a provider, a person or a daemon, and through whichever command it is shown:
//! nothing in it acts on the terminal, and nothing in it begins a line of its own.

use std::fs;
use std::path::Path;

use authd_proto::call::Call;
use authd_proto::doctor::DoctorCheckReply;
use authd_proto::error::{ErrorCode, WireError};
use authd_proto::event::Event;
use authd_proto::provider::{ProviderListReply, ProviderShowReply};
use authd_proto::response as res;
use serde_json::Value;

use crate::daemon::{FakeDaemon, Reply, run};

/// Clears the screen, rings, writes in red, breaks the line, deletes, and turns the text around.
const HOSTILE: &str = "\x1b[2J\x07\u{9b}31m\r\nFORGED\x7f\x08\u{202e}\u{2066}\u{61c}\u{85}";

/// The result in a golden vector, with [`HOSTILE`] at the end of each text that may be any text.
fn hostile(vector: &str, is_read: impl Fn(&Value) -> bool) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../proto/vectors")
        .join(format!("{vector}.json"));
    let text = fs::read_to_string(path).expect("a vector");
    let message: Value = serde_json::from_str(&text).expect("JSON");
    let mut result = message[3].clone();
    if vector.starts_with("notification") {
        result = message[2][0].clone();
    }
    assert!(is_read(&result), "{vector}");
    let mut texts = Vec::new();
    pointers(&result, String::new(), &mut texts);
    let mut spoilt = 0;
    for pointer in texts {
        let before = result.clone();
        let text = result.pointer_mut(&pointer).expect("what was found there");
        *text = format!("{}{HOSTILE}", text.as_str().expect("a text")).into();
        if is_read(&result) {
            spoilt += 1;
        } else {
            // One of a few words, or a number in disguise.
            result = before;
        }
    }
    assert!(spoilt > 0, "{vector} has no text");
    result
}

/// Where the texts in it are.
fn pointers(value: &Value, here: String, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(here),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, format!("{here}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                pointers(member, format!("{here}/{name}"), found);
            }
        }
        _ => {}
    }
}

fn is<T: serde::de::DeserializeOwned>(value: &Value) -> bool {
    serde_json::from_value::<T>(value.clone()).is_ok()
}

/// A daemon all of whose answers are hostile.
fn answer(call: &Call<'_>, reply: &mut Reply<'_>, login: &str) {
    let result = match call {
        Call::AccountList(_) => {
            let mut page = hostile("response-account.list", is::<res::AccountListReply>);
            page["cursor"] = Value::Null;
            page
        }
        Call::AccountGet(_) => hostile("response-account.get", is::<res::AccountInfo>),
        Call::AccountCheck(_) => hostile("response-account.check", is::<res::AccountCheckReply>),
        Call::AccountForget(_) => hostile("response-account.forget", is::<res::AccountForgetReply>),
        Call::AccountAdopt(_) => hostile("response-account.adopt", is::<res::AccountAdoptReply>),
        Call::Logout(_) => hostile("response-logout", is::<res::LogoutReply>),
        Call::Renew(_) => hostile("response-renew", is::<res::RenewReply>),
        Call::TokenGet(_) => hostile("response-token.get", is::<res::TokenReply>),
        Call::DaemonStatus(_) => hostile("response-daemon.status", is::<res::DaemonStatusReply>),
        Call::DaemonReload(_) => hostile("response-daemon.reload", is::<res::DaemonReloadReply>),
        Call::DoctorCheck(_) => hostile("response-doctor.check", is::<DoctorCheckReply>),
        Call::ProviderList(_) => hostile("response-provider.list", is::<ProviderListReply>),
        Call::ProviderShow(_) => hostile("response-provider.show", is::<ProviderShowReply>),
        Call::LoginStart(_) => hostile(login, is::<res::LoginStartReply>),
        Call::LoginWait(_) => hostile("response-login.wait", is::<res::LoginProgress>),
        Call::EventsQuery(_) => {
            let mut page = hostile("response-events.query", is::<res::EventsQueryReply>);
            let failed = hostile("notification-event-failed", is::<Event>);
            let events = page["events"].as_array_mut();
            events.expect("a page of events").push(failed);
            page["cursor"] = Value::Null;
            page
        }
        other => panic!("no answer to {:?}", other.method()),
    };
    reply.ok(&result);
}

/// Nothing acts on the terminal, and what was forged stands in no line of its own.
fn assert_tame(what: &str, text: &str) {
    let acts = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(acts), "{what}: {text:?}");
    let forged = text.lines().any(|line| line.starts_with("FORGED"));
    assert!(!forged, "{what}: {text}");
}

#[test]
fn no_text_of_anybody_elses_acts_on_the_terminal_through_whichever_command() {
    let mut shown = 0;
    for arguments in [
        &["list"][..],
        &["status"],
        &["status", "work"],
        &["events"],
        &["doctor"],
        &["provider", "list"],
        &["provider", "show", "github"],
        &["renew", "work"],
        &["logout", "work"],
        &["forget", "work"],
        &["adopt", "work"],
        &["daemon", "reload"],
        &["login", "work", "--no-browser"],
        &["login", "work", "--device"],
    ] {
        let login = match arguments.last() {
            Some(&"--device") => "response-login.start-device",
            _ => "response-login.start",
        };
        for json in [false, true] {
            let daemon = FakeDaemon::start(move |call, reply| answer(&call, reply, login));
            let more = json.then_some("--json");
            let mut command = daemon.authctl(arguments.iter().copied().chain(more));
            let (out, errors, _) = run(&mut command);
            let what = format!("{arguments:?}, json: {json}");
            assert_tame(&what, &out);
            assert_tame(&what, &errors);
            shown += usize::from(out.contains("FORGED") || errors.contains("FORGED"));
        }
    }
    // Else this would test nothing: most of them show a text of somebody's.
    assert!(shown >= 20, "{shown}");
}

#[test]
fn no_error_acts_on_the_terminal_whatever_its_code_and_its_words() {
    for &code in ErrorCode::ALL {
        for arguments in [
            &["token", "work"][..],
            &["renew", "work"],
            &["status"],
            &["login", "work", "--no-browser"],
            &["login", "work", "--no-browser", "--json"],
            &["doctor"],
        ] {
            let daemon = FakeDaemon::start(move |_, reply| {
                let error = WireError::new(code, format!("no{HOSTILE}"))
                    .with_account(format!("work{HOSTILE}"))
                    .with_hint(format!("do{HOSTILE}"))
                    .with_candidates(vec![format!("a{HOSTILE}"), format!("b{HOSTILE}")]);
                reply.error(&error);
            });
            let (out, errors, _) = run(&mut daemon.authctl(arguments.iter().copied()));
            let what = format!("{code} of {arguments:?}");
            assert_tame(&what, &out);
            assert_tame(&what, &errors);
        }
        let daemon = FakeDaemon::start(move |_, reply| {
            // Without a hint of the daemon's, ours is made of these.
            let error = WireError::new(code, "no")
                .with_account(format!("work{HOSTILE}"))
                .with_candidates(vec![format!("a{HOSTILE}")]);
            reply.error(&error);
        });
        let (out, errors, _) = run(&mut daemon.authctl(["token", "work"]));
        assert_tame(code.as_str(), &out);
        assert_tame(code.as_str(), &errors);
    }
}

#[test]
fn names_that_a_person_gives_do_not_act_on_the_terminal_either() {
    let daemon = FakeDaemon::start(|call, reply| answer(&call, reply, "response-login.start"));
    for verb in ["renew", "status", "logout", "forget", "adopt", "events"] {
        let (out, errors, _) = run(&mut daemon.authctl([verb, HOSTILE]));
        assert_tame(verb, &out.replace(HOSTILE, ""));
        assert_tame(verb, &errors);
    }
}
