//! A token endpoint that is not there any more: the provider's metadata says where it went.
//!
//! A new path on the host that the login was made at is taken over. Another host is somebody else
//! until the person says otherwise, by logging in: the refresh token is sent to nobody new.

use std::{sync::Arc, time::Duration};

use super::{Context, Renewal};
use crate::{
    broker::{Decided, Effect},
    flag::Raised,
    grant::{Endpoints, Provider, origin},
    time::Boot,
};

/// After one move another is followed no sooner than a misconfigured client is tried again.
const BETWEEN_MOVES: Duration = Duration::from_secs(1800);

impl Renewal {
    /// Asks the provider's metadata where the endpoint went, if there is a place to ask.
    pub(super) fn look_for_endpoint(&self, cx: &mut Context<'_>) {
        if self.grant.provider.issuer.is_some() {
            let account = self.grant.account.clone();
            cx.effects.push_back(Effect::Rediscover { account });
        }
    }

    /// The metadata was fetched again; `None` when it could not be.
    pub(crate) fn rediscovered(&mut self, found: Option<Endpoints>, cx: &mut Context<'_>) {
        let before = &self.grant.provider.endpoints;
        let given = self.grant.provider.stated.as_ref().map(|it| &it.given);
        if given.is_some_and(|given| given.contains("token_endpoint")) {
            // Whoever gave it by hand meant another place than the metadata's.
            return;
        }
        let Some(found) = found.filter(|found| found.token != before.token) else {
            return;
        };
        let (from, to) = (origin(&before.token), origin(&found.token));
        if from == to {
            let mut endpoints = taken_over(before, found);
            for name in given.into_iter().flatten() {
                endpoints.take_over(name, before.by_name(name));
            }
            let mut provider = Provider::clone(&self.grant.provider);
            provider.endpoints = endpoints;
            self.grant_mut().provider = cx.providers.share(Arc::new(provider));
            let now = cx.now.boot;
            // One that moves to and fro is followed at the pace of the tries.
            let is_settled = |moved: Boot| now.since(moved) >= BETWEEN_MOVES;
            if self.moved.is_none_or(is_settled) {
                self.moved = Some(now);
                self.grant_mut().flags.misconfigured = None;
                self.backoff.reset();
            }
        } else {
            let reason = format!("the provider's token endpoint is at {to} now, not at {from}");
            let since = cx.now.wall;
            self.grant_mut().flags.misconfigured = Some(Raised { reason, since });
        }
        self.record(Decided::EndpointMoved { from, to }, None, cx);
        self.keep(cx);
    }
}

/// The new token endpoint, and of the others those that did not leave their host either: tokens are sent
/// to them too.
fn taken_over(before: &Endpoints, found: Endpoints) -> Endpoints {
    let kept = |before: &Option<String>, found: Option<String>| {
        let stays = |found: &String| {
            before
                .as_ref()
                .is_some_and(|it| origin(it) == origin(found))
        };
        found.filter(stays).or_else(|| before.clone())
    };
    Endpoints {
        authorization: kept(&before.authorization, found.authorization),
        token: found.token,
        device_authorization: kept(&before.device_authorization, found.device_authorization),
        revocation: kept(&before.revocation, found.revocation),
        introspection: kept(&before.introspection, found.introspection),
        userinfo: kept(&before.userinfo, found.userinfo),
        pushed_authorization_request: kept(
            &before.pushed_authorization_request,
            found.pushed_authorization_request,
        ),
        end_session: kept(&before.end_session, found.end_session),
    }
}
