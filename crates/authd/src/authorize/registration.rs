//! Who this client is at a provider, where nobody says so. In this order: the client that the account
//! has there, the one that the configuration has for that issuer, the document that describes this
//! client, a client that registers itself now, and then nobody but a person knows (Model Context
//! Protocol, revision 2026-07-28, "Client Registration").
//!
//! What was registered at one issuer is never used at another: the account keeps it with the issuer,
//! from the commit of the login on.

use authd_core::{
    grant::{ClientAuth, Provider, Registration},
    scope::ScopeSet,
    time::Wall,
};
use authd_oauth::{
    DEFAULT_REDIRECT_URI, Http, LoopbackRedirect, Metadata, Registered, RegistrationError,
    RegistrationRequest,
    preset::{Habits, Presets},
    register,
};
use authd_proto::{
    WireError, WireSecret,
    request::{ClientAuth as WireAuth, Flow, LoginStart},
    response::ClientIdBy,
};

use super::{
    preset,
    trouble::{client_id_required, no_client_id, no_listener, not_registered},
};
use crate::daemon::Shared;

/// What the client has to be good for.
pub(super) struct Wanted<'a> {
    /// The provider's, where a client may be found there.
    pub(super) metadata: Option<&'a Metadata>,
    pub(super) habits: Option<&'a Habits>,
    pub(super) presets: &'a Presets,
    pub(super) scopes: &'a ScopeSet,
}

/// Who we are.
#[derive(Default)]
pub(super) struct Identity {
    /// Listening already, where the provider knows the port.
    pub(super) redirect: Option<LoopbackRedirect>,
    /// How the id was come by, if nobody knew it.
    pub(super) by: Option<ClientIdBy>,
}

impl Wanted<'_> {
    /// The client id of `provider` as far as it is known without asking anybody.
    pub(super) fn known(&self, provider: &mut Provider) -> Result<Identity, WireError> {
        let of_config = self.habits.and_then(|habits| habits.client_id.as_ref());
        if let Some(client_id) = of_config.filter(|_| provider.client_id.is_empty()) {
            provider.client_id.clone_from(client_id);
        }
        match provider.client_id.is_empty() {
            true => Err(no_client_id()),
            false => Ok(Identity::default()),
        }
    }

    /// Settles the client id of `provider`, and in `start` what proves a client that was registered
    /// just now.
    pub(super) async fn settle(
        &self,
        daemon: &Shared,
        http: &Http,
        provider: &mut Provider,
        start: &mut LoginStart,
    ) -> Result<Identity, WireError> {
        let now = daemon.clock.now().wall;
        if let Some(registration) = &provider.registration {
            if let Some(redirect) = usable(registration, start, self.scopes, now).await {
                return Ok(Identity { redirect, by: None });
            }
            if self.registration_endpoint().is_some() {
                provider.registration = None;
                provider.client_id.clear();
            }
        }
        if let Ok(known) = self.known(provider) {
            return Ok(known);
        }
        let document = daemon
            .config
            .load()
            .login
            .client_id_metadata_document
            .clone();
        let takes_documents = self
            .metadata
            .is_some_and(|metadata| metadata.client_id_metadata_document_supported);
        if takes_documents && !document.is_empty() {
            provider.client_id = document;
            start.client_auth = Some(WireAuth::None);
            let by = Some(ClientIdBy::MetadataDocument);
            return Ok(Identity { redirect: None, by });
        }
        let needs_nobody = matches!(start.flow, Flow::ClientCredentials | Flow::JwtBearer);
        match self.registration_endpoint() {
            Some(endpoint) if !needs_nobody && start.client_secret.is_none() => {
                self.register(http, endpoint, provider, start).await
            }
            _ => Err(self.nobody()),
        }
    }

    fn registration_endpoint(&self) -> Option<&str> {
        self.metadata?.registration_endpoint.as_deref()
    }

    async fn register(
        &self,
        http: &Http,
        endpoint: &str,
        provider: &mut Provider,
        start: &mut LoginStart,
    ) -> Result<Identity, WireError> {
        let redirect = listener(start).await?;
        let mut redirect_uris: Vec<&str> = Vec::new();
        redirect_uris.extend(redirect.as_ref().map(LoopbackRedirect::redirect_uri));
        if start.redirect_uri.is_none() {
            // For providers that take every port (RFC 8252 §7.3), once the one above is taken.
            redirect_uris.push(DEFAULT_REDIRECT_URI);
        }
        let by_device =
            start.flow != Flow::Browser && provider.endpoints.device_authorization.is_some();
        let request = RegistrationRequest {
            redirect_uris: &redirect_uris,
            scopes: self.scopes,
            by_device,
        };
        let registered = self
            .registered(http, endpoint, request)
            .await
            .map_err(|error| not_registered(&error))?;
        tracing::info!(%endpoint, "this client was registered");
        provider.client_id = registered.client_id;
        provider.registration = Some(Box::new(Registration {
            redirect_uri: redirect.as_ref().map(|it| it.redirect_uri().to_owned()),
            scopes: registered.scopes,
            secret_expires_at: registered.secret_expires_at,
        }));
        start.client_auth = Some(match registered.client_auth {
            ClientAuth::Basic => WireAuth::Basic,
            ClientAuth::Post => WireAuth::Post,
            _ => WireAuth::None,
        });
        let secret = registered.client_secret.as_ref();
        start.client_secret = secret.map(|secret| WireSecret::new(secret.expose()));
        let by = Some(ClientIdBy::Registration);
        Ok(Identity { redirect, by })
    }

    /// Registers. A scope is a limit to some providers and unheard of to others: what the provider
    /// does not list is not said, and what it objects to is left out once.
    async fn registered(
        &self,
        http: &Http,
        endpoint: &str,
        request: RegistrationRequest<'_>,
    ) -> Result<Registered, RegistrationError> {
        let unsaid = ScopeSet::default();
        let listed = self.metadata.and_then(|it| it.scopes_supported.as_ref());
        let is_listed = |scope: &str| {
            listed.is_none_or(|listed| listed.iter().any(|supported| supported == scope))
        };
        let sayable = request.scopes.iter().all(is_listed);
        let full = RegistrationRequest {
            scopes: if sayable { request.scopes } else { &unsaid },
            ..request
        };
        match register(http, endpoint, full).await {
            Err(error)
                if error.is_about_metadata() && (!full.scopes.is_empty() || full.by_device) =>
            {
                tracing::debug!(%error, "registering with less");
                let less = RegistrationRequest {
                    scopes: &unsaid,
                    by_device: false,
                    ..full
                };
                register(http, endpoint, less).await
            }
            done => done,
        }
    }

    /// Only a person can say who we are.
    fn nobody(&self) -> WireError {
        match self.habits {
            Some(habits) if habits.profile.name.is_some() => {
                preset::no_client_id(self.presets, habits)
            }
            _ => client_id_required(
                "no client id is given, and the provider registers none by itself",
            ),
        }
    }
}

/// Whether a client that registered itself is good for this login, and then where it listens.
async fn usable(
    registration: &Registration,
    start: &LoginStart,
    scopes: &ScopeSet,
    now: Wall,
) -> Option<Option<LoopbackRedirect>> {
    let may_ask = registration
        .scopes
        .as_ref()
        .is_none_or(|most| scopes.is_subset(most));
    let has_ended = registration.secret_expires_at.is_some_and(|end| end <= now);
    if !may_ask || has_ended {
        return None;
    }
    if start.flow == Flow::Device {
        return Some(None);
    }
    let registered = registration.redirect_uri.as_deref()?;
    let is_other = |asked: &String| asked != registered;
    if start.redirect_uri.as_ref().is_some_and(is_other) {
        return None;
    }
    // Another program may have the port by now.
    LoopbackRedirect::bind(registered).await.ok().map(Some)
}

/// Where the browser is to come back, if it is to.
async fn listener(start: &LoginStart) -> Result<Option<LoopbackRedirect>, WireError> {
    if start.flow == Flow::Device {
        return Ok(None);
    }
    let asked = start.redirect_uri.as_deref();
    let bound = LoopbackRedirect::bind(asked.unwrap_or(DEFAULT_REDIRECT_URI)).await;
    bound.map(Some).map_err(no_listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(redirect_uri: Option<&str>) -> Registration {
        Registration {
            redirect_uri: redirect_uri.map(str::to_owned),
            scopes: Some(ScopeSet::parse("a b")),
            secret_expires_at: Some(Wall::from_unix_secs(100)),
        }
    }

    async fn is_usable(
        registration: &Registration,
        start: &LoginStart,
        scopes: &str,
        at: i64,
    ) -> bool {
        let (scopes, now) = (ScopeSet::parse(scopes), Wall::from_unix_secs(at));
        usable(registration, start, &scopes, now).await.is_some()
    }

    #[tokio::test]
    async fn a_registered_client_is_used_again_while_it_is_good_for_the_login() {
        let port = LoopbackRedirect::bind(DEFAULT_REDIRECT_URI).await.unwrap();
        let uri = port.redirect_uri().to_owned();
        drop(port);
        let known = registration(Some(&uri));
        let start = LoginStart::default();
        assert!(is_usable(&known, &start, "a", 99).await);
        assert!(is_usable(&known, &start, "", 99).await);
        assert!(
            !is_usable(&known, &start, "a c", 99).await,
            "never registered for c"
        );
        assert!(
            !is_usable(&known, &start, "a", 100).await,
            "its secret has ended"
        );
        let elsewhere = LoginStart {
            redirect_uri: Some("http://127.0.0.1:1/other".into()),
            ..LoginStart::default()
        };
        assert!(!is_usable(&known, &elsewhere, "a", 99).await);
        let taken = LoopbackRedirect::bind(&uri).await.unwrap();
        assert!(
            !is_usable(&known, &start, "a", 99).await,
            "the port is taken"
        );
        let by_device = LoginStart {
            flow: Flow::Device,
            ..LoginStart::default()
        };
        assert!(is_usable(&known, &by_device, "a", 99).await);
        drop(taken);
        assert!(!is_usable(&registration(None), &start, "a", 99).await);
    }
}
