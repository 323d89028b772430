//! kill -9 at every boundary of an exchange: nothing is lost once the answer is on disk, and what
//! was interrupted before is recovered or reported as AMBIGUOUS, never guessed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fmt, time::Duration};

use authd_client::ClientError;
use authd_e2e::{
    Daemon, Instance, PATIENCE,
    instance::{is_flagged, renewal},
    until,
};
use authd_proto::{
    ErrorCode,
    event::EventKind,
    response::{AccountInfo, FlagName, State},
};
use authd_testkit::{Endpoint, FakeServer, Options, Phase, RefreshTokenOutcome, Settings};

/// In the order in which one exchange passes them.
const BOUNDARIES: [Kill; 7] = [
    Kill::Failpoint("before_intent"),
    Kill::Failpoint("after_intent"),
    Kill::Failpoint("bytes_sent"),
    Kill::AtTheProvider,
    Kill::Failpoint("answer_received"),
    Kill::Failpoint("commit_synced"),
    Kill::Failpoint("published"),
];

/// Where the daemon dies.
#[derive(Clone, Copy, PartialEq)]
enum Kill {
    /// By its own hand.
    Failpoint(&'static str),
    /// From outside, while the provider has rotated and holds its answer back.
    AtTheProvider,
}

impl Kill {
    /// Whether COMMIT's sync has returned by then: from there on nothing may be lost.
    fn is_after_commit(self) -> bool {
        matches!(self, Self::Failpoint("commit_synced" | "published"))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Failpoint(name) => name,
            Self::AtTheProvider => "at_the_provider",
        }
    }
}

/// What became of the kills at one boundary.
#[derive(Default)]
struct Tally {
    kills: u32,
    /// Nothing was to be seen after the restart, and the next renewal succeeded.
    recovered: u32,
    /// AMBIGUOUS was reported, and a renewal that a person asked for succeeded.
    ambiguous_settled: u32,
    /// AMBIGUOUS was reported, and the provider had rotated: the login is to be repeated.
    ambiguous_rotated: u32,
    /// Neither: what must not happen.
    lost: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kills,
            recovered,
            ambiguous_settled,
            ambiguous_rotated,
            lost,
        } = self;
        write!(
            f,
            "{kills:>6} {recovered:>10} {ambiguous_settled:>18} {ambiguous_rotated:>18} {lost:>6}"
        )
    }
}

/// How often at each.
const TIMES: u32 = 25;

#[test]
#[expect(clippy::print_stdout, reason = "the counts are to be seen")]
fn kills_at_every_boundary_lose_nothing_after_commit_and_guess_nothing_before() {
    let tallies = std::thread::scope(|scope| {
        let running = BOUNDARIES.map(|at| scope.spawn(move || kill_repeatedly(at)));
        running.map(|thread| thread.join().expect("no assertion failed"))
    });
    println!("killed at             kills  recovered  ambiguous+settled  ambiguous+rotated   lost");
    for (at, tally) in BOUNDARIES.iter().zip(&tallies) {
        println!("{:<20} {tally}", at.name());
    }
    for (at, tally) in BOUNDARIES.iter().zip(&tallies) {
        assert_eq!(tally.lost, 0, "{}: {tally}", at.name());
        assert_eq!(tally.kills, TIMES, "{}", at.name());
        if at.is_after_commit() {
            assert_eq!(tally.recovered, TIMES, "{}: all is on disk", at.name());
        }
    }
}

fn kill_repeatedly(at: Kill) -> Tally {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    assert!(daemon.stop().success());
    let mut tally = Tally::default();
    for _ in 0..TIMES {
        kill_once(at, &server, &instance, &mut tally);
    }
    tally
}

fn kill_once(at: Kill, server: &FakeServer, instance: &Instance, tally: &mut Tally) {
    let before = server.ledger();
    let generation = die_while_renewing(at, server, instance);
    tally.kills += 1;
    let died = server.ledger();

    let daemon = instance.start_daemon();
    let info = instance.account("demo");
    let now = server.ledger();
    assert_eq!(
        now.presented_twice().count(),
        before.presented_twice().count(),
        "no refresh token is sent again by guess"
    );
    assert_eq!(
        now.counts.requests(Endpoint::Token),
        died.counts.requests(Endpoint::Token)
    );
    // Whatever happened, the token at hand works.
    let token = instance.token("demo", Duration::ZERO).unwrap();
    assert_eq!(
        authd_e2e::api::ping(server, token.access_token.expose()),
        200
    );

    let was_ambiguous = is_flagged(&info, FlagName::Ambiguous);
    assert_eq!(
        info.flags.len(),
        usize::from(was_ambiguous),
        "{:?}",
        info.flags
    );
    if at.is_after_commit() {
        assert!(!was_ambiguous, "{}: the answer is on disk", at.name());
        assert_eq!(info.generation, generation + 1, "{}", at.name());
    } else {
        assert_eq!(info.generation, generation, "{}", at.name());
    }
    let rotated = died.counts.refreshes() > before.counts.refreshes();
    match (was_ambiguous, instance.renew("demo")) {
        (false, Ok(_)) => tally.recovered += 1,
        (true, Ok(_)) => tally.ambiguous_settled += 1,
        (true, Err(_)) if rotated => {
            tally.ambiguous_rotated += 1;
            log_in_again(server, instance);
        }
        (_, Err(_)) => {
            tally.lost += 1;
            log_in_again(server, instance);
        }
    }
    let info = instance.account("demo");
    assert_eq!(
        (info.state, info.flags),
        (State::Fresh, vec![]),
        "all is well again"
    );
    assert!(daemon.stop().success());
}

/// The account's generation before the exchange.
fn die_while_renewing(at: Kill, server: &FakeServer, instance: &Instance) -> u64 {
    let mut daemon = match at {
        Kill::Failpoint(name) => instance
            .daemon()
            .failpoint(&format!("{name}=kill@1"))
            .ready(),
        Kill::AtTheProvider => {
            server.close_gate(Endpoint::Token, Phase::AfterCommit);
            instance.start_daemon()
        }
    };
    let generation = instance.account("demo").generation;
    let mut client = instance.client();
    std::thread::scope(|scope| {
        let renewing = scope.spawn(|| client.call(&renewal("demo"), PATIENCE));
        if at == Kill::AtTheProvider {
            server
                .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
                .unwrap();
            daemon.signal(rustix::process::Signal::KILL);
        }
        let status = daemon.ended(PATIENCE);
        assert!(
            !status.success() && status.code().is_none(),
            "killed, not ended"
        );
        // An answer may have left before the death at the last boundary, and nowhere else.
        let answer = renewing.join().unwrap();
        let hung_up = matches!(answer, Err(ClientError::Closed));
        assert!(
            hung_up || at == Kill::Failpoint("published"),
            "an answer came"
        );
    });
    server.open_gate(Endpoint::Token);
    generation
}

/// A login works from any state.
fn log_in_again(server: &FakeServer, instance: &Instance) {
    instance.login(server, "demo");
}

#[test]
fn a_login_killed_once_its_tokens_are_on_disk_is_there_after_the_restart() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let mut daemon = instance.daemon().failpoint("commit_synced=kill@1").ready();
    let pending = instance.begin_login("demo", server.issuer(), &[]);
    // The page may or may not come before the daemon dies.
    let _ = authd_testkit::Browser::new().follow_blocking(pending.url());
    assert_eq!(daemon.ended(PATIENCE).code(), None);
    drop(pending);
    let _daemon = instance.start_daemon();
    let token = instance.token("demo", Duration::ZERO).unwrap();
    assert_eq!(
        authd_e2e::api::ping(&server, token.access_token.expose()),
        200
    );
    instance.renew("demo").unwrap();
    assert_eq!(server.counts().reuse_detected, 0);
}

/// A server with tokens of 4 s.
fn short_lived() -> FakeServer {
    let settings = Settings {
        access_token_ttl: Duration::from_secs(4),
        ..Settings::default()
    };
    FakeServer::start(Options {
        settings,
        ..Options::default()
    })
    .unwrap()
}

fn killed_at(failpoint: &str, server: &FakeServer) -> (Instance, Daemon) {
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(server, "demo");
    assert!(daemon.stop().success());
    let mut daemon = instance
        .daemon()
        .failpoint(&format!("{failpoint}=kill@1"))
        .ready();
    // Asked for, or due: whichever comes first.
    let _ = instance.client().call(&renewal("demo"), PATIENCE);
    daemon.ended(PATIENCE);
    let daemon = instance.start_daemon();
    (instance, daemon)
}

#[test]
fn an_exchange_that_never_left_is_made_up_for_by_itself_when_the_token_is_nearly_spent() {
    let server = short_lived();
    let (instance, _daemon) = killed_at("after_intent", &server);
    let mut watcher = instance.watch();
    let ambiguous = |info: &AccountInfo| is_flagged(info, FlagName::Ambiguous);
    // Seen as AMBIGUOUS first, unless the token was nearly spent at the restart already.
    watcher.wait_for_account("demo", PATIENCE, |info| {
        info.renewals >= 1 && !ambiguous(info)
    });
    assert_eq!(server.counts().reuse_detected, 0);
    assert!(
        instance.log().contains("AMBIGUOUS")
            || instance.log().contains("answer of the provider was lost")
    );
}

#[test]
fn a_rotation_whose_answer_was_lost_ends_in_one_request_to_log_in_again() {
    let server = short_lived();
    let (instance, _daemon) = killed_at("answer_received", &server);
    // A client that asks has it confirmed soon after the token is spent.
    until("the login is given up", || {
        let refused = instance.token("demo", PATIENCE).err();
        refused.is_some_and(|error| error.code == ErrorCode::LoginRequired)
    });
    assert_eq!(instance.account("demo").state, State::NeedsLogin);
    let uses: Vec<_> = server
        .ledger()
        .presented_twice()
        .flat_map(|token| token.uses.clone())
        .collect();
    assert_eq!(uses[0].outcome, RefreshTokenOutcome::Rotated);
    assert_eq!(uses[1].outcome, RefreshTokenOutcome::ReuseDetected);
    assert!(uses.len() <= 3, "once to settle, once to confirm: {uses:?}");
    let told = instance
        .call(&authd_proto::request::EventsQuery {
            events: Some(vec![EventKind::LoginNeeded]),
            ..Default::default()
        })
        .unwrap();
    assert_eq!(told.events.len(), 1, "{:?}", told.events);
    log_in_again(&server, &instance);
    assert_eq!(instance.account("demo").flags, vec![]);
}
