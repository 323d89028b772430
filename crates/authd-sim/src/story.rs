//! What happens in one seed: who there is, and what goes wrong when. Every item draws from its own
//! seed, so that items can be left out one by one without changing the others.

use fastrand::Rng;

use crate::{
    clock::Ms,
    fault::Fault,
    provider::{self, Early, Habits, States},
};

/// Milliseconds.
pub const SECOND: Ms = 1000;
/// Milliseconds.
pub const MINUTE: Ms = 60 * SECOND;
/// Milliseconds.
pub const HOUR: Ms = 60 * MINUTE;
/// Milliseconds.
pub const DAY: Ms = 24 * HOUR;

/// The classes of lifetimes: name, shortest, longest.
pub const LIVES: &[(&str, Ms, Ms)] = &[
    ("1 s", SECOND, SECOND),
    ("2 s to 10 s", 2 * SECOND, 10 * SECOND),
    ("10 s to 1 min", 10 * SECOND, MINUTE),
    ("1 min to 5 min", MINUTE, 5 * MINUTE),
    ("5 min to 15 min", 5 * MINUTE, 15 * MINUTE),
    ("15 min to 1 h", 15 * MINUTE, HOUR),
    ("1 h to 12 h", HOUR, 12 * HOUR),
    ("12 h to 3 d", 12 * HOUR, 3 * DAY),
    ("3 d to 30 d", 3 * DAY, 30 * DAY),
];

/// The class that a life belongs to.
#[must_use]
pub fn class_of(life: Ms) -> usize {
    LIVES
        .iter()
        .position(|(_, _, most)| life <= *most)
        .unwrap_or(LIVES.len() - 1)
}

/// What the machine says when it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// Everything.
    All,
    /// Only that it woke.
    Woke,
    /// Only that the network is back.
    Network,
    /// Nothing.
    Nothing,
}

/// How the store behaves for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// As it should.
    Works,
    /// Nothing can be written; what was reserved is there.
    Full,
    /// The database fails; the spill file works.
    Spills,
    /// Nothing at all can be written.
    Broken,
    /// Every write takes seconds.
    Slow,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $(($of:ty))?: $words:literal),* $(,)?) => {
        /// One thing that happens.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Kind {
            $($(#[$doc])* $name $(($of))?),*
        }

        impl Kind {
            /// Their names.
            pub const NAMES: &[&str] = &[$($words),*];

            /// Its name.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(kinds!(@ $name $(($of))?) => $words),* }
            }
        }
    };
    (@ $name:ident ($of:ty)) => { Self::$name(_) };
    (@ $name:ident) => { Self::$name };
}

kinds! {
    /// Every request to the host meets this for a while.
    Window(Fault): "window of a fault",
    /// The account's next request or requests meet this.
    Once(Fault): "single fault",
    /// The person ends the session at the provider.
    RevokeSession: "session revoked",
    /// The access token ends before its time.
    KillToken: "access token killed",
    /// The next answer has other scopes.
    ScopeChange: "scopes changed",
    /// The next answer is for somebody else.
    SubjectChange: "subject changed",
    /// The next answer has no refresh token.
    OmitRefreshToken: "refresh token omitted",
    /// The next login yields no refresh token.
    Unrenewable: "login without refresh token",
    /// The machine sleeps.
    Suspend(Tells): "suspend",
    /// The calendar is set.
    WallJump(i64): "wall jump",
    /// The calendar runs at another pace.
    Drift(i64): "wall drift",
    /// The calendar is set right.
    Correct: "wall corrected",
    /// The machine starts anew.
    Reboot: "reboot",
    /// The process dies at the so many-th boundary from now.
    Kill(u32): "kill -9",
    /// The process is asked to stop.
    Stop: "clean stop",
    /// The store misbehaves for a while.
    Store(Disk): "store trouble",
    /// Yesterday's store is restored.
    Restore: "store restored",
    /// The store is another machine's.
    Clone: "store cloned",
    /// Another daemon renews from a copy of the store.
    Rival: "rival daemon",
    /// The network says that it is up.
    NetworkUp: "network up",
    /// A client reports good tokens as refused for a while.
    Liar: "false reports",
    /// A person asks for a renewal.
    Renew: "renewal asked for",
    /// A person logs in.
    Login: "login",
    /// A person logs in on a device.
    DeviceLogin: "device login",
    /// A person leaves, and comes back later.
    Leave(bool): "logout",
    /// Nobody uses the account for a while.
    Idle: "idle",
    /// A client asks for much.
    Greedy: "min_ttl demand",
    /// Many clients ask at once.
    Crowd: "crowd",
    /// A client asks and goes away.
    Hasty: "client gone",
    /// A client asks for a resource.
    Resource: "resource demand",
    /// A client asks for scopes that were not granted.
    Presumptuous: "scopes not granted",
    /// A client asks and waits hardly at all.
    Impatient: "impatient client",
}

/// One thing that happens, and when.
#[derive(Clone, Debug)]
pub struct Item {
    /// When.
    pub at: Ms,
    /// What.
    pub kind: Kind,
    /// To which account.
    pub account: usize,
    /// For how long, where it lasts.
    pub length: Ms,
    /// What it draws from.
    pub seed: u64,
}

/// What the engine is told of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knows {
    /// Nothing.
    Nothing,
    /// Some.
    Part,
    /// All.
    All,
}

/// One account and who uses it.
#[derive(Clone, Debug)]
pub struct Person {
    /// Its host.
    pub host: usize,
    /// What its profile says.
    pub knows: Knows,
    /// Its client reads so often.
    pub reads_every: Ms,
    /// A second client uses some of the scopes.
    pub second: bool,
    /// How soon the person logs in when told to.
    pub reacts_in: Ms,
}

/// Everything of a seed.
#[derive(Clone, Debug)]
pub struct Story {
    /// What everything is drawn from.
    pub seed: u64,
    /// The providers.
    pub hosts: Vec<Habits>,
    /// The accounts.
    pub people: Vec<Person>,
    /// What happens, in order.
    pub items: Vec<Item>,
    /// When items cease.
    pub until: Ms,
    /// When it ends at the latest.
    pub longest: Ms,
    /// After so many renewals it ends.
    pub renewals: u64,
}

fn between(rng: &mut Rng, least: Ms, most: Ms) -> Ms {
    // As many short ones as long ones.
    let (least, most) = (least.max(1) as f64, most.max(2) as f64);
    (least * (most / least).max(1.0).powf(rng.f64())) as Ms
}

fn chance(rng: &mut Rng, p: f64) -> bool {
    rng.f64() < p
}

fn one_of<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

impl Story {
    /// What `seed` tells: about `renewals`, within `days`.
    #[must_use]
    pub fn new(seed: u64, days: u64, renewals: u64) -> Self {
        let rng = &mut Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let (_, shortest, longest) = LIVES[(seed % LIVES.len() as u64) as usize];
        let hosts: Vec<_> = (0..rng.usize(1..=2))
            .map(|_| habits(rng, shortest, longest))
            .collect();
        let people: Vec<_> = (0..rng.usize(1..=4))
            .map(|number| {
                let host = number % hosts.len();
                person(rng, host, &hosts[host])
            })
            .collect();
        // About one exchange in two thirds of a life, but not more than one a second.
        let rate: f64 = people
            .iter()
            .map(|person| 1.0 / (0.66 * hosts[person.host].life as f64).max(1200.0))
            .sum();
        let most = days.max(1) * DAY;
        let until = ((renewals as f64 / rate * 1.05) as Ms)
            .min(most)
            .max(MINUTE);
        let count = (renewals / 60).clamp(30, 1200);
        let items = items(seed, count, until, &hosts, &people);
        Self {
            seed,
            hosts,
            people,
            items,
            until,
            longest: until.saturating_mul(4).min(most),
            renewals,
        }
    }
}

fn habits(rng: &mut Rng, shortest: Ms, longest: Ms) -> Habits {
    let life = between(rng, shortest, longest).clamp(shortest, longest);
    let rotates = chance(rng, 0.7);
    let detects_reuse = rotates && chance(rng, 0.7);
    let mut states = match rng.u32(..20) {
        0 => States::InToken,
        1 => States::Nothing,
        2 => States::Twice,
        _ => States::Truth,
    };
    if states == States::Nothing && life < 2 * HOUR {
        // What is assumed would be far from it, and every generation would end in a 401.
        states = States::Truth;
    }
    Habits {
        rotates,
        sometimes_omits: rotates && chance(rng, 0.2),
        detects_reuse,
        leeway: if rotates && chance(rng, 0.4) {
            between(rng, 2 * SECOND, 2 * MINUTE)
        } else {
            0
        },
        kills_old: chance(rng, 0.2),
        early: chance(rng, 0.1).then(|| Early {
            share: 0.1 + 0.2 * rng.f64(),
            in_words: rng.bool(),
        }),
        life,
        states,
        hint: chance(rng, 0.1).then(|| 0.3 + 0.4 * rng.f64()),
        inactivity: chance(rng, 0.2).then(|| (6 * life).max(between(rng, HOUR, 60 * DAY))),
        absolute: chance(rng, 0.2).then(|| life * rng.u64(100..3000)),
        is_wordy: rng.bool(),
        has_date: states == States::InToken || rng.bool(),
        latency: between(rng, 20, (life / 20).clamp(30, 3000)),
        tells: match rng.u32(..8) {
            0 | 1 => Some(provider::Tells::Introspection {
                end: rng.bool(),
                is_wrong: rng.u32(..6) == 0,
            }),
            2 => Some(provider::Tells::Userinfo),
            _ => None,
        },
    }
}

fn person(rng: &mut Rng, host: usize, habits: &Habits) -> Person {
    let life = habits.life;
    let often = between(rng, life / 3, 3 * life).clamp(500, 5 * HOUR);
    Person {
        host,
        knows: one_of(rng, &[Knows::Nothing, Knows::Part, Knows::All]),
        reads_every: if chance(rng, 0.12) {
            // Hardly ever: the login is merely kept alive.
            5 * DAY + often
        } else {
            often
        },
        second: habits.early.is_none() && life >= 10 * SECOND && chance(rng, 0.3),
        reacts_in: between(rng, MINUTE, HOUR),
    }
}

/// Faults come in knots, because it is what comes together that goes wrong.
fn items(seed: u64, count: u64, until: Ms, hosts: &[Habits], people: &[Person]) -> Vec<Item> {
    let mut items: Vec<_> = (0..count)
        .map(|number| {
            let own = seed
                .wrapping_mul(0x2545_f491_4f6c_dd1d)
                .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let rng = &mut Rng::with_seed(own);
            let knot = &mut Rng::with_seed(seed ^ (number / 4).wrapping_mul(0xd134_2543_de82_ef95));
            let account = if chance(rng, 0.6) {
                knot.usize(..people.len())
            } else {
                rng.usize(..people.len())
            };
            let life = hosts[people[account].host].life;
            let centre = knot.u64(..until);
            let spread = between(rng, 1, 2 * life + MINUTE);
            Item {
                at: (centre + spread).min(until),
                kind: kind(rng, number, life),
                account,
                length: length(rng, life),
                seed: own,
            }
        })
        .collect();
    items.sort_by_key(|item| item.at);
    items
}

fn length(rng: &mut Rng, life: Ms) -> Ms {
    match rng.u32(..4) {
        // Around what the renewal is made to bear.
        0 => ((0.1 + 0.5 * rng.f64()) * life as f64) as Ms,
        1 => between(rng, SECOND, 10 * MINUTE),
        _ => between(rng, SECOND, 2 * life + MINUTE),
    }
}

fn kind(rng: &mut Rng, number: u64, life: Ms) -> Kind {
    // Every fault has its turn, alone and for a while; the rest is drawn.
    let fault =
        Fault::ALL[(number as usize / 3 + rng.usize(..Fault::ALL.len())) % Fault::ALL.len()];
    match rng.u32(..100) {
        0..=19 if !fault.is_word_on_the_login() => Kind::Window(fault),
        0..=44 => Kind::Once(fault),
        45 => Kind::RevokeSession,
        46 => Kind::KillToken,
        47 => Kind::ScopeChange,
        48 if life > MINUTE || rng.bool() => Kind::SubjectChange,
        49..=50 => Kind::OmitRefreshToken,
        51 => Kind::Unrenewable,
        52..=56 => Kind::Suspend(one_of(
            rng,
            &[Tells::All, Tells::Woke, Tells::Network, Tells::Nothing],
        )),
        57..=59 => {
            let decade = 10 * 365 * DAY as i64;
            let far = between(rng, SECOND, 10 * 365 * DAY) as i64;
            Kind::WallJump(one_of(rng, &[far, -far, decade, -decade]))
        }
        60 => Kind::Drift(rng.i64(-500..500)),
        61..=62 => Kind::Correct,
        63..=64 => Kind::Reboot,
        65..=70 => Kind::Kill(rng.u32(..14)),
        71..=72 => Kind::Stop,
        73..=77 => Kind::Store(one_of(
            rng,
            &[Disk::Full, Disk::Spills, Disk::Broken, Disk::Slow],
        )),
        78 => Kind::Restore,
        79 if rng.bool() => Kind::Clone,
        79 => Kind::Rival,
        80 => Kind::NetworkUp,
        81 => Kind::Liar,
        82..=84 => Kind::Renew,
        85 => Kind::Login,
        86 => Kind::DeviceLogin,
        87 if rng.bool() => Kind::Leave(rng.bool()),
        88..=89 => Kind::Idle,
        90..=91 => Kind::Greedy,
        92..=93 => Kind::Crowd,
        94..=95 => Kind::Hasty,
        96 => Kind::Resource,
        97 => Kind::Presumptuous,
        _ => Kind::Impatient,
    }
}
