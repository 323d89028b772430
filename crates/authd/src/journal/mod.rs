//! Events: kept in memory and on disk for `events.query`, pushed to subscribers, written to the log.
//!
//! Whoever writes an event down waits for nothing but a lock that is held for an instant. The disk is the
//! business of a thread of its own ([`crate::lines`]), behind a queue that is bounded: an event is lost before
//! anything is delayed for it, and what was lost is counted and told.

mod words;

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use authd_core::{
    broker::{Note, Record},
    id::AttemptId,
};
use authd_proto::{
    ErrorCode,
    event::{Event, EventKind, SEQ_OF_RUN},
};
use tokio::sync::broadcast;

pub(crate) use crate::lines::Window;
use crate::{
    clock::Clock,
    lines::{self, Files, Line, Reader, Trouble, Writer},
};

/// Events remembered in memory.
const REMEMBERED: usize = 2048;
/// Events that a slow subscriber may be behind.
const BEHIND: usize = 256;
/// Bytes of a text in an event.
const LONGEST_TEXT: usize = 1024;
/// Files on disk at most.
const FILES: usize = 4;

impl Line for Event {
    fn seq(&self) -> u64 {
        self.seq
    }
}

/// Whose request caused what is being done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// From its `traceparent`.
    pub(crate) trace_id: Option<String>,
    /// What its client says it is.
    pub(crate) client: Option<String>,
}

/// In the course of which exchange something happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempted {
    pub(crate) attempt: Option<AttemptId>,
    pub(crate) origin: Origin,
    /// What the provider calls its answer.
    pub(crate) request_id: Option<String>,
    /// When the token that came of it expires, in Unix seconds.
    pub(crate) expires_at: Option<u64>,
}

impl Attempted {
    /// Says so in `event`.
    pub(crate) fn fill(self, event: &mut Event) {
        event.attempt_id = self.attempt.map(|attempt| attempt.to_string());
        event.trace_id = self.origin.trace_id;
        event.client = self.origin.client;
        event.provider_request_id = self.request_id;
        event.expires_at = self.expires_at;
    }
}

/// The events.
pub(crate) struct Journal {
    shared: Arc<Inner>,
    disk: Reader<Event>,
}

struct Inner {
    remembered: Mutex<Remembered>,
    live: broadcast::Sender<Arc<Event>>,
    clock: Clock,
}

struct Remembered {
    seq: u64,
    events: VecDeque<Arc<Event>>,
    /// Whether the disk may hold events that memory does not.
    older_on_disk: bool,
    writer: Option<Writer<Arc<Event>>>,
}

impl Journal {
    /// Takes up the story where the last daemon left it in `folder`, and goes on with it there.
    pub(crate) fn open(folder: PathBuf, clock: Clock) -> Self {
        let files = Files::new(folder, FILES);
        let disk = Reader::new(files.clone(), "read-events");
        let last = disk.last_seq().unwrap_or_else(|error| {
            let folder = disk.folder().display();
            tracing::warn!(%folder, %error, "the events of earlier runs cannot be read");
            0
        });
        let shared = Arc::new(Inner {
            remembered: Mutex::new(Remembered {
                // Beyond whatever an earlier run handed out and never got to the disk.
                seq: if last == 0 {
                    0
                } else {
                    last / SEQ_OF_RUN * SEQ_OF_RUN + SEQ_OF_RUN
                },
                events: VecDeque::new(),
                older_on_disk: last > 0,
                writer: None,
            }),
            live: broadcast::Sender::new(BEHIND),
            clock,
        });
        // Weakly: with the journal goes the way to the thread, and with that the thread.
        let to_tell = Arc::downgrade(&shared);
        let tell = move |trouble| {
            if let Some(shared) = to_tell.upgrade() {
                shared.tell(trouble);
            }
        };
        match Writer::start(files, "events", |event| event, |_| {}, tell) {
            Ok(writer) => shared.with(|remembered| remembered.writer = Some(writer)),
            Err(error) => tracing::warn!(%error, "no thread to keep events: they stay in memory"),
        }
        Self { shared, disk }
    }

    /// Writes an event down; `fill` sets what applies to it.
    pub(crate) fn add(&self, kind: EventKind, fill: impl FnOnce(&mut Event)) {
        self.shared.add(kind, fill);
    }

    /// Writes down what the engine decided, and in the course of what.
    pub(crate) fn decided(&self, record: Record, attempted: Attempted) {
        let words = words::describe(&record);
        let attempted = Attempted {
            request_id: record.request_id.or(attempted.request_id),
            ..attempted
        };
        tracing::info!(
            account = %record.account,
            grant = %record.grant,
            generation = record.generation.0,
            attempt = attempted.attempt.map(tracing::field::display),
            trace_id = attempted.origin.trace_id,
            client = attempted.origin.client,
            request_id = attempted.request_id,
            outcome = words.outcome,
            next = words.next,
            "{}",
            words.message
        );
        self.add(words.kind, |event| {
            event.account = Some(record.account.to_string());
            event.grant = Some(record.grant.to_string());
            event.generation = Some(record.generation.0);
            attempted.fill(event);
            event.expires_at = event.expires_at.filter(|_| words.brought_a_token);
            event.cause = words.cause.map(str::to_owned);
            event.outcome = Some(words.outcome.to_owned());
            event.message = Some(words.message);
            event.code = words.code;
            event.hint = words.hint;
            event.next = words.next.map(str::to_owned);
            event.next_at = record.next.filter(|_| words.next.is_some()).map(|next| {
                // The engine plans on the boot clock; people read the wall.
                let at = self.shared.clock.now().wall.after(next.within);
                u64::try_from(at.unix_secs()).unwrap_or(0)
            });
        });
    }

    /// Writes down what the engine noticed that is no single account's.
    pub(crate) fn noted(&self, note: &Note) {
        let (outcome, message) = words::noticed(note);
        tracing::info!(outcome, "{message}");
        self.add(EventKind::Daemon, |event| {
            event.outcome = Some(outcome.to_owned());
            event.message = Some(message);
        });
    }

    /// From now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.shared.live.subscribe()
    }

    /// How many subscribe.
    pub(crate) fn watchers(&self) -> usize {
        self.shared.live.receiver_count()
    }

    /// The events within `window` for which `wanted` holds, oldest first, from memory and where need be
    /// from disk. One more than the window's limit means that there are more.
    ///
    /// # Errors
    /// When the disk cannot be read, or not in time.
    pub(crate) async fn read(
        &self,
        window: Window,
        wanted: impl Fn(&Event) -> bool + Send + 'static,
    ) -> io::Result<Vec<Event>> {
        let (mut recent, reaches_to, older_on_disk) = self.shared.with(|remembered| {
            let events: Vec<_> = remembered.events.iter().cloned().collect();
            let reaches_to = events.first().map_or(remembered.seq + 1, |event| event.seq);
            (events, reaches_to, remembered.older_on_disk)
        });
        recent
            .retain(|event| event.seq > window.after && event.seq < window.before && wanted(event));
        let enough = window.limit + 1;
        let needs_disk = older_on_disk
            && window.after + 1 < reaches_to
            && !(window.newest && recent.len() >= enough);
        let mut events = if needs_disk {
            let before = window.before.min(reaches_to);
            let missing = if window.newest {
                enough - recent.len()
            } else {
                enough
            };
            let older = Window {
                before,
                limit: missing,
                ..window
            };
            self.disk.read(older, wanted).await?
        } else {
            Vec::new()
        };
        events.extend(recent.iter().map(|event| Event::clone(event)));
        let surplus = events.len().saturating_sub(enough);
        if window.newest {
            events.drain(..surplus);
        } else {
            events.truncate(enough);
        }
        Ok(events)
    }

    /// Writes out what is on its way to the disk. What happens afterwards is not kept.
    pub(crate) fn close(&self) {
        let writer = self.shared.with(|remembered| remembered.writer.take());
        if let Some(writer) = writer {
            writer.close();
        }
    }
}

impl Inner {
    fn with<R>(&self, work: impl FnOnce(&mut Remembered) -> R) -> R {
        work(
            &mut self
                .remembered
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn add(&self, kind: EventKind, fill: impl FnOnce(&mut Event)) {
        let mut event = Event::new(0, self.clock.unix_now(), kind);
        fill(&mut event);
        bound(&mut event);
        // Subscribers and disk get events in the order of their numbers; neither is waited for.
        let event = self.with(|remembered| {
            remembered.seq += 1;
            event.seq = remembered.seq;
            let event = Arc::new(event);
            if remembered.events.len() == REMEMBERED {
                remembered.events.pop_front();
                remembered.older_on_disk |= remembered.writer.is_some();
            }
            remembered.events.push_back(Arc::clone(&event));
            if let Some(writer) = &remembered.writer {
                writer.put(Arc::clone(&event));
            }
            // No subscriber is no error.
            let _ = self.live.send(Arc::clone(&event));
            event
        });
        tracing::debug!(
            seq = event.seq,
            kind = ?event.event,
            account = event.account,
            outcome = event.outcome,
            message = event.message,
            "event"
        );
    }

    fn tell(&self, trouble: Trouble) {
        let (outcome, missed, message) = match trouble {
            Trouble::NotKept(error) => {
                tracing::warn!(%error, "events cannot be written");
                let message = format!("events are not kept on disk: {error}");
                ("events_not_kept", None, message)
            }
            Trouble::Lost(count) => {
                tracing::warn!(count, "events were lost on their way to the disk");
                let message = format!("{count} events did not reach the disk");
                ("events_lost", Some(count), message)
            }
        };
        self.add(EventKind::Daemon, |event| {
            event.outcome = Some(outcome.to_owned());
            event.code = Some(ErrorCode::StoreFailed);
            event.message = Some(message);
            event.missed = missed;
        });
    }
}

/// What comes from outside is short, and acts on no terminal.
fn bound(event: &mut Event) {
    let texts = [
        &mut event.message,
        &mut event.hint,
        &mut event.issuer,
        &mut event.client,
        &mut event.provider_request_id,
    ];
    for text in texts.into_iter().flatten() {
        lines::bound(text, LONGEST_TEXT);
    }
}

#[cfg(test)]
mod tests;
