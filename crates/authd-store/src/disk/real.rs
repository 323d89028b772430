//! The operating system's files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

#[cfg(unix)]
use super::OPEN_TO_OTHERS;
use super::{Disk, DiskFile, Held, NotPrivate, Open};

/// Files of the machine, private to their owner, links not followed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(fs::File);

/// Unlocked by the operating system when the file closes.
struct RealLock(#[expect(dead_code, reason = "held for its lock alone")] fs::File);

impl Held for RealLock {}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(open_private(path, how)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[cfg(unix)]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    /// NTFS journals names itself, and there is no handle to sync.
    #[cfg(not(unix))]
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        make_private_dir(dir)?;
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent),
            _ => Ok(()),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        let file = open_private(path, Open::Either)?;
        file.try_lock().map_err(io::Error::from)?;
        Ok(Box::new(RealLock(file)))
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, out, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.0, out, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    out = &mut out[read..];
                    offset += read as u64;
                }
            }
        }
        Ok(())
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, data, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(&self.0, data, offset)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            data = &data[written..];
            offset += written as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    #[cfg(unix)]
    fn allocate(&self, len: u64) -> io::Result<()> {
        use rustix::{
            fs::{FallocateFlags, fallocate},
            io::Errno,
        };
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => {}
            // A file system without it: writing is the one way left to reserve.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return self.fill(len),
            Err(errno) => return Err(errno.into()),
        }
        // Apple's call reserves beyond the end without moving it.
        if self.len()? < len {
            self.0.set_len(len)
        } else {
            Ok(())
        }
    }

    #[cfg(not(unix))]
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fill(len)
    }

    fn sync(&self) -> io::Result<()> {
        // `sync_all` is F_FULLFSYNC on Apple's systems and FlushFileBuffers on Windows.
        self.0.sync_all()
    }
}

impl RealFile {
    /// Reserves by writing zeros where the file does not reach yet.
    fn fill(&self, len: u64) -> io::Result<()> {
        let zeros = [0; 4096];
        let mut at = self.len()?;
        while at < len {
            let step = (len - at).min(zeros.len() as u64);
            self.write_at(at, &zeros[..usize::try_from(step).unwrap_or(zeros.len())])?;
            at += step;
        }
        Ok(())
    }
}

#[cfg(unix)]
fn open_private(path: &Path, how: Open) -> io::Result<fs::File> {
    use rustix::fs::{FileType, Mode, OFlags, fstat, open};

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

#[cfg(windows)]
fn open_private(path: &Path, how: Open) -> io::Result<fs::File> {
    use std::os::windows::fs::OpenOptionsExt;

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

#[cfg(unix)]
fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};

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

#[cfg(windows)]
fn make_private_dir(dir: &Path) -> io::Result<()> {
    // The user's profile, where our directory lies, grants nobody else access; that is inherited.
    fs::create_dir_all(dir)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::disk::{read_whole, replace};

    #[test]
    fn files_are_private_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/state");
        RealDisk.make_dir(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);

        let file = state.join("file");
        replace(&RealDisk, &file, b"whole").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_whole(&RealDisk, &file).unwrap().unwrap(), b"whole");

        let link = state.join("link");
        symlink(&file, &link).unwrap();
        assert!(RealDisk.open(&link, Open::Either).is_err());
        assert_eq!(read_whole(&RealDisk, &state.join("none")).unwrap(), None);
    }

    #[test]
    fn what_others_can_read_or_own_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = RealDisk.open(&file, Open::Existing).unwrap_err();
        let why = refused
            .get_ref()
            .unwrap()
            .downcast_ref::<NotPrivate>()
            .unwrap();
        let said = format!(
            "{0} is open to others; run: chmod go-rwx {0}",
            file.display()
        );
        assert_eq!(why.to_string(), said);

        let open_dir = dir.path().join("open");
        fs::create_dir(&open_dir).unwrap();
        fs::set_permissions(&open_dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(RealDisk.make_dir(&open_dir).is_err());
    }

    #[test]
    fn reserved_space_is_taken_from_the_disk_and_not_promised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spill");
        let file = RealDisk.open(&path, Open::New).unwrap();
        file.allocate(65_536).unwrap();
        assert_eq!(file.len().unwrap(), 65_536);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 65_536);
    }

    #[test]
    fn a_lock_excludes_and_ends_with_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = RealDisk.lock(&path).unwrap();
        let refused = RealDisk.lock(&path).err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::WouldBlock));
        drop(held);
        assert!(RealDisk.lock(&path).is_ok());
    }
}
