//! How logins ended, kept for whoever asks late: the results alone, and no more of them than a bound.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use authd_core::id::LoginId;
use tokio::sync::watch;

use super::{Login, Outcome};

/// Results kept at most. Whoever waits for one is told before it goes; the oldest goes first.
const MOST_RESULTS: usize = 256;

/// What those who wait for the end of a login look at.
pub(super) struct End {
    pub(super) outcome: watch::Sender<Option<Outcome>>,
    /// Turns true when a client was told the outcome.
    pub(super) told: watch::Sender<bool>,
}

impl Default for End {
    fn default() -> Self {
        Self {
            outcome: watch::Sender::new(None),
            told: watch::Sender::new(false),
        }
    }
}

/// Logins under way, and the ends of those that were.
pub(super) struct Ends<L = Login> {
    under_way: BTreeMap<LoginId, Arc<L>>,
    ends: BTreeMap<LoginId, Arc<End>>,
    /// Those that have ended, in that order.
    ended: VecDeque<LoginId>,
}

impl<L> Default for Ends<L> {
    fn default() -> Self {
        Self {
            under_way: BTreeMap::new(),
            ends: BTreeMap::new(),
            ended: VecDeque::new(),
        }
    }
}

impl<L> Ends<L> {
    pub(super) fn begin(&mut self, id: LoginId, login: Arc<L>) {
        self.under_way.insert(id, login);
        self.ends.insert(id, Arc::default());
    }

    /// A login that has not ended.
    pub(super) fn under_way(&self, id: LoginId) -> Option<Arc<L>> {
        self.under_way.get(&id).cloned()
    }

    /// Whether any has not ended.
    pub(super) fn are_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The end of a login, had or to come.
    pub(super) fn end(&self, id: LoginId) -> Option<Arc<End>> {
        self.ends.get(&id).cloned()
    }

    /// Takes out a login that ends, with everything that it was done with.
    pub(super) fn take(&mut self, id: LoginId) -> Option<(Arc<L>, Arc<End>)> {
        let login = self.under_way.remove(&id)?;
        let end = self.end(id)?;
        self.ended.push_back(id);
        if self.ended.len() > MOST_RESULTS
            && let Some(oldest) = self.ended.pop_front()
        {
            self.ends.remove(&oldest);
        }
        Some((login, end))
    }

    /// Forgets the result of a login that has ended.
    pub(super) fn forget(&mut self, id: LoginId) {
        self.ended.retain(|ended| *ended != id);
        self.ends.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(ends: &mut Ends<&'static str>, id: u64) -> std::sync::Weak<&'static str> {
        let login = Arc::new("its URL and its secrets");
        let weak = Arc::downgrade(&login);
        ends.begin(LoginId(id), login);
        weak
    }

    #[test]
    fn of_a_login_that_has_ended_only_the_result_is_kept() {
        let mut ends = Ends::default();
        let login = begun(&mut ends, 1);
        let waiting = ends.end(LoginId(1)).unwrap();
        assert!(ends.under_way(LoginId(1)).is_some());
        drop(ends.take(LoginId(1)).unwrap());
        assert!(login.upgrade().is_none(), "nothing holds it any more");
        assert!(ends.under_way(LoginId(1)).is_none());
        assert!(ends.take(LoginId(1)).is_none(), "it ends once");
        assert!(Arc::ptr_eq(&ends.end(LoginId(1)).unwrap(), &waiting));
        ends.forget(LoginId(1));
        assert!(ends.end(LoginId(1)).is_none());
        assert!(ends.ended.is_empty());
    }

    #[test]
    fn however_many_logins_end_a_bounded_number_of_results_is_kept() {
        let mut ends = Ends::default();
        let most = u64::try_from(MOST_RESULTS).unwrap();
        begun(&mut ends, 0);
        for id in 1..=2 * most {
            begun(&mut ends, id);
            ends.take(LoginId(id)).unwrap();
        }
        assert_eq!(
            (ends.ends.len(), ends.ended.len()),
            (MOST_RESULTS + 1, MOST_RESULTS)
        );
        assert!(ends.end(LoginId(most)).is_none(), "the oldest went");
        assert!(ends.end(LoginId(most + 1)).is_some());
        assert!(
            ends.under_way(LoginId(0)).is_some(),
            "what is under way stays"
        );
    }
}
