//! What the log says of clients that are not let in.

use std::time::Duration;

use tokio::time::Instant;

/// What is said of those who are not let in is said no more often than this.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Those who were not let in. Whoever knocks all the time is not to fill the log.
#[derive(Default)]
pub(crate) struct TurnedAway {
    said_at: Option<Instant>,
    unsaid: u64,
}

impl TurnedAway {
    /// Says so in the log, now and then.
    pub(crate) fn say(&mut self, why: &str) {
        let now = Instant::now();
        if self.said_at.is_some_and(|at| now < at + SAID_EVERY) {
            self.unsaid += 1;
            return;
        }
        tracing::warn!(why, others_before = self.unsaid, "a client was turned away");
        *self = Self {
            said_at: Some(now),
            unsaid: 0,
        };
    }
}
