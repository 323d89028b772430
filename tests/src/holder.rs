//! Another tool: it logs in by itself, and holds a refresh token until somebody takes it over.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
};

use authd_testkit::Browser;
use serde_json::Value;

use crate::PATIENCE;

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A login of another tool's, as a public client.
pub struct Holder {
    client_id: String,
    http: ureq::Agent,
    /// Where it refreshes.
    pub token_endpoint: String,
    /// The newest that it knows of.
    pub refresh_token: String,
}

impl Holder {
    /// Logs in at `issuer` by code and PKCE, with nobody before the browser.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn log_in(issuer: &str, client_id: &str) -> Self {
        let http = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        let metadata = format!("{issuer}/.well-known/openid-configuration");
        let metadata = json(http.get(metadata).call().expect("metadata"));
        let text = |name: &str| metadata[name].as_str().expect("an endpoint").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let redirect_uri = format!("http://127.0.0.1:{port}/callback");
        let landing = thread::spawn(move || land(&listener));
        let url = url::Url::parse_with_params(
            &text("authorization_endpoint"),
            [
                ("response_type", "code"),
                ("client_id", client_id),
                ("redirect_uri", &redirect_uri),
                ("scope", "openid offline_access"),
                ("prompt", "consent"),
                ("state", "a-state"),
                ("code_challenge", CHALLENGE),
                ("code_challenge_method", "S256"),
            ],
        )
        .expect("an address");
        Browser::new()
            .follow_blocking(url.as_str())
            .expect("the way through the provider's pages");
        let code = landing.join().expect("a redirect");
        let mut holder = Self {
            client_id: client_id.to_owned(),
            http,
            token_endpoint: text("token_endpoint"),
            refresh_token: String::new(),
        };
        let (status, answer) = holder.exchange(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", VERIFIER),
        ]);
        assert_eq!(status, 200, "the other tool's login");
        holder.keep(&answer);
        holder
    }

    /// Refreshes, as it would if nobody had told it to stop; the status.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn refresh(&mut self) -> u16 {
        let spent = self.refresh_token.clone();
        let (status, answer) =
            self.exchange(&[("grant_type", "refresh_token"), ("refresh_token", &spent)]);
        self.keep(&answer);
        status
    }

    fn keep(&mut self, answer: &Value) {
        if let Some(refresh_token) = answer["refresh_token"].as_str() {
            self.refresh_token = refresh_token.to_owned();
        }
    }

    fn exchange(&self, form: &[(&str, &str)]) -> (u16, Value) {
        let mut whole = vec![("client_id", self.client_id.as_str())];
        whole.extend_from_slice(form);
        let answer = self.http.post(&self.token_endpoint).send_form(whole);
        let answer = answer.expect("the provider's answer");
        (answer.status().as_u16(), json(answer))
    }
}

fn json(mut answer: ureq::http::Response<ureq::Body>) -> Value {
    let text = answer.body_mut().read_to_string().expect("a body");
    serde_json::from_str(&text).expect("JSON")
}

/// The code of the first request that comes with one.
fn land(listener: &TcpListener) -> String {
    let (stream, _) = listener.accept().expect("a browser");
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let path = request.split(' ').nth(1).expect("a request line");
    let url = url::Url::parse(&format!("http://127.0.0.1{path}")).expect("an address");
    // A browser that has gone has what it came for.
    let _ =
        (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let mut pairs = url.query_pairs();
    let code = pairs.find(|(name, _)| name == "code");
    code.expect("a code").1.into_owned()
}
