//! The figures that authd promises, measured in one run: each beside what it is compared with,
//! both sides in turns, medians of many.

mod cpu;
mod floor;
mod load;
mod many;
mod round_trip;
mod sample;
mod table;
mod whole_process;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use authd_proto::request::Renew;

use self::cpu::Cores;
use self::load::Load;
use self::sample::Sample;
use self::table::Table;
use crate::command;
use crate::daemon::Daemon;
use crate::error::ChoreError;
use crate::fake_as::FakeAs;
use crate::install;
use crate::wire::{self, Connection};
use crate::workspace;

const ACCOUNTS: usize = 100;
/// As many renewals as the engine's bucket of a host lets through at once (32): the next ones would
/// measure how it holds them back.
const BURST: usize = 30;
/// Long enough that nothing is renewed meanwhile.
const TOKEN_TTL: Duration = Duration::from_secs(12 * 3600);

/// Measures, and prints the table. `idle` is for how long the daemon is left alone to count its
/// wake-ups; `peers` are command lines that print a token as well, timed beside ours.
pub(crate) fn run(idle: Duration, peers: &[String]) -> Result<(), ChoreError> {
    if cfg!(debug_assertions) {
        // Our own side of a measurement must not be what is measured.
        return command::run(
            command::cargo()
                .args(["run", "--release", "--locked", "--quiet", "--package=xtask"])
                .args(["--", "bench", "--idle-secs"])
                .arg(idle.as_secs().to_string())
                .args(peers.iter().flat_map(|peer| ["--peer", peer])),
        );
    }
    let mut bench = Bench::set_up()?;
    bench.footprint(idle)?;
    bench.whole_process(peers)?;
    bench.renewals()?;
    bench.round_trip()?;
    bench.load()?;
    bench.beside_trouble()?;
    bench.many()?;
    println!("\n{}", bench.table);
    Ok(())
}

/// What all measurements share.
struct Bench {
    cores: Cores,
    table: Table,
    server: FakeAs,
    daemon: Daemon,
    authd: PathBuf,
    authctl: PathBuf,
    /// `token.get` for the first account.
    request: Vec<u8>,
    /// The compiled floor.c.
    floor: PathBuf,
}

impl Bench {
    /// Release binaries, many accounts.
    fn set_up() -> Result<Self, ChoreError> {
        let authd = install::build_authd()?;
        let authctl = install::build_authctl()?;
        command::run(command::cargo().args([
            "build",
            "--locked",
            "--package=authd-testkit",
            "--bins",
        ]))?;
        let fake_as = workspace::target_dir()?.join("debug").join("fake-as");
        let server = FakeAs::start(&fake_as, TOKEN_TTL)?;
        let daemon = Daemon::start(&authd, &authctl)?;
        println!("bench: logging {ACCOUNTS} accounts in");
        for number in 0..ACCOUNTS {
            daemon.login(&account(number), &server)?;
        }
        let request = wire::token_get(&account(0), 0)?;
        Ok(Self {
            cores: Cores::allowed()?,
            table: Table::default(),
            floor: floor::compile(daemon.dir(), &request)?,
            server,
            daemon,
            authd,
            authctl,
            request,
        })
    }

    /// As many accounts as a daemon is made for.
    fn many(&mut self) -> Result<(), ChoreError> {
        // The last measurement left this server hanging.
        let fake_as = workspace::target_dir()?.join("debug").join("fake-as");
        let server = FakeAs::start(&fake_as, TOKEN_TTL)?;
        many::measure(&self.authd, &self.authctl, &server, &mut self.table)
    }

    /// First of all, while nothing but the logins has touched the daemon's memory.
    fn footprint(&mut self, idle: Duration) -> Result<(), ChoreError> {
        let pid = self.daemon.pid();
        let resident = format!("resident memory, {ACCOUNTS} accounts");
        self.table.size(&resident, cpu::resident(pid)?, 10_000_000);

        println!("bench: leaving it alone for {} s", idle.as_secs());
        let before = cpu::switches(pid)?;
        std::thread::sleep(idle);
        let switches = cpu::switches(pid)? - before;
        let what = format!("wake-ups in {} s idle", idle.as_secs());
        self.table
            .count(&what, switches, (10 * idle.as_secs()).div_ceil(120));
        Ok(())
    }

    fn whole_process(&mut self, peers: &[String]) -> Result<(), ChoreError> {
        println!("bench: whole processes");
        let mut client = Command::new(&self.floor);
        client.arg("client").arg(self.daemon.socket());
        let mut token = self.daemon.authctl();
        token.args(["token", &account(0)]);
        let mut programs = vec![Command::new("/bin/true"), client, token];
        programs.extend(peers.iter().map(|peer| {
            let mut words = peer.split_whitespace();
            let mut command = Command::new(words.next().unwrap_or_default());
            command.args(words);
            command
        }));
        let medians: Vec<Duration> = whole_process::measure(&mut programs)?
            .iter()
            .map(Sample::median)
            .collect();
        let [nothing, client, ours, theirs @ ..] = &*medians else {
            return Ok(());
        };
        self.table.time("/bin/true, whole process", *nothing);
        let floor = "static C client, whole process";
        self.table.ratio(floor, *client, *nothing, None);
        let what = "authctl token, whole process";
        self.table.ratio(what, *ours, *nothing, Some(1.5));
        for (peer, theirs) in peers.iter().zip(theirs) {
            self.table.ratio(peer, *theirs, *nothing, None);
        }
        Ok(())
    }

    /// From the command to the answer: the intent on disk, the provider, the commit on disk.
    fn renewals(&mut self) -> Result<(), ChoreError> {
        println!("bench: renewals");
        let mut sample = Sample::default();
        for number in 0..BURST {
            let begun = Instant::now();
            self.daemon
                .call(&renew(number))
                .map_err(|error| ChoreError::Daemon(error.to_string()))?;
            sample.push(begun.elapsed());
        }
        self.table.time("a whole renewal, p50", sample.median());
        self.table
            .time("a whole renewal, worst", sample.percentile(100));
        Ok(())
    }

    fn round_trip(&mut self) -> Result<(), ChoreError> {
        println!("bench: round trips");
        cpu::pin_process(self.daemon.pid(), self.cores.daemon)?;
        cpu::pin_self(self.cores.daemon)?;
        let mut connection = Connection::open(&self.daemon.socket())?;
        let [floor, ours] = round_trip::measure(&self.floor, &mut connection, &self.request)?;
        let (floor, ours) = (floor.median(), ours.median());
        self.table.time("socketpair, one core, p50", floor);
        let what = "token.get, one core, p50";
        self.table.ratio(what, ours, floor, Some(1.5));
        Ok(())
    }

    fn load(&mut self) -> Result<(), ChoreError> {
        println!("bench: load");
        cpu::pin_self(self.cores.load)?;
        for (what, load, aim) in LOADS {
            let rate = load.measure(&self.daemon.socket(), &account(0))?;
            self.table.rate(what, rate, aim);
        }
        Ok(())
    }

    /// Cached tokens while someone else has, or is, a problem.
    fn beside_trouble(&mut self) -> Result<(), ChoreError> {
        println!("bench: cached tokens beside trouble");
        let mut connection = Connection::open(&self.daemon.socket())?;
        let mut p99 = |table: &mut Table, what: &str| -> Result<(), ChoreError> {
            let sample = round_trip::latencies(&mut connection, &self.request)?;
            table.limit(what, sample.percentile(99), P99);
            Ok(())
        };

        let half_request = &self.request[..self.request.len() / 2];
        let half = (0..100)
            .map(|_| self.daemon.send(half_request))
            .collect::<Result<Vec<UnixStream>, ChoreError>>()?;
        p99(&mut self.table, "p99 beside 100 half requests")?;
        drop(half);

        self.server.hang_refreshes()?;
        let hanging = self.daemon.send(&wire::encoded(0, &renew(1))?)?;
        p99(&mut self.table, "p99 while a provider hangs")?;
        drop(hanging);
        Ok(())
    }
}

const P99: Duration = Duration::from_millis(1);

const LOADS: [(&str, Load, f64); 3] = [
    (
        "requests/s, 16 connections, 1 each",
        Load {
            connections: 16,
            depth: 1,
            keep_open: true,
        },
        150_000.0,
    ),
    (
        "requests/s, 16 at a time, 1 a connection",
        Load {
            connections: 16,
            depth: 1,
            keep_open: false,
        },
        60_000.0,
    ),
    (
        "requests/s, 64 connections, 16 each",
        Load {
            connections: 64,
            depth: 16,
            keep_open: true,
        },
        1_000_000.0,
    ),
];

fn renew(number: usize) -> Renew {
    Renew {
        account: account(number),
        scopes: None,
        resource: None,
        wait_secs: None,
    }
}

fn account(number: usize) -> String {
    format!("bench-{number:03}")
}
