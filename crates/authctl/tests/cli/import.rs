//! `authctl import`: what is read, what goes over the socket, and how it says what came of it.

use authd_proto::call::Call;
use authd_proto::response::{Expiry, LoginDone, LoginProgress};
use authd_proto::{ErrorCode, WireError, WireSecret};

use crate::daemon::{FakeDaemon, run};

const DUMP: &[u8] = include_bytes!("../../src/command/import/fixtures/pizauth.dump");
const OIDC_AGENT: &str = include_str!("../../src/command/import/fixtures/oidc-agent.json");
const ORTIE: &str = include_str!("../../src/command/import/fixtures/ortie.json");

fn done(account: &str) -> LoginProgress {
    LoginProgress::Done(Box::new(LoginDone {
        account: account.to_owned(),
        issuer: "https://idp.example".to_owned(),
        subject: Some("1".to_owned()),
        subject_name: Some("jane@example.com".to_owned()),
        scopes: vec!["mail.read".to_owned()],
        refused_scopes: Vec::new(),
        expires_at: Some(1_000),
        expiry: Expiry::Exact,
        ttl_secs: Some(3599),
        next_renewal_at: None,
        generation: 2,
        dpop: None,
    }))
}

#[test]
fn a_dump_of_pizauth_is_taken_over_with_all_that_it_says() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::AccountImport(import) => {
            let login = &import.login;
            assert_eq!(login.account, "work");
            assert_eq!(import.refresh_token.expose(), "not-a-real-refresh-token");
            let secret = login.client_secret.as_ref().map(WireSecret::expose);
            assert_eq!(secret, Some("not-a-real-secret"));
            assert_eq!(login.client_id.as_deref(), Some("mail-client"));
            let endpoint = login.token_endpoint.as_deref();
            assert_eq!(endpoint, Some("https://idp.example/token"));
            let scopes = login.scopes.as_ref().map(|scopes| scopes.join(" "));
            assert_eq!(scopes.as_deref(), Some("mail.read offline_access"));
            assert!(!import.replace && login.issuer.is_none());
            reply.ok(&done("work"));
        }
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let args = ["import", "work", "--from", "pizauth"];
    let (out, errors, status) = run(daemon.authctl(args).write_stdin(DUMP));
    assert_eq!(status, Some(0), "{errors}");
    assert!(
        out.starts_with("Took over 'work' as jane@example.com (1)\n"),
        "{out}"
    );
    assert!(errors.contains("run 'pizauth revoke work'"), "{errors}");
    assert!(
        !format!("{out}{errors}").contains("not-a-real"),
        "a secret is shown"
    );
}

#[test]
fn what_is_said_goes_before_what_the_tool_says() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::AccountImport(import) => {
            let login = &import.login;
            assert_eq!(login.provider.as_deref(), Some("gitlab"));
            assert_eq!((&login.issuer, &login.token_endpoint), (&None, &None));
            assert_eq!(login.client_id.as_deref(), Some("mine"));
            assert_eq!(login.scopes.as_deref(), Some(&["api".to_owned()][..]));
            let secret = login.client_secret.as_ref().map(WireSecret::expose);
            assert_eq!(secret, Some("mine-too"));
            assert!(import.replace && import.wait_secs == Some(5));
            reply.ok(&done("egi"));
        }
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), OIDC_AGENT).unwrap();
    let path = file.path().to_str().unwrap();
    let args = [
        "import",
        "egi",
        path,
        "--from",
        "oidc-agent",
        "--provider",
        "gitlab",
    ];
    let more = [
        "--client-id",
        "mine",
        "--client-secret-stdin",
        "--scope",
        "api",
    ];
    let rest = ["--replace", "--wait", "5s", "--json"];
    let args = args.into_iter().chain(more).chain(rest);
    let (out, errors, status) = run(daemon.authctl(args).write_stdin("mine-too\n"));
    assert_eq!(status, Some(0), "{errors}");
    assert!(
        out.starts_with("{\"event\":\"done\",\"account\":\"egi\""),
        "{out}"
    );
    assert!(errors.contains("not 'oidc-gen --delete'"), "{errors}");
}

#[test]
fn a_bare_refresh_token_and_a_client_secret_come_line_by_line() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::AccountImport(import) => {
            assert_eq!(import.refresh_token.expose(), "rt");
            let secret = import.login.client_secret.as_ref().map(WireSecret::expose);
            assert_eq!(secret, Some("cs"));
            reply.ok(&done("work"));
        }
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let args = [
        "import",
        "work",
        "--issuer",
        "https://idp.example",
        "--client-id",
        "c",
    ];
    let secrets = ["--refresh-token-stdin", "--client-secret-stdin"];
    let args = args.into_iter().chain(secrets);
    let (_, errors, status) = run(daemon.authctl(args).write_stdin("rt\ncs\n"));
    assert_eq!(status, Some(0), "{errors}");
}

#[test]
fn what_cannot_be_read_names_the_command_that_prints_it() {
    let daemon = FakeDaemon::start(|call, _| panic!("not expected: {}", call.method().as_str()));
    for (tool, input, words) in [
        (
            "oidc-agent",
            "203\n24:abc\nGenerated using version: 5",
            "encrypted: give what 'oidc-gen --print",
        ),
        ("oidc-agent", "{\"name\": \"x\"}", "no refresh token"),
        (
            "pizauth",
            "hush-hush",
            "no dump of pizauth, or it is damaged: give what 'pizauth dump' prints",
        ),
        (
            "ortie",
            "hush-hush",
            "no JSON: give what the command prints",
        ),
    ] {
        let args = ["import", "work", "--from", tool];
        let (out, errors, status) = run(daemon.authctl(args).write_stdin(input));
        assert_eq!((out.as_str(), status), ("", Some(2)), "{tool}: {errors}");
        assert!(
            errors.contains(words) && !errors.contains("hush"),
            "{tool}: {errors}"
        );
    }
    let args = ["import", "work", "--from", "pizauth", "--name", "home"];
    let (_, errors, _) = run(daemon.authctl(args).write_stdin(DUMP));
    assert!(
        errors.contains("'home'") && errors.contains("there are: work"),
        "{errors}"
    );
}

#[test]
fn a_refresh_token_that_is_not_renewed_yet_is_said_to_be_safe() {
    let daemon = FakeDaemon::start(|call, reply| match call {
        Call::AccountImport(_) => reply.ok(&LoginProgress::Pending),
        Call::AccountGet(_) => {
            reply.error(&WireError::new(
                ErrorCode::ShuttingDown,
                "the daemon is stopping",
            ));
        }
        call => panic!("not expected: {}", call.method().as_str()),
    });
    let args = [
        "import",
        "work",
        "--from",
        "ortie",
        "--provider",
        "google",
        "--client-id",
        "c",
    ];
    let (out, errors, status) = run(daemon.authctl(args).write_stdin(ORTIE));
    assert_eq!((out.as_str(), status), ("", Some(5)));
    assert!(
        errors.contains("safe, but it is not renewed yet: authd goes on by itself"),
        "{errors}"
    );
}

#[test]
fn one_source_is_to_be_named() {
    let daemon = FakeDaemon::start(|call, _| panic!("not expected: {}", call.method().as_str()));
    for args in [
        &["import", "work"][..],
        &["import", "work", "--from", "ortie", "--refresh-token-stdin"],
        &["import", "work", "file", "--refresh-token-stdin"],
    ] {
        let (_, errors, status) = run(&mut daemon.authctl(args.iter().copied()));
        assert_eq!(status, Some(2), "{errors}");
    }
}
