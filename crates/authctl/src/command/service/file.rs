//! Files of the service: written whole or not at all, and only ours are replaced or removed.

use std::fs;
use std::io;
use std::path::Path;

use super::ServiceError;
use crate::exit::Failure;

/// Stands in the first lines of whatever `install` writes, and makes it ours.
pub(super) const MARK: &str = "Written by 'authctl service install'";
/// Bytes in which the mark is looked for.
const HEAD: usize = 512;

/// Whether this is a file of ours. `None`: there is nothing.
fn is_ours(path: &Path) -> Result<Option<bool>, Failure> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(|source| failed(path, source))?,
    };
    // Also in UTF-16, for those who want that.
    let head = bytes.iter().take(HEAD).copied().filter(|byte| *byte != 0);
    let head = head.collect::<Vec<u8>>();
    Ok(Some(String::from_utf8_lossy(&head).contains(MARK)))
}

/// Puts the file there. Whether it changed anything.
///
/// # Errors
/// [`ServiceError::Foreign`] when another's stands there.
pub(super) fn put(path: &Path, content: &[u8]) -> Result<bool, Failure> {
    match is_ours(path)? {
        Some(false) => return Err(ServiceError::Foreign(path.to_owned()).into()),
        Some(true) if fs::read(path).is_ok_and(|there| there == content) => return Ok(false),
        Some(true) | None => {}
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|source| failed(directory, source))?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let written = fs::write(&new, content).and_then(|()| fs::rename(&new, path));
    written.map_err(|source| failed(path, source))?;
    Ok(true)
}

/// Removes the file if it is ours. Whether it did.
pub(super) fn remove(path: &Path) -> Result<bool, Failure> {
    if is_ours(path)? != Some(true) {
        return Ok(false);
    }
    fs::remove_file(path).map_err(|source| failed(path, source))?;
    Ok(true)
}

/// Whether a file of ours is there.
#[cfg(any(unix, test))]
pub(super) fn is_there(path: &Path) -> bool {
    is_ours(path).is_ok_and(|ours| ours == Some(true))
}

fn failed(path: &Path, source: io::Error) -> Failure {
    Failure::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_is_replaced_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("user/authd.service");
        let ours = format!("# {MARK}\n[Service]\n");
        assert!(!remove(&path).unwrap(), "nothing is there");
        assert!(put(&path, ours.as_bytes()).unwrap());
        assert!(!put(&path, ours.as_bytes()).unwrap(), "nothing changes");
        assert!(put(&path, format!("{ours}\n").as_bytes()).unwrap());
        fs::write(&path, "[Service]\n").unwrap();
        let refused = put(&path, ours.as_bytes()).unwrap_err();
        assert!(refused.to_string().contains("was not written by"));
        assert!(!remove(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "[Service]\n");
        fs::write(&path, &ours).unwrap();
        assert!(remove(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn the_mark_is_found_in_utf_16_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.xml");
        let wide: Vec<u8> = MARK.encode_utf16().flat_map(u16::to_le_bytes).collect();
        fs::write(&path, wide).unwrap();
        assert!(is_there(&path));
    }
}
