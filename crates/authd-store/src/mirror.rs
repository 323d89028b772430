//! One small sealed file per account beside the database, from which the database can be rebuilt;
//! and the drawer where damaged things are kept.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::disk::{self, Disk};

const SUFFIX: &str = "sealed";

/// The mirror files.
pub(crate) struct Mirrors {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Mirrors {
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        disk.make_dir(&dir)?;
        Ok(Self { disk, dir })
    }

    /// Replaces a mirror durably.
    pub(crate) fn write(&self, name: &str, sealed: &[u8]) -> io::Result<()> {
        disk::replace(&*self.disk, &self.path(name), sealed)
    }

    /// Removes a mirror durably.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        disk::remove(&*self.disk, &self.path(name))
    }

    /// Reads all mirrors, one after the other: name, path, content.
    pub(crate) fn for_each(&self, mut take: impl FnMut(&str, PathBuf, Vec<u8>)) -> io::Result<()> {
        for path in self.disk.list(&self.dir)? {
            if path.extension().is_none_or(|extension| extension != SUFFIX) {
                continue;
            }
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
                continue;
            };
            let name = name.to_owned();
            if let Some(sealed) = disk::read_whole(&*self.disk, &path)? {
                take(&name, path, sealed);
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.{SUFFIX}"))
    }
}

/// The drawer for what is damaged: nothing in it is ever read or removed by us.
pub(crate) struct Aside {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Aside {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir }
    }

    /// Keeps a copy of damaged bytes; returns where.
    pub(crate) fn keep(&self, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        self.disk.make_dir(&self.dir)?;
        let path = disk::free_name(&*self.disk, &self.dir.join(name), ".")?;
        disk::replace(&*self.disk, &path, bytes)?;
        Ok(path)
    }

    /// Keeps a damaged file and takes it from its place; returns where it is now.
    pub(crate) fn take(&self, file: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("file");
        let kept = self.keep(name, bytes)?;
        disk::remove(&*self.disk, file)?;
        Ok(kept)
    }
}
