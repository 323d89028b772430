//! The engine at a bench: a store and a provider that do as they are told, and a clock that moves
//! only when a test moves it.

mod clocks;
mod demand;
mod departure;
mod drift;
mod faults;
mod fixture;
mod import;
mod login;
mod moving;
mod notes;
mod refusal;
mod report;
mod scale;
mod store;
mod unattended;
mod validation;
mod verdict;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::{
    answer::{Body, ExpiresIn, Failure, Received, RetryAfter, TokenSummary},
    flag::Flags,
    grant::{Endpoints, Profile, Provider, Rotation, Subject},
    id::{ClientId, Fingerprint, Generation, GrantId},
    lease::{Expiry, Lease, LeaseKey},
    map::SmallMap,
    renewal::{Cause, Verdict},
    scope::ScopeSet,
    time::{Stamp, Wall},
};

use fixture::*;

const BOOT: BootId = BootId(7);
/// More steps than any test needs: beyond them the engine is spinning.
const STEPS: usize = 200_000;

/// How the store behaves.
#[derive(Clone, Debug, PartialEq)]
enum Disk {
    Works,
    /// Intents fail, saves fail.
    Refuses,
    /// Commits go to the spill file, saves fail.
    Spills,
    /// Commits stay in memory, saves fail.
    Forgets,
    /// Nothing is answered before the test says so.
    Holds,
}

/// How the provider behaves.
#[derive(Clone, Debug)]
enum Server {
    /// Requests wait in `out` until the test answers them.
    Holds,
    /// Every request gets this at once.
    Says(Received),
}

/// The engine between a store and a provider.
struct Bench {
    broker: Broker,
    now: Now,
    disk: Disk,
    server: Server,
    /// Requests that wait for an answer.
    out: VecDeque<Exchange>,
    /// What a store that holds was asked for.
    held: VecDeque<Effect>,
    /// Every request ever, with its time.
    sent: Vec<(Boot, Exchange)>,
    replies: BTreeMap<Ticket, Result<Served, Refusal>>,
    views: BTreeMap<Account, View>,
    /// All effects.
    seen: Vec<Effect>,
    tickets: u64,
    minted: u64,
}

impl Bench {
    /// With no account.
    fn empty() -> Self {
        Self {
            broker: Broker::new(Config::default(), 42, BOOT),
            now: Now {
                boot: Boot(1_000_000),
                wall: Wall::from_unix_secs(1_700_000_000),
            },
            disk: Disk::Works,
            server: Server::Holds,
            out: VecDeque::new(),
            held: VecDeque::new(),
            sent: Vec::new(),
            replies: BTreeMap::new(),
            views: BTreeMap::new(),
            seen: Vec::new(),
            tickets: 0,
            minted: 0,
        }
    }

    /// With the account `work`.
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Grant)) -> Self {
        let mut bench = Self::empty();
        bench.load("work", change);
        bench
    }

    fn with_profile(change: impl FnOnce(&mut Profile)) -> Self {
        Self::with(|grant| change(&mut grant.provider_mut().profile))
    }

    fn load(&mut self, name: &str, change: impl FnOnce(&mut Grant)) {
        let mut grant = grant(name, self.now);
        change(&mut grant);
        self.happen(Event::Loaded {
            grant: Box::new(grant),
            interrupted: None,
            stale: None,
        });
    }

    fn happen(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        let mut steps = 0;
        while let Some(event) = events.pop_front() {
            self.broker.handle(event, self.now);
            while let Some(effect) = self.broker.poll_effect() {
                self.seen.push(effect.clone());
                events.extend(self.perform(effect));
            }
            steps += 1;
            assert!(steps < STEPS, "the engine spins");
        }
        if let Some(at) = self.broker.poll_timeout() {
            let tired = matches!(self.disk, Disk::Holds);
            assert!(tired || at > self.now.boot, "asks to be woken at once");
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Intend { .. }
            | Effect::Commit { .. }
            | Effect::TakeOver { .. }
            | Effect::Save { .. }
                if self.disk == Disk::Holds =>
            {
                self.held.push_back(effect);
                None
            }
            Effect::Intend { .. }
            | Effect::Commit { .. }
            | Effect::TakeOver { .. }
            | Effect::Save { .. } => Some(self.stored(effect)),
            Effect::Exchange(exchange) => {
                self.sent.push((self.now.boot, exchange.clone()));
                match self.server.clone() {
                    Server::Holds => {
                        self.out.push_back(exchange);
                        None
                    }
                    Server::Says(received) => Some(self.answered(&exchange, received, self.now)),
                }
            }
            Effect::Publish { view, .. } => {
                self.views.insert(view.grant.account.clone(), view);
                None
            }
            Effect::Withdraw { account } => {
                self.views.remove(&account);
                None
            }
            Effect::Reply { ticket, result } => {
                let before = self.replies.insert(ticket, result);
                assert_eq!(before, None, "{ticket} is answered twice");
                None
            }
            _ => None,
        }
    }

    fn stored(&self, effect: Effect) -> Event {
        let why = || "no space".to_owned();
        let works = matches!(self.disk, Disk::Works | Disk::Holds);
        match effect {
            Effect::Intend { exchange } => Event::Intended {
                attempt: exchange.attempt,
                result: if self.disk == Disk::Refuses {
                    Err(why())
                } else {
                    Ok(())
                },
            },
            Effect::Commit { attempt, .. } | Effect::TakeOver { attempt, .. } => Event::Committed {
                attempt,
                outcome: match self.disk {
                    Disk::Spills => CommitOutcome::Spilled(why()),
                    Disk::Forgets => CommitOutcome::MemoryOnly(why()),
                    _ => CommitOutcome::Durable,
                },
            },
            Effect::Save { grant } => Event::Saved {
                account: grant.account.clone(),
                result: if works { Ok(()) } else { Err(why()) },
            },
            other => panic!("the store has nothing to do with {other:?}"),
        }
    }

    /// A store that holds does the next thing that it was asked for.
    fn store_one(&mut self) {
        let effect = self.held.pop_front().unwrap();
        let event = self.stored(effect);
        self.happen(event);
    }

    fn answered(&mut self, exchange: &Exchange, received: Received, sent_at: Now) -> Event {
        let mut answer = Answer {
            sent_at,
            received,
            date: None,
            retry_after: None,
            request_id: None,
        };
        if let Received::Response {
            body: Body::Tokens(tokens),
            ..
        } = &mut answer.received
        {
            self.minted += 1;
            tokens.fingerprint.0[..8].copy_from_slice(&(self.minted + 1).to_be_bytes());
        }
        Event::Answered {
            attempt: exchange.attempt,
            answer: Box::new(answer),
        }
    }

    /// The provider answers the oldest request.
    fn answer(&mut self, received: Received) {
        self.answer_with(received, |_| {});
    }

    fn answer_with(&mut self, received: Received, change: impl FnOnce(&mut Answer)) {
        let exchange = self.out.pop_front().expect("a request is out");
        let sent = self
            .sent
            .iter()
            .rfind(|(_, sent)| *sent == exchange)
            .unwrap()
            .0;
        let age = self.now.boot.since(sent).as_millis() as i64;
        let sent_at = Now {
            boot: sent,
            wall: Wall(self.now.wall.0 - age),
        };
        let mut event = self.answered(&exchange, received, sent_at);
        if let Event::Answered { answer, .. } = &mut event {
            change(answer);
        }
        self.happen(event);
    }

    /// Time passes, and the engine is woken whenever it asked to be.
    fn pass(&mut self, duration: Duration) {
        let until = self.now.boot.after(duration);
        let mut steps = 0;
        while let Some(at) = self.broker.poll_timeout().filter(|at| *at <= until) {
            self.move_to(at);
            self.happen(Event::Tick);
            steps += 1;
            assert!(steps < STEPS, "the engine spins");
        }
        self.move_to(until);
    }

    fn move_to(&mut self, at: Boot) {
        let step = at.since(self.now.boot);
        self.now = Now {
            boot: self.now.boot.after(step),
            wall: self.now.wall.after(step),
        };
    }

    /// Asks for a token of `work` and waits a minute at most.
    fn ask(&mut self) -> Ticket {
        self.ask_with(|_| {})
    }

    fn ask_with(&mut self, change: impl FnOnce(&mut Demand)) -> Ticket {
        let demand = self.question(change);
        let ticket = demand.ticket;
        self.happen(Event::Demand(demand));
        ticket
    }

    fn renew(&mut self) -> Ticket {
        let demand = self.question(|_| {});
        let ticket = demand.ticket;
        self.happen(Event::Renew(demand));
        ticket
    }

    fn reject(&mut self, fingerprint: Fingerprint) -> Ticket {
        self.report(Report {
            fingerprint,
            client: ClientId(1),
            teaches: true,
        })
    }

    fn report(&mut self, report: Report) -> Ticket {
        let demand = self.question(|_| {});
        let ticket = demand.ticket;
        self.happen(Event::Reject { report, demand });
        ticket
    }

    fn question(&mut self, change: impl FnOnce(&mut Demand)) -> Demand {
        self.tickets += 1;
        let mut demand = Demand {
            ticket: Ticket(self.tickets),
            account: work(),
            key: LeaseKey::default(),
            min_ttl: None,
            wait: secs(60),
        };
        change(&mut demand);
        demand
    }

    fn reply(&self, ticket: Ticket) -> Option<&Result<Served, Refusal>> {
        self.replies.get(&ticket)
    }

    fn served(&self, ticket: Ticket) -> &Served {
        let reply = self.reply(ticket).expect("an answer");
        reply.as_ref().expect("a token")
    }

    fn refusal(&self, ticket: Ticket) -> &Refusal {
        let reply = self.reply(ticket).expect("an answer");
        reply.as_ref().expect_err("a refusal")
    }

    fn why(&self, ticket: Ticket) -> Unavailable {
        match self.refusal(ticket) {
            Refusal::Unavailable { why, .. } => *why,
            other => panic!("{other:?}"),
        }
    }

    fn grant(&self) -> &Grant {
        self.broker.grant(&work()).expect("the account")
    }

    fn lease(&self) -> &Lease {
        &self.grant().leases[&LeaseKey::default()]
    }

    fn flags(&self) -> &Flags {
        &self.grant().flags
    }

    fn view(&self) -> &View {
        &self.views[&work()]
    }

    fn causes(&self) -> Vec<Cause> {
        let seen = self.seen.iter();
        seen.filter_map(|effect| match effect {
            Effect::Record(Record {
                what: Decided::Renewal(cause),
                ..
            }) => Some(*cause),
            _ => None,
        })
        .collect()
    }

    fn notices(&self) -> Vec<&Notice> {
        let seen = self.seen.iter();
        seen.filter_map(|effect| match effect {
            Effect::Notify { notice, .. } => Some(notice),
            _ => None,
        })
        .collect()
    }

    fn count(&self, is: impl Fn(&Effect) -> bool) -> usize {
        self.seen.iter().filter(|effect| is(effect)).count()
    }
}
