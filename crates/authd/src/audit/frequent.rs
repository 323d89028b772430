//! Who connects so often that a line for each connection would push out what was written of others.

use std::{
    future,
    sync::Arc,
    time::{Duration, Instant},
};

use authd_core::time::Now;

use super::{Audit, Tally, tally::EVERY};
use crate::{caller::Caller, limit::Limit};

/// Connections at once that are counted each by itself, ...
const BY_THEMSELVES: u32 = 20;
/// ... and how often one more.
const BETWEEN: Duration = Duration::from_secs(10);
/// Processes whose further connections are counted together, at a time. Each takes up a descriptor, for a
/// minute after it has ended as well. Of more of them each connection is counted by itself again.
const MOST: usize = 16;

/// Which connections from one source are counted each by itself.
pub(crate) struct ByItself(Limit);

impl Default for ByItself {
    fn default() -> Self {
        // Full, whatever the time is.
        Self(Limit::new(BY_THEMSELVES, BETWEEN, Now::default()))
    }
}

impl ByItself {
    /// Whether the one that begins is.
    pub(crate) fn take(&self, now: Now) -> bool {
        self.0.take(now).is_ok()
    }
}

/// The processes whose further connections are counted together.
#[derive(Default)]
pub(crate) struct Frequent {
    pub(super) together: Vec<Arc<Tally>>,
    /// When what was counted is to be written down.
    pub(super) due: Option<Instant>,
}

impl Frequent {
    /// Where a connection of `caller` that begins is counted.
    pub(crate) fn tally(&mut self, caller: Arc<Caller>, now: Now) -> Arc<Tally> {
        if caller.by_itself.take(now) {
            return Arc::new(Tally::new(caller));
        }
        let mut known = self.together.iter();
        if let Some(known) = known.find(|tally| Arc::ptr_eq(tally.caller(), &caller)) {
            return Arc::clone(known);
        }
        let tally = Arc::new(Tally::new(caller));
        if self.together.len() < MOST {
            self.together.push(Arc::clone(&tally));
        }
        tally
    }

    /// To be called when a connection has ended. Writes down what it counted; of one that is counted with others,
    /// before long.
    pub(crate) fn leave(&mut self, tally: &Arc<Tally>, audit: &Audit, now: Now) {
        if self.together.iter().any(|with| Arc::ptr_eq(with, tally)) {
            self.due.get_or_insert_with(|| Instant::now() + EVERY);
        } else {
            tally.close(audit, now);
        }
    }

    /// Returns when it is time to [tell](Self::tell).
    pub(crate) async fn is_due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => future::pending().await,
        }
    }

    /// Writes down what was counted together, and forgets those who have gone.
    pub(crate) fn tell(&mut self, audit: &Audit, now: Now) {
        self.together.retain(|tally| {
            let stays = Arc::strong_count(tally) > 1;
            if stays {
                tally.tell(audit, now);
            } else {
                tally.close(audit, now);
            }
            stays
        });
        // Whoever stays writes down itself what goes on, and is told of when it leaves.
        self.due = None;
    }

    /// Writes down all of it: from now on each connection does so by itself, as soon as it ends. For the end of the
    /// daemon, which does not wait a minute.
    pub(crate) fn end(&mut self, audit: &Audit, now: Now) {
        self.tell(audit, now);
        self.together.clear();
    }
}
