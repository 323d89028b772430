//! `authctl login` on a terminal: its questions, its prompt for what is pasted, its picture, its end.

use std::sync::atomic::{AtomicU32, Ordering};

use authd_proto::call::Call;
use authd_proto::provider::{
    ProviderInfo, ProviderListReply, ProviderOrigin, ProviderShowReply, ProviderVariable,
};
use authd_proto::request::{ClientAuth, Flow};
use authd_proto::response::{AccountListReply, ClientIdBy, LoginCancelReply, LoginProgress};
use authd_proto::{ErrorCode, WireError};

use crate::daemon::{FakeDaemon, account, daemon_status, state_of};
use crate::login::{done, started};
use crate::terminal::Terminal;

const NEW: &str = "login work --issuer https://idp.example.com --client-id authd";

#[test]
fn without_arguments_everything_is_asked_shown_and_done() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::AccountList(_) => reply.ok(&AccountListReply {
            accounts: Vec::new(),
            cursor: None,
        }),
        // One that knows no provider by name.
        Call::ProviderList(_) => reply.error(&WireError::new(ErrorCode::UnknownMethod, "none")),
        Call::LoginStart(start) => {
            assert_eq!(start.account, "home");
            assert_eq!(start.issuer.as_deref(), Some("https://idp.example.com"));
            assert_eq!(start.client_id.as_deref(), Some("authd-cli"));
            let secret = start.client_secret.as_ref().map(|secret| secret.expose());
            assert_eq!(secret, Some("hush hush"));
            assert_eq!(start.client_auth, None::<ClientAuth>);
            let scopes = ["openid", "email"].map(str::to_owned);
            assert_eq!(start.scopes.as_deref(), Some(&scopes[..]));
            reply.ok(&started(start.flow));
        }
        Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let mut terminal = Terminal::start(&daemon, "login");
    terminal.answer("Account [work]: ", "my account");
    terminal.see("a name has 1 to 64 letters");
    terminal.answer("Account [work]: ", "hoem\x7f\x7fme");
    terminal.answer("the issuer): ", "somewhere nice");
    terminal.see("that is no address");
    terminal.answer("the issuer): ", "idp.example.com");
    terminal.answer("Client id [register]: ", "authd-cli");
    terminal.answer("(not shown): ", "hush hush");
    terminal.answer("[openid offline_access]: ", "openid email");
    terminal.see("provider    https://idp.example.com");
    terminal.see("in your browser");
    terminal.see("authctl login home --issuer https://idp.example.com --client-id authd-cli");
    terminal.answer("Go on? [Y/n]: ", "what?");
    terminal.answer("Go on? [Y/n]: ", "");
    terminal.see("Logged in");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
    assert!(!shown.contains("hush"), "the secret was shown");
}

#[test]
fn a_provider_that_has_a_name_is_listed_and_asks_for_what_it_needs() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::AccountList(_) => reply.ok(&AccountListReply {
            accounts: Vec::new(),
            cursor: None,
        }),
        Call::ProviderList(_) => reply.ok(&ProviderListReply {
            providers: vec![gitlab()],
            cursor: None,
        }),
        Call::ProviderShow(_) => reply.ok(&ProviderShowReply {
            info: gitlab(),
            addresses: Vec::new(),
            redirect_uri: "http://localhost/callback".to_owned(),
            registration: None,
            notes: Vec::new(),
            facts: Vec::new(),
        }),
        Call::LoginStart(start) => {
            assert_eq!(start.provider.as_deref(), Some("gitlab"));
            assert_eq!((start.issuer, start.scopes), (None, None));
            let host = start.variables.get("host").map(String::as_str);
            assert_eq!(host, Some("git.example.org"));
            assert!(!start.variables.contains_key("path"));
            reply.ok(&started(start.flow));
        }
        Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let mut terminal = Terminal::start(&daemon, "login");
    terminal.answer("Account [work]: ", "");
    terminal.see("  gitlab");
    terminal.answer("the issuer): ", "gitlab");
    terminal.see("host: where GitLab is");
    terminal.answer("host: ", "");
    terminal.see("need it");
    terminal.answer("host: ", "git.example.org");
    terminal.answer("path [/]: ", "");
    terminal.see("http://localhost/callback ('authctl provider show gitlab' says how)");
    terminal.answer("Client id: ", "authd-cli");
    terminal.answer("(not shown): ", "");
    terminal.answer("[usual]: ", "");
    terminal.see("those usual there");
    terminal.see("authctl login work --provider gitlab --set host=git.example.org");
    terminal.answer("Go on? [Y/n]: ", "");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
}

fn gitlab() -> ProviderInfo {
    let variable = |name: &str, about: &str, default: Option<&str>| ProviderVariable {
        name: name.to_owned(),
        about: about.to_owned(),
        default: default.map(str::to_owned),
    };
    ProviderInfo {
        name: "gitlab".to_owned(),
        title: "GitLab".to_owned(),
        flows: vec![Flow::Browser],
        variables: vec![
            variable("host", "where GitLab is", None),
            variable("path", "below the host", Some("/")),
        ],
        origin: ProviderOrigin::BuiltIn,
    }
}

#[test]
fn a_login_again_needs_two_keys() {
    let known = state_of(daemon_status(), vec![account("old")]);
    let daemon = FakeDaemon::start(move |call, reply| match call {
        Call::LoginStart(start) => {
            assert_eq!((start.account.as_str(), start.issuer), ("old", None));
            reply.ok(&started(Flow::Browser));
        }
        Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
        call => known(call, reply),
    });
    let mut terminal = Terminal::start(&daemon, "login");
    terminal.answer("Account [old]: ", "");
    terminal.see("to 'old' again");
    terminal.answer("Go on? [Y/n]: ", "");
    assert_eq!(terminal.end().1, Some(0));
}

#[test]
fn only_what_is_missing_is_asked() {
    let known = state_of(daemon_status(), vec![account("old")]);
    let daemon = FakeDaemon::start(move |call, reply| match call {
        Call::LoginStart(start) => {
            assert_eq!(start.client_id.as_deref(), Some("authd-cli"));
            assert_eq!(start.client_secret.map(|_| ()), None);
            assert_eq!(start.scopes.map(|scopes| scopes.len()), Some(1));
            reply.ok(&started(Flow::Browser));
        }
        Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
        call => known(call, reply),
    });
    let asked = "login new --issuer https://idp.example.com --dpop --scope openid";
    let mut terminal = Terminal::start(&daemon, asked);
    terminal.answer("Client id [register]: ", "authd-cli");
    terminal.answer("(not shown): ", "");
    // All that was said, and what was answered.
    terminal.see("--issuer https://idp.example.com --dpop --scope openid --client-id authd-cli");
    terminal.answer("Go on? [Y/n]: ", "y");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
    assert!(!shown.contains("Account"), "{shown}");
}

#[test]
fn a_client_that_the_provider_is_to_register_has_no_secret_to_ask_for() {
    let known = state_of(daemon_status(), vec![account("old")]);
    let daemon = FakeDaemon::start(move |call, reply| match call {
        Call::LoginStart(start) => {
            assert_eq!(
                (start.client_id, start.client_secret.map(|_| ())),
                (None, None)
            );
            let mut started = started(Flow::Browser);
            started.client_id = Some("c-1".to_owned());
            started.client_id_by = Some(ClientIdBy::Registration);
            reply.ok(&started);
        }
        Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
        call => known(call, reply),
    });
    let mut terminal = Terminal::start(&daemon, "login new --issuer https://idp.example.com");
    terminal.answer("Client id [register]: ", "");
    terminal.answer("offline_access]: ", "none");
    terminal.see("one that the provider registers");
    terminal.answer("Go on? [Y/n]: ", "");
    terminal.see("asking https://idp.example.com to register this client (RFC 7591)");
    terminal.see("https://idp.example.com registered this client as 'c-1'");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn who_we_are_is_asked_once_the_provider_does_not_say() {
    let known = state_of(daemon_status(), vec![account("old")]);
    let daemon = FakeDaemon::start(move |call, reply| match call {
        Call::LoginStart(start) if start.client_id.is_none() => {
            assert_eq!(start.account, "mcp.example.com");
            assert_eq!(
                start.resource.as_deref(),
                Some("https://mcp.example.com/mcp")
            );
            reply.error(
                &WireError::new(ErrorCode::ClientIdRequired, "no client id is given")
                    .with_hint("give its id with --client-id"),
            );
        }
        Call::LoginStart(start) => {
            assert_eq!(start.client_id.as_deref(), Some("authd-cli"));
            let secret = start.client_secret.as_ref().map(|secret| secret.expose());
            assert_eq!(secret, Some("hush hush"));
            reply.ok(&started(Flow::Browser));
        }
        Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
        call => known(call, reply),
    });
    let asked = "login --resource https://mcp.example.com/mcp";
    let mut terminal = Terminal::start(&daemon, asked);
    terminal.see("the new account is called 'mcp.example.com'");
    terminal.see("no client id is given: give its id with --client-id");
    terminal.answer("Client id: ", "authd-cli");
    terminal.answer("(not shown): ", "hush hush");
    terminal.see("Logged in");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
    assert!(!shown.contains("hush"), "the secret was shown");
}

#[test]
fn whoever_says_no_or_interrupts_a_question_has_done_nothing() {
    for leave in ["n\r", "\x03", "\x04"] {
        let daemon = FakeDaemon::start(state_of(daemon_status(), vec![account("old")]));
        let mut terminal = Terminal::start(&daemon, "login old2 --issuer https://a.example");
        terminal.answer("Client id [register]: ", "x");
        terminal.answer("(not shown): ", "");
        terminal.answer("offline_access]: ", "none");
        terminal.see("Go on? [Y/n]: ");
        terminal.press(leave);
        let (shown, status) = terminal.end();
        assert_eq!(status, Some(1), "{shown}");
    }
}

#[test]
fn a_paste_longer_than_a_line_of_a_terminal_arrives_whole() {
    let (way_in, good) = (
        "https://idp.example.com/auth?state=s",
        format!(
            "http://127.0.0.1:4321/callback?code={}&state=s",
            "c".repeat(9_000)
        ),
    );
    let expected = good.clone();
    let finished = std::sync::Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
    let daemon = FakeDaemon::start(move |call, reply| match call {
        Call::LoginStart(start) => reply.ok(&started(start.flow)),
        Call::LoginWait(_) => {
            let ended = finished.0.lock().unwrap();
            let ended = finished
                .1
                .wait_timeout_while(ended, crate::daemon::PATIENCE, |ended| !*ended)
                .unwrap();
            assert!(*ended.0);
            reply.ok(&LoginProgress::Done(Box::new(done())));
        }
        Call::LoginComplete(complete) if complete.redirect_url.expose() == expected => {
            *finished.0.lock().unwrap() = true;
            finished.1.notify_all();
            reply.ok(&LoginProgress::Pending);
        }
        Call::LoginComplete(_) => reply.error(
            &WireError::new(ErrorCode::BadRequest, "no answer to this login")
                .with_hint("paste the whole address"),
        ),
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let mut terminal = Terminal::start(&daemon, &format!("{NEW} --no-browser"));
    terminal.answer("Paste it here: ", "http://127.0.0.1/?rubbish");
    terminal.see("does not finish the login: no answer to this login: paste the whole address");
    terminal.answer("Paste it here: ", way_in);
    terminal.see("that is the address to open");
    terminal.answer("Paste it here: ", &good);
    terminal.see("Logged in");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
    // Never more than a row of it.
    assert!(!shown.contains(&"c".repeat(80)), "{shown}");
}

#[test]
fn an_interrupt_at_the_prompt_cancels_the_attempt() {
    let (tell, cancelled) = std::sync::mpsc::channel();
    let cancelled = std::sync::Mutex::new(cancelled);
    let daemon = FakeDaemon::start(move |call, reply| match call {
        Call::LoginStart(start) => reply.ok(&started(start.flow)),
        Call::LoginWait(_) => {
            let cancelled = cancelled.lock().unwrap();
            cancelled.recv_timeout(crate::daemon::PATIENCE).unwrap();
            reply.error(&WireError::new(
                ErrorCode::LoginCancelled,
                "the login was cancelled",
            ));
        }
        Call::LoginCancel(cancel) => {
            tell.send(()).unwrap();
            reply.ok(&LoginCancelReply {
                login_id: cancel.login_id,
            });
        }
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let mut terminal = Terminal::start(&daemon, &format!("{NEW} --no-browser"));
    terminal.see("Paste it here: ");
    terminal.press("half a li\x03");
    terminal.see("authctl: the login was cancelled");
    assert_eq!(terminal.end().1, Some(1));
}

#[test]
fn someone_else_gets_the_account_only_when_the_person_says_so() {
    for (answer, expected, asked) in [("n", 1, 1), ("", 1, 1), ("y", 0, 2)] {
        let starts = std::sync::Arc::new(AtomicU32::new(0));
        let counted = std::sync::Arc::clone(&starts);
        let daemon = FakeDaemon::start(move |call, reply| match call {
            Call::LoginStart(start) => {
                let before = counted.fetch_add(1, Ordering::Relaxed);
                assert_eq!(start.replace_subject, before == 1);
                reply.ok(&started(start.flow));
            }
            Call::LoginWait(_) if counted.load(Ordering::Relaxed) == 1 => reply.error(
                &WireError::new(
                    ErrorCode::SubjectMismatch,
                    "this account belongs to alice, but bob signed in; nothing was changed",
                )
                .with_hint("log in with --replace-subject"),
            ),
            Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
            call => panic!("not expected: {}", call.method().as_str()),
        });
        // The prompt for a paste is there as well, and gives way to the question.
        let mut terminal = Terminal::start(&daemon, &format!("{NEW} --no-browser"));
        terminal.see("belongs to alice, but bob signed in");
        terminal.answer("[y/N]: ", answer);
        let (shown, status) = terminal.end();
        assert_eq!(status, Some(expected), "{shown}");
        assert_eq!(starts.load(Ordering::Relaxed), asked);
        assert_eq!(shown.contains("nothing was done"), expected == 1, "{shown}");
    }
}

#[test]
fn a_picture_is_drawn_where_there_is_room_for_it() {
    for (columns, output, drawn) in [
        (80, "", true),
        (30, "", false),
        // Whoever keeps the output has no use for it.
        (80, "| cat", false),
    ] {
        let daemon = FakeDaemon::start(|call, reply| match call {
            Call::LoginStart(start) => reply.ok(&started(start.flow)),
            Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
            call => panic!("not expected: {}", call.method().as_str()),
        });
        let arguments = format!("{NEW} --device {output}");
        let (shown, _) = Terminal::sized(&daemon, &arguments, columns).end();
        assert!(shown.contains("WDJB-MJHT"), "{shown}");
        assert_eq!(
            shown.contains('\u{2588}'),
            drawn,
            "{columns} {output}: {shown}"
        );
    }
}

#[test]
fn no_secret_is_read_where_it_would_be_shown() {
    let daemon = FakeDaemon::start(state_of(daemon_status(), Vec::new()));
    let mut terminal = Terminal::start(&daemon, &format!("{NEW} --client-secret-stdin"));
    terminal.see("the client secret is not read from a terminal");
    assert_eq!(terminal.end().1, Some(2));
}
