//! The one task that owns the engine.
//!
//! Everything that happens comes through its mailbox; everything the engine wants done goes out
//! through [`crate::perform`]. Between two wakes nothing runs.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authd_core::{
    broker::{Broker, Config as EngineConfig, Demand, Event, Refusal, Report, Unavailable},
    id::{Account, AttemptId, LoginId, Ticket},
    lease::LeaseKey,
    secret::Secret,
    time::Boot,
};
use authd_oauth::{Exchanged, Revocation};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock::Sleep,
    daemon::{Figures, Shared},
    journal::Origin,
    memory,
    open::Opening,
    perform::{Checked, Departed, Fetched, Performer, ProofMaterial},
    published::{Snapshot, Token},
    signs::{Hold, Sign},
};

/// Messages taken in before readers see the result.
const BATCH: usize = 256;
/// How much longer a stop waits for exchanges in flight than their requests may take.
const GRACE_AT_STOP: Duration = Duration::from_secs(10);

/// A wake is noticed by the clocks and told by the system: so close together it is one.
const SAME_WAKE: Duration = Duration::from_secs(10);

/// What a client asks the engine.
pub(crate) struct Ask {
    pub(crate) question: Question,
    pub(crate) account: Account,
    pub(crate) key: LeaseKey,
    pub(crate) min_ttl: Option<Duration>,
    pub(crate) wait: Duration,
    /// Who asks, for the story.
    pub(crate) origin: Origin,
}

/// How it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Question {
    /// For a token.
    Demand,
    /// For an exchange now.
    Renew,
    /// For a token in the place of a refused one.
    Reject(Report),
}

/// What it gets.
pub(crate) struct Handed {
    /// The account as it was then, ...
    pub(crate) snapshot: Arc<Snapshot>,
    /// ... and which of its tokens this is.
    pub(crate) key: LeaseKey,
    pub(crate) token: Arc<Token>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) low: bool,
    pub(crate) renewed: bool,
}

/// How a client hears.
pub(crate) type Answerer = oneshot::Sender<Result<Handed, Refusal>>;
/// What comes to the driver.
pub(crate) enum Message {
    /// Something that the engine understands as it is.
    Event(Box<Event>),
    /// A client asks.
    Ask {
        ticket: Ticket,
        ask: Ask,
        answerer: Answerer,
    },
    /// A provider answered; secrets and all.
    Answered {
        attempt: AttemptId,
        exchanged: Box<Exchanged>,
    },
    /// The store was opened, or not.
    Opened(Box<Opening>),
    /// An account is to go: forgotten, or logged out.
    Depart {
        account: Account,
        revoke: bool,
        wait: Duration,
        done: oneshot::Sender<Departed>,
    },
    /// The wait of the one who asked for that is over.
    DepartureOverdue { account: Account },
    /// Accounts are to be adopted; all when none is named.
    Adopt {
        account: Option<Account>,
        done: oneshot::Sender<Vec<Account>>,
    },
    /// A revocation is on disk, or could not be put there.
    Owed {
        account: Account,
        id: u64,
        result: Result<(), String>,
    },
    /// A provider was told of a revocation.
    RevocationTried { id: u64, outcome: Revocation },
    /// An account is off the disk, or could not be taken off.
    Erased {
        account: Account,
        result: Result<(), String>,
    },
    /// A login to an account that exists wants the client secret that it was made with.
    ClientSecret {
        account: Account,
        done: oneshot::Sender<Option<Secret>>,
    },
    /// A refresh token is brought along: is it one that is held already?
    WhoHolds {
        refresh_token: Secret,
        done: oneshot::Sender<Option<Account>>,
    },
    /// A proof of possession is to be made.
    Dpop {
        account: Account,
        key: LeaseKey,
        done: oneshot::Sender<ProofMaterial>,
    },
    /// Somebody wants to know whether an account's provider is what it was at login.
    CheckMetadata {
        account: Account,
        done: oneshot::Sender<Checked>,
    },
    /// Metadata was fetched, or could not be.
    MetadataFetched(Box<Fetched>),
    /// The machine tells something.
    Sign {
        sign: Sign,
        /// Of its sleep, until what is in flight is over.
        hold: Option<Hold>,
    },
    /// New settings for the engine.
    Configure(EngineConfig),
    /// The daemon is to stop.
    Stop,
}

/// The way to the driver. Cheap to clone; sending never waits.
#[derive(Clone)]
pub(crate) struct Mailbox(mpsc::UnboundedSender<Message>);

impl Mailbox {
    /// A mailbox and where its messages come out.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Sends. A driver that has ended hears nothing more, and nobody misses it.
    pub(crate) fn send(&self, message: Message) {
        let _ = self.0.send(message);
    }

    /// Sends an event.
    pub(crate) fn event(&self, event: Event) {
        self.send(Message::Event(Box::new(event)));
    }

    /// Tells that a lease is in use.
    pub(crate) fn used(&self, account: Account, key: LeaseKey) {
        self.event(Event::Used { account, key });
    }

    /// Ends a login from outside the token endpoint.
    pub(crate) fn end_login(&self, login: LoginId, reason: authd_core::broker::LoginFailure) {
        self.event(Event::LoginCancelled { login, reason });
    }

    /// New settings for the engine.
    pub(crate) fn configure(&self, config: EngineConfig) {
        self.send(Message::Configure(config));
    }

    /// The daemon is to stop.
    pub(crate) fn stop(&self) {
        self.send(Message::Stop);
    }

    /// Asks, and waits for the answer. Dropping the future ends the wait and nothing else.
    pub(crate) async fn ask(&self, figures: &Figures, ask: Ask) -> Result<Handed, Refusal> {
        let ticket = figures.ticket();
        let (answerer, answer) = oneshot::channel();
        let _wait = Wait::begin(self, figures, ticket);
        self.send(Message::Ask {
            ticket,
            ask,
            answerer,
        });
        let stopping = Refusal::Unavailable {
            why: Unavailable::ShuttingDown,
            retry_after: None,
        };
        answer.await.unwrap_or(Err(stopping))
    }

    /// Lets an account go; `None` when the daemon stops first.
    pub(crate) async fn depart(
        &self,
        account: Account,
        revoke: bool,
        wait: Duration,
    ) -> Option<Departed> {
        let (done, answer) = oneshot::channel();
        self.send(Message::Depart {
            account,
            revoke,
            wait,
            done,
        });
        answer.await.ok()
    }

    /// The client secret that an account was logged in with. Stays in this process.
    pub(crate) async fn client_secret(&self, account: Account) -> Option<Secret> {
        let (done, answer) = oneshot::channel();
        self.send(Message::ClientSecret { account, done });
        answer.await.ok().flatten()
    }

    /// The account that this refresh token is of, or was until its latest renewal.
    pub(crate) async fn who_holds(&self, refresh_token: Secret) -> Option<Account> {
        let (done, answer) = oneshot::channel();
        self.send(Message::WhoHolds {
            refresh_token,
            done,
        });
        answer.await.ok().flatten()
    }

    /// What a proof of possession for a token of the account takes. Stays in this process.
    pub(crate) async fn dpop(&self, account: Account, key: LeaseKey) -> ProofMaterial {
        let (done, answer) = oneshot::channel();
        self.send(Message::Dpop { account, key, done });
        answer.await.unwrap_or_default()
    }

    /// Whether the account's provider is what it was at login; `None` when the daemon stops first.
    pub(crate) async fn check_metadata(&self, account: Account) -> Option<Checked> {
        let (done, answer) = oneshot::channel();
        self.send(Message::CheckMetadata { account, done });
        answer.await.ok()
    }

    /// Adopts, and says which; `None` when the daemon stops first.
    pub(crate) async fn adopt(&self, account: Option<Account>) -> Option<Vec<Account>> {
        let (done, answer) = oneshot::channel();
        self.send(Message::Adopt { account, done });
        answer.await.ok()
    }
}

/// A client's wait. When it ends before its answer, the engine hears that the client is gone.
struct Wait<'a> {
    mailbox: &'a Mailbox,
    figures: &'a Figures,
    ticket: Ticket,
}

impl<'a> Wait<'a> {
    fn begin(mailbox: &'a Mailbox, figures: &'a Figures, ticket: Ticket) -> Self {
        figures.waiters.fetch_add(1, Ordering::Relaxed);
        Self {
            mailbox,
            figures,
            ticket,
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.figures.waiters.fetch_sub(1, Ordering::Relaxed);
        // The engine ignores a ticket that it has answered.
        self.mailbox.event(Event::Gone {
            ticket: self.ticket,
        });
    }
}

/// Runs until the daemon stops: engine, alarm and mailbox.
pub(crate) async fn run(
    daemon: Shared,
    mut mail: mpsc::UnboundedReceiver<Message>,
    seed: u64,
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
    };
    let mut alarm = driver.daemon.clock.alarm()?;
    loop {
        driver.settle();
        let overdue = driver
            .stop_by
            .is_some_and(|stop_by| driver.daemon.clock.now().boot >= stop_by);
        let quiet = driver.broker.in_flight() == 0 && driver.performer.all_departed();
        if driver.performer.is_stopping() && (quiet || overdue) {
            driver.performer.close_store();
            return Ok(());
        }
        let next = driver.broker.poll_timeout();
        alarm.set([next, driver.stop_by].into_iter().flatten().min())?;
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
    }

    fn handle(&mut self, event: Event) {
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
            }
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
