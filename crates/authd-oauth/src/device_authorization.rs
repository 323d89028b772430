//! Device authorization (RFC 8628): a login on another device's browser.
//!
//! The polls are exchanges like any other ([`crate::exchange`](mod@crate::exchange)); when to make
//! them is the engine's business.

use std::time::Duration;

use authd_core::{scope::ScopeSet, secret::Secret};

use crate::{
    client::Client,
    error::EndpointError,
    http::{Http, endpoint},
    introspection::object,
    request::Form,
    response::duration,
    text::clean,
};

/// Longest code shown to the user, in characters.
const USER_CODE_LEN: usize = 64;
/// The pause between polls when none is stated (RFC 8628 §3.2).
const INTERVAL: Duration = Duration::from_secs(5);
/// Life of the codes when none is stated, against RFC 8628 §3.2.
const EXPIRES_IN: Duration = Duration::from_secs(15 * 60);

/// Longest life of the codes believed. A person needs minutes; the login is asked for as long as they live.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 60);

/// What a device authorization endpoint answered (RFC 8628 §3.2).
pub struct DeviceAuthorization {
    /// What is polled with.
    pub device_code: Secret,
    /// What the user types. Made fit to print.
    pub user_code: String,
    /// Where. https, or http on loopback.
    pub verification_uri: String,
    /// The same with the code in it, for a QR code.
    pub verification_uri_complete: Option<String>,
    /// How long the codes live, counted from the request: half an hour at most.
    pub expires_in: Duration,
    /// Least pause between polls.
    pub interval: Duration,
}

/// Asks for a device code and a user code.
///
/// # Errors
/// [`EndpointError`] when the provider has no device flow, refuses, or gives no usable answer.
pub async fn authorize_device(
    http: &Http,
    client: Client<'_>,
    scopes: &ScopeSet,
    resources: &[String],
) -> Result<DeviceAuthorization, EndpointError> {
    let Some(url) = &client.provider.endpoints.device_authorization else {
        return Err(EndpointError::NotOffered);
    };
    let scope = scopes.to_string();
    let form = Form::new().with_some("scope", Some(&scope));
    let outgoing = resources
        .iter()
        .fold(form, |form, resource| form.with("resource", resource))
        .post(http.endpoint(url)?, client)?;
    let response = http.send(outgoing, &|| ()).await?;
    let sent: Vec<&Secret> = client.credential.sent().into_iter().collect();
    let mut members = object(&response, &sent)?;

    // The user opens this: the same rules as for what authd itself speaks to.
    let page = |text: &str| {
        endpoint(text, http.private_addresses())
            .is_ok()
            .then(|| text.to_owned())
    };
    let unintelligible = EndpointError::Unintelligible {
        status: response.status,
    };
    let (Some(user_code), Some(verification_uri)) = (
        members
            .text("user_code")
            .map(|code| clean(code, USER_CODE_LEN)),
        // The second name is older than the RFC and Google's to this day.
        ["verification_uri", "verification_url"]
            .iter()
            .find_map(|name| page(members.text(name)?)),
    ) else {
        return Err(unintelligible);
    };
    Ok(DeviceAuthorization {
        user_code,
        verification_uri,
        verification_uri_complete: members.text("verification_uri_complete").and_then(page),
        expires_in: duration(members.value("expires_in"))
            .unwrap_or(EXPIRES_IN)
            .min(LONGEST_LIFE),
        interval: duration(members.value("interval")).unwrap_or(INTERVAL),
        device_code: members.take_secret("device_code").ok_or(unintelligible)?,
    })
}
