//! What a browser, or a hostile page in it, brings to the loopback redirect; and what is pasted.
#![no_main]

use std::sync::LazyLock;

use authd_core::grant::{Endpoints, Provider};
use authd_core::scope::ScopeSet;
use authd_oauth::{AuthorizationAttempt, AuthorizationRequest, AuthorizationResponse};
use libfuzzer_sys::fuzz_target;

static ATTEMPT: LazyLock<AuthorizationAttempt> = LazyLock::new(attempt);

fuzz_target!(|data: &str| {
    if let Ok(response) = AuthorizationResponse::from_query(data) {
        drop(ATTEMPT.complete(response));
    }
    drop(ATTEMPT.complete_pasted(data));
});

fn attempt() -> AuthorizationAttempt {
    let issuer = "https://as.example.com";
    let provider = Provider {
        issuer: Some(issuer.to_owned()),
        endpoints: Endpoints {
            authorization: Some(format!("{issuer}/authorize")),
            token: format!("{issuer}/token"),
            ..Endpoints::default()
        },
        client_id: "client".to_owned(),
        ..Provider::default()
    };
    let request = AuthorizationRequest {
        provider: &provider,
        redirect_uri: "http://127.0.0.1:1234/callback",
        scopes: &ScopeSet::parse("openid"),
        resources: &[],
        extra: &[],
        scope_separator: None,
        iss_expected: true,
        dpop_jkt: None,
        jarm: None,
    };
    // The same state each time, so that a finding replays.
    AuthorizationAttempt::begin(request, &mut |bytes| bytes.fill(7))
        .expect("the request is well-formed")
}
