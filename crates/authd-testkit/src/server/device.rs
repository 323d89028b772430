//! The device authorization grant (RFC 8628), and the page where the person would approve.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    issue::Approved,
    params::{Params, Refusal, authenticate},
    world::{Shared, World},
};
use crate::{fault::Endpoint, ledger::Fingerprint, settings::DeviceConsent};

/// A device code that was issued, known by its fingerprint.
pub(crate) struct Device {
    user_code: String,
    client_id: String,
    scopes: Vec<String>,
    resources: Vec<String>,
    expires_at: Duration,
    /// Grows by five seconds at each `slow_down` (RFC 8628 §3.5).
    interval: Duration,
    last_poll: Option<Duration>,
    decision: Decision,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    Pending,
    Approved,
    Denied,
    Redeemed,
}

/// `POST /device_authorization`.
pub(super) async fn device_authorization(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    match shared.change(|world| start(world, &headers, &body)) {
        Ok(body) => ([(CACHE_CONTROL, "no-store")], Json(body)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn start(world: &mut World, headers: &HeaderMap, body: &str) -> Result<Value, Refusal> {
    let params = Params::of_form(headers, body)?;
    let client_id = authenticate(world, headers, &params)?;
    let resources = params.resources(world.settings.resources.as_deref())?;
    let device_code = world.signer.token("canary-dc-");
    let user_code = world.signer.user_code();
    let ttl = world.settings.device_code_ttl;
    let interval = world.settings.device_interval;
    world.devices.insert(
        Fingerprint::of(&device_code),
        Device {
            user_code: user_code.clone(),
            client_id,
            scopes: params.scopes().unwrap_or_default(),
            resources,
            expires_at: world.clock.now().saturating_add(ttl),
            interval,
            last_poll: None,
            decision: match world.settings.device_consent {
                DeviceConsent::Ask => Decision::Pending,
                DeviceConsent::Approve => Decision::Approved,
                DeviceConsent::Deny => Decision::Denied,
            },
        },
    );
    let verification_uri = Endpoint::DeviceVerification.url(&world.issuer);
    Ok(json!({
        "device_code": device_code,
        "user_code": user_code,
        "verification_uri": verification_uri,
        "verification_uri_complete": format!("{verification_uri}?user_code={user_code}"),
        "expires_in": ttl.as_secs(),
        "interval": if interval.subsec_nanos() == 0 {
            Value::from(interval.as_secs())
        } else {
            Value::from(interval.as_secs_f64())
        },
    }))
}

/// The token request of RFC 8628 §3.4.
pub(super) fn redeem(
    world: &mut World,
    client_id: &str,
    params: &Params,
) -> Result<Value, Refusal> {
    let fingerprint = Fingerprint::of(params.required("device_code")?);
    let now = world.clock.now();
    let device = world
        .devices
        .get_mut(&fingerprint)
        .filter(|device| device.client_id == client_id)
        .ok_or_else(|| Refusal::new("invalid_grant", "no such device code"))?;
    if now >= device.expires_at {
        return Err(Refusal::new("expired_token", "the device code has expired"));
    }
    let too_soon = device
        .last_poll
        .is_some_and(|last| now.saturating_sub(last) < device.interval);
    device.last_poll = Some(now);
    if too_soon {
        device.interval += Duration::from_secs(5);
        return Err(Refusal::new(
            "slow_down",
            "polled before the interval passed",
        ));
    }
    match device.decision {
        Decision::Pending => Err(Refusal::new("authorization_pending", "not yet decided")),
        Decision::Denied => Err(Refusal::new("access_denied", "the person declined")),
        Decision::Redeemed => Err(Refusal::new("invalid_grant", "the code was used before")),
        Decision::Approved => {
            device.decision = Decision::Redeemed;
            let (scopes, resources) = (device.scopes.clone(), device.resources.clone());
            let approved = Approved {
                client_id: client_id.to_owned(),
                scopes: world.granted(scopes),
                resources: resources.clone(),
                nonce: None,
                jkt: None,
            };
            let family = world.found_family(approved);
            Ok(world.first_response(family, resources))
        }
    }
}

/// `GET /device`: what a person would see. The decision is a `POST`.
pub(super) async fn verification_page() -> &'static str {
    "POST user_code and decision=approve or decision=deny here.\n"
}

/// `POST /device` with `user_code` and `decision`.
pub(super) async fn verification(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let decided = Params::of_form(&headers, &body).and_then(|params| {
        let user_code = params.required("user_code")?.to_owned();
        let approve = match params.required("decision")? {
            "approve" => true,
            "deny" => false,
            _ => return Err(Refusal::new("invalid_request", "approve or deny")),
        };
        Ok((user_code, approve))
    });
    match decided {
        Ok((user_code, approve)) => {
            if shared.change(|world| world.decide_device(&user_code, approve)) {
                "done\n".into_response()
            } else {
                (StatusCode::NOT_FOUND, "no such user code is pending\n").into_response()
            }
        }
        Err(refusal) => refusal.into_response(),
    }
}

impl World {
    /// Whether a pending device code with this user code was there to be decided. Letter case and
    /// the dash do not matter (RFC 8628 §6.1).
    pub(crate) fn decide_device(&mut self, user_code: &str, approve: bool) -> bool {
        let letters = |code: &str| code.replace('-', "").to_ascii_uppercase();
        let now = self.clock.now();
        let pending = self.devices.values_mut().find(|device| {
            device.decision == Decision::Pending
                && now < device.expires_at
                && letters(&device.user_code) == letters(user_code)
        });
        let Some(device) = pending else {
            return false;
        };
        device.decision = if approve {
            Decision::Approved
        } else {
            Decision::Denied
        };
        true
    }
}
