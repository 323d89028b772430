//! The certified provider: npm `oidc-provider` (`tests/oidc-provider/README.md`) as a process.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Instance, PATIENCE, PendingLogin, binaries, process::Process, tool};

/// A running provider. It ends with the test, however that ends.
pub struct Provider {
    _process: Process,
    issuer: String,
    http: ureq::Agent,
}

/// What its token endpoint has seen.
pub struct Ledger {
    /// Successful exchanges by grant type.
    exchanges: BTreeMap<String, u64>,
    /// Requests that carried a refresh token.
    pub presented: u64,
    /// Refresh tokens that came more than once.
    pub presented_twice: u64,
}

impl Ledger {
    /// Successful exchanges of this grant type.
    #[must_use]
    pub fn exchanges(&self, grant_type: &str) -> u64 {
        self.exchanges.get(grant_type).copied().unwrap_or(0)
    }

    /// Successful exchanges by the client's own credentials.
    #[must_use]
    pub fn client_credentials(&self) -> u64 {
        self.exchanges("client_credentials")
    }

    /// Successful exchanges of a refresh token.
    #[must_use]
    pub fn refreshes(&self) -> u64 {
        self.exchanges("refresh_token")
    }
}

impl Provider {
    /// The resources that its tokens can be for.
    pub const RESOURCES: [&str; 2] = ["https://one.example.test/", "https://two.example.test/"];

    /// Starts one whose access tokens live for `lifetime` (whole seconds).
    ///
    /// # Panics
    /// When it is not installed, or does not come up within [`PATIENCE`].
    #[must_use]
    pub fn start(lifetime: Duration) -> Self {
        Self::start_with(lifetime, &json!({}))
    }

    /// Starts one that asks a person, in pages of its own, who signs in and for consent.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with_person() -> Self {
        Self::start_with(Duration::from_secs(3600), &json!({ "person": true }))
    }

    /// The same with more settings (`tests/oidc-provider/README.md`).
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(lifetime: Duration, more: &Value) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc-provider");
        assert!(
            folder.join("node_modules/oidc-provider").is_dir(),
            "oidc-provider is not installed: run cargo xtask setup"
        );
        let mut settings = json!({
            "accessTokenTtl": lifetime.as_secs(),
            "untilStdinCloses": true,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            settings[name] = value.clone();
        }
        let mut process = Process::spawn(
            Command::new(tool::required("node"))
                .arg(folder.join("provider.mjs"))
                .arg(settings.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit()),
        );
        let ready = process.announcement();
        let issuer = ready["issuer"].as_str();
        Self {
            issuer: issuer.expect("the provider comes up").to_owned(),
            _process: process,
            http: ureq::Agent::config_builder()
                .proxy(None)
                // The page that confirms a refusal has a status of its own.
                .http_status_as_error(false)
                .timeout_global(Some(PATIENCE))
                .build()
                .new_agent(),
        }
    }

    /// The private key, in PEM, of its clients `key` and `service-key`.
    pub const CLIENT_KEY: &str = include_str!("../oidc-provider/client-key.pem");

    /// Its issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// An `authctl login` that names this provider and one of its clients; `more` are its further
    /// options.
    #[must_use]
    pub fn login(
        &self,
        instance: &Instance,
        account: &str,
        client_id: &str,
        more: &[&str],
    ) -> Command {
        let mut command = instance.command(binaries::authctl());
        command
            .args(["login", account, "--no-browser", "--json"])
            .args(["--issuer", &self.issuer, "--client-id", client_id])
            // Without it the provider grants no offline access.
            .args(["--param", "prompt=consent"])
            .args(more);
        command
    }

    /// Logs `account` in as the public client, by code and PKCE; the `done` line.
    ///
    /// # Panics
    /// When the login fails.
    pub fn log_in(&self, instance: &Instance, account: &str) -> Value {
        let scope = ["--scope", "openid offline_access"];
        let mut pending = PendingLogin::start(&mut self.login(instance, account, "public", &scope));
        assert_eq!(pending.browse().status, 200, "the callback's page");
        let (last, finished) = pending.finish();
        assert_eq!(last["event"], "done", "{finished:?}");
        last
    }

    /// What it knows of an access token: `active`, and if so `sub`, `client_id`, `scope`, `aud`, `exp`.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn introspect(&self, token: &str) -> Value {
        let url = format!("{}/test/introspect", self.issuer);
        let answer = self.http.get(&url).query("token", token).call();
        body(answer)
    }

    /// Whether an access token is alive.
    #[must_use]
    pub fn is_active(&self, token: &str) -> bool {
        self.introspect(token)["active"] == true
    }

    /// Calls its userinfo endpoint, a protected resource, with these header fields (`Name: value` lines);
    /// the status and the nonce that it gives.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn call_with(&self, fields: &str) -> (u16, Option<String>) {
        let mut request = self.http.get(format!("{}/me", self.issuer));
        for line in fields.lines() {
            let (name, value) = line.split_once(": ").expect("a header field");
            request = request.header(name, value);
        }
        let answer = request.call().expect("the provider's answer");
        let nonce = answer.headers().get("dpop-nonce");
        let nonce = nonce.and_then(|nonce| nonce.to_str().ok());
        (answer.status().as_u16(), nonce.map(str::to_owned))
    }

    /// What its token endpoint has seen until now.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let report = body(self.http.get(format!("{}/test/ledger", self.issuer)).call());
        let number = |name: &str| report[name].as_u64().expect("a number");
        Ledger {
            presented: number("presented"),
            presented_twice: number("presented_twice"),
            exchanges: serde_json::from_value(report["exchanges"].clone())
                .expect("exchanges by grant type"),
        }
    }

    /// Enters a user code as a person at the verification page does, and consents, or refuses.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn enter_user_code(&self, user_code: &str, consents: bool) {
        let mut request = self
            .http
            .post(format!("{}/test/device", self.issuer))
            .query("user_code", user_code);
        if !consents {
            request = request.query("deny", "1");
        }
        request.send_empty().expect("a verification page");
    }
}

fn body(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
    let text = answer
        .expect("the provider's answer")
        .body_mut()
        .read_to_string()
        .expect("a body");
    serde_json::from_str(&text).expect("JSON")
}
