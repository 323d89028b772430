//! Pages of the system's, locked where it lets us.

use std::{io, ptr::NonNull};

#[cfg(unix)]
#[path = "pages/unix.rs"]
mod platform;
#[cfg(windows)]
#[path = "pages/windows.rs"]
mod platform;

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
        let page = platform::page_size();
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
