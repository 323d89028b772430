//! Sockets that give one account's token and nothing else: on this machine, in a container's place, and on
//! another host that `ssh` carries them to.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and one that needs root says so"
)]

use std::{
    ffi::OsString,
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use authd::Alarms;
use authd_client::{Client, ClientError, SocketPath, Who};
use authd_e2e::{
    Finished, Instance, PATIENCE, Process, Raw, api, binaries,
    driven::{DrivenDaemon, Time},
    instance::{call, private_directory},
    redacted,
    sshd::{Sshd, Stranger},
    tool, until,
};
use authd_proto::{
    ErrorCode,
    approval::Asks,
    error::WireError,
    frame::FrameBuffer,
    message::Message,
    request::{AccountForget, DaemonStatus, TokenGet, TokenReject},
    response::TokenReply,
    socket::{SocketCreate, SocketInfo, SocketList, SocketRevoke},
};
use authd_testkit::{Endpoint, FakeServer, Options, Phase, Settings};
use serde::de::IgnoredAny;

const HOUR: u64 = 3600;
const HOST: &str = "127.0.0.1";
const WHO: Who = Who {
    name: "restricted",
    version: "0",
};

fn server() -> FakeServer {
    FakeServer::start(Options::default()).unwrap()
}

fn for_api() -> SocketCreate {
    SocketCreate {
        account: Some("demo".to_owned()),
        scopes: Some(vec!["api".to_owned()]),
        ttl_secs: Some(HOUR),
        ..SocketCreate::default()
    }
}

fn create(instance: &Instance, wanted: &SocketCreate) -> SocketInfo {
    instance.call(wanted).unwrap()
}

fn sockets(instance: &Instance) -> Vec<SocketInfo> {
    instance.call(&SocketList::default()).unwrap().sockets
}

fn connect(path: impl Into<PathBuf>) -> Result<Client, ClientError> {
    Client::connect(&SocketPath::explicit(path.into()).unwrap(), WHO, PATIENCE)
}

fn get(client: &mut Client, get: &TokenGet<'_>) -> Result<TokenReply, WireError> {
    call(client, get)
}

fn denied(reply: Result<TokenReply, WireError>) -> WireError {
    let error = reply.err().expect("no token");
    assert_eq!(error.code, ErrorCode::Denied, "{error}");
    error
}

/// Whether nothing is answered there any more.
fn is_dead(path: impl Into<PathBuf>) -> bool {
    match connect(path) {
        Err(_) => true,
        Ok(mut client) => client.call(&TokenGet::default(), PATIENCE).is_err(),
    }
}

/// What every method of the protocol, called as in its golden vector, is answered there.
fn every_method(path: &Path) -> Vec<(String, Option<ErrorCode>)> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/vectors");
    let mut answers = Vec::new();
    let mut raw = Raw::connect(path);
    let mut buffer = FrameBuffer::new();
    for entry in fs::read_dir(vectors).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let Some(method) = name
            .strip_prefix("request-")
            .and_then(|name| name.strip_suffix(".msgpack"))
        else {
            continue;
        };
        assert!(raw.send(&fs::read(&file).unwrap()), "{method}");
        let code = loop {
            if let Some(frame) = buffer.next_frame().unwrap() {
                let Ok(Message::Response { outcome, .. }) = Message::parse(frame) else {
                    panic!("{method}: no response");
                };
                break outcome
                    .decode::<IgnoredAny>()
                    .unwrap()
                    .err()
                    .map(|error| error.code);
            }
            assert!(
                buffer.read_from(raw.stream()).unwrap() > 0,
                "{method}: hung up"
            );
        };
        answers.push((method.to_owned(), code));
    }
    assert!(answers.len() > 30, "these are not the vectors: {answers:?}");
    answers
}

/// All that a restricted socket must refuse, and the one thing that it gives.
fn gives_one_token_and_nothing_else(path: &Path, server: &FakeServer) {
    let mut client = connect(path).unwrap();
    let token = get(&mut client, &TokenGet::default()).unwrap();
    assert_eq!(api::ping(server, token.access_token.expose()), 200);
    assert_eq!(token.renewal.account, "demo");
    assert_eq!(token.renewal.scopes, ["api"], "no more than the socket has");

    let of = |account| TokenGet {
        account: Some(account),
        ..TokenGet::default()
    };
    assert!(get(&mut client, &of("demo")).is_ok());
    let other = denied(get(&mut client, &of("other")));
    let unknown = denied(get(&mut client, &of("nobody")));
    assert_eq!(other, unknown, "nobody learns which accounts there are");
    assert!(!other.to_string().contains("other"), "{other}");
    for wider in [vec!["api", "openid"], vec!["openid"], vec!["admin"]] {
        denied(get(
            &mut client,
            &TokenGet {
                scopes: Some(wider),
                ..TokenGet::default()
            },
        ));
    }
    denied(get(
        &mut client,
        &TokenGet {
            resource: Some("https://elsewhere.example"),
            ..TokenGet::default()
        },
    ));
    for (method, code) in every_method(path) {
        let expected = match method.as_str() {
            "hello" | "token.get-empty" => None,
            _ => Some(ErrorCode::Denied),
        };
        assert_eq!(code, expected, "{method}");
    }
}

#[test]
fn a_socket_that_ssh_forwards_gives_one_token_and_nothing_else_until_its_time_is_over() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings {
        access_token_ttl: Duration::from_secs(24 * HOUR),
        ..Settings::default()
    });
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    instance.login(&server, "other");
    let sshd = Sshd::start(&instance.dir().join("sshd"));
    // What the host's user keeps to himself.
    let there = instance.dir().join("there");
    private_directory(&there);

    let socket = create(&instance, &for_api());
    let forwarded = there.join("a.sock");
    let way = sshd.forward(&forwarded, Path::new(&socket.path), HOST);
    let mode = forwarded.symlink_metadata().unwrap().mode() & 0o777;
    assert_eq!(mode, 0o600, "sshd keeps it to its user");
    gives_one_token_and_nothing_else(&forwarded, &server);

    // Its time passes while somebody is connected.
    let mut client = connect(&forwarded).unwrap();
    get(&mut client, &TokenGet::default()).unwrap();
    time.advance(Duration::from_secs(HOUR - 1));
    get(&mut client, &TokenGet::default()).unwrap();
    time.advance(Duration::from_secs(1));
    let refused = client.call(&TokenGet::default(), PATIENCE);
    assert!(refused.is_err(), "after its time");
    until("it is gone", || sockets(&instance).is_empty());
    until("its file is gone", || !Path::new(&socket.path).exists());
    assert!(is_dead(&forwarded), "nothing is answered there any more");
    drop(way);

    // And one that is revoked before.
    let socket = create(&instance, &for_api());
    let forwarded = there.join("b.sock");
    let _way = sshd.forward(&forwarded, Path::new(&socket.path), HOST);
    let mut client = connect(&forwarded).unwrap();
    get(&mut client, &TokenGet::default()).unwrap();
    let name = Some(socket.name.clone());
    let revoked = instance.call(&SocketRevoke { name }).unwrap();
    assert_eq!(revoked.revoked, [socket.name]);
    assert!(!Path::new(&socket.path).exists(), "before it is answered");
    assert!(client.call(&TokenGet::default(), PATIENCE).is_err());
    assert!(is_dead(&forwarded));
    // The owner has not lost anything.
    assert!(instance.token("demo", Duration::ZERO).is_ok());
}

/// `authctl ssh` to the server, for a command there.
fn authctl_ssh(instance: &Instance, sshd: &Sshd, login: &str, words: &[&str]) -> Finished {
    let mut command = instance.command(binaries::authctl());
    command.args(["ssh", login, "--account", "demo", "--scope", "api", "--"]);
    command.args(sshd.options()).args(words);
    Process::capture(&mut command).finish(2 * PATIENCE)
}

#[test]
fn authctl_ssh_brings_a_token_to_the_host_and_takes_the_socket_back() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    instance.login(&server, "other");
    let sshd = Sshd::start(&instance.dir().join("sshd"));
    let authctl = binaries::authctl().display().to_string();

    let token = authctl_ssh(&instance, &sshd, HOST, &[&authctl, "token"]);
    assert_eq!(api::ping(&server, token.line()), 200);
    assert_eq!(sockets(&instance), [], "it is revoked when ssh ends");

    // The session's own status, and its own words.
    let failed = authctl_ssh(&instance, &sshd, HOST, &["echo 'it'\\''s'; exit 42"]);
    assert_eq!(
        (failed.code(), failed.stdout.as_str()),
        (42, "it's\n"),
        "{failed:?}"
    );
    // Nothing secret is in its environment, and the directory goes with the session.
    let seen = authctl_ssh(
        &instance,
        &sshd,
        HOST,
        &["env; stat -c %a $(dirname $AUTHD_SOCKET)"],
    );
    assert!(!seen.stdout.contains("canary"), "{seen:?}");
    assert_eq!(seen.stdout.lines().last(), Some("700"), "{seen:?}");
    let place = seen
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("AUTHD_SOCKET="))
        .unwrap();
    assert!(
        !Path::new(place).parent().unwrap().exists(),
        "{place} is left"
    );

    // What is for the owner alone ends with 6 and one sentence.
    for words in [
        vec!["list"],
        vec!["status"],
        vec!["token", "other"],
        vec!["token", "--scope", "openid"],
        vec!["socket", "create", "--account", "demo"],
        vec!["daemon", "stop"],
    ] {
        let line = [&[authctl.as_str()], words.as_slice()].concat();
        let refused = authctl_ssh(&instance, &sshd, HOST, &line);
        assert_eq!(
            (refused.code(), refused.stdout.as_str()),
            (6, ""),
            "{words:?}: {refused:?}"
        );
        let sentence = "authctl: this socket is for the token of 'demo' alone, with these scopes at most: api: ";
        assert!(
            refused.stderr.starts_with(sentence),
            "{words:?}: {refused:?}"
        );
    }

    // A host that is not there is ssh's to tell, and leaves nothing open.
    let mut command = instance.command(binaries::authctl());
    command.args([
        "ssh",
        HOST,
        "--account",
        "demo",
        "--",
        "-F",
        "none",
        "-p",
        "1",
    ]);
    let refused = Process::capture(&mut command).finish(PATIENCE);
    assert_eq!(refused.code(), 255, "{refused:?}");
    assert_eq!(sockets(&instance), []);
    assert!(
        !redacted(&instance.log()).contains("[token]"),
        "a token is in the log"
    );
}

#[test]
fn another_user_of_the_host_is_let_in_by_sshd_and_served_as_himself() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can run a server that other users log in to");
        return;
    }
    const GUEST: Stranger = Stranger {
        name: "guest",
        uid: 54_321,
    };
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    // Open to the guest, since the instance's is not.
    let room = open_directory();
    let sshd = Sshd::start_with(&room.path().join("sshd"), Some(GUEST));
    let home = room.path().join("sshd").join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(GUEST.uid), Some(GUEST.uid)).unwrap();
    open(&room.path().join("sshd"));
    let authctl = bring_authctl(room.path());

    // sshd listens as the guest, and the command of the guest takes it for his own server.
    let login = format!("{}@{HOST}", GUEST.name);
    let token = authctl_ssh(&instance, &sshd, &login, &[&authctl, "token"]);
    assert_eq!(api::ping(&server, token.line()), 200);
    let owner = ["stat -c '%u %a' $AUTHD_SOCKET; id -u"];
    let owner = authctl_ssh(&instance, &sshd, &login, &owner);
    assert_eq!(owner.line(), "54321 600\n54321");
}

/// A directory that every user gets into.
fn open_directory() -> tempfile::TempDir {
    let room = tempfile::Builder::new()
        .prefix("authd-open-")
        .tempdir()
        .unwrap();
    open(room.path());
    room
}

fn open(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Where it was built, another user may have no way in.
fn bring_authctl(room: &Path) -> String {
    let there = room.join("authctl");
    fs::copy(binaries::authctl(), &there).unwrap();
    there.display().to_string()
}

/// Runs `words` as another user to whom the socket's directory is mounted, as it is to a container: for
/// reading only.
fn in_a_container(room: &Path, socket: &SocketInfo, uid: u32, words: &[&str]) -> Finished {
    let mount = room.join("mounted");
    if !mount.exists() {
        fs::create_dir(&mount).unwrap();
    }
    let script =
        "mount --bind \"$0\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new(tool::required("unshare"));
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(Path::new(&socket.path).parent().unwrap())
        .arg(&mount)
        .arg(tool::required("setpriv"))
        .args([format!("--reuid={uid}"), format!("--regid={uid}")])
        .arg("--clear-groups")
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", "/")
        .env("AUTHD_SOCKET", mount.join("authd.sock"))
        .env(
            "AUTHD_SOCKET_UID",
            rustix::process::geteuid().as_raw().to_string(),
        );
    Process::capture(&mut command).finish(PATIENCE)
}

#[test]
fn a_uid_that_is_named_is_served_and_no_other() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can run a process as another user");
        return;
    }
    let (named, unnamed) = (54_321, 54_322);
    let server = server();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let room = open_directory();
    let authctl = bring_authctl(room.path());
    let path = instance.authctl(&["socket", "create", "--account", "demo", "--uid", "54321"]);
    let socket = sockets(&instance).remove(0);
    assert_eq!(path.line(), socket.path, "the path alone");

    let token = in_a_container(room.path(), &socket, named, &[&authctl, "token"]);
    assert_eq!(api::ping(&server, token.line()), 200);
    // Nobody in there can put anything beside it.
    let write = in_a_container(
        room.path(),
        &socket,
        named,
        &["sh", "-c", "> \"$AUTHD_SOCKET.x\""],
    );
    assert_ne!(write.code(), 0, "{write:?}");
    // By the peer check alone: the modes let it through.
    let refused = in_a_container(room.path(), &socket, unnamed, &[&authctl, "token"]);
    assert_eq!(refused.code(), 7, "{refused:?}");
    until("it is told", || {
        instance.log().contains("its uid is not named")
    });
    // Nor is the owner, who is not named either.
    let mut own = Raw::connect(Path::new(&socket.path));
    assert_eq!(own.until_closed(PATIENCE), Some(Vec::new()));
    // A client is told whose server it is to trust, or it trusts nobody.
    let unset = ["env", "-u", "AUTHD_SOCKET_UID", &authctl, "token"];
    let refused = in_a_container(room.path(), &socket, named, &unset);
    assert_eq!(refused.code(), 7, "{refused:?}");
    assert!(refused.stderr.contains("belongs to uid"), "{refused:?}");

    // The directory that was mounted is served again after a restart.
    assert!(daemon.stop().success());
    let _daemon = instance.start_daemon();
    let token = in_a_container(room.path(), &socket, named, &[&authctl, "token"]);
    assert_eq!(api::ping(&server, token.line()), 200);
}

#[test]
fn the_modes_let_others_through_only_where_others_are_named() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let mode = |path: &Path| path.symlink_metadata().unwrap().mode() & 0o777;
    let modes = |socket: &SocketInfo| {
        let path = Path::new(&socket.path);
        let directory = path.parent().unwrap();
        (
            mode(path),
            mode(directory),
            mode(directory.parent().unwrap()),
        )
    };
    let own = create(&instance, &for_api());
    assert_eq!(own.uids, [rustix::process::geteuid().as_raw()]);
    assert_eq!(modes(&own), (0o600, 0o700, 0o700));
    let uids = vec![54_321];
    let others = create(&instance, &SocketCreate { uids, ..for_api() });
    assert_eq!(modes(&others), (0o666, 0o711, 0o700));
    let inside: Vec<_> = fs::read_dir(Path::new(&own.path).parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        inside,
        [OsString::from("authd.sock")],
        "nothing else is given away with it"
    );
}

#[test]
fn in_the_runtime_directory_they_are_beside_the_daemons_own() {
    let server = server();
    let mut instance = Instance::new();
    let runtime = instance.dir().join("runtime");
    private_directory(&runtime);
    instance.set_env("XDG_RUNTIME_DIR", &runtime);
    let state = instance.state_dir();
    instance.set_env("XDG_STATE_HOME", state);
    // As nobody sets it who has no tests to run.
    instance.set_env("AUTHD_STATE_DIR", "");
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let created = instance.authctl(&["socket", "create"]);
    let path = created.line();
    assert!(
        path.starts_with(&format!("{}/authd/restricted/demo-", runtime.display())),
        "{path}"
    );
    instance.set_env("AUTHD_SOCKET", path);
    assert_eq!(api::ping(&server, instance.authctl(&["token"]).line()), 200);
}

#[test]
fn sockets_outlive_the_daemon_and_their_revocation_does_too() {
    let server = server();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let kept = create(&instance, &for_api());
    let revoked = create(&instance, &for_api());
    assert_ne!(kept.path, revoked.path);
    let name = Some(revoked.name.clone());
    instance.call(&SocketRevoke { name }).unwrap();
    daemon.kill();

    let daemon = instance.start_daemon();
    let left = sockets(&instance);
    assert_eq!(left.len(), 1);
    assert_eq!((&left[0].name, &left[0].path), (&kept.name, &kept.path));
    assert_eq!(
        (
            left[0].scopes.len(),
            left[0].expires_at.abs_diff(kept.expires_at) <= 1
        ),
        (1, true)
    );
    let mut client = connect(&kept.path).unwrap();
    assert!(get(&mut client, &TokenGet::default()).is_ok());
    assert!(!Path::new(&revoked.path).exists());
    drop(client);

    // An orderly stop takes the file away and keeps the directory, which may be mounted.
    assert!(daemon.stop().success());
    assert!(!Path::new(&kept.path).exists());
    assert!(Path::new(&kept.path).parent().unwrap().is_dir());
    let _daemon = instance.start_daemon();
    assert!(get(&mut connect(&kept.path).unwrap(), &TokenGet::default()).is_ok());

    // The account goes, and they with it.
    let account = "demo".to_owned();
    instance.call(&AccountForget { account }).unwrap();
    assert_eq!(sockets(&instance), []);
    assert!(!Path::new(&kept.path).parent().unwrap().exists());
}

#[test]
fn a_revocation_ends_the_wait_of_a_request_and_no_token_comes() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    // A token with so few scopes is still to be fetched.
    server.close_gate(Endpoint::Token, Phase::BeforeCommit);
    let mut waiting = Raw::connect(Path::new(&socket.path));
    let wait = TokenGet {
        wait_secs: Some(60),
        ..TokenGet::default()
    };
    assert!(waiting.send(&authd_e2e::raw::frame(7, &wait)));
    server
        .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
        .unwrap();
    instance.call(&SocketRevoke { name: None }).unwrap();
    let mut nothing = Vec::new();
    assert_eq!(waiting.stream().read_to_end(&mut nothing).unwrap(), 0);
    server.open_gate(Endpoint::Token);
    until("nobody waits", || {
        let status = instance.call(&DaemonStatus {}).unwrap();
        (status.waiters, status.exchanges_in_flight) == (0, 0)
    });
    until("they are counted right", || {
        instance.status().connections == 1
    });
}

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
fn a_lock_ends_its_connections_and_it_answers_locked_until_unlocked() {
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let server = server();
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    let mut client = connect(&socket.path).unwrap();
    assert!(get(&mut client, &TokenGet::default()).is_ok());

    let locked = instance.authctl(&["lock"]);
    assert_eq!(locked.code(), 0, "{locked:?}");
    until("its connections have ended", || {
        sockets(&instance)[0].connections == 0
    });
    let cut = client.call(&TokenGet::default(), PATIENCE);
    assert!(!matches!(cut, Err(ClientError::Wire(_)) | Ok(_)));
    let mut client = connect(&socket.path).unwrap();
    let error = get(&mut client, &TokenGet::default()).err().unwrap();
    assert_eq!(error.code, ErrorCode::Locked, "{error}");

    let unlocked = instance.authctl(&["unlock"]);
    assert_eq!(unlocked.code(), 0, "{unlocked:?}");
    assert!(get(&mut client, &TokenGet::default()).is_ok());
}
