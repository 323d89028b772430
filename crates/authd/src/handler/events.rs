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

use super::account_name;
use crate::{approvals::Listener, connection::Session, daemon::Shared, journal::Window};

/// What one client wants to hear of.
pub(crate) struct Subscription {
    pub(crate) receiver: broadcast::Receiver<Arc<Event>>,
    wish: Wish,
    /// Where it named approvals: somebody is there to answer.
    listener: Option<Listener>,
}

/// Which events.
struct Wish {
    kinds: Vec<EventKind>,
    account: Option<String>,
}

impl Wish {
    fn new(kinds: Option<Vec<EventKind>>, account: Option<String>) -> Self {
        let mut all = EventKind::ALL.to_vec();
        // Each once, however often it was named.
        all.retain(|kind| kinds.as_ref().is_none_or(|wanted| wanted.contains(kind)));
        Self {
            kinds: all,
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
        Self {
            receiver,
            wish,
            listener: None,
        }
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
    if let Some(name) = &subscribe.account {
        account_name(name)?;
    }
    let receiver = daemon.journal.subscribe();
    let named = subscribe.events.as_deref();
    let answers = named.is_some_and(|kinds| kinds.contains(&EventKind::Approval));
    let mut subscription = Subscription::new(receiver, subscribe.events, subscribe.account);
    subscription.listener = answers.then(|| daemon.approvals.listen());
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

/// `events.query`: what is remembered, oldest first. The cursor is the number of the event at which the
/// page ended: its last one, or with `newest` its first.
pub(crate) async fn query(
    daemon: Shared,
    query: EventsQuery,
) -> Result<EventsQueryReply, WireError> {
    let cursor = match &query.cursor {
        Some(cursor) => Some(cursor.parse::<u64>().map_err(|_| {
            WireError::new(
                ErrorCode::BadRequest,
                "this cursor did not come from events.query",
            )
        })?),
        None => None,
    };
    let after = query.after_seq.unwrap_or(0);
    let limit = limits::page_limit(query.limit);
    let newest = query.newest;
    let (after, before) = match (cursor, newest) {
        (Some(cursor), true) => (after, cursor),
        (Some(cursor), false) => (after.max(cursor), u64::MAX),
        (None, _) => (after, u64::MAX),
    };
    let window = Window {
        after,
        before,
        newest,
        limit,
    };
    let wish = Wish::new(query.events, query.account);
    let since = query.since_at.unwrap_or(0);
    let wanted = move |event: &Event| event.at >= since && wish.fits(event);
    let found = daemon.journal.read(window, wanted).await.map_err(|error| {
        let message = format!("the events on disk cannot be read: {error}");
        WireError::new(ErrorCode::StoreFailed, message).with_hint("run 'authctl doctor'")
    })?;
    let all = found.len();
    let mut events = if newest {
        page::fill(found.into_iter().rev(), limit)
    } else {
        page::fill(found, limit)
    };
    let end = events.last().map(|event| event.seq.to_string());
    let cursor = end.filter(|_| events.len() < all);
    if newest {
        events.reverse();
    }
    Ok(EventsQueryReply { events, cursor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_is_named_a_thousand_times_is_kept_once_and_one_that_nobody_knows_not_at_all() {
        let named = [EventKind::Exchange, EventKind::Unknown, EventKind::Token].repeat(1000);
        let wish = Wish::new(Some(named), None);
        assert_eq!(wish.kinds, [EventKind::Token, EventKind::Exchange]);
        assert_eq!(Wish::new(None, None).kinds, EventKind::ALL);
    }
}
