//! The binary, driven through its control API as another process would.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use crate::client::bounded;
use authd_testkit::{Browser, Page};
use axum::http::Method;
use serde_json::{Value, json};

struct FakeAs {
    child: Child,
    ready: Value,
}

impl FakeAs {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fake-as"))
            .args(arguments)
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = serde_json::from_str(&line).unwrap();
        Self { child, ready }
    }

    async fn control(&self, method: Method, path: &str, body: Value) -> Page {
        let url = format!("{}{path}", self.ready["control"].as_str().unwrap());
        let headers = [("content-type", "application/json")];
        let body = body.to_string();
        bounded(Browser::new().request(method, &url, &headers, &body))
            .await
            .unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> u16 {
        self.control(Method::POST, path, body).await.status
    }

    async fn api(&self) -> Result<Page, authd_testkit::BrowserError> {
        let url = self.ready["api"].as_str().unwrap().to_owned();
        bounded(Browser::new().follow(&url)).await
    }
}

impl Drop for FakeAs {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn settings_faults_waits_and_sums_are_reached_from_another_process() {
    let fake = FakeAs::start(&["--ttl", "20s", "--rotation", "lenient"]);
    let issuer = fake.ready["issuer"].as_str().unwrap();
    assert!(issuer.starts_with("http://127.0.0.1:"));
    let settings = fake.control(Method::GET, "/settings", json!({})).await;
    let settings = settings.json().unwrap();
    assert_eq!(settings["access_token_ttl"], json!(20.0));
    assert_eq!(settings["reuse_detection"], json!(false));

    let patch = json!({"access_token_ttl": 0.5, "expires_in": {"fixed": -1}});
    let patched = fake.control(Method::PATCH, "/settings", patch).await;
    assert_eq!(patched.status, 204);
    let wrong = json!({"acess_token_ttl": 1});
    let refused = fake.control(Method::PATCH, "/settings", wrong).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("acess_token_ttl"));

    let client = json!({"id": "c", "authentication": {"basic": "secret"}, "native": true});
    assert_eq!(fake.post("/clients", client).await, 204);
    let fault = json!({"endpoint": "api", "fault": {"kind": "status", "status": 502}, "times": 2});
    assert_eq!(fake.post("/faults", fault).await, 204);
    for expected in [502, 502, 401] {
        assert_eq!(fake.api().await.unwrap().status, expected);
    }
    let goal = json!({"counts": {"/requests/api": 3, "/api_missing": 1}});
    assert_eq!(fake.post("/wait", goal).await, 204);
    let goal = json!({"counts": {"/api_ok": 1}, "within": 0.01});
    assert_eq!(fake.post("/wait", goal).await, 408);
    let counts = fake.control(Method::GET, "/counts", json!({})).await;
    assert_eq!(counts.json().unwrap()["faulted"]["api"], json!(2));
    let ledger = fake.control(Method::GET, "/ledger", json!({})).await;
    assert_eq!(ledger.json().unwrap()["refresh_tokens"], json!([]));
}

#[tokio::test]
async fn a_gate_is_closed_and_opened_from_another_process() {
    let fake = FakeAs::start(&[]);
    let gate = json!({"endpoint": "api", "fault": {"kind": "hold"}, "always": true});
    assert_eq!(fake.post("/faults", gate).await, 204);
    let url = fake.ready["api"].as_str().unwrap().to_owned();
    let client = tokio::spawn(async move { Browser::new().follow(&url).await });
    assert_eq!(fake.post("/wait", json!({"held": {"api": 1}})).await, 204);
    let held = fake.control(Method::GET, "/held", json!({})).await;
    assert_eq!(held.json().unwrap(), json!({"api": 1}));
    let cleared = fake.control(Method::DELETE, "/faults/api", json!({})).await;
    assert_eq!(cleared.status, 204);
    let released = fake
        .control(Method::POST, "/release", json!({"endpoint": "api"}))
        .await;
    assert_eq!(released.json().unwrap(), json!({"released": 1}));
    assert_eq!(bounded(client).await.unwrap().unwrap().status, 401);
}

#[tokio::test]
async fn the_server_is_killed_restarted_and_ended_from_another_process() {
    let mut fake = FakeAs::start(&["--manual-clock", "--issuer-path", "/t"]);
    assert_eq!(fake.post("/clock", json!({"advance": 60})).await, 204);
    assert_eq!(fake.post("/revoke", json!({"what": "families"})).await, 204);
    let unknown = json!({"user_code": "NONE", "approve": true});
    assert_eq!(fake.post("/device", unknown).await, 404);
    assert_eq!(fake.post("/restart", json!({})).await, 409);
    for how in ["/kill", "/stop"] {
        assert_eq!(fake.post(how, json!({})).await, 204);
        assert!(fake.api().await.is_err());
        assert_eq!(fake.post("/restart", json!({})).await, 204);
        assert_eq!(fake.api().await.unwrap().status, 401);
    }
    assert_eq!(fake.post("/exit", json!({})).await, 204);
    assert!(fake.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_real_clock_is_not_moved() {
    let fake = FakeAs::start(&[]);
    assert_eq!(fake.post("/clock", json!({"advance": 60})).await, 409);
}

#[test]
fn a_wrong_flag_is_a_usage_error() {
    let status = Command::new(env!("CARGO_BIN_EXE_fake-as"))
        .args(["--settings", r#"{"nonsense": 1}"#])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}
