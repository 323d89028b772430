//! Where the sockets are made.

use std::path::{Path, PathBuf};

use authd_ipc::{ListenError, Listener, Reach, RestrictedDirectory, SocketPath};

use super::Terms;

/// The directory of all of them.
#[derive(Clone, Debug)]
pub(crate) struct Place(RestrictedDirectory);

impl Place {
    pub(crate) fn locate(socket: &SocketPath, state_dir: &Path) -> Self {
        Self(RestrictedDirectory::locate(socket, state_dir))
    }

    /// Who is let in where nobody else is named.
    pub(crate) fn own_uid() -> Option<u32> {
        Some(rustix::process::geteuid().as_raw())
    }

    pub(super) fn socket(&self, name: &str) -> PathBuf {
        self.0.socket(name)
    }

    pub(super) fn listen(&self, terms: &Terms) -> Result<Listener, ListenError> {
        let is_own = |uid: &u32| Some(*uid) == Self::own_uid();
        let reach = if terms.uids.iter().all(is_own) {
            Reach::Own
        } else {
            Reach::Others
        };
        Listener::bind_restricted(&self.0, &terms.name, reach)
    }

    /// Removes what a socket leaves behind.
    pub(super) fn clear(&self, name: &str) {
        if let Err(error) = self.0.remove(name) {
            tracing::info!(name, %error, "something is left in the directory of a closed socket");
        }
    }

    /// Removes what is left of all but these.
    pub(super) fn clear_all_but(&self, kept: impl Fn(&str) -> bool) {
        let names = self.0.names().unwrap_or_else(|error| {
            tracing::warn!(%error, "the restricted sockets' directory cannot be read");
            Vec::new()
        });
        names
            .iter()
            .filter(|name| !kept(name))
            .for_each(|name| self.clear(name));
    }
}
