//! However many clients wait, there is one exchange.

use std::{collections::BTreeSet, time::Duration};

use authd_e2e::{Instance, PATIENCE, instance::call, until};
use authd_proto::{
    request::{DaemonStatus, TokenGet},
    response::State,
};
use authd_testkit::{Endpoint, FakeServer, Options, Phase, Settings};

const CLIENTS: u64 = 200;

#[test]
fn two_hundred_commands_that_wait_for_an_expired_token_share_one_exchange() {
    let settings = Settings {
        access_token_ttl: Duration::from_secs(2),
        ..Settings::default()
    };
    let server = FakeServer::start(Options {
        settings,
        ..Options::default()
    })
    .unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let old = instance.token("demo", Duration::ZERO).unwrap();

    // The answer is held back after the server has rotated; the token at hand expires meanwhile.
    server.update(|settings| settings.access_token_ttl = Duration::from_secs(3600));
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    server
        .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
        .unwrap();
    let mut client = instance.client();
    let at_once = TokenGet {
        account: Some("demo"),
        wait_secs: Some(0),
        ..TokenGet::default()
    };
    until("the lease is expired", || {
        call(&mut client, &at_once).is_err()
    });

    let waiting: Vec<_> = (0..CLIENTS)
        .map(|_| instance.start_authctl(&["token", "demo", "--wait", "60s"]))
        .collect();
    until("all of them wait", || {
        call(&mut client, &DaemonStatus {}).unwrap().waiters == CLIENTS
    });
    assert_eq!(instance.account("demo").state, State::Expired);
    assert_eq!(
        server.held(Endpoint::Token),
        1,
        "one request stands at the provider"
    );
    server.open_gate(Endpoint::Token);

    let tokens: BTreeSet<String> = waiting
        .into_iter()
        .map(|command| command.finish(PATIENCE).line().to_owned())
        .collect();
    assert_eq!(tokens.len(), 1, "all of them print the same token");
    assert!(
        !tokens.contains(old.access_token.expose()),
        "and it is the new one"
    );
    let counts = server.counts();
    assert_eq!(counts.refreshes(), 1, "the ledger grew by one");
    assert_eq!(counts.requests(Endpoint::Token), 2, "that, and the login");
}
