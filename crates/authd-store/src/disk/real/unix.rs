//! Files of Linux and macOS.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    path::Path,
};

use rustix::{
    fs::{FallocateFlags, FileType, Mode, OFlags, fallocate, fstat, open},
    io::Errno,
};

use super::{NotPrivate, Open};
use crate::disk::OPEN_TO_OTHERS;

/// Opens a file that must be a plain one of ours, closed to others.
pub(super) fn open_private(path: &Path, how: Open) -> io::Result<fs::File> {
    let creation = match how {
        Open::Existing => OFlags::empty(),
        Open::New => OFlags::CREATE | OFlags::EXCL,
        Open::Either => OFlags::CREATE,
    };
    // NONBLOCK: a fifo in the place of the file must not hang us. It does nothing to a plain file.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | creation;
    let file = open(path, flags, Mode::RUSR | Mode::WUSR)?;
    let stat = fstat(&file)?;
    let why = if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        "is no plain file"
    } else if stat.st_uid != rustix::process::geteuid().as_raw() {
        "belongs to another user"
    } else if stat.st_mode & 0o077 != 0 {
        OPEN_TO_OTHERS
    } else {
        return Ok(file.into());
    };
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        NotPrivate {
            path: path.to_owned(),
            why,
        },
    ))
}

/// Makes a directory, with those above it, that must be ours and closed to others.
pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let found = fs::symlink_metadata(dir)?;
    let why = if !found.is_dir() {
        "is no directory"
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        "belongs to another user"
    } else if found.mode() & 0o077 != 0 {
        OPEN_TO_OTHERS
    } else {
        return Ok(());
    };
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        NotPrivate {
            path: dir.to_owned(),
            why,
        },
    ))
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

pub(super) fn read_at(file: &fs::File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    file.read_exact_at(out, offset)
}

pub(super) fn write_at(file: &fs::File, offset: u64, data: &[u8]) -> io::Result<()> {
    file.write_all_at(data, offset)
}

/// Reserves `len` bytes on the disk; whether the file system can do that.
pub(super) fn allocate(file: &fs::File, len: u64) -> io::Result<bool> {
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(true),
        // Writing is the one way left to reserve.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
