//! The start of a login: where, as whom, and how the person gets there.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use authd_core::{
    broker::{Event, LoginBegun, LoginMethod},
    grant::{ClientAuth, Endpoints, Profile, Provider, RenewedBy},
    id::{Account, GrantId, LoginId},
    policy::LONGEST_RESOURCE,
    scope::ScopeSet,
    secret::Secret,
};
use authd_oauth::{
    AuthorizationAttempt, AuthorizationRequest, BadAuthorizationRequest, Client, Credential,
    DEFAULT_REDIRECT_URI, DeviceAuthorization, DiscoveryError, EndpointError, Http, LoopbackError,
    LoopbackRedirect, authorize_device, check_endpoints, discover,
    preset::{Habits, Presets},
};
use authd_proto::{
    ErrorCode, WireError,
    request::{Flow, LoginStart},
    response::LoginStartReply,
};

use super::{
    Login, Proof,
    client::{self, Named},
    login_id, preset,
    protection::{Protections, Wish},
};
use crate::{
    admission::Place,
    daemon::Shared,
    handler::{account_name, scopes},
    journal::Origin,
    network::mends_the_way,
};

/// How long a person has at the provider.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a login is about, once it is clear where it goes.
struct Target {
    account: Account,
    provider: Provider,
    client_secret: Option<Secret>,
    credential: Credential,
    scopes: ScopeSet,
    /// The first is what the login's own token is for.
    resources: Vec<String>,
    iss_expected: bool,
    protections: Protections,
    /// What the provider's preset adds.
    habits: Habits,
}

/// Begins a login and says what the person has to open or type.
pub(crate) async fn begin(
    daemon: Shared,
    start: LoginStart,
    origin: Origin,
    place: Place,
) -> Result<LoginStartReply, WireError> {
    let account = account_name(&start.account)?;
    let http = daemon.network.http();
    let known = match Known::of(&daemon, &account) {
        Some(known) => {
            let client_secret = daemon.mailbox.client_secret(account.clone()).await;
            Some(Known {
                client_secret,
                ..known
            })
        }
        None => None,
    };
    // Provider and listener live on the network's thread: neither a slow provider nor a hostile
    // page keeps a client waiting.
    let work = daemon.network.spawn({
        let daemon = Arc::clone(&daemon);
        async move {
            let mut start = start;
            let presets = daemon.config.load().presets();
            let target = target(&daemon, &http, &presets, account, &mut start, known).await?;
            if let Some(by) = client::renewed_by(&start, &target.credential)? {
                return direct(&daemon, target, &start, by, origin, place);
            }
            match start.flow {
                Flow::Device => {
                    let device = device_code(&daemon, &http, &target);
                    let device = device.await.map_err(no_device_code)?;
                    self::device(&daemon, device, target, &start, origin, place)
                }
                Flow::DeviceOrBrowser => match device_code(&daemon, &http, &target).await {
                    Ok(device) => self::device(&daemon, device, target, &start, origin, place),
                    // Whatever it is that keeps this client from it: the browser's way is still open.
                    Err(error) => {
                        tracing::debug!(%error, "no device flow, so by browser");
                        browser(&daemon, &http, target, &start, origin, place).await
                    }
                },
                // Those that need nobody are on their way.
                Flow::Browser | Flow::ClientCredentials | Flow::JwtBearer => {
                    browser(&daemon, &http, target, &start, origin, place).await
                }
            }
        }
    });
    work.await.unwrap_or_else(|_| {
        Err(WireError::new(ErrorCode::Internal, "the login broke off")
            .with_hint("see the daemon's log"))
    })
}

/// What an account that exists knows already: logging in again needs no arguments.
pub(super) struct Known {
    pub(super) provider: Provider,
    pub(super) client_secret: Option<Secret>,
    pub(super) renewed_by: RenewedBy,
    pub(super) scopes: ScopeSet,
    pub(super) resources: Vec<String>,
    /// Its tokens are bound to a key (RFC 9449).
    pub(super) is_bound: bool,
}

impl Known {
    fn of(daemon: &Shared, account: &Account) -> Option<Self> {
        let accounts = daemon.published.load();
        let snapshot = accounts.get(account)?;
        let grant = &snapshot.view.grant;
        Some(Self {
            is_bound: snapshot.holds_key,
            provider: Provider::clone(&grant.provider),
            client_secret: None,
            renewed_by: grant.renewed_by.clone(),
            scopes: grant.scopes.clone(),
            resources: named(grant.resource.clone(), grant.resources.iter().cloned()),
        })
    }
}

async fn target(
    daemon: &Shared,
    http: &Http,
    presets: &Presets,
    account: Account,
    start: &mut LoginStart,
    known: Option<Known>,
) -> Result<Target, WireError> {
    let bad = |message: &str, hint: &str| {
        Err(WireError::new(ErrorCode::BadRequest, message).with_hint(hint.to_owned()))
    };
    let chosen = preset::chosen(presets, start)?;
    client::follow(start, known.as_ref());
    let configured = Named::of(daemon, start, known.as_ref())?;
    let start = &*start;
    let by_hand = start.authorization_endpoint.is_some()
        || start.token_endpoint.is_some()
        || start.device_authorization_endpoint.is_some();
    let habits = match &chosen {
        Some(chosen) => Some(chosen.habits.clone()),
        None if start.issuer.is_none() && by_hand => None,
        None => {
            let known = known.as_ref().map(|known| &known.provider);
            preset::remembered(presets, start.issuer.as_deref(), known)
        }
    };
    let template = habits
        .as_ref()
        .and_then(|habits| habits.profile.issuer_template.as_deref());
    let (mut provider, found, metadata) = match (&chosen, &start.issuer, by_hand, &known) {
        (Some(chosen), ..) => {
            let (provider, metadata) = preset::locate(http, chosen)
                .await
                .map_err(discovery_failed)?;
            (provider, metadata.clone(), metadata)
        }
        (None, Some(issuer), ..) => {
            let metadata = discover(http, issuer, template)
                .await
                .map_err(discovery_failed)?;
            let provider = Provider {
                issuer: Some(metadata.issuer.clone()),
                endpoints: metadata.endpoints.clone(),
                ..Provider::default()
            };
            (provider, Some(metadata.clone()), Some(metadata))
        }
        (None, None, true, _) => (Provider::default(), None, None),
        (None, None, false, Some(known)) => {
            // The endpoints stay as they were pinned; only what the login is protected by is asked for
            // again. Whoever can make that one request fail would else switch it off (decision 28).
            let found = match &known.provider.issuer {
                Some(issuer) => Some(
                    discover(http, issuer, template)
                        .await
                        .map_err(unprotected)?,
                ),
                None => None,
            };
            (known.provider.clone(), found, None)
        }
        (None, None, false, None) => {
            return bad(
                "where to log in is not said",
                "give --provider NAME, --issuer URL, or --authorization-endpoint and --token-endpoint",
            );
        }
    };
    fill(&mut provider.endpoints, start);
    if provider.endpoints.token.is_empty() {
        return bad(
            "the token endpoint is not known",
            "give --token-endpoint URL",
        );
    }
    check_endpoints(http, &provider.endpoints).map_err(|(which, why)| {
        WireError::new(
            ErrorCode::BadRequest,
            format!("the {which} endpoint: {why}"),
        )
    })?;
    if let Some(client_id) = &start.client_id {
        provider.client_id.clone_from(client_id);
    }
    let same_place = known
        .as_ref()
        .filter(|known| known.provider.endpoints.token == provider.endpoints.token);
    if provider.client_id.is_empty()
        && chosen.is_some()
        && let Some(known) = same_place
    {
        provider.client_id.clone_from(&known.provider.client_id);
    }
    if provider.client_id.is_empty() {
        if let Some(habits) = &habits {
            return Err(preset::no_client_id(presets, habits));
        }
        return bad(
            "no client id is given",
            "give --client-id, as registered at the provider",
        );
    }
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
    let habits = habits.unwrap_or_default();
    let known_scopes = known.as_ref().map(|known| known.scopes.clone());
    let asked = match &start.scopes {
        Some(asked) => scopes(Some(asked.as_slice()))?,
        None => match known_scopes {
            Some(known) => known,
            None => scopes(Some(habits.scopes.as_slice()))?,
        },
    };
    let offline = habits.offline_scopes.iter().map(String::as_str);
    let scopes = asked.iter().chain(offline).collect();
    let mut resources = named(start.resource.clone(), start.resources.iter().cloned());
    if resources.is_empty() {
        resources = known.map(|known| known.resources).unwrap_or_default();
    }
    if let Some(resource) = resources
        .iter()
        .find(|resource| resource.len() > LONGEST_RESOURCE)
    {
        let message = format!("a resource of {} bytes is too long", resource.len());
        return Err(WireError::new(ErrorCode::BadRequest, message)
            .with_hint(format!("{LONGEST_RESOURCE} bytes at most")));
    }
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
    })
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

async fn browser(
    daemon: &Shared,
    http: &Http,
    target: Target,
    start: &LoginStart,
    origin: Origin,
    place: Place,
) -> Result<LoginStartReply, WireError> {
    let asked = start
        .redirect_uri
        .as_deref()
        .or(target.habits.redirect_uri.as_deref())
        .unwrap_or(DEFAULT_REDIRECT_URI);
    let redirect = LoopbackRedirect::bind(asked).await.map_err(no_listener)?;
    let mut extra = target.habits.params.clone();
    extra.extend(start.extra.clone());
    let extra: Vec<_> = extra.into_iter().collect();
    let mut failed = None;
    let mut random = |bytes: &mut [u8]| {
        if let Err(error) = getrandom::fill(bytes) {
            failed = Some(error);
        }
    };
    let jkt = target.protections.jkt();
    let jarm = target.protections.jarm(daemon, http).await?;
    let mut attempt = AuthorizationAttempt::begin(
        AuthorizationRequest {
            provider: &target.provider,
            redirect_uri: redirect.redirect_uri(),
            scopes: &target.scopes,
            resources: &target.resources,
            extra: &extra,
            scope_separator: target.habits.scope_separator.as_deref(),
            iss_expected: target.iss_expected,
            dpop_jkt: jkt.as_deref(),
            jarm,
        },
        &mut random,
    )
    .map_err(bad_request)?;
    if failed.is_some() {
        return Err(no_randomness());
    }
    let client = Client {
        provider: &target.provider,
        credential: &target.credential,
        ambient: &**daemon,
    };
    let url_lives = target.protections.push(http, client, &mut attempt).await?;
    let attempt = Arc::new(attempt);
    let reply = LoginStartReply {
        login_id: String::new(),
        account: target.account.to_string(),
        flow: Flow::Browser,
        authorization_url: Some(attempt.url().to_owned()),
        authorization_url_expires_in_secs: url_lives.map(|left| left.as_secs()),
        redirect_uri: Some(redirect.redirect_uri().to_owned()),
        user_code: None,
        verification_uri: None,
        verification_uri_complete: None,
        interval_secs: None,
        expires_in_secs: PATIENCE.as_secs(),
    };
    let under_way = UnderWay {
        attempt: Some(Arc::clone(&attempt)),
        proof: None,
        method: LoginMethod::Code,
        patience: PATIENCE,
        origin,
        place,
    };
    let (id, login) = register(daemon, target, start.replace_subject, under_way)?;
    let waiting = tokio::spawn({
        let (daemon, login) = (Arc::clone(daemon), Arc::clone(&login));
        async move {
            let result = redirect.wait(&attempt).await;
            login.redirected(&daemon, id, result);
        }
    });
    *login
        .listener
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(waiting.abort_handle());
    if daemon.logins.find(id).is_none() {
        // It ended before there was a listener to close.
        login.close_listener();
    }
    Ok(LoginStartReply {
        login_id: login_id(id),
        ..reply
    })
}

async fn device_code(
    daemon: &Shared,
    http: &Http,
    target: &Target,
) -> Result<DeviceAuthorization, EndpointError> {
    let client = Client {
        provider: &target.provider,
        credential: &target.credential,
        ambient: &**daemon,
    };
    authorize_device(http, client, &target.scopes, &target.resources).await
}

fn device(
    daemon: &Shared,
    device: DeviceAuthorization,
    target: Target,
    start: &LoginStart,
    origin: Origin,
    place: Place,
) -> Result<LoginStartReply, WireError> {
    let DeviceAuthorization {
        device_code,
        user_code,
        verification_uri,
        verification_uri_complete,
        expires_in,
        interval,
    } = device;
    let account = target.account.to_string();
    let under_way = UnderWay {
        attempt: None,
        proof: Some(Arc::new(Proof::DeviceCode(device_code))),
        method: LoginMethod::Device { interval },
        patience: expires_in,
        origin,
        place,
    };
    let (id, _) = register(daemon, target, start.replace_subject, under_way)?;
    Ok(LoginStartReply {
        login_id: login_id(id),
        account,
        flow: Flow::Device,
        authorization_url: None,
        authorization_url_expires_in_secs: None,
        redirect_uri: None,
        user_code: Some(user_code),
        verification_uri: Some(verification_uri),
        verification_uri_complete,
        interval_secs: Some(interval.as_secs()),
        expires_in_secs: expires_in.as_secs(),
    })
}

/// Nobody has to do anything: what comes next is the request.
fn direct(
    daemon: &Shared,
    target: Target,
    start: &LoginStart,
    by: RenewedBy,
    origin: Origin,
    place: Place,
) -> Result<LoginStartReply, WireError> {
    let account = target.account.to_string();
    let under_way = UnderWay {
        attempt: None,
        proof: Some(Arc::new(Proof::from(&by))),
        method: LoginMethod::Direct(by),
        patience: PATIENCE,
        origin,
        place,
    };
    let (id, _) = register(daemon, target, start.replace_subject, under_way)?;
    Ok(LoginStartReply {
        login_id: login_id(id),
        account,
        flow: start.flow,
        authorization_url: None,
        authorization_url_expires_in_secs: None,
        redirect_uri: None,
        user_code: None,
        verification_uri: None,
        verification_uri_complete: None,
        interval_secs: None,
        expires_in_secs: PATIENCE.as_secs(),
    })
}

/// What tells one login's way from another's.
struct UnderWay {
    attempt: Option<Arc<AuthorizationAttempt>>,
    proof: Option<Arc<Proof>>,
    method: LoginMethod,
    patience: Duration,
    origin: Origin,
    place: Place,
}

fn register(
    daemon: &Shared,
    target: Target,
    replace_subject: bool,
    under_way: UnderWay,
) -> Result<(LoginId, Arc<Login>), WireError> {
    let (id, grant) = getrandom::u64()
        .and_then(|id| Ok((id, getrandom::u64()?)))
        .map_err(|_| no_randomness())?;
    let (id, grant) = (LoginId(id), GrantId(grant));
    let login = Arc::new(Login {
        account: target.account.clone(),
        provider: target.provider.clone(),
        client_secret: target.client_secret,
        binding: target.protections.binding,
        asked: target.scopes.clone(),
        attempt: under_way.attempt,
        proof: Mutex::new(under_way.proof),
        place: Mutex::new(Some(under_way.place)),
        listener: Mutex::default(),
        origin: under_way.origin,
    });
    daemon.logins.insert(id, Arc::clone(&login));
    daemon.mailbox.event(Event::LoginBegun(Box::new(LoginBegun {
        login: id,
        account: target.account,
        grant,
        provider: target.provider,
        scopes: target.scopes,
        resource: target.resources.first().cloned(),
        resources: target.resources.into_iter().collect(),
        replace_subject,
        method: under_way.method,
        patience: under_way.patience,
    })));
    Ok((id, login))
}

pub(crate) fn no_randomness() -> WireError {
    WireError::new(ErrorCode::Internal, "the system gives no random bytes")
}

fn discovery_failed(error: DiscoveryError) -> WireError {
    let (code, hint) = match &error {
        DiscoveryError::Transport(error) => (ErrorCode::Unavailable, mends_the_way(error.failure)),
        DiscoveryError::IssuerMismatch { .. } => (
            ErrorCode::DiscoveryFailed,
            "give --issuer exactly as the provider names itself, to the last slash",
        ),
        DiscoveryError::NotFound { .. } => (
            ErrorCode::DiscoveryFailed,
            "give --authorization-endpoint and --token-endpoint",
        ),
        DiscoveryError::BadIssuer(_) => (
            ErrorCode::DiscoveryFailed,
            "an issuer is an https address, as the provider states it",
        ),
        DiscoveryError::Unusable { .. } => {
            (ErrorCode::DiscoveryFailed, "give the endpoints by hand")
        }
    };
    WireError::new(code, error.to_string()).with_hint(hint)
}

/// What an account's own issuer promises could not be read.
fn unprotected(error: DiscoveryError) -> WireError {
    let hint = match &error {
        DiscoveryError::IssuerMismatch { .. } | DiscoveryError::BadIssuer(_) => {
            "find out whose server that is; log in with --issuer once you know it"
        }
        _ => "try again later: what the provider says there is what protects the login",
    };
    discovery_failed(error).with_hint(hint)
}

fn no_listener(error: LoopbackError) -> WireError {
    match &error {
        LoopbackError::BadRedirectUri(_) => {
            WireError::new(ErrorCode::BadRequest, error.to_string())
                .with_hint("give --redirect-uri http://127.0.0.1:PORT/PATH as registered")
        }
        LoopbackError::Bind { address, source } => {
            let port = address.port();
            let who = if cfg!(target_os = "linux") {
                format!("'ss -ltnp sport = :{port}' says who has it")
            } else {
                format!("'lsof -nP -iTCP:{port}' says who has it")
            };
            WireError::new(ErrorCode::LoginFailed, format!("{error}: {source}"))
                .with_hint(format!("free the port ({who}), or log in with --device"))
        }
    }
}

fn bad_request(error: BadAuthorizationRequest) -> WireError {
    let hint = match &error {
        BadAuthorizationRequest::NoEndpoint => "give --authorization-endpoint, or use --device",
        _ => "mend the argument",
    };
    WireError::new(ErrorCode::BadRequest, error.to_string()).with_hint(hint)
}

fn no_device_code(error: EndpointError) -> WireError {
    let code = if error.is_transient() {
        ErrorCode::Unavailable
    } else {
        ErrorCode::LoginFailed
    };
    let hint = match &error {
        EndpointError::NotOffered => {
            "log in without --device, or give --device-authorization-endpoint"
        }
        EndpointError::Refused { .. } => "check the client id and the scopes",
        _ => "try again later, or log in without --device",
    };
    WireError::new(code, error.to_string()).with_hint(hint)
}
