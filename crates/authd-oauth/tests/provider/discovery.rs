//! Discovery (RFC 8414, OpenID Connect Discovery): every form, and what is wrong with some.

use authd_oauth::{BadEndpoint, BadIssuer, DiscoveryError, Unusable, check_endpoints, discover};
use authd_testkit::{DiscoveryForm, Endpoint, FakeServer, Fault, Options};

use super::{
    common::{Server, bounded, http, response},
    discovered, server,
};

#[tokio::test]
async fn every_form_of_discovery_is_found() {
    bounded(async {
        for path in ["", "/tenant/a"] {
            for form in [
                DiscoveryForm::OpenidAppend,
                DiscoveryForm::OpenidInsert,
                DiscoveryForm::OauthInsert,
                DiscoveryForm::OauthAppend,
            ] {
                let issuer_path = path.to_owned();
                let server = FakeServer::start(Options {
                    issuer_path,
                    ..Options::default()
                })
                .unwrap();
                server.update(|settings| settings.discovery = vec![form]);
                let (metadata, _) = discovered(&server).await;
                assert_eq!(metadata.issuer, server.issuer(), "{form:?}");
                assert_eq!(metadata.endpoints.token, server.url(Endpoint::Token));
                assert!(metadata.authorization_response_iss_parameter_supported);
                assert!(metadata.endpoints.userinfo.is_some());
                assert!(!metadata.rules_out("refresh_token"));
                check_endpoints(&http(), &metadata.endpoints).unwrap();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn discovery_says_what_is_wrong() {
    bounded(async {
        let server = server();
        let asked = server.issuer().to_owned();
        let error = async |change: &dyn Fn()| {
            change();
            discover(&http(), &asked, None).await.unwrap_err()
        };
        let overlay = |name: &'static str, value: &'static str| {
            let server = server.clone();
            move || {
                server.update(|settings| {
                    settings.metadata = [(name.to_owned(), value.into())].into_iter().collect();
                });
            }
        };
        let mismatch = error(&overlay("issuer", "https://other.example")).await;
        assert_eq!(
            mismatch,
            DiscoveryError::IssuerMismatch {
                asked: asked.clone(),
                found: "https://other.example".into(),
                certain: true,
            }
        );
        // Where one of the places fails, the right document could have been there.
        let fails_once = || server.fault_next(Endpoint::Discovery, Fault::Status { status: 503 });
        let doubtful = error(&fails_once).await;
        assert!(
            matches!(
                doubtful,
                DiscoveryError::IssuerMismatch { certain: false, .. }
            ),
            "{doubtful:?}"
        );
        let insecure = error(&overlay("token_endpoint", "http://idp.example/t")).await;
        let why = Unusable::Endpoint(BadEndpoint::NotHttps);
        assert_eq!(
            insecure,
            DiscoveryError::Unusable {
                member: "token_endpoint",
                why
            }
        );

        let nowhere = error(&|| server.update(|settings| settings.discovery.clear())).await;
        assert_eq!(nowhere, DiscoveryError::NotFound { status: 404 });
        let down =
            error(&|| server.fault_always(Endpoint::Discovery, Fault::Status { status: 503 }))
                .await;
        assert_eq!(down, DiscoveryError::NotFound { status: 503 });
        server.clear_faults(Endpoint::Discovery);
        let broken = error(&|| server.fault_always(Endpoint::Discovery, Fault::Drop)).await;
        assert!(matches!(broken, DiscoveryError::Transport(_)), "{broken:?}");
        let gone = error(&|| server.kill()).await;
        assert!(matches!(gone, DiscoveryError::Transport(_)), "{gone:?}");

        for (issuer, why) in [
            (
                "http://idp.example",
                BadIssuer::Endpoint(BadEndpoint::NotHttps),
            ),
            ("https://idp.example?x", BadIssuer::Query),
            (
                "https://idp.example#x",
                BadIssuer::Endpoint(BadEndpoint::Fragment),
            ),
            ("idp.example", BadIssuer::Endpoint(BadEndpoint::NotAUrl)),
        ] {
            let error = discover(&http(), issuer, None).await.unwrap_err();
            assert_eq!(error, DiscoveryError::BadIssuer(why), "{issuer}");
        }
    })
    .await;
}

#[tokio::test]
async fn discovery_follows_a_redirect_within_the_host_alone() {
    bounded(async {
        let elsewhere = Server::answering(response("200 OK", "", "{}")).await;
        let away = format!("location: {}\r\n", elsewhere.url("/"));
        let server = Server::answering(response("302 Found", &away, "")).await;
        let error = discover(&http(), &server.url(""), None).await.unwrap_err();
        assert_eq!(error, DiscoveryError::NotFound { status: 302 });
        assert_eq!(elsewhere.count(), 0);

        let circle = Server::answering(response("302 Found", "location: /again\r\n", "")).await;
        let error = discover(&http(), &circle.url(""), None).await.unwrap_err();
        assert_eq!(error, DiscoveryError::NotFound { status: 302 });
        // Two places, each with its three redirects.
        assert_eq!(circle.count(), 8);
    })
    .await;
}

#[tokio::test]
async fn a_multi_tenant_issuer_is_matched_by_its_profiles_own_rule_and_by_no_other() {
    bounded(async {
        let server = server();
        let asked = server.issuer();
        let template = format!("{asked}/{{tenantid}}/v2.0");
        let tenant = format!("{asked}/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0");
        for (named, with_template, expected) in [
            // Metadata for all tenants names the template itself; the one asked for stays the name.
            (&template, true, Some(asked)),
            // Metadata of one tenant, asked for by another of its names.
            (&tenant, true, Some(tenant.as_str())),
            (&template, false, None),
            (&tenant, false, None),
            (&format!("{asked}/a/b/v2.0"), true, None),
            (&"https://evil.example/x/v2.0".to_owned(), true, None),
        ] {
            server.update(|settings| {
                settings
                    .metadata
                    .insert("issuer".into(), serde_json::json!(named));
            });
            let template = with_template.then_some(template.as_str());
            let found = discover(&http(), asked, template).await;
            match expected {
                Some(expected) => {
                    let found = found.unwrap();
                    assert_eq!(found.issuer, expected);
                    assert_eq!(found.multi_tenant, expected == asked);
                }
                None => assert!(
                    matches!(found, Err(DiscoveryError::IssuerMismatch { .. })),
                    "{named}"
                ),
            }
        }
    })
    .await;
}
