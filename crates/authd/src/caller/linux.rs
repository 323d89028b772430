//! What Linux says of a process: its files under `/proc`.
//!
//! Some of them (`exe`, `root`, `ns`) can be read only by those who might debug the process, and by nobody who
//! is confined as the daemon is: the launcher reads them. Where nobody can, as of a process that cannot be
//! dumped, a fact is missing, and the process is known by less.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, sync::OnceLock, time::SystemTime};

use authd_core::policy::CallerName;

use super::{
    Facts,
    parse::{self, Place, Stat},
};
use crate::process::launcher::{Launcher, Seen};

/// Parents that are gone up to at most.
const GENERATIONS: usize = 64;
/// Clock ticks in a second: what the kernel shows to programs, on every architecture that authd runs on.
const TICKS: u64 = 100;

/// All there is to know of process `pid` now. May wait for a second where it is in a sandbox.
pub(super) fn facts(pid: u32, launcher: &Launcher) -> Facts {
    let seen = launcher.see(pid);
    let stat = seen.stat.as_deref().and_then(parse::stat);
    let by_root = is_roots(&seen);
    let place = seen.cgroup.as_deref().and_then(parse::place);
    let label = seen.label.as_deref().and_then(parse::snap_of_label);
    let snap = label.or(match &place {
        Some(Place::Snap(name)) => Some(name.clone()),
        _ => None,
    });
    let elsewhere = is_elsewhere(&seen);
    // Flatpak has namespaces of its own; a file of that name on the machine itself says nothing.
    let flatpak = elsewhere
        .then(|| launcher.sandbox(pid))
        .flatten()
        .and_then(|text| parse::flatpak(&text));
    let app = match (flatpak, snap) {
        (Some(id), _) => Some(CallerName::Flatpak(id.into())),
        (None, Some(name)) => Some(CallerName::Snap(name.into())),
        (None, None) => None,
    };
    Facts {
        start: stat.map(|stat| stat.started),
        started_at: stat.and_then(|stat| unix_seconds(stat.started)),
        file: numbers(&seen),
        executable: seen.executable,
        by_root,
        app,
        unit: match place {
            Some(Place::Unit(unit)) => Some(unit),
            _ => None,
        },
        terminal: stat.and_then(|stat| parse::terminal(stat.tty)),
        session: stat.and_then(|stat| session(stat, launcher)),
        elsewhere,
        ended: false,
    }
}

/// The program that runs in process `pid`, by its path.
pub(super) fn executable(pid: u32, launcher: &Launcher) -> Option<String> {
    launcher.program(pid)
}

/// The file of that program.
pub(super) fn file(pid: u32, launcher: &Launcher) -> Option<(u32, u32, u64)> {
    numbers(&launcher.see(pid))
}

fn numbers(seen: &Seen) -> Option<(u32, u32, u64)> {
    let file = seen.file?;
    Some((file.device.0, file.device.1, file.inode))
}

/// The parents of process `pid`, its own first.
pub(super) fn ancestors(pid: u32, launcher: &Launcher) -> Vec<u32> {
    let parent = |pid: &u32| {
        let stat = stat(*pid, launcher);
        stat.map(|stat| stat.parent).filter(|pid| *pid > 0)
    };
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
    is_roots_file(path)
        && fs::symlink_metadata(path).is_ok_and(|there| {
            let device = there.dev();
            let device = (rustix::fs::major(device), rustix::fs::minor(device));
            (device, there.ino()) == (running.device, running.inode)
        })
}

/// Whether only root can change the program at `path`, or put another there. No link: the kernel names a
/// program by its last one.
///
/// From the top down, and no further than root's: what others serve below may answer what it likes, or not.
pub(super) fn is_roots_file(path: &str) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    // In such a directory each may remove what is their own alone.
    const STICKY: u32 = 0o1000;
    let path = Path::new(path);
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    let is_roots = |path: &Path, allowed: u32| {
        fs::symlink_metadata(path).is_ok_and(|file| {
            let safe = file.mode() & OTHERS_WRITE == 0 || file.mode() & allowed != 0;
            !file.is_symlink() && file.uid() == 0 && safe
        })
    };
    path.is_absolute()
        && above.into_iter().all(|dir| is_roots(dir, STICKY))
        && is_roots(path, 0)
        && fs::symlink_metadata(path).is_ok_and(|file| file.is_file())
}

fn stat(pid: u32, launcher: &Launcher) -> Option<Stat> {
    parse::stat(launcher.see(pid).stat.as_deref()?)
}

/// The leader of the session and when that began. The number alone would come again; without a leader
/// that lives, nobody vouches for the session.
fn session(stat: Stat, launcher: &Launcher) -> Option<(u32, u64)> {
    let leader = self::stat(stat.session, launcher)?;
    (leader.session == stat.session).then_some((stat.session, leader.started))
}

/// Whether the process lives in a user or pid namespace other than ours. Where that is not shown, what
/// anybody may read has to do: the map of user ids, and the numbers by which the process is known.
fn is_elsewhere(seen: &Seen) -> bool {
    // Of ourselves we see everything, and it stays as it is.
    static OURS: OnceLock<Seen> = OnceLock::new();
    let ours = OURS.get_or_init(|| Seen::of(std::process::id()));
    if ours
        .namespaces
        .iter()
        .zip(&seen.namespaces)
        .any(|(ours, theirs)| theirs.is_some() && ours != theirs)
    {
        return true;
    }
    let in_pid_namespace = seen.status.as_deref().and_then(parse::is_in_pid_namespace);
    in_pid_namespace != Some(false) || seen.uid_map != ours.uid_map
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
        assert_eq!(
            ancestors(own, &Launcher::default()).first(),
            Some(&parent.cast_unsigned())
        );
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

    #[test]
    fn what_others_could_put_in_its_place_is_not_roots_alone() {
        let shell = fs::canonicalize("/bin/sh").unwrap();
        assert!(is_roots_file(shell.to_str().unwrap()));
        assert!(!is_roots_file("sh"), "wherever that is");
        // Its own mode would do, whoever owns it: its directory is open to its owner's programs.
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("sh");
        fs::copy(&shell, &copy).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode;
        fs::set_permissions(dir.path(), mode(0o777)).unwrap();
        assert!(!is_roots_file(copy.to_str().unwrap()));
    }
}
