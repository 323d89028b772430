//! TLS and proxies: who is trusted, and what has left when nobody is.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod common;

use std::{
    env,
    process::Command,
    sync::{Arc, Mutex},
};

use authd_core::{
    answer::{Failure, Received},
    grant::{ClientAuth, Provider},
    scope::ScopeSet,
    secret::Secret,
    time::Wall,
};
use authd_oauth::{
    ClientCertificate, Credential, ExchangeRequest, ExplicitProxy, HostList, Http, HttpConfig,
    HttpConfigError, Later, Portal, ProxyConfig, ProxyLogin, ProxyOrigin, ProxyPassword,
    Surroundings, TransportFailure, exchange, probe,
};
use common::{
    At, Server, bounded, client, fingerprint, http, http_with, provider, read_request, refresh,
    response,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer},
        server::WebPkiClientVerifier,
    },
};

const TOKENS: &str = r#"{"access_token":"AT"}"#;

/// A token endpoint behind TLS with a certificate of its own for `name`; and that certificate.
async fn tls_server(name: &str) -> (Server, Vec<u8>) {
    tls_server_for(name, None).await
}

/// TLS with a certificate of its own for `name`; and that certificate.
fn acceptor(name: &str, client: Option<CertificateDer<'static>>) -> (TlsAcceptor, Vec<u8>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    let der = cert.der().clone();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let crypto = Arc::new(ring::default_provider());
    let verifier = client.map_or_else(WebPkiClientVerifier::no_client_auth, |client| {
        let mut roots = RootCertStore::empty();
        roots.add(client).unwrap();
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto.clone())
            .build()
            .unwrap()
    });
    let config = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![der.clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), der.to_vec())
}

/// The same, for clients that prove themselves by this certificate alone.
async fn tls_server_for(name: &str, client: Option<CertificateDer<'static>>) -> (Server, Vec<u8>) {
    let (acceptor, der) = acceptor(name, client);
    let server = Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            read_request(&mut stream).await;
            let _ = stream
                .write_all(response("200 OK", "", TOKENS).as_bytes())
                .await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (server, der)
}

/// A CONNECT proxy that leads every name to `target`, once the credentials are right.
async fn proxy(target: std::net::SocketAddr) -> Server {
    Server::start(move |stream| lead(stream, target)).await
}

/// The same behind TLS with a certificate of its own for 127.0.0.1; and that certificate.
async fn tls_proxy(target: std::net::SocketAddr) -> (Server, Vec<u8>) {
    let (acceptor, der) = acceptor("127.0.0.1", None);
    let server = Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                lead(stream, target).await;
            }
        }
    });
    (server.await, der)
}

async fn lead<S>(mut stream: S, target: std::net::SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = read_request(&mut stream).await;
    let head = request.to_ascii_lowercase();
    let known = head.starts_with("connect idp.test:443 http/1.1\r\n")
        && request.contains("Proxy-Authorization: Basic dXNlcjpwQHNz\r\n");
    if !known {
        let _ = stream
            .write_all(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")
            .await;
        return;
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    if let Ok(mut target) = TcpStream::connect(target).await {
        let _ = copy_bidirectional(&mut stream, &mut target).await;
    }
}

/// A SOCKS proxy (RFC 1928, RFC 1929) that leads every name to `target`, once the credentials are right.
async fn socks(target: std::net::SocketAddr) -> Server {
    Server::start(move |mut stream| async move {
        let served = async {
            let mut greeting = vec![0; 2];
            stream.read_exact(&mut greeting).await?;
            let mut methods = vec![0; greeting[1].into()];
            stream.read_exact(&mut methods).await?;
            if !methods.contains(&2) {
                return stream.write_all(&[5, 0xff]).await;
            }
            stream.write_all(&[5, 2]).await?;
            let mut login = [0; 11];
            stream.read_exact(&mut login).await?;
            if login != *b"\x01\x04user\x04p@ss" {
                return stream.write_all(&[1, 1]).await;
            }
            stream.write_all(&[1, 0]).await?;
            let mut wish = [0; 15];
            stream.read_exact(&mut wish).await?;
            assert_eq!(wish, *b"\x05\x01\x00\x03\x08idp.test\x01\xbb");
            stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
            let mut target = TcpStream::connect(target).await?;
            copy_bidirectional(&mut stream, &mut target).await.map(drop)
        };
        let _ = served.await;
    })
    .await
}

/// This proxy, and no other.
fn named(proxy: String, except: &str, login: Option<ProxyLogin>) -> ProxyConfig {
    ProxyConfig::Explicit(ExplicitProxy {
        proxy,
        except: HostList::from_variable(except),
        login,
    })
}

fn trusting(root: &[u8], proxy: ProxyConfig) -> Http {
    http_with(|config| {
        config.extra_roots = vec![root.to_vec()];
        config.proxy = proxy;
    })
}

async fn received(http: &Http, provider: &Provider) -> Received {
    let (exchanged, told) = bounded(refresh(http, provider)).await;
    let left = !matches!(
        exchanged.answer.received,
        Received::Nothing {
            bytes_left: false,
            ..
        }
    );
    assert_eq!(told, usize::from(left));
    exchanged.answer.received
}

fn nothing(failure: Failure) -> Received {
    Received::Nothing {
        bytes_left: false,
        failure,
    }
}

#[tokio::test]
async fn a_trusted_certificate_is_spoken_to_and_any_other_is_not() {
    let (server, root) = tls_server("127.0.0.1").await;
    let by_address = provider(format!("https://{}/token", server.address));
    let by_name = provider(format!("https://localhost:{}/token", server.address.port()));

    let trusting = trusting(&root, ProxyConfig::Off);
    let answer = received(&trusting, &by_address).await;
    assert!(
        matches!(answer, Received::Response { status: 200, .. }),
        "{answer:?}"
    );
    // Nobody vouches for it.
    let answer = received(&http(), &by_address).await;
    assert_eq!(answer, nothing(Failure::UntrustedCertificate));
    let answer = received(&trusting, &by_name).await;
    assert_eq!(answer, nothing(Failure::ForeignCertificate));
}

#[tokio::test]
async fn what_does_not_speak_tls_is_a_tls_failure_with_nothing_left() {
    let portal = Server::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let answer = response("302 F", "location: http://portal/\r\n", "");
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let closing = Server::start(|stream| async move { drop(stream) }).await;
    for server in [portal, closing] {
        let provider = provider(format!("https://{}/token", server.address));
        assert_eq!(received(&http(), &provider).await, nothing(Failure::Tls));
    }
}

#[tokio::test]
async fn a_proxy_is_used_with_its_credentials_but_not_for_loopback() {
    let (server, root) = tls_server("idp.test").await;
    let proxy = proxy(server.address).await;
    let outside = provider("https://idp.test/token");
    let via = |userinfo: &str, except: &str| {
        named(format!("http://{userinfo}{}", proxy.address), except, None)
    };

    let answer = received(&trusting(&root, via("user:p%40ss@", "")), &outside).await;
    assert!(
        matches!(answer, Received::Response { status: 200, .. }),
        "{answer:?}"
    );
    assert_eq!(proxy.count(), 1);

    let refused = received(&trusting(&root, via("", "")), &outside).await;
    assert_eq!(refused, nothing(Failure::ProxyLogin));
    assert_eq!(proxy.count(), 2);

    let excepted = received(&trusting(&root, via("", "idp.test")), &outside).await;
    assert_eq!(excepted, nothing(Failure::Dns));
    let (local, root) = tls_server("127.0.0.1").await;
    let loopback = provider(format!("https://{}/token", local.address));
    let answer = received(&trusting(&root, via("", "")), &loopback).await;
    assert!(
        matches!(answer, Received::Response { status: 200, .. }),
        "{answer:?}"
    );
    assert_eq!(proxy.count(), 2);
}

/// A password that is another one each time it is asked for anew.
struct Changing {
    passwords: &'static [&'static str],
    asked: Mutex<Vec<bool>>,
}

impl ProxyPassword for Changing {
    fn password(&self, anew: bool) -> Later<'_, Option<Secret>> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(anew);
        let password = self.passwords.get(asked.len() - 1).copied();
        Box::pin(async move { password.map(Secret::new) })
    }
}

#[test]
fn no_part_of_a_password_is_in_what_a_proxy_is_called() {
    for userinfo in ["", "jane:hush@", "jane:hu@sh@"] {
        let http = http_with(|config| {
            config.proxy = named(format!("http://{userinfo}127.0.0.1:3128"), "", None);
        });
        let called = Some(("http://127.0.0.1:3128".to_owned(), ProxyOrigin::Config));
        assert_eq!(http.proxy_for("https://idp.test/x"), called, "{userinfo}");
    }
}

#[tokio::test]
async fn the_password_for_a_proxy_is_asked_for_when_needed_and_anew_when_it_was_refused() {
    let (server, root) = tls_server("idp.test").await;
    let proxy = proxy(server.address).await;
    let outside = provider("https://idp.test/token");
    for (passwords, expected, connections) in [
        (&["p@ss"] as &[_], None, 1),
        (&["old", "p@ss"], None, 2),
        (&["old", "older"], Some(Failure::ProxyLogin), 2),
        (&["old", "old"], Some(Failure::ProxyLogin), 1),
        (&["old"], Some(Failure::ProxyLogin), 1),
        (&[], Some(Failure::ProxyLogin), 0),
    ] {
        let before = proxy.count();
        let password = Arc::new(Changing {
            passwords,
            asked: Mutex::default(),
        });
        let login = ProxyLogin {
            user: "user".to_owned(),
            password: password.clone(),
        };
        let at = format!("http://{}", proxy.address);
        let http = trusting(&root, named(at.clone(), "direct.test", Some(login)));
        assert_eq!(password.asked.lock().unwrap().len(), 0, "too early");
        let answer = received(&http, &outside).await;
        match expected {
            Some(failure) => assert_eq!(answer, nothing(failure), "{passwords:?}"),
            None => assert!(matches!(answer, Received::Response { status: 200, .. })),
        }
        assert_eq!(proxy.count() - before, connections, "{passwords:?}");
        let named = Some((at, ProxyOrigin::Config));
        assert_eq!(http.proxy_for("https://idp.test/x"), named);
        assert_eq!(http.proxy_for("https://a.direct.test/x"), None);
    }
}

#[tokio::test]
async fn a_proxy_by_tls_and_one_by_socks_get_the_credentials_too() {
    let (server, root) = tls_server("idp.test").await;
    let (secure, own_root) = tls_proxy(server.address).await;
    let socks = socks(server.address).await;
    let outside = provider("https://idp.test/token");
    for (at, roots) in [
        (
            format!("https://{{}}{}", secure.address),
            vec![root.clone(), own_root],
        ),
        (
            format!("socks5h://{{}}{}", socks.address),
            vec![root.clone()],
        ),
    ] {
        for (userinfo, expected) in [
            ("user:p%40ss@", None),
            ("user:wron@", Some(Failure::ProxyLogin)),
            ("", Some(Failure::ProxyLogin)),
        ] {
            let http = http_with(|config| {
                config.extra_roots.clone_from(&roots);
                config.proxy = named(at.replace("{}", userinfo), "", None);
            });
            let answer = received(&http, &outside).await;
            match expected {
                Some(failure) => assert_eq!(answer, nothing(failure), "{at} {userinfo}"),
                None => assert!(
                    matches!(answer, Received::Response { status: 200, .. }),
                    "{at} {answer:?}"
                ),
            }
        }
    }
    // `socks5` is told an address: what the name leads to is found out, and judged, here.
    let http = http_with(|config| {
        config.proxy = named(format!("socks5://user:p%40ss@{}", socks.address), "", None);
    });
    assert_eq!(received(&http, &outside).await, nothing(Failure::Dns));
    // A proxy whose certificate nobody vouches for is the proxy's trouble, and no portal's.
    let http = http_with(|config| {
        config.proxy = named(format!("https://{}", secure.address), "", None);
    });
    assert_eq!(received(&http, &outside).await, nothing(Failure::Proxy));
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_told_from_one_that_refuses() {
    let refusing = Server::answering("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n").await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone_at = gone.local_addr().unwrap();
    drop(gone);
    for (at, failure) in [
        (
            format!("http://{}", refusing.address),
            TransportFailure::Proxy,
        ),
        (
            format!("http://{gone_at}"),
            TransportFailure::ProxyUnreachable,
        ),
        (
            format!("socks5h://{gone_at}"),
            TransportFailure::ProxyUnreachable,
        ),
        (
            "http://proxy.invalid:3128".to_owned(),
            TransportFailure::ProxyUnreachable,
        ),
    ] {
        let http = http_with(|config| config.proxy = named(at.clone(), "", None));
        let outside = provider("https://idp.test/token");
        assert_eq!(
            received(&http, &outside).await,
            nothing(Failure::Proxy),
            "{at}"
        );
        let seen = probe(&http, None, "https://idp.test/token", &At(common::now)).await;
        assert_eq!(seen.reached, Err(failure), "{at}");
    }
}

#[tokio::test]
async fn a_look_tells_a_portal_from_a_provider_and_gives_nothing_away() {
    let date = "date: Tue, 14 Nov 2023 21:13:20 GMT\r\n";
    let metadata = response("200 OK", date, "{\"issuer\":\"x\"}");
    let page = response(
        "200 OK",
        date,
        "<!DOCTYPE html><title>Welcome to the Wi-Fi</title>",
    );
    let leaving = "location: http://portal.test/login?to=x\r\n";
    let elsewhere = response("302 Found", leaving, "");
    let wants_login = response("511 Network Authentication Required", "", "");
    let nowhere = response("404 Not Found", date, "<html>no</html>");
    for (answer, portal) in [
        (metadata, None),
        (page, Some(Portal::Page)),
        (elsewhere, Some(Portal::Redirects("portal.test".to_owned()))),
        (wants_login, Some(Portal::Says)),
        (nowhere, None),
    ] {
        let server = Server::answering(answer).await;
        let (issuer, token) = (server.url(""), server.url("/token"));
        let seen = probe(&http(), Some(&issuer), &token, &At(common::now)).await;
        assert_eq!((seen.reached, seen.portal), (Ok(()), portal));
    }
    let answer = response("405 No", date, "<html>no</html>");
    let server = Server::answering(answer).await;
    let seen = probe(&http(), None, &server.url("/token"), &At(common::now)).await;
    // The clock of these tests says 22:13:20.
    assert_eq!((seen.portal, seen.clock_ahead), (None, Some(3_599)));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_private_address_behind_a_proxy_is_refused_all_the_same() {
    let proxy = Server::answering("").await;
    let http = http_with(|config| {
        config.proxy = named(format!("http://{}", proxy.address), "", None);
    });
    let provider = provider("https://192.168.0.1/token");
    assert_eq!(received(&http, &provider).await, nothing(Failure::Connect));
    assert_eq!(proxy.count(), 0);
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    for proxy in ["", "gopher://proxy:1", "not a url"] {
        let config = HttpConfig {
            proxy: named(proxy.into(), "", None),
            ..HttpConfig::default()
        };
        assert_eq!(Http::new(config).err(), Some(HttpConfigError::Proxy));
    }
    let config = HttpConfig {
        extra_roots: vec![b"no DER".to_vec()],
        ..HttpConfig::default()
    };
    assert!(matches!(Http::new(config), Err(HttpConfigError::Root(_))));
}

/// Runs `environment_child` in a process of its own with these variables.
fn in_environment(url: &str, variables: &[(&str, &str)]) {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "environment_child", "--ignored"])
        .env_clear()
        .env("AUTHD_TEST_URL", url)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[tokio::test]
#[ignore = "started by the tests below, in an environment of its own"]
async fn environment_child() {
    let provider = provider(env::var("AUTHD_TEST_URL").unwrap());
    let answer = received(&Http::new(HttpConfig::default()).unwrap(), &provider).await;
    assert!(
        matches!(answer, Received::Response { status: 200, .. }),
        "{answer:?}"
    );
}

fn pem_file(der: &[u8]) -> tempfile::NamedTempFile {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let file = tempfile::NamedTempFile::new().unwrap();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(der)
    );
    std::fs::write(file.path(), pem).unwrap();
    file
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[tokio::test(flavor = "multi_thread")]
async fn ssl_cert_file_is_trusted() {
    let (server, root) = tls_server("127.0.0.1").await;
    let pem = pem_file(&root);
    let url = format!("https://{}/token", server.address);
    in_environment(&url, &[("SSL_CERT_FILE", pem.path().to_str().unwrap())]);
    assert_eq!(server.count(), 1);
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_used() {
    let (server, root) = tls_server("idp.test").await;
    let pem = pem_file(&root);
    let proxy = proxy(server.address).await;
    let address = format!("http://user:p%40ss@{}", proxy.address);
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        in_environment(
            "https://idp.test/token",
            &[
                ("SSL_CERT_FILE", pem.path().to_str().unwrap()),
                (variable, &address),
            ],
        );
    }
    assert_eq!(proxy.count(), 3);
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[tokio::test]
async fn a_client_proves_itself_by_its_certificate_and_nobody_else_by_another() {
    let made = || {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["client.example".to_owned()]).unwrap();
        let key = Secret::from(pem("PRIVATE KEY", &signing_key.serialize_der()));
        let now = Wall::from_unix_secs(1_780_000_000);
        let chain = pem("CERTIFICATE", cert.der());
        let certificate = ClientCertificate::from_pem(&chain, &key, now).unwrap();
        (
            cert.der().clone(),
            Credential::Certificate(Arc::new(certificate)),
        )
    };
    let ((der, ours), (_, foreign)) = (made(), made());
    let (server, root) = tls_server_for("127.0.0.1", Some(der)).await;
    let mut provider = provider(format!("https://{}/token", server.address));
    provider.client_auth = ClientAuth::Tls;
    let http = trusting(&root, ProxyConfig::Off);
    let ask = async |credential: &Credential| {
        let surroundings = Surroundings {
            fingerprint: &fingerprint,
            on_bytes_sent: &|| (),
            dpop: None,
        };
        let scopes = ScopeSet::default();
        let request = ExchangeRequest::ClientCredentials {
            scopes: &scopes,
            resource: None,
        };
        let exchanged = exchange(&http, client(&provider, credential), request, surroundings);
        bounded(exchanged).await.answer.received
    };
    let answer = ask(&ours).await;
    assert!(
        matches!(answer, Received::Response { status: 200, .. }),
        "{answer:?}"
    );
    // And again: no session of one is another's.
    for other in [&foreign, &Credential::None] {
        let answer = ask(other).await;
        assert!(matches!(answer, Received::Nothing { .. }), "{answer:?}");
    }
    let answer = ask(&ours).await;
    assert!(
        matches!(answer, Received::Response { status: 200, .. }),
        "{answer:?}"
    );
}
