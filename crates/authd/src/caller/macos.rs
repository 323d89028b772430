//! What macOS says of a process without an entitlement: its program. Who signed it is not looked at yet.

use super::Facts;
use crate::process::launcher::Launcher;

/// All there is to know of process `pid` now.
pub(super) fn facts(pid: u32, launcher: &Launcher) -> Facts {
    let executable = executable(pid, launcher);
    let by_root = executable.as_deref().is_some_and(is_roots_file);
    Facts {
        executable,
        by_root,
        ..Facts::default()
    }
}

/// The program that runs in process `pid`, by its path.
pub(super) fn executable(pid: u32, _: &Launcher) -> Option<String> {
    #![expect(unsafe_code, reason = "no safe way to ask for a process's program")]
    let pid = i32::try_from(pid).ok()?;
    let mut path = vec![0_u8; usize::try_from(libc::PROC_PIDPATHINFO_MAXSIZE).ok()?];
    let size = u32::try_from(path.len()).ok()?;
    // SAFETY: the buffer is as large as said, and the system writes no more.
    let length = unsafe { libc::proc_pidpath(pid, path.as_mut_ptr().cast(), size) };
    path.truncate(usize::try_from(length).ok().filter(|length| *length > 0)?);
    String::from_utf8(path).ok()
}

/// The file of that program is not asked for here.
pub(super) fn file(_pid: u32, _: &Launcher) -> Option<(u32, u32, u64)> {
    None
}

/// The parents are not asked for here.
pub(super) fn ancestors(_pid: u32, _: &Launcher) -> Vec<u32> {
    Vec::new()
}

/// Whether only root can change the program at `path`.
pub(super) fn is_roots_file(path: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|file| file.uid() == 0 && file.mode() & 0o022 == 0)
}
