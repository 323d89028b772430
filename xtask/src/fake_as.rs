//! The demo authorization server as a child process, and what it counted.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::command;
use crate::error::ChoreError;

/// A running server with strict rotation. Dropping it ends the process.
pub(crate) struct FakeAs {
    child: Child,
    /// Its issuer identifier.
    pub(crate) issuer: String,
    /// A protected API: 200 to a live bearer token, 401 to any other.
    pub(crate) api: String,
    control: String,
    http: ureq::Agent,
}

impl FakeAs {
    /// The client that the server knows from the start: public and native.
    pub(crate) const CLIENT_ID: &'static str = "native";

    /// Starts `binary` with access tokens that live for `ttl`.
    pub(crate) fn start(binary: &Path, ttl: Duration) -> Result<Self, ChoreError> {
        let mut command = Command::new(binary);
        command
            .args(["--rotation=strict", "--until-stdin-closes"])
            .arg(format!("--ttl={}s", ttl.as_secs()))
            // Ctrl-C is for us: we end what we started, in order.
            .process_group(0);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| ChoreError::Spawn {
                program: binary.display().to_string(),
                source,
            })?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(ChoreError::io("read the first line of", binary))?;
        }
        let ready: Value = serde_json::from_str(&line).unwrap_or_default();
        let member = |name: &str| ready[name].as_str().map(str::to_owned);
        match (member("issuer"), member("api"), member("control")) {
            (Some(issuer), Some(api), Some(control)) => Ok(Self {
                child,
                issuer,
                api,
                control,
                http: http_agent(),
            }),
            _ => {
                end(&mut child);
                Err(ChoreError::Output {
                    command: command::line(&command),
                    reason: "the first line is not the announcement of its addresses".to_owned(),
                })
            }
        }
    }

    /// A sum from its ledger, by JSON pointer (`/exchanges/refresh_token`); 0 until it counts.
    pub(crate) fn count(&self, pointer: &str) -> Result<u64, ChoreError> {
        let url = format!("{}/counts", self.control);
        let counts = self
            .http
            .get(&url)
            .call()
            .and_then(|mut answer| answer.body_mut().read_to_string())
            .map_err(ChoreError::http(&url))?;
        let counts: Value = serde_json::from_str(&counts).unwrap_or_default();
        Ok(counts.pointer(pointer).and_then(Value::as_u64).unwrap_or(0))
    }

    /// Makes every refresh from now on hang.
    pub(crate) fn hang_refreshes(&self) -> Result<(), ChoreError> {
        let url = format!("{}/faults", self.control);
        let rule = r#"{"endpoint": "token", "fault": {"kind": "hold"}, "always": true}"#;
        self.http
            .post(&url)
            .content_type("application/json")
            .send(rule)
            .map_err(ChoreError::http(&url))?;
        Ok(())
    }
}

impl Drop for FakeAs {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Loopback only, so no proxy; a status is data, not an error; and nothing here may hang for ever.
pub(crate) fn http_agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
        .build()
        .into()
}

/// Ends a child at once and waits for it, so that nothing stays behind.
pub(crate) fn end(child: &mut Child) {
    // Both fail only when it is gone already.
    let _ = child.kill();
    let _ = child.wait();
}
