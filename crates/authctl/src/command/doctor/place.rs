//! Places on disk: whose they are, and who else can get at them.

use std::path::Path;

use authd_client::{Instance, spawn};

use super::Finding;
#[cfg(unix)]
use crate::exit;

/// The daemon's program, which commands start.
pub(super) fn program() -> Finding {
    match spawn::find_program() {
        Ok(program) => Finding::ok("program", format!("'{}'", program.display())),
        Err(error) => Finding::fail(
            "program",
            "no_program",
            error.to_string(),
            "put authd into the directory of authctl",
        ),
    }
}

/// The socket and its directory.
#[cfg(unix)]
pub(super) fn socket(instance: &Instance) -> Vec<Finding> {
    let path = instance.socket.path();
    let shown = path.display();
    if let Err(error) = instance.socket.check() {
        let fix = exit::place_for(&error)
            .unwrap_or_else(|| "set AUTHD_SOCKET to a path of your own".to_owned());
        return vec![Finding::fail(
            "socket",
            "socket_place",
            error.to_string(),
            fix,
        )];
    }
    let named = if instance.socket.is_explicit() {
        ", as AUTHD_SOCKET says"
    } else {
        ""
    };
    vec![Finding::ok("socket", format!("'{shown}'{named}"))]
}

/// The pipe's name: its access list is checked by whoever connects.
#[cfg(not(unix))]
pub(super) fn socket(instance: &Instance) -> Vec<Finding> {
    let shown = instance.socket.path().display();
    vec![Finding::ok("socket", format!("'{shown}'"))]
}

/// The state directory, once there is one.
pub(super) fn state(state: &Path) -> Vec<Finding> {
    let shown = state.display();
    match state.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            vec![Finding::ok(
                "state",
                format!("'{shown}' is made by the first start"),
            )]
        }
        Err(error) => vec![Finding::fail(
            "state",
            "state_unreadable",
            format!("'{shown}' cannot be read: {error}"),
            format!("ls -ld '{shown}'"),
        )],
        Ok(meta) => {
            let mut findings = vec![private("state", state, &meta)];
            findings.extend(open_files(state));
            findings
        }
    }
}

/// A configuration file: nobody else may write what the daemon will do.
pub(super) fn config(path: &Path) -> Finding {
    let shown = path.display();
    match std::fs::File::open(path).and_then(|file| file.metadata()) {
        Err(error) => Finding::fail(
            "config",
            "config_unreadable",
            format!("'{shown}' cannot be read: {error}"),
            format!("ls -l '{shown}'"),
        ),
        Ok(meta) if writable_by_others(&meta) => Finding::fail(
            "config",
            "config_writable",
            format!("others can write '{shown}'"),
            format!("chmod go-w '{shown}'"),
        ),
        Ok(_) => Finding::ok("config", format!("'{shown}'")),
    }
}

/// What others could read or write of the state directory, if they got as far.
#[cfg(unix)]
fn open_files(state: &Path) -> Vec<Finding> {
    use std::os::unix::fs::MetadataExt as _;
    // One that cannot be listed is told of already.
    let mut kept: Vec<_> = std::fs::read_dir(state)
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    kept.sort_by_key(std::fs::DirEntry::file_name);
    let open = kept.iter().filter_map(|entry| {
        // Of a link itself.
        let meta = entry.metadata().ok()?;
        let mode = meta.mode() & 0o7777;
        let path = entry.path();
        let shown = path.display();
        let is_kept = meta.is_file() || meta.is_dir();
        (is_kept && mode & 0o077 != 0).then(|| {
            Finding::fail(
                "store",
                "open_to_others",
                format!("others can get at '{shown}' (mode {mode:04o})"),
                format!("chmod go-rwx '{shown}'"),
            )
        })
    });
    open.collect()
}

#[cfg(not(unix))]
fn open_files(_: &Path) -> Vec<Finding> {
    Vec::new()
}

#[cfg(unix)]
fn private(check: &'static str, path: &Path, meta: &std::fs::Metadata) -> Finding {
    use std::os::unix::fs::MetadataExt as _;
    let shown = path.display();
    let own = rustix::process::geteuid().as_raw();
    let mode = meta.mode() & 0o7777;
    if !meta.is_dir() {
        Finding::fail(
            check,
            "not_a_directory",
            format!("'{shown}' is not a directory (symbolic links are not followed here)"),
            format!("put '{shown}' out of the way"),
        )
    } else if meta.uid() != own {
        Finding::fail(
            check,
            "foreign_owner",
            format!("'{shown}' belongs to uid {}, not to uid {own}", meta.uid()),
            format!("sudo chown -R {own} '{shown}'"),
        )
    } else if mode & 0o077 != 0 {
        Finding::fail(
            check,
            "open_to_others",
            format!("others can get into '{shown}' (mode {mode:04o})"),
            format!("chmod 700 '{shown}'"),
        )
    } else if mode & 0o700 != 0o700 {
        Finding::fail(
            check,
            "not_writable",
            format!("nothing can be written to '{shown}' (mode {mode:04o})"),
            format!("chmod 700 '{shown}'"),
        )
    } else {
        Finding::ok(check, format!("'{shown}'"))
    }
}

/// A profile's directories are the user's own by the rights they inherit.
#[cfg(not(unix))]
fn private(check: &'static str, path: &Path, _: &std::fs::Metadata) -> Finding {
    Finding::ok(check, format!("'{}'", path.display()))
}

#[cfg(unix)]
fn writable_by_others(meta: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    meta.mode() & 0o022 != 0
}

#[cfg(not(unix))]
fn writable_by_others(_: &std::fs::Metadata) -> bool {
    false
}
