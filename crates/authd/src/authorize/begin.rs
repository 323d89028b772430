//! The start of a login: where, as whom, and how the person gets there.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use authd_core::{
    broker::{Event, LoginBegun, LoginMethod},
    grant::{ClientAuth, RenewedBy},
    id::{GrantId, LoginId},
};
use authd_oauth::{
    AuthorizationAttempt, AuthorizationRequest, Client, DEFAULT_REDIRECT_URI, DeviceAuthorization,
    EndpointError, Http, LoopbackRedirect, authorize_device,
};
use authd_proto::{
    ErrorCode, WireError,
    request::{Flow, LoginStart},
    response::LoginStartReply,
};

use super::{
    Login, Proof, client, login_id, preset,
    target::{Known, Purpose, Target, target},
    trouble::{bad_request, no_device_code, no_listener, no_randomness},
};
use crate::{admission::Place, daemon::Shared, handler::account_name, journal::Origin};

/// How long a person has at the provider.
const PATIENCE: Duration = Duration::from_secs(600);

/// Begins a login and says what the person has to open or type.
pub(crate) async fn begin(
    daemon: Shared,
    start: LoginStart,
    origin: Origin,
    place: Place,
) -> Result<LoginStartReply, WireError> {
    let account = account_name(&start.account)?;
    let http = daemon.network.http();
    let known = Known::with_secret(&daemon, &account).await;
    // Provider and listener live on the network's thread: neither a slow provider nor a hostile
    // page keeps a client waiting.
    let work = daemon.network.spawn({
        let daemon = Arc::clone(&daemon);
        async move {
            let mut start = start;
            let target = target(Purpose::Login, &daemon, &http, account, &mut start, known).await?;
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
                        let is_public = target.provider.client_auth == ClientAuth::None;
                        if is_public && start.client_auth.is_none() {
                            preset::check_public(&target.habits)?;
                        }
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
    work.await.unwrap_or_else(|_| Err(broke_off()))
}

pub(super) fn broke_off() -> WireError {
    WireError::new(ErrorCode::Internal, "the login broke off").with_hint("see the daemon's log")
}

async fn browser(
    daemon: &Shared,
    http: &Http,
    mut target: Target,
    start: &LoginStart,
    origin: Origin,
    place: Place,
) -> Result<LoginStartReply, WireError> {
    let asked = start
        .redirect_uri
        .as_deref()
        .or(target.habits.redirect_uri.as_deref())
        .unwrap_or(DEFAULT_REDIRECT_URI);
    let redirect = match target.redirect.take() {
        Some(listening) => listening,
        None => LoopbackRedirect::bind(asked).await.map_err(no_listener)?,
    };
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
        authorization_url: Some(attempt.url().to_owned()),
        authorization_url_expires_in_secs: url_lives.map(|left| left.as_secs()),
        redirect_uri: Some(redirect.redirect_uri().to_owned()),
        ..reply(&target, Flow::Browser, PATIENCE)
    };
    let under_way = UnderWay {
        attempt: Some(Arc::clone(&attempt)),
        url_lives,
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
    let reply = reply(&target, Flow::Device, expires_in);
    let under_way = UnderWay {
        attempt: None,
        url_lives: None,
        proof: Some(Arc::new(Proof::DeviceCode(device_code))),
        method: LoginMethod::Device { interval },
        patience: expires_in,
        origin,
        place,
    };
    let (id, _) = register(daemon, target, start.replace_subject, under_way)?;
    Ok(LoginStartReply {
        login_id: login_id(id),
        user_code: Some(user_code),
        verification_uri: Some(verification_uri),
        verification_uri_complete,
        interval_secs: Some(interval.as_secs()),
        ..reply
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
    let reply = reply(&target, start.flow, PATIENCE);
    let under_way = UnderWay {
        attempt: None,
        url_lives: None,
        proof: Some(Arc::new(Proof::from(&by))),
        method: LoginMethod::Direct(by),
        patience: PATIENCE,
        origin,
        place,
    };
    let (id, _) = register(daemon, target, start.replace_subject, under_way)?;
    Ok(LoginStartReply {
        login_id: login_id(id),
        ..reply
    })
}

/// What every reply says, whatever the flow.
fn reply(target: &Target, flow: Flow, lives: Duration) -> LoginStartReply {
    LoginStartReply {
        login_id: String::new(),
        account: target.account.to_string(),
        flow,
        issuer: target.provider.issuer.clone(),
        client_id: Some(target.provider.client_id.clone()),
        client_id_by: target.client_id_by,
        resource: target.found_by.clone(),
        authorization_url: None,
        authorization_url_expires_in_secs: None,
        redirect_uri: None,
        user_code: None,
        verification_uri: None,
        verification_uri_complete: None,
        interval_secs: None,
        expires_in_secs: lives.as_secs(),
    }
}

/// What tells one login's way from another's.
pub(super) struct UnderWay {
    pub(super) attempt: Option<Arc<AuthorizationAttempt>>,
    pub(super) url_lives: Option<Duration>,
    pub(super) proof: Option<Arc<Proof>>,
    pub(super) method: LoginMethod,
    pub(super) patience: Duration,
    pub(super) origin: Origin,
    pub(super) place: Place,
}

pub(super) fn register(
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
        url_lives: under_way.url_lives,
        attempt: under_way.attempt,
        proof: Mutex::new(under_way.proof),
        place: Mutex::new(Some(under_way.place)),
        listener: Mutex::default(),
        late: Mutex::default(),
        mistyped: tokio::sync::watch::Sender::new(0),
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
