//! Files that hold a secret, or say where one goes: whose they are and who can read or write them is
//! looked at each time.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
};

use authd_core::secret::Secret;
use zeroize::Zeroizing;

/// Largest file with a credential that is read.
const CAP: usize = 64 * 1024;

/// Who may be able to read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner alone: it holds a secret.
    Owner,
    /// Anybody; but nobody else may write it.
    Anybody,
}

/// Why a file is not taken. The user must mend it.
#[derive(Debug, thiserror::Error)]
pub enum FileTrouble {
    #[error("{} cannot be read: {kind}", path.display())]
    Unreadable { path: PathBuf, kind: io::ErrorKind },
    #[error("{} is a symbolic link; name the file itself", .0.display())]
    Link(PathBuf),
    #[error("{} is no file", .0.display())]
    NoFile(PathBuf),
    #[error("{} belongs to uid {uid}; it must be yours or root's", path.display())]
    Foreign { path: PathBuf, uid: u32 },
    #[error("others can read {path} (mode {mode:04o}); run: chmod 600 {path}", path = path.display())]
    Readable { path: PathBuf, mode: u32 },
    #[error("others can write {path} (mode {mode:04o}); run: chmod go-w {path}", path = path.display())]
    Writable { path: PathBuf, mode: u32 },
    #[error("{} is larger than {cap} bytes", path.display())]
    TooLarge { path: PathBuf, cap: usize },
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    #[error("{} is no text", .0.display())]
    NoText(PathBuf),
}

/// The first line of a file with a secret.
pub(crate) fn first_line(path: &Path) -> Result<Secret, FileTrouble> {
    let text = read(path, Readers::Owner)?;
    match text.expose().lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => Err(FileTrouble::Empty(path.to_owned())),
    }
}

/// All of a file. Nothing that stands in its place (a pipe, a device) can make this hang.
pub(crate) fn read(path: &Path, readers: Readers) -> Result<Secret, FileTrouble> {
    let text = text(path, open(path, Links::Refused)?, readers, CAP)?;
    if text.trim().is_empty() {
        return Err(FileTrouble::Empty(path.to_owned()));
    }
    Ok(Secret::new(text.as_str()))
}

/// Whether a file can be read, and by whom else, without reading it.
pub(crate) fn look(path: &Path, readers: Readers) -> Result<(), FileTrouble> {
    check(path, &open(path, Links::Refused)?, readers)
}

/// All of a file that holds no secret, but that nobody else may write: it says what is run, and where
/// secrets go. A link is followed, for many keep such files elsewhere; what it leads to is looked at.
pub(crate) fn settings(path: &Path, cap: usize) -> Result<String, FileTrouble> {
    let text = text(path, open(path, Links::Followed)?, Readers::Anybody, cap)?;
    Ok(text.to_string())
}

fn text(
    path: &Path,
    mut file: File,
    readers: Readers,
    cap: usize,
) -> Result<Zeroizing<String>, FileTrouble> {
    let path = || path.to_owned();
    let unreadable = |error: io::Error| FileTrouble::Unreadable {
        path: path(),
        kind: error.kind(),
    };
    check(&path(), &file, readers)?;
    let mut bytes = Zeroizing::new(vec![0; cap + 1]);
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]).map_err(unreadable)? {
            0 => break,
            read => length += read,
        }
    }
    if length > cap {
        return Err(FileTrouble::TooLarge { path: path(), cap });
    }
    match std::str::from_utf8(&bytes[..length]) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(FileTrouble::NoText(path())),
    }
}

/// What becomes of a symbolic link in a file's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Followed,
    Refused,
}

#[cfg(unix)]
fn open(path: &Path, links: Links) -> Result<File, FileTrouble> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    flags.set(OFlags::NOFOLLOW, links == Links::Refused);
    OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)
        .map_err(|error| {
            let path = path.to_owned();
            let link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
            if link && links == Links::Refused {
                return FileTrouble::Link(path);
            }
            let kind = error.kind();
            FileTrouble::Unreadable { path, kind }
        })
}

#[cfg(not(unix))]
fn open(path: &Path, _: Links) -> Result<File, FileTrouble> {
    OpenOptions::new().read(true).open(path).map_err(|error| {
        let path = path.to_owned();
        let kind = error.kind();
        FileTrouble::Unreadable { path, kind }
    })
}

#[cfg(unix)]
fn check(path: &Path, file: &File, readers: Readers) -> Result<(), FileTrouble> {
    use std::os::unix::fs::MetadataExt as _;

    const WRITABLE: u32 = 0o022;
    const READABLE: u32 = 0o044;
    let path = path.to_owned();
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(error) => {
            let kind = error.kind();
            return Err(FileTrouble::Unreadable { path, kind });
        }
    };
    if !metadata.is_file() {
        return Err(FileTrouble::NoFile(path));
    }
    let uid = metadata.uid();
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        return Err(FileTrouble::Foreign { path, uid });
    }
    let mode = metadata.mode() & 0o7777;
    if readers == Readers::Owner && mode & (READABLE | WRITABLE) != 0 {
        return Err(FileTrouble::Readable { path, mode });
    }
    if mode & WRITABLE != 0 {
        return Err(FileTrouble::Writable { path, mode });
    }
    Ok(())
}

/// Elsewhere the profile directory's access control stands in for it.
#[cfg(not(unix))]
fn check(path: &Path, file: &File, _: Readers) -> Result<(), FileTrouble> {
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(()),
        _ => Err(FileTrouble::NoFile(path.to_owned())),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::testing::make_fifo;

    fn with_mode(mode: u32, text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    fn said(path: &Path, readers: Readers) -> String {
        read(path, readers).err().unwrap().to_string()
    }

    #[test]
    fn a_file_of_its_owner_is_read_to_the_first_line() {
        let (_dir, path) = with_mode(0o600, "s3 cret\nmore\n");
        assert!(first_line(&path).ok().unwrap().matches("s3 cret"));
        assert!(
            read(&path, Readers::Owner)
                .ok()
                .unwrap()
                .matches("s3 cret\nmore\n")
        );
        let (_dir, path) = with_mode(0o444, "certificate");
        assert!(read(&path, Readers::Anybody).is_ok());
    }

    #[test]
    fn one_that_others_can_read_or_write_is_refused_with_the_command_that_mends_it() {
        for mode in [0o640, 0o604, 0o620, 0o602] {
            let (_dir, path) = with_mode(mode, "canary");
            let said = said(&path, Readers::Owner);
            let chmod = format!("(mode {mode:04o}); run: chmod 600 {}", path.display());
            assert!(said.ends_with(&chmod) && !said.contains("canary"), "{said}");
        }
        let (_dir, path) = with_mode(0o664, "certificate");
        assert!(said(&path, Readers::Anybody).contains("run: chmod go-w"));
    }

    #[test]
    fn the_mode_is_looked_at_each_time() {
        let (_dir, path) = with_mode(0o600, "canary");
        assert!(first_line(&path).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(first_line(&path).is_err());
    }

    #[test]
    fn settings_may_be_linked_to_and_nobody_else_may_write_them() {
        let (dir, path) = with_mode(0o644, "allow_root = true\n");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(settings(&link, CAP).unwrap(), "allow_root = true\n");
        assert!(
            settings(&link, 8)
                .unwrap_err()
                .to_string()
                .ends_with("8 bytes")
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        let said = settings(&link, CAP).unwrap_err().to_string();
        assert!(said.contains("run: chmod go-w"), "{said}");
        let fifo = dir.path().join("fifo");
        make_fifo(&fifo);
        assert!(
            settings(&fifo, CAP)
                .unwrap_err()
                .to_string()
                .ends_with("is no file")
        );
    }

    #[test]
    fn what_is_no_readable_file_is_refused_and_nothing_hangs() {
        let (dir, path) = with_mode(0o600, "canary");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(said(&link, Readers::Owner).contains("is a symbolic link"));
        assert!(said(dir.path(), Readers::Anybody).ends_with("is no file"));
        assert!(said(&dir.path().join("none"), Readers::Owner).contains("cannot be read"));
        let fifo = dir.path().join("fifo");
        make_fifo(&fifo);
        assert!(said(&fifo, Readers::Owner).ends_with("is no file"));
        for (text, end) in [(" \n", "is empty"), ("x".repeat(CAP + 1).as_str(), "bytes")] {
            let (_dir, path) = with_mode(0o600, text);
            assert!(said(&path, Readers::Owner).ends_with(end));
        }
        let (_dir, path) = with_mode(0o600, "\nsecond");
        assert!(first_line(&path).is_err(), "an empty first line");
        fs::write(&path, [0xff]).unwrap();
        assert!(said(&path, Readers::Owner).ends_with("is no text"));
    }
}
