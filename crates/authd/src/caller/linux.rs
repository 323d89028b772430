//! What Linux says of a process: its files under `/proc`.
//!
//! Some of them (`exe`, `root`, `ns`) can be read only by those who might debug the process, and by nobody who
//! is confined as the daemon is: the launcher reads them. Where nobody can, as of a process that cannot be
//! dumped, a fact is missing, and the process is known by less.

use std::{
    fs, io::Read as _, os::unix::fs::MetadataExt as _, path::Path, sync::OnceLock, time::SystemTime,
};

use authd_core::policy::CallerName;

use super::{
    Facts,
    parse::{self, Place, Stat},
};
use crate::process::launcher::{Launcher, Seen};

/// As much of such a file as is ever of use, in bytes.
const MOST: u64 = 16 * 1024;
/// Parents that are gone up to at most.
const GENERATIONS: usize = 64;
/// Clock ticks in a second: what the kernel shows to programs, on every architecture that authd runs on.
const TICKS: u64 = 100;

/// All there is to know of process `pid` now.
pub(super) fn facts(pid: u32, launcher: &Launcher) -> Facts {
    let stat = stat(pid);
    let seen = launcher.see(pid);
    let by_root = is_roots(&seen);
    let place = read(pid, "cgroup").and_then(|text| parse::place(&text));
    let label = read(pid, "attr/current").and_then(|text| parse::snap_of_label(&text));
    let snap = label.or(match &place {
        Some(Place::Snap(name)) => Some(name.clone()),
        _ => None,
    });
    let elsewhere = is_elsewhere(pid, &seen);
    // Flatpak has namespaces of its own; a file of that name on the machine itself says nothing.
    let flatpak = seen
        .flatpak
        .filter(|_| elsewhere)
        .and_then(|text| parse::flatpak(&text));
    let app = match (flatpak, snap) {
        (Some(id), _) => Some(CallerName::Flatpak(id.into())),
        (None, Some(name)) => Some(CallerName::Snap(name.into())),
        (None, None) => None,
    };
    Facts {
        start: stat.map(|stat| stat.started),
        started_at: stat.and_then(|stat| unix_seconds(stat.started)),
        executable: seen.executable,
        by_root,
        app,
        unit: match place {
            Some(Place::Unit(unit)) => Some(unit),
            _ => None,
        },
        terminal: stat.and_then(|stat| parse::terminal(stat.tty)),
        session: stat.and_then(session),
        elsewhere,
        ended: false,
    }
}

/// The program that runs in process `pid`, by its path.
pub(super) fn executable(pid: u32, launcher: &Launcher) -> Option<String> {
    launcher.see(pid).executable
}

/// The parents of process `pid`, its own first.
pub(super) fn ancestors(pid: u32) -> Vec<u32> {
    let parent = |pid: &u32| stat(*pid).map(|stat| stat.parent).filter(|pid| *pid > 0);
    std::iter::successors(parent(&pid), parent)
        .take(GENERATIONS)
        .collect()
}

/// Whether the program of a process is the file at its path as we see it, and only root can change that.
/// A mount namespace shows what it likes at a path: the very file is compared.
fn is_roots(seen: &Seen) -> bool {
    let (Some(running), Some(path)) = (seen.file, &seen.executable) else {
        return false;
    };
    fs::symlink_metadata(path).is_ok_and(|there| running == (there.dev(), there.ino()))
        && is_roots_file(path)
}

/// Whether only root can change the program at `path`. No link: the kernel names a program by its last one.
pub(super) fn is_roots_file(path: &str) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    fs::symlink_metadata(path)
        .is_ok_and(|file| file.is_file() && file.uid() == 0 && file.mode() & OTHERS_WRITE == 0)
}

fn stat(pid: u32) -> Option<Stat> {
    parse::stat(&read(pid, "stat")?)
}

/// The leader of the session and when that began. The number alone would come again; without a leader
/// that lives, nobody vouches for the session.
fn session(stat: Stat) -> Option<(u32, u64)> {
    let leader = self::stat(stat.session)?;
    (leader.session == stat.session).then_some((stat.session, leader.started))
}

/// Whether the process lives in a user or pid namespace other than ours. Where that is not shown, what
/// anybody may read has to do: the map of user ids, and the numbers by which the process is known.
fn is_elsewhere(pid: u32, seen: &Seen) -> bool {
    struct Ours {
        namespaces: [Option<String>; 2],
        uid_map: Option<String>,
    }
    static OURS: OnceLock<Ours> = OnceLock::new();
    let own = std::process::id();
    let ours = OURS.get_or_init(|| Ours {
        namespaces: Seen::of(own).namespaces,
        uid_map: read(own, "uid_map"),
    });
    if ours
        .namespaces
        .iter()
        .zip(&seen.namespaces)
        .any(|(ours, theirs)| theirs.is_some() && ours != theirs)
    {
        return true;
    }
    let in_pid_namespace = read(pid, "status").and_then(|text| parse::is_in_pid_namespace(&text));
    in_pid_namespace != Some(false) || read(pid, "uid_map") != ours.uid_map
}

fn read(pid: u32, name: &str) -> Option<String> {
    let mut text = Vec::new();
    let path = Path::new("/proc").join(pid.to_string()).join(name);
    fs::File::open(path)
        .ok()?
        .take(MOST)
        .read_to_end(&mut text)
        .ok()?;
    // A name in there may be no text; what is not is no name that counts.
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The calendar's time of a moment that is told in clock ticks since the machine started.
fn unix_seconds(ticks: u64) -> Option<u64> {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
    let up = u64::try_from(up).ok()?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?
        .as_secs();
    now.checked_sub(up.saturating_sub(ticks / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_who_we_are() {
        let own = std::process::id();
        let facts = facts(own, &Launcher::default());
        let program = std::env::current_exe().unwrap();
        assert_eq!(facts.executable.as_deref(), program.to_str());
        assert!(!facts.elsewhere);
        assert!(facts.start.is_some() && facts.started_at.is_some());
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
        assert_eq!(ancestors(own).first(), Some(&parent.cast_unsigned()));
    }

    #[test]
    fn nobody_has_no_facts() {
        let nobody = facts(u32::MAX, &Launcher::default());
        assert!(
            nobody.elsewhere,
            "whoever cannot be looked at is not of here"
        );
        assert_eq!(
            (nobody.start, nobody.executable, nobody.by_root),
            (None, None, false)
        );
    }

    #[test]
    fn a_program_of_roots_is_the_very_file() {
        let seen = |pid, path: &str| Seen {
            executable: Some(path.to_owned()),
            ..Seen::of(pid)
        };
        let own = std::process::id();
        assert!(!is_roots(&seen(own, "/bin/sh")), "not what runs here");
        assert!(!is_roots(&seen(u32::MAX, "/bin/sh")));
    }
}
