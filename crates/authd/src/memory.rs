//! What the allocator keeps of the memory that the daemon no longer needs.
//!
//! The daemon is small and sits there all day, but loading many accounts takes several times what is kept
//! of them. glibc gives each thread an arena of its own, which nobody else fills again, and gives back what
//! is free only at the end of one. Other allocators do neither.

/// Lets all threads share one arena. What they contend for is next to nothing: clients are served by one
/// thread. To be called before there is another.
pub fn share_one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a call into the C library")]
    // SAFETY: it takes two numbers and touches no memory of ours.
    unsafe {
        // Refused: then there are more arenas, and more memory is used.
        let _ = libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back to the system what is free. Takes some milliseconds: for when much has just been freed.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a call into the C library")]
    // SAFETY: it takes a number and touches no memory that is in use.
    unsafe {
        // Whether there was anything is of no account.
        let _ = libc::malloc_trim(0);
    }
}
