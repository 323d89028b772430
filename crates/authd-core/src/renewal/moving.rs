//! A token endpoint that is not there any more: the provider's metadata says where it went.
//!
//! A new path on the host that the login was made at is taken over. Another host is somebody else
//! until the person says otherwise, by logging in: the refresh token is sent to nobody new.

use super::{Context, Renewal};
use crate::{
    broker::{Decided, Effect},
    flag::Raised,
    grant::{Endpoints, Provider},
};

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
        let Some(found) = found.filter(|found| found.token != self.grant.provider.endpoints.token)
        else {
            return;
        };
        let before = &self.grant.provider.endpoints;
        // What the metadata lacks was given by hand.
        let endpoints = Endpoints {
            authorization: found.authorization.or(before.authorization.clone()),
            token: found.token,
            device_authorization: found
                .device_authorization
                .or(before.device_authorization.clone()),
            revocation: found.revocation.or(before.revocation.clone()),
            introspection: found.introspection.or(before.introspection.clone()),
            userinfo: found.userinfo.or(before.userinfo.clone()),
        };
        let there = Provider {
            endpoints,
            ..self.grant.provider.clone()
        };
        let (from, to) = (self.grant.provider.host(), there.host());
        if from == to {
            self.grant_mut().provider = there;
            self.grant_mut().flags.misconfigured = None;
            self.backoff.reset();
        } else {
            let reason = format!("the provider's token endpoint is at {to} now, not at {from}");
            let since = cx.now.wall;
            self.grant_mut().flags.misconfigured = Some(Raised { reason, since });
        }
        self.record(Decided::EndpointMoved { from, to }, None, cx);
        self.keep(cx);
    }
}
