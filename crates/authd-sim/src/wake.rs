//! A machine with very many accounts wakes, everything is due at once, and some clients wait.
//!
//! The engine is the real one; the providers limit how fast they are asked, as real ones do. A ledger
//! outside the engine says whether what clients got is alive, and whether a refresh token was sent twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use authd_core::{
    answer::{Answer, Body, ExpiresIn, Failure, Received, RetryAfter, TokenSummary},
    broker::{
        Broker, CommitOutcome, Config, Demand, Effect, Event, Exchange, Notice, Refusal, Served,
    },
    grant::{Endpoints, Grant, Provider, Rotation},
    id::{Account, AttemptId, Generation, GrantId, Ticket},
    lease::{Expiry, Lease, LeaseKey, floor_of},
    map::SmallMap,
    renewal::lifetime::lead,
    scope::ScopeSet,
    time::{Now, Stamp},
};
use fastrand::Rng;

use crate::{
    clock::{Clocks, Ms},
    provider::{Granted, Habits, Ledger, States, fingerprint, named},
    story::{HOUR, MINUTE, SECOND},
};

/// What every token lives for.
const LIFE: Ms = HOUR;
/// When the machine goes to sleep, and ...
const SLEEPS_AT: Ms = MINUTE;
/// ... for how long: far past the end of every token.
const SLEEPS_FOR: Ms = 8 * HOUR;
/// Names resolve so long after the wake.
const OFFLINE_FOR: Ms = 3 * SECOND;
/// Within so long of the wake the clients ask.
const ASK_WITHIN: Ms = 5 * SECOND;
/// A client that was refused asks again after this.
const ASKS_AGAIN: Ms = SECOND;
/// The story ends here, whatever is left.
const LONGEST: Ms = 20 * MINUTE;

/// The scenario's size.
#[derive(Clone, Copy, Debug)]
pub struct Wake {
    /// What is drawn comes from here.
    pub seed: u64,
    /// How many accounts.
    pub accounts: usize,
    /// Over how many hosts.
    pub hosts: usize,
    /// For so many of the accounts a client waits.
    pub in_demand: usize,
    /// Requests a second that each host takes ...
    pub rate: f64,
    /// ... beyond so many at once; the others meet a 429.
    pub burst: f64,
}

impl Default for Wake {
    fn default() -> Self {
        Self {
            seed: 0,
            accounts: 10_000,
            hosts: 4,
            in_demand: 300,
            rate: 10.0,
            burst: 40.0,
        }
    }
}

/// How it went. Times are milliseconds of the simulated clock.
#[derive(Clone, Debug, Default)]
pub struct Woken {
    /// Clients that got a token.
    pub served: usize,
    /// The longest time from a client's question to its token.
    pub longest_wait: Ms,
    /// From the wake until the last client had its token.
    pub all_served_after: Ms,
    /// Refreshes that left, those that found no network among them.
    pub exchanges: u64,
    /// Refreshes that the providers refused as too many.
    pub throttled: u64,
    /// Accounts that were renewed, waited for or not.
    pub renewed: usize,
    /// From the wake until the last of them was.
    pub all_renewed_after: Ms,
    /// What must not be, in sentences.
    pub wrong: Vec<String>,
}

impl Woken {
    /// Which of the targets were missed: all clients served within 60 s, fewer than 2 % of the
    /// requests refused as too many, every account renewed, nothing wrong.
    #[must_use]
    pub fn misses(&self, wake: &Wake) -> Vec<String> {
        let mut misses = self.wrong.clone();
        if self.served < wake.in_demand {
            misses.push(format!("{} of {} served", self.served, wake.in_demand));
        }
        if self.longest_wait >= MINUTE {
            misses.push(format!("a client waited for {} ms", self.longest_wait));
        }
        if self.throttled * 50 >= self.exchanges {
            let (throttled, exchanges) = (self.throttled, self.exchanges);
            misses.push(format!("{throttled} of {exchanges} refused as too many"));
        }
        if self.renewed < wake.accounts {
            misses.push(format!("{} of {} renewed", self.renewed, wake.accounts));
        }
        misses
    }
}

enum What {
    Suspending,
    Resumed,
    NetworkUp,
    /// A client asks, for the first time or again.
    Asks(usize),
    Intended(AttemptId),
    /// A refresh arrives at its host.
    Arrives(Exchange),
    Answered(Exchange, Received, Option<RetryAfter>),
    Committed(AttemptId),
}

/// A host's patience: a bucket that fills at its rate.
struct Limit {
    level: f64,
    filled_at: Ms,
}

/// What the shell holds of one account.
struct Held {
    refresh_token: u32,
    access_token: u32,
    in_flight: bool,
}

struct Machine {
    wake: Wake,
    rng: Rng,
    t: Ms,
    clocks: Clocks,
    broker: Broker,
    queue: BTreeMap<(Ms, u64), What>,
    number: u64,
    store_free_at: Ms,
    habits: Habits,
    ledger: Ledger,
    limits: Vec<Limit>,
    held: Vec<Held>,
    answers: BTreeMap<AttemptId, (usize, Granted)>,
    committed: BTreeSet<AttemptId>,
    sent: BTreeMap<AttemptId, Now>,
    asked_at: BTreeMap<usize, Ms>,
    told: Woken,
}

/// Runs the scenario.
#[must_use]
pub fn run(wake: &Wake) -> Woken {
    let mut machine = Machine::new(*wake);
    while machine.step() {}
    machine.told
}

fn name(number: usize) -> Account {
    Account::new(&format!("a{number}")).expect("a plain name")
}

fn number_of(account: &Account) -> usize {
    account.as_str()[1..].parse().expect("our own names")
}

impl Machine {
    fn new(wake: Wake) -> Self {
        let clocks = Clocks::default();
        let boot_id = clocks.boot_id();
        let mut machine = Self {
            wake,
            rng: Rng::with_seed(wake.seed),
            t: 0,
            clocks,
            broker: Broker::new(Config::default(), wake.seed, boot_id),
            queue: BTreeMap::new(),
            number: 0,
            store_free_at: 0,
            habits: habits(),
            ledger: Ledger::default(),
            limits: (0..wake.hosts)
                .map(|_| Limit {
                    level: wake.burst,
                    filled_at: 0,
                })
                .collect(),
            held: Vec::new(),
            answers: BTreeMap::new(),
            committed: BTreeSet::new(),
            sent: BTreeMap::new(),
            asked_at: BTreeMap::new(),
            told: Woken::default(),
        };
        for account in 0..wake.accounts {
            machine.load(account);
        }
        let up = SLEEPS_AT + SLEEPS_FOR;
        machine.schedule(SLEEPS_AT, What::Suspending);
        machine.schedule(up, What::Resumed);
        machine.schedule(up + OFFLINE_FOR, What::NetworkUp);
        // Any of them, on any host.
        let mut numbers: Vec<_> = (0..wake.accounts).collect();
        machine.rng.shuffle(&mut numbers);
        for account in numbers.into_iter().take(wake.in_demand) {
            let at = up + machine.rng.u64(..ASK_WITHIN);
            machine.schedule(at, What::Asks(account));
        }
        machine
    }

    /// An account that logged in just now, and that is in use.
    fn load(&mut self, account: usize) {
        let granted = self.ledger.log_in(account, 0, &self.habits, 0);
        let refresh_token = granted.refresh_token.unwrap_or_default();
        self.held.push(Held {
            refresh_token,
            access_token: granted.access_token,
            in_flight: false,
        });
        let host = account % self.wake.hosts;
        let mut provider = Provider {
            endpoints: Endpoints {
                token: format!("https://idp{host}.example/token"),
                ..Endpoints::default()
            },
            client_id: "sim".to_owned(),
            ..Provider::default()
        };
        provider.profile.rotation = Rotation::ReuseDetected;
        let (life, scopes) = (Duration::from_millis(LIFE), ScopeSet::parse("api"));
        let now = self.clocks.now(0);
        let lease = Lease {
            generation: Generation(1),
            fingerprint: fingerprint(granted.access_token),
            token_type: "Bearer".to_owned(),
            scopes: scopes.clone(),
            issued: Stamp {
                boot_id: self.clocks.boot_id(),
                at: now,
            },
            lifetime: Some(life),
            expiry: Expiry::Exact,
            lead: lead(life, None, &provider.profile, self.rng.f64()),
            rejected: false,
            dead: false,
        };
        let grant = Grant {
            account: name(account),
            id: GrantId(account as u64 + 1),
            generation: Generation(1),
            provider: provider.into(),
            subject: None,
            scopes,
            resource: None,
            resources: BTreeSet::new(),
            renewed_by: authd_core::grant::RenewedBy::RefreshToken,
            renewable: true,
            leases: [(LeaseKey::default(), lease)].into(),
            learned: SmallMap::new(),
            flags: Default::default(),
            renewals: 0,
            created_at: now.wall,
            last_error: None,
            metadata_seen: None,
        };
        self.happen(Event::Loaded {
            grant: Box::new(grant),
            interrupted: None,
            stale: None,
        });
        self.happen(Event::Used {
            account: name(account),
            key: LeaseKey::default(),
        });
    }

    fn schedule(&mut self, at: Ms, what: What) {
        self.number += 1;
        self.queue.insert((at, self.number), what);
    }

    fn wrong(&mut self, what: String) {
        self.told.wrong.push(what);
    }

    fn is_asleep(&self) -> bool {
        (SLEEPS_AT..SLEEPS_AT + SLEEPS_FOR).contains(&self.t)
    }

    /// How long ago the machine woke.
    fn awake_for(&self) -> Ms {
        self.t.saturating_sub(SLEEPS_AT + SLEEPS_FOR)
    }

    fn step(&mut self) -> bool {
        let is_done =
            self.told.renewed == self.wake.accounts && self.told.served == self.wake.in_demand;
        if is_done || self.awake_for() > LONGEST || self.told.wrong.len() > 20 {
            return false;
        }
        let timeout = self.broker.poll_timeout().filter(|_| !self.is_asleep());
        let wake = timeout.map(|boot| self.clocks.when(boot).max(self.t));
        let next = self.queue.first_key_value().map(|((at, _), _)| *at);
        match (wake, next) {
            (Some(wake), _) if next.is_none_or(|next| wake <= next) => {
                self.t = wake;
                self.happen(Event::Tick);
            }
            _ => {
                let Some(((at, _), what)) = self.queue.pop_first() else {
                    return false;
                };
                self.t = at;
                self.take(what);
            }
        }
        true
    }

    fn take(&mut self, what: What) {
        match what {
            What::Suspending => self.happen(Event::Suspending),
            What::Resumed => self.happen(Event::Resumed),
            What::NetworkUp => self.happen(Event::NetworkUp),
            What::Asks(account) => self.ask(account),
            What::Intended(attempt) => self.happen(Event::Intended {
                attempt,
                result: Ok(()),
            }),
            What::Arrives(exchange) => self.arrives(exchange),
            What::Answered(exchange, received, retry_after) => {
                self.answered(&exchange, received, retry_after);
            }
            What::Committed(attempt) => {
                self.committed.insert(attempt);
                self.happen(Event::Committed {
                    attempt,
                    outcome: CommitOutcome::Durable,
                });
            }
        }
    }

    fn ask(&mut self, account: usize) {
        self.asked_at.entry(account).or_insert(self.t);
        self.happen(Event::Demand(Demand {
            ticket: Ticket(account as u64),
            account: name(account),
            key: LeaseKey::default(),
            min_ttl: None,
            wait: Duration::from_millis(MINUTE),
        }));
    }

    fn happen(&mut self, event: Event) {
        self.broker.handle(event, self.clocks.now(self.t));
        while let Some(effect) = self.broker.poll_effect() {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Intend { exchange } => self.written(What::Intended(exchange.attempt)),
            Effect::Exchange(exchange) => self.leaves(exchange),
            Effect::Commit { attempt, .. } => self.written(What::Committed(attempt)),
            Effect::Publish { attempt, view } => self.publish(attempt, &view.grant),
            Effect::Reply { ticket, result } => self.reply(ticket, result),
            Effect::Notify {
                account,
                notice: Notice::LoginNeeded(reason),
            } => self.wrong(format!("{account} is to log in: {reason:?}")),
            Effect::Withdraw { account } | Effect::Erase { account, .. } => {
                self.wrong(format!("{account} is given up"));
            }
            _ => {}
        }
    }

    /// One thread writes, one thing after the other.
    fn written(&mut self, what: What) {
        self.store_free_at = self.store_free_at.max(self.t) + 1;
        self.schedule(self.store_free_at, what);
    }

    fn leaves(&mut self, exchange: Exchange) {
        let account = number_of(&exchange.account);
        self.told.exchanges += 1;
        self.sent.insert(exchange.attempt, self.clocks.now(self.t));
        if std::mem::replace(&mut self.held[account].in_flight, true) {
            self.wrong(format!("two exchanges of a{account} are in flight"));
        }
        if self.awake_for() < OFFLINE_FOR {
            let received = Received::Nothing {
                bytes_left: false,
                failure: Failure::Dns,
            };
            return self.schedule(self.t + 20, What::Answered(exchange, received, None));
        }
        let way = self.rng.u64(15..200);
        self.schedule(self.t + way, What::Arrives(exchange));
    }

    fn arrives(&mut self, exchange: Exchange) {
        let account = number_of(&exchange.account);
        let (t, burst, rate) = (self.t, self.wake.burst, self.wake.rate);
        let limit = &mut self.limits[account % self.wake.hosts];
        let filled = (t - limit.filled_at) as f64 / 1000.0 * rate;
        (limit.level, limit.filled_at) = ((limit.level + filled).min(burst), t);
        let is_admitted = limit.level >= 1.0;
        let (received, retry_after) = if is_admitted {
            limit.level -= 1.0;
            let refresh_token = self.held[account].refresh_token;
            let left_at = self.sent[&exchange.attempt];
            let sent = self.clocks.when(left_at.boot);
            match self
                .ledger
                .refresh(refresh_token, &self.habits, false, sent)
            {
                Ok(granted) => {
                    self.answers.insert(exchange.attempt, (account, granted));
                    (tokens(granted), None)
                }
                Err(denied) => {
                    return self.wrong(format!("a{account} is denied: {denied:?}"));
                }
            }
        } else {
            self.told.throttled += 1;
            let received = Received::Response {
                status: 429,
                body: Body::Empty,
            };
            (received, Some(RetryAfter::Delay(Duration::from_secs(1))))
        };
        let at = t + self.rng.u64(15..200);
        self.schedule(at, What::Answered(exchange, received, retry_after));
    }

    fn answered(
        &mut self,
        exchange: &Exchange,
        received: Received,
        retry_after: Option<RetryAfter>,
    ) {
        let attempt = exchange.attempt;
        self.held[number_of(&exchange.account)].in_flight = false;
        let Some(sent_at) = self.sent.remove(&attempt) else {
            return;
        };
        self.happen(Event::Answered {
            attempt,
            answer: Box::new(Answer {
                sent_at,
                received,
                date: None,
                retry_after,
                request_id: None,
            }),
        });
    }

    fn publish(&mut self, attempt: Option<AttemptId>, grant: &Arc<Grant>) {
        let Some(attempt) = attempt else { return };
        if !self.committed.remove(&attempt) {
            return self.wrong("an answer is published before it is on disk".to_owned());
        }
        let Some((account, granted)) = self.answers.remove(&attempt) else {
            return self.wrong("what nobody answered is published".to_owned());
        };
        let held = &mut self.held[account];
        held.access_token = granted.access_token;
        held.refresh_token = granted.refresh_token.unwrap_or(held.refresh_token);
        if grant.generation == Generation(2) {
            self.told.renewed += 1;
            self.told.all_renewed_after = self.awake_for();
        }
    }

    fn reply(&mut self, ticket: Ticket, result: Result<Served, Refusal>) {
        let account = ticket.0 as usize;
        let Ok(served) = result else {
            return self.schedule(self.t + ASKS_AGAIN, What::Asks(account));
        };
        let token = named(served.fingerprint);
        let left = self.ledger.access_token(token).end.saturating_sub(self.t);
        let floor = floor_of(Duration::from_millis(LIFE)).as_millis() as Ms;
        if token != self.held[account].access_token || !self.ledger.is_alive(token, self.t) {
            self.wrong(format!(
                "a client of a{account} gets a token that is no good"
            ));
        } else if left < floor {
            self.wrong(format!("a client of a{account} gets {left} ms"));
        }
        let waited = self.t - self.asked_at[&account];
        self.told.served += 1;
        self.told.longest_wait = self.told.longest_wait.max(waited);
        self.told.all_served_after = self.awake_for();
    }
}

fn tokens(granted: Granted) -> Received {
    Received::Response {
        status: 200,
        body: Body::Tokens(Box::new(TokenSummary {
            fingerprint: fingerprint(granted.access_token),
            token_type: "Bearer".to_owned(),
            expires_in: ExpiresIn::Stated(Duration::from_millis(LIFE)),
            jwt_expiry: None,
            refresh_in: None,
            scopes: None,
            refresh_token: granted.refresh_token.is_some(),
            subject: None,
        })),
    }
}

/// A new refresh token each time, and the end of the login for who sends an old one.
fn habits() -> Habits {
    Habits {
        rotates: true,
        sometimes_omits: false,
        detects_reuse: true,
        leeway: 0,
        kills_old: false,
        early: None,
        life: LIFE,
        states: States::Truth,
        hint: None,
        inactivity: None,
        absolute: None,
        is_wordy: false,
        has_date: false,
        latency: 0,
        tells: None,
    }
}
