//! Calls of the fake server's protected API, as a tool with a token makes them.

use authd_testkit::{Endpoint, FakeServer};

/// Calls `/api/ping` with a bearer token; the HTTP status.
///
/// # Panics
/// When the server does not answer.
#[must_use]
pub fn ping(server: &FakeServer, token: &str) -> u16 {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .new_agent();
    let answer = agent
        .get(server.url(Endpoint::Api))
        .header("Authorization", format!("Bearer {token}"))
        .call();
    answer.expect("an answer of the API").status().as_u16()
}
