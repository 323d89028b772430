//! What they are made for, what is asked there, and what is written down of it.

use std::{path::Path, time::Duration};

use authd_e2e::{
    Instance, PATIENCE, Raw, api, binaries, instance::call, login::PendingLogin, until,
};
use authd_proto::{
    ErrorCode,
    approval::Asks,
    audit::{AuditLine, AuditQuery, Decision},
    request::{TokenGet, TokenReject},
    socket::{SocketCreate, SocketRevoke},
};

use super::{HOUR, answer, connect, create, denied, for_api, get, server, sockets};

#[test]
fn a_report_through_a_restricted_socket_brings_a_newer_token() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    let mut client = connect(&socket.path).unwrap();
    let token = get(&mut client, &TokenGet::default()).unwrap();
    let report = |fingerprint| TokenReject {
        account: "demo",
        fingerprint: Some(fingerprint),
        access_token: None,
        scopes: None,
        resource: None,
        status: Some(401),
        www_authenticate: None,
        wait_secs: Some(10),
    };
    let newer = call(&mut client, &report(&token.renewal.fingerprint))
        .ok()
        .unwrap();
    assert!(newer.renewal.generation > token.renewal.generation);
    assert_eq!(newer.renewal.scopes, ["api"]);
    // One that is told already costs nothing, but counts; the third is one too many.
    assert!(call(&mut client, &report(&token.renewal.fingerprint)).is_ok());
    let refused = call(&mut client, &report(&newer.renewal.fingerprint))
        .err()
        .unwrap();
    assert_eq!(refused.code, ErrorCode::Throttled);
    let info = sockets(&instance).remove(0);
    assert_eq!((info.connections, info.served, info.refused), (1, 3, 1));
}

#[test]
fn what_the_login_does_not_have_makes_no_socket() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let refused = |wanted: SocketCreate| instance.call(&wanted).unwrap_err().code;
    let strings = |text: &str| vec![text.to_owned()];
    let of = |name: &str| SocketCreate {
        account: Some(name.to_owned()),
        ..SocketCreate::default()
    };
    assert_eq!(refused(of("nobody")), ErrorCode::UnknownAccount);
    let scopes = Some(strings("admin"));
    assert_eq!(
        refused(SocketCreate {
            scopes,
            ..of("demo")
        }),
        ErrorCode::InsufficientScope
    );
    let resources = strings("https://elsewhere.example");
    assert_eq!(
        refused(SocketCreate {
            resources,
            ..of("demo")
        }),
        ErrorCode::InsufficientScope
    );
    for ttl in [0, 59, 30 * 24 * HOUR + 1] {
        let ttl_secs = Some(ttl);
        assert_eq!(
            refused(SocketCreate {
                ttl_secs,
                ..of("demo")
            }),
            ErrorCode::BadRequest
        );
    }
    let label = Some("a\u{1b}[2Jb".to_owned());
    assert_eq!(
        refused(SocketCreate {
            label,
            ..of("demo")
        }),
        ErrorCode::BadRequest
    );
    assert_eq!(sockets(&instance), []);
    // At most 64 of them.
    for _ in 0..64 {
        create(&instance, &of("demo"));
    }
    assert_eq!(refused(of("demo")), ErrorCode::Busy);
    let all = instance.authctl(&["socket", "revoke", "--all", "--json"]);
    assert_eq!(all.json()["revoked"].as_array().unwrap().len(), 64);
    assert_eq!(sockets(&instance), []);
}

#[test]
fn where_the_account_asks_a_socket_is_a_question_and_its_tokens_are_none() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let server = server();
    instance.login(&server, "demo");
    let set = instance.authctl(&["grant", "tier", "demo", "ask-each"]);
    assert_eq!(set.code(), 0, "{set:?}");
    let mut watcher = instance.watch_questions();
    let asks = || {
        instance.start_authctl(&[
            "socket",
            "create",
            "--account",
            "demo",
            "--scope",
            "api",
            "--ttl",
            "1h",
        ])
    };
    let answer = |how: &[&str]| {
        let question = instance.questions().remove(0);
        assert_eq!(question.asks, Asks::Socket);
        assert_eq!(question.scopes, ["api"]);
        let change = question.change.unwrap_or_default();
        assert!(change.ends_with("for 1h"), "{change}");
        let id = question.approval_id.to_string();
        let mut words = vec!["approve", id.as_str()];
        words.extend(how);
        let said = instance.authctl(&words);
        assert_eq!(said.code(), 0, "{said:?}");
    };

    let refused = asks();
    watcher.wait_for_question();
    answer(&["--deny"]);
    assert_eq!(refused.finish(PATIENCE).code(), 6);
    assert!(sockets(&instance).is_empty(), "a no opens nothing");

    let opened = asks();
    watcher.wait_for_question();
    assert!(sockets(&instance).is_empty(), "not before a yes");
    answer(&[]);
    let path = opened.finish(PATIENCE).line().to_owned();
    let name = sockets(&instance).remove(0).name;

    // Through the engine at first, then from what is at hand: nobody is asked about either.
    let mut client = connect(&path).unwrap();
    for _ in 0..2 {
        let token = get(&mut client, &TokenGet::default()).unwrap();
        assert_eq!(api::ping(&server, token.access_token.expose()), 200);
    }
    assert!(instance.questions().is_empty());
    let owner = instance.token("demo", Duration::ZERO).err().unwrap();
    assert_eq!(owner.code, ErrorCode::ApprovalRequired, "as before");
    drop(client);

    let audit = instance.authctl(&["audit", "demo", "--json"]);
    let lines: Vec<serde_json::Value> = audit
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let through = format!("through the restricted socket {name}");
    let given = lines
        .iter()
        .find(|line| line["message"] == through.as_str())
        .expect("what left through it is written down");
    assert_eq!(given["decision"], "handed_out");
    assert_eq!(given["because"], "socket");
    assert!(
        lines
            .iter()
            .any(|line| line["decision"] == "changed" && line["asks"] == "socket"),
        "{lines:?}"
    );
}

#[test]
fn whoever_comes_again_and_again_does_not_fill_the_audit_log() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    for _ in 0..60 {
        let mut client = connect(&socket.path).unwrap();
        assert!(get(&mut client, &TokenGet::default()).is_ok());
    }
    let name = Some(socket.name.clone());
    instance.call(&SocketRevoke { name }).unwrap();
    let given = || -> Vec<u64> {
        let query = AuditQuery {
            limit: Some(500),
            ..AuditQuery::default()
        };
        let lines = instance.call(&query).unwrap().lines.into_iter();
        let given = lines.filter(|line| line.decision == Decision::HandedOut);
        given.map(|line| line.count.max(1)).collect()
    };
    until("all are counted", || given().iter().sum::<u64>() == 60);
    assert!(given().len() < 30, "{:?}", given());
}

#[test]
fn what_cannot_be_read_is_refused_there_like_everything_else() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    let mut raw = Raw::connect(Path::new(&socket.path));
    for method in ["no.such", "account.get"] {
        // One that there is not, and one without what it needs.
        let mut request = vec![0x94, 0x00, 0x01, 0xa0 | method.len() as u8];
        request.extend_from_slice(method.as_bytes());
        request.extend_from_slice(&[0x91, 0x80]);
        assert!(raw.send(&request));
        assert_eq!(answer(&mut raw), Some(ErrorCode::Denied), "{method}");
    }
}

#[test]
fn what_it_refuses_is_written_down_without_a_word_of_whoever_asked() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    let mut client = connect(&socket.path).unwrap();
    denied(get(
        &mut client,
        &TokenGet {
            account: Some("canary-account"),
            ..TokenGet::default()
        },
    ));
    denied(get(
        &mut client,
        &TokenGet {
            scopes: Some(vec!["canary-scope"]),
            resource: Some("https://canary-resource.example"),
            ..TokenGet::default()
        },
    ));
    drop(client);
    let lines = || -> Vec<AuditLine> {
        let query = AuditQuery {
            limit: Some(500),
            ..AuditQuery::default()
        };
        let lines = instance.call(&query).unwrap().lines.into_iter();
        lines
            .filter(|line| line.decision == Decision::Refused)
            .collect()
    };
    // One for the first, and one for how many more there were.
    until("both are written down", || lines().len() == 2);
    for line in lines() {
        assert_eq!(line.account.as_deref(), Some("demo"));
        assert_eq!(
            (line.asks, line.code),
            (Some(Asks::Token), Some(ErrorCode::Denied))
        );
        let through = format!("through the restricted socket {}", socket.name);
        assert_eq!(line.message.as_deref(), Some(through.as_str()));
        let text = format!("{line:?}");
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn what_a_later_login_does_not_cover_any_more_is_refused_there_too() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    let mut client = connect(&socket.path).unwrap();
    assert!(get(&mut client, &TokenGet::default()).is_ok());

    let mut command = instance.command(binaries::authctl());
    command
        .args(["login", "demo", "--no-browser", "--json"])
        .args(["--issuer", server.issuer(), "--client-id", "native"])
        .args(["--scope", "openid offline_access"]);
    let mut pending = PendingLogin::start(&mut command);
    assert_eq!(pending.browse().status, 200);
    let (last, finished) = pending.finish();
    assert_eq!(last["event"], "done", "{finished:?}");

    let refused = get(&mut client, &TokenGet::default()).err().unwrap();
    assert_eq!(refused.code, ErrorCode::InsufficientScope, "{refused}");
    assert_eq!(
        refused.message,
        "the login of 'demo' does not give this any more"
    );
}
