//! Calls of the fake server's protected API, as a tool with a token makes them.

use authd_testkit::{Endpoint, FakeServer};

/// Calls `/api/ping` with a bearer token; the HTTP status.
///
/// # Panics
/// When the server does not answer.
#[must_use]
pub fn ping(server: &FakeServer, token: &str) -> u16 {
    Api::of(server).ping(token)
}

/// A tool that calls the API again and again, on one connection.
pub struct Api {
    agent: ureq::Agent,
    url: String,
}

impl Api {
    /// Of this server.
    #[must_use]
    pub fn of(server: &FakeServer) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .new_agent();
        let url = server.url(Endpoint::Api);
        Self { agent, url }
    }

    /// As [`ping`].
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn ping(&mut self, token: &str) -> u16 {
        self.call_with(&format!("Authorization: Bearer {token}"))
    }

    /// The same with these header fields (`Name: value` lines).
    ///
    /// # Panics
    /// As [`ping`].
    pub fn call_with(&mut self, fields: &str) -> u16 {
        let mut request = self.agent.get(&self.url);
        for line in fields.lines() {
            let (name, value) = line.split_once(": ").expect("a header field");
            request = request.header(name, value);
        }
        let answer = request.call();
        let mut answer = answer.expect("an answer of the API");
        // Read to its end, or the connection cannot be used again.
        let read = answer.body_mut().read_to_vec();
        read.expect("the whole answer of the API");
        answer.status().as_u16()
    }
}
