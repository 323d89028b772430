//! Many clients, many generations: one exchange for each, and no call that fails.

use std::{
    collections::BTreeMap,
    sync::{
        Condvar, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use authd::Alarms;
use authd_e2e::{
    Instance, PATIENCE,
    api::Api,
    driven::{DrivenDaemon, Time},
    instance::call,
};
use authd_proto::request::TokenGet;
use authd_testkit::Settings;

const CLIENTS: usize = 50;

#[test]
fn fifty_clients_in_continuous_demand_over_200_generations_cost_200_exchanges() {
    demand_over(200);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn fifty_clients_in_continuous_demand_over_1000_generations_cost_1000_exchanges() {
    demand_over(1000);
}

/// The clients ask without a pause and hold each token they get against the provider's API. Time moves
/// when none of them is between the two: to the renew point and past the end in turns, so that one
/// renewal comes by itself while everybody is served, and for the next one all of them wait.
#[expect(
    clippy::print_stdout,
    reason = "the figures are what the test is read for"
)]
fn demand_over(generations: u64) {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings::default());
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let first = instance.account("demo").generation;

    let clients = Clients::default();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (clients, instance, server) = (&clients, &instance, &server);
            scope.spawn(move || {
                let ended = clients.end_all_if_this_one_fails();
                clients.ask_and_use(number, instance, &mut Api::of(server));
                drop(ended);
            });
        }
        let ended = clients.end_all_if_this_one_fails();
        for generation in first..first + generations {
            clients.wait_until_all_have(generation);
            let account = instance.account("demo");
            assert_eq!(account.generation, generation, "renewed too early");
            let moment = match generation % 2 {
                0 => account.next_renewal_at,
                _ => account.expires_at,
            };
            let nobody_is_at_it = clients.at_it.write().expect("no client failed");
            time.advance_past(moment.expect("a moment that is known"));
            drop(nobody_is_at_it);
        }
        clients.wait_until_all_have(first + generations);
        drop(ended);
        clients.stop.store(true, Ordering::Relaxed);
    });

    let counts = server.counts();
    assert_eq!(counts.refreshes(), generations, "one for each generation");
    let calls = clients.calls.load(Ordering::Relaxed);
    assert_eq!(counts.api_ok, calls, "the API accepted every token");
    let refused = counts.api_expired + counts.api_unknown + counts.api_missing;
    assert_eq!(refused, 0);
    assert!(calls >= generations * CLIENTS as u64);
    println!(
        "{CLIENTS} clients, {generations} generations, {calls} calls: {generations} exchanges"
    );
}

#[derive(Default)]
struct Clients {
    /// Held by each from its question until the API has answered.
    at_it: RwLock<()>,
    /// The generation that each has used, and who waits for them.
    have: Mutex<BTreeMap<usize, u64>>,
    changed: Condvar,
    calls: AtomicU64,
    stop: AtomicBool,
}

impl Clients {
    fn ask_and_use(&self, number: usize, instance: &Instance, api: &mut Api) {
        let mut connection = instance.client();
        let get = TokenGet {
            account: Some("demo"),
            ..TokenGet::default()
        };
        while !self.stop.load(Ordering::Relaxed) {
            let at_it = self.at_it.read().expect("no client failed");
            let token = call(&mut connection, &get).expect("a token for every call");
            let status = api.ping(token.access_token.expose());
            drop(at_it);
            assert_eq!(status, 200, "{:?}", token.renewal);
            self.calls.fetch_add(1, Ordering::Relaxed);
            let mut have = self.have.lock().expect("no client failed");
            let before = have.insert(number, token.renewal.generation);
            assert!(before <= Some(token.renewal.generation), "an older one");
            self.changed.notify_all();
        }
    }

    fn wait_until_all_have(&self, generation: u64) {
        let all_have = |have: &mut BTreeMap<usize, u64>| {
            !self.stop.load(Ordering::Relaxed)
                && (have.len() < CLIENTS || have.values().any(|one| *one < generation))
        };
        let have = self.have.lock().expect("no client failed");
        let waited = self.changed.wait_timeout_while(have, PATIENCE, all_have);
        let (have, waited) = waited.expect("no client failed");
        assert!(!waited.timed_out(), "{generation} awaited: {have:?}");
        assert!(!self.stop.load(Ordering::Relaxed), "a client failed");
    }

    fn end_all_if_this_one_fails(&self) -> impl Drop {
        struct Ended<'a>(&'a Clients);
        impl Drop for Ended<'_> {
            fn drop(&mut self) {
                if thread::panicking() {
                    self.0.stop.store(true, Ordering::Relaxed);
                    self.0.changed.notify_all();
                }
            }
        }
        Ended(self)
    }
}
