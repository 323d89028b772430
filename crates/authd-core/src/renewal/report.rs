//! Reports of refused tokens. An honest one cannot be told from a false one, so each is believed
//! within limits.

use std::{collections::VecDeque, time::Duration};

use super::{Cause, Context, Renewal};
use crate::{
    broker::{Decided, Demand, Notice, Refusal, Report, Unavailable},
    flag::{LoginReason, Raised, Rejecting},
    id::{ClientId, Fingerprint, Generation},
    lease::LeaseKey,
    planted::{self, Bug},
    seldom::Blank,
    time::Boot,
};

/// Distance between two renewals that reports force.
const BETWEEN_REPORTS: Duration = Duration::from_secs(30);
/// So many of them, at most, ...
const REPORTS: usize = 3;
/// ... within this time.
const REPORT_WINDOW: Duration = Duration::from_secs(600);
/// A token refused younger than this, or than an eighth of its life, was refused as such; an older
/// one may have been ended early.
const YOUNG: Duration = Duration::from_secs(60);

/// A token that a report brought about.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Brought {
    key: LeaseKey,
    generation: Generation,
    by: Refused,
    /// Who reported it when it was young, be it too soon after the other for that to count.
    young_by: Option<ClientId>,
}

/// A report that was believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Refused {
    /// How old the token was.
    age: Duration,
    /// Who said so.
    client: ClientId,
}

/// All that reports have led to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reports {
    /// The one that is being acted on.
    refused: Option<Refused>,
    /// When reports forced a renewal, within the last ten minutes.
    believed: VecDeque<Boot>,
    /// The token that such a report brought about: if that is refused too, renewing does not help.
    brought: Option<Box<Brought>>,
    /// The one whom renewing does not help; nothing is renewed for it until it was for others.
    disbelieved: Option<ClientId>,
    /// The one who reported a token that cannot be renewed.
    doubter: Option<ClientId>,
    /// When one that changed nothing was last written down.
    set_aside_at: Option<Boot>,
}

impl Blank for Reports {
    const BLANK: &'static Self = &Self {
        refused: None,
        believed: VecDeque::new(),
        brought: None,
        disbelieved: None,
        doubter: None,
        set_aside_at: None,
    };
}

impl Reports {
    /// Whatever is renewed now is not for a report's sake.
    pub(super) fn set_down(&mut self) {
        self.refused = None;
    }
}

impl Renewal {
    pub(super) fn is_acting_on_report(&self) -> bool {
        self.reports.refused.is_some()
    }

    /// A client reports that an API refused a token.
    ///
    /// A stale report gets the current token and causes nothing. A report of the current token is
    /// believed at most every 30 s and three times in ten minutes. When the token that such a report
    /// brought about is refused as well, renewing does not help: PROVIDER_REJECTS, for the one who
    /// says so, and for all when somebody else says so too.
    pub(crate) fn reject(&mut self, report: Report, mut demand: Demand, cx: &mut Context<'_>) {
        let Some((key, generation)) = self.reported(report.fingerprint) else {
            self.set_aside(cx);
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
        if self.is_disbelieved(report.client) {
            return self.reply(demand.ticket, Err(Refusal::ProviderRejects), cx);
        }
        if !self.grant.renewable {
            return self.doubt(report.teaches.then_some(report.client), demand, cx);
        }
        if let Some(refusal) = self.no_renewal() {
            // Where a report can bring nothing about, it takes nothing from the others either.
            self.set_aside(cx);
            return self.reply(demand.ticket, Err(refusal), cx);
        }
        let age = self.age(&key, cx);
        let helps = !report.teaches || self.renewing_helps(report.client, &key, generation, age);
        if let Some(wait) = self.reports_pause(BETWEEN_REPORTS, 1, cx.now.boot) {
            self.set_aside(cx);
            return self.reply(demand.ticket, Err(too_many(wait)), cx);
        }
        if !helps {
            self.disbelieve(report.client, cx);
            return self.reply(demand.ticket, Err(Refusal::ProviderRejects), cx);
        }
        if let Some(wait) = self.reports_pause(REPORT_WINDOW, REPORTS, cx.now.boot) {
            self.set_aside(cx);
            return self.reply(demand.ticket, Err(too_many(wait)), cx);
        }
        self.reports.believed.push_back(cx.now.boot);
        self.reports.refused = report.teaches.then_some(Refused {
            age,
            client: report.client,
        });
        self.record(Decided::ReportBelieved, None, cx);
        if report.teaches {
            self.learn_from_report(&key, generation, age, cx);
        }
        if let Some(lease) = self.grant_mut().leases.get_mut(&key) {
            lease.rejected = true;
        }
        self.wait_for(demand, Some(generation), Cause::Reported, cx);
    }

    /// A report of a token that nothing can take the place of: it ends the login when a second client
    /// says the same. Until then it counts for the one who made it.
    fn doubt(&mut self, teacher: Option<ClientId>, demand: Demand, cx: &mut Context<'_>) {
        let witness = self.reports.doubter;
        match teacher {
            Some(client) if witness.is_some_and(|witness| witness != client) => {
                self.record(Decided::ReportBelieved, None, cx);
                if let Some(lease) = self.grant_mut().leases.get_mut(&demand.key) {
                    lease.rejected = true;
                }
                self.note_end(cx);
            }
            Some(client) if witness.is_none() => {
                self.reports.doubter = Some(client);
                self.raise_provider_rejects(Rejecting::OneClient, cx);
            }
            _ => self.set_aside(cx),
        }
        let refusal = Refusal::LoginRequired(LoginReason::NotRenewable);
        self.reply(demand.ticket, Err(refusal), cx);
    }

    /// Not every one of a client in a loop is worth remembering.
    fn set_aside(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.boot;
        let told = self.reports.set_aside_at.replace(now);
        if told.is_some_and(|told| now.since(told) < BETWEEN_REPORTS) {
            self.reports.set_aside_at = told;
        } else {
            self.record(Decided::ReportSetAside, None, cx);
        }
    }

    /// How long until the last `most` believed reports are `window` old; `None` when they are.
    fn reports_pause(&mut self, window: Duration, most: usize, now: Boot) -> Option<Duration> {
        let believed = &mut self.reports.believed;
        believed.retain(|report| now.since(*report) < REPORT_WINDOW);
        if planted::is(Bug::ReportStorm) {
            return None;
        }
        let counted = believed.len().checked_sub(most)?;
        let free_at = believed.get(counted)?.after(window);
        (now < free_at).then(|| free_at.since(now))
    }

    fn is_disbelieved(&self, client: ClientId) -> bool {
        let raised = self.grant.flags.provider_rejects.as_ref();
        raised.is_some_and(|raised| raised.reason == Rejecting::SeveralClients)
            || self.reports.disbelieved == Some(client)
    }

    fn age(&self, key: &LeaseKey, cx: &Context<'_>) -> Duration {
        let lease = self.lease(key);
        let age = lease.and_then(|lease| lease.issued.age(cx.now, cx.boot_id));
        age.unwrap_or_default()
    }

    fn is_young(&self, key: &LeaseKey, age: Duration) -> bool {
        let lifetime = self.lease(key).and_then(|lease| lease.lifetime);
        age < lifetime.map_or(YOUNG, |lifetime| YOUNG.min(lifetime / 8))
    }

    /// What brought this very token about, if a report did.
    fn brought(&mut self, key: &LeaseKey, generation: Generation) -> Option<&mut Brought> {
        let brought = self.reports.brought.as_deref_mut();
        brought.filter(|brought| brought.key == *key && brought.generation == generation)
    }

    /// Whether another renewal could help. Not when the very token that a report brought about was
    /// refused while it was young. One that was refused later is another matter: then the provider
    /// ends its tokens earlier than it says.
    fn renewing_helps(
        &mut self,
        client: ClientId,
        key: &LeaseKey,
        generation: Generation,
        age: Duration,
    ) -> bool {
        let is_young = self.is_young(key, age);
        self.brought(key, generation).is_none_or(|brought| {
            if is_young {
                brought.young_by = Some(client);
            }
            brought.young_by != Some(client)
        })
    }

    /// Two tokens in a row that were refused at a like age, or one where that is known already: they
    /// live that long and no longer.
    fn learn_from_report(
        &mut self,
        key: &LeaseKey,
        generation: Generation,
        age: Duration,
        cx: &mut Context<'_>,
    ) {
        if self.is_young(key, age) {
            return;
        }
        let known = self.grant.learned.contains_key(key);
        let alike = |by: &Refused| by.age.abs_diff(age) <= by.age / 4;
        let brought = self.brought(key, generation).map(|brought| brought.by);
        let again = brought.filter(alike);
        match again {
            Some(by) => self.learn(key, by.age.min(age), cx),
            None if known => self.learn(key, age, cx),
            None => {}
        }
    }

    fn reported(&self, fingerprint: Fingerprint) -> Option<(LeaseKey, Generation)> {
        self.grant
            .leases
            .iter()
            .find(|(_, lease)| lease.fingerprint == fingerprint)
            .map(|(key, lease)| (key.clone(), lease.generation))
    }

    /// A lease was renewed: whether by a report, and what that says of its successor.
    pub(super) fn note_what_reports_brought(&mut self, key: &LeaseKey, was_refused: bool) {
        let generation = self.grant.generation;
        let reports = &mut *self.reports;
        let refused = reports.refused.take_if(|_| was_refused);
        match refused {
            Some(by) => {
                reports.brought = Some(Box::new(Brought {
                    key: key.clone(),
                    generation,
                    by,
                    young_by: None,
                }));
            }
            None => {
                reports.brought.take_if(|brought| brought.key == *key);
                if !was_refused {
                    reports.disbelieved = None;
                }
            }
        }
    }

    /// Renewing does not help this client, nor anybody if another one has said so before.
    fn disbelieve(&mut self, client: ClientId, cx: &mut Context<'_>) {
        let brought = self.reports.brought.as_ref();
        let witness = brought.map(|brought| brought.by.client);
        let is_alone = witness == Some(client) && self.reports.disbelieved.is_none();
        let reason = if is_alone {
            self.reports.disbelieved = Some(client);
            Rejecting::OneClient
        } else {
            Rejecting::SeveralClients
        };
        self.raise_provider_rejects(reason, cx);
    }

    fn raise_provider_rejects(&mut self, reason: Rejecting, cx: &mut Context<'_>) {
        let since = cx.now.wall;
        self.grant_mut().flags.provider_rejects = Some(Raised { reason, since });
        self.record(Decided::RenewingDoesNotHelp(reason), None, cx);
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
