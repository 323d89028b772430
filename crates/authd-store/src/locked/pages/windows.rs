//! Pages of Windows.

use std::{io, ptr, ptr::NonNull};

use windows_sys::Win32::System::{
    Memory::{
        MEM_COMMIT, MEM_RESERVE, PAGE_NOACCESS, PAGE_READWRITE, VirtualAlloc, VirtualLock,
        VirtualProtect,
    },
    SystemInformation::{GetSystemInfo, SYSTEM_INFO},
};

pub(super) fn page_size() -> usize {
    let mut info = SYSTEM_INFO::default();
    // SAFETY: it writes the structure and nothing else.
    unsafe { GetSystemInfo(&raw mut info) };
    info.dwPageSize as usize
}

/// Maps a guard of one page, `length` bytes and another guard.
pub(super) fn map(page: usize, length: usize) -> io::Result<NonNull<u8>> {
    let (size, kind) = (page + length + page, MEM_COMMIT | MEM_RESERVE);
    // SAFETY: no address is asked for, so nothing that is mapped is replaced.
    let whole = unsafe { VirtualAlloc(ptr::null(), size, kind, PAGE_NOACCESS) };
    if whole.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: one page into a mapping that is longer.
    let start = unsafe { whole.byte_add(page) };
    let mut before = 0;
    // SAFETY: `length` bytes from there are within the mapping, and nobody knows them yet.
    if unsafe { VirtualProtect(start, length, PAGE_READWRITE, &raw mut before) } == 0 {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Locks the pages.
///
/// # Safety
/// They are mapped.
pub(super) unsafe fn lock(start: NonNull<u8>, length: usize) -> io::Result<()> {
    // SAFETY: the pages are mapped.
    match unsafe { VirtualLock(start.as_ptr().cast(), length) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
