//! There is none: a pipe is let in to by its DACL, which names no uid of a container or of another host.

use std::{
    io,
    path::{Path, PathBuf},
};

use authd_ipc::{ListenError, Listener, SocketPath};

use super::Terms;

/// No place at all.
#[derive(Clone, Debug)]
pub(crate) struct Place;

impl Place {
    pub(crate) fn locate(_: &SocketPath, _: &Path) -> Self {
        Self
    }

    /// Nobody: there are no uids here.
    pub(crate) fn own_uid() -> Option<u32> {
        None
    }

    pub(super) fn socket(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }

    pub(super) fn listen(&self, terms: &Terms) -> Result<Listener, ListenError> {
        Err(ListenError::Io {
            path: self.socket(&terms.name),
            source: io::ErrorKind::Unsupported.into(),
        })
    }

    pub(super) fn clear(&self, _: &str) {}

    pub(super) fn clear_all_but(&self, _: impl Fn(&str) -> bool) {}
}
