//! The audit log: who was given which token, who was refused, and what a person said about it.
//!
//! A cached token is not worth a line each time: the first that a connection gets of a token is written
//! down, and what follows is [counted](Tally). Nobody waits for the disk: a thread of its own writes, and
//! reads what is known of the process, behind a queue that is bounded. What is lost is counted and told.

mod frequent;
mod tally;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use authd_proto::audit::AuditLine;
use tokio::sync::watch;

pub(crate) use self::{
    frequent::{ByItself, Frequent},
    tally::{Key, Tally},
};
use crate::{
    caller::Caller,
    lines::{self, Files, Line, Reader, Trouble, Window, Writer},
};

/// Files on disk at most: some 20,000 lines.
const FILES: usize = 8;
/// Bytes of a text in a line.
const LONGEST_TEXT: usize = 512;
/// Scopes of a line.
const MOST_SCOPES: usize = 32;

impl Line for AuditLine {
    fn seq(&self) -> u64 {
        self.seq
    }
}

/// The log.
pub(crate) struct Audit {
    shared: Arc<Shared>,
    open: Mutex<Open>,
    disk: Reader<AuditLine>,
}

struct Open {
    seq: u64,
    writer: Option<Writer<Entry>>,
}

/// What the writing thread tells.
struct Shared {
    /// Lines that are lost for good.
    lost: AtomicU64,
    /// The number of the latest line on disk.
    written: watch::Sender<u64>,
}

/// A line on its way, and whose process is still to be looked at.
struct Entry {
    line: AuditLine,
    caller: Arc<Caller>,
}

impl Audit {
    /// Goes on in `folder` where the last daemon left it.
    pub(crate) fn open(folder: PathBuf) -> Self {
        let files = Files::new(folder, FILES);
        let disk = Reader::new(files.clone(), "read-audit");
        let last = disk.last_seq().unwrap_or_else(|error| {
            let folder = disk.folder().display();
            tracing::warn!(%folder, %error, "the audit log of earlier runs cannot be read");
            0
        });
        let shared = Arc::new(Shared {
            lost: AtomicU64::new(0),
            written: watch::Sender::new(last),
        });
        let (told, wrote) = (Arc::clone(&shared), Arc::clone(&shared));
        let writer = Writer::start(
            files,
            "audit",
            finish,
            move |lines: &[Arc<AuditLine>]| {
                if let Some(line) = lines.last() {
                    wrote.written.send_replace(line.seq);
                }
            },
            move |trouble| told.tell(trouble),
        );
        let writer = writer
            .inspect_err(|error| tracing::error!(%error, "no thread to keep the audit log"))
            .ok();
        Self {
            shared,
            open: Mutex::new(Open { seq: last, writer }),
            disk,
        }
    }

    /// Writes a line down; what is known of `caller` is added off this thread. Never waits.
    pub(crate) fn put(&self, mut line: AuditLine, caller: &Arc<Caller>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.seq += 1;
        line.seq = open.seq;
        match &open.writer {
            Some(writer) => writer.put(Entry {
                line,
                caller: Arc::clone(caller),
            }),
            None => {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How many lines never reached the disk.
    pub(crate) fn lost(&self) -> u64 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = open
            .writer
            .as_ref()
            .map_or(0, |writer| writer.lost.load(Ordering::Relaxed));
        self.shared.lost.load(Ordering::Relaxed) + untold
    }

    /// The lines of `window` for which `wanted` holds, oldest first. Where there is none, waits up to `wait`
    /// for one.
    ///
    /// # Errors
    /// When the disk cannot be read, or not in time.
    pub(crate) async fn read(
        &self,
        window: Window,
        wait: Duration,
        wanted: impl Fn(&AuditLine) -> bool + Clone + Send + 'static,
    ) -> io::Result<Vec<AuditLine>> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut written = self.shared.written.subscribe();
        loop {
            written.borrow_and_update();
            let found = self.disk.read(window, wanted.clone()).await?;
            if !found.is_empty() || wait.is_zero() {
                return Ok(found);
            }
            if tokio::time::timeout_at(deadline, written.changed())
                .await
                .is_err()
            {
                return Ok(found);
            }
        }
    }

    /// Writes out what is on its way to the disk. What comes afterwards is lost.
    pub(crate) fn close(&self) {
        let writer = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.writer.take()
        };
        if let Some(writer) = writer {
            writer.close();
        }
    }
}

/// On the writing thread: adds who it was, and bounds what comes from outside.
fn finish(entry: Entry) -> Arc<AuditLine> {
    let Entry { mut line, caller } = entry;
    line.caller = Some(caller.info());
    let texts = [
        &mut line.claimed,
        &mut line.resource,
        &mut line.message,
        &mut line.trace_id,
    ];
    for text in texts.into_iter().flatten() {
        lines::bound(text, LONGEST_TEXT);
    }
    line.scopes.truncate(MOST_SCOPES);
    Arc::new(line)
}

impl Shared {
    fn tell(&self, trouble: Trouble) {
        match trouble {
            Trouble::NotKept(error) => tracing::error!(%error, "the audit log cannot be written"),
            Trouble::Lost(count) => {
                self.lost.fetch_add(count, Ordering::Relaxed);
                tracing::error!(count, "lines of the audit log never reached the disk");
            }
        }
    }
}

#[cfg(test)]
mod tests;
