//! Which provider a login names, and what that provider's habits add to it.

use authd_core::grant::{ClientAuth, Provider};
use authd_oauth::{
    DiscoveryError, Http, Metadata, discover,
    preset::{AuthMethod, Habits, Preset, Presets, Unresolved},
};
use authd_proto::{
    ErrorCode, WireError,
    request::{Flow, LoginStart},
};

use crate::suggest::meant;

/// The preset that the client names; `None` when it names none.
pub(super) fn chosen(presets: &Presets, start: &LoginStart) -> Result<Option<Preset>, WireError> {
    let bad = |message: &str, hint: &str| {
        Err(WireError::new(ErrorCode::BadRequest, message).with_hint(hint))
    };
    match &start.provider {
        None if !start.variables.is_empty() => bad(
            "variables are a provider's, and none is named",
            "give --provider NAME too",
        ),
        None => Ok(None),
        Some(_) if start.issuer.is_some() => bad(
            "both a provider and an issuer are named",
            "give --provider or --issuer, not both",
        ),
        Some(name) => presets
            .choose(name, &start.variables)
            .map(Some)
            .map_err(|error| unresolved(presets, error)),
    }
}

/// The habits of a login that names no preset: of the provider that the account came by; or, of the one
/// whose issuer is named, what renewal must know. How to log in there is said by whoever names an issuer.
pub(super) fn remembered(
    presets: &Presets,
    issuer: Option<&str>,
    known: Option<&Provider>,
) -> Option<Habits> {
    match issuer {
        Some(issuer) => Some(Habits {
            profile: presets.recognise(issuer)?,
            client_id: presets.client_id_at(issuer).map(str::to_owned),
            ..Habits::default()
        }),
        None => presets.habits(known?.profile.name.as_deref()?),
    }
}

/// Asks where the preset is, and completes the answer by what the preset knows itself. Where there is
/// no metadata, that may be all.
pub(super) async fn locate(
    http: &Http,
    preset: &Preset,
) -> Result<(Provider, Option<Metadata>), DiscoveryError> {
    let template = preset.habits.profile.issuer_template.as_deref();
    let metadata = match &preset.issuer {
        Some(issuer) => match discover(http, issuer, template).await {
            Err(DiscoveryError::NotFound { .. }) if !preset.endpoints.token.is_empty() => None,
            found => Some(found?),
        },
        None => None,
    };
    let mut endpoints = preset.endpoints.clone();
    if let Some(metadata) = &metadata {
        let (ours, theirs) = (endpoints, metadata.endpoints.clone());
        endpoints = theirs;
        for (known, ours) in [
            (&mut endpoints.authorization, ours.authorization),
            (
                &mut endpoints.device_authorization,
                ours.device_authorization,
            ),
            (&mut endpoints.revocation, ours.revocation),
            (&mut endpoints.introspection, ours.introspection),
            (&mut endpoints.userinfo, ours.userinfo),
            (&mut endpoints.end_session, ours.end_session),
        ] {
            if known.is_none() {
                *known = ours;
            }
        }
    }
    let issuer = metadata.as_ref().map(|metadata| metadata.issuer.clone());
    let provider = Provider {
        issuer,
        endpoints,
        client_id: preset.habits.client_id.clone().unwrap_or_default(),
        profile: preset.habits.profile.clone(),
        ..Provider::default()
    };
    Ok((provider, metadata))
}

/// How a client with or without a secret proves itself; `None` where the preset does not say.
pub(super) fn client_auth(
    habits: &Habits,
    has_secret: bool,
    start: &LoginStart,
) -> Result<Option<ClientAuth>, WireError> {
    if habits.client_auth.is_empty() {
        return Ok(None);
    }
    let by_secret = habits.client_auth.iter().find_map(|method| match method {
        AuthMethod::ClientSecretBasic => Some(ClientAuth::Basic),
        AuthMethod::ClientSecretPost => Some(ClientAuth::Post),
        _ => None,
    });
    if has_secret {
        return Ok(by_secret);
    }
    // Who logs in on another device often needs none (GitHub).
    if start.flow == Flow::Browser && start.client_auth.is_none() {
        check_public(habits)?;
    }
    Ok(Some(ClientAuth::None))
}

/// Refuses a browser's login of a client without a secret, where the provider is known to want one: it would
/// say so only after the person has signed in.
pub(super) fn check_public(habits: &Habits) -> Result<(), WireError> {
    let by_secret = |method: &AuthMethod| {
        matches!(
            method,
            AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost
        )
    };
    if !habits.client_auth.iter().any(by_secret) || habits.client_auth.contains(&AuthMethod::None) {
        return Ok(());
    }
    let name = name_of(habits);
    Err(WireError::new(
        ErrorCode::BadRequest,
        format!("'{name}' wants a client to prove itself by a secret"),
    )
    .with_hint("give --client-secret-stdin, and the secret on standard input"))
}

/// The error for a login without a client id at a provider that has a name.
pub(super) fn no_client_id(presets: &Presets, habits: &Habits) -> WireError {
    let name = name_of(habits);
    let page = presets
        .find(name)
        .ok()
        .and_then(|known| known.entry.registration.as_ref())
        .map_or_else(String::new, |registration| {
            format!("register one at {} and ", registration.url)
        });
    WireError::new(
        ErrorCode::ClientIdRequired,
        format!("'{name}' needs a client id of your own"),
    )
    .with_hint(format!(
        "{page}give it with --client-id; step by step: 'authctl provider show {name}', or \
         docs/providers.md#{name}"
    ))
}

fn name_of(habits: &Habits) -> &str {
    habits.profile.name.as_deref().unwrap_or_default()
}

/// A preset that cannot be used, in words that name what to give.
pub(crate) fn unresolved(presets: &Presets, error: Unresolved) -> WireError {
    let hint = match &error {
        Unresolved::Unknown(unknown) => {
            let names = presets.iter().map(|(name, _)| name);
            match meant(&unknown.0, names) {
                Some(name) => {
                    format!("did you mean '{name}'? 'authctl provider list' shows all")
                }
                None => "run 'authctl provider list' to see which there are".to_owned(),
            }
        }
        Unresolved::Missing { variable, .. } => format!("give --set {variable}=VALUE"),
        Unresolved::NoSuchVariable { known, .. } if known.is_empty() => {
            "it has none; leave --set out".to_owned()
        }
        Unresolved::NoSuchVariable { known, .. } => format!("it has: {}", known.join(", ")),
        Unresolved::BadValue { .. } => "give a host, or a part of a path".to_owned(),
    };
    WireError::new(ErrorCode::BadRequest, error.to_string()).with_hint(hint)
}
