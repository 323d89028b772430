//! One daemon per state directory, by an advisory lock that the kernel drops with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use crate::error::{LockError, PathError};
use crate::path::create_private_directory;

/// The right to be the daemon. Given up when dropped, so drop it after the listener and the store.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    /// Takes the lock of `state_dir` (creating the directory, mode 0700) and notes our pid in it.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process has it; [`LockError::Path`] when the file cannot be used,
    /// a symbolic link or another's file included.
    pub fn acquire(state_dir: &Path) -> Result<Self, LockError> {
        Self::succeed(state_dir, Duration::ZERO, |_| {})
    }

    /// The same for a successor: where another process has the lock, waits up to `patience` for its end,
    /// after telling `waiting` which process it is. Blocks, and polls nothing.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), once `patience` is over.
    pub fn succeed(
        state_dir: &Path,
        patience: Duration,
        waiting: impl FnOnce(Option<u32>),
    ) -> Result<Self, LockError> {
        create_private_directory(state_dir)?;
        let path = state_dir.join("authd.lock");
        let failed = |source| PathError::Io {
            path: path.clone(),
            source,
        };
        let mut file = open(&path).map_err(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let meta = file.metadata().map_err(failed)?;
            crate::path::check_owner(&path, meta.uid())?;
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = holder(&mut file);
                if patience.is_zero() {
                    return Err(LockError::Held { pid });
                }
                waiting(pid);
                let locked = lock_within(file, patience).map_err(failed)?;
                file = locked.ok_or(LockError::Held { pid })?;
            }
            Err(TryLockError::Error(source)) => return Err(failed(source).into()),
        }
        note_pid(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// The locked file; `None` when the wait was in vain. Its thread then waits on, as long as this process
/// lives.
fn lock_within(file: File, patience: Duration) -> io::Result<Option<File>> {
    let (tell, locked) = mpsc::channel();
    std::thread::Builder::new()
        .name("await-lock".to_owned())
        .spawn(move || {
            // Nobody hears it when it came too late; the lock goes with the file then.
            let _ = tell.send(file.lock().map(|()| file));
        })?;
    locked.recv_timeout(patience).ok().transpose()
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW.bits();
        options.mode(0o600).custom_flags(flags.cast_signed());
    }
    options.open(path)
}

fn note_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// What the lock file says. On Windows the lock also keeps readers out: then nobody knows.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
