//! A real browser: Debian's Chromium without a window, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>).
//!
//! `chromedriver` is the sturdy part: it waits for pages and for elements by itself, so that a test only
//! says what a person does. Chromium reaches loopback addresses and nothing else.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{PATIENCE, process::Process, tool};

/// What an element is called in WebDriver's JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A running browser with one page. It ends with the test, however that ends.
pub struct Chromium {
    http: ureq::Agent,
    /// Of the driver's session.
    session: String,
    _driver: Process,
    /// Its profile, its caches, and whatever else it would put into a home directory.
    _home: TempDir,
}

/// Which colours a page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark text on light ground.
    Light,
    /// The reverse.
    Dark,
}

impl Chromium {
    /// Starts it.
    ///
    /// # Panics
    /// When it is not installed, or does not come up within [`PATIENCE`].
    #[must_use]
    pub fn start() -> Self {
        let browser = tool::required("chromium");
        let home = tempfile::Builder::new()
            .prefix("authd-e2e-chromium-")
            .tempdir()
            .expect("a temporary directory");
        let mut driver = Process::spawn(
            Command::new(tool::required("chromedriver"))
                .arg("--port=0")
                .env("HOME", home.path())
                // No bus, no display, no proxy of whoever runs the tests.
                .env_remove("DBUS_SESSION_BUS_ADDRESS")
                .env_remove("DISPLAY")
                .env_remove("WAYLAND_DISPLAY")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let stdout = driver.child().stdout.take().expect("a pipe was asked for");
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            // To its end: it may say more in time, and would die of a closed pipe.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(port) = port(&line) {
                    // The test may have given up.
                    let _ = tell.send(port);
                }
            }
        });
        let port = told.recv_timeout(PATIENCE);
        let port = port.expect("chromedriver says where it listens");

        let http = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(2 * PATIENCE))
            .build()
            .new_agent();
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".to_owned(),
            "--hide-scrollbars".to_owned(),
            // Small containers have a /dev/shm of 64 MiB.
            "--disable-dev-shm-usage".to_owned(),
            // Fonts of a provider's page and everything that Chromium itself would like to ask.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1".to_owned(),
            "--no-proxy-server".to_owned(),
            format!("--user-data-dir={}", home.path().join("profile").display()),
        ];
        if rustix::process::geteuid().is_root() {
            // Chromium refuses to start as root with its sandbox, whose user namespaces a container seldom
            // allows. The pages are the tests' own and the network is loopback.
            arguments.push("--no-sandbox".to_owned());
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": browser, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "implicit": PATIENCE.as_millis() as u64,
                          "pageLoad": PATIENCE.as_millis() as u64 },
        } } });
        let sessions = format!("http://127.0.0.1:{port}/session");
        let begun = value(http.post(&sessions).send(wanted.to_string()));
        let id = begun["sessionId"].as_str();
        let session = format!("{sessions}/{}", id.unwrap_or_else(|| panic!("{begun}")));
        Self {
            http,
            session,
            _driver: driver,
            _home: home,
        }
    }

    /// Opens an address and waits until the page is there.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn open(&self, url: &str) {
        self.post("url", json!({ "url": url }));
    }

    /// Types into the field.
    ///
    /// # Panics
    /// When there is none in time.
    pub fn type_into(&self, selector: &str, text: &str) {
        let field = self.find(selector);
        self.post(&format!("{field}/value"), json!({ "text": text }));
    }

    /// Clicks. What it leads to is waited for by [`see`](Self::see): a form's page comes when it comes.
    ///
    /// # Panics
    /// When there is no such element in time.
    pub fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("{element}/click"), json!({}));
    }

    /// Waits for the page with this heading.
    ///
    /// # Panics
    /// When it does not come up in time.
    pub fn see(&self, heading: &str) {
        self.locate("xpath", &format!("//h1[normalize-space()='{heading}']"));
    }

    /// The text of an element as it is seen.
    ///
    /// # Panics
    /// When there is no such element in time.
    #[must_use]
    pub fn text(&self, selector: &str) -> String {
        let element = self.find(selector);
        let text = value(self.http.get(self.at(&format!("{element}/text"))).call());
        text.as_str().expect("a text").to_owned()
    }

    /// What a script's `return` yields in the page.
    ///
    /// # Panics
    /// When the script fails.
    #[must_use]
    pub fn script(&self, script: &str) -> Value {
        self.post("execute/sync", json!({ "script": script, "args": [] }))
    }

    /// What the page has complained of, to whoever opens the browser's console.
    ///
    /// # Panics
    /// When the browser does not say.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", json!({ "type": "browser" }));
        let entries = log.as_array().expect("a list").iter();
        entries.map(|entry| entry["message"].to_string()).collect()
    }

    /// Shows the page in this size and these colours.
    ///
    /// # Panics
    /// When the browser refuses.
    pub fn show(&self, width: u32, height: u32, scheme: Scheme) {
        let scheme = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    /// What is seen now, as a PNG.
    ///
    /// # Panics
    /// When there is no picture.
    #[must_use]
    pub fn screenshot(&self) -> Vec<u8> {
        let picture = value(self.http.get(self.at("screenshot")).call());
        let picture = picture.as_str().expect("a picture");
        STANDARD.decode(picture).expect("Base64")
    }

    fn devtools(&self, command: &str, parameters: Value) {
        self.post(
            "goog/cdp/execute",
            json!({ "cmd": command, "params": parameters }),
        );
    }

    fn find(&self, selector: &str) -> String {
        self.locate("css selector", selector)
    }

    /// Where the element is in the driver's API; waits until there is one.
    fn locate(&self, using: &str, what: &str) -> String {
        let found = self.post("element", json!({ "using": using, "value": what }));
        let id = found[ELEMENT].as_str();
        format!("element/{}", id.unwrap_or_else(|| panic!("{found}")))
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.session)
    }

    fn post(&self, path: &str, body: Value) -> Value {
        value(self.http.post(self.at(path)).send(body.to_string()))
    }
}

impl Drop for Chromium {
    /// The browser is the driver's child: whoever only kills the driver leaves it behind.
    fn drop(&mut self) {
        let _ = self.http.delete(&self.session).call();
    }
}

/// Where the driver listens, in the line that says it has started.
fn port(line: &str) -> Option<u16> {
    let (_, port) = line.split_once("successfully on port ")?;
    port.trim_end_matches('.').parse().ok()
}

/// The value of an answer of the driver's.
fn value(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
    let mut answer = answer.expect("chromedriver answers");
    let text = answer
        .body_mut()
        .with_config()
        .limit(64 << 20)
        .read_to_string();
    let mut body: Value = serde_json::from_str(&text.expect("a body")).expect("JSON");
    let value = body["value"].take();
    assert!(
        value["error"].is_null(),
        "{}: {}",
        value["error"],
        value["message"]
    );
    value
}
