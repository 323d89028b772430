//! The world around the engine: time, the machine and its process. Whatever happens is an entry of
//! one queue, drawn from the story's seed.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    rc::Rc,
};

use authd_core::{
    answer::Answer,
    broker::{Broker, Check, Config, Event, Finding},
    id::{Account, AttemptId, GrantId, LoginId, Ticket},
    planted::{self, Bug},
    time::Now,
};
use fastrand::Rng;

use crate::{
    clock::{Clocks, Ms, told},
    coverage::{CLASSES, Coverage, FAULTS, ITEMS},
    fault::Fault,
    oracle::{Margin, Truth, Violation},
    provider::{Granted, Ledger},
    shell::{LoginUnderWay, Shell, Wait},
    store::{Place, Row, Work},
    story::{Disk, HOUR, Kind, MINUTE, SECOND, Story, Tells, class_of},
};

/// The last lines of what happened, in plain words.
pub type Trace = Rc<RefCell<VecDeque<String>>>;
/// Lines that are kept.
const LINES: usize = 400;
/// The engine may ask to be woken so often in one millisecond.
const SPINS: u32 = 2000;
/// The shell gives a stop this long.
pub(crate) const STOP: Ms = 70 * SECOND;

/// What comes next, and when.
pub(crate) enum What {
    Item(usize),
    Arrive {
        life: u32,
        attempt: AttemptId,
        answer: Box<Answer>,
        granted: Option<Granted>,
    },
    StoreDone {
        life: u32,
    },
    Read(usize),
    Report {
        reader: usize,
        token: u32,
    },
    Hasty(Ticket),
    PersonLogsIn {
        account: usize,
        device: bool,
    },
    PersonAdopts {
        account: usize,
        life: u32,
    },
    Code {
        login: LoginId,
        life: u32,
    },
    RevocationTried {
        id: u64,
        life: u32,
    },
    Validated {
        life: u32,
        check: Box<Check>,
        finding: Finding,
    },
    Rediscovered {
        account: usize,
        life: u32,
    },
    Sleep {
        until: Ms,
        tells: Tells,
    },
    Wake(Tells),
    NetworkUp(Tells),
    /// The shell notices a sleep that nobody told of.
    Noticed,
    WakeDeadline {
        since: Ms,
    },
    Restart,
    StopOverdue {
        life: u32,
    },
    DiskWorks(u64),
}

impl What {
    /// Whether it needs a machine that is awake.
    fn needs_machine(&self) -> bool {
        !matches!(self, Self::Wake(_) | Self::DiskWorks(_))
    }
}

struct Scheduled {
    at: Ms,
    number: u64,
    what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A client that reads an account's token from time to time.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) account: usize,
    pub(crate) second: bool,
    pub(crate) every: Ms,
    pub(crate) idle_until: Ms,
    pub(crate) waits_for: Option<Ticket>,
    pub(crate) told_used: Ms,
    pub(crate) lies_until: Ms,
    /// Its reports come through a restricted socket.
    pub(crate) is_restricted: bool,
}

/// What the story has in store for an account.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    pub(crate) once: VecDeque<Fault>,
    pub(crate) other_scopes: bool,
    pub(crate) other_subject: bool,
    pub(crate) omits: bool,
    pub(crate) unrenewable: bool,
    pub(crate) rival: bool,
    pub(crate) login_planned: bool,
    pub(crate) subject: u8,
}

/// A fault that lasts.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) fault: Fault,
    pub(crate) host: usize,
    pub(crate) until: Ms,
}

/// Everything.
pub struct World<'s> {
    pub(crate) story: &'s Story,
    pub(crate) rng: Rng,
    /// Now, in truth.
    pub t: Ms,
    pub(crate) clocks: Clocks,
    queue: BinaryHeap<Reverse<Scheduled>>,
    number: u64,
    pub(crate) broker: Option<Broker>,
    pub(crate) life: u32,
    pub(crate) asleep_until: Option<Ms>,
    pub(crate) kill_in: Option<u32>,
    pub(crate) stopping: bool,
    pub(crate) offline_until: Ms,
    pub(crate) shell: Shell,
    pub(crate) places: Vec<Place>,
    pub(crate) owed: BTreeMap<u64, u32>,
    pub(crate) disk: Disk,
    pub(crate) disk_number: u64,
    pub(crate) store_queue: VecDeque<(usize, Work)>,
    pub(crate) store_free_at: Ms,
    pub(crate) ledger: Ledger,
    pub(crate) windows: Vec<Window>,
    pub(crate) fates: Vec<Fate>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) truths: Vec<Truth>,
    pub(crate) logins: BTreeMap<LoginId, LoginUnderWay>,
    pub(crate) waits: BTreeMap<Ticket, Wait>,
    pub(crate) last_grant: u64,
    pub(crate) last_ticket: u64,
    /// Counts what is written.
    pub(crate) ordinal: u64,
    /// Exchanges that a planted bug cancelled.
    pub(crate) cancelled: Vec<AttemptId>,
    /// Commits that a planted bug did not sync.
    pub(crate) unsynced: Vec<(usize, Row)>,
    /// For how long the machine slept in this boot.
    pub(crate) slept: Ms,
    pub(crate) woke: Option<Ms>,
    /// The engine was told that the machine is about to sleep, and not yet that it is awake.
    pub(crate) dozes: bool,
    spun: (Ms, u32),
    /// What was reached.
    pub coverage: Coverage,
    /// Events and effects.
    pub steps: u64,
    /// Exchanges that brought tokens.
    pub renewals: u64,
    /// Answers that refused a client although all was well: none, or it is a violation.
    pub refusals: u64,
    /// The tightest margin.
    pub margin: Margin,
    /// A hash of all that happened.
    pub hash: u64,
    pub(crate) violation: Option<Violation>,
    trace: Option<Trace>,
}

impl<'s> World<'s> {
    /// A world in which nothing has happened yet but a first login to each account.
    #[must_use]
    pub fn new(story: &'s Story, trace: Option<Trace>) -> Self {
        let count = story.people.len();
        let accounts = (0..count)
            .map(|number| Account::new(&format!("a{number}")).expect("a plain name"))
            .collect();
        let mut readers = Vec::new();
        for (account, person) in story.people.iter().enumerate() {
            for second in [false, true] {
                if !second || person.second {
                    readers.push(Reader {
                        account,
                        second,
                        every: person.reads_every,
                        idle_until: 0,
                        waits_for: None,
                        told_used: 0,
                        lies_until: 0,
                        is_restricted: (story.seed + account as u64).is_multiple_of(5),
                    });
                }
            }
        }
        let mut world = Self {
            story,
            rng: Rng::with_seed(story.seed ^ 0xabcd_ef01),
            t: 0,
            clocks: Clocks::default(),
            queue: BinaryHeap::new(),
            number: 0,
            broker: None,
            life: 0,
            asleep_until: None,
            kill_in: None,
            stopping: false,
            offline_until: 0,
            shell: Shell::new(count),
            places: (0..count).map(|_| Place::default()).collect(),
            owed: BTreeMap::new(),
            disk: Disk::Works,
            disk_number: 0,
            store_queue: VecDeque::new(),
            store_free_at: 0,
            ledger: Ledger::default(),
            windows: Vec::new(),
            fates: (0..count).map(|_| Fate::default()).collect(),
            readers,
            accounts,
            truths: (story.people.iter())
                .map(|person| Truth {
                    remembers: 3 * story.hosts[person.host].life + HOUR,
                    ..Truth::default()
                })
                .collect(),
            logins: BTreeMap::new(),
            waits: BTreeMap::new(),
            last_grant: 0,
            last_ticket: 0,
            ordinal: 0,
            cancelled: Vec::new(),
            unsynced: Vec::new(),
            slept: 0,

            woke: None,
            dozes: false,
            spun: (0, 0),
            coverage: Coverage::default(),
            steps: 0,
            renewals: 0,
            refusals: 0,
            margin: Margin::default(),
            hash: 0,
            violation: None,
            trace,
        };
        world.start();
        for account in 0..count {
            world.person_logs_in(account, false);
        }
        for (number, item) in story.items.iter().enumerate() {
            world.schedule(item.at + 10 * SECOND, What::Item(number));
        }
        for reader in 0..world.readers.len() {
            world.schedule(5 * SECOND + reader as Ms * 37, What::Read(reader));
        }
        world
    }

    pub(crate) fn schedule(&mut self, at: Ms, what: What) {
        self.number += 1;
        let number = self.number;
        self.queue.push(Reverse(Scheduled { at, number, what }));
    }

    /// Writes down what happens, if somebody reads it.
    pub(crate) fn say(&self, words: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let mut trace = trace.borrow_mut();
            if trace.len() == LINES {
                trace.pop_front();
            }
            trace.push_back(format!("{}  {}", told(self.t), words()));
        }
    }

    /// Runs until the story ends, or something is wrong.
    pub fn run(&mut self) -> Option<Violation> {
        while self.violation.is_none() {
            if !self.step() {
                break;
            }
        }
        self.violation.take()
    }

    fn step(&mut self) -> bool {
        let wake = match (&self.broker, self.asleep_until) {
            (Some(broker), None) => broker
                .poll_timeout()
                .map(|boot| self.when(boot).max(self.t)),
            _ => None,
        };
        let next = self.queue.peek().map(|Reverse(scheduled)| scheduled.at);
        let at = [wake, next].into_iter().flatten().min().unwrap_or(Ms::MAX);
        let is_over = self.renewals >= self.story.renewals && self.t > self.story.until;
        if is_over || at > self.story.longest {
            return false;
        }
        self.t = self.t.max(at);
        if wake == Some(at) {
            if self.spun.0 != self.t {
                self.spun = (self.t, 0);
            }
            self.spun.1 += 1;
            if self.spun.1 > SPINS {
                self.violate(16, || {
                    "the engine spins: it asks to be woken at once, for ever".into()
                });
            }
            self.happen(Event::Tick);
            self.after_event();
            return true;
        }
        let Some(Reverse(Scheduled { what, .. })) = self.queue.pop() else {
            return false;
        };
        match self.asleep_until {
            Some(until) if what.needs_machine() => self.schedule(until, what),
            _ => {
                self.take(what);
                self.after_event();
            }
        }
        true
    }

    /// A stop ends when nothing is in flight.
    fn after_event(&mut self) {
        let is_quiet = self.store_queue.is_empty()
            && self
                .broker
                .as_ref()
                .is_some_and(|broker| broker.in_flight() == 0);
        if self.stopping && (is_quiet || planted::is(Bug::StopDropsExchange)) {
            self.check_stop();
            if matches!(self.disk, Disk::Works | Disk::Slow) {
                for place in &mut self.places {
                    place.flush();
                }
            }
            self.say(|| "the process has stopped".into());
            self.die();
        }
    }

    fn take(&mut self, what: What) {
        match what {
            What::Item(number) => self.item(number),
            What::Arrive {
                life,
                attempt,
                answer,
                granted,
            } if life == self.life => self.arrive(attempt, answer, granted),
            What::StoreDone { life } if life == self.life => self.store_done(),
            What::Read(reader) => self.read(reader),
            What::Report { reader, token } => self.report(reader, token),
            What::Hasty(ticket) => self.leave(ticket),
            What::PersonLogsIn { account, device } => self.person_logs_in(account, device),
            What::PersonAdopts { account, life } if life == self.life => self.adopt(account),
            What::Code { login, life } if life == self.life => {
                self.happen(Event::CodeReceived { login });
            }
            What::RevocationTried { id, life } if life == self.life => self.revocation_tried(id),
            What::Validated {
                life,
                check,
                finding,
            } if life == self.life => self.happen(Event::Validated {
                check: *check,
                finding,
            }),
            What::Rediscovered { account, life } if life == self.life => self.rediscovered(account),
            What::Sleep { until, tells } => self.sleep(until, tells),
            What::Wake(tells) => self.wake(tells),
            What::NetworkUp(tells) => {
                if matches!(tells, Tells::All | Tells::Network) {
                    self.happen(Event::NetworkUp);
                }
            }
            What::Noticed => self.happen(Event::Resumed),
            What::WakeDeadline { since } => self.check_wake(since),
            What::Restart => self.start(),
            What::StopOverdue { life } if life == self.life && self.stopping => {
                self.say(|| "the stop is overdue: the process ends".into());
                self.die();
            }
            What::DiskWorks(number) if number == self.disk_number => {
                self.disk = Disk::Works;
                self.say(|| "the disk works again".into());
            }
            // Of a process that is no more.
            _ => {}
        }
    }

    /// The process starts, and opens its store.
    pub(crate) fn start(&mut self) {
        if self.broker.is_some() {
            return;
        }
        self.life += 1;
        self.stopping = false;
        let seed = self.story.seed ^ u64::from(self.life).wrapping_mul(0x1234_5677);
        self.broker = Some(Broker::new(Config::default(), seed, self.clocks.boot_id()));
        self.shell = Shell::new(self.accounts.len());
        self.say(|| "the process starts".into());
        for account in 0..self.accounts.len() {
            self.load(account);
        }
        for id in self.owed.keys().copied().collect::<Vec<_>>() {
            self.happen(Event::RevocationOwed { id });
        }
    }

    /// The process is gone, and with it all that was in memory. The write that the disk was busy with
    /// is there or not.
    pub(crate) fn die(&mut self) {
        if self.broker.take().is_none() {
            return;
        }
        self.kill_in = None;
        self.dozes = false;
        self.unsynced.clear();
        if let Some((account, work)) = self.store_queue.pop_front()
            && self.rng.bool()
        {
            self.places[account].apply(work, self.disk);
        }
        self.store_queue.clear();
        self.store_free_at = self.t;
        self.life += 1;
        self.stopping = false;
        for place in &mut self.places {
            place.crash();
        }
        for reader in &mut self.readers {
            reader.waits_for = None;
        }
        (self.shell, self.logins, self.waits) = (
            Shell::new(self.accounts.len()),
            BTreeMap::new(),
            BTreeMap::new(),
        );
        for fate in &mut self.fates {
            fate.login_planned = false;
        }
        let down = self.rng.u64(200..5 * SECOND);
        let t = self.t;
        for truth in &mut self.truths {
            truth.died(t, t + down);
        }
        self.schedule(t + down, What::Restart);
    }

    /// One boundary more. Returns whether the process died there.
    pub(crate) fn boundary(&mut self) -> bool {
        match &mut self.kill_in {
            Some(0) => {
                self.say(|| "kill -9".into());
                self.die();
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn item(&mut self, number: usize) {
        let item = &self.story.items[number];
        let (account, length) = (item.account, item.length);
        let name = item.kind.name();
        if let Some(row) = Kind::NAMES.iter().position(|other| *other == name) {
            self.coverage.count(ITEMS, row);
        }
        self.say(|| {
            format!(
                "# {name} ({:?}), a{account}, {} s",
                item.kind,
                length / 1000
            )
        });
        self.happens(
            item.kind,
            account,
            length,
            &mut Rng::with_seed(item.seed ^ 1),
        );
    }

    /// The machine is about to sleep.
    pub(crate) fn suspend(&mut self, length: Ms, tells: Tells) {
        let mut delay = 0;
        if tells == Tells::All {
            self.happen(Event::Suspending);
            self.dozes = true;
            // The inhibitor holds it for a moment.
            delay = 3 * SECOND;
        }
        let until = self.t + delay + length;
        let t = self.t;
        for truth in &mut self.truths {
            truth.exclude(t, until);
        }
        self.schedule(self.t + delay, What::Sleep { until, tells });
    }

    fn sleep(&mut self, until: Ms, tells: Tells) {
        if self.asleep_until.is_some() || until <= self.t {
            return;
        }
        self.asleep_until = Some(until);
        self.slept += until - self.t;

        let t = self.t;
        let quiet = self.rng.u64(..20 * SECOND);
        self.offline_until = self.offline_until.max(until + quiet);
        for truth in &mut self.truths {
            truth.exclude(t, until + quiet + MINUTE);
        }
        self.say(|| format!("the machine sleeps for {} s", (until - t) / 1000));
        self.schedule(until, What::Wake(tells));
        self.schedule(until + quiet, What::NetworkUp(tells));
    }

    fn wake(&mut self, tells: Tells) {
        self.asleep_until = None;
        self.say(|| "the machine wakes".into());
        self.woke = Some(self.t);
        let since = self.t;
        let network_up = self.offline_until;
        let by = match tells {
            Tells::All => network_up + 5 * SECOND,
            // Else it goes by the longest doze: two sleeps in one, and of the first no end was told.
            Tells::Network if !self.dozes => network_up + 5 * SECOND,
            _ => network_up.max(since) + 35 * SECOND,
        };
        self.schedule(by + 1, What::WakeDeadline { since });
        if matches!(tells, Tells::All | Tells::Woke) {
            self.happen(Event::Resumed);
            self.dozes = false;
        } else {
            let after = self.rng.u64(..30 * SECOND);
            self.schedule(since + after, What::Noticed);
        }
    }

    pub(crate) fn reboot(&mut self) {
        self.say(|| "the machine starts anew".into());
        self.die();
        self.asleep_until = None;
        self.woke = None;
        let t = self.t;
        self.clocks.reboot(t);
        self.slept = 0;
    }

    /// When the engine will be told `boot`.
    fn when(&self, boot: authd_core::time::Boot) -> Ms {
        let slept = if planted::is(Bug::ClockStopsInSuspend) {
            self.slept
        } else {
            0
        };
        self.clocks.when(boot).saturating_add(slept)
    }

    /// What the engine is told of the time.
    pub(crate) fn shown(&self) -> Now {
        let mut now = self.clocks.now(self.t);
        if planted::is(Bug::ClockStopsInSuspend) {
            now.boot.0 = now.boot.0.saturating_sub(self.slept);
        }
        now
    }

    pub(crate) fn next_grant(&mut self) -> GrantId {
        self.last_grant += 1;
        GrantId(self.last_grant)
    }

    pub(crate) fn count_fault(&mut self, fault: Fault) {
        self.coverage.count(FAULTS, fault as usize);
    }

    pub(crate) fn count_renewal(&mut self, life: Ms) {
        self.renewals += 1;
        self.coverage.count(CLASSES, class_of(life));
    }
}
