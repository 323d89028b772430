//! Intend, exchange, commit: the effects of one exchange.

use std::sync::Arc;

use authd_core::{
    broker::{Event, Exchange},
    grant::{Grant, Provider},
    id::{Account, AttemptId},
    lease::LeaseKey,
    secret::Secret,
    time::{Now, Stamp},
};
use authd_oauth::{
    Client, Credential, Dpop, DpopKey, ExchangeRequest, Exchanged, Proving, Surroundings, Tokens,
};
use authd_store::{Intent, Record, Secrets};

use super::Performer;
use crate::{
    authorize::{Binding, Proof},
    daemon::{Daemon, Shared},
    driver::Message,
    failpoint::{self, Boundary},
};

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
        let refresh_token = self
            .vault
            .get(&exchange.account)
            .and_then(|secrets| secrets.refresh_token.as_ref());
        let Some(refresh_token) = refresh_token else {
            return refuse("no refresh token is held");
        };
        let intent = Intent {
            account: exchange.account,
            grant: exchange.grant,
            generation: exchange.generation,
            attempt,
            refresh_token_hash: self.daemon.fingerprints.of(refresh_token.expose()),
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
            None => self.refresh_material(&exchange.account),
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
                ..Secrets::default()
            };
            self.logging_in.insert(attempt, begins_with);
        }
        self.daemon.network.spawn(async move {
            let mut exchanged = send(&daemon, &material, &exchange).await;
            failpoint::reach(Boundary::AnswerReceived);
            if exchange.login.is_some() {
                who_signed_in(&daemon, &material, &mut exchanged).await;
            }
            daemon.mailbox.send(Message::Answered {
                attempt,
                exchanged: Box::new(exchanged),
            });
        });
    }

    fn refresh_material(&self, account: &Account) -> Option<Material> {
        let secrets = self.vault.get(account)?;
        let provider = &self.accounts.get(account)?.view.grant.provider;
        Some(Material {
            provider: Provider::clone(provider),
            credential: secrets.client_secret.clone().into(),
            proof: Arc::new(Proof::RefreshToken(secrets.refresh_token.clone()?)),
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

    /// Writes the answer durably. Nobody has seen it yet.
    pub(super) fn commit(&mut self, attempt: AttemptId, grant: &Arc<Grant>) {
        let mailbox = self.daemon.mailbox.clone();
        let Some(tokens) = self.answers.remove(&attempt) else {
            return;
        };
        let account = grant.account.clone();
        // A login begins anew; a renewal goes on from what stands.
        let before = self.logging_in.remove(&attempt);
        let before =
            before.unwrap_or_else(|| self.vault.get(&account).cloned().unwrap_or_default());
        let secrets = successor(before, tokens, grant);
        self.committing.insert(attempt, secrets.clone());
        self.unsaved.insert((account, grant.id), attempt);
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
    pub(crate) credential: Credential,
    pub(crate) proof: Arc<Proof>,
    /// The key that what it yields is bound to.
    pub(crate) binding: Option<Binding>,
}

impl Material {
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

async fn send(daemon: &Daemon, material: &Material, exchange: &Exchange) -> Exchanged {
    let request = match &*material.proof {
        Proof::RefreshToken(refresh_token) => ExchangeRequest::Refresh {
            refresh_token,
            scopes: &exchange.key.scopes,
            resource: exchange.key.resource.as_deref(),
        },
        Proof::Code(grant) => grant.exchange_request(),
        Proof::DeviceCode(device_code) => ExchangeRequest::Device {
            device_code,
            resource: exchange.key.resource.as_deref(),
        },
    };
    debug_assert_eq!(request.grant_type(), exchange.grant_type);
    let surroundings = Surroundings {
        fingerprint: &|token| daemon.fingerprints.of(token),
        on_bytes_sent: &|| failpoint::reach(Boundary::BytesSent),
        dpop: material.dpop(daemon),
    };
    let http = daemon.network.http();
    authd_oauth::exchange(
        &http,
        Client {
            provider: &material.provider,
            credential: &material.credential,
            ambient: daemon,
        },
        request,
        surroundings,
    )
    .await
}

/// Where the ID token does not say who signed in, userinfo may. A login does not fail for want of it.
async fn who_signed_in(daemon: &Shared, material: &Material, exchanged: &mut Exchanged) {
    use authd_core::answer::{Body, Received};
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
        credential: &material.credential,
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
fn successor(mut secrets: Secrets, tokens: Tokens, grant: &Grant) -> Secrets {
    if let Some(refresh_token) = tokens.refresh_token {
        secrets.previous_refresh_token = secrets.refresh_token.replace(refresh_token);
    }
    secrets
        .access_tokens
        .retain(|key, _| grant.leases.contains_key(key));
    let newest = grant
        .leases
        .iter()
        .find(|(_, lease)| lease.generation == grant.generation);
    if let Some((key, _)) = newest {
        secrets
            .access_tokens
            .insert(key.clone(), tokens.access_token);
    }
    secrets
}

fn nothing_sent(sent_at: Now) -> authd_core::answer::Answer {
    use authd_core::answer::{Answer, Failure, Received};
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
