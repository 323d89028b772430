//! `authctl login`: what it asks, what it shows, how it ends.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};

use authd_proto::call::Call;
use authd_proto::provider::{
    ProviderAddress, ProviderInfo, ProviderOrigin, ProviderShowReply, ProviderVariable,
};
use authd_proto::request::{ClientAuth, Flow};
use authd_proto::response::{Expiry, LoginCancelReply, LoginDone, LoginProgress, LoginStartReply};
use authd_proto::{ErrorCode, WireError};

use crate::daemon::{FakeDaemon, PATIENCE, Reply, account, run, state_of};

const NEW: [&str; 5] = [
    "work",
    "--issuer",
    "https://idp.example.com",
    "--client-id",
    "authd",
];

fn gitlab() -> ProviderShowReply {
    ProviderShowReply {
        info: ProviderInfo {
            name: "gitlab".to_owned(),
            title: "GitLab".to_owned(),
            flows: vec![Flow::Browser],
            variables: vec![ProviderVariable {
                name: "host".to_owned(),
                about: "the host of the instance".to_owned(),
                default: None,
            }],
            origin: ProviderOrigin::BuiltIn,
        },
        addresses: vec![ProviderAddress {
            name: "issuer".to_owned(),
            url: "https://{host}".to_owned(),
        }],
        redirect_uri: "http://127.0.0.1/callback".to_owned(),
        registration: None,
        notes: Vec::new(),
        facts: Vec::new(),
    }
}

pub(crate) fn started(flow: Flow) -> LoginStartReply {
    let device = flow == Flow::Device;
    let of_device = |text: &str| device.then(|| text.to_owned());
    let of_browser = |text: &str| (!device).then(|| text.to_owned());
    LoginStartReply {
        login_id: "l1".to_owned(),
        account: "work".to_owned(),
        flow,
        issuer: Some("https://idp.example.com".to_owned()),
        client_id: Some("authd".to_owned()),
        client_id_by: None,
        resource: None,
        authorization_url: of_browser("https://idp.example.com/auth?state=s"),
        authorization_url_expires_in_secs: None,
        redirect_uri: of_browser("http://127.0.0.1:4321/callback"),
        user_code: of_device("WDJB-MJHT"),
        verification_uri: of_device("https://idp.example.com/device"),
        verification_uri_complete: of_device("https://idp.example.com/device?code=WDJB-MJHT"),
        interval_secs: device.then_some(5),
        expires_in_secs: 600,
    }
}

pub(crate) fn done() -> LoginDone {
    LoginDone {
        account: "work".to_owned(),
        issuer: "https://idp.example.com".to_owned(),
        subject: Some("248289761001".to_owned()),
        subject_name: Some("Alice\x1b[2J".to_owned()),
        scopes: vec!["openid".to_owned(), "email".to_owned()],
        refused_scopes: vec!["offline_access".to_owned()],
        expires_at: Some(2_000_000_000),
        expiry: Expiry::Exact,
        ttl_secs: Some(3_600),
        next_renewal_at: Some(0),
        generation: 1,
        dpop: None,
    }
}

/// How the attempt of a test ends, once it does.
#[derive(Clone, Default)]
struct Attempt(Arc<(Mutex<Option<End>>, Condvar)>);

type End = Result<LoginDone, WireError>;

impl Attempt {
    fn ended(result: Result<LoginDone, WireError>) -> Self {
        let attempt = Self::default();
        attempt.end(result);
        attempt
    }

    fn end(&self, result: Result<LoginDone, WireError>) {
        *self.0.0.lock().expect("not poisoned") = Some(result);
        self.0.1.notify_all();
    }

    fn answer(&self, reply: &mut Reply<'_>) {
        let ended = self.0.0.lock().expect("not poisoned");
        let (ended, _) = self
            .0
            .1
            .wait_timeout_while(ended, PATIENCE, |ended| ended.is_none())
            .expect("not poisoned");
        match ended.as_ref().expect("the attempt ends") {
            Ok(done) => reply.ok(&LoginProgress::Done(Box::new(done.clone()))),
            Err(error) => reply.error(error),
        }
    }

    /// A daemon with this one attempt, and no account before it.
    fn daemon(self) -> FakeDaemon {
        let others = state_of(crate::daemon::daemon_status(), vec![account("old")]);
        FakeDaemon::start(move |call, reply| match call {
            Call::LoginStart(start) => reply.ok(&started(start.flow)),
            Call::LoginWait(wait) => {
                assert_eq!(wait.login_id, "l1");
                self.answer(reply);
            }
            Call::LoginComplete(complete) => match complete.redirect_url.expose() {
                "http://127.0.0.1:4321/callback?code=c&state=s" => {
                    self.end(Ok(done()));
                    reply.ok(&LoginProgress::Pending);
                }
                _ => reply.error(&WireError::new(ErrorCode::BadRequest, "another state")),
            },
            Call::LoginCancel(cancel) => {
                self.end(Err(WireError::new(
                    ErrorCode::LoginCancelled,
                    "the login was cancelled",
                )));
                reply.ok(&LoginCancelReply {
                    login_id: cancel.login_id,
                });
            }
            call => others(call, reply),
        })
    }
}

fn login(daemon: &FakeDaemon, more: &[&'static str]) -> (String, String, Option<i32>) {
    let args = ["login"].iter().chain(&NEW).chain(more).copied();
    run(&mut daemon.authctl(args))
}

#[test]
fn programs_read_one_json_object_a_line() {
    let daemon = Attempt::ended(Ok(done())).daemon();
    let (out, errors, status) = login(&daemon, &["--no-browser", "--json"]);
    assert_eq!((errors.as_str(), status), ("", Some(0)));
    insta::assert_snapshot!(out);
}

#[test]
fn programs_read_what_a_device_login_needs() {
    let daemon = Attempt::ended(Ok(done())).daemon();
    let (out, _, status) = login(&daemon, &["--device", "--no-browser", "--json"]);
    assert_eq!(status, Some(0));
    insta::assert_snapshot!(out.lines().next().unwrap());
}

#[test]
fn programs_read_the_error_that_ended_it() {
    let error = WireError::new(ErrorCode::Denied, "access_denied: the person said no");
    let daemon = Attempt::ended(Err(error)).daemon();
    let (out, errors, status) = login(&daemon, &["--no-browser", "--json"]);
    assert_eq!(status, Some(6));
    assert_eq!(errors, "authctl: access_denied: the person said no\n");
    assert_eq!(
        out.lines().last().unwrap(),
        r#"{"event":"error","code":"denied","message":"access_denied: the person said no","hint":null}"#
    );
}

#[test]
fn people_read_who_signed_in_and_what_was_granted() {
    let daemon = Attempt::ended(Ok(done())).daemon();
    let (out, errors, status) = login(&daemon, &["--no-browser"]);
    assert_eq!(status, Some(0));
    assert!(!out.contains('\x1b'));
    insta::assert_snapshot!("people_summary", out);
    insta::assert_snapshot!("people_browser", errors);
}

#[test]
fn people_are_warned_where_to_enter_a_code() {
    let daemon = Attempt::ended(Ok(done())).daemon();
    let (_, errors, _) = login(&daemon, &["--device"]);
    insta::assert_snapshot!(errors);
}

#[test]
fn the_browser_is_opened_here() {
    let directory = tempfile::tempdir().unwrap();
    let (browser, seen) = (
        directory.path().join("browser"),
        directory.path().join("seen"),
    );
    std::fs::write(
        &browser,
        format!("#!/bin/sh\necho \"$1\" > '{}'\n", seen.display()),
    )
    .unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o700)).unwrap();
    // The attempt ends as soon as the browser was there.
    let fifo = std::process::Command::new("mkfifo").arg(&seen).status();
    assert!(fifo.unwrap().success());
    let attempt = Attempt::default();
    let daemon = attempt.clone().daemon();
    let reader = std::thread::spawn(move || {
        let url = std::fs::read_to_string(&seen).unwrap();
        attempt.end(Ok(done()));
        url
    });
    let mut command = daemon.authctl(["login"].iter().chain(&NEW).copied());
    command.env("BROWSER", &browser);
    let (_, errors, status) = run(&mut command);
    assert_eq!(status, Some(0), "{errors}");
    assert!(
        errors.starts_with("Your browser opens the login page of 'work'."),
        "{errors}"
    );
    assert!(
        errors.contains("\n  https://idp.example.com/auth?state=s\n"),
        "{errors}"
    );
    assert_eq!(
        reader.join().unwrap(),
        "https://idp.example.com/auth?state=s\n"
    );
}

#[test]
fn without_a_browser_the_url_is_printed_all_the_same() {
    let daemon = Attempt::ended(Ok(done())).daemon();
    let args = ["login"].iter().chain(&NEW).chain(&["--browser"]).copied();
    let mut command = daemon.authctl(args);
    command.env("PATH", "/nonexistent");
    let (_, errors, status) = run(&mut command);
    assert_eq!(status, Some(0), "{errors}");
    assert!(errors.starts_with("authctl: no browser could be opened: open the page yourself"));
    assert!(
        errors.contains("\n  https://idp.example.com/auth?state=s\n"),
        "{errors}"
    );
}

#[test]
fn a_pasted_redirect_finishes_the_login_and_a_wrong_one_changes_nothing() {
    let daemon = Attempt::default().daemon();
    let args = ["login"]
        .iter()
        .chain(&NEW)
        .chain(&["--no-browser", "--json"]);
    let mut command = daemon.authctl(args.copied());
    let pasted = "http://127.0.0.1:4321/callback?code=c&state=other\n\n\
                  http://127.0.0.1:4321/callback?code=c&state=s\n";
    let (out, errors, status) = run(command.write_stdin(pasted));
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(
        errors,
        "authctl: that does not finish the login: another state\n"
    );
    assert!(
        out.lines()
            .last()
            .unwrap()
            .starts_with(r#"{"event":"done","account":"work""#)
    );
}

#[test]
fn an_interrupt_cancels_the_attempt() {
    let daemon = Attempt::default().daemon();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_authctl"))
        .arg("login")
        .args(NEW)
        .args(["--no-browser", "--json"])
        .env("AUTHD_SOCKET", daemon.socket())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with(r#"{"event":"authorize""#), "{first}");
    let kill = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let last = lines.next().unwrap().unwrap();
    assert!(
        last.starts_with(r#"{"event":"error","code":"login_cancelled""#),
        "{last}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(1));
    while daemon.next_call() != "login.cancel" {}
}

#[test]
fn giving_up_in_time_cancels_the_attempt() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::LoginStart(start) => reply.ok(&started(start.flow)),
        Call::LoginWait(_) => reply.ok(&LoginProgress::Pending),
        Call::LoginCancel(cancel) => reply.ok(&LoginCancelReply {
            login_id: cancel.login_id,
        }),
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let (out, errors, status) = login(&daemon, &["--no-browser", "--json", "--timeout", "0s"]);
    assert_eq!(status, Some(1));
    assert_eq!(
        errors,
        "authctl: nobody finished the login in time: run 'authctl login work'\n"
    );
    assert!(out.contains(r#""code":"login_expired""#), "{out}");
    assert_eq!(
        [daemon.next_call(), daemon.next_call()],
        ["login.start", "login.cancel"]
    );
}

#[test]
fn the_options_reach_the_daemon() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::LoginStart(start) => {
            assert_eq!(start.account, "idp.example.com");
            assert_eq!(
                start.issuer.as_deref(),
                Some("https://idp.example.com:8443")
            );
            let secret = start.client_secret.as_ref().map(|secret| secret.expose());
            assert_eq!(secret, Some("hush"));
            assert_eq!(start.client_auth, Some(ClientAuth::Post));
            let scopes = ["openid", "email", "offline_access"].map(str::to_owned);
            assert_eq!(start.scopes.as_deref(), Some(&scopes[..]));
            assert_eq!(start.flow, Flow::Device);
            assert_eq!(
                start.extra.get("prompt").map(String::as_str),
                Some("consent")
            );
            assert!(start.replace_subject);
            reply.ok(&started(Flow::Device));
        }
        Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let mut command = daemon.authctl([
        "login",
        "--issuer",
        "https://idp.example.com:8443",
        "--client-id",
        "authd",
        "--client-secret-stdin",
        "--client-auth",
        "post",
        "--scope",
        "openid,email",
        "--scope",
        "offline_access",
        "--param",
        "prompt=consent",
        "--replace-subject",
        "--device",
    ]);
    let (_, errors, status) = run(command.write_stdin("hush\n"));
    assert_eq!(status, Some(0), "{errors}");
}

#[test]
fn a_page_that_is_kept_for_a_moment_only_is_said_to_be_over() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::LoginStart(_) => {
            let mut started = started(Flow::Browser);
            started.authorization_url_expires_in_secs = Some(0);
            reply.ok(&started);
        }
        Call::LoginWait(_) => {
            let message = "nobody finished the login in time";
            reply.error(&WireError::new(ErrorCode::LoginExpired, message));
        }
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let args = ["login"].into_iter().chain(NEW).chain(["--no-browser"]);
    let (_, errors, status) = run(&mut daemon.authctl(args));
    assert_eq!(status, Some(1));
    let over = errors.matches("the time to open that page is over").count();
    assert_eq!(over, 1, "{errors}");
}

#[test]
fn what_a_new_login_needs_is_said_before_anyone_is_asked() {
    let daemon = Attempt::default().daemon();
    let usage = |args: &[&'static str]| {
        let args = ["login"].iter().chain(args).copied();
        let (out, errors, status) = run(&mut daemon.authctl(args));
        assert_eq!((out.as_str(), status), ("", Some(2)));
        errors
    };
    assert_eq!(
        usage(&["new", "--token-endpoint", "https://idp.example.com/t"]),
        "authctl: a new login needs the id this client has at the provider: register one there, \
         then run 'authctl login new … --client-id ID'\n"
    );
    assert_eq!(
        usage(&["new"]),
        "authctl: there is no account 'new' yet, and nothing says where to log in: run \
         'authctl login new --provider NAME --client-id ID', with --issuer URL for one that \
         'authctl provider list' lacks\n"
    );
    assert!(usage(&["new", "--set", "host=x"]).contains("--provider"));
    let both = ["new", "--provider", "gitlab", "--issuer", "https://x"];
    assert!(usage(&both).contains("cannot be used with"));
}

#[test]
fn a_secret_that_stays_in_its_file_may_go_to_where_the_named_provider_is_today() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::ProviderShow(show) => {
            assert_eq!(show.provider, "gitlab");
            reply.ok(&gitlab());
        }
        Call::LoginStart(start) => {
            assert_eq!(start.provider.as_deref(), Some("gitlab"));
            assert_eq!((start.client.as_deref(), start.issuer), (Some("new"), None));
            reply.ok(&started(Flow::Browser));
        }
        Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let file = ["--client-secret-file", "secret", "--no-browser"];
    let by_name = ["login", "new", "--provider", "gitlab", "--client-id", "x"];
    let args = by_name
        .into_iter()
        .chain(["--set", "host=git.example.org"])
        .chain(file);
    let (_, errors, status) = run(&mut daemon.authctl(args));
    assert_eq!(status, Some(0), "{errors}");
    let written =
        std::fs::read_to_string(daemon.socket().with_file_name("clients").join("new.toml"))
            .unwrap();
    assert!(
        written.contains("\nissuer = \"https://git.example.org\"\n"),
        "{written}"
    );

    let args = by_name.into_iter().chain(file);
    let (_, errors, status) = run(&mut daemon.authctl(args));
    assert_eq!(status, Some(2));
    assert_eq!(
        errors,
        "authctl: where the secret may go is not said: 'gitlab' needs to know more: give --set KEY=VALUE, \
         for what 'authctl provider show gitlab' leaves open\n"
    );
}

#[test]
fn a_provider_is_named_with_what_it_needs_to_know_and_names_the_account() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::LoginStart(start) => {
            assert_eq!(start.account, "gitlab");
            assert_eq!(start.provider.as_deref(), Some("gitlab"));
            assert_eq!((start.issuer, start.client_id), (None, None));
            let host = start.variables.get("host").map(String::as_str);
            assert_eq!((start.variables.len(), host), (1, Some("git.example.org")));
            let hint = "register one at https://git.example.org/applications";
            let message = "'gitlab' needs a client id of your own";
            reply.error(&WireError::new(ErrorCode::BadRequest, message).with_hint(hint));
        }
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let set = "host=git.example.org";
    let args = ["login", "--provider", "gitlab", "--set", set];
    let (out, errors, status) = run(&mut daemon.authctl(args));
    assert_eq!((out.as_str(), status), ("", Some(2)));
    assert_eq!(
        errors,
        "authctl: 'gitlab' needs a client id of your own: register one at \
         https://git.example.org/applications\n"
    );
}

#[test]
fn an_account_that_exists_needs_nothing_but_its_name_or_not_even_that() {
    for args in [&["login", "old"][..], &["login"]] {
        let daemon = Attempt::ended(Ok(done())).daemon();
        let (_, errors, status) =
            run(&mut daemon.authctl(args.iter().copied().chain(["--no-browser"])));
        assert_eq!(status, Some(0), "{errors}");
    }
}

#[test]
fn over_ssh_the_login_goes_by_device_or_by_pasting_and_one_line_says_why() {
    for (offered, said) in [
        (
            Flow::Device,
            "authctl: you are connected by SSH: log in with a code, on any device (--browser and \
             --no-browser do without)\n",
        ),
        (
            Flow::Browser,
            "authctl: you are connected by SSH, and the provider takes no code for devices from this \
             client: open the page yourself (--browser opens it here)\n",
        ),
    ] {
        let daemon = FakeDaemon::start(move |call, reply| match call {
            Call::LoginStart(start) => {
                assert_eq!(start.flow, Flow::DeviceOrBrowser);
                reply.ok(&started(offered));
            }
            Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
            call => panic!("not expected: {}", call.method().as_str()),
        });
        let mut command = daemon.authctl(["login"].iter().chain(&NEW).copied());
        command.env("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22");
        let (_, errors, status) = run(&mut command);
        assert_eq!(status, Some(0), "{errors}");
        assert!(errors.starts_with(said), "{errors}");
        let how = match offered {
            Flow::Device => "WDJB-MJHT",
            _ => "paste it here",
        };
        assert!(errors.contains(how), "{errors}");
    }
}

#[test]
fn what_is_asked_for_wins_over_where_it_is() {
    for (option, flow) in [
        ("--browser", Flow::Browser),
        ("--no-browser", Flow::Browser),
        ("--device", Flow::Device),
    ] {
        let daemon = FakeDaemon::start(move |call, reply| match call {
            Call::LoginStart(start) => {
                assert_eq!(start.flow, flow, "{option}");
                reply.ok(&started(flow));
            }
            Call::LoginWait(_) => reply.ok(&LoginProgress::Done(Box::new(done()))),
            call => panic!("not expected: {}", call.method().as_str()),
        });
        let mut command = daemon.authctl(["login"].iter().chain(&NEW).chain(&[option]).copied());
        command.env("SSH_TTY", "/dev/pts/0").env("BROWSER", "true");
        let (_, errors, status) = run(&mut command);
        assert_eq!(status, Some(0), "{errors}");
        assert!(!errors.contains("SSH"), "{errors}");
    }
}
