//! The log of a daemon that a command starts.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::error::StartError;

/// The daemon's log, and where this start begins in it.
pub(super) struct Log {
    pub(super) path: PathBuf,
    file: File,
    begins: u64,
}

impl Log {
    /// Beyond this many bytes the log is put aside, once.
    const ENOUGH: u64 = 4 << 20;
    /// Bytes of the log that an error shows at most.
    const TAIL: u64 = 2048;

    pub(super) fn open(path: PathBuf) -> Result<Self, StartError> {
        if path.metadata().is_ok_and(|meta| meta.len() > Self::ENOUGH) {
            std::fs::rename(&path, path.with_extension("log.old")).map_err(|source| {
                StartError::State {
                    path: path.clone(),
                    source,
                }
            })?;
        }
        let mut file = open_private(&path)?;
        let begins = file
            .seek(SeekFrom::End(0))
            .map_err(|source| StartError::State {
                path: path.clone(),
                source,
            })?;
        Ok(Self { path, file, begins })
    }

    pub(super) fn writer(&self) -> Result<Stdio, StartError> {
        let file = self.file.try_clone();
        file.map(Stdio::from).map_err(|source| StartError::State {
            path: self.path.clone(),
            source,
        })
    }

    /// The last lines since this start.
    pub(super) fn tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = &self.file;
            let end = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(
                self.begins.max(end.saturating_sub(Self::TAIL)),
            ))?;
            let mut bytes = Vec::new();
            file.take(Self::TAIL).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let text: String = text
            .chars()
            .filter(|&c| c == '\n' || !c.is_control())
            .collect();
        if text.trim().is_empty() {
            "(nothing)".to_owned()
        } else {
            text.trim_end().to_owned()
        }
    }
}

/// Opens a file that is ours alone, and no symbolic link, to be added to.
pub(super) fn open_private(path: &Path) -> Result<File, StartError> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW.bits();
        options.mode(0o600).custom_flags(flags.cast_signed());
    }
    options.open(path).map_err(|source| StartError::State {
        path: path.to_owned(),
        source,
    })
}
