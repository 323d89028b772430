//! Reports of refused tokens. An honest one cannot be told from a false one, so each is believed
//! within limits.

use std::time::Duration;

use super::{Cause, Context, Renewal};
use crate::{
    broker::{Decided, Demand, Notice, Refusal, Unavailable},
    flag::Raised,
    id::{Fingerprint, Generation},
    lease::LeaseKey,
};

/// Distance between two renewals that reports force.
const BETWEEN_REPORTS: Duration = Duration::from_secs(30);
/// So many of them, at most, ...
const REPORTS: usize = 3;
/// ... within this time.
const REPORT_WINDOW: Duration = Duration::from_secs(600);
/// A token refused younger than this was refused as such; an older one may have been ended early.
const YOUNG: Duration = Duration::from_secs(60);

/// A token that a report brought about.
#[derive(Clone, Debug)]
pub(super) struct Brought {
    pub(super) key: LeaseKey,
    pub(super) generation: Generation,
    /// How old the token before it was when it was refused.
    pub(super) predecessors_age: Duration,
}

impl Renewal {
    /// A client reports that an API refused a token.
    ///
    /// A stale report gets the current token and causes nothing. A report of the current token is
    /// believed at most every 30 s and three times in ten minutes. When the token that such a report
    /// brought about is refused as well, renewing does not help: PROVIDER_REJECTS.
    pub(crate) fn reject(
        &mut self,
        fingerprint: Fingerprint,
        mut demand: Demand,
        cx: &mut Context<'_>,
    ) {
        let Some((key, generation)) = self.reported(fingerprint) else {
            self.record(Decided::ReportSetAside, None, cx);
            return self.demand(demand, cx);
        };
        demand.key = key.clone();
        let already_believed = self
            .grant
            .leases
            .get(&key)
            .is_some_and(|lease| lease.rejected);
        if already_believed {
            return self.wait_for(demand, Some(generation), Cause::Reported, cx);
        }
        if self.grant.flags.provider_rejects.is_some() {
            return self.reply(demand.ticket, Err(Refusal::ProviderRejects), cx);
        }
        if let Some(refusal) = self.no_renewal().filter(|_| self.grant.renewable) {
            // Where a report can bring nothing about, it takes nothing from the others either.
            self.record(Decided::ReportSetAside, None, cx);
            return self.reply(demand.ticket, Err(refusal), cx);
        }
        let now = cx.now.boot;
        self.reports
            .retain(|report| now.since(*report) < REPORT_WINDOW);
        let too_soon = self
            .reports
            .back()
            .map(|report| report.after(BETWEEN_REPORTS));
        if let Some(at) = too_soon.filter(|at| now < *at) {
            self.record(Decided::ReportSetAside, None, cx);
            return self.reply(demand.ticket, Err(too_many(at.since(now))), cx);
        }
        let age = self.age(&key, cx);
        if self.renewing_does_not_help(&key, generation, age) {
            self.raise_provider_rejects(cx);
            return self.reply(demand.ticket, Err(Refusal::ProviderRejects), cx);
        }
        if self.reports.len() >= REPORTS {
            let free_at = self
                .reports
                .front()
                .map_or(now, |first| first.after(REPORT_WINDOW));
            self.record(Decided::ReportSetAside, None, cx);
            return self.reply(demand.ticket, Err(too_many(free_at.since(now))), cx);
        }
        self.reports.push_back(now);
        self.refused_at_age = age;
        self.record(Decided::ReportBelieved, None, cx);
        if let Some(lease) = self.grant_mut().leases.get_mut(&key) {
            lease.rejected = true;
        }
        self.note_end(cx);
        self.wait_for(demand, Some(generation), Cause::Reported, cx);
    }

    fn age(&self, key: &LeaseKey, cx: &Context<'_>) -> Duration {
        let lease = self.lease(key);
        let age = lease.and_then(|lease| lease.issued.age(cx.now, cx.boot_id));
        age.unwrap_or_default()
    }

    /// Whether a report is of the very token that a report brought about. One that was refused at
    /// the age at which its predecessor was is another matter: then the provider ends its tokens
    /// earlier than it says, and renewing does help.
    fn renewing_does_not_help(
        &self,
        key: &LeaseKey,
        generation: Generation,
        age: Duration,
    ) -> bool {
        self.brought.as_ref().is_some_and(|brought| {
            let alike =
                brought.predecessors_age.saturating_sub(age) <= brought.predecessors_age / 4;
            brought.key == *key && brought.generation == generation && (age < YOUNG || !alike)
        })
    }

    fn reported(&self, fingerprint: Fingerprint) -> Option<(LeaseKey, Generation)> {
        self.grant
            .leases
            .iter()
            .find(|(_, lease)| lease.fingerprint == fingerprint)
            .map(|(key, lease)| (key.clone(), lease.generation))
    }

    fn raise_provider_rejects(&mut self, cx: &mut Context<'_>) {
        let since = cx.now.wall;
        self.grant_mut().flags.provider_rejects = Some(Raised { reason: (), since });
        self.notify(Notice::ProviderRejects, cx);
        self.keep(cx);
    }
}

fn too_many(wait: Duration) -> Refusal {
    Refusal::Unavailable {
        why: Unavailable::TooManyReports,
        retry_after: Some(wait.max(Duration::from_secs(1))),
    }
}
