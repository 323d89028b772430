//! An MCP server that the certified provider protects: PyPI `mcp` (`tests/mcp-server/README.md`).

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{PATIENCE, process::Process, provider::Provider};

/// A running server. It ends with the test, however that ends.
pub struct McpServer {
    _process: Process,
    url: String,
}

impl McpServer {
    /// Starts one that takes the tokens of `provider`; `more` are further settings.
    ///
    /// # Panics
    /// When it is not installed, or does not come up within [`PATIENCE`].
    #[must_use]
    pub fn start(provider: &Provider, more: &Value) -> Self {
        let mut settings = json!({
            "issuer": provider.issuer(),
            "clientId": "basic",
            "clientSecret": "basic-secret-of-the-tests",
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            settings[name] = value.clone();
        }
        let mut process = Process::spawn(
            Command::new(python())
                .arg(folder().join("server.py"))
                .arg(settings.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit()),
        );
        let ready = process.announcement();
        let url = ready["url"].as_str();
        Self {
            url: url.expect("the server comes up").to_owned(),
            _process: process,
        }
    }

    /// Its address: the resource that tokens are for.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls a tool with `token`, as a client of the protocol does: `{"result": …}`, or
    /// `{"status": …, "challenge": …}` where the server refuses.
    ///
    /// # Panics
    /// When neither comes.
    #[must_use]
    pub fn call(&self, tool: &str, token: &str) -> Value {
        let mut process = Process::spawn(
            Command::new(python())
                .arg(folder().join("call.py"))
                .args([&self.url, tool])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit()),
        );
        let mut stdin = process.child().stdin.take().expect("a pipe was asked for");
        stdin.write_all(token.as_bytes()).expect("it reads");
        drop(stdin);
        let answer = process.announcement();
        let status = process.wait(PATIENCE).expect("its end");
        assert!(status.success(), "{tool}: {status}");
        answer
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp-server")
}

/// The Python that has the SDK.
fn python() -> PathBuf {
    let own = std::env::current_exe().expect("a running test has an executable");
    own.ancestors()
        .map(|folder| folder.join("mcp-server").join("bin").join("python"))
        .find(|python| python.is_file())
        .expect("the MCP server is not installed: run cargo xtask setup")
}
