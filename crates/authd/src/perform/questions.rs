//! Asking a provider about a token.

use std::{sync::Arc, time::Duration};

use authd_core::{
    broker::{Check, Event, Finding, Means},
    secret::Secret,
    time::Wall,
};
use authd_oauth::{Client, Dpop, EndpointError, Http, Introspection, TokenTypeHint};

use super::{
    Performer,
    exchange::{bound, is_bound},
};
use crate::{
    authorize::Binding,
    credential::{self, Wanted},
};

/// How a resource server says that a token is dead (RFC 6750 §3.1).
const UNAUTHORIZED: u16 = 401;

impl Performer {
    /// Asks, detached from whoever uses the token. The engine always gets an answer.
    pub(super) fn validate(&mut self, check: Check) {
        self.questions += 1;
        let mailbox = self.daemon.mailbox.clone();
        let material = self.vault.get(&check.account).and_then(|secrets| {
            let provider = self.accounts.get(&check.account)?;
            Some((
                provider.view.grant.provider.clone(),
                secrets.client_secret.clone(),
                secrets.access_tokens.get(&check.key)?.clone(),
                self.binding_of(&check),
            ))
        });
        let Some((provider, client_secret, token, binding)) = material else {
            let finding = Finding::Unknown;
            return mailbox.event(Event::Validated { check, finding });
        };
        let daemon = Arc::clone(&self.daemon);
        self.daemon.network.spawn(async move {
            let obtained =
                credential::obtain(&daemon, &provider, client_secret, Wanted::Held).await;
            let credential = match obtained {
                Ok(credential) => credential,
                Err(error) => {
                    tracing::debug!(%error, "nobody is asked whether a token is alive");
                    let finding = Finding::Unknown;
                    return mailbox.event(Event::Validated { check, finding });
                }
            };
            let client = Client {
                provider: &provider,
                credential: &credential,
                ambient: &*daemon,
            };
            let http = daemon.network.http();
            let dpop = binding.as_ref().map(|binding| Dpop {
                key: &binding.key,
                servers: &daemon.dpop,
                when: binding.when,
            });
            let finding = ask(&http, client, &token, dpop, check.means).await;
            mailbox.event(Event::Validated { check, finding });
        });
    }

    /// The key that this token is bound to.
    fn binding_of(&self, check: &Check) -> Option<Binding> {
        let lease = self
            .accounts
            .get(&check.account)?
            .view
            .grant
            .leases
            .get(&check.key)?;
        let stored = self.vault.get(&check.account)?.dpop_key.as_ref()?;
        is_bound(&lease.token_type)
            .then(|| bound(&check.account, stored))
            .flatten()
    }
}

async fn ask(
    http: &Http,
    client: Client<'_>,
    token: &Secret,
    dpop: Option<Dpop<'_>>,
    means: Means,
) -> Finding {
    let asked_at = client.ambient.now().wall;
    match means {
        Means::Introspection => {
            let hint = TokenTypeHint::AccessToken;
            match authd_oauth::introspect(http, client, token, hint).await {
                Ok(answer) if answer.active => Finding::Active {
                    expires_in: left(&answer, asked_at),
                },
                Ok(_) => Finding::Inactive,
                Err(error) => unknown(&error),
            }
        }
        Means::Userinfo => match authd_oauth::userinfo(http, client, token, dpop).await {
            Ok(_) => Finding::Active { expires_in: None },
            Err(error) if error.status() == Some(UNAUTHORIZED) => Finding::Inactive,
            Err(error) => unknown(&error),
        },
    }
}

/// Against the server's own clock where it shows it: ours may be wrong.
fn left(answer: &Introspection, asked_at: Wall) -> Option<Duration> {
    let now = answer.date.unwrap_or(asked_at);
    Some(answer.expires_at?.since(now))
}

fn unknown(error: &EndpointError) -> Finding {
    tracing::debug!(%error, "the provider does not say whether a token is alive");
    Finding::Unknown
}
