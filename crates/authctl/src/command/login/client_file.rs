//! `clients/NAME.toml`: written for a login, gone again if that fails.
//!
//! The account's file as it is may prove the client at every renewal until the login has succeeded, and a
//! file that somebody wrote by hand is theirs. So none is ever replaced: where another text stands under
//! the account's name, the next free name is taken, and the daemon is told that one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use authd_client::Instance;

use crate::exit::Failure;
use crate::output;

/// As many files as one account's name is tried for.
const MOST: u32 = 100;

/// A client's file that is there for a login.
pub(crate) struct ClientFile {
    name: String,
    path: PathBuf,
    /// Whether this login has made it.
    new: bool,
    /// The account's own name, where another file stands under it.
    before: Option<PathBuf>,
    kept: bool,
}

impl ClientFile {
    /// Writes `text`, readable by its owner alone, or finds it.
    pub(super) fn write(account: &str, text: &str) -> Result<Self, Failure> {
        let instance = Instance::of_process().map_err(Failure::Daemon)?;
        let directory = instance.directories.config.join("clients");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Failure::File { path, source }
        };
        let first = directory.join(format!("{account}.toml"));
        // The daemon takes no other name for one of its files either.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
        if account.starts_with('.') || !account.bytes().all(plain) {
            return Err(failed(&first)(io::ErrorKind::InvalidFilename.into()));
        }
        make(&directory).map_err(failed(&directory))?;
        for number in 1..=MOST {
            let name = match number {
                1 => account.to_owned(),
                _ => format!("{account}-{number}"),
            };
            let path = directory.join(format!("{name}.toml"));
            let new = match put(&path, text) {
                Ok(()) => true,
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed(&path)(error));
                }
                Err(_) if fs::read_to_string(&path).is_ok_and(|there| there == text) => false,
                Err(_) => continue,
            };
            return Ok(Self {
                name,
                before: (path != first).then_some(first),
                path,
                new,
                kept: false,
            });
        }
        Err(failed(&first)(io::ErrorKind::AlreadyExists.into()))
    }

    /// The name that the daemon is told.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The login has succeeded: the file stays.
    pub(in crate::command) fn keep(mut self, account: &str) {
        self.kept = true;
        if let Some(before) = self.before.as_ref().filter(|_| self.new) {
            output::note(format_args!(
                "the client of '{}' is now described in {}; {} is left as it was",
                output::clean(account),
                self.path.display(),
                before.display()
            ));
        }
    }
}

impl ClientFile {
    /// Something may go by it: it stays, and nobody is told.
    pub(crate) fn leave(mut self) {
        self.kept = true;
    }
}

impl Drop for ClientFile {
    fn drop(&mut self) {
        if self.new && !self.kept {
            // If it cannot be removed, nothing names it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn make(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Never in the place of another, and not by half.
fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let written = io::Write::write_all(&mut file, text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}
