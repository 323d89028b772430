//! Which handler answers where.

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{MethodRouter, get, post},
};

use super::{
    authorize, device, discovery, dpop,
    faulty::{Watched, faulty},
    protected, pushed, token,
    world::Shared,
};
use crate::{
    fault::Endpoint,
    settings::DiscoveryForm::{self, OauthAppend, OauthInsert, OpenidAppend, OpenidInsert},
};

/// All endpoints, below `path`.
pub(super) fn router(shared: &Arc<Shared>, path: &str) -> Router {
    let watched = |endpoint, routes: MethodRouter<Arc<Shared>>| {
        let watched = Watched {
            shared: Arc::clone(shared),
            endpoint,
        };
        routes.layer(middleware::from_fn_with_state(watched, faulty))
    };
    let metadata = |forms: &'static [DiscoveryForm]| {
        let shared = Arc::clone(shared);
        watched(
            Endpoint::Discovery,
            get(async move || discovery::metadata(&shared, forms)),
        )
    };
    let openid = "/.well-known/openid-configuration";
    let oauth = "/.well-known/oauth-authorization-server";
    let mut router = Router::new();
    if path.is_empty() {
        router = router
            .route(openid, metadata(&[OpenidAppend, OpenidInsert]))
            .route(oauth, metadata(&[OauthInsert, OauthAppend]));
    } else {
        router = router
            .route(&format!("{path}{openid}"), metadata(&[OpenidAppend]))
            .route(&format!("{openid}{path}"), metadata(&[OpenidInsert]))
            .route(&format!("{oauth}{path}"), metadata(&[OauthInsert]))
            .route(&format!("{path}{oauth}"), metadata(&[OauthAppend]));
    }
    let endpoints = [
        (Endpoint::Authorization, get(authorize::authorize)),
        (Endpoint::PushedAuthorization, post(pushed::push)),
        (Endpoint::Token, post(token::token)),
        (
            Endpoint::DeviceAuthorization,
            post(device::device_authorization),
        ),
        (
            Endpoint::DeviceVerification,
            get(device::verification_page).post(device::verification),
        ),
        (Endpoint::Revocation, post(protected::revoke)),
        (Endpoint::Introspection, post(protected::introspect)),
        (
            Endpoint::Userinfo,
            get(protected::userinfo).post(protected::userinfo),
        ),
        (Endpoint::Jwks, get(discovery::jwks)),
        (Endpoint::Api, get(protected::ping).post(protected::ping)),
    ];
    for (endpoint, routes) in endpoints {
        router = router.route(
            &format!("{path}{}", endpoint.path()),
            watched(endpoint, routes),
        );
    }
    router
        .layer(middleware::from_fn_with_state(
            Arc::clone(shared),
            dpop::with_nonce,
        ))
        .with_state(Arc::clone(shared))
}
