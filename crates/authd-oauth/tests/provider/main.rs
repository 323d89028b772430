//! Whole flows against the fake authorization server.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod authorization_request;
mod discovery;

use authd_core::{
    answer::{Body, ExpiresIn, Received, TokenSummary},
    grant::{ClientAuth, Endpoints, Provider},
    scope::ScopeSet,
    secret::Secret,
};
use authd_oauth::{
    AuthorizationAttempt, AuthorizationError, AuthorizationRequest, Credential,
    DEFAULT_REDIRECT_URI, EndpointError, ExchangeRequest, Exchanged, ID_TOKEN_REJECTED,
    LoopbackRedirect, Metadata, Revocation, RevocationFailure, Surroundings, TokenTypeHint, Tokens,
    authorize_device, discover, exchange, introspect, revoke, userinfo,
};
use authd_testkit::{
    Browser, Client, ClientAuthentication, Consent, Endpoint, FakeServer, Fault, Options, SendIss,
};
use common::{At, Server, bounded, fingerprint, http, response};

fn server() -> FakeServer {
    FakeServer::start(Options::default()).unwrap()
}

fn client_of(metadata: &Metadata) -> Provider {
    Provider {
        issuer: Some(metadata.issuer.clone()),
        endpoints: metadata.endpoints.clone(),
        client_id: "native".into(),
        ..Provider::default()
    }
}

async fn discovered(server: &FakeServer) -> (Metadata, Provider) {
    let metadata = discover(&http(), server.issuer(), None).await.unwrap();
    let provider = client_of(&metadata);
    (metadata, provider)
}

fn random(bytes: &mut [u8]) {
    use std::hash::{BuildHasher, RandomState};
    for chunk in bytes.chunks_mut(8) {
        let number = RandomState::new().hash_one(0_u8).to_ne_bytes();
        chunk.copy_from_slice(&number[..chunk.len()]);
    }
}

/// The real clock: ID tokens carry real times.
fn clock() -> authd_core::time::Now {
    let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    authd_core::time::Now {
        wall: authd_core::time::Wall::default().after(since_epoch),
        ..authd_core::time::Now::default()
    }
}

static NO_CREDENTIAL: Credential = Credential::None;

fn client<'a>(provider: &'a Provider, credential: &'a Credential) -> authd_oauth::Client<'a> {
    authd_oauth::Client {
        provider,
        credential,
        ambient: &At(clock as fn() -> authd_core::time::Now),
    }
}

fn surroundings() -> Surroundings<'static> {
    Surroundings {
        fingerprint: &fingerprint,
        on_bytes_sent: &|| (),
        dpop: None,
    }
}

async fn exchanged(provider: &Provider, request: ExchangeRequest<'_>) -> Exchanged {
    exchange(
        &http(),
        client(provider, &NO_CREDENTIAL),
        request,
        surroundings(),
    )
    .await
}

#[track_caller]
fn accepted(exchanged: Exchanged) -> (TokenSummary, Tokens) {
    let Received::Response {
        status: 200,
        body: Body::Tokens(summary),
    } = exchanged.answer.received
    else {
        panic!("no tokens: {:?}", exchanged.answer);
    };
    (*summary, exchanged.tokens.unwrap())
}

#[track_caller]
fn error_code(exchanged: Exchanged) -> String {
    assert!(exchanged.tokens.is_none());
    let Received::Response {
        body: Body::Error { code, .. },
        ..
    } = exchanged.answer.received
    else {
        panic!("no error: {:?}", exchanged.answer);
    };
    code
}

/// A login in the browser, up to the answer of the token endpoint.
async fn log_in(
    server: &FakeServer,
    scopes: &str,
    resource: Option<&str>,
) -> Result<Exchanged, AuthorizationError> {
    let (metadata, provider) = discovered(server).await;
    let loopback = LoopbackRedirect::bind(DEFAULT_REDIRECT_URI).await.unwrap();
    let request = AuthorizationRequest {
        provider: &provider,
        redirect_uri: loopback.redirect_uri(),
        scopes: &ScopeSet::parse(scopes),
        resources: &resource.map(str::to_owned).into_iter().collect::<Vec<_>>(),
        extra: &[("prompt".into(), "consent".into())],
        scope_separator: None,
        iss_expected: metadata.authorization_response_iss_parameter_supported,
        dpop_jkt: None,
        jarm: None,
    };
    let attempt = AuthorizationAttempt::begin(request, &mut random).unwrap();
    let mut browser = Browser::new();
    let (grant, page) = tokio::join!(loopback.wait(&attempt), browser.follow(attempt.url()));
    page.unwrap();
    Ok(exchanged(&provider, grant?.exchange_request()).await)
}

#[tokio::test]
async fn a_login_by_code_then_a_refresh_then_a_revocation() {
    bounded(async {
        let server = server();
        let resource = Some("https://api.example/");
        let (summary, tokens) = accepted(
            log_in(&server, "openid offline_access api", resource)
                .await
                .unwrap(),
        );
        assert_eq!(summary.subject.unwrap().sub, "user-1");
        assert_eq!(
            summary.fingerprint,
            fingerprint(tokens.access_token.expose())
        );
        assert!(matches!(summary.expires_in, ExpiresIn::Stated(_)));
        let first = tokens.refresh_token.unwrap();

        let (_, provider) = discovered(&server).await;
        let none = ScopeSet::default();
        let refresh = |refresh_token| ExchangeRequest::Refresh {
            refresh_token,
            scopes: &none,
            resource,
        };
        let (_, tokens) = accepted(exchanged(&provider, refresh(&first)).await);
        let second = tokens.refresh_token.unwrap();
        assert!(!second.matches(first.expose()));
        assert_eq!(server.ledger().presented_twice().count(), 0);

        let hint = TokenTypeHint::RefreshToken;
        assert_eq!(
            revoke(&http(), client(&provider, &NO_CREDENTIAL), &second, hint).await,
            Revocation::Revoked
        );
        assert_eq!(
            error_code(exchanged(&provider, refresh(&second)).await),
            "invalid_grant"
        );
        let unknown = Secret::new("never-issued");
        assert_eq!(
            revoke(&http(), client(&provider, &NO_CREDENTIAL), &unknown, hint).await,
            Revocation::Revoked
        );
    })
    .await;
}

#[tokio::test]
async fn a_login_by_device_polls_until_the_person_decides() {
    bounded(async {
        let server = server();
        server.update(|settings| settings.device_interval = std::time::Duration::ZERO);
        let (_, provider) = discovered(&server).await;
        let scopes = ScopeSet::parse("openid api");
        let device = authorize_device(&http(), client(&provider, &NO_CREDENTIAL), &scopes, &[])
            .await
            .unwrap();
        assert!(device.verification_uri.starts_with(server.issuer()));
        let complete = device.verification_uri_complete.unwrap();
        assert!(complete.contains(&device.user_code));

        let poll = || ExchangeRequest::Device {
            device_code: &device.device_code,
            resource: None,
        };
        assert_eq!(
            error_code(exchanged(&provider, poll()).await),
            "authorization_pending"
        );
        server.approve_device(&device.user_code).unwrap();
        let (summary, _) = accepted(exchanged(&provider, poll()).await);
        assert_eq!(summary.subject.unwrap().sub, "user-1");

        let device = authorize_device(&http(), client(&provider, &NO_CREDENTIAL), &scopes, &[])
            .await
            .unwrap();
        server.deny_device(&device.user_code).unwrap();
        let poll = ExchangeRequest::Device {
            device_code: &device.device_code,
            resource: None,
        };
        assert_eq!(
            error_code(exchanged(&provider, poll).await),
            "access_denied"
        );
    })
    .await;
}

#[tokio::test]
async fn device_authorization_reads_what_providers_really_send() {
    bounded(async {
        let authorize = async |status: &str, body: &str| {
            let server = Server::answering(response(status, "", body)).await;
            let provider = Provider {
                endpoints: Endpoints {
                    device_authorization: Some(server.url("/device")),
                    ..Endpoints::default()
                },
                ..Provider::default()
            };
            authorize_device(
                &http(),
                client(&provider, &NO_CREDENTIAL),
                &ScopeSet::default(),
                &[],
            )
            .await
        };
        // Google's name for the address, strings for numbers, no interval.
        let google = r#"{"device_code":"DC","user_code":"AB\u001b[31m-CD","expires_in":"1800",
            "verification_url":"https://google.example/device"}"#;
        let device = authorize("200 OK", google).await.ok().unwrap();
        assert_eq!(device.user_code, "AB[31m-CD");
        assert_eq!(device.verification_uri, "https://google.example/device");
        assert_eq!(
            (device.expires_in.as_secs(), device.interval.as_secs()),
            (1800, 5)
        );
        assert!(device.device_code.matches("DC"));

        // Nobody is waited for for ten years.
        let patient = google.replace("1800", "315360000");
        let device = authorize("200 OK", &patient).await.ok().unwrap();
        assert_eq!(device.expires_in.as_secs(), 1800);

        let refused = authorize("200 OK", r#"{"error":"device_flow_disabled"}"#)
            .await
            .err();
        assert!(
            matches!(refused, Some(EndpointError::Refused { status: 200, .. })),
            "{refused:?}"
        );
        for useless in [
            "{}",
            "<html>",
            r#"{"device_code":"DC","user_code":"AB","verification_uri":"javascript:alert(1)"}"#,
            r#"{"device_code":"DC","user_code":"AB","verification_uri":"http://idp.example/"}"#,
            r#"{"user_code":"AB","verification_uri":"https://idp.example/"}"#,
        ] {
            let error = authorize("200 OK", useless).await.err();
            assert_eq!(
                error,
                Some(EndpointError::Unintelligible { status: 200 }),
                "{useless}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn confidential_clients_prove_themselves_by_basic_and_by_post() {
    bounded(async {
        let awkward = "s3:cr%t/+ü";
        let server = FakeServer::start(Options {
            clients: vec![
                Client::native("basic")
                    .authenticated_by(ClientAuthentication::Basic(awkward.into())),
                Client::native("post").authenticated_by(ClientAuthentication::Post(awkward.into())),
            ],
            ..Options::default()
        })
        .unwrap();
        let (_, mut provider) = discovered(&server).await;
        let secret = Credential::Secret(Secret::new(awkward));
        let token = Secret::new("RT");
        for (id, auth) in [("basic", ClientAuth::Basic), ("post", ClientAuth::Post)] {
            provider.client_id = id.into();
            provider.client_auth = auth;
            let none = ScopeSet::default();
            let refresh = || ExchangeRequest::Refresh {
                refresh_token: &token,
                scopes: &none,
                resource: None,
            };
            let known = exchange(
                &http(),
                client(&provider, &secret),
                refresh(),
                surroundings(),
            )
            .await;
            assert_eq!(error_code(known), "invalid_grant", "{id}");
            let unknown = exchange(
                &http(),
                client(&provider, &NO_CREDENTIAL),
                refresh(),
                surroundings(),
            )
            .await;
            assert_eq!(error_code(unknown), "invalid_client", "{id}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_denied_consent_and_a_mix_up_end_the_login() {
    bounded(async {
        let server = server();
        server.update(|settings| settings.consent = Consent::Deny("access_denied".into()));
        let denied = log_in(&server, "api", None).await.err();
        assert!(
            matches!(denied, Some(AuthorizationError::Denied(_))),
            "{denied:?}"
        );

        server.update(|settings| settings.consent = Consent::Approve);
        for send_iss in [
            SendIss::Omitted,
            SendIss::Other("https://attacker.example".into()),
        ] {
            server.update(|settings| settings.send_iss = send_iss);
            let error = log_in(&server, "api", None).await.err();
            assert!(
                matches!(error, Some(AuthorizationError::IssuerMismatch { .. })),
                "{error:?}"
            );
        }
        assert_eq!(server.counts().requests(Endpoint::Token), 0);
    })
    .await;
}

#[tokio::test]
async fn tokens_with_another_logins_id_token_are_not_taken() {
    bounded(async {
        let server = server();
        for (claim, value) in [
            ("nonce", "other"),
            ("iss", "https://other.example"),
            ("aud", "other"),
        ] {
            server.update(|settings| {
                settings.id_token_claims = [(claim.to_owned(), value.into())].into_iter().collect();
            });
            let exchanged = log_in(&server, "openid", None).await.unwrap();
            assert_eq!(error_code(exchanged), ID_TOKEN_REJECTED, "{claim}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_refresh_keeps_its_tokens_whatever_its_id_token_says() {
    bounded(async {
        let server = server();
        server.update(|settings| settings.id_token_on_refresh = true);
        let (_, tokens) = accepted(
            log_in(&server, "openid offline_access", None)
                .await
                .unwrap(),
        );
        let (_, provider) = discovered(&server).await;
        let none = ScopeSet::default();
        let refresh = async |token: &Secret| {
            let request = ExchangeRequest::Refresh {
                refresh_token: token,
                scopes: &none,
                resource: None,
            };
            accepted(exchanged(&provider, request).await)
        };
        let (summary, tokens) = refresh(&tokens.refresh_token.unwrap()).await;
        assert_eq!(summary.subject.unwrap().sub, "user-1");
        // Another person: a fact for the engine.
        server.update(|settings| settings.subject = "user-2".into());
        let (summary, tokens) = refresh(&tokens.refresh_token.unwrap()).await;
        assert_eq!(summary.subject.unwrap().sub, "user-2");
        server.update(|settings| {
            settings.id_token_claims = [("aud".to_owned(), "other".into())].into_iter().collect();
        });
        let (summary, tokens) = refresh(&tokens.refresh_token.unwrap()).await;
        assert_eq!(summary.subject, None);
        assert!(tokens.refresh_token.is_some());
    })
    .await;
}

#[tokio::test]
async fn who_signed_in_and_whether_a_token_lives_can_be_asked() {
    bounded(async {
        let server = server();
        let (_, tokens) = accepted(log_in(&server, "openid api", None).await.unwrap());
        let (_, mut provider) = discovered(&server).await;
        assert_eq!(
            userinfo(
                &http(),
                client(&provider, &NO_CREDENTIAL),
                &tokens.access_token,
                None
            )
            .await
            .unwrap()
            .sub,
            "user-1"
        );

        let hint = TokenTypeHint::AccessToken;
        let alive = introspect(
            &http(),
            client(&provider, &NO_CREDENTIAL),
            &tokens.access_token,
            hint,
        )
        .await
        .unwrap();
        assert!(alive.active && alive.expires_at.is_some());
        server.revoke_access_tokens();
        let dead = introspect(
            &http(),
            client(&provider, &NO_CREDENTIAL),
            &tokens.access_token,
            hint,
        )
        .await
        .unwrap();
        assert!(!dead.active);
        let refused = userinfo(
            &http(),
            client(&provider, &NO_CREDENTIAL),
            &tokens.access_token,
            None,
        )
        .await
        .unwrap_err();
        assert!(
            matches!(
                refused,
                EndpointError::Refused { status: 401, .. }
                    | EndpointError::Unintelligible { status: 401 }
            ),
            "{refused:?}"
        );

        provider.endpoints.introspection = None;
        provider.endpoints.userinfo = None;
        provider.endpoints.revocation = None;
        let token = &tokens.access_token;
        let nothing = introspect(&http(), client(&provider, &NO_CREDENTIAL), token, hint)
            .await
            .unwrap_err();
        assert_eq!(nothing, EndpointError::NotOffered);
        let nothing = userinfo(&http(), client(&provider, &NO_CREDENTIAL), token, None)
            .await
            .unwrap_err();
        assert_eq!(nothing, EndpointError::NotOffered);
        assert_eq!(
            revoke(&http(), client(&provider, &NO_CREDENTIAL), token, hint).await,
            Revocation::Unsupported
        );
    })
    .await;
}

#[tokio::test]
async fn a_revocation_that_failed_says_why() {
    bounded(async {
        let server = server();
        let (_, mut provider) = discovered(&server).await;
        let (token, hint) = (Secret::new("RT"), TokenTypeHint::RefreshToken);
        server.fault_next(Endpoint::Revocation, Fault::Status { status: 503 });
        assert_eq!(
            revoke(&http(), client(&provider, &NO_CREDENTIAL), &token, hint).await,
            Revocation::Failed(RevocationFailure::Unavailable(503))
        );
        provider.client_id = "nobody".into();
        let refused = revoke(&http(), client(&provider, &NO_CREDENTIAL), &token, hint).await;
        assert!(
            matches!(refused, Revocation::Failed(RevocationFailure::Client(_))),
            "{refused:?}"
        );
        server.kill();
        let lost = revoke(&http(), client(&provider, &NO_CREDENTIAL), &token, hint).await;
        assert!(
            matches!(lost, Revocation::Failed(RevocationFailure::Transport(_))),
            "{lost:?}"
        );
    })
    .await;
}
