//! Waiting for what happens, through the daemon's own events.

use std::time::{Duration, Instant};

use authd_client::Client;
use authd_proto::{
    event::{Event, EventKind},
    request::{AccountGet, Subscribe},
    response::AccountInfo,
};

use crate::{PATIENCE, instance::call};

/// A subscription to all events.
pub struct Watcher {
    client: Client,
}

impl Watcher {
    pub(crate) fn new(client: Client) -> Self {
        Self::subscribed(client, &Subscribe::default())
    }

    /// To these kinds alone.
    pub(crate) fn of(client: Client, kinds: Vec<EventKind>) -> Self {
        let wanted = Subscribe {
            events: Some(kinds),
            account: None,
        };
        Self::subscribed(client, &wanted)
    }

    fn subscribed(mut client: Client, wanted: &Subscribe) -> Self {
        client.subscribe(wanted, PATIENCE).expect("a subscription");
        Self { client }
    }

    /// Waits until the person is asked something.
    pub fn wait_for_question(&mut self) -> Event {
        self.wait_for(PATIENCE, |event| {
            event.event == EventKind::Approval && event.outcome.as_deref() == Some("asked")
        })
    }

    /// The first event since the subscription, or since the last one taken, for which `holds`.
    ///
    /// # Panics
    /// When none comes in time; it then tells which did come.
    pub fn wait_for(&mut self, within: Duration, holds: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + within;
        let mut seen = Vec::new();
        while let Some(event) = self.next(deadline) {
            if holds(&event) {
                return event;
            }
            seen.push(event);
        }
        panic!("it did not happen within {within:?}; what did: {seen:#?}");
    }

    /// Waits until `holds` of the account, which is asked about anew after each event.
    ///
    /// # Panics
    /// When it does not come to that in time.
    pub fn wait_for_account(
        &mut self,
        account: &str,
        within: Duration,
        holds: impl Fn(&AccountInfo) -> bool,
    ) -> AccountInfo {
        let deadline = Instant::now() + within;
        let get = AccountGet {
            account: account.to_owned(),
        };
        loop {
            let info = call(&mut self.client, &get).expect("an account that exists");
            if holds(&info) {
                return info;
            }
            if self.next(deadline).is_none() {
                panic!("'{account}' did not come to that within {within:?}: {info:#?}");
            }
        }
    }

    fn next(&mut self, deadline: Instant) -> Option<Event> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        self.client
            .next_event(Some(left))
            .expect("a daemon that goes on")
    }
}
