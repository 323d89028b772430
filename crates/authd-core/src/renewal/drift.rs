//! A provider that is not what it was at login: told, never followed.
//!
//! The one thing that is followed, a token endpoint that moved within its host, is in [`super::moving`].

use std::sync::Arc;

use super::{Context, Renewal};
use crate::{
    broker::Decided,
    flag::Raised,
    grant::{Grant, Provider},
    metadata::{Change, Found, changes},
};

impl Renewal {
    /// The metadata of the account's issuer was fetched; `asked` for this account's sake, so that when
    /// this was is kept with it.
    pub(crate) fn metadata_seen(&mut self, found: Found, asked: bool, cx: &mut Context<'_>) {
        let now = changes(&self.grant, &found);
        let told = self.grant.flags.metadata_changed.as_ref();
        let differs = told.map_or(&[][..], |told| told.reason.as_slice()) != now.as_slice();
        if let Found::Metadata(document) = found
            && self.grant.provider.stated.is_none()
        {
            // A login from before this was kept: from here on it is known.
            let mut provider = Provider::clone(&self.grant.provider);
            provider.stated = Some(document.stated);
            self.grant_mut().provider = cx.providers.share(Arc::new(provider));
        }
        let since = cx.now.wall;
        self.grant_mut().metadata_seen = Some(since);
        if differs {
            self.tell(now, cx);
        }
        if differs || asked {
            self.keep(cx);
        }
    }

    fn tell(&mut self, reason: Vec<Change>, cx: &mut Context<'_>) {
        if reason.is_empty() {
            self.grant_mut().flags.metadata_changed = None;
            return self.record(Decided::MetadataRestored, None, cx);
        }
        let since = match &self.grant.flags.metadata_changed {
            Some(told) => told.since,
            None => cx.now.wall,
        };
        let decided = Decided::MetadataChanged(reason.clone());
        self.grant_mut().flags.metadata_changed = Some(Raised { reason, since });
        self.record(decided, None, cx);
    }

    /// What became known of the provider while an answer was on its way to the disk stays known. Says
    /// whether the disk does not have it yet.
    pub(super) fn carry_over_provider(&mut self, before: &Grant, cx: &mut Context<'_>) -> bool {
        let (after, known) = (&self.grant.provider, &before.provider);
        let moved = after.endpoints != known.endpoints || after.stated != known.stated;
        let flags = (&self.grant.flags, &before.flags);
        let told = flags.0.metadata_changed != flags.1.metadata_changed;
        if moved {
            let provider = Provider {
                endpoints: known.endpoints.clone(),
                stated: known.stated.clone(),
                // What the answer taught of its habits.
                ..Provider::clone(after)
            };
            self.grant_mut().provider = cx.providers.share(Arc::new(provider));
        }
        if told {
            let flag = before.flags.metadata_changed.clone();
            self.grant_mut().flags.metadata_changed = flag;
        }
        if self.grant.metadata_seen != before.metadata_seen {
            self.grant_mut().metadata_seen = before.metadata_seen;
        }
        moved || told
    }
}
