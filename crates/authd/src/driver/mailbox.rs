//! What is said to the driver, and the ways of saying it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use authd_core::{
    broker::{Config as EngineConfig, Event, Refusal, Report, Unavailable},
    id::{Account, AttemptId, LoginId, Ticket},
    lease::LeaseKey,
    secret::Secret,
};
use authd_oauth::{Exchanged, Revocation};
use authd_store::key::KeyStore;
use tokio::sync::{mpsc, oneshot};

use super::rest::{Rest, Rested};
use crate::{
    daemon::Figures,
    journal::Origin,
    open::Opening,
    perform::{Checked, Departed, Fetched, ProofMaterial},
    published::{Snapshot, Token},
    signs::{Hold, Sign},
};

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
    /// The store's thread answers whoever asks whether it is alive.
    StoreAlive,
    /// The machine tells something.
    Sign {
        sign: Sign,
        /// Of its sleep, until what is in flight is over.
        hold: Option<Hold>,
    },
    /// New settings for the engine.
    Configure(EngineConfig),
    /// The store is to be closed.
    Rest(Rest),
    /// It is on its way there.
    Rested(Rested),
    /// The key has moved: the anchor goes with it.
    KeepAnchorIn(Option<KeyStore>),
    /// The daemon is to stop.
    Stop,
}

impl Message {
    /// Whether somebody waits for what comes of it, and can be told so or wait.
    pub(super) fn is_request(&self) -> bool {
        self.login_begun().is_some()
            || matches!(
                self,
                Self::Ask { .. }
                    | Self::Depart { .. }
                    | Self::Adopt { .. }
                    | Self::ClientSecret { .. }
                    | Self::WhoHolds { .. }
                    | Self::Dpop { .. }
                    | Self::CheckMetadata { .. }
            )
    }

    /// The login that begins with it.
    pub(super) fn login_begun(&self) -> Option<LoginId> {
        match self {
            Self::Event(event) => match &**event {
                Event::LoginBegun(begun) => Some(begun.login),
                _ => None,
            },
            _ => None,
        }
    }
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
