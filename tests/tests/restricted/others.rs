//! Who is let in, and where they are.

use std::{ffi::OsString, fs, os::unix::fs::MetadataExt as _, path::Path, process::Command};

use authd_e2e::{
    Finished, Instance, PATIENCE, Process, Raw, api, binaries, instance::private_directory,
    may_change_users, tool, until,
};
use authd_proto::{
    request::TokenGet,
    socket::{SocketCreate, SocketInfo},
};

use super::{bring_authctl, connect, create, for_api, get, open_directory, server, sockets};

/// Connections of one restricted socket at most.
const CONNECTIONS: usize = 32;

/// Runs `words` as another user to whom the socket's directory is mounted, as it is to a container: for
/// reading only, and where the daemon's process has no number.
fn in_a_container(room: &Path, socket: &SocketInfo, uid: u32, words: &[&str]) -> Finished {
    let mount = room.join("mounted");
    if !mount.exists() {
        fs::create_dir(&mount).unwrap();
    }
    let script =
        "mount --bind \"$0\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new(tool::required("unshare"));
    command
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
        ])
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
    if !may_change_users() {
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
    let told = "or not serve this user";
    assert!(refused.stderr.contains(told), "{refused:?}");
    until("it is told", || {
        instance.log().contains("uid 54322 is not named")
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
fn root_of_a_container_that_is_ones_own_is_served_as_oneself() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let socket = create(&instance, &for_api());
    let mut command = instance.command(tool::required("unshare"));
    command
        .args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .arg(binaries::authctl())
        .arg("token")
        .env("AUTHD_SOCKET", &socket.path)
        .env("AUTHD_SOCKET_UID", "0");
    let token = Process::capture(&mut command).finish(PATIENCE);
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
fn whoever_fills_a_restricted_socket_takes_no_place_from_the_owner_or_from_another() {
    let server = server();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let (full, other) = (create(&instance, &for_api()), create(&instance, &for_api()));
    let path = Path::new(&full.path);
    let _silent: Vec<Raw> = (0..CONNECTIONS).map(|_| Raw::connect(path)).collect();
    let mut one_too_many = Raw::connect(path);
    assert_eq!(one_too_many.until_closed(PATIENCE), Some(Vec::new()));
    let open = sockets(&instance)
        .into_iter()
        .find(|one| one.name == full.name);
    assert_eq!(open.unwrap().connections, CONNECTIONS as u64);
    assert!(get(&mut connect(&other.path).unwrap(), &TokenGet::default()).is_ok());
    assert!(instance.token("demo", PATIENCE).is_ok());
}
