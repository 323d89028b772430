//! What of another process only those may see who might debug it. A daemon that is confined is none of them,
//! whoever it runs as; the launcher sees it for it.

use std::{fs, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

use serde::{Deserialize, Serialize};

/// Bytes of a file that a sandbox describes itself in.
const LARGEST: u64 = 16 * 1024;

/// The facts, as far as the system shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The program that runs in it, by its path.
    pub(crate) executable: Option<String>,
    /// That program's file itself: its device and its number.
    pub(crate) file: Option<(u64, u64)>,
    /// Its namespaces of users and of processes, by the kernel's names for them.
    pub(crate) namespaces: [Option<String>; 2],
    /// What is in `/.flatpak-info`, as the process sees it; read only of one in namespaces that are not ours.
    pub(crate) flatpak: Option<String>,
}

impl Seen {
    /// What this process can see of `pid` now.
    pub(crate) fn of(pid: u32) -> Self {
        let own = namespaces(std::process::id());
        let namespaces = namespaces(pid);
        let elsewhere = namespaces != own;
        let file = fs::metadata(path(pid, "exe")).ok();
        Self {
            executable: link(pid, "exe"),
            file: file.map(|file| (file.dev(), file.ino())),
            flatpak: elsewhere.then(|| text(pid, "root/.flatpak-info")).flatten(),
            namespaces,
        }
    }
}

fn path(pid: u32, name: &str) -> std::path::PathBuf {
    Path::new("/proc").join(pid.to_string()).join(name)
}

fn link(pid: u32, name: &str) -> Option<String> {
    let target = fs::read_link(path(pid, name)).ok()?;
    target.into_os_string().into_string().ok()
}

fn namespaces(pid: u32) -> [Option<String>; 2] {
    ["ns/user", "ns/pid"].map(|name| link(pid, name))
}

fn text(pid: u32, name: &str) -> Option<String> {
    let mut text = Vec::new();
    let file = fs::File::open(path(pid, name)).ok()?;
    file.take(LARGEST).read_to_end(&mut text).ok()?;
    // What is no text in there is no name that counts.
    Some(String::from_utf8_lossy(&text).into_owned())
}
