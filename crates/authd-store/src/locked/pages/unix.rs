//! Pages of Linux and macOS.

use std::{io, ptr, ptr::NonNull};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mlock, mmap_anonymous, mprotect};
pub(super) use rustix::param::page_size;

/// Maps a guard of one page, `length` bytes and another guard.
pub(super) fn map(page: usize, length: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: no address is asked for, so nothing that is mapped is replaced.
    let whole = unsafe {
        mmap_anonymous(
            ptr::null_mut(),
            page + length + page,
            ProtFlags::empty(),
            MapFlags::PRIVATE,
        )
    }?;
    // SAFETY: one page into a mapping that is longer.
    let start = unsafe { whole.byte_add(page) };
    // SAFETY: `length` bytes from there are within the mapping, and nobody knows them yet.
    unsafe { mprotect(start, length, MprotectFlags::READ | MprotectFlags::WRITE) }?;
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Locks the pages, and keeps them from core files and children.
///
/// # Safety
/// They are mapped, and nobody relies on their being inherited.
pub(super) unsafe fn lock(start: NonNull<u8>, length: usize) -> io::Result<()> {
    let start = start.as_ptr().cast();
    // The one that can be refused comes last: a limit on locked memory is no reason for a core file.
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        // SAFETY: advice on our own pages, none of which changes what is in them here.
        unsafe { madvise(start, length, Advice::LinuxDontDump) }?;
        // SAFETY: likewise; the caller promises that no child needs them.
        unsafe { madvise(start, length, Advice::LinuxWipeOnFork) }?;
    }
    // SAFETY: the pages are mapped.
    unsafe { mlock(start, length) }?;
    Ok(())
}
