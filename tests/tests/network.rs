//! The kernel tells when there is a network again.

use authd_e2e::{Instance, PATIENCE};
use authd_proto::event::{Event, EventKind};

fn is_back(event: &Event) -> bool {
    event.event == EventKind::Daemon && event.outcome.as_deref() == Some("network_up")
}

/// What the daemon took for a way out of the machine.
fn ways(instance: &Instance) -> usize {
    instance.log().matches("a way out appears").count()
}

#[test]
fn an_address_or_a_route_that_leads_out_is_a_network_and_nothing_else_is() {
    let instance = Instance::new();
    let daemon = instance.daemon().network_of_its_own().ready();
    let mut watcher = instance.watch();

    // None of these leads out. The kernel tells in order, so they have been read when the next has.
    daemon.ip("link set lo up");
    daemon.ip("address add 127.0.0.2/8 dev lo");
    daemon.ip("address add 203.0.113.7/24 dev lo");
    daemon.ip("link add cable type veth peer name far");
    daemon.ip("link set far up");
    daemon.ip("address add 169.254.7.7/16 dev cable scope link");
    daemon.ip("link set cable up");
    daemon.ip("route add 198.51.100.0/24 dev cable");
    daemon.ip("address add 192.0.2.7/24 dev cable");
    watcher.wait_for(PATIENCE, is_back);
    assert_eq!(ways(&instance), 1, "the address");

    // What is there already is no news, whatever is said of it.
    daemon.ip("address change 192.0.2.7/24 dev cable valid_lft 3600 preferred_lft 3600");
    daemon.ip("route add default via 192.0.2.1");
    watcher.wait_for(PATIENCE, is_back);
    assert_eq!(ways(&instance), 2, "the route");

    // Gone and back is; and with the address goes its route.
    daemon.ip("address delete 192.0.2.7/24 dev cable");
    daemon.ip("address add 192.0.2.7/24 dev cable");
    watcher.wait_for(PATIENCE, is_back);
    assert_eq!(ways(&instance), 3, "the address once more");
    daemon.stop();
}
