//! Looking at providers' metadata again: when it is due, when an endpoint is gone, when somebody asks.
//!
//! One fetch serves every account of its issuer, and whoever asked meanwhile. What it means is the
//! engine's business.

mod pace;

use std::collections::{BTreeMap, BTreeSet};

use authd_core::{
    broker::{Decided, Event, Record as Decision},
    grant::{ClientAuth, Provider},
    id::Account,
    metadata::{Change, Found, changes},
    renewal::Verdict,
};
use authd_oauth::{DiscoveryError, Metadata, discover};
use tokio::sync::oneshot;

use self::pace::{Occasion, Pace};
use super::Performer;
use crate::driver::Message;

/// Where metadata is, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    issuer: String,
    /// [`authd_core::grant::Profile::issuer_template`].
    template: Option<String>,
}

impl Source {
    fn of(provider: &Provider) -> Option<Self> {
        Some(Self {
            issuer: provider.issuer.clone()?,
            template: provider.profile.issuer_template.clone(),
        })
    }
}

/// What a look brought.
pub(crate) struct Fetched {
    source: Source,
    result: Result<Metadata, DiscoveryError>,
}

/// What somebody who asked hears.
pub(crate) enum Checked {
    /// There is no such account.
    Unknown,
    /// Its provider has no metadata: where it listens was given by hand.
    NoMetadata,
    /// The metadata cannot be had, for this reason.
    Unavailable(String),
    /// This is not as it was at login.
    Seen(Vec<Change>),
}

/// Those who asked, with the account that they asked about.
pub(crate) type Askers = Vec<(Account, oneshot::Sender<Checked>)>;

/// The issuers that were looked at.
#[derive(Default)]
pub(super) struct Watch(BTreeMap<Source, Looking>);

struct Looking {
    pace: Pace,
    under_way: Option<Look>,
}

/// One that is under way.
#[derive(Default)]
struct Look {
    /// For whose sake.
    accounts: BTreeSet<Account>,
    /// Those of them whose endpoint is gone: the engine waits for where it is now.
    lost: BTreeSet<Account>,
    askers: Askers,
}

impl Performer {
    /// An exchange began or ended: a good time to look, if a look is due.
    pub(super) fn consider_looking(&mut self, record: &Decision) {
        let occasion = match &record.what {
            Decided::Judged(Verdict::Misconfigured) => Occasion::Refused,
            // The engine asks by itself; or nothing was sent.
            Decided::Judged(Verdict::EndpointMoved | Verdict::Unproven) => return,
            Decided::Judged(_) | Decided::Committed | Decided::CommittedElsewhere => {
                Occasion::InUse
            }
            _ => return,
        };
        self.look_if_due(&record.account, occasion);
    }

    /// A token of the account was handed out.
    pub(crate) fn in_use(&mut self, account: &Account) {
        self.look_if_due(account, Occasion::InUse);
    }

    /// The account's endpoint is gone. The engine always gets an answer.
    pub(super) fn rediscover(&mut self, account: Account) {
        let source = self.source(&account);
        let Some(look) = source.and_then(|source| self.look(source)) else {
            let endpoints = None;
            let nowhere = Event::Rediscovered { account, endpoints };
            return self.daemon.mailbox.event(nowhere);
        };
        look.accounts.insert(account.clone());
        look.lost.insert(account);
    }

    /// Somebody wants to know whether the provider is what it was at login.
    pub(crate) fn check_metadata(&mut self, account: Account, done: oneshot::Sender<Checked>) {
        let answer = match (self.source(&account), self.accounts.get(&account)) {
            (Some(source), _) => {
                // Whoever asks a daemon that stops is told so when the sender goes.
                if let Some(look) = self.look(source) {
                    look.accounts.insert(account.clone());
                    // Of those who have gone none is kept.
                    look.askers.retain(|(_, done)| !done.is_closed());
                    look.askers.push((account, done));
                }
                return;
            }
            (None, Some(_)) => Checked::NoMetadata,
            (None, None) => Checked::Unknown,
        };
        // The one who asked may be gone.
        let _ = done.send(answer);
    }

    /// A look is over: what happened by it, and who is to be told afterwards.
    pub(crate) fn metadata_fetched(&mut self, fetched: Fetched) -> (Vec<Event>, Askers) {
        let Fetched { source, result } = fetched;
        let now = self.daemon.clock.now().boot;
        let Some(looking) = self.watch.0.get_mut(&source) else {
            return (Vec::new(), Vec::new());
        };
        let look = looking.under_way.take().unwrap_or_default();
        let seen = seen(result);
        looking.pace.looked(seen.is_ok(), now, draw());
        if let Err(error) = &seen {
            tracing::debug!(issuer = source.issuer, %error, "the provider's metadata cannot be had");
        }
        let mut events = Vec::new();
        // A login at another provider may have taken an account's place meanwhile.
        let is_still_there = |account: &&Account| self.source(account).as_ref() == Some(&source);
        for account in look.lost.iter().filter(is_still_there) {
            events.push(Event::Rediscovered {
                account: account.clone(),
                endpoints: seen.as_ref().ok().and_then(|seen| {
                    let client_auth = self.provider(account)?.client_auth;
                    seen.metadata()
                        .map(|metadata| metadata.endpoints_for(client_auth))
                }),
            });
        }
        let mut askers = Vec::new();
        match &seen {
            Ok(seen) => {
                events.extend(self.tell_of(&source, seen, &look.accounts));
                askers = look.askers;
            }
            Err(error) => {
                for (_, done) in look.askers {
                    // The one who asked may be gone.
                    let _ = done.send(Checked::Unavailable(error.to_string()));
                }
            }
        }
        (events, askers)
    }

    /// The engine has heard of it: those who asked hear what that came to.
    pub(crate) fn tell_checked(&mut self, askers: Askers) {
        self.publish();
        for (account, done) in askers {
            let checked = match self.accounts.get(&account) {
                Some(snapshot) => {
                    let told = snapshot.view.grant.flags.metadata_changed.clone();
                    Checked::Seen(told.map(|told| told.reason).unwrap_or_default())
                }
                None => Checked::Unknown,
            };
            // The one who asked may be gone.
            let _ = done.send(checked);
        }
    }

    /// Every account of this source for whom it means something.
    fn tell_of(&self, source: &Source, seen: &Seen, asked: &BTreeSet<Account>) -> Vec<Event> {
        let accounts = self.accounts.iter();
        accounts
            .filter_map(|(account, snapshot)| {
                let grant = &snapshot.view.grant;
                if Source::of(&grant.provider).as_ref() != Some(source) {
                    return None;
                }
                let found = seen.for_client(grant.provider.client_auth);
                let told = grant.flags.metadata_changed.as_ref();
                let told = told.map_or(&[][..], |told| told.reason.as_slice());
                let asked = asked.contains(account);
                let is_news = asked
                    || grant.provider.stated.is_none()
                    || changes(grant, &found).as_slice() != told;
                is_news.then(|| Event::MetadataSeen {
                    account: account.clone(),
                    found,
                    asked,
                })
            })
            .collect()
    }

    fn look_if_due(&mut self, account: &Account, occasion: Occasion) {
        let Some(source) = self.source(account) else {
            return;
        };
        let now = self.daemon.clock.now().boot;
        let pace = match self.watch.0.get(&source) {
            Some(looking) if looking.under_way.is_some() => return,
            Some(looking) => looking.pace,
            None => {
                let pace = self.pace_of_before(&source);
                let under_way = None;
                self.watch
                    .0
                    .insert(source.clone(), Looking { pace, under_way });
                pace
            }
        };
        if pace.is_due(occasion, now)
            && let Some(look) = self.look(source)
        {
            look.accounts.insert(account.clone());
        }
    }

    /// As the accounts of this source remember the latest look.
    fn pace_of_before(&self, source: &Source) -> Pace {
        let now = self.daemon.clock.now();
        let grants = self.accounts.values().map(|snapshot| &snapshot.view.grant);
        let latest = grants
            .filter(|grant| Source::of(&grant.provider).as_ref() == Some(source))
            .filter_map(|grant| grant.metadata_seen)
            .max();
        Pace::since(latest.map(|at| now.wall.since(at)), now.boot, draw())
    }

    /// The look that is under way there, begun if there is none. `None`: nothing new starts.
    fn look(&mut self, source: Source) -> Option<&mut Look> {
        if self.stopping {
            return None;
        }
        if !self.watch.0.contains_key(&source) {
            let pace = self.pace_of_before(&source);
            let under_way = None;
            self.watch
                .0
                .insert(source.clone(), Looking { pace, under_way });
        }
        let looking = self.watch.0.get_mut(&source)?;
        if looking.under_way.is_none() {
            let (http, mailbox) = (self.daemon.network.http(), self.daemon.mailbox.clone());
            self.daemon.network.spawn(async move {
                let result = discover(&http, &source.issuer, source.template.as_deref()).await;
                mailbox.send(Message::MetadataFetched(Box::new(Fetched {
                    source,
                    result,
                })));
            });
        }
        Some(looking.under_way.get_or_insert_default())
    }

    fn provider(&self, account: &Account) -> Option<&Provider> {
        let snapshot = self.accounts.get(account)?;
        Some(&snapshot.view.grant.provider)
    }

    fn source(&self, account: &Account) -> Option<Source> {
        Source::of(self.provider(account)?)
    }
}

/// What is there.
enum Seen {
    Metadata(Box<Metadata>),
    OtherIssuer(String),
}

impl Seen {
    fn metadata(&self) -> Option<&Metadata> {
        match self {
            Self::Metadata(metadata) => Some(metadata),
            Self::OtherIssuer(_) => None,
        }
    }

    fn for_client(&self, client_auth: ClientAuth) -> Found {
        match self {
            Self::Metadata(metadata) => Found::Metadata(Box::new(metadata.for_client(client_auth))),
            Self::OtherIssuer(found) => Found::OtherIssuer(found.clone()),
        }
    }
}

/// A provider of another name was seen. One whose metadata cannot be had, or not for certain, was not.
fn seen(result: Result<Metadata, DiscoveryError>) -> Result<Seen, DiscoveryError> {
    match result {
        Ok(metadata) => Ok(Seen::Metadata(Box::new(metadata))),
        Err(DiscoveryError::IssuerMismatch {
            found,
            certain: true,
            ..
        }) => Ok(Seen::OtherIssuer(found)),
        Err(error) => Err(error),
    }
}

/// Between 0 and 1. Without randomness in the middle: nothing but the spread suffers.
fn draw() -> f64 {
    getrandom::u32().map_or(0.5, |drawn| f64::from(drawn) / f64::from(u32::MAX))
}
