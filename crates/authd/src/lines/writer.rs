//! The thread that puts lines on disk. It may stall with its disk; nothing waits for it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{
    Line,
    files::{Appender, Files},
};

/// Lines that may wait for the disk. Fewer than the journal remembers: what memory has let go of has left
/// the queue as well.
const QUEUE: usize = 1024;
/// Lines written at once.
const BATCH: usize = 256;
/// How long a stop waits for the disk.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the thread has to tell.
pub(crate) enum Trouble {
    /// Lines cannot be written from now on.
    NotKept(io::Error),
    /// They can again; so many never reached the disk.
    Lost(u64),
}

/// The way to the thread, for what becomes a line there.
pub(crate) struct Writer<Q> {
    sender: SyncSender<Q>,
    /// How many have not reached the disk since that was last told.
    pub(crate) lost: Arc<AtomicU64>,
    ended: Receiver<()>,
}

impl<Q: Send + 'static> Writer<Q> {
    /// Starts it, by that name. `line` makes a line of what was put into the queue; `wrote` hears of the
    /// lines that were written, `tell` of trouble, and neither must wait for anything.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start<L: Line>(
        files: Files<L>,
        name: &str,
        mut line: impl FnMut(Q) -> Arc<L> + Send + 'static,
        mut wrote: impl FnMut(&[Arc<L>]) + Send + 'static,
        tell: impl Fn(Trouble) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let (ending, ended) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let uncounted = Arc::clone(&lost);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let appender = Appender::new(files);
                run(&receiver, appender, &uncounted, &mut line, &mut wrote, tell);
                // A daemon that no longer waits is gone.
                let _ = ending.send(());
            })?;
        Ok(Self {
            sender,
            lost,
            ended,
        })
    }

    /// Puts something into the queue, or counts it as lost when that is full. Never waits.
    pub(crate) fn put(&self, item: Q) {
        match self.sender.try_send(item) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Lets the thread write what is queued, and waits for that, but not long.
    pub(crate) fn close(self) {
        drop(self.sender);
        if self.ended.recv_timeout(PATIENCE).is_err() {
            tracing::warn!("the disk does not take the last lines");
        }
    }
}

fn run<Q, L: Line>(
    queue: &Receiver<Q>,
    mut appender: Appender<L>,
    lost: &AtomicU64,
    line: &mut impl FnMut(Q) -> Arc<L>,
    wrote: &mut impl FnMut(&[Arc<L>]),
    tell: impl Fn(Trouble),
) {
    let mut failing = false;
    while let Ok(first) = queue.recv() {
        let mut batch = vec![line(first)];
        batch.extend(queue.try_iter().take(BATCH - 1).map(&mut *line));
        match appender.append(&batch) {
            Ok(()) => {
                wrote(&batch);
                failing = false;
                let count = lost.swap(0, Ordering::Relaxed);
                if count > 0 {
                    tell(Trouble::Lost(count));
                }
            }
            Err((count, error)) => {
                lost.fetch_add(count as u64, Ordering::Relaxed);
                // Once: a telling may be a line itself, and fails as the others do.
                if !std::mem::replace(&mut failing, true) {
                    tell(Trouble::NotKept(error));
                }
            }
        }
    }
}
