//! No token, code or client secret is anywhere but in the answer to who asked for it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, io::Write as _, path::PathBuf, process::Stdio, time::Duration};

use authd_e2e::{
    Finished, Holder, Instance, PATIENCE, PendingLogin, Process, Raw, binaries,
    instance::private_directory,
    raw::frame,
    sweep::{MARK, holds_key, holds_secret, leaks_below, leaks_of_processes},
};
use authd_proto::{
    SecretStr,
    request::{TokenGet, TokenReject},
};
use authd_testkit::{
    Client, ClientAuthentication, Endpoint, FakeServer, Fault, Options, Phase, Settings, Support,
};

const SECRET: &str = "canary-secret-sweepmark";

fn server() -> FakeServer {
    let settings = Settings {
        access_token_prefix: "canary-at-sweepmark-".to_owned(),
        refresh_token_prefix: "canary-rt-sweepmark-".to_owned(),
        dpop: Support::Offered,
        ..Settings::default()
    };
    let clients = vec![
        Client::native("native"),
        Client::native("confidential")
            .authenticated_by(ClientAuthentication::Basic(SECRET.to_owned())),
    ];
    FakeServer::start(Options {
        settings,
        clients,
        ..Options::default()
    })
    .unwrap()
}

#[test]
fn no_secret_is_in_a_log_an_argument_an_environment_or_a_file() {
    let server = server();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    log_in_confidentially(&instance, &server);
    log_in_with_a_key(&instance, &server);
    let token = instance.token("demo", Duration::ZERO).unwrap();
    let token = token.access_token.expose();

    renew_into_every_fault(&instance, &server);
    take_over(&instance, &server);
    report_rejected(&instance, token);
    send_nonsense(&instance, token);
    let waiting = renew_at_a_closed_gate(&instance, &server);
    sweep(&instance);
    server.open_gate(Endpoint::Token);
    assert_eq!(waiting.finish(PATIENCE).code(), 0);

    server.fault_always(Endpoint::Revocation, Fault::status(503));
    let gone = instance.authctl(&["logout", "confidential"]);
    assert!(!gone.stderr.contains(MARK), "{gone:?}");
    daemon.kill();
    sweep(&instance);
    let daemon = instance.start_daemon();
    server.fault_always(Endpoint::Token, Fault::oauth_error("invalid_grant"));
    let refused = instance.authctl(&["renew", "demo"]);
    assert!(!refused.stderr.contains(MARK), "{refused:?}");
    assert!(daemon.stop().success());
    sweep(&instance);
}

fn log_in_confidentially(instance: &Instance, server: &FakeServer) {
    let mut command = instance.command(binaries::authctl());
    command
        .args(["login", "confidential", "--no-browser", "--json"])
        .args(["--issuer", server.issuer(), "--client-id", "confidential"])
        .arg("--client-secret-stdin");
    let mut pending = PendingLogin::start_with_input(&mut command, SECRET);
    assert_eq!(pending.browse().status, 200);
    let (done, finished) = pending.finish();
    assert_eq!(done["event"], "done", "{finished:?}");
}

/// Its tokens are bound to a key, and its proofs are printed: they show the public half of it alone.
fn log_in_with_a_key(instance: &Instance, server: &FakeServer) {
    let mut pending = instance.begin_login("bound", server.issuer(), &["--dpop"]);
    assert_eq!(pending.browse().status, 200);
    let (done, finished) = pending.finish();
    assert_eq!(done["dpop"], "bound", "{finished:?}");
    let url = server.url(Endpoint::Api);
    let printed = instance.authctl(&["token", "bound", "--format", "header", "--url", &url]);
    let (_, proof) = printed.stdout.split_once("DPoP: ").expect("a proof");
    assert_eq!(proof.trim_end().split('.').count(), 3, "a proof");
    for text in [&printed.stdout, &printed.stderr, &finished.stdout] {
        assert!(!holds_key(text.as_bytes()), "the private key is printed");
    }
    assert_eq!(instance.authctl(&["renew", "bound"]).code(), 0);
}

/// What another tool held: well, refused, and in a shape that cannot be read; its command still running.
fn take_over(instance: &Instance, server: &FakeServer) {
    let holder = Holder::log_in(server.issuer(), "native");
    let begin = |account: &str, more: &[&str], input: &str| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(input.as_bytes()).unwrap();
        drop(writer);
        let mut command = instance.command(binaries::authctl());
        command.args(["import", account, "--issuer", server.issuer()]);
        command.args(["--client-id", "native"]).args(more);
        Process::capture_reading(&mut command, reader.into())
    };
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let importing = begin("taken", &["--refresh-token-stdin"], &holder.refresh_token);
    server
        .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
        .unwrap();
    sweep(instance);
    server.open_gate(Endpoint::Token);
    let imported = importing.finish(PATIENCE);
    assert_eq!(imported.code(), 0);
    said_nothing(&imported);
    let fresh = Holder::log_in(server.issuer(), "native");
    server.fault_next(Endpoint::Token, Fault::oauth_error("invalid_client"));
    let refused = begin("refused", &["--refresh-token-stdin"], &fresh.refresh_token);
    said_nothing(&refused.finish(PATIENCE));
    for tool in ["pizauth", "oidc-agent", "ortie"] {
        let broken = format!("{{\"refresh_token\": {}", fresh.refresh_token);
        let unread = begin("unread", &["--from", tool], &broken).finish(PATIENCE);
        assert_eq!(unread.code(), 2);
        said_nothing(&unread);
    }
}

/// The errors of an exchange: each has words of its own, some of them the provider's.
fn renew_into_every_fault(instance: &Instance, server: &FakeServer) {
    let quoting = Fault::OauthError {
        status: 400,
        error: "temporarily_unavailable".to_owned(),
        description: Some("come back later".to_owned()),
    };
    for fault in [
        Fault::status(500),
        Fault::too_many_requests(0),
        Fault::HtmlOk,
        Fault::HtmlForbidden,
        Fault::EmptyBadRequest,
        Fault::ErrorInAccessToken,
        quoting,
    ] {
        server.fault_next(Endpoint::Token, fault.before_commit());
        said_nothing(&instance.authctl(&["renew", "demo", "--wait", "2s"]));
    }
    // The tokens are in the answer, and the answer is broken.
    for fault in [Fault::HalfBody, Fault::Drop] {
        server.fault_next(Endpoint::Token, fault.after_commit());
        said_nothing(&instance.authctl(&["renew", "confidential", "--wait", "2s"]));
    }
    // Where the engine held the last one back, its fault is not for whoever asks next.
    server.clear_faults(Endpoint::Token);
}

fn report_rejected(instance: &Instance, token: &str) {
    // Of the right account, of the wrong one, and of none.
    for account in ["demo", "confidential", "nobody"] {
        let reject = TokenReject {
            account,
            fingerprint: None,
            access_token: Some(SecretStr::new(token)),
            scopes: None,
            resource: None,
            status: Some(401),
            www_authenticate: None,
            wait_secs: Some(2),
        };
        if let Err(error) = instance.call(&reject) {
            assert!(!error.to_string().contains(MARK), "an error shows a token");
        }
    }
    let stdin = instance.dir().join("home").join("rejected");
    fs::write(&stdin, token).unwrap();
    let mut command = instance.command(binaries::authctl());
    command
        .args(["token", "nobody", "--rejected"])
        .stdin(fs::File::open(&stdin).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut command = Process::spawn(&mut command);
    assert_eq!(
        command.wait(PATIENCE).and_then(|status| status.code()),
        Some(3)
    );
    fs::remove_file(&stdin).unwrap();
}

/// A token where none belongs: in frames that are refused, whole and in part.
fn send_nonsense(instance: &Instance, token: &str) {
    let account = frame(
        1,
        &TokenGet {
            account: Some(token),
            ..TokenGet::default()
        },
    );
    let resource = frame(
        1,
        &TokenGet {
            account: Some("demo"),
            resource: Some(token),
            ..TokenGet::default()
        },
    );
    let mut unknown_method = vec![0x94, 0, 1, 0xd9, u8::try_from(token.len()).unwrap()];
    unknown_method.extend_from_slice(token.as_bytes());
    unknown_method.extend_from_slice(&[0x91, 0x80]);
    let mut garbage = vec![0xc1];
    garbage.extend_from_slice(token.as_bytes());
    for bytes in [
        &account[..],
        &resource,
        &unknown_method,
        &garbage,
        &account[..account.len() / 2],
    ] {
        let mut raw = Raw::connect(&instance.socket());
        assert!(raw.send(bytes));
        raw.stream().shutdown(std::net::Shutdown::Write).unwrap();
        let answer = raw
            .until_closed(PATIENCE)
            .expect("an end of the connection");
        drop(answer);
    }
}

/// An exchange in flight, its command still running: the arguments and environments are there to see.
fn renew_at_a_closed_gate(instance: &Instance, server: &FakeServer) -> Process {
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let waiting = instance.start_authctl(&["renew", "demo", "--wait", "30s"]);
    server
        .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
        .unwrap();
    waiting
}

fn said_nothing(finished: &Finished) {
    let Finished { stdout, stderr, .. } = finished;
    assert!(
        !stdout.contains(MARK) && !stderr.contains(MARK),
        "{finished:?}"
    );
}

/// Everything that others can read, and everything on disk.
fn sweep(instance: &Instance) {
    assert!(instance.log().contains("DEBUG"), "the log is verbose");
    let leaks = leaks_below(instance.dir(), None);
    assert_eq!(leaks, Vec::<PathBuf>::new(), "files with a secret");
    let leaks = leaks_of_processes();
    assert_eq!(leaks, Vec::<PathBuf>::new(), "processes with a secret");
}

#[test]
fn the_sweep_knows_a_private_key() {
    let key = authd_oauth::DpopKey::generate().unwrap();
    assert!(holds_secret(key.stored().expose().as_bytes()));
}

#[test]
fn the_sweep_finds_what_it_is_to_find() {
    let dir = tempfile::tempdir().unwrap();
    private_directory(&dir.path().join("deep"));
    let leak = dir.path().join("deep").join("leak");
    fs::write(&leak, format!("…{SECRET}…")).unwrap();
    fs::write(dir.path().join("clean"), "canary-").unwrap();
    assert_eq!(leaks_below(dir.path(), None), vec![leak]);
    let mut sleeper = std::process::Command::new("cat");
    sleeper.env("TOKEN", "canary-code-x").stdin(Stdio::piped());
    let sleeper = Process::spawn(&mut sleeper);
    let leaks = leaks_of_processes();
    let environment = PathBuf::from(format!("/proc/{}/environ", sleeper.pid()));
    assert!(leaks.contains(&environment), "{leaks:?}");
}
