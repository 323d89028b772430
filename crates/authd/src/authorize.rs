//! Logins under way: what the engine must not know of them, because it is secret or about a browser.

mod begin;
mod client;
mod ends;
mod import;
mod moved;
mod pasted;
pub(crate) mod preset;
mod protection;
mod registration;
mod resource;
mod stored;
mod target;
mod trouble;

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use authd_core::{
    broker::{Event, LoginFailure},
    grant::{Grant, Provider, RenewedBy},
    id::{Account, ClientId, LoginId},
    lease::{Lease, LeaseKey},
    scope::ScopeSet,
    secret::Secret,
    time::Now,
};
use authd_oauth::{AuthorizationAttempt, AuthorizationError, AuthorizationGrant, Proving};
use authd_proto::{
    ErrorCode, WireError,
    event::EventKind,
    response::{Dpop as WireDpop, Expiry, LoginDone},
};
use tokio::{sync::watch, task::AbortHandle, time::Instant};

pub(crate) use begin::begin;
pub(crate) use import::{Imported, import};
pub(crate) use protection::Binding;
pub(crate) use trouble::no_randomness;

use self::ends::{End, Ends};
use crate::{
    admission::{Admission, Full, Place},
    daemon::Shared,
    handler::{self, refusal},
    journal::Origin,
    perform::{Material, is_bound},
    published::{dpop, expiry},
};

/// A result is kept for so long after it was first told, so that a lost answer can be asked for again.
const KEPT: Duration = Duration::from_secs(60);
/// Results are dropped in rounds, so that a hundred logins are not a hundred wake-ups.
const ROUND: Duration = Duration::from_secs(60);
/// A result that nobody asks for is kept for so long.
const UNTOLD: Duration = Duration::from_secs(600);
/// Logins under way at most: each holds a listener, and descriptors are for the store too.
const UNDER_WAY: usize = 64;
/// Logins of one process under way at most.
const UNDER_WAY_OF_ONE: usize = 16;

/// What is exchanged for tokens.
pub(crate) enum Proof {
    RefreshToken(Secret),
    Code(AuthorizationGrant),
    DeviceCode(Secret),
    /// Nothing but the client's own credential.
    Client,
    /// An assertion that the client's key signs when it is sent.
    Assertion {
        subject: Option<String>,
    },
    /// The login's own access token, for another.
    AccessToken(Secret),
}

impl From<&RenewedBy> for Proof {
    /// What tokens are got with where no refresh token is needed.
    fn from(by: &RenewedBy) -> Self {
        match by {
            RenewedBy::JwtBearer { subject } => Self::Assertion {
                subject: subject.clone(),
            },
            RenewedBy::ClientCredentials | RenewedBy::RefreshToken => Self::Client,
        }
    }
}

/// What a redirect brought.
type Redirected = Result<AuthorizationGrant, AuthorizationError>;
/// How a login ended.
type Outcome = Result<Arc<LoginDone>, WireError>;

/// One login.
pub(crate) struct Login {
    account: Account,
    provider: Provider,
    client_secret: Option<Secret>,
    asked: ScopeSet,
    /// The key that its tokens are to be bound to: made before anything is asked of the provider.
    binding: Option<Binding>,
    /// How long the provider keeps what was pushed for a browser to come (RFC 9126).
    url_lives: Option<Duration>,
    /// The browser's side of it; `None` for the device flow.
    attempt: Option<Arc<AuthorizationAttempt>>,
    proof: Mutex<Option<Arc<Proof>>>,
    /// One of the places for logins under way.
    place: Mutex<Option<Place>>,
    /// The listener for the redirect, to be closed when the login ends otherwise.
    listener: Mutex<Option<AbortHandle>>,
    /// The redirect, where it came while a code that was typed in was being tried.
    late: Mutex<Option<Redirected>>,
    /// Counts the codes that were typed in and were none.
    mistyped: watch::Sender<u32>,
    origin: Origin,
}

/// All logins, by id.
pub(crate) struct Logins {
    by_id: Mutex<Ends>,
    places: Arc<Admission>,
    imports: Arc<Admission>,
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            by_id: Mutex::default(),
            places: Admission::new(UNDER_WAY, UNDER_WAY_OF_ONE),
            imports: Admission::new(1, 1),
        }
    }
}

impl Logins {
    /// A place for one more login of the process.
    pub(crate) fn enter(&self, process: ClientId) -> Result<Place, WireError> {
        self.places.enter(process).map_err(|full| {
            let message = match full {
                Full::ForAll => format!("{UNDER_WAY} logins are under way already"),
                Full::ForThisProcess => {
                    format!("{UNDER_WAY_OF_ONE} logins of this program are under way already")
                }
            };
            WireError::new(ErrorCode::Busy, message).with_hint("finish or cancel one of them")
        })
    }

    /// The place of the one import that may be under way: what it brings is not seen anywhere before it
    /// is on disk, and must not be brought twice.
    pub(crate) fn enter_import(&self, process: ClientId) -> Result<Place, WireError> {
        self.imports.enter(process).map_err(|_| {
            WireError::new(ErrorCode::Busy, "another import is under way")
                .with_hint("wait for its end, and import then")
        })
    }

    fn with<R>(&self, read: impl FnOnce(&mut Ends) -> R) -> R {
        read(&mut self.by_id.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn insert(&self, id: LoginId, login: Arc<Login>) {
        self.with(|logins| logins.begin(id, login));
    }

    /// A login that has not ended.
    fn find(&self, id: LoginId) -> Option<Arc<Login>> {
        self.with(|logins| logins.under_way(id))
    }

    fn end(&self, id: LoginId) -> Result<Arc<End>, WireError> {
        self.with(|logins| logins.end(id)).ok_or_else(unknown_login)
    }

    /// What an exchange of this login is made with.
    pub(crate) fn material(&self, id: LoginId) -> Option<Material> {
        let login = self.find(id)?;
        let proof = login
            .proof
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        Some(Material {
            provider: login.provider.clone(),
            client_secret: login.client_secret.clone(),
            proof,
            binding: login.binding.clone(),
            scopes: login.asked.clone(),
        })
    }

    /// The client secret that it was begun with.
    pub(crate) fn client_secret(&self, id: LoginId) -> Option<Secret> {
        self.find(id)?.client_secret.clone()
    }

    /// Whose request began it.
    pub(crate) fn origin(&self, id: LoginId) -> Origin {
        self.find(id)
            .map_or_else(Origin::default, |login| login.origin.clone())
    }

    /// Waits for the end of a login: `Ok(None)` when the time runs out first.
    pub(crate) async fn wait(
        &self,
        id: LoginId,
        wait: Duration,
    ) -> Result<Option<Arc<LoginDone>>, WireError> {
        let end = self.end(id)?;
        let mut outcome = end.outcome.subscribe();
        let ended = tokio::time::timeout(wait, outcome.wait_for(Option::is_some)).await;
        match ended {
            Ok(Ok(outcome)) => {
                end.told.send_replace(true);
                outcome.clone().transpose()
            }
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// Whether any has not ended.
    pub(crate) fn are_under_way(&self) -> bool {
        self.with(|logins| logins.are_under_way())
    }

    /// Whether there is such a login.
    pub(crate) fn check(&self, id: LoginId) -> Result<(), WireError> {
        self.end(id).map(drop)
    }

    /// The engine ended a login.
    pub(crate) fn ended(
        &self,
        daemon: &Shared,
        id: LoginId,
        result: Result<Arc<Grant>, LoginFailure>,
    ) {
        let Some((login, end)) = self.with(|logins| logins.take(id)) else {
            return;
        };
        login.close_listener();
        // Whoever still holds the login holds neither its place nor its code and verifier.
        drop(
            login
                .place
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let proof = login
            .proof
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let is_import = matches!(proof.as_deref(), Some(Proof::RefreshToken(_)));
        let word = match &result {
            Ok(_) => "ok",
            Err(LoginFailure::Cancelled | LoginFailure::Replaced) => "cancelled",
            Err(LoginFailure::TimedOut) => "expired",
            Err(_) => "failed",
        };
        let grant = result.as_ref().ok().map(|grant| grant.id.to_string());
        let outcome = match result {
            Ok(grant) => Ok(Arc::new(login.done(&grant, daemon.clock.now()))),
            Err(LoginFailure::Refused { code, .. }) if is_import && code == "invalid_grant" => {
                Err(handler::import::refused(&login.account))
            }
            // It is given up for the lock's sake.
            Err(LoginFailure::ShuttingDown) => {
                let stopping = || refusal::login(&login.account, &LoginFailure::ShuttingDown);
                Err(daemon.check_open().err().unwrap_or_else(stopping))
            }
            Err(failure) => Err(login.explain(refusal::login(&login.account, &failure))),
        };
        tracing::info!(account = %login.account, outcome = word, "a login ended");
        daemon.journal.add(EventKind::Login, |event| {
            event.account = Some(login.account.to_string());
            event.attempt_id = Some(login_id(id));
            event.trace_id.clone_from(&login.origin.trace_id);
            event.client.clone_from(&login.origin.client);
            event.outcome = Some(word.to_owned());
            event.grant.clone_from(&grant);
            if let Err(error) = &outcome {
                event.code = Some(error.code);
                event.message = Some(error.message.clone());
                event.hint.clone_from(&error.hint);
            }
        });
        end.outcome.send_replace(Some(outcome));
        let daemon = Arc::clone(daemon);
        let told = end.told.subscribe();
        tokio::spawn(async move {
            if heard(told, UNTOLD).await {
                tokio::time::sleep_until(round(Instant::now() + KEPT)).await;
            }
            daemon.logins.with(|logins| logins.forget(id));
        });
    }
}

/// Whether a result was told before it had stayed `untold` for so long.
async fn heard(mut told: watch::Receiver<bool>, untold: Duration) -> bool {
    let first = tokio::time::timeout(untold, told.wait_for(|told| *told));
    matches!(first.await, Ok(Ok(_)))
}

/// The next full round at or after `at`: what ends by itself ends together, in one wake-up.
fn round(at: Instant) -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    let rounds = at
        .duration_since(start)
        .as_millis()
        .div_ceil(ROUND.as_millis());
    start + ROUND * u32::try_from(rounds).unwrap_or(u32::MAX)
}

impl Login {
    /// A page that was opened too late is one that the provider does not know, and says so to the person
    /// alone.
    fn explain(&self, error: WireError) -> WireError {
        let Some(lives) = self
            .url_lives
            .filter(|_| error.code == ErrorCode::LoginExpired)
        else {
            return error;
        };
        let lives = humantime::format_duration(Duration::from_secs(lives.as_secs()));
        let message = format!(
            "{}; this provider's page has to be opened within {lives}",
            error.message
        );
        let explained = WireError::new(error.code, message).with_account(self.account.as_str());
        match &error.hint {
            Some(hint) => explained.with_hint(hint.clone()),
            None => explained,
        }
    }

    fn close_listener(&self) {
        let listener = self
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(listener) = listener {
            listener.abort();
        }
    }

    /// The redirect came, by the listener or pasted.
    fn redirected(&self, daemon: &Shared, id: LoginId, result: Redirected) {
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        if proof.is_some() {
            // A code that was typed in is being tried. Should it be none, this one counts.
            *self.late.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            return;
        }
        match result {
            Ok(grant) => {
                let event = match grant.is_typed() {
                    true => Event::CodeTyped { login: id },
                    false => Event::CodeReceived { login: id },
                };
                *proof = Some(Arc::new(Proof::Code(grant)));
                drop(proof);
                daemon.mailbox.event(event);
            }
            Err(error) => daemon.mailbox.end_login(id, failure(error)),
        }
    }

    /// How the tokens are bound, where a key was to be proved from the start.
    fn dpop(&self, lease: Option<&Lease>) -> Option<WireDpop> {
        let lease = lease?;
        let always = self
            .binding
            .as_ref()
            .is_some_and(|binding| binding.when == Proving::Always);
        (always || is_bound(&lease.token_type)).then(|| dpop(&lease.token_type))
    }

    fn done(&self, grant: &Grant, now: Now) -> LoginDone {
        let lease = grant.leases.get(&LeaseKey::of_login(grant));
        LoginDone {
            dpop: self.dpop(lease),
            ..done(grant, &self.asked, now)
        }
    }
}

/// What was asked for and not granted. A token for a resource lists that resource's scopes alone;
/// a refresh token and an ID token that came speak for their scopes themselves.
fn refused(asked: &ScopeSet, grant: &Grant) -> Vec<String> {
    let came = |scope: &str| match scope {
        "offline_access" => grant.renewable,
        "openid" => grant.subject.is_some(),
        _ => false,
    };
    let refused = asked.without(&grant.scopes);
    refused
        .iter()
        .filter(|scope| !came(scope))
        .map(str::to_owned)
        .collect()
}

/// The end of a login as it is told, of a grant for which these scopes were asked.
pub(crate) fn done(grant: &Grant, asked: &ScopeSet, now: Now) -> LoginDone {
    let lease = grant.leases.get(&LeaseKey::of_login(grant));
    let left = lease.and_then(|lease| {
        Some(
            lease
                .lifetime?
                .saturating_sub(now.wall.since(lease.issued.at.wall)),
        )
    });
    let unix = |at: authd_core::time::Wall| u64::try_from(at.unix_secs()).unwrap_or(0);
    let renewal = lease
        .zip(left)
        .filter(|_| grant.renewable)
        .map(|(lease, left)| unix(now.wall.after(left.saturating_sub(lease.lead))));
    LoginDone {
        account: grant.account.to_string(),
        issuer: grant.provider.name(),
        subject: grant.subject.as_ref().map(|subject| subject.sub.clone()),
        subject_name: grant
            .subject
            .as_ref()
            .and_then(|subject| subject.name.clone()),
        scopes: grant.scopes.iter().map(str::to_owned).collect(),
        refused_scopes: refused(asked, grant),
        expires_at: lease.and_then(|lease| lease.expires_at()).map(unix),
        expiry: lease.map_or(Expiry::Unknown, |lease| expiry(lease.expiry)),
        ttl_secs: left.map(|left| left.as_secs()),
        next_renewal_at: renewal,
        generation: grant.generation.0,
        dpop: None,
    }
}

/// A login's name on the wire.
pub(crate) fn login_id(id: LoginId) -> String {
    format!("{:016x}", id.0)
}

/// Reads a login's name.
pub(crate) fn parse_login_id(text: &str) -> Result<LoginId, WireError> {
    u64::from_str_radix(text, 16)
        .map(LoginId)
        .map_err(|_| unknown_login())
}

fn unknown_login() -> WireError {
    WireError::new(ErrorCode::UnknownLogin, "there is no such login under way")
        .with_hint("start it again")
}

fn failure(error: AuthorizationError) -> LoginFailure {
    match error {
        AuthorizationError::Denied(_) => LoginFailure::Denied,
        AuthorizationError::Refused(refusal) => LoginFailure::Refused {
            code: refusal.code,
            description: refusal.description,
        },
        other => LoginFailure::Refused {
            code: "invalid_response".to_owned(),
            description: Some(other.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_result_is_kept_until_it_was_told_and_not_only_until_it_is_old() {
        let told = watch::Sender::new(false);
        let mut over = Box::pin(heard(told.subscribe(), UNTOLD));
        assert!(over.as_mut().now_or_never().is_none(), "nobody has asked");
        told.send_replace(true);
        assert!(tokio::time::timeout(UNTOLD / 10, over).await.unwrap());
    }

    #[test]
    fn a_round_ends_at_or_after_what_it_holds_and_holds_many() {
        let now = Instant::now();
        let ends: Vec<_> = (0..600)
            .map(|n| round(now + Duration::from_millis(100 * n)))
            .collect();
        assert!(
            ends.iter()
                .zip(0..)
                .all(|(end, n)| *end >= now + Duration::from_millis(100 * n))
        );
        assert!(ends.iter().all(|end| *end <= ends[0] + ROUND));
        let distinct: std::collections::BTreeSet<_> = ends.into_iter().collect();
        assert!(
            distinct.len() <= 2,
            "a minute of results ends in two rounds at most"
        );
    }

    #[tokio::test]
    async fn a_result_that_nobody_asks_for_is_not_kept_for_ever() {
        let told = watch::Sender::new(false);
        let over = heard(told.subscribe(), Duration::ZERO);
        assert!(!tokio::time::timeout(UNTOLD / 10, over).await.unwrap());
    }
}
