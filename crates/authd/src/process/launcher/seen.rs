//! What of another process only those may see who might debug it. A daemon that is confined is none of them,
//! whoever it runs as; the launcher sees it for it.
//!
//! Nothing that is read for [`Seen`] waits for anybody: files of the kernel's, and of the program's file what
//! the kernel has at hand. What a sandbox says of itself is a file of the sandbox's, which may be anything.

use std::{fs, io::Read as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use serde::{Deserialize, Serialize};

/// Bytes of a file of the kernel's that are ever of use: the longest holds one path.
const MOST: u64 = 8 * 1024;
/// Bytes of a file that a sandbox describes itself in.
const LARGEST: u64 = 16 * 1024;

/// The facts, as far as the system shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The program that runs in it, by its path.
    pub(crate) executable: Option<String>,
    /// That program's file itself.
    pub(crate) file: Option<ProgramFile>,
    /// Its namespaces of users and of processes, by the kernel's names for them.
    pub(crate) namespaces: [Option<String>; 2],
    /// Its files `stat`, `status`, `cgroup`, `attr/current` and `uid_map`. Where `/proc` is mounted with
    /// `hidepid`, they too are for those alone who might debug it.
    pub(crate) stat: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) cgroup: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) uid_map: Option<String>,
}

/// A file by which a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramFile {
    /// The numbers of its device, major and minor.
    pub(crate) device: (u32, u32),
    /// Its number there.
    pub(crate) inode: u64,
}

impl Seen {
    /// What this process can see of `pid` now.
    pub(crate) fn of(pid: u32) -> Self {
        Self {
            executable: program(pid),
            file: file(pid),
            namespaces: ["ns/user", "ns/pid"].map(|name| link(pid, name)),
            stat: text(pid, "stat"),
            status: text(pid, "status"),
            cgroup: text(pid, "cgroup"),
            label: text(pid, "attr/current"),
            uid_map: text(pid, "uid_map"),
        }
    }
}

/// The program that runs in process `pid`, by its path.
pub(crate) fn program(pid: u32) -> Option<String> {
    link(pid, "exe")
}

/// What is in `/.flatpak-info`, as the process `pid` sees it. Whoever made that root decides whether this
/// returns: to be called where nobody else waits.
pub(crate) fn sandbox(pid: u32) -> Option<String> {
    let mut options = fs::OpenOptions::new();
    // A pipe or a device is no such file, and is not waited for.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
    let file = options.read(true).custom_flags(flags);
    let file = file.open(path(pid, "root/.flatpak-info")).ok()?;
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    is_file.then(|| words(file, LARGEST)).flatten()
}

fn path(pid: u32, name: &str) -> std::path::PathBuf {
    Path::new("/proc").join(pid.to_string()).join(name)
}

fn link(pid: u32, name: &str) -> Option<String> {
    let target = fs::read_link(path(pid, name)).ok()?;
    target.into_os_string().into_string().ok()
}

/// As the kernel has it at hand: who serves a file system of their own is not asked.
fn file(pid: u32) -> Option<ProgramFile> {
    let flags = AtFlags::STATX_DONT_SYNC;
    let file = statx(CWD, path(pid, "exe"), flags, StatxFlags::INO).ok()?;
    Some(ProgramFile {
        device: (file.stx_dev_major, file.stx_dev_minor),
        inode: file.stx_ino,
    })
}

fn text(pid: u32, name: &str) -> Option<String> {
    words(fs::File::open(path(pid, name)).ok()?, MOST)
}

fn words(file: fs::File, most: u64) -> Option<String> {
    let mut words = Vec::new();
    file.take(most).read_to_end(&mut words).ok()?;
    // A name in there may be no text; what is not is no name that counts.
    Some(String::from_utf8_lossy(&words).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_us_is_what_we_are() {
        use std::os::unix::fs::MetadataExt as _;
        let seen = Seen::of(std::process::id());
        let program = std::env::current_exe().unwrap();
        let metadata = fs::metadata(&program).unwrap();
        assert_eq!(seen.executable.as_deref(), program.to_str());
        let device = metadata.dev();
        let expected = ProgramFile {
            device: (rustix::fs::major(device), rustix::fs::minor(device)),
            inode: metadata.ino(),
        };
        assert_eq!(seen.file, Some(expected));
        assert!(seen.stat.is_some() && seen.status.is_some() && seen.cgroup.is_some());
        assert_eq!(Seen::of(u32::MAX), Seen::default());
    }
}
