//! The machine sleeps and wakes, and the network goes and comes.

use std::{thread, time::Duration};

use authd::{Alarms, Sign, Signs};
use authd_e2e::{
    Instance, PATIENCE,
    dbus::Bus,
    driven::{DrivenDaemon, Time, ask_the_engine},
    logind::Logind,
    until,
};
use authd_proto::{
    event::{Event, EventKind},
    response::State,
};
use authd_testkit::{Endpoint, Phase, Settings};

const HOUR: Duration = Duration::from_secs(3600);

fn is_daemon(event: &Event, outcome: &str) -> bool {
    event.event == EventKind::Daemon && event.outcome.as_deref() == Some(outcome)
}

fn is_exchange(event: &Event, outcome: &str) -> bool {
    event.event == EventKind::Exchange && event.outcome.as_deref() == Some(outcome)
}

#[test]
fn inv_15_a_machine_that_slept_past_the_end_renews_as_soon_as_the_network_is_back() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings::default());
    let instance = Instance::new();
    let daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let mut watcher = instance.watch();

    daemon.tell(Sign::Suspending);
    watcher.wait_for(PATIENCE, |event| is_daemon(event, "suspending"));
    server.kill();
    time.suspend(9 * HOUR);
    watcher.wait_for(PATIENCE, |event| is_daemon(event, "resumed"));

    // The network is away: tries fail, further and further apart.
    for _ in 0..3 {
        watcher.wait_for(PATIENCE, |event| is_exchange(event, "failed"));
        time.advance(Duration::from_secs(60));
    }
    ask_the_engine(&instance);
    until("the last one has failed", || {
        instance.status().exchanges_in_flight == 0
    });

    // It is back, and nobody knows yet. From the word on time stands still.
    server.restart().unwrap();
    time.advance(Duration::from_secs(2));
    ask_the_engine(&instance);
    assert_eq!(server.counts().requests(Endpoint::Token), 1, "the login");
    daemon.tell(Sign::NetworkUp);
    watcher.wait_for(PATIENCE, |event| is_daemon(event, "network_up"));
    watcher.wait_for(PATIENCE, |event| is_exchange(event, "ok"));
    assert_eq!(server.counts().refreshes(), 1);
}

#[test]
fn inv_15_where_the_machine_tells_nothing_it_renews_within_35_seconds_of_waking() {
    let time = Time::stopped(Alarms::Rechecked);
    let server = time.server(Settings::default());
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let mut watcher = instance.watch();

    time.suspend(9 * HOUR);
    let woke = time.machine.wall().as_secs();
    time.advance(Duration::from_secs(34));
    watcher.wait_for(PATIENCE, |event| is_daemon(event, "resumed"));
    let started = watcher.wait_for(PATIENCE, |event| is_exchange(event, "started"));
    assert!(started.at <= woke + 35, "after {} s", started.at - woke);
    watcher.wait_for(PATIENCE, |event| is_exchange(event, "ok"));
    assert_eq!(server.counts().refreshes(), 1);
}

#[test]
fn inv_14_a_calendar_that_jumps_ten_years_costs_one_exchange_at_most() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings::default());
    let instance = Instance::new();
    let _daemon = DrivenDaemon::start(&instance, &time.machine);
    instance.login(&server, "demo");
    let mut watcher = instance.watch();
    let today = time.machine.wall();
    let ten_years = 3650 * 24 * HOUR;

    // Forward: the token looks spent, and the alarm rings although its moment has not come.
    time.machine.set_wall(today + ten_years);
    watcher.wait_for(PATIENCE, |event| is_exchange(event, "ok"));
    // And back: nothing.
    time.machine.set_wall(today);
    ask_the_engine(&instance);
    time.machine.set_wall(today.saturating_sub(ten_years));
    ask_the_engine(&instance);
    assert_eq!(server.counts().refreshes(), 1);
    assert_eq!(instance.account("demo").state, State::Fresh);
}

#[test]
fn sleep_waits_for_the_exchange_under_way_and_no_other_starts_before_the_wake() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let server = time.server(Settings::default());
    let instance = Instance::new();
    let bus = Bus::start(instance.dir());
    let logind = Logind::start(&bus);
    let signs = Signs::Bus(bus.address().to_owned());
    let _daemon = DrivenDaemon::start_hearing(&instance, &time.machine, signs);
    let inhibitor = logind.inhibitor();
    instance.login(&server, "demo");
    let mut watcher = instance.watch();
    assert!(inhibitor.is_held(), "before any sleep");

    // An exchange hangs at the provider when the machine is to sleep.
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    time.advance(Duration::from_secs(2));
    thread::scope(|scope| {
        let renewal = scope.spawn(|| instance.renew("demo"));
        let held = server.wait_held_blocking(Endpoint::Token, 1, PATIENCE);
        held.expect("a request at the provider");
        logind.prepare_for_sleep(true);
        watcher.wait_for(PATIENCE, |event| is_daemon(event, "suspending"));
        ask_the_engine(&instance);
        assert!(inhibitor.is_held(), "its answer would be lost");
        server.open_gate(Endpoint::Token);
        inhibitor.wait_until_given_back();
        assert!(renewal.join().unwrap().is_ok());
    });
    assert_eq!(instance.account("demo").generation, 2, "it is on disk");
    logind.prepare_for_sleep(false);
    watcher.wait_for(PATIENCE, |event| is_daemon(event, "resumed"));
    let inhibitor = logind.inhibitor();

    // A renewal becomes due between the word and the sleep.
    let due = instance.account("demo").next_renewal_at.expect("a moment");
    time.advance_past(due - 10);
    logind.prepare_for_sleep(true);
    watcher.wait_for(PATIENCE, |event| is_daemon(event, "suspending"));
    inhibitor.wait_until_given_back();
    time.advance_past(due);
    ask_the_engine(&instance);
    assert_eq!(server.counts().requests(Endpoint::Token), 2);

    // The exchange goes on where it was kept back.
    time.suspend(HOUR);
    logind.prepare_for_sleep(false);
    watcher.wait_for(PATIENCE, |event| is_exchange(event, "ok"));
    assert_eq!(server.counts().refreshes(), 2);
    assert!(logind.inhibitor().is_held(), "for the next sleep");
}

/// Lets time pass, pause by pause, until it happens.
fn in_some_pauses<T>(what: &str, time: &Time, mut happens: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, || {
        time.advance(Duration::from_secs(30));
        found = happens();
        found.is_some()
    });
    found.expect("it has happened")
}

#[test]
fn a_lock_that_logind_refused_is_asked_for_again_and_its_word_counts_meanwhile() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let instance = Instance::new();
    let bus = Bus::start(instance.dir());
    let logind = Logind::start_refusing(&bus, 2);
    let signs = Signs::Bus(bus.address().to_owned());
    let _daemon = DrivenDaemon::start_hearing(&instance, &time.machine, signs);
    let mut watcher = instance.watch();
    until("it asks for a lock", || logind.asked() == 1);

    logind.prepare_for_sleep(true);
    watcher.wait_for(PATIENCE, |event| is_daemon(event, "suspending"));
    // On waking it asks at once.
    logind.prepare_for_sleep(false);
    watcher.wait_for(PATIENCE, |event| is_daemon(event, "resumed"));
    until("it asks for a lock", || logind.asked() == 2);

    let inhibitor = in_some_pauses("it has a lock", &time, || logind.inhibitor_so_far());
    assert_eq!(logind.asked(), 3);
    assert!(inhibitor.is_held());
    logind.prepare_for_sleep(true);
    watcher.wait_for(PATIENCE, |event| is_daemon(event, "suspending"));
    inhibitor.wait_until_given_back();
}

#[test]
fn a_logind_that_goes_away_and_comes_back_is_heard_again() {
    let time = Time::stopped(Alarms::ThroughSuspend);
    let instance = Instance::new();
    let bus = Bus::start(instance.dir());
    let logind = Logind::start(&bus);
    let signs = Signs::Bus(bus.address().to_owned());
    let _daemon = DrivenDaemon::start_hearing(&instance, &time.machine, signs);
    let mut watcher = instance.watch();
    let mut heard_by = |logind: &Logind| {
        logind.prepare_for_sleep(true);
        watcher.wait_for(PATIENCE, |event| is_daemon(event, "suspending"));
        logind.prepare_for_sleep(false);
        watcher.wait_for(PATIENCE, |event| is_daemon(event, "resumed"));
        // More than a moment, or the next wake would be taken for the same one.
        time.advance(Duration::from_secs(20));
    };
    assert!(logind.inhibitor().is_held());
    heard_by(&logind);

    // Another one on the same bus: the bus tells.
    logind.stop();
    let logind = Logind::start(&bus);
    assert!(logind.inhibitor().is_held());
    heard_by(&logind);

    // The bus itself goes; nobody tells when it is back.
    let bus = bus.restart();
    let logind = Logind::start(&bus);
    let inhibitor = in_some_pauses("it is on the bus", &time, || logind.inhibitor_so_far());
    assert!(inhibitor.is_held());
    heard_by(&logind);
}
