//! Who we are at the provider of a login, and what proves it: from the wish, from a file of the
//! configuration, or from the account as it is.

use authd_core::{
    grant::{ClientAuth, CredentialPlace, Provider, RenewedBy},
    secret::Secret,
};
use authd_oauth::{Credential, Metadata, preset::Habits};
use authd_proto::{
    ErrorCode, WireError,
    request::{ClientAuth as WireAuth, Flow, LoginStart},
};

use super::{preset, stored, target::Known, trouble::bad};
use crate::{
    credential::{self, Configured, CredentialTrouble, Wanted},
    daemon::Shared,
    handler::blocking,
};

/// A client of the configuration, by its name.
pub(super) struct Named {
    name: String,
    configured: Configured,
}

impl Named {
    /// The client that the wish names, else the one that the account was logged in with; its file then
    /// says where to log in.
    pub(super) async fn of(
        daemon: &Shared,
        start: &mut LoginStart,
        known: Option<&Known>,
    ) -> Result<Option<Self>, WireError> {
        let before = known.and_then(|known| match &known.provider.credential {
            CredentialPlace::Configured(name) => Some((name, &known.provider.client_id)),
            CredentialPlace::Store => None,
        });
        let name = match (&start.client, before) {
            (Some(name), _) => name.clone(),
            (None, Some((name, _))) if !says_anew(start) => name.clone(),
            (None, _) => return Ok(None),
        };
        if start.client_secret.is_some() {
            return Err(bad(
                "a client of the configuration brings its own secret",
                "give a client or a secret, not both",
            ));
        }
        let (path, file) = (daemon.place.config_path.clone(), name.clone());
        let loaded = blocking(move || Configured::load(&path, &file)).await?;
        let configured = loaded.map_err(|trouble| unproven(&trouble.into()))?;
        let applied = configured.apply(start);
        applied.map_err(|trouble| unproven(&trouble.into()))?;
        if let Some((before, client_id)) = before
            && start.client_id.is_none()
            && *before == name
        {
            start.client_id = Some(client_id.clone());
        }
        Ok(Some(Self { name, configured }))
    }
}

/// Whether the wish says who we are, or where to log in. Whoever does has left the client of before.
fn says_anew(start: &LoginStart) -> bool {
    start.client_secret.is_some()
        || start.client_id.is_some()
        || start.issuer.is_some()
        || start.token_endpoint.is_some()
}

/// A login that needed nobody needs nobody the next time, where nothing else is said.
pub(super) fn follow(start: &mut LoginStart, known: Option<&Known>) {
    // What asks for nothing in particular, whether or not a browser would be of use.
    let is_open = matches!(start.flow, Flow::Browser | Flow::DeviceOrBrowser);
    let Some(known) = known.filter(|_| is_open && start.client.is_none()) else {
        return;
    };
    if says_anew(start) {
        return;
    }
    match &known.renewed_by {
        RenewedBy::RefreshToken => {}
        RenewedBy::ClientCredentials => start.flow = Flow::ClientCredentials,
        RenewedBy::JwtBearer { subject } => {
            start.flow = Flow::JwtBearer;
            start.subject = start.subject.take().or_else(|| subject.clone());
        }
    }
}

/// Decides how the client proves itself, and with what that the store keeps.
pub(super) fn choose(
    provider: &mut Provider,
    start: &LoginStart,
    metadata: Option<&Metadata>,
    habits: Option<&Habits>,
    known: Option<&Known>,
    named: Option<&Named>,
) -> Result<Option<Secret>, WireError> {
    let wished = start.client_auth.map(|method| match method {
        WireAuth::None => ClientAuth::None,
        WireAuth::Basic => ClientAuth::Basic,
        WireAuth::Post => ClientAuth::Post,
        WireAuth::PrivateKeyJwt => ClientAuth::PrivateKeyJwt,
        WireAuth::Tls => ClientAuth::Tls,
    });
    let by_preset = |has_secret| match habits {
        Some(habits) => preset::client_auth(habits, has_secret, start),
        None => Ok(None),
    };
    let with_a_secret = by_preset(true)?.unwrap_or_else(|| {
        metadata.map_or(ClientAuth::Basic, |metadata| metadata.client_auth(true))
    });
    if let Some(named) = named {
        provider.credential = CredentialPlace::Configured(named.name.clone());
        if let Some(audience) = named.configured.audience {
            provider.profile.assertion_audience = audience;
        }
        if let Some(way) = named.configured.further_resources {
            provider.profile.further_resources = way;
        }
        provider.client_auth = match (wished.or(named.configured.client_auth), start.flow) {
            (Some(auth), _) => auth,
            // An assertion that is exchanged speaks for the client itself.
            (None, Flow::JwtBearer) => ClientAuth::None,
            (None, _) => named
                .configured
                .usual_client_auth()
                .unwrap_or(with_a_secret),
        };
        if !named.configured.fits(provider.client_auth) {
            return Err(bad(
                "this way of client authentication needs another kind of credential",
                "see 'client_auth' in the client's file",
            ));
        }
        return Ok(None);
    }
    // The stored secret goes to the endpoint and for the client that it was given for, to no other.
    let same_client = known.filter(|known| {
        known.provider.client_id == provider.client_id
            && known.provider.endpoints.token == provider.endpoints.token
            && known.provider.credential == CredentialPlace::Store
    });
    let given = start.client_secret.as_ref();
    let given = given.map(|secret| Secret::new(secret.expose()));
    let client_secret = match (given, same_client) {
        (Some(given), _) => Some(given),
        (None, Some(known)) if wished != Some(ClientAuth::None) => {
            stored::secret(known, provider, metadata)?
        }
        (None, _) => None,
    };
    let before = same_client.map(|known| known.provider.client_auth);
    provider.credential = CredentialPlace::Store;
    provider.client_auth = match (wished, before) {
        (Some(auth), _) => auth,
        (None, Some(auth)) if auth != ClientAuth::None => auth,
        (None, _) if start.flow == Flow::JwtBearer => ClientAuth::None,
        (None, _) if client_secret.is_none() => by_preset(false)?.unwrap_or_default(),
        (None, _) => with_a_secret,
    };
    match (provider.client_auth, &client_secret) {
        (ClientAuth::Tls, _) => Err(bad(
            "a certificate stays in its file",
            "give --client-cert-file and --client-key-file",
        )),
        (ClientAuth::PrivateKeyJwt, None) => Err(bad(
            "this way of client authentication needs a private key",
            "give --client-key-file",
        )),
        (ClientAuth::Basic | ClientAuth::Post, None) => Err(bad(
            "this way of client authentication needs a secret",
            "give --client-secret-stdin, or another of the --client-secret options",
        )),
        _ => Ok(client_secret),
    }
}

/// Fetches what proves the client, so that a person hears of what is wrong with it before a browser
/// opens.
pub(super) async fn fetch(
    daemon: &Shared,
    provider: &Provider,
    client_secret: Option<&Secret>,
) -> Result<Credential, WireError> {
    credential::obtain(
        daemon,
        provider,
        client_secret.cloned(),
        Wanted::anew(&**daemon),
    )
    .await
    .map_err(|trouble| unproven(&trouble))
}

/// What a login without a person is renewed by; `None` where a person takes part.
pub(super) fn renewed_by(
    start: &LoginStart,
    credential: &Credential,
) -> Result<Option<RenewedBy>, WireError> {
    match (start.flow, credential) {
        (Flow::Browser | Flow::Device | Flow::DeviceOrBrowser, _) => Ok(None),
        (Flow::ClientCredentials, Credential::None) => Err(bad(
            "a login by the client's own credentials needs some",
            "give --client-secret-stdin, --client-key-file or another of the client's options",
        )),
        (Flow::ClientCredentials, _) => Ok(Some(RenewedBy::ClientCredentials)),
        (Flow::JwtBearer, Credential::Key(_)) => Ok(Some(RenewedBy::JwtBearer {
            subject: start.subject.clone(),
        })),
        (Flow::JwtBearer, _) => Err(bad(
            "a login by assertions needs a private key",
            "give --service-account-file or --client-key-file",
        )),
    }
}

fn unproven(trouble: &CredentialTrouble) -> WireError {
    WireError::new(
        ErrorCode::LoginFailed,
        format!("the client cannot prove itself: {trouble}"),
    )
    .with_hint("mend that, then log in again")
}

#[cfg(test)]
mod tests;
