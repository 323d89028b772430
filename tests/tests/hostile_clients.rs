//! Clients that hang on by the thousand: they delay nobody, and take neither memory nor processor time.
//!
//! They are processes of their own, as the daemon tells clients apart; the honest client is the test.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _, stdin},
    os::unix::net::UnixStream,
    process::{ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use authd_e2e::{Daemon, Instance, PATIENCE, Process, latency::p99, raw::frame, until, usage};
use authd_proto::request::{AccountList, TokenGet};
use authd_testkit::{FakeServer, Options};
use rustix::process::{Resource, getrlimit, setrlimit};

/// What an honest client's cached token may take at the 99th percentile beside thousands of hostile ones.
const BOUND: Duration = Duration::from_millis(50);
/// What the daemon may hold of the machine's memory beside them, in bytes.
const MEMORY: u64 = 128 * 1024 * 1024;
/// How long it is looked at whether it does anything.
const WINDOW: Duration = Duration::from_secs(3);
/// What it may do in that time: a look at the clock now and then.
const IDLE: Duration = Duration::from_millis(150);

/// What a hostile client does with a connection, once it is there.
#[derive(Clone, Copy)]
enum Hostile {
    /// Nothing.
    Idle,
    /// Half a request.
    Half,
    /// A request of 200 KiB, but for its end.
    Large,
    /// Two hundred requests, and it never reads.
    Deaf,
}

impl Hostile {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Half => "half",
            Self::Large => "large",
            Self::Deaf => "deaf",
        }
    }

    fn bytes(self) -> Vec<u8> {
        let get = TokenGet {
            account: Some("demo"),
            ..TokenGet::default()
        };
        match self {
            Self::Idle => Vec::new(),
            Self::Half => {
                let whole = frame(7, &get);
                whole[..whole.len() / 2].to_vec()
            }
            Self::Large => {
                let long = "x".repeat(200 * 1024);
                let mut whole = frame(
                    7,
                    &TokenGet {
                        account: Some(&long),
                        ..get
                    },
                );
                whole.pop();
                whole
            }
            Self::Deaf => frame(7, &AccountList::default()).repeat(200),
        }
    }
}

/// A process with its connections open.
struct Crowd {
    process: Process,
    said: BufReader<ChildStdout>,
}

impl Crowd {
    fn start(instance: &Instance, kind: Hostile, count: usize) -> Self {
        let own = std::env::current_exe().unwrap();
        let mut process = Process::spawn(
            Command::new(own)
                .args(["--exact", "child_hostile", "--ignored", "--nocapture"])
                .env("HOSTILE_SOCKET", instance.socket())
                .env("HOSTILE_KIND", kind.name())
                .env("HOSTILE_COUNT", count.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        );
        let said = BufReader::new(process.child().stdout.take().unwrap());
        Self { process, said }
    }

    /// Waits until it has done what it does; how many of its connections the daemon has left it.
    fn is_there(&mut self) -> usize {
        let lines = self.said.by_ref().lines().map_while(Result::ok);
        let mut counts = lines.filter_map(|line| line.strip_prefix("there: ")?.parse().ok());
        counts.next().expect("a hostile client that works")
    }

    /// It goes, and its connections with it.
    fn leave(mut self) {
        drop(self.process.child().stdin.take());
        assert!(self.process.wait(PATIENCE).is_some());
    }
}

/// So many connections in all, of so many processes.
fn crowd(instance: &Instance, kind: Hostile, count: usize, processes: usize) -> Vec<Crowd> {
    let mut crowds: Vec<_> = (0..processes)
        .map(|_| Crowd::start(instance, kind, count / processes))
        .collect();
    let left: usize = crowds.iter_mut().map(Crowd::is_there).sum();
    assert!(left > 0, "nobody was let in: this would test nothing");
    crowds
}

fn started() -> (FakeServer, Instance, Daemon) {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    // What is logged at each connection is no part of the figures.
    let daemon = instance.daemon().env("AUTHD_LOG", "info").ready();
    instance.login(&server, "demo");
    (server, instance, daemon)
}

/// The best of three rounds counts, as in `latency`: the machine itself may be busy for a while.
fn assert_undelayed(instance: &Instance) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        best = best.min(p99(instance, "demo", 2000));
        if best <= BOUND {
            return best;
        }
    }
    panic!("p99 of a cached token: {best:?}");
}

/// The daemon lives, and hardly works, while nobody asks anything.
fn assert_quiet(daemon: &mut Daemon) -> Duration {
    let before = usage::processor_time(daemon.pid());
    assert!(!daemon.has_ended(WINDOW));
    let worked = usage::processor_time(daemon.pid()) - before;
    assert!(worked <= IDLE, "it worked {worked:?} in {WINDOW:?}");
    worked
}

#[expect(clippy::print_stdout, reason = "the figures are to be seen")]
fn hang_on(kind: Hostile, count: usize, processes: usize) {
    let (_server, instance, mut daemon) = started();
    let crowds = crowd(&instance, kind, count, processes);
    let hanging = instance.status().connections;
    assert!(hanging > 500, "they do not hang on: {hanging}");
    let p99 = assert_undelayed(&instance);
    let worked = assert_quiet(&mut daemon);
    let memory = usage::resident(daemon.pid());
    println!(
        "{count} {} of {processes}: {hanging} connections, p99 {p99:?}, {worked:?} of work in {WINDOW:?}, \
         {} MiB",
        kind.name(),
        memory / 1024 / 1024
    );
    assert!(memory <= MEMORY, "{memory} bytes");
    crowds.into_iter().for_each(Crowd::leave);
    until("they are forgotten", || instance.status().connections == 1);
}

#[test]
fn two_thousand_idle_connections_of_one_process_delay_nobody() {
    hang_on(Hostile::Idle, 2000, 1);
}

#[test]
fn two_thousand_idle_connections_of_twenty_processes_delay_nobody() {
    hang_on(Hostile::Idle, 2000, 20);
}

#[test]
fn five_thousand_half_frames_of_one_process_delay_nobody() {
    hang_on(Hostile::Half, 5000, 1);
}

#[test]
fn five_thousand_half_frames_of_twenty_processes_delay_nobody() {
    hang_on(Hostile::Half, 5000, 20);
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are to be seen")]
fn large_frames_that_never_end_and_answers_that_nobody_reads_take_little_memory() {
    let (_server, instance, mut daemon) = started();
    let before = usage::resident(daemon.pid());
    let large = crowd(&instance, Hostile::Large, 1000, 20);
    let deaf = crowd(&instance, Hostile::Deaf, 200, 20);
    let p99 = assert_undelayed(&instance);
    let memory = usage::resident(daemon.pid());
    println!(
        "p99 {p99:?}, from {} to {} MiB",
        before / 1024 / 1024,
        memory / 1024 / 1024
    );
    assert!(memory <= MEMORY, "{memory} bytes");
    assert!(!daemon.has_ended(Duration::ZERO));
    large.into_iter().chain(deaf).for_each(Crowd::leave);
    until("they are forgotten", || instance.status().connections == 1);
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are to be seen")]
fn a_daemon_with_sixty_four_descriptors_neither_spins_nor_dies() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let mut daemon = instance
        .daemon()
        .env("AUTHD_LOG", "info")
        .descriptors(64)
        .ready();
    instance.login(&server, "demo");
    let alone = crowd(&instance, Hostile::Idle, 1000, 1);
    assert_undelayed(&instance);
    instance.renew("demo").unwrap();
    alone.into_iter().for_each(Crowd::leave);

    let many = crowd(&instance, Hostile::Half, 1000, 20);
    let worked = assert_quiet(&mut daemon);
    println!("{worked:?} of work in {WINDOW:?}");
    // They hold what there is, and a newcomer is given a part of it.
    assert_undelayed(&instance);
    instance.renew("demo").unwrap();
    many.into_iter().for_each(Crowd::leave);
    let begun = Instant::now();
    assert!(instance.token("demo", Duration::ZERO).is_ok());
    assert!(begun.elapsed() < Duration::from_secs(1));
    until("they are forgotten", || instance.status().connections == 1);
    assert!(daemon.stop().success());
}

#[test]
#[ignore = "the body of a child"]
#[expect(clippy::print_stdout, reason = "its parent reads it")]
fn child_hostile() {
    let variable = |name| std::env::var(name).expect("the body of a child");
    let socket = variable("HOSTILE_SOCKET");
    let kind = variable("HOSTILE_KIND");
    let kinds = [Hostile::Idle, Hostile::Half, Hostile::Large, Hostile::Deaf];
    let kind = kinds.into_iter().find(|one| one.name() == kind).unwrap();
    let count: usize = variable("HOSTILE_COUNT").parse().unwrap();
    let mut limit = getrlimit(Resource::Nofile);
    let needed = u64::try_from(count).unwrap() + 64;
    let most = limit.maximum.unwrap_or(needed);
    assert!(
        most >= needed,
        "this takes {needed} open files: {most} are allowed"
    );
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit).unwrap();

    let bytes = kind.bytes();
    let connections: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.set_nonblocking(true).unwrap();
            // As much as is taken; the daemon may have hung up on the way.
            let _ = stream.write(&bytes);
            stream
        })
        .collect();
    let mut open: Vec<_> = connections
        .iter()
        .map(|stream| rustix::event::PollFd::new(stream, rustix::event::PollFlags::empty()))
        .collect();
    rustix::event::poll(&mut open, Some(&rustix::time::Timespec::default())).unwrap();
    let open = open.iter().filter(|fd| fd.revents().is_empty()).count();
    // On a line of its own: the harness has begun one.
    println!("\nthere: {open}");
    // Until the test is over, or wants us gone.
    let _ = stdin().read(&mut [0]);
}
