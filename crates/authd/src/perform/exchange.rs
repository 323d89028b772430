//! Intend, exchange, commit: the effects of one exchange.

use std::sync::Arc;

use authd_core::{
    broker::{Event, Exchange},
    grant::{Grant, Provider},
    id::{Account, AttemptId},
    secret::Secret,
    time::{Now, Stamp},
};
use authd_oauth::{Client, Credential, ExchangeRequest, Exchanged, Surroundings, Tokens};
use authd_store::{Intent, Record, Secrets};

use super::Performer;
use crate::{
    authorize::Proof,
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
            };
            return self.send(Message::Answered {
                attempt,
                exchanged: Box::new(exchanged),
            });
        };
        if let Some(login) = exchange.login {
            let origin = daemon.logins.origin(login);
            self.stories.of_login(attempt, &exchange.account, origin);
            self.logging_in
                .insert(attempt, daemon.logins.client_secret(login));
        }
        self.daemon.network.spawn(async move {
            let mut exchanged = send(&daemon, &material, &exchange).await;
            failpoint::reach(Boundary::AnswerReceived);
            if exchange.login.is_some() {
                who_signed_in(&daemon, &material.provider, &mut exchanged).await;
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
        })
    }

    /// The client secret that the account was logged in with.
    pub(crate) fn stored_client_secret(&self, account: &Account) -> Option<Secret> {
        self.vault.get(account)?.client_secret.clone()
    }

    /// Holds an answer's secrets until the engine has judged it.
    pub(crate) fn keep_answer(&mut self, attempt: AttemptId, tokens: Option<Tokens>) {
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
        let before = match self.logging_in.remove(&attempt) {
            Some(client_secret) => Secrets {
                client_secret,
                ..Secrets::default()
            },
            None => self.vault.get(&account).cloned().unwrap_or_default(),
        };
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
async fn who_signed_in(daemon: &Shared, provider: &Provider, exchanged: &mut Exchanged) {
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
    match authd_oauth::userinfo(&daemon.network.http(), provider, &tokens.access_token).await {
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
