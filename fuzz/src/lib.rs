//! What several fuzz targets begin with.

use std::sync::LazyLock;

use authd_core::grant::{Endpoints, Provider};
use authd_core::scope::ScopeSet;
use authd_oauth::{AuthorizationAttempt, AuthorizationRequest};

/// The `state` of every [`attempt`].
pub static STATE: LazyLock<String> = LazyLock::new(|| {
    let attempt = attempt();
    let (_, rest) = attempt.url().split_once("state=").expect("a state");
    rest.split('&').next().unwrap_or_default().to_owned()
});

/// A login that waits for its answer.
pub fn attempt() -> AuthorizationAttempt {
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
