//! The thread that puts events on disk. It may stall with its disk; nothing waits for it.

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

use authd_proto::event::Event;

use super::files::{Appender, Files};

/// Events that may wait for the disk. Fewer than are remembered: what memory has let go of has left the
/// queue as well.
const QUEUE: usize = 1024;
/// Events written at once.
const BATCH: usize = 256;
/// How long a stop waits for the disk.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the thread has to tell.
pub(super) enum Trouble {
    /// Events cannot be written from now on.
    NotKept(io::Error),
    /// They can again; so many never reached the disk.
    Lost(u64),
}

/// The way to the thread.
pub(super) struct Writer {
    sender: SyncSender<Arc<Event>>,
    /// How many have not reached the disk since that was last told.
    pub(super) lost: Arc<AtomicU64>,
    ended: Receiver<()>,
}

impl Writer {
    /// Starts it. `tell` must not wait for anything.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(super) fn start(files: Files, tell: impl Fn(Trouble) + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let (ending, ended) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let uncounted = Arc::clone(&lost);
        thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || {
                run(&receiver, Appender::new(files), &uncounted, tell);
                // A daemon that no longer waits is gone.
                let _ = ending.send(());
            })?;
        Ok(Self {
            sender,
            lost,
            ended,
        })
    }

    /// Puts an event into the queue, or counts it as lost when that is full. Never waits.
    pub(super) fn put(&self, event: &Arc<Event>) {
        match self.sender.try_send(Arc::clone(event)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Lets the thread write what is queued, and waits for that, but not long.
    pub(super) fn close(self) {
        drop(self.sender);
        if self.ended.recv_timeout(PATIENCE).is_err() {
            tracing::warn!("the disk does not take the last events");
        }
    }
}

fn run(
    queue: &Receiver<Arc<Event>>,
    mut appender: Appender,
    lost: &AtomicU64,
    tell: impl Fn(Trouble),
) {
    let mut failing = false;
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(BATCH - 1));
        match appender.append(&batch) {
            Ok(()) => {
                failing = false;
                let count = lost.swap(0, Ordering::Relaxed);
                if count > 0 {
                    tell(Trouble::Lost(count));
                }
            }
            Err((count, error)) => {
                lost.fetch_add(count as u64, Ordering::Relaxed);
                // Once: each telling is an event itself, and fails as the others do.
                if !std::mem::replace(&mut failing, true) {
                    tell(Trouble::NotKept(error));
                }
            }
        }
    }
}
