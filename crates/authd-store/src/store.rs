//! The store as its callers have it: opened once, then asked through callbacks.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use authd_core::{
    id::{Account, AttemptId, GrantId},
    time::Wall,
};

use crate::{
    disk::{Disk, RealDisk},
    error::{DiskTrouble, OpenError, StoreError},
    key::KeyStore,
    locked::LockedKey,
    migrate::Format,
    open,
    record::{Intent, PendingRevocation, Record},
    seal::DataKey,
    worker::Worker,
};

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The state directory. Made when missing; must be the user's own and closed to others.
    pub dir: PathBuf,
    /// The anchor's file, outside `dir`, in a directory of its own that is made when missing. Used
    /// when there is no `anchor_key_store`, or when that refuses.
    pub anchor_file: Option<PathBuf>,
    /// The key store that keeps the anchor: give it exactly when the data key is kept there.
    pub anchor_key_store: Option<KeyStore>,
    /// A hash of the machine's id.
    pub machine: [u8; 32],
    /// The calendar, for the header of a new store.
    pub now: Wall,
    /// Where the files live.
    pub disk: Arc<dyn Disk>,
}

impl Options {
    /// On the machine's own disk, without an anchor.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, machine: [u8; 32], now: Wall) -> Self {
        let disk = Arc::new(RealDisk);
        Self {
            dir: dir.into(),
            anchor_file: None,
            anchor_key_store: None,
            machine,
            now,
            disk,
        }
    }
}

/// What was found.
pub struct Loaded {
    /// Every account.
    pub records: Vec<Record>,
    /// Intents without an outcome: their exchanges are AMBIGUOUS. They stand until a commit to the
    /// account or [`Store::annul`].
    pub intents: Vec<Intent>,
    /// Revocations still owed.
    pub revocations: Vec<PendingRevocation>,
    /// What was damaged, and where it is kept now. The user should hear of it.
    pub set_aside: Vec<SetAside>,
    /// The database was damaged or gone, and made again from the mirrors.
    pub rebuilt_from_mirrors: bool,
    /// Accounts whose newest generation came from a spill file.
    pub taken_from_spill: Vec<Account>,
    /// Accounts whose login is another machine's, or nobody knows whose: no exchange until the user
    /// adopts them, one by one ([`Store::adopt`]), or logs in again (RENEWAL invariant 19).
    pub foreign: Vec<Account>,
    /// Accounts older than the anchor: a copy was restored (RENEWAL invariant 19).
    pub stale: Vec<Account>,
    /// The last stop was not a clean one.
    pub unclean: bool,
    /// Names the store; drawn at random when it was made.
    pub instance_id: u128,
    /// What tokens are fingerprinted with: of the store, and not of its key, so that fingerprints in
    /// records outlive a new key.
    pub fingerprint_key: LockedKey,
}

/// Something damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// What it was.
    pub what: String,
    /// Where it is kept.
    pub kept_at: PathBuf,
}

/// Where a committed answer is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// In the database. Nothing can lose it.
    Durable,
    /// In a synced spill file: safe against a crash, taken up at the next start or the next write
    /// that succeeds. Do not rotate again before; commit the same once more to retry.
    Spilled {
        /// Why the database did not take it.
        reason: DiskTrouble,
    },
    /// In memory alone. Say so loudly, and commit the same once more until it is better. A login
    /// does not count then: the one that it was to replace stands as before.
    MemoryOnly {
        /// Why no file took it.
        reason: DiskTrouble,
    },
}

/// What is still owed after [`Store::flush`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Why not everything is written; `None` when it is.
    pub trouble: Option<DiskTrouble>,
    /// Accounts whose newest answer is safe in a spill file.
    pub spilled: Vec<Account>,
    /// Accounts whose newest answer would be lost if the process ended now.
    pub memory_only: Vec<Account>,
}

/// An open store.
///
/// Operations run one after the other on the store's own thread; `done` is called there, must not
/// block, and is called exactly once whatever happens. Dropping the store ends the thread after the
/// operations already given, without the mark of a clean stop: the next start checks everything.
/// Its lock is then free only when the thread has ended; [`Store::close`] tells when.
pub struct Store {
    jobs: mpsc::Sender<Job>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the store, making it when there is none: locks it, checks it after an unclean stop,
    /// takes the newest of database, mirrors and spill, and brings all of them up to it. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`]. A full disk is no error: then the work is done later.
    pub fn open(options: Options, key: DataKey) -> Result<(Self, Loaded), OpenError> {
        Self::open_as(options, key, Format::CURRENT)
    }

    pub(crate) fn open_as(
        options: Options,
        key: DataKey,
        format: Format,
    ) -> Result<(Self, Loaded), OpenError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (opened, outcome) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let opening = catch_unwind(AssertUnwindSafe(|| open::open(&options, &key, format)));
                drop((options, key));
                let opening = opening.unwrap_or_else(|_| {
                    Err(OpenError::System("opening the store panicked".to_owned()))
                });
                match opening {
                    Ok((mut open, loaded)) => {
                        if opened.send(Ok(loaded)).is_ok() {
                            open.worker.tidy();
                            serve(open, &queue);
                        }
                    }
                    // Nobody waits any more: nothing to tell.
                    Err(error) => drop(opened.send(Err(error))),
                }
            })
            .map_err(|error| OpenError::System(error.to_string()))?;
        let loaded = outcome
            .recv()
            .unwrap_or_else(|_| Err(OpenError::System("the store's thread ended".to_owned())))?;
        Ok((Self { jobs }, loaded))
    }

    /// Before an exchange: proves the store writable, reserves the space for the answer, and writes
    /// the intent durably. Only after `Ok` may the request leave.
    ///
    /// Fails with [`StoreError::NotWritable`], with [`StoreError::Superseded`] (the intent is not
    /// about the login and generation that stand) or with [`StoreError::NotHeld`]; then nothing has
    /// changed.
    pub fn intend(&self, intent: Intent, done: impl Done<()>) {
        self.run(|worker| worker.intend(intent), done);
    }

    /// After an exchange: the record of the next generation (1 for a login), and the intent gone, in
    /// one durable transaction. Never fails for the disk's sake: see [`CommitOutcome`]. Giving the
    /// same record and attempt again retries.
    ///
    /// Fails with [`StoreError::Superseded`] or [`StoreError::NotHeld`] when the account has moved
    /// on; then nothing has changed, the answer is of no use, and the intent waits for
    /// [`Store::annul`].
    pub fn commit(&self, record: Record, attempt: AttemptId, done: impl Done<CommitOutcome>) {
        self.run(move |worker| worker.commit(record, attempt), done);
    }

    /// The exchange did not happen, or its outcome is known without a commit: clears the intent.
    /// After [`StoreError::NotWritable`] it is cleared with the next write.
    pub fn annul(&self, attempt: AttemptId, done: impl Done<()>) {
        self.run(move |worker| worker.annul(attempt), done);
    }

    /// Writes a record of the generation that stands: flags, learned lifetimes, a dropped
    /// predecessor.
    pub fn save(&self, record: Record, done: impl Done<()>) {
        self.run(|worker| worker.save(record), done);
    }

    /// Saves a record that [`Loaded::stale`] or [`Loaded::foreign`] named, as the one that counts from
    /// now on.
    pub fn adopt(&self, record: Record, done: impl Done<()>) {
        self.run(|worker| worker.adopt(record), done);
    }

    /// Forgets an account: its record, mirror, intents and spilled answers. Where another grant than
    /// this one stands by now, a login was faster: it stays, and that is a success.
    pub fn erase(&self, account: Account, grant: GrantId, done: impl Done<()>) {
        self.run(move |worker| worker.erase(&account, grant), done);
    }

    /// Notes a revocation to be tried until it succeeds.
    pub fn owe_revocation(&self, owed: PendingRevocation, done: impl Done<()>) {
        self.run(move |worker| worker.owe_revocation(&owed), done);
    }

    /// The revocation is done, or given up.
    pub fn settle_revocation(&self, id: u64, done: impl Done<()>) {
        self.run(move |worker| worker.settle_revocation(id), done);
    }

    /// From now on the anchor is kept in this key store, or with `None` in its file alone. For when
    /// the data key has moved.
    pub fn keep_anchor_in(&self, key_store: Option<KeyStore>, done: impl Done<()>) {
        self.run(
            move |worker| {
                worker.keep_anchor_in(key_store);
                Ok(())
            },
            done,
        );
    }

    /// Tries again to write what earlier operations could not, and says what is still owed.
    pub fn flush(&self, done: impl Done<Flushed>) {
        self.run(|worker| Ok(worker.flush()), done);
    }

    /// Does nothing, on the store's thread: `done` is the proof that it is alive and has done all before.
    pub fn ping(&self, done: impl Done<()>) {
        self.run(|_| Ok(()), done);
    }

    /// Ends the store after the operations already given, with the mark of a clean stop. `done` is
    /// called when every file is closed and the lock is free. Call [`Store::flush`] before, as long
    /// as it says that answers are in memory alone: [`StoreError::Unsaved`] means they are lost.
    pub fn close(self, done: impl Done<()>) {
        self.send(Job(Some(Task::Close(Box::new(done)))));
    }

    fn run<T: 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> Result<T, StoreError> + Send + 'static,
        done: impl Done<T>,
    ) {
        self.send(Job(Some(Task::Work(Box::new(move |worker| {
            let Some(worker) = worker else {
                return done(Err(StoreError::Closed));
            };
            let result = catch_unwind(AssertUnwindSafe(|| work(worker))).unwrap_or_else(|_| {
                let what = "the operation panicked".to_owned();
                Err(StoreError::NotWritable(DiskTrouble::Damaged(what)))
            });
            done(result);
        })))));
    }

    fn send(&self, job: Job) {
        // A job that cannot be sent is dropped, and says so to its `done`.
        drop(self.jobs.send(job));
    }
}

/// What an operation is completed with: called once, on the store's thread, and must not block.
pub trait Done<T>: FnOnce(Result<T, StoreError>) + Send + 'static {}

impl<T, F: FnOnce(Result<T, StoreError>) + Send + 'static> Done<T> for F {}

/// Work for the worker; without one it completes as [`StoreError::Closed`].
type Work = Box<dyn FnOnce(Option<&mut Worker>) + Send>;

enum Task {
    Work(Work),
    Close(Box<dyn FnOnce(Result<(), StoreError>) + Send>),
}

/// A task that is answered even when it is dropped undone.
struct Job(Option<Task>);

impl Drop for Job {
    fn drop(&mut self) {
        match self.0.take() {
            Some(Task::Work(work)) => work(None),
            Some(Task::Close(done)) => done(Err(StoreError::Closed)),
            None => {}
        }
    }
}

fn serve(mut open: open::Open, queue: &mpsc::Receiver<Job>) {
    while let Ok(mut job) = queue.recv() {
        match job.0.take() {
            Some(Task::Work(work)) => {
                work(Some(&mut open.worker));
                if catch_unwind(AssertUnwindSafe(|| open.worker.tidy())).is_err() {
                    tracing::error!("writing the mirrors panicked");
                }
            }
            Some(Task::Close(done)) => {
                let open::Open { worker, lock } = open;
                let closed = catch_unwind(AssertUnwindSafe(|| worker.close()));
                drop(lock);
                return done(closed.unwrap_or(Err(StoreError::Closed)));
            }
            None => {}
        }
    }
}

pub(crate) fn disk_error(path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |error| OpenError::Disk {
        path: path.to_owned(),
        trouble: error.into(),
    }
}
