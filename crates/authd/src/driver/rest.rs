//! The store is closed while the daemon goes on: to be locked, or to be given a new key.
//!
//! As at a stop, nothing new begins and what is in flight is finished and written. Then the engine and
//! everything that knows a secret is dropped, and made anew from the records when the store is opened
//! again. Nothing is given up for lack of time: an exchange ends by its own time-out, and an answer that
//! no file takes is tried again until one does.

use std::{sync::Arc, time::Duration};

use authd_core::{
    broker::{Broker, Effect, Event, LoginFailure},
    secret::Secret,
};
use authd_store::{
    Flushed, StoreError,
    key::{ChangeError, Kept},
};
use tokio::sync::oneshot;

use super::{Driver, Message};
use crate::{daemon::LOCKED, guesses::Turn, keys::Phase, memory, open, perform::Performer};

/// How long after a disk refused the last answers it is asked again.
const BETWEEN_FLUSHES: Duration = Duration::from_secs(2);

/// What the store is closed for.
pub(crate) enum Rest {
    /// Nobody is to be served. Told when nothing is in memory any more.
    Lock { done: oneshot::Sender<()> },
    /// A new key. Told what came of it; who asks meanwhile waits.
    Rotate {
        passphrase: Option<Secret>,
        /// The right to try it, until that is done.
        turn: Turn,
        done: oneshot::Sender<Result<Kept, ChangeError>>,
    },
}

/// How far it has come.
pub(crate) enum Rested {
    /// What was owed to the disk is there, or not.
    Flushed(Result<Flushed, StoreError>),
    /// The disk is to be asked once more.
    Again,
    /// It is closed.
    Closed(Result<(), StoreError>),
}

/// A rest that has begun.
#[derive(Default)]
pub(super) struct Resting {
    /// Those who wait for the lock. With none it is for a new key.
    locks: Vec<oneshot::Sender<()>>,
    /// Whether it is to be locked.
    locked: bool,
    rotate: Option<Rotation>,
    /// Requests that wait for the end.
    held_back: Vec<Message>,
    step: Step,
}

/// A new key that is wanted.
struct Rotation {
    passphrase: Option<Secret>,
    turn: Turn,
    done: oneshot::Sender<Result<Kept, ChangeError>>,
}

/// What a rest waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// That what is in flight ends.
    #[default]
    Draining,
    /// That a disk which refused may take it by now.
    Pausing,
    /// That the disk has everything.
    Flushing,
    /// That the store is closed.
    Closing,
    /// That it is open again, with another key.
    Opening,
}

impl Driver {
    /// Whether the store is on its way between open and closed, so that its end must be waited for.
    pub(super) fn is_between(&self) -> bool {
        self.resting
            .as_ref()
            .is_some_and(|resting| !matches!(resting.step, Step::Draining | Step::Pausing))
    }

    /// Keeps back, or turns away, what nobody can be given while the store is closed.
    pub(super) fn waits(&mut self, message: Message) -> Option<Message> {
        if !message.is_request() {
            return Some(message);
        }
        match &mut self.resting {
            // It was begun before the lock, and has taken until now to find out about the provider.
            None if message.login_begun().is_some() && !self.performer.has_store() => {
                self.turn_away(&message);
                None
            }
            None => Some(message),
            Some(resting) if resting.locked => {
                self.turn_away(&message);
                None
            }
            Some(resting) => {
                resting.held_back.push(message);
                None
            }
        }
    }

    /// Whoever waits for the answer hears that there is none, and looks why. A login ends.
    fn turn_away(&mut self, message: &Message) {
        if let Some(login) = message.login_begun() {
            let result = Err(LoginFailure::ShuttingDown);
            self.performer.perform(Effect::LoginEnded { login, result });
        }
    }

    pub(super) fn rest(&mut self, rest: Rest) {
        match rest {
            Rest::Lock { done } => self.lock(done),
            Rest::Rotate {
                passphrase,
                turn,
                done,
            } => {
                let may = self.resting.is_none()
                    && self.daemon.keys.advance(&[Phase::Open], Phase::Resting);
                if !may {
                    // Dropped: whoever waits for it hears that it did not happen.
                    return;
                }
                self.resting = Some(Resting {
                    rotate: Some(Rotation {
                        passphrase,
                        turn,
                        done,
                    }),
                    ..Resting::default()
                });
                self.handle(Event::ShuttingDown);
            }
        }
    }

    fn lock(&mut self, done: oneshot::Sender<()>) {
        // Once more, for it may just have been opened. Nothing that waits for a token gets one.
        self.daemon.deny();
        self.performer.turn_away();
        if let Some(resting) = &mut self.resting {
            resting.locks.push(done);
            resting.locked = true;
            for message in std::mem::take(&mut resting.held_back) {
                self.turn_away(&message);
            }
            return;
        }
        let keys = &self.daemon.keys;
        if keys.advance(&[Phase::Shut, Phase::Locked], Phase::Locked) {
            // Nothing is in memory.
            let _ = done.send(());
            return;
        }
        if keys.advance(&[Phase::Open], Phase::Resting) {
            self.resting = Some(Resting {
                locks: vec![done],
                locked: true,
                ..Resting::default()
            });
            self.handle(Event::ShuttingDown);
            return;
        }
        // It is being opened at this moment: then it is closed again.
        self.locks.push(done);
    }

    /// What was to be locked while it was opened.
    pub(super) fn lock_after_all(&mut self) {
        for done in std::mem::take(&mut self.locks) {
            self.lock(done);
        }
    }

    /// Goes on, as soon as nothing is in flight.
    pub(super) fn drained(&mut self) {
        let quiet = self.broker.in_flight() == 0
            && self.performer.questions == 0
            && self.performer.all_departed();
        let Some(resting) = self.resting.as_mut().filter(|_| quiet) else {
            return;
        };
        if resting.step != Step::Draining {
            return;
        }
        resting.step = Step::Flushing;
        let mailbox = self.daemon.mailbox.clone();
        self.performer.flush_store(move |flushed| {
            mailbox.send(Message::Rested(Rested::Flushed(flushed)));
        });
    }

    pub(super) fn rested(&mut self, rested: Rested) {
        match rested {
            Rested::Flushed(Ok(flushed)) if !flushed.memory_only.is_empty() => {
                for account in &flushed.memory_only {
                    tracing::error!(%account, "the newest token is in memory alone; it is kept until the disk takes it");
                }
                self.flush_again();
            }
            Rested::Flushed(result) => {
                if let Err(error) = result {
                    tracing::warn!(%error, "the store did not say what is written");
                }
                if let Some(resting) = &mut self.resting {
                    resting.step = Step::Closing;
                }
                let mailbox = self.daemon.mailbox.clone();
                self.performer.close_in_background(move |closed| {
                    mailbox.send(Message::Rested(Rested::Closed(closed)));
                });
            }
            Rested::Again => {
                let pausing = self.resting.as_mut();
                if let Some(resting) = pausing.filter(|resting| resting.step == Step::Pausing) {
                    resting.step = Step::Draining;
                }
            }
            Rested::Closed(closed) => {
                if let Err(error) = closed {
                    tracing::warn!(%error, "the store was not closed cleanly");
                }
                self.closed();
            }
        }
    }

    fn flush_again(&mut self) {
        if let Some(resting) = &mut self.resting {
            resting.step = Step::Pausing;
        }
        let mailbox = self.daemon.mailbox.clone();
        tokio::spawn(async move {
            tokio::time::sleep(BETWEEN_FLUSHES).await;
            mailbox.send(Message::Rested(Rested::Again));
        });
    }

    /// The store is closed: everything that knows a secret goes.
    fn closed(&mut self) {
        let Some(mut resting) = self.resting.take() else {
            return;
        };
        self.anew();
        if resting.locked {
            self.daemon.fingerprints.forget();
            self.daemon.credentials.forget();
            self.performer.show_nothing();
            memory::give_back();
            self.daemon.keys.advance(&[Phase::Resting], Phase::Locked);
            tracing::info!("locked: keys and tokens are out of memory");
            for done in resting.locks {
                // Whoever asked may be gone.
                let _ = done.send(());
            }
            return;
        }
        let Some(Rotation {
            passphrase,
            turn,
            done,
        }) = resting.rotate.take()
        else {
            return;
        };
        resting.step = Step::Opening;
        self.resting = Some(resting);
        self.daemon.keys.advance(&[Phase::Resting], Phase::Opening);
        open::begin_with_new_key(&self.daemon, passphrase, move |result| {
            drop(turn);
            // Whoever asked may be gone.
            let _ = done.send(result);
        });
    }

    /// Engine and performer as at a start.
    fn anew(&mut self) {
        let boot_id = self.daemon.published.boot_id;
        let seed = getrandom::u64().unwrap_or_else(|_| self.daemon.clock.now().boot.0);
        self.broker = Broker::new(self.daemon.config.load().engine(), seed, boot_id);
        let stopping = self.performer.is_stopping();
        self.performer = Performer::new(Arc::clone(&self.daemon));
        if stopping {
            self.performer.stop();
            self.handle(Event::ShuttingDown);
        }
    }

    /// The store is open again, or could not be opened: who waited for that goes on.
    pub(super) fn wake(&mut self) {
        let opening = self
            .resting
            .take_if(|resting| resting.step == Step::Opening);
        let Some(resting) = opening else { return };
        for done in resting.locks {
            self.locks.push(done);
        }
        if !resting.locked {
            for message in resting.held_back {
                self.take(message);
            }
        }
    }
}

/// For those who look at events: the last one that a subscription brings.
pub(crate) fn ends_subscriptions(event: &authd_proto::Event) -> bool {
    event.event == authd_proto::event::EventKind::Daemon && event.outcome.as_deref() == Some(LOCKED)
}
