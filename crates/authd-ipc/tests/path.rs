//! Where things are, and which places are refused.
#![cfg(unix)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use authd_ipc::{Directories, Environment, PathError, SocketPath};

mod common;
use common::{NOBODY, is_root, private_dir, set_mode};

fn directories(state: &Path) -> Directories {
    Directories {
        state: state.to_owned(),
        config: state.join("config"),
    }
}

fn locate(environment: &Environment, state: &Path) -> PathBuf {
    let socket = SocketPath::locate(environment, &directories(state)).expect("a usable path");
    socket.path().to_owned()
}

fn runtime(dir: &Path) -> Environment {
    Environment {
        runtime_dir: Some(dir.into()),
        ..Environment::default()
    }
}

#[test]
fn the_named_socket_comes_first() {
    let dir = private_dir();
    let environment = Environment {
        socket: Some("/somewhere/else.sock".into()),
        ..runtime(dir.path())
    };
    let socket = SocketPath::locate(&environment, &directories(dir.path())).expect("usable");
    assert_eq!(socket.path(), Path::new("/somewhere/else.sock"));
    assert!(socket.is_explicit());
}

#[test]
fn the_runtime_directory_is_used_if_it_is_ours_alone() {
    let (state, runtime_dir) = (private_dir(), private_dir());
    let expected = runtime_dir.path().join("authd/authd.sock");
    assert_eq!(locate(&runtime(runtime_dir.path()), state.path()), expected);

    set_mode(runtime_dir.path(), 0o777);
    assert_ne!(
        locate(&runtime(runtime_dir.path()), state.path()),
        expected,
        "others can write"
    );
    set_mode(runtime_dir.path(), 0o700);

    let link = state.path().join("link");
    symlink(runtime_dir.path(), &link).expect("linked");
    assert_ne!(
        locate(&runtime(&link), state.path()),
        link.join("authd/authd.sock"),
        "a symbolic link"
    );

    if is_root() {
        chown(runtime_dir.path(), Some(NOBODY), None).expect("root may");
        assert_ne!(
            locate(&runtime(runtime_dir.path()), state.path()),
            expected,
            "another's"
        );
    }
}

#[test]
fn a_state_directory_of_its_own_isolates_the_socket_too() {
    let (state, runtime_dir) = (private_dir(), private_dir());
    let environment = Environment {
        state_dir: Some(state.path().into()),
        ..runtime(runtime_dir.path())
    };
    assert_eq!(
        locate(&environment, state.path()),
        state.path().join("run/authd.sock")
    );
}

#[test]
fn the_variables_alone_decide_where_state_and_configuration_are() {
    let environment = Environment {
        state_dir: Some("/a/state".into()),
        config_dir: Some("/a/config".into()),
        ..Environment::default()
    };
    let found = Directories::locate(&environment).expect("both are given");
    assert_eq!(
        found,
        Directories {
            state: "/a/state".into(),
            config: "/a/config".into()
        }
    );
}

#[test]
fn relative_paths_are_refused_by_name() {
    let bad = Environment {
        state_dir: Some("state".into()),
        ..Environment::default()
    };
    let error = Directories::locate(&bad).expect_err("relative");
    assert_eq!(
        error.to_string(),
        "AUTHD_STATE_DIR must be an absolute path, but is 'state'"
    );
    let bad = Environment {
        socket: Some("authd.sock".into()),
        ..Environment::default()
    };
    let error = SocketPath::locate(&bad, &directories(Path::new("/x"))).expect_err("relative");
    assert!(matches!(
        error,
        PathError::Relative {
            variable: "AUTHD_SOCKET",
            ..
        }
    ));
}

#[test]
fn a_path_too_long_for_a_socket_says_what_to_do() {
    let error =
        SocketPath::explicit(format!("/{}", "x".repeat(107)).into()).expect_err("108 bytes");
    assert!(
        error
            .to_string()
            .ends_with("longer than the system's 107 bytes; set AUTHD_SOCKET to a shorter one")
    );
    assert!(SocketPath::explicit(format!("/{}", "x".repeat(102)).into()).is_ok());
}

#[test]
fn preparing_makes_the_directory_private() {
    let dir = private_dir();
    let runtime_dir = dir.path().join("authd");
    std::fs::create_dir(&runtime_dir).expect("created");
    set_mode(&runtime_dir, 0o777);
    let socket =
        SocketPath::locate(&runtime(dir.path()), &directories(dir.path())).expect("usable");
    socket.prepare_directory().expect("ours to tighten");
    assert_eq!(
        runtime_dir.metadata().expect("there").permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_named_socket_in_a_directory_others_can_write_is_refused() {
    let error = SocketPath::explicit("/tmp/authd-test.sock".into())
        .expect("short")
        .check();
    let error = error.expect_err("anybody can write to /tmp");
    assert!(
        matches!(error, PathError::Writable { .. } | PathError::Owner { .. }),
        "{error}"
    );
    let dir = private_dir();
    set_mode(dir.path(), 0o770);
    let socket = SocketPath::explicit(dir.path().join("s")).expect("short");
    assert!(matches!(
        socket.check(),
        Err(PathError::Writable { mode: 0o770, .. })
    ));
    assert!(matches!(
        socket.prepare_directory(),
        Err(PathError::Writable { mode: 0o770, .. })
    ));
}

#[test]
fn symbolic_links_are_refused() {
    let dir = private_dir();
    let real = dir.path().join("real");
    std::fs::create_dir(&real).expect("created");
    symlink(&real, dir.path().join("link")).expect("linked");
    let through = SocketPath::explicit(dir.path().join("link/s")).expect("short");
    assert!(matches!(through.check(), Err(PathError::NotADirectory(_))));
    assert!(matches!(
        through.prepare_directory(),
        Err(PathError::NotADirectory(_) | PathError::Io { .. })
    ));

    let _listener = UnixListener::bind(real.join("target")).expect("bound");
    set_mode(&real, 0o700);
    symlink(real.join("target"), real.join("s")).expect("linked");
    let socket = SocketPath::explicit(real.join("s")).expect("short");
    assert!(matches!(socket.check(), Err(PathError::NotASocket(_))));
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let dir = private_dir();
    let path = dir.path().join("s");
    let _listener = UnixListener::bind(&path).expect("bound");
    let socket = SocketPath::explicit(path.clone()).expect("short");
    socket.check().expect("all ours");
    chown(&path, Some(NOBODY), None).expect("root may");
    assert!(matches!(
        socket.check(),
        Err(PathError::Owner {
            owner: NOBODY,
            own: 0,
            ..
        })
    ));
    chown(&path, Some(0), None).expect("root may");
    chown(dir.path(), Some(NOBODY), None).expect("root may");
    assert!(matches!(
        socket.check(),
        Err(PathError::Owner {
            owner: NOBODY,
            own: 0,
            ..
        })
    ));
    assert_eq!(dir.path().metadata().expect("there").uid(), NOBODY);
}

#[test]
fn whose_server_is_to_be_trusted_is_said_and_never_guessed() {
    let named = |uid: &str| Environment {
        socket: Some("/x/authd.sock".into()),
        socket_uid: Some(uid.into()),
        ..Environment::default()
    };
    let locate = |uid| SocketPath::locate(&named(uid), &directories(Path::new("/x")));
    for bad in ["me", "-1", "4294967296", "1000 "] {
        assert!(matches!(locate(bad), Err(PathError::NoUid(_))), "{bad:?}");
    }
    locate("1000").expect("a uid");
    // A socket that nobody named is one's own, whatever the variable says.
    let dir = private_dir();
    let environment = Environment {
        socket_uid: Some("nonsense".into()),
        ..runtime(dir.path())
    };
    locate_in(&environment, dir.path());

    if !is_root() {
        return;
    }
    let path = dir.path().join("s");
    let _listener = UnixListener::bind(&path).expect("bound");
    let of_nobody = Environment {
        socket: Some(path.clone().into()),
        socket_uid: Some(NOBODY.to_string().into()),
        ..Environment::default()
    };
    let socket = locate_in(&of_nobody, dir.path());
    assert!(matches!(
        socket.check(),
        Err(PathError::Owner { own: NOBODY, .. })
    ));
    chown(&path, Some(NOBODY), None).expect("root may");
    chown(dir.path(), Some(NOBODY), None).expect("root may");
    socket.check().expect("all theirs");
    // The files say so; whoever answers there is another matter.
    let refused = authd_ipc::connect(&socket, std::time::Duration::from_secs(5));
    assert!(matches!(
        refused,
        Err(authd_ipc::ConnectError::ServerUser { .. })
    ));
    set_mode(dir.path(), 0o777);
    assert!(matches!(socket.check(), Err(PathError::Writable { .. })));
}

fn locate_in(environment: &Environment, state: &Path) -> SocketPath {
    SocketPath::locate(environment, &directories(state)).expect("a usable path")
}
