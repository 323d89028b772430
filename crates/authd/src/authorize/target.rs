//! What a login is about: where it goes, as whom, and for what; from the wish, the configuration, the
//! account as it is, and what provider and resource say.

use authd_core::{
    grant::{ClientAuth, Endpoints, Profile, Provider, RenewedBy},
    id::Account,
    metadata::Change,
    policy::LONGEST_RESOURCE,
    scope::ScopeSet,
    secret::Secret,
};
use authd_oauth::{
    Credential, Http, LoopbackRedirect, Metadata, check_endpoints, discover,
    preset::{Habits, Preset},
};
use authd_proto::{ErrorCode, WireError, request::LoginStart, response::ClientIdBy};

use super::{
    client::{self, Named},
    moved, preset,
    protection::{Protections, Wish},
    registration::{self, Identity},
    resource,
    trouble::{bad, discovery_failed, resource_too_long, secret_for_whom, unprotected},
};
use crate::daemon::Shared;

/// What a login is about, once it is clear where it goes.
pub(super) struct Target {
    pub(super) account: Account,
    pub(super) provider: Provider,
    pub(super) client_secret: Option<Secret>,
    pub(super) credential: Credential,
    pub(super) scopes: ScopeSet,
    /// The first is what the login's own token is for.
    pub(super) resources: Vec<String>,
    pub(super) iss_expected: bool,
    pub(super) protections: Protections,
    /// What the provider's preset adds.
    pub(super) habits: Habits,
    /// Who we are there, where that was found only now.
    pub(super) client_id_by: Option<ClientIdBy>,
    /// Listening already, where the provider was told on which port.
    pub(super) redirect: Option<LoopbackRedirect>,
    /// The resource that said where to log in.
    pub(super) found_by: Option<String>,
}

/// What an account that exists knows already: logging in again needs no arguments.
pub(super) struct Known {
    pub(super) provider: Provider,
    pub(super) client_secret: Option<Secret>,
    pub(super) renewed_by: RenewedBy,
    pub(super) scopes: ScopeSet,
    pub(super) resources: Vec<String>,
    pub(super) renewable: bool,
    /// Its tokens are bound to a key (RFC 9449).
    pub(super) is_bound: bool,
    /// What the person was told of its provider: that it is not what it was.
    pub(super) told: Vec<Change>,
}

impl Known {
    /// With the client secret that the store keeps.
    pub(super) async fn with_secret(daemon: &Shared, account: &Account) -> Option<Self> {
        let known = Self::of(daemon, account)?;
        let client_secret = daemon.mailbox.client_secret(account.clone()).await;
        Some(Self {
            client_secret,
            ..known
        })
    }

    fn of(daemon: &Shared, account: &Account) -> Option<Self> {
        let accounts = daemon.published.load();
        let snapshot = accounts.get(account)?;
        let grant = &snapshot.view.grant;
        let told = grant.flags.metadata_changed.as_ref();
        Some(Self {
            told: told.map(|told| told.reason.clone()).unwrap_or_default(),
            is_bound: snapshot.holds_key,
            provider: Provider::clone(&grant.provider),
            client_secret: None,
            renewed_by: grant.renewed_by.clone(),
            scopes: grant.scopes.clone(),
            resources: named(grant.resource.clone(), grant.resources.iter().cloned()),
            renewable: grant.renewable,
        })
    }

    /// Whether `provider` is the one that the account is at: what is registered at one issuer is for no
    /// other.
    fn is_at(&self, provider: &Provider) -> bool {
        let same_place = self.provider.endpoints.token == provider.endpoints.token;
        match (&self.provider.issuer, &provider.issuer) {
            (Some(before), Some(now)) => before == now,
            (None, None) => same_place,
            _ => false,
        }
    }
}

/// What it is found out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Login,
    /// What something else was given goes to nobody but whom it is from, as nobody but whom it was given
    /// to: no resource is asked where that is, and no client registered.
    Import,
}

pub(super) async fn target(
    purpose: Purpose,
    daemon: &Shared,
    http: &Http,
    account: Account,
    start: &mut LoginStart,
    known: Option<Known>,
) -> Result<Target, WireError> {
    let presets = daemon.config.load().presets();
    let chosen = preset::chosen(&presets, start)?;
    client::follow(start, known.as_ref());
    let configured = Named::of(daemon, start, known.as_ref()).await?;
    let challenge = resource::challenge(start, known.is_some())?;
    let protected = match purpose {
        Purpose::Login => resource::ask(http, start, challenge.as_ref(), known.as_ref()).await?,
        Purpose::Import => None,
    };
    if protected.is_some() && start.client_secret.is_some() {
        let issuer = start.issuer.as_deref();
        let before = known.as_ref().map(|known| known.provider.issuer.as_deref());
        if before != Some(issuer) {
            return Err(secret_for_whom(issuer.unwrap_or_default()));
        }
    }
    let habits = match &chosen {
        Some(chosen) => Some(chosen.habits.clone()),
        None if start.issuer.is_none() && is_by_hand(start) => None,
        None => {
            let known = known.as_ref().map(|known| &known.provider);
            preset::remembered(&presets, start.issuer.as_deref(), known)
        }
    };
    // An account that is logged in to again where it was.
    let pinned = match (&chosen, &start.issuer, is_by_hand(start)) {
        (None, None, false) => known.as_ref(),
        _ => None,
    };
    let Place {
        mut provider,
        found,
        metadata,
    } = place(
        http,
        chosen.as_ref(),
        start,
        habits.as_ref(),
        known.as_ref(),
    )
    .await?;
    fill(&mut provider.endpoints, start);
    if provider.endpoints.token.is_empty() {
        return Err(bad(
            "the token endpoint is not known",
            "give --token-endpoint URL",
        ));
    }
    check_endpoints(http, &provider.endpoints).map_err(|(which, why)| {
        WireError::new(
            ErrorCode::BadRequest,
            format!("the {which} endpoint: {why}"),
        )
    })?;
    let mut scopes = resource::scopes(
        start,
        challenge.as_ref(),
        protected.as_ref(),
        habits.as_ref(),
        known.as_ref().map(|known| &known.scopes),
    )?;
    let mut resources = named(start.resource.clone(), start.resources.iter().cloned());
    if let Some(known) = known.as_ref().filter(|_| resources.is_empty()) {
        resources.clone_from(&known.resources);
    }
    if let Some(long) = resources.iter().find(|it| it.len() > LONGEST_RESOURCE) {
        return Err(resource_too_long(long));
    }
    let mut params = habits.as_ref().map(|habits| habits.params.clone());
    // A token for a resource lists that resource's scopes alone, and not this one.
    let was_offline = |known: &Known| {
        known.renewable && !known.resources.is_empty() && known.provider.profile.name.is_none()
    };
    let is_for_resource = protected.is_some() || known.as_ref().is_some_and(was_offline);
    if start.scopes.is_none()
        && is_for_resource
        && resource::ask_offline(found.as_ref(), &mut scopes)
    {
        // Without it many a provider does not keep the login (OpenID Connect Core §11).
        params
            .get_or_insert_default()
            .entry("prompt".to_owned())
            .or_insert_with(|| "consent".to_owned());
    }

    let same_place = pinned.or_else(|| {
        let same = |known: &&Known| known.provider.endpoints.token == provider.endpoints.token;
        known.as_ref().filter(same)
    });
    let before = known.as_ref().filter(|known| known.is_at(&provider));
    if let Some(client_id) = &start.client_id {
        provider.client_id.clone_from(client_id);
        provider.registration = None;
    } else if provider.client_id.is_empty()
        && let Some(known) = before.or(same_place.filter(|_| chosen.is_some()))
    {
        provider.client_id.clone_from(&known.provider.client_id);
    }
    if let Some(known) = before
        && known.provider.client_id == provider.client_id
    {
        provider
            .registration
            .clone_from(&known.provider.registration);
    }
    let may_register = chosen.is_none() && configured.is_none();
    let identity = registration::Wanted {
        metadata: found.as_ref().filter(|_| may_register),
        habits: habits.as_ref(),
        presets: &presets,
        scopes: &scopes,
    };
    let Identity { redirect, by } = match purpose {
        Purpose::Login => identity.settle(daemon, http, &mut provider, start).await?,
        Purpose::Import => identity.known(&mut provider)?,
    };
    let start = &*start;
    provider.profile = match (&habits, same_place) {
        (Some(habits), _) => habits.profile.clone(),
        (None, Some(known)) => known.provider.profile.clone(),
        (None, None) => Profile::default(),
    };
    let client_secret = client::choose(
        &mut provider,
        start,
        metadata.as_ref(),
        habits.as_ref(),
        known.as_ref(),
        configured.as_ref(),
    )?;
    if let Some(metadata) = &metadata
        && provider.client_auth == ClientAuth::Tls
    {
        provider.endpoints = metadata.endpoints_for(ClientAuth::Tls);
        fill(&mut provider.endpoints, start);
    }
    let before = pinned.map(|known| &known.provider);
    provider.stated = moved::stated(&provider, found.as_ref(), before);
    let is_bound = known.as_ref().is_some_and(|known| known.is_bound);
    let credential = client::fetch(daemon, &provider, client_secret.as_ref()).await?;
    // Where one tenant was logged in to, no other's tokens will do.
    let multi_tenant = match (&metadata, same_place) {
        (Some(metadata), _) => metadata.multi_tenant,
        (None, known) => {
            known.is_some_and(|known| known.provider.profile.issuer_template.is_some())
        }
    };
    if !multi_tenant {
        provider.profile.issuer_template = None;
    }
    let mut habits = habits.unwrap_or_default();
    habits.params = params.unwrap_or_default();
    let offline = habits.offline_scopes.iter().map(String::as_str);
    let scopes = scopes.iter().chain(offline).collect();
    let wish = Wish {
        asked: start.dpop,
        before: is_bound,
    };
    Ok(Target {
        iss_expected: found
            .as_ref()
            .is_some_and(|it| it.authorization_response_iss_parameter_supported),
        protections: Protections::choose(wish, &provider, found.as_ref())?,
        account,
        provider,
        client_secret,
        credential,
        scopes,
        resources,
        habits,
        client_id_by: by,
        redirect,
        found_by: protected.map(|protected| protected.resource),
    })
}

/// Where a login goes.
struct Place {
    provider: Provider,
    /// What the provider says of itself, for what a login is protected by.
    found: Option<Metadata>,
    /// The same, where `provider` is made of it.
    metadata: Option<Metadata>,
}

async fn place(
    http: &Http,
    chosen: Option<&Preset>,
    start: &LoginStart,
    habits: Option<&Habits>,
    known: Option<&Known>,
) -> Result<Place, WireError> {
    let template = habits.and_then(|habits| habits.profile.issuer_template.as_deref());
    let place = match (chosen, &start.issuer, is_by_hand(start), known) {
        (Some(chosen), ..) => {
            let (provider, metadata) = preset::locate(http, chosen)
                .await
                .map_err(discovery_failed)?;
            Place {
                provider,
                found: metadata.clone(),
                metadata,
            }
        }
        (None, Some(issuer), ..) => {
            let metadata = discover(http, issuer, template)
                .await
                .map_err(discovery_failed)?;
            Place {
                provider: Provider {
                    issuer: Some(metadata.issuer.clone()),
                    endpoints: metadata.endpoints.clone(),
                    ..Provider::default()
                },
                found: Some(metadata.clone()),
                metadata: Some(metadata),
            }
        }
        (None, None, true, _) => Place {
            provider: Provider::default(),
            found: None,
            metadata: None,
        },
        (None, None, false, Some(known)) => {
            // The endpoints stay as they were pinned, but for what the person was told of; what the login is
            // protected by is asked for again. Whoever can make that one request fail would else switch it
            // off (decision 28).
            let found = match &known.provider.issuer {
                Some(issuer) => Some(
                    discover(http, issuer, template)
                        .await
                        .map_err(unprotected)?,
                ),
                None => None,
            };
            Place {
                provider: moved::as_told(known, found.as_ref(), start)?,
                found,
                metadata: None,
            }
        }
        (None, None, false, None) => {
            return Err(bad(
                "where to log in is not said",
                "give --provider NAME, --issuer URL, or --authorization-endpoint and --token-endpoint",
            ));
        }
    };
    Ok(place)
}

/// Whether endpoints are given by hand.
pub(super) fn is_by_hand(start: &LoginStart) -> bool {
    start.authorization_endpoint.is_some()
        || start.token_endpoint.is_some()
        || start.device_authorization_endpoint.is_some()
}

/// The resources in order, the login's own first and none twice.
fn named(own: Option<String>, further: impl Iterator<Item = String>) -> Vec<String> {
    let mut resources: Vec<String> = own.into_iter().collect();
    for resource in further {
        if !resources.contains(&resource) {
            resources.push(resource);
        }
    }
    resources
}

/// Endpoints given by hand fill what the metadata lacks, or stand in its place.
fn fill(endpoints: &mut Endpoints, start: &LoginStart) {
    if let Some(token) = &start.token_endpoint {
        endpoints.token.clone_from(token);
    }
    for (known, given) in [
        (&mut endpoints.authorization, &start.authorization_endpoint),
        (
            &mut endpoints.device_authorization,
            &start.device_authorization_endpoint,
        ),
        (&mut endpoints.revocation, &start.revocation_endpoint),
        (&mut endpoints.userinfo, &start.userinfo_endpoint),
    ] {
        if given.is_some() {
            known.clone_from(given);
        }
    }
}
