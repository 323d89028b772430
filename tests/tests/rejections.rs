//! Tokens that die before their time: clients that say so, providers that are asked, and one that lies.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _, stdin},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use authd::Alarms;
use authd_client::{Client, SocketPath, Who};
use authd_e2e::{
    Instance, PATIENCE,
    api::Api,
    driven::{CONFIGURATION, DrivenDaemon, Time, quiet},
    instance::call,
    process::Process,
};
use authd_proto::{
    event::Event,
    request::{TokenGet, TokenReject},
    response::{FlagName, TokenReply},
};
use authd_testkit::{ExpiresIn, Settings};

const HOUR: u64 = 3600;
/// How long clients wait.
const WAIT_SECS: u64 = 10;

fn get(client: &mut Client) -> TokenReply {
    let get = TokenGet {
        account: Some("demo"),
        wait_secs: Some(WAIT_SECS),
        ..TokenGet::default()
    };
    call(client, &get).expect("a token for every call")
}

fn report(fingerprint: &str, wait_secs: u64) -> TokenReject<'_> {
    TokenReject {
        account: "demo",
        fingerprint: Some(fingerprint),
        access_token: None,
        scopes: None,
        resource: None,
        status: Some(401),
        www_authenticate: None,
        wait_secs: Some(wait_secs),
    }
}

fn says(event: &Event, outcome: &str) -> bool {
    event.outcome.as_deref() == Some(outcome)
}

#[test]
fn honest_reports_bring_the_renewals_before_the_real_end_within_four_generations() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    // What it says is twice what is true.
    let server = time.server(Settings {
        access_token_ttl: Duration::from_secs(HOUR / 2),
        expires_in: ExpiresIn::Fixed(HOUR as i64),
        ..Settings::default()
    });
    let instance = Instance::new();
    // Nobody but the clients says anything about it.
    let unasked = format!("{CONFIGURATION}[renewal]\nvalidate_every_secs = 0\n");
    instance.configure(&unasked);
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let mut watcher = instance.watch();
    let (mut client, mut api) = (instance.client(), Api::of(&server));

    let mut refused_in = Vec::new();
    for _minute in 0..12 * 60 {
        let token = get(&mut client);
        if api.ping(token.access_token.expose()) == 401 {
            refused_in.push(token.renewal.generation);
            let report = report(&token.renewal.fingerprint, WAIT_SECS);
            let next = call(&mut client, &report).expect("a newer one");
            assert_eq!(api.ping(next.access_token.expose()), 200);
        }
        time.advance(Duration::from_secs(60));
        quiet(&instance);
    }
    assert!(!refused_in.is_empty(), "the first one cannot be foreseen");
    let last = instance.account("demo").generation;
    assert!(last > 20, "it went on for long: {last}");
    let soon_after = refused_in.iter().any(|one| (5..=20).contains(one));
    assert!(!soon_after, "{refused_in:?}");
    // What was learned is forgotten slowly, in case the provider has mended its ways.
    let later = refused_in.iter().filter(|one| **one > 20).count();
    assert!(later as u64 <= last / 20, "{refused_in:?} of {last}");
    // And the story says why.
    watcher.wait_for(PATIENCE, |event| event.cause.as_deref() == Some("reported"));
    watcher.wait_for(PATIENCE, |event| says(event, "lifetime_learned"));
}

#[test]
fn a_client_that_lies_in_every_report_costs_little_and_takes_nothing_from_the_others() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings::default());
    let instance = Instance::new();
    let unasked = format!("{CONFIGURATION}[renewal]\nvalidate_every_secs = 0\n");
    instance.configure(&unasked);
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let mut liar = Liar::start(&instance);
    let (mut client, mut api) = (instance.client(), Api::of(&server));

    // For twenty minutes, every ten seconds.
    for _ in 0..120 {
        liar.lie();
        quiet(&instance);
        let token = get(&mut client);
        assert_eq!(api.ping(token.access_token.expose()), 200);
        time.advance(Duration::from_secs(10));
    }
    let forced = server.counts().refreshes();
    assert!((1..=6).contains(&forced), "three in ten minutes: {forced}");

    // An honest report is still heard.
    time.advance(Duration::from_secs(600));
    server.revoke_access_tokens();
    let token = get(&mut client);
    assert_eq!(api.ping(token.access_token.expose()), 401);
    let next = call(&mut client, &report(&token.renewal.fingerprint, WAIT_SECS));
    let next = next.expect("a newer one");
    assert_eq!(api.ping(next.access_token.expose()), 200);
    for flag in instance.account("demo").flags {
        // The liar's own share of it: the others were served all along.
        assert_eq!(flag.flag, FlagName::ProviderRejects);
        assert!(flag.reason.contains("one client"), "{}", flag.reason);
    }
}

#[test]
fn a_token_that_the_provider_calls_dead_is_renewed_within_the_interval() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings::default());
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let mut watcher = instance.watch();
    let mut client = instance.client();
    let mut use_it = |seconds: u64| {
        for _ in 0..seconds / 30 {
            get(&mut client);
            time.advance(Duration::from_secs(30));
            quiet(&instance);
        }
    };
    // It is asked, and the provider calls it alive; then it is revoked, and nobody reports that.
    use_it(600);
    assert_eq!(server.counts().refreshes(), 0);
    server.revoke_access_tokens();
    let revoked_at = time.machine.wall().as_secs();
    use_it(330);
    let renewed = watcher.wait_for(PATIENCE, |event| event.cause.as_deref() == Some("inactive"));
    assert!(
        renewed.at <= revoked_at + 300,
        "{} s",
        renewed.at - revoked_at
    );
    watcher.wait_for(PATIENCE, |event| says(event, "ok"));
    assert_eq!(server.counts().refreshes(), 1);
}

/// A client in a process of its own, as the daemon tells clients apart. It takes every token, and says
/// of each that it was refused.
struct Liar {
    _process: Process,
    orders: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Liar {
    fn start(instance: &Instance) -> Self {
        let own = std::env::current_exe().unwrap();
        let mut process = Process::spawn(
            Command::new(own)
                .args(["--exact", "child_liar", "--ignored", "--nocapture"])
                .env("LIAR_SOCKET", instance.socket())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        );
        let orders = process.child().stdin.take().unwrap();
        let said = BufReader::new(process.child().stdout.take().unwrap()).lines();
        Self {
            _process: process,
            orders,
            said,
        }
    }

    /// Lies once; when this returns the daemon has heard it.
    fn lie(&mut self) {
        writeln!(self.orders).unwrap();
        let heard = self.said.by_ref().map_while(Result::ok);
        assert!(heard.into_iter().any(|line| line == "lied"), "it has gone");
    }
}

#[test]
#[ignore = "the body of a child"]
#[expect(clippy::print_stdout, reason = "its parent reads it")]
fn child_liar() {
    let socket = std::env::var_os("LIAR_SOCKET").expect("the body of a child");
    let socket = SocketPath::explicit(socket.into()).unwrap();
    let who = Who {
        name: "liar",
        version: "0",
    };
    let mut client = Client::connect(&socket, who, PATIENCE).unwrap();
    for _order in stdin().lines() {
        let token = get(&mut client);
        // Whatever is said to that.
        let _ = call(&mut client, &report(&token.renewal.fingerprint, 0));
        // On a line of its own: the harness has begun one.
        println!("\nlied");
    }
}
