//! `authctl socket`: what it asks, and how it says what came of it.

use authd_proto::call::Call;
use authd_proto::error::{ErrorCode, WireError};
use authd_proto::socket::{SocketInfo, SocketListReply, SocketRevokeReply};

use crate::daemon::{FakeDaemon, Reply, run};

const PATH: &str = "/run/user/1000/authd/restricted/work-3fa9c1/authd.sock";

/// A uid that nobody has who runs this.
const NOT_OURS: u32 = 4_000_000_000;

fn socket() -> SocketInfo {
    SocketInfo {
        name: "work-3fa9c1".to_owned(),
        path: PATH.to_owned(),
        account: "work".to_owned(),
        scopes: vec!["api:read".to_owned()],
        resources: vec![],
        uids: vec![NOT_OURS],
        label: Some("container".to_owned()),
        created_at: 0,
        expires_at: 0,
        ttl_secs: 5_400,
        connections: 0,
        served: 12,
        refused: 0,
    }
}

fn answering(call: Call<'_>, reply: &mut Reply<'_>) {
    match call {
        Call::SocketCreate(create) => {
            assert_eq!(create.account.as_deref(), Some("work"));
            assert_eq!(
                create.scopes,
                Some(vec!["api:read".to_owned(), "openid".to_owned()])
            );
            assert_eq!(create.resources, ["https://a.example", "https://b.example"]);
            assert_eq!((create.ttl_secs, create.uids), (Some(5_400), vec![0, 7]));
            assert_eq!(create.label.as_deref(), Some("container"));
            reply.ok(&socket());
        }
        Call::SocketList(_) => reply.ok(&SocketListReply {
            sockets: vec![socket()],
            cursor: None,
        }),
        Call::SocketRevoke(revoke) => match revoke.name.as_deref() {
            Some("nothing") => reply.error(&WireError::new(ErrorCode::BadRequest, "there is none")),
            name => reply.ok(&SocketRevokeReply {
                revoked: name.map_or_else(Vec::new, |name| vec![name.to_owned()]),
            }),
        },
        call => panic!("not expected: {}", call.method().as_str()),
    }
}

fn authctl(line: &str) -> (String, String, Option<i32>) {
    let daemon = FakeDaemon::start(answering);
    run(&mut daemon.authctl(line.split(' ')))
}

const CREATE: &str = "socket create --account work --scope api:read,openid --resource https://a.example \
                      --resource https://b.example --ttl 1h30m --uid 0 --uid 7 --for container";

#[test]
fn creating_one_prints_its_path_alone_and_tells_the_person_the_rest() {
    let (out, told, status) = authctl(CREATE);
    assert_eq!((out, status), (format!("{PATH}\n"), Some(0)), "{told}");
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(
        told,
        format!(
            "authctl: work-3fa9c1 gives the token of 'work' for 1h 30m; 'authctl socket revoke \
             work-3fa9c1' ends it\nauthctl: for a container: -v \
             /run/user/1000/authd/restricted/work-3fa9c1:/run/authd:ro -e \
             AUTHD_SOCKET=/run/authd/authd.sock -e AUTHD_SOCKET_UID={own}\n"
        )
    );
    let (out, told, _) = authctl(&format!("{CREATE} --json"));
    assert_eq!(told, "");
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["path"], PATH);
}

#[test]
fn they_are_listed_and_revoked() {
    let (out, told, status) = authctl("socket list");
    assert_eq!((told.as_str(), status), ("", Some(0)));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "NAME         ACCOUNT  FOR        SCOPES    ENDS IN  OPEN  SERVED",
            "work-3fa9c1  work     container  api:read  1h 30m   0     12",
        ]
    );
    let (out, _, _) = authctl("socket list --json");
    assert!(
        out.starts_with(r#"{"sockets":[{"name":"work-3fa9c1","#),
        "{out}"
    );

    let (out, told, status) = authctl("socket revoke work-3fa9c1");
    assert_eq!((out.as_str(), status), ("", Some(0)));
    assert_eq!(told, "authctl: revoked work-3fa9c1\n");
    assert_eq!(authctl("socket revoke --all").1, "authctl: there is none\n");
    assert_eq!(authctl("socket revoke nothing").2, Some(2));
    assert_eq!(
        authctl("socket revoke").2,
        Some(2),
        "all of them is to be said"
    );
}

#[test]
fn an_option_that_takes_the_session_away_is_refused_before_anything_is_opened() {
    let daemon = FakeDaemon::start(|call, _| panic!("asked for {}", call.method().as_str()));
    let (out, told, status) = run(&mut daemon.authctl(["ssh", "host", "--", "-N"]));
    assert_eq!((out.as_str(), status), ("", Some(125)));
    assert_eq!(
        told,
        "authctl: ssh's option -N does not go with a session\n"
    );
}
