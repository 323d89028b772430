//! Pages of the system's, locked where it lets us.

use std::{io, ptr::NonNull};

/// A run of pages between two that nobody can touch. Never given back.
pub(super) struct Pages(NonNull<u8>);

// SAFETY: an address; what is there is touched by those alone who were given a part of it.
unsafe impl Send for Pages {}

impl Pages {
    /// Maps pages for `length` bytes, which are zero, and says whether they could be locked.
    ///
    /// # Errors
    /// When the system gives none.
    pub(super) fn map(length: usize) -> io::Result<(Self, io::Result<()>)> {
        let page = page_size();
        let length = length.next_multiple_of(page);
        let start = platform::map(page, length)?;
        // SAFETY: the pages were just mapped and nobody else knows them.
        let locked = unsafe { platform::lock(start, length) };
        Ok((Self(start), locked))
    }

    /// Their first byte.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.0
    }
}

#[cfg(unix)]
use rustix::param::page_size;

#[cfg(windows)]
fn page_size() -> usize {
    use windows_sys::Win32::System::SystemInformation::{GetSystemInfo, SYSTEM_INFO};
    let mut info = SYSTEM_INFO::default();
    // SAFETY: it writes the structure and nothing else.
    unsafe { GetSystemInfo(&raw mut info) };
    info.dwPageSize as usize
}

#[cfg(unix)]
mod platform {
    use std::{io, ptr, ptr::NonNull};

    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mlock, mmap_anonymous, mprotect};

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
}

#[cfg(windows)]
mod platform {
    use std::{io, ptr, ptr::NonNull};

    use windows_sys::Win32::System::Memory::{
        MEM_COMMIT, MEM_RESERVE, PAGE_NOACCESS, PAGE_READWRITE, VirtualAlloc, VirtualLock,
        VirtualProtect,
    };

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
}
