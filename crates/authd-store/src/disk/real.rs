//! The operating system's files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Disk, DiskFile, Held, NotPrivate, Open};

#[cfg(unix)]
#[path = "real/unix.rs"]
mod platform;
#[cfg(windows)]
#[path = "real/windows.rs"]
mod platform;

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
        Ok(Box::new(RealFile(platform::open_private(path, how)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        platform::sync_dir(dir)
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
        platform::make_private_dir(dir)?;
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent),
            _ => Ok(()),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        let file = platform::open_private(path, Open::Either)?;
        file.try_lock().map_err(io::Error::from)?;
        Ok(Box::new(RealLock(file)))
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        platform::read_at(&self.0, offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        platform::write_at(&self.0, offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if !platform::allocate(&self.0, len)? {
            return self.fill(len);
        }
        // Apple's call reserves beyond the end without moving it.
        if self.len()? < len {
            self.0.set_len(len)
        } else {
            Ok(())
        }
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
    fn where_space_cannot_be_reserved_it_is_written_and_what_stands_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spill");
        let file = RealFile(platform::open_private(&path, Open::New).unwrap());
        file.write_at(0, b"an intent").unwrap();
        for len in [1, 9, 10_000, 9_000] {
            file.fill(len).unwrap();
        }
        let written = fs::read(&path).unwrap();
        assert_eq!(written.len(), 10_000);
        assert_eq!(written.strip_prefix(b"an intent").unwrap(), [0; 9_991]);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 10_000);
    }

    #[test]
    fn children_do_not_have_our_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = platform::open_private(&dir.path().join("file"), Open::New).unwrap();
        let flags = rustix::io::fcntl_getfd(&file).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn only_a_directory_that_is_not_there_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            RealDisk.list(&dir.path().join("none")).unwrap(),
            [""; 0].map(PathBuf::from)
        );
        let file = dir.path().join("file");
        fs::write(&file, b"x").unwrap();
        let refused = RealDisk.list(&file).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotADirectory);
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
