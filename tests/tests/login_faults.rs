//! A login that is not finished, or not as it was meant: what the person is told, and what is left.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::{TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use authd::Alarms;
use authd_e2e::{
    Instance, PATIENCE, PendingLogin, Process, api, binaries,
    driven::{DrivenDaemon, Time},
    until,
};
use authd_proto::{
    ErrorCode,
    request::{LoginComplete, LoginStart, LoginWait},
    response::LoginProgress,
    secret::WireSecret,
};
use authd_testkit::{
    Browser, DeviceConsent, Endpoint, FakeServer, Fault, Options, SendIss, Settings,
};
use serde_json::json;

fn started(settings: Settings) -> (FakeServer, Instance, authd_e2e::Daemon) {
    let server = FakeServer::start(Options {
        settings,
        ..Options::default()
    })
    .unwrap();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    (server, instance, daemon)
}

/// `authctl login demo --json` and no word about how.
fn login(instance: &Instance, server: &FakeServer, more: &[&str]) -> Command {
    let mut command = instance.command(binaries::authctl());
    command
        .args(["login", "demo", "--json", "--client-id", "native"])
        .args(["--issuer", server.issuer(), "--scope", "openid api"])
        .args(more);
    command
}

/// What a login that has begun ends with: the code, the exit status, and the line for people.
fn ends_with(pending: PendingLogin, code: &str, status: i32, said: &str) {
    let (last, finished) = pending.finish();
    assert_eq!(last["code"], code, "{finished:?}");
    assert_eq!(finished.code(), status, "{finished:?}");
    assert!(finished.stderr.contains(said), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
}

#[test]
fn a_device_code_that_is_refused_or_forgotten_ends_with_a_sentence() {
    let device = |consent, ttl| Settings {
        device_consent: consent,
        device_code_ttl: Duration::from_secs(ttl),
        device_interval: Duration::from_secs(1),
        ..Settings::default()
    };
    for (settings, code, status, said) in [
        (
            device(DeviceConsent::Deny, 600),
            "denied",
            6,
            "authctl: access was denied at the provider: run 'authctl login demo' again\n",
        ),
        (
            device(DeviceConsent::Ask, 2),
            "login_expired",
            1,
            "authctl: nobody finished the login in time: run 'authctl login demo' again\n",
        ),
    ] {
        let (server, instance, _daemon) = started(settings);
        let pending = PendingLogin::start(&mut login(&instance, &server, &["--device"]));
        assert_eq!(pending.authorize()["flow"], "device");
        ends_with(pending, code, status, said);
        assert_eq!(instance.authctl(&["list"]).line(), "", "no account is left");
    }
}

#[test]
fn a_provider_that_asks_for_slower_polls_gets_them_and_the_person_hears_nothing_of_it() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings {
        device_consent: DeviceConsent::Approve,
        ..Settings::default()
    });
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    server.fault_next(Endpoint::Token, Fault::oauth_error("slow_down"));
    let pending = PendingLogin::start(&mut login(&instance, &server, &["--device"]));
    time.advance(Duration::from_secs(5));
    until("the first poll", || {
        server.counts().requests(Endpoint::Token) == 1
    });
    until("its answer", || instance.status().exchanges_in_flight == 0);
    time.advance(Duration::from_secs(10));
    let (last, finished) = pending.finish();
    assert_eq!(last["event"], "done", "{finished:?}");
    assert_eq!(finished.stderr, "");
    assert_eq!(server.counts().requests(Endpoint::Token), 2);
}

#[test]
fn a_redirect_whose_port_is_taken_names_it_and_what_to_do() {
    let (server, instance, _daemon) = started(Settings::default());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let redirect = format!("http://127.0.0.1:{port}/callback");
    let mut command = login(
        &instance,
        &server,
        &["--redirect-uri", &redirect, "--no-browser"],
    );
    let pending = PendingLogin::start(&mut command);
    let said = format!("authctl: cannot listen on 127.0.0.1:{port}: Address already in use");
    ends_with(pending, "login_failed", 1, &said);
    // And the command that it names does say so.
    let hint = format!("sport = :{port}");
    let seen = Command::new("ss").args(["-ltnp", &hint]).output().unwrap();
    assert!(String::from_utf8_lossy(&seen.stdout).contains(&port.to_string()));
    drop(taken);
    let mut pending = PendingLogin::start(&mut command);
    assert_eq!(pending.authorize()["redirect_uri"], redirect);
    assert_eq!(pending.browse().status, 200);
    assert_eq!(pending.finish().0["event"], "done");
}

#[test]
fn whoever_closes_the_page_can_interrupt_or_let_the_time_pass_and_nothing_listens_any_more() {
    let (server, instance, _daemon) = started(Settings::default());
    let begin = |more: &[&str]| {
        PendingLogin::start(&mut login(
            &instance,
            &server,
            &[&["--no-browser"], more].concat(),
        ))
    };
    let redirect = |pending: &PendingLogin| {
        let redirect = pending.authorize()["redirect_uri"].as_str().unwrap();
        redirect.split('/').nth(2).unwrap().to_owned()
    };
    let interrupted = begin(&[]);
    let address = redirect(&interrupted);
    assert!(TcpStream::connect(&address).is_ok());
    interrupted.interrupt();
    ends_with(interrupted, "login_cancelled", 1, "the login was cancelled");
    until("nothing listens", || TcpStream::connect(&address).is_err());

    let timed_out = begin(&["--timeout", "1s"]);
    let address = redirect(&timed_out);
    ends_with(
        timed_out,
        "login_expired",
        1,
        "nobody finished the login in time: run 'authctl login demo'",
    );
    until("nothing listens", || TcpStream::connect(&address).is_err());
    assert_eq!(server.counts().requests(Endpoint::Token), 0);
}

#[test]
fn where_nobody_sees_the_page_the_attempt_ends_with_the_command() {
    let (server, instance, _daemon) = started(Settings::default());
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let ended = Process::spawn(login(&instance, &server, &[]).stdout(full)).wait(PATIENCE);
    assert_eq!(ended.unwrap().code(), Some(1));
    // Nothing is left under way that this would have to wait for.
    let rotated = instance.authctl(&["key", "rotate"]);
    assert_eq!(rotated.code(), 0, "{rotated:?}");
}

#[test]
fn how_long_there_is_to_log_in_is_said_as_it_is() {
    let (server, instance, _daemon) = started(Settings::default());
    let mut command = instance.command(binaries::authctl());
    command
        .args([
            "login",
            "demo",
            "--client-id",
            "native",
            "--device",
            "--timeout",
            "2s",
        ])
        .args(["--issuer", server.issuer()]);
    let ended = Process::capture(&mut command).finish(PATIENCE);
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert!(ended.stderr.contains("for 2s at most"), "{ended:?}");
}

#[test]
fn rubbish_that_is_pasted_is_told_and_the_next_try_counts() {
    // Without `iss`, a code alone is taken: what is none must be known by its looks.
    for send_iss in [SendIss::Issuer, SendIss::Omitted] {
        let (server, instance, _daemon) = started(Settings {
            advertise_iss: send_iss == SendIss::Issuer,
            send_iss,
            ..Settings::default()
        });
        let login = instance
            .call(&LoginStart {
                account: "demo".to_owned(),
                issuer: Some(server.issuer().to_owned()),
                client_id: Some("native".to_owned()),
                ..LoginStart::default()
            })
            .unwrap();
        let paste = |text: &str| {
            instance.call(&LoginComplete {
                login_id: login.login_id.clone(),
                redirect_url: WireSecret::new(text),
                wait_secs: Some(0),
            })
        };
        let redirect = login.redirect_uri.clone().unwrap();
        for rubbish in [
            "hello",
            "what do you want of me?",
            "$ authctl login work",
            "https://idp.example.com/",
            "http://127.0.0.1/callback?code=c&state=of-another-login",
            &format!("{redirect}?error=access_denied"),
            "code=1&code=2&state=x",
            "\u{1b}[31m",
            &"x".repeat(100_000),
            login.authorization_url.as_deref().unwrap(),
        ] {
            let refused = paste(rubbish).unwrap_err();
            assert_eq!(refused.code, ErrorCode::BadRequest, "{rubbish:.80}");
            let told = format!("{}: {:?}", refused.message, refused.hint);
            assert!(told.contains("paste the whole address"), "{told}");
            assert!(told.len() < 300, "it is not echoed: {told}");
        }
        assert_eq!(server.counts().requests(Endpoint::Token), 0);
        let page = Browser::new().follow_blocking(login.authorization_url.as_deref().unwrap());
        assert_eq!(page.unwrap().status, 200);
        let wait = LoginWait {
            login_id: login.login_id,
            wait_secs: Some(PATIENCE.as_secs()),
        };
        let ended = instance.call(&wait).unwrap();
        assert!(matches!(ended, LoginProgress::Done(_)), "{ended:?}");
    }
}

#[test]
fn a_word_that_looks_like_a_code_and_is_none_may_be_followed_by_the_redirect() {
    let (server, instance, _daemon) = started(Settings {
        advertise_iss: false,
        send_iss: SendIss::Omitted,
        ..Settings::default()
    });
    let pending = PendingLogin::start(&mut login(&instance, &server, &["--no-browser"]));
    let url = pending.url().to_owned();
    let begun = || {
        let start = LoginStart {
            account: "other".to_owned(),
            issuer: Some(server.issuer().to_owned()),
            client_id: Some("native".to_owned()),
            ..LoginStart::default()
        };
        instance.call(&start).unwrap()
    };
    let paste = |login_id: &str, text: &str| {
        instance.call(&LoginComplete {
            login_id: login_id.to_owned(),
            redirect_url: WireSecret::new(text),
            wait_secs: Some(PATIENCE.as_secs()),
        })
    };
    let other = begun();
    for word in ["yesterdays-code", "tomorrows-code"] {
        let refused = paste(&other.login_id, word).unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest);
        let told = format!("{}: {:?}", refused.message, refused.hint);
        assert!(told.contains("does not know that as a code"), "{told}");
        assert!(
            told.contains("paste the whole address") && !told.contains(word),
            "{told}"
        );
    }
    // The listener is there still.
    let page = Browser::new().follow_blocking(other.authorization_url.as_deref().unwrap());
    assert_eq!(page.unwrap().status, 200);
    let wait = LoginWait {
        login_id: other.login_id,
        wait_secs: Some(PATIENCE.as_secs()),
    };
    assert!(matches!(
        instance.call(&wait).unwrap(),
        LoginProgress::Done(_)
    ));

    // Not for ever: the fourth ends it.
    let patient = begun();
    for _ in 0..3 {
        let refused = paste(&patient.login_id, "yesterdays-code").unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest);
    }
    let ended = paste(&patient.login_id, "yesterdays-code").unwrap_err();
    assert_eq!(ended.code, ErrorCode::LoginFailed);
    // And another login is none the worse for it.
    assert_eq!(Browser::new().follow_blocking(&url).unwrap().status, 200);
    assert_eq!(pending.finish().0["event"], "done");
}

#[test]
fn someone_else_is_refused_where_nobody_can_be_asked_and_nothing_held_is_lost() {
    let (server, instance, _daemon) = started(Settings::default());
    instance.login(&server, "demo");
    let before = instance.authctl(&["token", "demo"]);
    server.update(|settings| settings.subject = "user-2".to_owned());
    let mut pending = instance.begin_login("demo", server.issuer(), &[]);
    pending.browse();
    let (last, finished) = pending.finish();
    assert_eq!(last["code"], "subject_mismatch", "{finished:?}");
    assert_eq!(finished.code(), 1);
    for part in [
        "user-1",
        "user-2",
        "nothing was changed",
        "--replace-subject",
    ] {
        assert!(finished.stderr.contains(part), "{part}: {finished:?}");
    }
    let after = instance.authctl(&["token", "demo"]);
    assert!(before.line() == after.line(), "another token");
    assert_eq!(api::ping(&server, after.line()), 200);
    assert_eq!(
        instance.renew("demo").unwrap().subject.as_deref(),
        Some("user-1")
    );

    let mut pending = instance.begin_login("demo", server.issuer(), &["--replace-subject"]);
    pending.browse();
    let (last, finished) = pending.finish();
    assert_eq!(last["subject"], "user-2", "{finished:?}");
}

#[test]
fn over_ssh_it_is_a_code_where_the_provider_has_them_and_else_a_page_to_open() {
    let (server, instance, _daemon) = started(Settings::default());
    let far = |more: &[&str]| {
        let mut command = login(&instance, &server, more);
        command.env("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22");
        PendingLogin::start(&mut command)
    };
    let pending = far(&[]);
    let code = pending.authorize()["user_code"]
        .as_str()
        .unwrap()
        .to_owned();
    server.approve_device(&code).unwrap();
    assert_eq!(pending.finish().0["event"], "done");

    // It offers codes, but not to this client; and then it offers none at all.
    server.fault_always(
        Endpoint::DeviceAuthorization,
        Fault::oauth_error("unauthorized_client"),
    );
    for offered in [true, false] {
        if !offered {
            server.clear_faults(Endpoint::DeviceAuthorization);
            let none = ("device_authorization_endpoint".to_owned(), json!(null));
            server.update(|settings| settings.metadata.extend([none]));
        }
        let mut pending = far(&[]);
        assert_eq!(pending.authorize()["flow"], "browser");
        pending.browse();
        assert_eq!(pending.finish().0["event"], "done");
    }
    // Who asks for a code is told that there is none.
    let pending = far(&["--device"]);
    ends_with(pending, "login_failed", 1, "log in without --device");
}
