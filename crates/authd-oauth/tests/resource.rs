//! Protected resources (RFC 9728) and clients that register themselves (RFC 7591), against servers that
//! do exactly as told.

mod common;

use std::sync::{Arc, Mutex};

use authd_core::{grant::ClientAuth, scope::ScopeSet};
use authd_oauth::{
    BadEndpoint, Challenge, EndpointError, ProtectedResource, RegistrationError,
    RegistrationRequest, ResourceError, TransportFailure, protected_resource, register,
};
use common::{Server, bounded, http, read_request, response};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

/// A server that answers each request as `answer` says, and what it was asked.
async fn routed(
    answer: impl Fn(&str, &str) -> String + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
    let server = Server::start(move |mut stream| {
        let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
        async move {
            let request = read_request(&mut stream).await;
            let line = request.lines().next().unwrap_or_default();
            let target = line.rsplit_once(' ').map_or(line, |(target, _)| target);
            log.lock()
                .expect("no thread panicked")
                .push(target.to_owned());
            let host = request
                .lines()
                .find_map(|line| line.strip_prefix("host: "))
                .unwrap_or_default();
            // The client may have closed already.
            let _ = stream.write_all(answer(target, host).as_bytes()).await;
        }
    })
    .await;
    (server, asked)
}

fn metadata(host: &str, path: &str) -> Value {
    json!({
        "resource": format!("http://{host}{path}"),
        "authorization_servers": [format!("http://{host}/as")],
        "scopes_supported": ["b", "a"],
    })
}

fn ok(document: &Value) -> String {
    response("200 OK", "", &document.to_string())
}

fn nothing() -> String {
    response("404 Not Found", "", "")
}

fn refused(challenge: &str) -> String {
    let field = format!("www-authenticate: {challenge}\r\n");
    response("401 Unauthorized", &field, "")
}

async fn ask(server: &Server, path: &str) -> Result<ProtectedResource, ResourceError> {
    protected_resource(&http(), &server.url(path), None).await
}

#[tokio::test]
async fn the_challenge_says_where_the_metadata_is_and_what_is_needed() {
    bounded(async {
        let (server, asked) = routed(|target, host| match target {
            "GET /mcp" => refused(&format!(
                "Basic realm=\"x\", Bearer resource_metadata=\"http://{host}/meta\", scope=\"files\""
            )),
            "GET /meta" => ok(&metadata(host, "/mcp")),
            _ => nothing(),
        })
        .await;
        let found = ask(&server, "/mcp").await.unwrap();
        assert_eq!(
            found,
            ProtectedResource {
                resource: server.url("/mcp"),
                authorization_servers: vec![server.url("/as")],
                scopes_supported: Some(ScopeSet::parse("a b")),
                challenged: Some(ScopeSet::parse("files")),
            }
        );
        assert_eq!(*asked.lock().unwrap(), ["GET /mcp", "GET /meta"]);

        // One that somebody else was given already serves as well.
        let text = format!("Bearer resource_metadata=\"{}\"", server.url("/meta"));
        let given = Challenge::parse(&text).unwrap();
        let found = protected_resource(&http(), &server.url("/mcp"), Some(&given)).await;
        assert_eq!(found.unwrap().challenged, None);
        assert_eq!(asked.lock().unwrap().len(), 3, "nothing was probed");
    })
    .await;
}

#[tokio::test]
async fn without_a_word_the_well_known_places_are_asked_the_paths_before_the_hosts() {
    const OF_PATH: &str = "GET /.well-known/oauth-protected-resource/a/mcp";
    const OF_HOST: &str = "GET /.well-known/oauth-protected-resource";
    bounded(async {
        let (server, asked) = routed(|target, host| match target {
            "GET /a/mcp" => refused("Bearer"),
            OF_PATH => ok(&metadata(host, "/a/mcp")),
            _ => nothing(),
        })
        .await;
        let found = ask(&server, "/a/mcp").await.unwrap();
        assert_eq!(found.resource, server.url("/a/mcp"));
        assert_eq!(*asked.lock().unwrap(), ["GET /a/mcp", OF_PATH]);

        // A server that takes nothing but POST; a page in the place of the document.
        let (server, asked) = routed(|target, host| match target {
            "GET /a/mcp" => response("405 Method Not Allowed", "", ""),
            "POST /a/mcp" => refused("Bearer scope=\"x\""),
            OF_PATH => response("200 OK", "", "<html>"),
            OF_HOST => ok(&metadata(host, "")),
            _ => nothing(),
        })
        .await;
        let found = ask(&server, "/a/mcp").await.unwrap();
        assert_eq!(found.resource, server.url(""), "the host speaks for itself");
        assert_eq!(found.challenged, Some(ScopeSet::parse("x")));
        let expected = ["GET /a/mcp", "POST /a/mcp", OF_PATH, OF_HOST];
        assert_eq!(*asked.lock().unwrap(), expected);
    })
    .await;
}

#[tokio::test]
async fn metadata_of_another_resource_or_of_nobody_is_refused() {
    bounded(async {
        let document = Arc::new(Mutex::new(json!({})));
        let served = Arc::clone(&document);
        let (server, _) = routed(move |target, _| match target {
            "GET /.well-known/oauth-protected-resource/mcp" => ok(&served.lock().unwrap()),
            _ => nothing(),
        })
        .await;
        let here = server.url("/mcp");
        let refused = async |change: Value| {
            *document.lock().unwrap() = change;
            ask(&server, "/mcp").await.unwrap_err()
        };
        for found in [
            "https://evil.example/mcp".to_owned(),
            server.url(""),
            server.url("/mcp/"),
            server.url("/mcp\u{202e}"),
            String::new(),
        ] {
            let error = refused(json!({"resource": found, "authorization_servers": [here]})).await;
            assert!(
                matches!(&error, ResourceError::ResourceMismatch { asked, .. } if *asked == here),
                "{found}: {error:?}"
            );
            assert!(!error.to_string().contains('\u{202e}'));
        }
        let none = ResourceError::NoAuthorizationServer;
        assert_eq!(refused(json!({"resource": here})).await, none);
        let empty = json!({"resource": here, "authorization_servers": []});
        assert_eq!(refused(empty).await, none);
        let insecure = json!({"resource": here, "authorization_servers": ["http://as.example"]});
        let why = ResourceError::BadAuthorizationServer(BadEndpoint::NotHttps);
        assert_eq!(refused(insecure).await, why);
        // One of two can be spoken to.
        *document.lock().unwrap() = json!({"resource": here,
            "authorization_servers": ["http://as.example", "https://as.example"]});
        let found = ask(&server, "/mcp").await.unwrap();
        assert_eq!(found.authorization_servers, ["https://as.example"]);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_asked_and_what_is_too_large_is_an_error_of_its_own() {
    bounded(async {
        for (bad, why) in [
            ("http://mcp.example/mcp", BadEndpoint::NotHttps),
            ("https://10.0.0.1/mcp", BadEndpoint::Private),
            ("mcp.example", BadEndpoint::NotAUrl),
            ("https://mcp.example/mcp#x", BadEndpoint::Fragment),
        ] {
            let error = protected_resource(&http(), bad, None).await.unwrap_err();
            assert_eq!(error, ResourceError::BadAddress(why), "{bad}");
        }
        let (server, _) = routed(|target, _| match target {
            "GET /.well-known/oauth-protected-resource" => {
                "HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n{".to_owned()
            }
            _ => nothing(),
        })
        .await;
        let error = ask(&server, "").await.unwrap_err();
        assert!(
            matches!(error, ResourceError::Transport(it) if it.failure == TransportFailure::TooLarge),
            "{error:?}"
        );
        let nobody = Server::start(|_| async {}).await;
        let error = ask(&nobody, "/mcp").await.unwrap_err();
        assert!(matches!(error, ResourceError::Transport(_)), "{error:?}");
        let empty = routed(|_, _| nothing()).await.0;
        let error = ask(&empty, "/mcp").await.unwrap_err();
        assert_eq!(error, ResourceError::NotFound { status: 404 });
    })
    .await;
}

async fn registering(answer: String) -> Result<authd_oauth::Registered, RegistrationError> {
    let server = Server::answering(answer).await;
    let request = RegistrationRequest {
        redirect_uris: &["http://127.0.0.1/callback"],
        scopes: &ScopeSet::default(),
        by_device: false,
    };
    register(&http(), &server.url("/register"), request).await
}

#[tokio::test]
async fn a_client_is_registered_or_it_is_said_why_not() {
    bounded(async {
        let answer = json!({"client_id": "c-1", "client_secret": "s-1",
            "client_secret_expires_at": 0, "registration_access_token": "rat-1",
            "registration_client_uri": "https://as.example/register/c-1"});
        let answer = response("201 Created", "", &answer.to_string());
        let client = registering(answer).await.ok().unwrap();
        assert_eq!(client.client_id, "c-1");
        assert_eq!(client.client_auth, ClientAuth::Basic);

        let error =
            json!({"error": "invalid_redirect_uri", "error_description": "no \u{7}loopback"});
        let answer = response("400 Bad Request", "", &error.to_string());
        let refused = registering(answer).await.err().unwrap();
        assert_eq!(
            refused.to_string(),
            "the provider refused: invalid_redirect_uri (no loopback)"
        );
        assert!(!refused.is_about_metadata() && !refused.is_transient());

        let closed = registering(response("401 Unauthorized", "", "")).await;
        assert_eq!(
            closed.err(),
            Some(RegistrationError::Closed { status: 401 })
        );
        let down = registering(response("503 Unavailable", "", ""))
            .await
            .err()
            .unwrap();
        assert!(down.is_transient());
        let page = registering(response("200 OK", "", "<html>")).await.err();
        let status = 200;
        let expected = EndpointError::Unintelligible { status };
        assert_eq!(page, Some(RegistrationError::Endpoint(expected)));
        let huge = "HTTP/1.1 201 Created\r\ncontent-length: 10485760\r\n\r\n{".to_owned();
        let error = registering(huge).await.err().unwrap();
        assert!(error.to_string().contains("too large"), "{error}");
    })
    .await;
}
