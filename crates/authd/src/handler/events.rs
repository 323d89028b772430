//! `subscribe`, `unsubscribe` and `events.query`.

use std::sync::Arc;

use authd_proto::{
    ErrorCode, WireError,
    event::{Event, EventKind},
    limits, page,
    request::{EventsQuery, Subscribe},
    response::{EventsQueryReply, SubscribeReply, UnsubscribeReply},
};
use tokio::sync::broadcast;

use crate::{connection::Session, daemon::Shared};

/// What one client wants to hear of.
pub(crate) struct Subscription {
    pub(crate) receiver: broadcast::Receiver<Arc<Event>>,
    wish: Wish,
}

/// Which events.
struct Wish {
    kinds: Vec<EventKind>,
    account: Option<String>,
}

impl Wish {
    fn new(kinds: Option<Vec<EventKind>>, account: Option<String>) -> Self {
        Self {
            kinds: kinds.unwrap_or_else(|| EventKind::ALL.to_vec()),
            account,
        }
    }

    fn fits(&self, event: &Event) -> bool {
        self.kinds.contains(&event.event)
            && (self.account.is_none() || self.account == event.account)
    }
}

impl Subscription {
    /// Of these kinds and this account; of all that is not named.
    pub(crate) fn new(
        receiver: broadcast::Receiver<Arc<Event>>,
        kinds: Option<Vec<EventKind>>,
        account: Option<String>,
    ) -> Self {
        let wish = Wish::new(kinds, account);
        Self { receiver, wish }
    }

    /// Whether the client wants this event.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        self.wish.fits(event)
    }
}

/// `subscribe`: replaces an earlier subscription.
pub(crate) fn subscribe(
    daemon: &Shared,
    session: &mut Session,
    subscribe: Subscribe,
) -> Result<SubscribeReply, WireError> {
    let receiver = daemon.journal.subscribe();
    let subscription = Subscription::new(receiver, subscribe.events, subscribe.account);
    let events = subscription.wish.kinds.clone();
    session.subscription = Some(subscription);
    Ok(SubscribeReply { events })
}

/// `unsubscribe`.
#[expect(clippy::unnecessary_wraps, reason = "every handler answers alike")]
pub(crate) fn unsubscribe(session: &mut Session) -> Result<UnsubscribeReply, WireError> {
    session.subscription = None;
    Ok(UnsubscribeReply {})
}

/// `events.query`: what is remembered, oldest first. The cursor is the sequence number of the last
/// event of the page before.
pub(crate) fn query(daemon: &Shared, query: &EventsQuery) -> Result<EventsQueryReply, WireError> {
    let after = match &query.cursor {
        Some(cursor) => cursor.parse().map_err(|_| {
            WireError::new(
                ErrorCode::BadRequest,
                "this cursor did not come from events.query",
            )
        })?,
        None => 0,
    };
    let wish = Wish::new(query.events.clone(), query.account.clone());
    let since = query.since_at.unwrap_or(0);
    let matching: Vec<_> = daemon
        .journal
        .after(after)
        .into_iter()
        .filter(|event| event.at >= since && wish.fits(event))
        .collect();
    let all = matching.len();
    let events: Vec<Event> = page::fill(
        matching.iter().map(|event| Event::clone(event)),
        limits::page_limit(query.limit),
    );
    let cursor = (events.len() < all)
        .then(|| events.last().map(|event| event.seq.to_string()))
        .flatten();
    Ok(EventsQueryReply { events, cursor })
}
