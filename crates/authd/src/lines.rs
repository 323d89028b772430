//! JSON lines on disk, numbered, bounded, and never waited for: what [events](crate::journal) and the
//! [audit log](crate::audit) are kept in.

mod files;
mod writer;

use std::{io, path::Path, sync::Arc, thread, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Semaphore, oneshot};

pub(crate) use self::{
    files::Files,
    writer::{Trouble, Writer},
};

/// Queries that may read one folder at once, and how long each may take: a disk that hangs holds no more
/// threads than that.
const READERS: usize = 2;
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// What a line says.
pub(crate) trait Line: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its number. Numbers grow.
    fn seq(&self) -> u64;
}

/// Which lines are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Those after this one, ...
    pub(crate) after: u64,
    /// ... and before this one.
    pub(crate) before: u64,
    /// From the newest backwards.
    pub(crate) newest: bool,
    /// No more than so many.
    pub(crate) limit: usize,
}

/// Reads a folder of lines, off everybody's way.
pub(crate) struct Reader<L> {
    files: Files<L>,
    thread: &'static str,
    places: Arc<Semaphore>,
}

impl<L: Line> Reader<L> {
    /// Of `files`, on threads of that name.
    pub(crate) fn new(files: Files<L>, thread: &'static str) -> Self {
        Self {
            files,
            thread,
            places: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        self.files.folder()
    }

    /// The greatest number that was ever written, as far as can be told; 0 where none was.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub(crate) fn last_seq(&self) -> io::Result<u64> {
        self.files.last_seq()
    }

    /// At most `limit` lines of `window` for which `wanted` holds, the newest or the oldest; oldest first.
    ///
    /// # Errors
    /// When the disk cannot be read, or not in time.
    pub(crate) async fn read(
        &self,
        window: Window,
        wanted: impl Fn(&L) -> bool + Send + 'static,
    ) -> io::Result<Vec<L>> {
        let files = self.files.clone();
        let places = Arc::clone(&self.places);
        let name = self.thread.to_owned();
        let reading = async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            let (tell, told) = oneshot::channel();
            thread::Builder::new().name(name).spawn(move || {
                let result = collect(&files, &window, wanted);
                drop(place);
                // Whoever asked may be gone.
                let _ = tell.send(result);
            })?;
            told.await.map_err(io::Error::other)?
        };
        tokio::time::timeout(READ_PATIENCE, reading)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

fn collect<L: Line>(
    files: &Files<L>,
    window: &Window,
    wanted: impl Fn(&L) -> bool,
) -> io::Result<Vec<L>> {
    let mut found = Vec::new();
    let take = |mut lines: Vec<L>| {
        lines.retain(|line| wanted(line));
        if window.newest {
            lines.append(&mut found);
            found = lines;
            let surplus = found.len().saturating_sub(window.limit);
            found.drain(..surplus);
        } else {
            found.append(&mut lines);
            found.truncate(window.limit);
        }
        found.len() < window.limit
    };
    files.read(window.after, window.before, window.newest, take)?;
    Ok(found)
}

/// What comes from outside is short, and acts on no terminal: at most `longest` bytes of it.
pub(crate) fn bound(text: &mut String, longest: usize) {
    if text.contains(char::is_control) {
        *text = text.replace(char::is_control, " ");
    }
    if text.len() > longest {
        let mut end = longest - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}
