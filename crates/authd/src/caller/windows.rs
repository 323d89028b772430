//! What Windows says of a process: its program. Who may replace that is not looked at yet, so it is no name.

#![expect(unsafe_code, reason = "the program of a process is read through Win32")]

use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};

use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION, QueryFullProcessImageNameW,
};

use super::Facts;
use crate::process::launcher::Launcher;

/// Longest path, in UTF-16 units.
const LONGEST: usize = 32_768;

/// All there is to know of process `pid` now.
pub(super) fn facts(pid: u32, launcher: &Launcher) -> Facts {
    Facts {
        executable: executable(pid, launcher),
        ..Facts::default()
    }
}

/// The program that runs in process `pid`, by its path.
pub(super) fn executable(pid: u32, _: &Launcher) -> Option<String> {
    // SAFETY: plain integers go in; the result is checked before it is owned.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    if process.is_null() {
        return None;
    }
    // SAFETY: not null, and nobody else owns it.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    let mut path = vec![0_u16; LONGEST];
    let mut length = u32::try_from(path.len()).ok()?;
    // SAFETY: the handle is open; the buffer is as long as said, and the system writes no more.
    let read = unsafe {
        QueryFullProcessImageNameW(
            process.as_raw_handle(),
            PROCESS_NAME_WIN32,
            path.as_mut_ptr(),
            &raw mut length,
        )
    };
    path.truncate(usize::try_from(length).ok()?);
    (read != 0).then(|| String::from_utf16(&path).ok())?
}

/// The file of that program is not asked for here.
pub(super) fn file(_pid: u32, _: &Launcher) -> Option<(u32, u32, u64)> {
    None
}

/// The parents are not asked for here.
pub(super) fn ancestors(_pid: u32, _: &Launcher) -> Vec<u32> {
    Vec::new()
}

/// Who may change it is not looked at.
pub(super) fn is_roots_file(_path: &str) -> bool {
    false
}
