//! Clients that prove themselves by a key, and grants without a person, against the fake authorization
//! server, which checks every assertion by code of its own.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod common;

use std::sync::Arc;

use authd_core::{
    answer::{Body, Received},
    grant::{AssertionAudience, ClientAuth, Provider},
    scope::ScopeSet,
    secret::Secret,
    time::{Now, Wall},
};
use authd_oauth::{
    Client, Credential, Dpop, DpopKey, DpopServers, ExchangeRequest, Exchanged, Proving, Signer,
    SignerOptions, Surroundings, TokenTypeHint, discover, exchange, introspect, revoke,
};
use authd_testkit::{
    Client as Registered, ClientAuthentication, Endpoint, FakeServer, Options, Support,
};
use common::{At, bounded, fingerprint, http};
use serde_json::Value;

const P256: &str = include_str!("../src/jws/keys/p256-pkcs8.pem");
const RSA: &str = include_str!("../src/jws/keys/rsa-pkcs8.pem");
const ED25519: &str = include_str!("../src/jws/keys/ed25519-pkcs8.pem");

/// The real clock: the server judges assertions by its own.
fn now() -> Now {
    let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Now {
        wall: Wall::default().after(since_epoch),
        ..Now::default()
    }
}

fn signer(key: &str, algorithm: Option<&str>) -> Signer {
    let options = SignerOptions {
        key_id: Some("k1".into()),
        algorithm: algorithm.map(str::to_owned),
        audience: None,
    };
    Signer::new(&Secret::new(key), options).ok().unwrap()
}

/// A server that knows one client by its key, and the client.
async fn registered(
    signer: Signer,
    authentication: ClientAuthentication,
) -> (FakeServer, Provider, Credential) {
    let client = Registered::native("service")
        .authenticated_by(authentication)
        .with_jwk(Value::Object(signer.public_jwk()));
    let server = FakeServer::start(Options {
        clients: vec![client],
        ..Options::default()
    })
    .unwrap();
    let metadata = discover(&http(), server.issuer(), None).await.unwrap();
    let provider = Provider {
        issuer: Some(metadata.issuer.clone()),
        endpoints: metadata.endpoints.clone(),
        client_id: "service".into(),
        client_auth: ClientAuth::PrivateKeyJwt,
        ..Provider::default()
    };
    (server, provider, Credential::Key(Arc::new(signer)))
}

async fn ask(
    provider: &Provider,
    credential: &Credential,
    clock: fn() -> Now,
    request: ExchangeRequest<'_>,
) -> Exchanged {
    ask_with(provider, credential, clock, request, None).await
}

async fn ask_with(
    provider: &Provider,
    credential: &Credential,
    clock: fn() -> Now,
    request: ExchangeRequest<'_>,
    dpop: Option<Dpop<'_>>,
) -> Exchanged {
    let client = Client {
        provider,
        credential,
        ambient: &At(clock),
    };
    let surroundings = Surroundings {
        fingerprint: &fingerprint,
        on_bytes_sent: &|| (),
        dpop,
    };
    exchange(&http(), client, request, surroundings).await
}

#[track_caller]
fn token(exchanged: Exchanged) -> Secret {
    let answer = exchanged.answer;
    exchanged
        .tokens
        .unwrap_or_else(|| panic!("{answer:?}"))
        .access_token
}

#[track_caller]
fn refused(exchanged: &Exchanged) -> (&str, &str) {
    match &exchanged.answer.received {
        Received::Response {
            body: Body::Error {
                code, description, ..
            },
            ..
        } => (code, description.as_deref().unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

fn own(scopes: &ScopeSet) -> ExchangeRequest<'_> {
    ExchangeRequest::ClientCredentials {
        scopes,
        resource: None,
    }
}

#[tokio::test]
async fn a_key_of_every_type_proves_the_client_and_no_assertion_is_sent_twice() {
    bounded(async {
        let scopes = ScopeSet::parse("api:read");
        for (key, algorithm) in [
            (P256, None),
            (RSA, None),
            (RSA, Some("PS256")),
            (ED25519, None),
        ] {
            let signer = signer(key, algorithm);
            let (server, provider, credential) =
                registered(signer, ClientAuthentication::PrivateKeyJwt).await;
            for _ in 0..2 {
                let exchanged = ask(&provider, &credential, now, own(&scopes)).await;
                let token = token(exchanged);
                let client = Client {
                    provider: &provider,
                    credential: &credential,
                    ambient: &At(now),
                };
                let hint = TokenTypeHint::AccessToken;
                let known = introspect(&http(), client, &token, hint).await.unwrap();
                assert!(known.active);
                revoke(&http(), client, &token, hint).await;
            }
            assert_eq!(server.ledger().counts.exchanges["client_credentials"], 2);
        }
    })
    .await;
}

/// The refusal of a proof comes after the client has proved itself, so its assertion is used up.
#[tokio::test]
async fn a_request_sent_again_with_another_proof_has_another_assertion() {
    bounded(async {
        let (server, provider, credential) =
            registered(signer(P256, None), ClientAuthentication::PrivateKeyJwt).await;
        server.update(|settings| {
            settings.dpop = Support::Required;
            settings.dpop_nonce = Some("n-1".into());
        });
        let (key, servers) = (DpopKey::generate().unwrap(), DpopServers::default());
        let dpop = Dpop {
            key: &key,
            servers: &servers,
            when: Proving::Always,
        };
        let scopes = ScopeSet::parse("api:read");
        let request = own(&scopes);
        let exchanged = ask_with(&provider, &credential, now, request, Some(dpop)).await;
        assert!(exchanged.proved);
        token(exchanged);
        let requests = server.counts().requests(Endpoint::Token);
        assert_eq!(requests, 2, "the refusal and the resend");
    })
    .await;
}

#[tokio::test]
async fn an_assertion_for_somebody_else_of_another_key_or_time_is_refused() {
    bounded(async {
        let scopes = ScopeSet::default();
        let (server, mut provider, credential) =
            registered(signer(P256, None), ClientAuthentication::PrivateKeyJwt).await;

        provider.profile.assertion_audience = AssertionAudience::TokenEndpoint;
        let exchanged = ask(&provider, &credential, now, own(&scopes)).await;
        let wrong_audience = ("invalid_client", "the assertion is for somebody else");
        assert_eq!(refused(&exchanged), wrong_audience);
        server.update(|settings| settings.assertion_audience_is_token_endpoint = true);
        token(ask(&provider, &credential, now, own(&scopes)).await);

        let hour_ago = || Now {
            wall: Wall(now().wall.0 - 3_600_000),
            ..Now::default()
        };
        let exchanged = ask(&provider, &credential, hour_ago, own(&scopes)).await;
        let expired = ("invalid_client", "the assertion has expired");
        assert_eq!(refused(&exchanged), expired);
        assert!(exchanged.answer.date.is_some(), "by which it is made good");

        let foreign = Credential::Key(Arc::new(signer(ED25519, None)));
        let exchanged = ask(&provider, &foreign, now, own(&scopes)).await;
        let signature = ("invalid_client", "the assertion's signature does not hold");
        assert_eq!(refused(&exchanged), signature);

        let exchanged = ask(&provider, &Credential::None, now, own(&scopes)).await;
        assert_eq!(refused(&exchanged).0, "invalid_client");
    })
    .await;
}

#[tokio::test]
async fn an_assertion_is_exchanged_for_tokens_about_the_client_or_another() {
    bounded(async {
        let (server, mut provider, credential) =
            registered(signer(RSA, None), ClientAuthentication::None).await;
        provider.client_auth = ClientAuth::None;
        let scopes = ScopeSet::parse("api:read");
        for subject in [None, Some("jane")] {
            let request = ExchangeRequest::JwtBearer {
                subject,
                scopes: &scopes,
                resource: None,
            };
            token(ask(&provider, &credential, now, request).await);
            let families = server.ledger().families;
            let family = families.last().unwrap();
            assert_eq!(family.subject, subject.unwrap_or("service"));
            assert_eq!(family.scopes, ["api:read"]);
        }
        // Without a key nothing leaves.
        let request = ExchangeRequest::JwtBearer {
            subject: None,
            scopes: &scopes,
            resource: None,
        };
        let exchanged = ask(&provider, &Credential::None, now, request).await;
        assert!(matches!(
            exchanged.answer.received,
            Received::Nothing {
                bytes_left: false,
                ..
            }
        ));
    })
    .await;
}

#[tokio::test]
async fn an_access_token_is_exchanged_for_one_of_another_resource() {
    bounded(async {
        let (server, provider, credential) =
            registered(signer(P256, None), ClientAuthentication::PrivateKeyJwt).await;
        let scopes = ScopeSet::parse("a b");
        let subject_token = token(ask(&provider, &credential, now, own(&scopes)).await);
        let narrower = ScopeSet::parse("a");
        let exchange_for = |resource| ExchangeRequest::TokenExchange {
            subject_token: &subject_token,
            scopes: &narrower,
            resource,
        };
        let resource = Some("https://api.example/");
        token(ask(&provider, &credential, now, exchange_for(resource)).await);
        let ledger = server.ledger();
        let derived = ledger.access_tokens.last().unwrap();
        assert_eq!(derived.resources, ["https://api.example/"]);
        assert_eq!(derived.scopes, ["a"]);
        server.revoke_access_tokens();
        let exchanged = ask(&provider, &credential, now, exchange_for(resource)).await;
        assert_eq!(refused(&exchanged).0, "invalid_request");
        let text = format!("{:?}", exchanged.answer);
        assert!(!text.contains(subject_token.expose()), "{text}");
    })
    .await;
}
