//! Files of Windows.

use std::{
    fs, io,
    os::windows::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use super::{NotPrivate, Open};

/// Opens a file that must be no link.
pub(super) fn open_private(path: &Path, how: Open) -> io::Result<fs::File> {
    const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    let mut options = fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
    match how {
        Open::Existing => {}
        Open::New => {
            options.create_new(true);
        }
        Open::Either => {
            options.create(true);
        }
    }
    let file = options.open(path)?;
    if file.metadata()?.file_type().is_symlink() {
        let refused = NotPrivate {
            path: path.to_owned(),
            why: "is a link",
        };
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, refused));
    }
    Ok(file)
}

/// Makes a directory, with those above it.
pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    // The user's profile, where our directory lies, grants nobody else access; that is inherited.
    fs::create_dir_all(dir)
}

/// NTFS journals names itself, and there is no handle to sync.
pub(super) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn read_at(file: &fs::File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match file.seek_read(out, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                out = &mut out[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

pub(super) fn write_at(file: &fs::File, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let written = file.seek_write(data, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        data = &data[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Nothing reserves for good but writing.
pub(super) fn allocate(_file: &fs::File, _len: u64) -> io::Result<bool> {
    Ok(false)
}
