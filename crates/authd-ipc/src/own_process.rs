//! What a process that holds secrets does to itself first: nobody may look into it, and what it says when it
//! breaks quotes nothing.

use std::io::{self, Write as _};

/// Keeps other processes of the user out of this one's memory, environment and descriptors, and its memory
/// out of core files. Undone by `exec`. On Linux nobody of the user can tell any more which program it is.
///
/// On Linux the process becomes undumpable, on macOS it refuses debuggers; Windows has nothing of the kind
/// for processes of one user.
///
/// # Errors
/// The system's.
pub fn refuse_debuggers() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    #[cfg(target_os = "macos")]
    #[expect(unsafe_code, reason = "a call into the system's library")]
    // SAFETY: with this request the call takes no address and touches no memory.
    if unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, std::ptr::null_mut(), 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has no core file written of this process, and of none that it starts.
///
/// # Errors
/// The system's.
pub fn refuse_core_files() -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Core, none)?;
    }
    Ok(())
}

/// From now on a panic tells its thread and its place in the code, and not its message, which may quote
/// what the code was at.
pub fn hide_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        // There is nobody else to tell.
        let _ = match panic.location() {
            Some(place) => writeln!(io::stderr(), "thread '{thread}' panicked at {place}"),
            None => writeln!(io::stderr(), "thread '{thread}' panicked"),
        };
    }));
}
