//! One daemon per state directory, by an advisory lock that the kernel drops with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

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
                return Err(LockError::Held {
                    pid: holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source).into()),
        }
        note_pid(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
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
