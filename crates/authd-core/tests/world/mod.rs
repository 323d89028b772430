//! The world around the engine, and what it holds the engine to.

mod oracle;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use authd_core::{
    answer::{Answer, Body, ExpiresIn, Failure, Received, RetryAfter, TokenSummary},
    broker::{Broker, CommitOutcome, Config, Demand, Effect, Event, Exchange, Report},
    grant::{Endpoints, Grant, Profile, Provider, Rotation},
    id::{Account, AttemptId, ClientId, Fingerprint, Generation, GrantId, Ticket},
    lease::{Expiry, Lease, LeaseKey},
    map::SmallMap,
    scope::ScopeSet,
    time::{Boot, BootId, Now, Stamp, Wall},
};
use oracle::Oracle;

pub(crate) const BOOT: BootId = BootId(3);
/// The shell gives a request up after this.
const TIME_OUT: Duration = Duration::from_secs(30);
/// Nobody answers meanwhile: longer makes a long story of time-outs.
const LONGEST_PASS: Duration = Duration::from_secs(30_000);
/// More steps than any story needs.
const STEPS: usize = 500_000;
/// Effects that a failure shows.
const RECENT: usize = 25;

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The request is lost on its way, after bytes left.
    LostBefore,
    /// The provider did its work, and the answer is lost.
    LostAfter,
    Unreachable,
    ServerError,
    Portal,
    Firewall,
    /// With this many seconds of patience asked for.
    Throttled(u64),
    /// A gateway answers in the provider's place, which saw nothing.
    GatewayBefore,
    /// ... which did its work.
    GatewayAfter,
    /// The provider errs.
    FalseInvalidGrant,
    Misconfigured,
}

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Disk {
    Works,
    Refuses,
    Spills,
    Forgets,
    Holds,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Milliseconds.
    Pass(u64),
    /// So many lives of the first account's tokens, within reason.
    PassLives(f64),
    Answer(Fault),
    Demand {
        account: usize,
        key: usize,
        min_ttl: Option<u64>,
        wait: u64,
    },
    Renew(usize),
    Reject {
        account: usize,
        current: bool,
    },
    Gone(proptest::sample::Index),
    Used(usize),
    Disk(Disk),
    NetworkUp,
    Suspending,
    Resumed,
    WallJump(i64),
    /// Events of attempts that are over come once more.
    Replay,
}

pub(crate) struct World {
    broker: Broker,
    now: Now,
    disk: Disk,
    accounts: Vec<Account>,
    lifetimes: BTreeMap<Account, Duration>,
    out: VecDeque<(Boot, Exchange)>,
    held: VecDeque<Effect>,
    over: Vec<AttemptId>,
    tickets: u64,
    healthy: bool,
    /// Once was, which pauses the client for half an hour.
    misconfigured: bool,
    oracle: Oracle,
    /// What the engine did last, for whoever reads a failure.
    recent: VecDeque<Effect>,
    /// All that it did, where somebody wants to compare.
    pub(crate) trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(seed: u64, life: u64, rotates: [bool; 3]) -> Self {
        let now = Now {
            boot: Boot(5_000_000),
            wall: Wall::from_unix_secs(1_700_000_000),
        };
        let names = ["first", "second", "third"];
        let accounts = names
            .map(|name| Account::new(name).expect("a name"))
            .to_vec();
        let mut world = Self {
            broker: Broker::new(Config::default(), seed, BOOT),
            now,
            disk: Disk::Works,
            accounts: accounts.clone(),
            lifetimes: BTreeMap::new(),
            out: VecDeque::new(),
            held: VecDeque::new(),
            over: Vec::new(),
            tickets: 0,
            healthy: false,
            misconfigured: false,
            oracle: Oracle::default(),
            recent: VecDeque::new(),
            trace: None,
        };
        for (position, account) in accounts.into_iter().enumerate() {
            let lifetime = Duration::from_secs(life * (1 + position as u64));
            let rotation = match rotates[position] {
                true => Rotation::ReuseDetected,
                false => Rotation::None,
            };
            // Two share a host.
            let host = position / 2;
            world.lifetimes.insert(account.clone(), lifetime);
            let grant = first_grant(account, now, lifetime, rotation, host);
            world.oracle.begin(&grant, rotates[position]);
            world.happen(Event::Loaded {
                grant: Box::new(grant),
                interrupted: None,
                stale: None,
            });
        }
        world
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Pass(millis) => self.pass(Duration::from_millis(*millis)),
            Step::PassLives(lives) => {
                let life = self.lifetimes[&self.accounts[0]];
                self.pass(life.mul_f64(*lives).min(LONGEST_PASS));
            }
            Step::Answer(fault) => self.answer(fault),
            Step::Demand {
                account,
                key,
                min_ttl,
                wait,
            } => {
                let scopes = ["", "api", "mail"][*key];
                self.demand(*account, scopes, *min_ttl, *wait);
            }
            Step::Renew(account) => {
                let demand = self.question(*account, "", None, 30);
                self.happen(Event::Renew(demand));
            }
            Step::Reject { account, current } => {
                let lease = self.broker.grant(&self.accounts[*account]);
                let lease = lease.and_then(|grant| grant.leases.get(&LeaseKey::default()));
                let fingerprint = lease.filter(|_| *current).map(|lease| lease.fingerprint);
                let demand = self.question(*account, "", None, 30);
                let report = Report {
                    fingerprint: fingerprint.unwrap_or_default(),
                    client: ClientId(*account as u64),
                    teaches: true,
                };
                self.happen(Event::Reject { report, demand });
            }
            Step::Gone(which) => {
                if let Some(ticket) = self.oracle.leave(which) {
                    self.happen(Event::Gone { ticket });
                }
            }
            Step::Used(account) => {
                let (account, key) = (self.accounts[*account].clone(), LeaseKey::default());
                self.oracle.used(&account, &key, self.now.boot);
                self.happen(Event::Used { account, key });
            }
            Step::Disk(disk) => {
                self.disk = *disk;
                self.store_catches_up();
            }
            Step::NetworkUp => self.happen(Event::NetworkUp),
            Step::Suspending => self.happen(Event::Suspending),
            Step::Resumed => self.happen(Event::Resumed),
            Step::WallJump(millis) => {
                self.now.wall = Wall(self.now.wall.0.saturating_add(*millis));
                self.happen(Event::Tick);
            }
            Step::Replay => self.replay(),
        }
    }

    fn replay(&mut self) {
        for attempt in self.over.clone().into_iter().rev().take(3) {
            self.happen(Event::Intended {
                attempt,
                result: Ok(()),
            });
            let outcome = CommitOutcome::Durable;
            self.happen(Event::Committed { attempt, outcome });
            let received = Received::Response {
                status: 400,
                body: invalid_grant(),
            };
            let answer = Box::new(self.whole(received, None));
            self.happen(Event::Answered { attempt, answer });
        }
    }

    /// The world is well again, time goes by, and everybody asks: who holds a valid grant gets a token.
    pub(crate) fn heal_and_demand(&mut self) {
        self.healthy = true;
        self.disk = Disk::Works;
        self.store_catches_up();
        while !self.out.is_empty() {
            self.answer(&Fault::None);
        }
        self.happen(Event::Resumed);
        self.happen(Event::NetworkUp);
        // The longest patience that anything can ask for, and the longest token nearly spent.
        let longest = self.lifetimes.values().max().copied().unwrap_or_default();
        let patience = if self.misconfigured { 1900 } else { 700 };
        self.pass(Duration::from_secs(patience) + longest);
        self.oracle.expect_all_answered();
        for account in 0..self.accounts.len() {
            let ticket = self.demand(account, "", None, 60);
            self.pass(Duration::from_secs(60));
            let grant = self
                .broker
                .grant(&self.accounts[account])
                .expect("the account");
            self.oracle
                .expect_served_if_valid(grant, ticket, &self.recent);
        }
        assert_eq!(self.broker.waiting(), 0);
        assert_eq!(self.broker.in_flight(), 0);
        assert_eq!(self.broker.unsaved(), 0);
    }

    fn demand(&mut self, account: usize, scopes: &str, min_ttl: Option<u64>, wait: u64) -> Ticket {
        let demand = self.question(account, scopes, min_ttl, wait);
        let ticket = demand.ticket;
        self.happen(Event::Demand(demand));
        ticket
    }

    fn question(
        &mut self,
        account: usize,
        scopes: &str,
        min_ttl: Option<u64>,
        wait: u64,
    ) -> Demand {
        self.tickets += 1;
        let demand = Demand {
            ticket: Ticket(self.tickets),
            account: self.accounts[account].clone(),
            key: LeaseKey {
                resource: None,
                scopes: ScopeSet::parse(scopes),
            },
            min_ttl: min_ttl.map(Duration::from_secs),
            wait: Duration::from_secs(wait),
        };
        self.oracle.asked(&demand, self.now.boot);
        demand
    }

    /// Time passes: the engine is woken when it asked to be, and requests time out.
    fn pass(&mut self, duration: Duration) {
        let until = self.now.boot.after(duration);
        let mut steps = 0;
        loop {
            let wake = self.broker.poll_timeout();
            let time_out = self.out.front().map(|(sent, _)| sent.after(TIME_OUT));
            let Some(at) = [wake, time_out]
                .into_iter()
                .flatten()
                .min()
                .filter(|at| *at <= until)
            else {
                break;
            };
            self.move_to(at);
            if time_out == Some(at) {
                self.answer(&Fault::LostBefore);
            } else {
                self.happen(Event::Tick);
            }
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

    fn happen(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        let mut steps = 0;
        while let Some(event) = events.pop_front() {
            self.broker.handle(event, self.now);
            while let Some(effect) = self.broker.poll_effect() {
                if let Some(trace) = &mut self.trace {
                    trace.push(format!("{:?} {effect:?}", self.now.boot));
                }
                self.recent.push_back(effect.clone());
                if self.recent.len() > RECENT {
                    self.recent.pop_front();
                }
                self.oracle.check(&effect, &self.broker, self.now);
                events.extend(self.perform(effect));
            }
            steps += 1;
            assert!(steps < STEPS, "the engine spins");
        }
        for account in &self.accounts {
            if let Some(grant) = self.broker.grant(account) {
                self.oracle.check_grant(grant);
            }
        }
        if let Some(at) = self.broker.poll_timeout() {
            assert!(at > self.now.boot, "asks to be woken at once");
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Intend { .. } | Effect::Commit { .. } | Effect::Save { .. } => {
                if self.disk == Disk::Holds {
                    self.held.push_back(effect);
                    return None;
                }
                Some(self.stored(effect))
            }
            Effect::Exchange(exchange) => {
                self.out.push_back((self.now.boot, exchange));
                if self.healthy {
                    let (sent, exchange) = self.out.pop_back()?;
                    return Some(self.answered(sent, &exchange, &Fault::None));
                }
                None
            }
            _ => None,
        }
    }

    fn stored(&mut self, effect: Effect) -> Event {
        let why = || "no space".to_owned();
        match effect {
            Effect::Intend { exchange } => {
                let fails = self.disk == Disk::Refuses;
                Event::Intended {
                    attempt: exchange.attempt,
                    result: if fails { Err(why()) } else { Ok(()) },
                }
            }
            Effect::Commit { attempt, grant } => {
                let outcome = match self.disk {
                    Disk::Spills => CommitOutcome::Spilled(why()),
                    Disk::Forgets | Disk::Refuses => CommitOutcome::MemoryOnly(why()),
                    Disk::Works | Disk::Holds => CommitOutcome::Durable,
                };
                self.oracle.committed(attempt, &grant);
                self.over.push(attempt);
                Event::Committed { attempt, outcome }
            }
            Effect::Save { grant } => {
                let works = matches!(self.disk, Disk::Works | Disk::Holds);
                Event::Saved {
                    account: grant.account.clone(),
                    result: if works { Ok(()) } else { Err(why()) },
                }
            }
            other => panic!("the store has nothing to do with {other:?}"),
        }
    }

    fn store_catches_up(&mut self) {
        while self.disk != Disk::Holds
            && let Some(effect) = self.held.pop_front()
        {
            let event = self.stored(effect);
            self.happen(event);
        }
    }

    fn answer(&mut self, fault: &Fault) {
        if let Some((sent, exchange)) = self.out.pop_front() {
            let event = self.answered(sent, &exchange, fault);
            let account = exchange.account;
            let before = self.broker.grant(&account).cloned().expect("the account");
            self.happen(event);
            let after = self.broker.grant(&account).expect("the account");
            self.oracle.check_after(fault, &before, after);
        }
    }

    /// What the provider does, and what of it comes back.
    fn answered(&mut self, sent: Boot, exchange: &Exchange, fault: &Fault) -> Event {
        let lifetime = self.lifetimes[&exchange.account];
        let (processed, mut received) = match fault {
            Fault::None => (true, None),
            Fault::LostAfter => (true, Some(nothing(true))),
            Fault::GatewayAfter => (true, Some(status(502, Body::Html))),
            Fault::LostBefore => (false, Some(nothing(true))),
            Fault::Unreachable => (false, Some(nothing(false))),
            Fault::ServerError => (false, Some(status(500, Body::Empty))),
            Fault::Portal => (false, Some(status(200, Body::Html))),
            Fault::Firewall => (false, Some(status(403, Body::Html))),
            Fault::Throttled(_) => (false, Some(status(429, Body::Empty))),
            Fault::GatewayBefore => (false, Some(status(503, Body::Html))),
            Fault::FalseInvalidGrant => (false, Some(status(400, invalid_grant()))),
            Fault::Misconfigured => {
                self.misconfigured = true;
                let code = "invalid_client".to_owned();
                let (description, detail) = (None, None);
                let body = Body::Error {
                    code,
                    description,
                    detail,
                };
                (false, Some(status(401, body)))
            }
        };
        if processed {
            let granted = self.oracle.provider_answers(exchange);
            received = received.or_else(|| {
                let Some((fingerprint, rotated)) = granted else {
                    return Some(status(400, invalid_grant()));
                };
                let body = Body::Tokens(Box::new(tokens(fingerprint, lifetime, rotated)));
                Some(status(200, body))
            });
        }
        let received = received.expect("something came back");
        self.oracle.told(exchange, &received);
        if !matches!(
            received,
            Received::Response {
                body: Body::Tokens(_),
                ..
            }
        ) {
            self.over.push(exchange.attempt);
        }
        let patience = match fault {
            Fault::Throttled(secs) => Some(Duration::from_secs(*secs)),
            _ => None,
        };
        let mut answer = self.whole(received, patience);
        let age = self.now.boot.since(sent);
        answer.sent_at = Now {
            boot: sent,
            wall: Wall(self.now.wall.0 - age.as_millis() as i64),
        };
        Event::Answered {
            attempt: exchange.attempt,
            answer: Box::new(answer),
        }
    }

    fn whole(&self, received: Received, patience: Option<Duration>) -> Answer {
        Answer {
            sent_at: self.now,
            received,
            date: None,
            retry_after: patience.map(RetryAfter::Delay),
            request_id: None,
        }
    }
}

fn nothing(bytes_left: bool) -> Received {
    let failure = Failure::Broken;
    Received::Nothing {
        bytes_left,
        failure,
    }
}

fn status(status: u16, body: Body) -> Received {
    Received::Response { status, body }
}

fn invalid_grant() -> Body {
    Body::Error {
        code: "invalid_grant".to_owned(),
        description: None,
        detail: None,
    }
}

fn tokens(fingerprint: Fingerprint, lifetime: Duration, refresh_token: bool) -> TokenSummary {
    TokenSummary {
        fingerprint,
        token_type: "Bearer".to_owned(),
        expires_in: ExpiresIn::Stated(lifetime),
        jwt_expiry: None,
        refresh_in: None,
        scopes: None,
        refresh_token,
        subject: None,
    }
}

fn first_grant(
    account: Account,
    now: Now,
    lifetime: Duration,
    rotation: Rotation,
    host: usize,
) -> Grant {
    let scopes = ScopeSet::parse("api mail");
    let lease = Lease {
        generation: Generation(1),
        fingerprint: Fingerprint::default(),
        token_type: "Bearer".to_owned(),
        scopes: scopes.clone(),
        issued: Stamp {
            boot_id: BOOT,
            at: now,
        },
        lifetime: Some(lifetime),
        expiry: Expiry::Exact,
        lead: lifetime / 3,
        rejected: false,
        dead: false,
    };
    Grant {
        account,
        id: GrantId(1),
        generation: Generation(1),
        provider: Provider {
            endpoints: Endpoints {
                token: format!("https://idp{host}.example/token"),
                ..Endpoints::default()
            },
            profile: Profile {
                rotation,
                ..Profile::default()
            },
            ..Provider::default()
        }
        .into(),
        subject: None,
        scopes,
        resource: None,
        resources: [].into(),
        renewed_by: authd_core::grant::RenewedBy::RefreshToken,
        renewable: true,
        leases: [(LeaseKey::default(), lease)].into(),
        learned: SmallMap::new(),
        flags: Default::default(),
        renewals: 0,
        created_at: now.wall,
        last_error: None,
        metadata_seen: None,
    }
}
