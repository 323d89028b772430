//! The few operations on files that the store is made of, behind a trait.
//!
//! Everything the store writes (database, mirrors, spill, marks) goes through [`Disk`], so that the
//! fault injector can stop, fail or tear *each* of them, and the tests can ask of every single one:
//! "and if the power fails here?"

mod real;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

pub use real::RealDisk;

/// Files of more than this are not ours: nothing is allocated from a length that a file claims.
const LARGEST: u64 = 64 << 20;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must exist.
    Existing,
    /// It must not exist.
    New,
    /// It is made when it does not exist.
    Either,
}

/// A place where files live. All paths are absolute or relative to the process, as for `std::fs`.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens a file for reading and writing. Symbolic links are not followed; a new file is private
    /// to its owner, and one that is not is refused with [`NotPrivate`] inside the error.
    ///
    /// # Errors
    /// As the operating system says.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;

    /// Renames within one directory, replacing what stands there. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes renames, removals and new names in a directory durable.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// The files of a directory, sorted; empty when it does not exist.
    ///
    /// # Errors
    /// As the operating system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes a directory (and its parents) private to its owner, durably; one that exists is
    /// checked.
    ///
    /// # Errors
    /// As the operating system says; [`NotPrivate`] inside when it belongs to or is open to others.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes a lock that ends with the returned value or the process.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Held>>;
}

/// A lock that is held. It ends when this is dropped.
pub trait Held: Send {}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether nothing is in it.
    ///
    /// # Errors
    /// As the operating system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// As the operating system says.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts or extends with zeros. Extending reserves nothing.
    ///
    /// # Errors
    /// As the operating system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves the first `len` bytes for real, so that writing them later needs no new space.
    ///
    /// # Errors
    /// As the operating system says: "no space" is found here, and not later.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes everything written so far durable. After an error this file is never synced again:
    /// the kernel may have dropped the pages and the next call would lie.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync(&self) -> io::Result<()>;
}

/// A file or directory that others could read or have prepared. The user must look at it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {why}; {}", mending(why, path), path = path.display())]
pub struct NotPrivate {
    /// What.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: &'static str,
}

/// What is wrong where only the permissions are.
pub(crate) const OPEN_TO_OTHERS: &str = "is open to others";

fn mending(why: &str, path: &Path) -> String {
    if why == OPEN_TO_OTHERS {
        format!("run: chmod go-rwx {}", path.display())
    } else {
        "it must be your own, and no link".to_owned()
    }
}

/// The whole content of a file; `None` when it does not exist.
///
/// # Errors
/// As the operating system says; [`NotPrivate`] inside when it is not ours alone.
pub fn read_whole(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Open::Existing) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = file.len()?;
    if len > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "far larger than anything we wrote",
        ));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

/// Replaces a file durably: temporary file beside it, write, sync, rename, sync the directory.
/// On an error the old content still stands (or, after the rename, old or new, both whole).
///
/// # Errors
/// As the operating system says.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(path, TEMPORARY);
    let written = write_new(disk, &temporary, bytes).and_then(|()| disk.rename(&temporary, path));
    if let Err(error) = written {
        // Best effort: what is left behind is overwritten by the next attempt.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    sync_parent(disk, path)
}

/// Removes a file durably; one that is not there is fine, but it may be there still when the power
/// fails: an earlier removal may have failed half way.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Ok(()) => sync_parent(disk, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => sync_parent(disk, path),
        Err(error) => Err(error),
    }
}

/// Renames durably.
pub(crate) fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    disk.rename(from, to)?;
    sync_parent(disk, to)
}

/// The first of `name.1`, `name.2`, … that is free.
pub(crate) fn free_name(disk: &dyn Disk, path: &Path, infix: &str) -> io::Result<PathBuf> {
    let siblings = disk.list(path.parent().unwrap_or(Path::new(".")))?;
    let mut number = 1u32;
    loop {
        let candidate = beside(path, &format!("{infix}{number}"));
        if !siblings.contains(&candidate) {
            return Ok(candidate);
        }
        number += 1;
    }
}

/// `path` with `suffix` appended to its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The end of the name of a file that is not yet what its name says.
pub(crate) const TEMPORARY: &str = ".new";

fn write_new(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    match disk.remove(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = disk.open(path, Open::New)?;
    file.write_at(0, bytes)?;
    file.sync()
}

fn sync_parent(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_cannot_be_looked_at_is_not_taken_for_what_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let looped = dir.path().join("loop");
        std::os::unix::fs::symlink(&looped, &looped).unwrap();
        assert!(read_whole(&RealDisk, &looped).is_err());
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(remove(&RealDisk, &folder).is_err());
        let refused = write_new(&RealDisk, &folder, b"").unwrap_err();
        assert_ne!(refused.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_file_that_we_cannot_have_written_is_not_taken_into_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = RealDisk.open(&path, Open::New).unwrap();
        for (len, whole) in [(LARGEST, true), (LARGEST + 1, false)] {
            file.set_len(len).unwrap();
            let read = read_whole(&RealDisk, &path);
            assert_eq!(read.is_ok(), whole, "{len} bytes");
        }
    }

    #[test]
    fn what_is_put_aside_takes_no_name_that_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for number in 1..4 {
            let free = free_name(&RealDisk, &path, ".corrupt-").unwrap();
            assert_eq!(free, beside(&path, &format!(".corrupt-{number}")));
            fs::write(&free, b"").unwrap();
        }
    }
}
