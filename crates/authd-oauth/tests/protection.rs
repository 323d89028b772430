//! Pushed requests (RFC 9126), proofs of possession (RFC 9449) and signed answers (JARM), against the fake
//! authorization server.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use authd_core::{
    answer::{Answer, Body, Received},
    grant::{ClientAuth, Provider},
    scope::ScopeSet,
    secret::Secret,
    time::{Boot, Now, Wall},
};
use authd_oauth::{
    Ambient, AuthorizationAttempt, AuthorizationError, AuthorizationGrant, AuthorizationRequest,
    Client, Credential, DEFAULT_REDIRECT_URI, Dpop, DpopKey, DpopServers, EndpointError,
    ExchangeRequest, Exchanged, Jarm, JarmError, LoopbackRedirect, Metadata, Proving, Surroundings,
    Tokens, discover, exchange, push, userinfo,
};
use authd_testkit::{
    Browser, ClientAuthentication, Clock, Endpoint, FakeServer, Fault, ManualClock, Options,
    Settings, Support,
};
use common::{At, bounded, fingerprint, http};
use serde_json::json;

fn server(change: impl FnOnce(&mut Settings)) -> FakeServer {
    let mut settings = Settings::default();
    change(&mut settings);
    FakeServer::start(Options {
        settings,
        ..Options::default()
    })
    .unwrap()
}

/// The real clock, off by so many seconds.
fn clock(off: i64) -> Now {
    let unix = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Now {
        boot: Boot(1_000),
        wall: Wall::from_unix_secs(i64::try_from(unix.as_secs()).unwrap() + off),
    }
}

fn at(off: i64) -> At<impl Fn() -> Now + Send + Sync> {
    At(move || clock(off))
}

/// A client that knows its provider and remembers what servers said.
struct Native {
    metadata: Metadata,
    provider: Provider,
    credential: Credential,
    servers: DpopServers,
    clock: Arc<dyn Ambient>,
    told: AtomicUsize,
}

impl Native {
    async fn of(server: &FakeServer) -> Self {
        let metadata = discover(&http(), server.issuer(), None).await.unwrap();
        let provider = Provider {
            issuer: Some(metadata.issuer.clone()),
            endpoints: metadata.endpoints.clone(),
            client_id: "native".into(),
            ..Provider::default()
        };
        Self {
            metadata,
            provider,
            credential: Credential::None,
            servers: DpopServers::default(),
            clock: Arc::new(at(0)),
            told: AtomicUsize::new(0),
        }
    }

    fn client(&self) -> Client<'_> {
        Client {
            provider: &self.provider,
            credential: &self.credential,
            ambient: &*self.clock,
        }
    }

    fn dpop<'a>(&'a self, key: &'a DpopKey, when: Proving) -> Dpop<'a> {
        Dpop {
            key,
            servers: &self.servers,
            when,
        }
    }

    async fn exchange(&self, request: ExchangeRequest<'_>, dpop: Option<Dpop<'_>>) -> Exchanged {
        let surroundings = Surroundings {
            fingerprint: &fingerprint,
            on_bytes_sent: &|| {
                self.told.fetch_add(1, Ordering::Relaxed);
            },
            dpop,
        };
        exchange(&http(), self.client(), request, surroundings).await
    }

    async fn refresh(&self, refresh_token: &Secret, dpop: Option<Dpop<'_>>) -> Exchanged {
        let request = ExchangeRequest::Refresh {
            refresh_token,
            scopes: &ScopeSet::default(),
            resource: None,
        };
        self.exchange(request, dpop).await
    }

    /// Goes to the provider as `change` says, and comes back with a code or without.
    async fn authorize(
        &self,
        jkt: Option<&str>,
        jarm: Option<Jarm>,
        pushes: bool,
    ) -> Result<AuthorizationGrant, AuthorizationError> {
        let loopback = LoopbackRedirect::bind(DEFAULT_REDIRECT_URI).await.unwrap();
        let mut attempt = self.begin(loopback.redirect_uri(), jkt, jarm);
        if pushes {
            push(&http(), self.client(), &mut attempt).await.unwrap();
        }
        let mut browser = Browser::new();
        let (grant, page) = tokio::join!(loopback.wait(&attempt), browser.follow(attempt.url()));
        page.unwrap();
        grant
    }

    fn begin(
        &self,
        redirect_uri: &str,
        jkt: Option<&str>,
        jarm: Option<Jarm>,
    ) -> AuthorizationAttempt {
        let request = AuthorizationRequest {
            provider: &self.provider,
            redirect_uri,
            scopes: &ScopeSet::parse("openid offline_access"),
            resources: &["https://one.example/".into(), "https://two.example/".into()],
            extra: &[],
            scope_separator: None,
            iss_expected: true,
            dpop_jkt: jkt,
            jarm,
        };
        AuthorizationAttempt::begin(request, &mut |bytes| {
            bytes.fill_with(|| self.clock.random().unwrap() as u8);
        })
        .unwrap()
    }

    /// A login that is bound to `key` from the start.
    async fn log_in(&self, key: &DpopKey) -> Exchanged {
        let jkt = key.thumbprint();
        let grant = self.authorize(Some(&jkt), None, false).await.ok().unwrap();
        let dpop = self.dpop(key, Proving::Always);
        self.exchange(grant.exchange_request(), Some(dpop)).await
    }

    async fn jarm(&self) -> Jarm {
        let keys = self.metadata.jwks_uri.as_deref().unwrap();
        Jarm::fetch(&http(), keys, Arc::clone(&self.clock))
            .await
            .unwrap()
    }
}

#[track_caller]
fn tokens(exchanged: Exchanged) -> (String, Tokens) {
    let Received::Response {
        body: Body::Tokens(summary),
        ..
    } = exchanged.answer.received
    else {
        panic!("no tokens: {:?}", exchanged.answer);
    };
    (summary.token_type, exchanged.tokens.unwrap())
}

#[track_caller]
fn code(answer: &Answer) -> &str {
    let Received::Response {
        body: Body::Error { code, .. },
        ..
    } = &answer.received
    else {
        panic!("no error: {answer:?}");
    };
    code
}

fn requests(server: &FakeServer) -> u64 {
    server.counts().requests(Endpoint::Token)
}

#[tokio::test]
async fn a_nonce_is_learned_by_one_refusal_and_then_known() {
    bounded(async {
        let server = server(|settings| {
            settings.dpop = Support::Required;
            settings.dpop_nonce = Some("n-1".into());
        });
        let native = Native::of(&server).await;
        assert!(native.metadata.takes_dpop());
        let key = DpopKey::generate().unwrap();

        let exchanged = native.log_in(&key).await;
        assert!(exchanged.proved);
        let (token_type, got) = tokens(exchanged);
        assert_eq!(token_type, "DPoP");
        assert_eq!(requests(&server), 2, "the refusal and the resend");
        assert_eq!(native.told.load(Ordering::Relaxed), 1, "told of once");

        // The nonce is known now, and one that changes costs one more refusal.
        let always = || Some(native.dpop(&key, Proving::Always));
        let first = got.refresh_token.unwrap();
        let (_, got) = tokens(native.refresh(&first, always()).await);
        assert_eq!(requests(&server), 3);
        server.update(|settings| settings.dpop_nonce = Some("n-2".into()));
        let second = got.refresh_token.unwrap();
        tokens(native.refresh(&second, always()).await);
        assert_eq!(requests(&server), 5);
        let ledger = server.ledger();
        assert_eq!(ledger.presented_twice().count(), 0, "none was spent twice");
        assert_eq!(ledger.counts.dpop_replays, 0);
        assert_eq!(
            ledger.families[0].jkt.as_deref(),
            Some(key.thumbprint().as_str())
        );
    })
    .await;
}

#[tokio::test]
async fn a_server_that_never_has_enough_of_nonces_is_asked_twice_and_no_more() {
    bounded(async {
        let server = server(|settings| {
            settings.dpop = Support::Required;
            settings.dpop_nonce = Some("n-1".into());
        });
        let native = Native::of(&server).await;
        let key = DpopKey::generate().unwrap();
        server.fault_always(
            Endpoint::Token,
            Fault::oauth_error("use_dpop_nonce").before_commit(),
        );
        let never = Secret::new("never");
        let exchanged = native
            .refresh(&never, Some(native.dpop(&key, Proving::Always)))
            .await;
        assert_eq!(code(&exchanged.answer), "use_dpop_nonce");
        assert_eq!(requests(&server), 2);

        // Without a nonce there is nothing to send again with.
        server.update(|settings| settings.dpop_nonce = None);
        native
            .refresh(&never, Some(native.dpop(&key, Proving::Always)))
            .await;
        assert_eq!(requests(&server), 3);
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_is_never_sent_for_again() {
    bounded(async {
        let server = server(|settings| {
            settings.dpop = Support::Required;
            settings.dpop_nonce = Some("n-1".into());
        });
        let native = Native::of(&server).await;
        let key = DpopKey::generate().unwrap();
        let first = tokens(native.log_in(&key).await).1.refresh_token.unwrap();
        server.update(|settings| settings.dpop_nonce = Some("n-2".into()));
        let before = requests(&server);
        // The refusal comes, and the answer to the resend does not.
        server.fault_next(Endpoint::Token, Fault::Pass);
        server.fault_next(Endpoint::Token, Fault::Drop.after_commit());
        let exchanged = native
            .refresh(&first, Some(native.dpop(&key, Proving::Always)))
            .await;
        assert!(
            matches!(
                exchanged.answer.received,
                Received::Nothing {
                    bytes_left: true,
                    ..
                }
            ),
            "{:?}",
            exchanged.answer
        );
        assert_eq!(requests(&server), before + 2);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_clock_is_mended_by_the_servers_date() {
    bounded(async {
        for off in [-7200, 7200] {
            let server = server(|settings| settings.dpop = Support::Required);
            let mut native = Native::of(&server).await;
            native.clock = Arc::new(at(off));
            let key = DpopKey::generate().unwrap();
            let grant = native.authorize(None, None, false).await.ok().unwrap();
            let dpop = native.dpop(&key, Proving::Always);
            let exchanged = native.exchange(grant.exchange_request(), Some(dpop)).await;
            let refresh_token = tokens(exchanged).1.refresh_token.unwrap();
            assert_eq!(requests(&server), 2, "off by {off} s");
            // From then on it is right at once.
            tokens(native.refresh(&refresh_token, Some(dpop)).await);
            assert_eq!(requests(&server), 3);
        }
    })
    .await;
}

#[tokio::test]
async fn a_proof_refused_for_another_reason_is_not_sent_again() {
    bounded(async {
        let server = server(|settings| settings.dpop = Support::Required);
        let native = Native::of(&server).await;
        server.fault_always(
            Endpoint::Token,
            Fault::oauth_error("invalid_dpop_proof").before_commit(),
        );
        let key = DpopKey::generate().unwrap();
        let never = Secret::new("never");
        let exchanged = native
            .refresh(&never, Some(native.dpop(&key, Proving::Always)))
            .await;
        assert_eq!(code(&exchanged.answer), "invalid_dpop_proof");
        assert_eq!(requests(&server), 1);
    })
    .await;
}

#[tokio::test]
async fn a_proof_is_given_when_it_is_demanded_and_not_before() {
    bounded(async {
        for (demand, sent) in [
            (Support::Offered, 1),
            (Support::Off, 1),
            (Support::Required, 2),
        ] {
            let server = server(|settings| settings.dpop = demand);
            let native = Native::of(&server).await;
            let key = DpopKey::generate().unwrap();
            let grant = native.authorize(None, None, false).await.ok().unwrap();
            let dpop = native.dpop(&key, Proving::WhenDemanded);
            let exchanged = native.exchange(grant.exchange_request(), Some(dpop)).await;
            assert_eq!(exchanged.proved, demand == Support::Required);
            let (token_type, _) = tokens(exchanged);
            assert_eq!(token_type == "DPoP", demand == Support::Required);
            assert_eq!(requests(&server), sent, "{demand:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_bound_to_one_key_is_of_no_use_with_another() {
    bounded(async {
        let server = server(|settings| settings.dpop = Support::Offered);
        let native = Native::of(&server).await;
        let (key, other) = (DpopKey::generate().unwrap(), DpopKey::generate().unwrap());
        let with = |key| Some(native.dpop(key, Proving::Always));

        // The code.
        let jkt = key.thumbprint();
        let grant = native
            .authorize(Some(&jkt), None, false)
            .await
            .ok()
            .unwrap();
        let exchanged = native
            .exchange(grant.exchange_request(), with(&other))
            .await;
        assert_eq!(code(&exchanged.answer), "invalid_grant");
        // The refresh token.
        let got = tokens(native.log_in(&key).await).1;
        let refresh_token = got.refresh_token.unwrap();
        for wrong in [with(&other), None] {
            let exchanged = native.refresh(&refresh_token, wrong).await;
            assert_eq!(code(&exchanged.answer), "invalid_grant");
        }
        // The access token.
        for (wrong, right) in [(with(&other), false), (None, false), (with(&key), true)] {
            let who = userinfo(&http(), native.client(), &got.access_token, wrong).await;
            assert_eq!(who.is_ok(), right, "{who:?}");
        }
        tokens(native.refresh(&refresh_token, with(&key)).await);
    })
    .await;
}

#[tokio::test]
async fn userinfo_takes_a_bound_token_and_a_new_nonce() {
    bounded(async {
        let server = server(|settings| settings.dpop = Support::Offered);
        let native = Native::of(&server).await;
        let key = DpopKey::generate().unwrap();
        let got = tokens(native.log_in(&key).await).1;
        server.update(|settings| settings.dpop_nonce = Some("of-the-resource".into()));
        let dpop = Some(native.dpop(&key, Proving::Always));
        let who = userinfo(&http(), native.client(), &got.access_token, dpop).await;
        assert_eq!(who.unwrap().sub, "user-1");
        assert_eq!(server.counts().requests(Endpoint::Userinfo), 2);
    })
    .await;
}

#[tokio::test]
async fn a_pushed_request_is_named_in_the_url_and_nothing_else_of_it() {
    bounded(async {
        let server = server(|settings| {
            settings.pushed_authorization_requests = Support::Required;
        });
        let native = Native::of(&server).await;
        assert!(native.metadata.require_pushed_authorization_requests);
        let mut attempt = native.begin("http://127.0.0.1:1/callback", Some("jkt"), None);
        let plain = attempt.url().to_owned();
        assert_eq!(plain.matches("&resource=").count(), 2, "{plain}");
        assert!(plain.contains("&dpop_jkt=jkt"));
        let expires_in = push(&http(), native.client(), &mut attempt).await.unwrap();
        assert_eq!(expires_in, Some(Duration::from_secs(60)));
        let url = url::Url::parse(attempt.url()).unwrap();
        let names: Vec<_> = url
            .query_pairs()
            .map(|(name, _)| name.into_owned())
            .collect();
        assert_eq!(names, ["client_id", "request_uri"]);

        let grant = native.authorize(None, None, true).await.ok().unwrap();
        tokens(native.exchange(grant.exchange_request(), None).await);
        // Both resources reached the provider, and it takes no request but a pushed one.
        assert_eq!(server.ledger().families[0].resources.len(), 2);
        let page = Browser::new().follow(&plain).await.unwrap();
        assert_eq!(page.status, 400);
    })
    .await;
}

#[tokio::test]
async fn a_confidential_client_proves_itself_when_it_pushes() {
    bounded(async {
        for (auth, registered) in [
            (
                ClientAuth::Basic,
                ClientAuthentication::Basic("the-secret".into()),
            ),
            (
                ClientAuth::Post,
                ClientAuthentication::Post("the-secret".into()),
            ),
        ] {
            let server = server(|settings| {
                settings.pushed_authorization_requests = Support::Offered;
            });
            server.register(authd_testkit::Client::native("native").authenticated_by(registered));
            let mut native = Native::of(&server).await;
            native.provider.client_auth = auth;
            native.credential = Credential::Secret(Secret::new("the-secret"));
            let grant = native.authorize(None, None, true).await.ok().unwrap();
            tokens(native.exchange(grant.exchange_request(), None).await);

            native.credential = Credential::Secret(Secret::new("another"));
            let mut attempt = native.begin("http://127.0.0.1:1/callback", None, None);
            let plain = attempt.url().to_owned();
            let refused = push(&http(), native.client(), &mut attempt).await;
            let Err(EndpointError::Refused { status, refusal }) = refused else {
                panic!("not refused");
            };
            assert_eq!((status, refusal.code.as_str()), (401, "invalid_client"));
            assert_eq!(attempt.url(), plain, "the attempt is as it was");
        }
    })
    .await;
}

#[tokio::test]
async fn a_push_that_fails_says_how() {
    bounded(async {
        let server = server(|_| ());
        let native = Native::of(&server).await;
        let mut attempt = native.begin("http://127.0.0.1:1/callback", None, None);
        let pushed = push(&http(), native.client(), &mut attempt).await;
        assert_eq!(pushed, Err(EndpointError::NotOffered));

        server.update(|settings| settings.pushed_authorization_requests = Support::Offered);
        let native = Native::of(&server).await;
        let broken = [Fault::HtmlOk, Fault::status(404), Fault::MalformedJson];
        for fault in broken {
            server.fault_next(Endpoint::PushedAuthorization, fault.clone());
            let pushed = push(&http(), native.client(), &mut attempt).await;
            let unclear = matches!(pushed, Err(EndpointError::Unintelligible { .. }));
            assert!(unclear, "{fault:?}: {pushed:?}");
        }
        server.fault_next(Endpoint::PushedAuthorization, Fault::Drop);
        let pushed = push(&http(), native.client(), &mut attempt).await;
        assert!(pushed.unwrap_err().is_transient());
    })
    .await;
}

#[tokio::test]
async fn a_pushed_request_that_waited_too_long_is_gone() {
    bounded(async {
        let clock = ManualClock::starting_now();
        let server = FakeServer::start(Options {
            settings: Settings {
                pushed_authorization_requests: Support::Required,
                ..Settings::default()
            },
            clock: Clock::Manual(clock.clone()),
            ..Options::default()
        })
        .unwrap();
        let native = Native::of(&server).await;
        let mut attempt = native.begin("http://127.0.0.1:1/callback", None, None);
        push(&http(), native.client(), &mut attempt).await.unwrap();
        clock.advance(Duration::from_secs(60));
        let page = Browser::new().follow(attempt.url()).await.unwrap();
        assert_eq!(page.status, 400);
        assert!(page.body.contains("expired"), "{}", page.body);
    })
    .await;
}

#[tokio::test]
async fn a_signed_answer_is_taken_and_a_plain_one_is_not() {
    bounded(async {
        let server = server(|settings| settings.jarm = Support::Required);
        let native = Native::of(&server).await;
        assert!(native.metadata.insists_on_jarm());
        let grant = native
            .authorize(None, Some(native.jarm().await), false)
            .await;
        tokens(
            native
                .exchange(grant.ok().unwrap().exchange_request(), None)
                .await,
        );

        // A server that was told to sign and does not.
        server.update(|settings| settings.jarm = Support::Off);
        let grant = native
            .authorize(None, Some(native.jarm().await), false)
            .await;
        assert_eq!(
            grant.err(),
            Some(AuthorizationError::Signed(JarmError::NotSigned))
        );
    })
    .await;
}

#[tokio::test]
async fn a_signed_refusal_is_a_refusal() {
    bounded(async {
        let server = server(|settings| {
            settings.jarm = Support::Required;
            settings.consent = authd_testkit::Consent::Deny("access_denied".into());
        });
        let native = Native::of(&server).await;
        let grant = native
            .authorize(None, Some(native.jarm().await), false)
            .await;
        let denied = matches!(grant, Err(AuthorizationError::Denied(_)));
        assert!(denied, "{:?}", grant.err());
    })
    .await;
}

#[tokio::test]
async fn each_claim_of_a_signed_answer_is_checked() {
    bounded(async {
        for (claims, why) in [
            (json!({"iss": null}), JarmError::Issuer),
            (json!({"aud": "another"}), JarmError::Audience),
            (json!({"aud": null}), JarmError::Audience),
            (json!({"exp": null}), JarmError::Expired),
            (json!({"exp": 1_000_000_000}), JarmError::Expired),
        ] {
            let server = server(|settings| {
                settings.jarm = Support::Required;
                settings.jarm_claims = claims.as_object().unwrap().clone();
            });
            let native = Native::of(&server).await;
            let grant = native
                .authorize(None, Some(native.jarm().await), false)
                .await;
            assert_eq!(
                grant.err(),
                Some(AuthorizationError::Signed(why)),
                "{claims}"
            );
        }
        let server = server(|settings| {
            settings.jarm = Support::Required;
            settings.jarm_claims = json!({"iss": "https://evil.example"})
                .as_object()
                .unwrap()
                .clone();
        });
        let native = Native::of(&server).await;
        let grant = native
            .authorize(None, Some(native.jarm().await), false)
            .await;
        let mixed_up = matches!(grant, Err(AuthorizationError::IssuerMismatch { .. }));
        assert!(mixed_up, "{:?}", grant.err());
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_another_signed_ends_nothing_without_the_state_and_the_attempt_with_it() {
    bounded(async {
        let one = server(|settings| settings.jarm = Support::Required);
        let other = server(|settings| settings.jarm = Support::Required);
        let native = Native::of(&one).await;
        // The keys are those of another server: the signature holds for none of them.
        let foreign = Native::of(&other).await.jarm().await;
        let grant = native.authorize(None, Some(foreign), false).await;
        let signature = matches!(
            grant,
            Err(AuthorizationError::Signed(JarmError::Signature(_)))
        );
        assert!(signature, "{:?}", grant.err());

        // Nobody's guess: no state of ours in it.
        let attempt = native.begin(
            "http://127.0.0.1:1/callback",
            None,
            Some(native.jarm().await),
        );
        for guess in ["response=e30.e30.e30", "response=x", "code=1&state=2", ""] {
            let answer = authd_oauth::AuthorizationResponse::from_query(guess).unwrap();
            assert_eq!(
                attempt.complete(answer).err(),
                Some(AuthorizationError::WrongState),
                "{guess}"
            );
        }
        assert_eq!(
            attempt.complete_pasted("a-bare-code").err(),
            Some(AuthorizationError::WholeAddressNeeded)
        );
    })
    .await;
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_told() {
    bounded(async {
        let server = server(|settings| settings.jarm = Support::Required);
        let native = Native::of(&server).await;
        let keys = native.metadata.jwks_uri.clone().unwrap();
        for fault in [Fault::HtmlOk, Fault::status(500), Fault::MalformedJson] {
            server.fault_next(Endpoint::Jwks, fault);
            let fetched = Jarm::fetch(&http(), &keys, Arc::clone(&native.clock)).await;
            assert!(fetched.is_err());
        }
    })
    .await;
}
