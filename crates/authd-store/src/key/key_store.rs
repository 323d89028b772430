//! The operating system's key store, asked in a way in which it cannot hang us.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use zeroize::Zeroizing;

use super::platform;

/// What keeps entries, asked on a thread of its own. Any call may block for long.
pub(crate) trait Keeper: Send + Sync {
    /// An entry; `None` when there is none.
    fn read(
        &self,
        service: &str,
        name: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble>;

    /// Writes an entry, replacing an older one.
    fn write(&self, service: &str, name: &str, bytes: &[u8]) -> Result<(), KeyStoreTrouble>;

    /// Removes an entry; one that is not there is fine.
    fn remove(&self, service: &str, name: &str) -> Result<(), KeyStoreTrouble>;

    /// The one entry with these attributes.
    fn find(
        &self,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble>;
}

/// Why the key store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyStoreTrouble {
    /// There is none.
    #[error("there is no key store: {0}")]
    Absent(String),
    /// The user must unlock it.
    #[error("the key store is locked: {0}")]
    Locked(String),
    /// It does not answer.
    #[error("the key store does not answer")]
    Hanging,
    /// It answers with an error.
    #[error("the key store fails: {0}")]
    Failed(String),
}

/// Secret Service, Keychain or Credential Manager.
///
/// Every question is asked on a thread of its own and given up after a time-out, one after the other. The
/// thread of a question that hangs cannot be ended, so while there is one that was given up no other is
/// started: the answer is [`KeyStoreTrouble::Hanging`] at once.
#[derive(Clone)]
pub struct KeyStore {
    service: String,
    timeout: Duration,
    line: Arc<Line>,
    keeper: Arc<dyn Keeper>,
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyStore({}, {:?})", self.service, self.timeout)
    }
}

impl Default for KeyStore {
    fn default() -> Self {
        Self::new(Self::DEFAULT_TIMEOUT)
    }
}

impl KeyStore {
    /// How long a question may take unless configured.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

    /// The key store of this user, under the service name `authd`.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self::of(Arc::new(platform::Platform), timeout)
    }

    /// One that something else keeps than the operating system.
    pub(crate) fn of(keeper: Arc<dyn Keeper>, timeout: Duration) -> Self {
        Self {
            service: "authd".to_owned(),
            timeout,
            line: Arc::default(),
            keeper,
        }
    }

    /// The service name under which entries are kept.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The time-out of one question.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// An entry; `None` when the key store answers that there is none.
    ///
    /// # Errors
    /// When it does not answer so.
    pub fn read(&self, entry: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
        let (service, entry) = (self.service.clone(), entry.to_owned());
        let keeper = Arc::clone(&self.keeper);
        self.ask(move || keeper.read(&service, &entry))
    }

    /// The one entry of any program that has these attributes; `None` when the key store answers that
    /// there is none. What attributes mean is the platform's own business.
    ///
    /// # Errors
    /// When it does not answer so, or has several of them.
    pub fn find(
        &self,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
        let attributes = attributes.clone();
        let keeper = Arc::clone(&self.keeper);
        self.ask(move || keeper.find(&attributes))
    }

    /// Writes an entry, replacing an older one.
    ///
    /// # Errors
    /// When the key store does not take it.
    pub fn write(&self, entry: &str, bytes: &[u8]) -> Result<(), KeyStoreTrouble> {
        let (service, entry) = (self.service.clone(), entry.to_owned());
        let bytes = Zeroizing::new(bytes.to_vec());
        let keeper = Arc::clone(&self.keeper);
        self.ask(move || keeper.write(&service, &entry, &bytes))
    }

    /// Removes an entry; one that is not there is fine.
    ///
    /// # Errors
    /// When the key store does not do it.
    pub fn remove(&self, entry: &str) -> Result<(), KeyStoreTrouble> {
        let (service, entry) = (self.service.clone(), entry.to_owned());
        let keeper = Arc::clone(&self.keeper);
        self.ask(move || keeper.remove(&service, &entry))
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> Result<T, KeyStoreTrouble> + Send + 'static,
    ) -> Result<T, KeyStoreTrouble> {
        let Some(number) = self.line.enter(self.timeout) else {
            return Err(KeyStoreTrouble::Hanging);
        };
        let (sender, answer) = mpsc::sync_channel(1);
        let idle = Idle(Arc::clone(&self.line));
        let spawned = thread::Builder::new()
            .name("key-store".to_owned())
            .spawn(move || {
                let answer = question();
                // Before the answer goes out: whoever has it may ask again.
                drop(idle);
                // Nobody may be waiting any more.
                let _ = sender.send(answer);
            });
        if let Err(error) = spawned {
            return Err(KeyStoreTrouble::Failed(error.to_string()));
        }
        match answer.recv_timeout(self.timeout) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.line.give_up(number);
                Err(KeyStoreTrouble::Hanging)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(KeyStoreTrouble::Failed("asking it panicked".to_owned()))
            }
        }
    }
}

/// Whose question is asked.
#[derive(Default)]
struct Line {
    now: Mutex<Now>,
    changed: Condvar,
    asked: AtomicU64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Now {
    /// Nobody's.
    #[default]
    Idle,
    /// Somebody's, who waits for the answer.
    Asking(u64),
    /// That of somebody who has given up.
    Hanging,
}

impl Line {
    /// Waits for the end of another's question; `None` when that hangs, else the number of ours.
    fn enter(&self, patience: Duration) -> Option<u64> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(now, patience, |now| matches!(now, Now::Asking(_)));
        let mut now = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(now, _)| now);
        (*now == Now::Idle).then(|| {
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            *now = Now::Asking(number);
            number
        })
    }

    /// Whoever asked does not wait any longer.
    fn give_up(&self, number: u64) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        // The answer may have come this moment.
        if *now == Now::Asking(number) {
            *now = Now::Hanging;
        }
        self.changed.notify_all();
    }
}

/// Says that no question is open any more, also when the question panicked.
struct Idle(Arc<Line>);

impl Drop for Idle {
    fn drop(&mut self) {
        *self.0.now.lock().unwrap_or_else(PoisonError::into_inner) = Now::Idle;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_hangs_is_given_up_and_not_asked_twice() {
        let store = KeyStore::new(Duration::from_millis(20));
        let (release, held) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel::<()>();
        let hanging = store.ask(move || {
            // Ends when the test lets go of it.
            let _ = held.recv();
            drop(ended);
            Ok(())
        });
        assert_eq!(hanging, Err(KeyStoreTrouble::Hanging));
        assert_eq!(
            store.ask(|| -> Result<(), _> { panic!("asked") }),
            Err(KeyStoreTrouble::Hanging)
        );
        drop(release);
        assert!(end.recv().is_err(), "the thread ends");
    }

    #[test]
    fn two_questions_at_once_are_both_answered() {
        let store = KeyStore::new(Duration::from_secs(60));
        let (begun, begins) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                store.ask(move || {
                    begun.send(()).unwrap();
                    // Ends when the test lets go of it.
                    let _ = held.recv();
                    Ok(1)
                })
            });
            begins.recv().unwrap();
            let second = scope.spawn(|| store.ask(|| Ok(2)));
            drop(release);
            assert_eq!(first.join().unwrap(), Ok(1));
            assert_eq!(second.join().unwrap(), Ok(2));
        });
    }

    #[test]
    fn a_question_that_panics_is_an_error_and_the_next_is_asked() {
        let store = KeyStore::new(Duration::from_secs(60));
        let failed = store.ask(|| -> Result<(), _> { panic!("planted") });
        assert!(matches!(failed, Err(KeyStoreTrouble::Failed(_))));
        assert_eq!(store.ask(|| Ok(5)), Ok(5));
    }
}
