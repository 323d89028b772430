//! Intend, exchange, commit: the effects of one exchange.

use std::{sync::Arc, time::Duration};

use authd_core::{
    answer::{Answer, Body, Failure, GrantType, Received},
    broker::{CommitOutcome, Event, Exchange},
    grant::{CredentialPlace, Grant, Provider, Quirk},
    id::{Account, AttemptId, LoginId},
    lease::LeaseKey,
    scope::ScopeSet,
    secret::Secret,
    time::{Now, Stamp},
};
use authd_oauth::{
    Ambient, Client, Credential, Dpop, DpopKey, ExchangeRequest, Exchanged, Proving, Surroundings,
    Tokens,
};
use authd_store::{Intent, Record, Secrets};

use super::Performer;
use crate::{
    authorize::{Binding, Proof},
    credential::{self, ByTheirClock, CredentialTrouble, Wanted, differ},
    daemon::{Daemon, Shared},
    driver::Message,
    failpoint::{self, Boundary},
};

/// Clocks so far apart make an assertion stale, or one of the future.
const CLOCKS_APART: Duration = Duration::from_secs(30);

impl Performer {
    pub(super) fn intend(&self, exchange: Exchange) {
        failpoint::reach(Boundary::BeforeIntent);
        let mailbox = self.daemon.mailbox.clone();
        let attempt = exchange.attempt;
        let refuse = |why: &str| {
            let result = Err(why.to_owned());
            self.daemon
                .mailbox
                .event(Event::Intended { attempt, result });
        };
        let Some(store) = &self.store else {
            return refuse("the store is not open");
        };
        let Some(material) = self.renewal_material(&exchange.account, &exchange.key) else {
            return refuse("nothing to renew it with is held");
        };
        let intent = Intent {
            account: exchange.account,
            grant: exchange.grant,
            generation: exchange.generation,
            attempt,
            refresh_token_hash: self.daemon.fingerprints.of(material.proof.presented()),
            grant_type: exchange.grant_type,
            lease: exchange.key,
            at: Stamp {
                boot_id: self.daemon.published.boot_id,
                at: self.daemon.clock.now(),
            },
        };
        store.intend(intent, move |result| {
            if result.is_ok() {
                failpoint::reach(Boundary::AfterIntent);
            }
            let result = result.map_err(|error| error.to_string());
            mailbox.event(Event::Intended { attempt, result });
        });
    }

    /// Sends the request, detached from whoever asked.
    pub(super) fn exchange(&mut self, exchange: Exchange) {
        let daemon = Arc::clone(&self.daemon);
        let attempt = exchange.attempt;
        let material = match exchange.login {
            Some(login) => daemon.logins.material(login),
            None => self.renewal_material(&exchange.account, &exchange.key),
        };
        let Some(material) = material else {
            // The account or the login went away between two messages: nothing left this machine.
            let exchanged = Exchanged {
                answer: nothing_sent(daemon.clock.now()),
                tokens: None,
                proved: false,
            };
            return self.send(Message::Answered {
                attempt,
                exchanged: Box::new(exchanged),
            });
        };
        if let Some(login) = exchange.login {
            let origin = daemon.logins.origin(login);
            self.stories.of_login(attempt, &exchange.account, origin);
            let begins_with = Secrets {
                client_secret: daemon.logins.client_secret(login),
                dpop_key: material.stored_key(),
                refresh_token: material.proof.brought().cloned(),
                ..Secrets::default()
            };
            self.logging_in.insert(attempt, begins_with);
        }
        let is_first = exchange.login.is_some() || self.is_taken_over(&exchange.account);
        self.daemon.network.spawn(async move {
            let mut exchanged = send(&daemon, &material, &exchange).await;
            let host = material.provider.host();
            daemon
                .clocks
                .hear(host, &exchanged.answer, daemon.clock.now());
            failpoint::reach(Boundary::AnswerReceived);
            if is_first {
                who_signed_in(&daemon, &material, &mut exchanged).await;
            }
            daemon.mailbox.send(Message::Answered {
                attempt,
                exchanged: Box::new(exchanged),
            });
        });
    }

    fn renewal_material(&self, account: &Account, key: &LeaseKey) -> Option<Material> {
        let secrets = self.vault.get(account)?;
        let grant = &self.accounts.get(account)?.view.grant;
        let proof = match grant.grant_type(key) {
            GrantType::TokenExchange => {
                let own = secrets.access_tokens.get(&LeaseKey::of_login(grant))?;
                Proof::AccessToken(own.clone())
            }
            GrantType::RefreshToken => Proof::RefreshToken(secrets.refresh_token.clone()?),
            _ => Proof::from(&grant.renewed_by),
        };
        Some(Material {
            provider: Provider::clone(&grant.provider),
            client_secret: secrets.client_secret.clone(),
            proof: Arc::new(proof),
            scopes: grant.scopes.clone(),
            binding: match &secrets.dpop_key {
                Some(stored) => Some(bound(account, stored)?),
                None => None,
            },
        })
    }

    /// What a proof of possession for a token of the account takes.
    pub(crate) fn held(&self, account: &Account, key: &LeaseKey) -> ProofMaterial {
        let secrets = self.vault.get(account);
        ProofMaterial {
            key: secrets.and_then(|secrets| secrets.dpop_key.clone()),
            access_token: secrets.and_then(|secrets| secrets.access_tokens.get(key).cloned()),
        }
    }

    /// The account that this refresh token is of, or was until its latest renewal.
    pub(crate) fn who_holds(&self, refresh_token: &Secret) -> Option<Account> {
        let is_it = |held: &Option<Secret>| {
            held.as_ref()
                .is_some_and(|held| held.matches(refresh_token.expose()))
        };
        let mut accounts = self.vault.iter();
        let holder = accounts.find(|(_, secrets)| {
            is_it(&secrets.refresh_token) || is_it(&secrets.previous_refresh_token)
        });
        holder.map(|(account, _)| account.clone())
    }

    /// The client secret that the account was logged in with.
    pub(crate) fn stored_client_secret(&self, account: &Account) -> Option<Secret> {
        self.vault.get(account)?.client_secret.clone()
    }

    /// Holds an answer's secrets until the engine has judged it. A login that was not proved to hold its
    /// key is not bound to it.
    pub(crate) fn keep_answer(&mut self, attempt: AttemptId, tokens: Option<Tokens>, proved: bool) {
        if !proved && let Some(begins_with) = self.logging_in.get_mut(&attempt) {
            begins_with.dpop_key = None;
        }
        if let Some(tokens) = tokens {
            self.answers.insert(attempt, tokens);
        }
    }

    /// Whether the account's refresh token came from something else, and was never exchanged here.
    fn is_taken_over(&self, account: &Account) -> bool {
        self.accounts.get(account).is_some_and(|snapshot| {
            let grant = &snapshot.view.grant;
            !grant.leases.contains_key(&LeaseKey::of_login(grant))
        })
    }

    /// Writes a refresh token that is taken over, before it is ever sent.
    pub(super) fn take_over(&mut self, attempt: AttemptId, login: LoginId, grant: &Arc<Grant>) {
        let logins = &self.daemon.logins;
        let brought = logins.material(login).and_then(|material| {
            Some(Secrets {
                refresh_token: Some(material.proof.brought()?.clone()),
                client_secret: material.client_secret,
                ..Secrets::default()
            })
        });
        let origin = logins.origin(login);
        let Some(secrets) = brought else {
            let outcome = CommitOutcome::MemoryOnly("the login has ended".to_owned());
            return self
                .daemon
                .mailbox
                .event(Event::Committed { attempt, outcome });
        };
        self.stories.of_login(attempt, &grant.account, origin);
        self.write(attempt, grant, secrets);
    }

    /// Writes the answer durably. Nobody has seen it yet.
    pub(super) fn commit(&mut self, attempt: AttemptId, grant: &Arc<Grant>) {
        let Some(tokens) = self.answers.remove(&attempt) else {
            return;
        };
        // A login begins anew; a renewal goes on from what stands.
        let before = self.logging_in.remove(&attempt);
        let before =
            before.unwrap_or_else(|| self.vault.get(&grant.account).cloned().unwrap_or_default());
        self.write(attempt, grant, successor(before, tokens, grant));
    }

    /// Writes the generation with its secrets durably.
    fn write(&mut self, attempt: AttemptId, grant: &Arc<Grant>, secrets: Secrets) {
        let mailbox = self.daemon.mailbox.clone();
        self.committing.insert(attempt, secrets.clone());
        self.unsaved
            .insert((grant.account.clone(), grant.id), attempt);
        self.stories.committing(attempt, grant);
        let record = Record {
            grant: Grant::clone(grant),
            secrets,
        };
        let Some(store) = &self.store else { return };
        store.commit(record, attempt, move |result| {
            failpoint::reach(Boundary::CommitSynced);
            let outcome = Self::outcome(result);
            mailbox.event(Event::Committed { attempt, outcome });
        });
    }

    pub(super) fn annul(&self, account: &Account, attempt: AttemptId) {
        let Some(store) = &self.store else { return };
        let account = account.clone();
        store.annul(attempt, move |result| {
            if let Err(error) = result {
                tracing::warn!(%account, %attempt, %error, "an intent is still on disk");
            }
        });
    }
}

/// What an exchange is made with.
pub(crate) struct Material {
    pub(crate) provider: Provider,
    pub(crate) client_secret: Option<Secret>,
    pub(crate) proof: Arc<Proof>,
    /// The scopes of the whole login: without a refresh token nothing else remembers them.
    pub(crate) scopes: ScopeSet,
    /// The key that what it yields is bound to.
    pub(crate) binding: Option<Binding>,
}

impl Material {
    /// What to ask for where the provider knows of no earlier request.
    fn scopes_for<'a>(&'a self, exchange: &'a Exchange) -> &'a ScopeSet {
        let asked = &exchange.key.scopes;
        if asked.is_empty() {
            &self.scopes
        } else {
            asked
        }
    }

    /// The key as it goes into the record.
    fn stored_key(&self) -> Option<Secret> {
        self.binding
            .as_ref()
            .map(|binding| binding.key.stored().clone())
    }

    fn dpop<'a>(&'a self, daemon: &'a Daemon) -> Option<Dpop<'a>> {
        self.binding.as_ref().map(|binding| Dpop {
            key: &binding.key,
            servers: &daemon.dpop,
            when: binding.when,
        })
    }
}

/// What a proof of possession takes.
#[derive(Default)]
pub(crate) struct ProofMaterial {
    /// The private key; `None` when the account's tokens are bound to none.
    pub(crate) key: Option<Secret>,
    /// The token itself.
    pub(crate) access_token: Option<Secret>,
}

/// The key of a grant that is bound to one. `None` when what the store holds is none: then nothing is
/// sent, for without the key the provider would refuse it, and perhaps for good.
pub(super) fn bound(account: &Account, stored: &Secret) -> Option<Binding> {
    match DpopKey::from_stored(stored) {
        Ok(key) => Some(Binding {
            key: Arc::new(key),
            when: Proving::Always,
        }),
        Err(error) => {
            tracing::error!(%account, %error, "the key that the tokens are bound to is damaged");
            None
        }
    }
}

/// RFC 9449 §5: what is bound to a key is so called, without regard to case.
pub(crate) fn is_bound(token_type: &str) -> bool {
    token_type.eq_ignore_ascii_case("DPoP")
}

impl Proof {
    /// The refresh token that a login is made with, where it is made with one.
    fn brought(&self) -> Option<&Secret> {
        match self {
            Self::RefreshToken(brought) => Some(brought),
            _ => None,
        }
    }

    /// What is about to be spent, if it is anything.
    fn presented(&self) -> &str {
        match self {
            Self::RefreshToken(token) | Self::DeviceCode(token) | Self::AccessToken(token) => {
                token.expose()
            }
            Self::Code(_) | Self::Client | Self::Assertion { .. } => "",
        }
    }
}

/// Makes the exchange; twice where the provider refuses a credential that has changed meanwhile.
///
/// A refused client has spent nothing: it is refused before what it presents is looked at. So a secret
/// that was rotated at the provider, or an assertion that is stale by the provider's clock, is made good
/// before anybody hears of it.
async fn send(daemon: &Shared, material: &Material, exchange: &Exchange) -> Exchanged {
    let credential = match obtain(daemon, material, Wanted::Held).await {
        Ok(credential) => credential,
        Err(trouble) => return unproven(daemon.clock.now(), &trouble),
    };
    let exchanged = send_once(daemon, &**daemon, &credential, material, exchange).await;
    if !is_refused_client(&exchanged, &material.provider) {
        return exchanged;
    }
    let (ours, theirs) = (exchanged.answer.sent_at.wall, exchanged.answer.date);
    let theirs = theirs.filter(|theirs| {
        let apart = theirs.since(ours).max(ours.since(*theirs));
        matches!(credential, Credential::Key(_)) && apart > CLOCKS_APART
    });
    let anew = match &material.provider.credential {
        CredentialPlace::Configured(_) => obtain(daemon, material, Wanted::anew(&**daemon)).await,
        CredentialPlace::Store => Ok(credential.clone()),
    };
    match (anew, theirs) {
        (Ok(anew), Some(theirs)) => {
            tracing::warn!("this machine's clock is not the provider's; signing by the provider's");
            let ambient = ByTheirClock {
                daemon,
                ours,
                theirs,
            };
            let mut exchanged = send_once(daemon, &ambient, &anew, material, exchange).await;
            let sent_at = &mut exchanged.answer.sent_at;
            *sent_at = ambient.by_ours(*sent_at);
            exchanged
        }
        (Ok(anew), None) if differ(&credential, &anew) => {
            tracing::info!(account = %exchange.account, "the client's credential has changed");
            send_once(daemon, &**daemon, &anew, material, exchange).await
        }
        // The provider's refusal says more than why no second try could be made.
        (Ok(_), None) | (Err(_), _) => exchanged,
    }
}

async fn obtain(
    daemon: &Shared,
    material: &Material,
    wanted: Wanted,
) -> Result<Credential, CredentialTrouble> {
    let stored = material.client_secret.clone();
    credential::obtain(daemon, &material.provider, stored, wanted).await
}

/// Whether the provider refuses the client, and means the client.
fn is_refused_client(exchanged: &Exchanged, provider: &Provider) -> bool {
    let quirks = &provider.profile.quirks;
    !quirks.contains(&Quirk::ClientErrorMeansDeadRefreshToken)
        && matches!(
            &exchanged.answer.received,
            Received::Response { status: 400..=499, body: Body::Error { code, .. } }
                if code == "invalid_client"
        )
}

async fn send_once(
    daemon: &Daemon,
    ambient: &dyn Ambient,
    credential: &Credential,
    material: &Material,
    exchange: &Exchange,
) -> Exchanged {
    let scopes = &exchange.key.scopes;
    let resource = exchange.key.resource.as_deref();
    let request = match &*material.proof {
        Proof::RefreshToken(refresh_token) => ExchangeRequest::Refresh {
            refresh_token,
            scopes,
            resource,
        },
        Proof::Code(grant) => grant.exchange_request(),
        Proof::DeviceCode(device_code) => ExchangeRequest::Device {
            device_code,
            resource,
        },
        Proof::Client => ExchangeRequest::ClientCredentials {
            scopes: material.scopes_for(exchange),
            resource,
        },
        Proof::Assertion { subject } => ExchangeRequest::JwtBearer {
            subject: subject.as_deref(),
            scopes: material.scopes_for(exchange),
            resource,
        },
        Proof::AccessToken(subject_token) => ExchangeRequest::TokenExchange {
            subject_token,
            scopes,
            resource,
        },
    };
    debug_assert_eq!(request.grant_type(), exchange.grant_type);
    let surroundings = Surroundings {
        fingerprint: &|token| daemon.fingerprints.of(token),
        on_bytes_sent: &|| failpoint::reach(Boundary::BytesSent),
        dpop: material.dpop(daemon),
    };
    let client = Client {
        provider: &material.provider,
        credential,
        ambient,
    };
    authd_oauth::exchange(&daemon.network.http(), client, request, surroundings).await
}

/// Where the ID token does not say who signed in, userinfo may. A login does not fail for want of it.
async fn who_signed_in(daemon: &Shared, material: &Material, exchanged: &mut Exchanged) {
    let Received::Response {
        body: Body::Tokens(summary),
        ..
    } = &mut exchanged.answer.received
    else {
        return;
    };
    let Some(tokens) = exchanged
        .tokens
        .as_ref()
        .filter(|_| summary.subject.is_none())
    else {
        return;
    };
    let client = Client {
        provider: &material.provider,
        credential: &Credential::None,
        ambient: &**daemon,
    };
    let dpop = material
        .dpop(daemon)
        .filter(|_| is_bound(&summary.token_type));
    let http = daemon.network.http();
    match authd_oauth::userinfo(&http, client, &tokens.access_token, dpop).await {
        Ok(subject) => summary.subject = Some(subject),
        Err(authd_oauth::EndpointError::NotOffered) => {}
        Err(error) => tracing::warn!(%error, "the provider does not say who signed in"),
    }
}

/// The secrets of the next generation. The refresh token before is kept until its successor was used.
/// One that comes with a derived token is that token's, and not the login's.
fn successor(mut secrets: Secrets, tokens: Tokens, grant: &Grant) -> Secrets {
    let newest = grant
        .leases
        .iter()
        .find(|(_, lease)| lease.generation == grant.generation);
    let derived = newest.is_some_and(|(key, _)| grant.is_derived(key));
    if let Some(refresh_token) = tokens.refresh_token.filter(|_| !derived) {
        secrets.previous_refresh_token = secrets.refresh_token.replace(refresh_token);
    }
    secrets
        .access_tokens
        .retain(|key, _| grant.leases.contains_key(key));
    if let Some((key, _)) = newest {
        secrets
            .access_tokens
            .insert(key.clone(), tokens.access_token);
    }
    secrets
}

fn unproven(sent_at: Now, trouble: &CredentialTrouble) -> Exchanged {
    let why = trouble.to_string();
    Exchanged {
        answer: Answer {
            received: Received::Unproven { why },
            ..nothing_sent(sent_at)
        },
        tokens: None,
        proved: false,
    }
}

fn nothing_sent(sent_at: Now) -> Answer {
    Answer {
        sent_at,
        received: Received::Nothing {
            bytes_left: false,
            failure: Failure::Broken,
        },
        date: None,
        retry_after: None,
        request_id: None,
    }
}
