//! How far this machine's clock is from each provider's, by the `Date` of their answers.
//!
//! It is told and no more: how long a token lives goes by our own clocks, from the moment when it was
//! asked for (docs/renewal.md).

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use authd_core::{
    answer::{Answer, Received},
    id::Host,
    time::Now,
};
use authd_oauth::clock_ahead;

/// Hosts remembered; beyond that the first in order gives way, and is heard again.
const HOSTS: usize = 1024;

/// What the providers' clocks said last, by host. In memory alone.
#[derive(Default)]
pub(crate) struct Clocks(Mutex<BTreeMap<Host, i64>>);

impl Clocks {
    /// Takes the date of an answer that came whole, and so from a host whose certificate held.
    pub(crate) fn hear(&self, host: Host, answer: &Answer, now: Now) {
        if let (Received::Response { .. }, Some(date)) = (&answer.received, answer.date) {
            self.learn(host, clock_ahead(date, answer.sent_at, now));
        }
    }

    /// The same where the difference is known.
    pub(crate) fn learn(&self, host: Host, ahead: i64) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= HOSTS && !hosts.contains_key(&host) {
            hosts.pop_first();
        }
        hosts.insert(host, ahead);
    }

    /// By how many seconds this machine's clock was ahead of the host's when that was last heard;
    /// negative when it was behind.
    pub(crate) fn ahead_of(&self, host: &Host) -> Option<i64> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(host).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use authd_core::{
        answer::{Body, Failure},
        time::Wall,
    };

    use super::*;

    fn host(name: &str) -> Host {
        Host(Arc::from(name))
    }

    #[test]
    fn each_provider_has_a_clock_and_only_what_it_said_itself_counts() {
        let clocks = Clocks::default();
        let now = Now {
            wall: Wall::from_unix_secs(10_000),
            ..Now::default()
        };
        let said = |received, ago: i64| Answer {
            sent_at: now,
            received,
            date: Some(Wall::from_unix_secs(10_000 - ago)),
            retry_after: None,
            request_id: None,
        };
        let whole = || Received::Response {
            status: 503,
            body: Body::Empty,
        };
        clocks.hear(host("https://a.test"), &said(whole(), 601), now);
        clocks.hear(host("https://b.test"), &said(whole(), -300), now);
        let nothing = Received::Nothing {
            bytes_left: true,
            failure: Failure::Timeout,
        };
        clocks.hear(host("https://c.test"), &said(nothing, 601), now);
        let ahead = |name| clocks.ahead_of(&host(name));
        assert_eq!(ahead("https://a.test"), Some(600));
        assert_eq!(ahead("https://b.test"), Some(-300));
        assert_eq!(ahead("https://c.test"), None);
        // The clock was set.
        let later = Now {
            wall: now.wall.after(Duration::from_secs(1)),
            ..now
        };
        clocks.hear(host("https://a.test"), &said(whole(), 0), later);
        assert_eq!(ahead("https://a.test"), Some(0));
    }
}
