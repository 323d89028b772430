//! Ten thousand accounts in one daemon: what they weigh, and what a cached token costs among them.

use std::path::Path;

use authd_proto::request::{DaemonStatus, LoginStart, LoginWait};
use serde_json::json;

use super::{P99, cpu, round_trip, table::Table};
use crate::daemon::Daemon;
use crate::error::ChoreError;
use crate::fake_as::{self, FakeAs};
use crate::wire::{self, Connection};

const MANY: usize = 10_000;
/// What they may weigh, in bytes.
const HEAVIEST: u64 = 32_000_000;

/// Logs them in, starts the daemon anew, so that nothing of the logins is left in its memory, and
/// measures.
pub(super) fn measure(
    authd: &Path,
    authctl: &Path,
    server: &FakeAs,
    table: &mut Table,
) -> Result<(), ChoreError> {
    println!("bench: logging {MANY} accounts in");
    let mut daemon = Daemon::start(authd, authctl)?;
    let browser = fake_as::http_agent();
    for number in 0..MANY {
        log_in(&daemon, server, &browser, number)?;
    }
    daemon.restart(authd)?;
    let accounts = daemon
        .call(&DaemonStatus {})
        .map_err(|error| ChoreError::Daemon(error.to_string()))?
        .accounts;
    if accounts != MANY as u64 {
        return Err(ChoreError::Daemon(format!(
            "{accounts} of {MANY} accounts are there after a restart"
        )));
    }
    let resident = format!("resident memory, {MANY} accounts");
    table.size(&resident, cpu::resident(daemon.pid())?, HEAVIEST);
    let mut connection = Connection::open(&daemon.socket())?;
    let request = wire::token_get(&account(MANY / 2), 0)?;
    let sample = round_trip::latencies(&mut connection, &request)?;
    table.limit("p99 among them", sample.percentile(99), P99);
    daemon.stop()
}

/// Without a process of its own for each.
fn log_in(
    daemon: &Daemon,
    server: &FakeAs,
    browser: &ureq::Agent,
    number: usize,
) -> Result<(), ChoreError> {
    let failed = |why: String| ChoreError::Daemon(format!("login {number}: {why}"));
    let start: LoginStart = serde_json::from_value(json!({
        "account": account(number),
        "issuer": server.issuer,
        "client_id": FakeAs::CLIENT_ID,
    }))
    .map_err(|error| failed(error.to_string()))?;
    let begun = daemon
        .call(&start)
        .map_err(|error| failed(error.to_string()))?;
    let url = begun.authorization_url.unwrap_or_default();
    // Consent is given at once, so the redirects lead to the callback's page.
    browser.get(&url).call().map_err(ChoreError::http(&url))?;
    let wait = LoginWait {
        login_id: begun.login_id,
        wait_secs: None,
    };
    daemon
        .call(&wait)
        .map_err(|error| failed(error.to_string()))?;
    Ok(())
}

fn account(number: usize) -> String {
    format!("many-{number:05}")
}
