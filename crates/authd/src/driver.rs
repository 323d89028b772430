//! The one task that owns the engine.
//!
//! Everything that happens comes through its mailbox; everything the engine wants done goes out
//! through [`crate::perform`]. Between two wakes nothing runs.

mod mailbox;
mod rest;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authd_core::{
    broker::{Broker, Demand, Event},
    time::Boot,
};
use authd_oauth::Exchanged;
use tokio::sync::{mpsc, oneshot};

use self::rest::Resting;
pub(crate) use self::{
    mailbox::{Answerer, Ask, Handed, Mailbox, Message, Question},
    rest::{Rest, ends_subscriptions},
};
use crate::{
    clock::Sleep,
    daemon::Shared,
    memory,
    perform::Performer,
    signs::{Hold, Sign},
    watchdog::Watchdog,
};

/// Messages taken in before readers see the result.
const BATCH: usize = 256;
/// How much longer a stop waits for exchanges in flight than their requests may take.
const GRACE_AT_STOP: Duration = Duration::from_secs(10);

/// A wake is noticed by the clocks and told by the system: so close together it is one.
const SAME_WAKE: Duration = Duration::from_secs(10);

/// Runs until the daemon stops: engine, alarm and mailbox.
pub(crate) async fn run(
    daemon: Shared,
    mut mail: mpsc::UnboundedReceiver<Message>,
    seed: u64,
    watchdog: Watchdog,
) -> std::io::Result<()> {
    let boot_id = daemon.published.boot_id;
    let broker = Broker::new(daemon.config.load().engine(), seed, boot_id);
    let mut driver = Driver {
        broker,
        performer: Performer::new(Arc::clone(&daemon)),
        sleep: Sleep::new(daemon.clock.clone()),
        daemon,
        stop_by: None,
        hold: None,
        woke_at: None,
        resting: None,
        locks: Vec::new(),
        watchdog,
    };
    let mut alarm = driver.daemon.clock.alarm()?;
    loop {
        driver.settle();
        driver.drained();
        let overdue = driver
            .stop_by
            .is_some_and(|stop_by| driver.daemon.clock.now().boot >= stop_by);
        let quiet = driver.broker.in_flight() == 0 && driver.performer.all_departed();
        if driver.performer.is_stopping() && (quiet && !driver.is_between() || overdue) {
            driver.performer.close_store();
            return Ok(());
        }
        let next = driver.broker.poll_timeout();
        let wakes = [next, driver.stop_by, driver.watchdog.due()];
        alarm.set(wakes.into_iter().flatten().min())?;
        let message = tokio::select! {
            biased;
            message = mail.recv() => match message {
                Some(message) => Some(message),
                None => return Ok(()),
            },
            rung = alarm.rings() => {
                rung?;
                None
            }
        };
        if driver.sleep.is_over() {
            driver.told(Sign::Resumed, None);
        }
        match message {
            Some(message) => driver.take(message),
            None => driver.handle(Event::Tick),
        }
        driver.prove_alive();
        for _ in 0..BATCH {
            match mail.try_recv() {
                Ok(message) => driver.take(message),
                Err(_) => break,
            }
        }
    }
}

struct Driver {
    broker: Broker,
    performer: Performer,
    daemon: Shared,
    /// Notices one that nobody told of.
    sleep: Sleep,
    /// When a stop no longer waits for what is in flight.
    stop_by: Option<Boot>,
    /// The machine waits with its sleep for what is in flight.
    hold: Option<Hold>,
    /// When it woke, unless it is to sleep again.
    woke_at: Option<Boot>,
    /// The store is being closed, or given another key.
    resting: Option<Resting>,
    /// Who wants it locked as soon as it is open.
    locks: Vec<oneshot::Sender<()>>,
    /// The service manager waits for signs of life.
    watchdog: Watchdog,
}

impl Driver {
    /// Begins everything that the engine wants done, and lets readers see what changed.
    fn settle(&mut self) {
        while let Some(effect) = self.broker.poll_effect() {
            self.performer.perform(effect);
        }
        self.performer.publish();
        if self.broker.in_flight() == 0 {
            self.hold = None;
        }
        self.daemon
            .figures
            .exchanges
            .store(self.broker.in_flight(), Ordering::Relaxed);
        let questions = self.performer.questions;
        self.daemon
            .figures
            .questions
            .store(questions, Ordering::Relaxed);
    }

    /// When a sign of life is due: it is given once the store's thread, which is asked now, has answered.
    fn prove_alive(&mut self) {
        if self.watchdog.begin() {
            self.performer.ask_store_for_life();
        }
    }

    fn handle(&mut self, event: Event) {
        if let Event::Validated { .. } = event {
            // Of one that was asked before the store was closed and opened, nobody counts.
            self.performer.questions = self.performer.questions.saturating_sub(1);
        }
        self.broker.handle(event, self.daemon.clock.now());
        while let Some(effect) = self.broker.poll_effect() {
            self.performer.perform(effect);
        }
    }

    /// The machine told something, or it was noticed.
    fn told(&mut self, sign: Sign, hold: Option<Hold>) {
        let now = self.daemon.clock.now().boot;
        match sign {
            Sign::Suspending => (self.hold, self.woke_at) = (hold, None),
            Sign::Resumed => {
                let woke_at = self.woke_at.replace(now);
                if woke_at.is_some_and(|at| now.since(at) < SAME_WAKE) {
                    return;
                }
                self.hold = None;
            }
            Sign::NetworkUp => {}
        }
        tracing::debug!(?sign, "the machine tells");
        self.handle(match sign {
            Sign::Suspending => Event::Suspending,
            Sign::Resumed => Event::Resumed,
            Sign::NetworkUp => Event::NetworkUp,
        });
    }

    fn stop(&mut self) {
        if self.stop_by.is_some() {
            return;
        }
        // A login makes two requests in a row: for its tokens, and for who signed in.
        let request = Duration::from_secs(self.daemon.config.load().network.request_timeout_secs);
        self.stop_by = Some(
            self.daemon
                .clock
                .now()
                .boot
                .after(2 * request + GRACE_AT_STOP),
        );
        self.performer.stop();
        self.handle(Event::ShuttingDown);
    }

    fn take(&mut self, message: Message) {
        let Some(message) = self.waits(message) else {
            return;
        };
        match message {
            Message::Event(event) => {
                match &*event {
                    Event::Gone { ticket } => self.performer.unexpect(*ticket),
                    Event::Used { account, .. } => self.performer.in_use(account),
                    _ => {}
                }
                let ended = match &*event {
                    Event::Committed { attempt, .. }
                    | Event::Intended {
                        attempt,
                        result: Err(_),
                    } => Some(*attempt),
                    _ => None,
                };
                self.performer.at_hand(ended);
                self.handle(*event);
                self.performer.at_hand(None);
                if let Some(attempt) = ended {
                    self.performer.conclude(attempt);
                }
            }
            Message::Ask {
                ticket,
                ask,
                answerer,
            } => {
                let Ask {
                    question,
                    account,
                    key,
                    min_ttl,
                    wait,
                    origin,
                } = ask;
                self.performer.expect(ticket, &account, origin, answerer);
                let demand = Demand {
                    ticket,
                    account,
                    key,
                    min_ttl,
                    wait,
                };
                self.handle(match question {
                    Question::Demand => Event::Demand(demand),
                    Question::Renew => Event::Renew(demand),
                    Question::Reject(report) => Event::Reject { report, demand },
                });
                self.performer.asked();
            }
            Message::Answered { attempt, exchanged } => {
                let Exchanged {
                    answer,
                    tokens,
                    proved,
                } = *exchanged;
                self.performer.keep_answer(attempt, tokens, proved);
                self.performer
                    .story_answered(attempt, answer.request_id.clone());
                self.performer.at_hand(Some(attempt));
                self.handle(Event::Answered {
                    attempt,
                    answer: Box::new(answer),
                });
                self.performer.at_hand(None);
                if !self.performer.is_committing(attempt) {
                    self.performer.conclude(attempt);
                }
            }
            Message::Opened(opening) => {
                for event in self.performer.opened(*opening) {
                    self.handle(event);
                }
                self.performer.tell_opened();
                memory::give_back();
                self.wake();
                self.lock_after_all();
            }
            Message::Rest(rest) => self.rest(rest),
            Message::Rested(rested) => self.rested(rested),
            Message::KeepAnchorIn(key_store) => self.performer.keep_anchor_in(key_store),
            Message::Depart {
                account,
                revoke,
                wait,
                done,
            } => {
                if self.performer.depart(&account, wait, done) {
                    self.handle(Event::Leave { account, revoke });
                }
            }
            Message::DepartureOverdue { account } => self.performer.departure_overdue(&account),
            Message::Adopt { account, done } => {
                let adopted = self.performer.adopt(account);
                for account in &adopted {
                    self.handle(Event::Adopt {
                        account: account.clone(),
                    });
                }
                // The one who asked may be gone.
                let _ = done.send(adopted);
            }
            Message::Owed {
                account,
                id,
                result,
            } => {
                for event in self.performer.owed(&account, id, result) {
                    self.handle(event);
                }
            }
            Message::RevocationTried { id, outcome } => {
                let settled = self.performer.revocation_tried(id, outcome);
                self.handle(Event::RevocationTried { id, settled });
            }
            Message::Erased { account, result } => {
                for event in self.performer.erased(&account, result) {
                    self.handle(event);
                }
            }
            Message::ClientSecret { account, done } => {
                // The one who asked may be gone.
                let _ = done.send(self.performer.stored_client_secret(&account));
            }
            Message::WhoHolds {
                refresh_token,
                done,
            } => {
                // The one who asked may be gone.
                let _ = done.send(self.performer.who_holds(&refresh_token));
            }
            Message::Dpop { account, key, done } => {
                // The one who asked may be gone.
                let _ = done.send(self.performer.held(&account, &key));
            }
            Message::CheckMetadata { account, done } => {
                self.performer.check_metadata(account, done);
            }
            Message::MetadataFetched(fetched) => {
                let (events, askers) = self.performer.metadata_fetched(*fetched);
                for event in events {
                    self.handle(event);
                }
                self.performer.tell_checked(askers);
            }
            Message::StoreAlive => self.watchdog.tell(),
            Message::Sign { sign, hold } => self.told(sign, hold),
            Message::Configure(config) => self.broker.configure(config),
            Message::Stop => self.stop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::LONGEST_REQUEST, perform::CLOSING, run::PATIENCE_AT_END};

    #[test]
    fn service_managers_let_a_stop_take_its_longest() {
        // Requests in flight, then what is owed, then the store, then what clients are owed.
        let longest = Duration::from_secs(2 * LONGEST_REQUEST)
            + GRACE_AT_STOP
            + 2 * CLOSING
            + PATIENCE_AT_END;
        let number_after = |text: &str, before: &str| {
            let (_, rest) = text.split_once(before).unwrap();
            let rest = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
            Duration::from_secs(digits.parse().unwrap())
        };
        let systemd = include_str!("../../../systemd/authd.service");
        assert!(number_after(systemd, "\nTimeoutStopSec=") > longest);
        let launchd = include_str!("../../../launchd/authd.plist");
        assert!(number_after(launchd, "<key>ExitTimeOut</key>") > longest);
    }
}
