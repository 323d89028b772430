//! On another host, to which OpenSSH carries them.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use authd::Alarms;
use authd_e2e::{
    Finished, Instance, PATIENCE, Process, Raw, api, binaries,
    driven::{DrivenDaemon, Time},
    instance::private_directory,
    redacted,
    sshd::{Sshd, Stranger},
    until,
};
use authd_proto::{request::TokenGet, socket::SocketRevoke};
use authd_testkit::Settings;

use super::{
    HOUR, bring_authctl, connect, create, for_api, get, gives_one_token_and_nothing_else, is_dead,
    open, open_directory, server, sockets,
};

/// Where the server is.
const HOST: &str = "127.0.0.1";

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
    let mut silent = Raw::connect(&forwarded);
    let name = Some(socket.name.clone());
    let revoked = instance.call(&SocketRevoke { name }).unwrap();
    assert_eq!(revoked.revoked, [socket.name]);
    assert!(!Path::new(&socket.path).exists(), "before it is answered");
    assert_eq!(silent.until_closed(PATIENCE), Some(Vec::new()));
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
