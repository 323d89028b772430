//! SIGKILL at random moments of a renewal, against a provider that rotates, detects reuse and knows
//! no leeway: nothing is lost once COMMIT's sync has returned, and what was interrupted before is
//! recovered or reported as AMBIGUOUS. `AUTHD_SEED` replays the delays; the machine's own timing is
//! its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fmt,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use authd_client::ClientError;
use authd_e2e::{
    Daemon, Instance, PATIENCE, api,
    instance::{is_flagged, renewal},
};
use authd_proto::{
    event::{Event, EventKind},
    response::{AccountInfo, FlagName, RenewReply, State},
};
use authd_testkit::{Endpoint, FakeServer, Ledger, Options, Settings};
use fastrand::Rng;

/// Daemons that are killed beside each other: each pauses for a second between two exchanges.
const LANES: usize = 10;
/// Exchanges that are timed before, so that kills fall anywhere within one and a little beyond.
const TIMED: u32 = 4;
/// Of so many kills one does not wait for the exchange to begin.
const BLIND: u32 = 12;

/// How far the exchange had come, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// No intent was on disk.
    NotBegun,
    /// An intent was, and the provider saw no request.
    Intended,
    /// The provider had the request, and did not rotate any more.
    Sent,
    /// The provider had rotated, and the answer was not on disk.
    Rotated,
    /// The answer was on disk; nobody had it yet.
    Committed,
    /// The client had the answer.
    Answered,
}

/// What became of the kills in one phase.
#[derive(Clone, Copy, Default)]
struct Tally {
    kills: u32,
    recovered: u32,
    ambiguous_settled: u32,
    ambiguous_rotated: u32,
    lost: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6} {:>10} {:>18} {:>18} {:>6}",
            self.kills, self.recovered, self.ambiguous_settled, self.ambiguous_rotated, self.lost
        )
    }
}

type Tallies = BTreeMap<Phase, Tally>;

#[test]
fn random_kills_lose_nothing_after_commit() {
    kill_at_random(60);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn a_thousand_random_kills_lose_nothing_after_commit() {
    kill_at_random(1000);
}

#[expect(clippy::print_stdout, reason = "the counts are to be seen")]
fn kill_at_random(kills: usize) {
    let chosen = std::env::var("AUTHD_SEED").ok();
    let seed: u64 = chosen.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("{kills} kills, AUTHD_SEED={seed}");
    let begun = Instant::now();
    let mut all = Tallies::new();
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let share = kills / LANES + usize::from(lane < kills % LANES);
                scope.spawn(move || Lane::new(seed.wrapping_add(lane as u64)).kill(share))
            })
            .collect();
        for lane in lanes {
            for (phase, tally) in lane.join().expect("no assertion failed") {
                let sum = all.entry(phase).or_default();
                sum.kills += tally.kills;
                sum.recovered += tally.recovered;
                sum.ambiguous_settled += tally.ambiguous_settled;
                sum.ambiguous_rotated += tally.ambiguous_rotated;
                sum.lost += tally.lost;
            }
        }
    });
    println!("killed when   kills  recovered  ambiguous+settled  ambiguous+rotated   lost");
    for (phase, tally) in &all {
        println!("{:<12}{tally}", format!("{phase:?}"));
    }
    println!("in {:.1?}", begun.elapsed());
    assert_eq!(
        all.values().map(|tally| tally.kills).sum::<u32>() as usize,
        kills
    );
    assert_eq!(all.values().map(|tally| tally.lost).sum::<u32>(), 0);
    for phase in [Phase::Committed, Phase::Answered] {
        if let Some(tally) = all.get(&phase) {
            assert_eq!(tally.recovered, tally.kills, "{phase:?}: all is on disk");
        }
    }
    // Kills that all fell into one phase would show little.
    assert!(all.len() >= 3, "{} phases", all.len());
    let of_phase = |phase| all.get(&phase).map_or(0, |tally| tally.kills as usize);
    let within = kills - of_phase(Phase::NotBegun) - of_phase(Phase::Answered);
    assert!(within * 4 > kills, "{within} kills within an exchange");
}

/// One login and the daemons that renew it, one after the other.
struct Lane {
    rng: Rng,
    server: FakeServer,
    instance: Instance,
    daemon: Option<Daemon>,
    /// How long an exchange takes, from its beginning to the client's answer.
    usual: Duration,
    tallies: Tallies,
}

impl Lane {
    fn new(seed: u64) -> Self {
        // Strict: no leeway. That is the default too, but here it is the point.
        let settings = Settings {
            rotation: true,
            reuse_detection: true,
            leeway: Duration::ZERO,
            ..Settings::default()
        };
        let options = Options {
            settings,
            ..Options::default()
        };
        let server = FakeServer::start(options).unwrap();
        let instance = Instance::new();
        let daemon = instance.start_daemon();
        instance.login(&server, "demo");
        let mut usual = Duration::ZERO;
        for _ in 0..TIMED {
            let mut watcher = instance.watch();
            thread::scope(|scope| {
                let renewing = scope.spawn(|| instance.renew("demo").map(|_| Instant::now()));
                watcher.wait_for(PATIENCE, has_begun);
                let begun = Instant::now();
                let answered = renewing.join().unwrap().unwrap();
                usual += answered.saturating_duration_since(begun) / TIMED;
            });
        }
        Self {
            rng: Rng::with_seed(seed),
            server,
            instance,
            daemon: Some(daemon),
            usual,
            tallies: Tallies::new(),
        }
    }

    fn kill(mut self, times: usize) -> Tallies {
        for _ in 0..times {
            self.kill_once();
        }
        self.tallies
    }

    fn kill_once(&mut self) {
        let before = self.server.ledger();
        let generation = self.instance.account("demo").generation;
        // Now and then beyond the usual end, because not every renewal is a usual one.
        let micros = self.usual.as_micros() as u64;
        let delay = Duration::from_micros(self.rng.u64(0..=micros * 5 / 4));
        let is_blind = self.rng.u32(0..BLIND) == 0;
        let answered = self.die_while_renewing(is_blind, delay);

        self.daemon = Some(self.instance.start_daemon());
        let info = self.instance.account("demo");
        let was_ambiguous = is_flagged(&info, FlagName::Ambiguous);
        assert_eq!(
            info.flags.len(),
            usize::from(was_ambiguous),
            "{:?}",
            info.flags
        );
        // The token at hand works, whatever happened.
        let token = self.instance.token("demo", Duration::ZERO).unwrap();
        let status = api::ping(&self.server, token.access_token.expose());
        assert_eq!(status, 200);
        let died = self.server.ledger();
        assert_eq!(
            died.presented_twice().count(),
            before.presented_twice().count(),
            "no refresh token is sent again by guess"
        );
        let renewed = self.instance.renew("demo");
        // Only now: what had left the dead daemon may have reached the provider after its death.
        let own = u64::from(renewed.is_ok());
        let rotated = self.server.counts().refreshes() - own > before.counts.refreshes();
        let phase = phase(&before, &died, rotated, generation, &info, answered);
        let unknown = phase == Phase::Rotated && !was_ambiguous;
        let tally = self.tallies.entry(phase).or_default();
        tally.kills += 1;
        match (was_ambiguous, renewed) {
            _ if unknown => tally.lost += 1,
            (false, Ok(_)) => tally.recovered += 1,
            (true, Ok(_)) => tally.ambiguous_settled += 1,
            (true, Err(_)) if phase == Phase::Rotated => {
                tally.ambiguous_rotated += 1;
                self.instance.login(&self.server, "demo");
            }
            (_, Err(error)) => {
                tally.lost += 1;
                panic!("{phase:?}: lost: {error}");
            }
        }
        let info = self.instance.account("demo");
        assert_eq!(
            (info.state, info.flags),
            (State::Fresh, vec![]),
            "{phase:?}"
        );
    }

    /// Whether the client had its answer before the daemon died.
    fn die_while_renewing(&mut self, is_blind: bool, delay: Duration) -> bool {
        let mut daemon = self.daemon.take().unwrap();
        let mut client = self.instance.client();
        let mut watcher = self.instance.watch();
        let (tell, answer) = mpsc::channel::<Result<RenewReply, ClientError>>();
        let mut answered = false;
        thread::scope(|scope| {
            scope.spawn(move || {
                // Whoever waits may have enough already.
                let _ = tell.send(client.call(&renewal("demo"), PATIENCE));
            });
            if !is_blind {
                watcher.wait_for(PATIENCE, has_begun);
            }
            // For so long, unless the answer is faster; then the kill comes right behind it.
            let early = answer.recv_timeout(delay);
            daemon.signal(rustix::process::Signal::KILL);
            assert_eq!(daemon.ended(PATIENCE).code(), None, "killed, not ended");
            let answer = early
                .or_else(|_| answer.recv_timeout(PATIENCE))
                .expect("an end");
            answered = match answer {
                Ok(_) => true,
                // No renewal is refused here: what fails has another cause than the kill.
                Err(ClientError::Wire(error)) => panic!("refused: {error}"),
                Err(_) => false,
            };
        });
        answered
    }
}

/// Whether an event tells that an exchange is about to be made; its intent is not on disk yet.
fn has_begun(event: &Event) -> bool {
    event.event == EventKind::Exchange && event.outcome.as_deref() == Some("started")
}

/// From the ledger, and from what the next start found.
fn phase(
    before: &Ledger,
    died: &Ledger,
    rotated: bool,
    generation: u64,
    found: &AccountInfo,
    answered: bool,
) -> Phase {
    let arrived = died.counts.requests(Endpoint::Token) > before.counts.requests(Endpoint::Token);
    let was_ambiguous = is_flagged(found, FlagName::Ambiguous);
    if answered {
        // What was published is on disk, or it is lost.
        assert_eq!(found.generation, generation + 1, "an answer was out: lost");
        return Phase::Answered;
    }
    if found.generation > generation {
        return Phase::Committed;
    }
    match (arrived, rotated) {
        (_, true) => Phase::Rotated,
        (true, false) => Phase::Sent,
        (false, false) if was_ambiguous => Phase::Intended,
        (false, false) => Phase::NotBegun,
    }
}
