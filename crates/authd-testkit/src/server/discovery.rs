//! Metadata (RFC 8414, OIDC Discovery) and the key set.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    token::DEVICE_CODE,
    unattended::{JWT_BEARER, TOKEN_EXCHANGE},
    world::{Shared, World},
};
use crate::{
    fault::Endpoint,
    settings::{DiscoveryForm, Support, lay_over},
};

/// The metadata document, at an address that is one of `forms`.
pub(super) fn metadata(shared: &Shared, forms: &[DiscoveryForm]) -> Response {
    shared.read(|world| {
        let served = &world.settings.discovery;
        if forms.iter().any(|form| served.contains(form)) {
            Json(document(world)).into_response()
        } else {
            StatusCode::NOT_FOUND.into_response()
        }
    })
}

fn document(world: &World) -> Value {
    let issuer = &world.issuer;
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": Endpoint::Authorization.url(issuer),
        "token_endpoint": Endpoint::Token.url(issuer),
        "device_authorization_endpoint": Endpoint::DeviceAuthorization.url(issuer),
        "revocation_endpoint": Endpoint::Revocation.url(issuer),
        "introspection_endpoint": Endpoint::Introspection.url(issuer),
        "userinfo_endpoint": Endpoint::Userinfo.url(issuer),
        "jwks_uri": Endpoint::Jwks.url(issuer),
        "scopes_supported": ["openid", "offline_access"],
        "response_types_supported": ["code"],
        "grant_types_supported": [
            "authorization_code", "refresh_token", DEVICE_CODE,
            "client_credentials", JWT_BEARER, TOKEN_EXCHANGE,
        ],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported":
            ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "RS256", "PS256", "EdDSA"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": world.settings.advertise_iss,
    });
    extensions(&mut document, world);
    lay_over(&mut document, &world.settings.metadata);
    document
}

fn extensions(document: &mut Value, world: &World) {
    let settings = &world.settings;
    if settings.pushed_authorization_requests != Support::Off {
        document["pushed_authorization_request_endpoint"] =
            Endpoint::PushedAuthorization.url(&world.issuer).into();
        document["require_pushed_authorization_requests"] =
            (settings.pushed_authorization_requests == Support::Required).into();
    }
    if settings.dpop != Support::Off {
        document["dpop_signing_alg_values_supported"] = json!(["ES256"]);
    }
    document["response_modes_supported"] = match settings.jarm {
        Support::Off => json!(["query"]),
        Support::Offered => json!(["query", "query.jwt", "jwt"]),
        Support::Required => json!(["query.jwt", "jwt"]),
    };
    if settings.jarm != Support::Off {
        document["authorization_signing_alg_values_supported"] = json!(["ES256"]);
    }
}

/// `GET /jwks`.
pub(super) async fn jwks(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.read(|world| world.signer.jwks()))
}
