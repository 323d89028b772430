//! Telling what happens: decisions, published tokens, changed states, in events that belong together.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use authd_core::{
    broker::{Decided, Notice, Record as Decision},
    flag::Flags,
    grant::Grant,
    id::{Account, AttemptId},
    renewal::Cause,
};
use authd_proto::event::{Event, EventKind};

use super::Performer;
use crate::{
    handler::{account, refusal},
    journal::{Attempted, Origin},
    notify,
    published::Snapshot,
};

/// What is known of the exchanges under way, beside what the engine says of them.
#[derive(Default)]
pub(super) struct Stories {
    of: BTreeMap<AttemptId, Story>,
    /// The attempt of which something is being handled.
    at_hand: Option<AttemptId>,
}

#[derive(Clone, Default)]
struct Story {
    account: Option<Account>,
    origin: Origin,
    /// What the provider calls its answer.
    request_id: Option<String>,
    /// Of the token that came, in Unix seconds.
    expires_at: Option<u64>,
}

impl Stories {
    fn entry(&mut self, attempt: AttemptId) -> &mut Story {
        let story = self.of.entry(attempt).or_default();
        story.origin.trace_id.get_or_insert_with(trace_id);
        story
    }

    /// The attempt belongs to a login that this request began.
    pub(super) fn of_login(&mut self, attempt: AttemptId, account: &Account, origin: Origin) {
        let story = self.of.entry(attempt).or_default();
        (story.account, story.origin) = (Some(account.clone()), origin);
    }

    /// The provider answered the attempt.
    pub(super) fn answered(&mut self, attempt: AttemptId, request_id: Option<String>) {
        self.entry(attempt).request_id = request_id;
    }

    /// The attempt brought a token for this grant.
    pub(super) fn committing(&mut self, attempt: AttemptId, grant: &Grant) {
        self.entry(attempt).expires_at = newest_expiry(grant);
    }

    pub(super) fn forget(&mut self, attempt: AttemptId) {
        self.of.remove(&attempt);
    }

    fn told(&self, attempt: AttemptId) -> Attempted {
        let story = self.of.get(&attempt).cloned().unwrap_or_default();
        Attempted {
            attempt: Some(attempt),
            origin: story.origin,
            request_id: story.request_id,
            expires_at: story.expires_at,
        }
    }

    /// The attempt at hand, if it is this account's.
    fn at_hand(&self, account: &Account) -> Option<AttemptId> {
        let attempt = self.at_hand?;
        let story = self.of.get(&attempt)?;
        (story.account.as_ref() == Some(account)).then_some(attempt)
    }
}

impl Performer {
    /// What is handled from now on comes of this attempt; or of none.
    pub(crate) fn at_hand(&mut self, attempt: Option<AttemptId>) {
        self.stories.at_hand = attempt;
    }

    /// The provider answered the attempt.
    pub(crate) fn story_answered(&mut self, attempt: AttemptId, request_id: Option<String>) {
        self.stories.answered(attempt, request_id);
    }

    /// Every event of one exchange has one trace id: that of the request that caused it, or one made
    /// here. So have the decisions that its answer led to.
    pub(super) fn write_down(&mut self, record: Decision) {
        let account = &record.account;
        if let (Some(attempt), Decided::Renewal(cause)) = (record.attempt, &record.what) {
            let origin = match cause {
                Cause::Demanded | Cause::Asked | Cause::Reported => {
                    self.waiting.cause_of_exchange(account)
                }
                _ => Origin::default(),
            };
            let story = Story {
                account: Some(account.clone()),
                origin,
                ..Story::default()
            };
            self.stories.of.insert(attempt, story);
        }
        let attempt = record.attempt.or_else(|| self.stories.at_hand(account));
        let attempted = match attempt {
            Some(attempt) => {
                self.stories.entry(attempt);
                self.stories.told(attempt)
            }
            None => Attempted {
                origin: self.waiting.cause_of_decision(account),
                ..Attempted::default()
            },
        };
        self.daemon.journal.decided(record, attempted);
    }

    /// Subscribers hear of a new token, and of a state or flags that changed.
    pub(super) fn tell_change(
        &self,
        snapshot: &Arc<Snapshot>,
        before: Option<&Snapshot>,
        attempt: Option<AttemptId>,
    ) {
        let grant = &snapshot.view.grant;
        // A refresh token that was taken over has brought none yet.
        let brought = grant.leases.values();
        let brought = brought.filter(|lease| lease.generation == grant.generation);
        if let Some(attempt) = attempt.filter(|_| brought.count() > 0) {
            if grant.renewals > 0 {
                self.daemon.figures.renewals.fetch_add(1, Ordering::Relaxed);
            }
            self.daemon.journal.add(EventKind::Token, |event| {
                of_grant(event, grant);
                self.stories.told(attempt).fill(event);
                let newest = grant
                    .leases
                    .iter()
                    .find(|(_, lease)| lease.generation == grant.generation);
                if let Some((key, lease)) = newest {
                    event.resource.clone_from(&key.resource);
                    event.fingerprint = Some(lease.fingerprint.to_string());
                }
                event.expires_at = newest_expiry(grant);
            });
        }
        if attempt.is_some() && before.is_none() {
            self.daemon.journal.add(EventKind::Account, |event| {
                of_grant(event, grant);
                event.outcome = Some("added".to_owned());
            });
        }
        let degraded = |snapshot: &Snapshot| snapshot.view.grant.flags.store_degraded.is_some();
        match (before.is_some_and(degraded), degraded(snapshot)) {
            (false, true) => self.tell_daemon("store_degraded"),
            (true, false) => self.tell_daemon("store_recovered"),
            _ => {}
        }
        let unchanged = match before {
            Some(before) => {
                before.view.grant.flags == grant.flags
                    && before.view.refreshing == snapshot.view.refreshing
            }
            // As it was left, and fine: that there are thousands of those is no news, and telling of
            // each would push everything else out of what is remembered.
            None => {
                attempt.is_none()
                    && *grant.flags == Flags::default()
                    && snapshot.view.refreshing.is_none()
            }
        };
        if !unchanged {
            let info = account::info(&self.daemon, snapshot, self.daemon.clock.now());
            self.daemon.journal.add(EventKind::State, |event| {
                of_grant(event, grant);
                event.issuer = Some(info.issuer);
                event.state = Some(info.state);
                event.flags = Some(info.flags.iter().map(|flag| flag.flag).collect());
                event.expires_at = info.expires_at;
            });
        }
    }

    /// The store was opened, unless it is to be tried again: readers see what was in it.
    pub(crate) fn tell_opened(&mut self) {
        if self.store.is_some() {
            self.publish();
            self.tell_daemon("store_opened");
        }
    }

    pub(super) fn tell_account(&self, account: &Account, outcome: &str) {
        let snapshot = self.accounts.get(account);
        self.daemon.journal.add(EventKind::Account, |event| {
            event.account = Some(account.to_string());
            if let Some(snapshot) = snapshot {
                of_grant(event, &snapshot.view.grant);
            }
            event.outcome = Some(outcome.to_owned());
        });
    }

    pub(super) fn tell_daemon(&self, outcome: &str) {
        self.daemon.journal.add(EventKind::Daemon, |event| {
            event.outcome = Some(outcome.to_owned());
        });
    }

    /// Tells the person, and whoever watches.
    pub(super) fn notify(&self, account: &Account, notice: &Notice) {
        let message = notify::message(account, notice);
        tracing::warn!(%account, kind = message.kind, "{}", message.text);
        let config = self.daemon.config.load();
        notify::tell(&self.daemon.launcher, &config.notify, account, &message);
        if let Notice::LoginNeeded(reason) = notice {
            let snapshot = self.accounts.get(account);
            let attempt = self.stories.at_hand(account);
            self.daemon.journal.add(EventKind::LoginNeeded, |event| {
                event.account = Some(account.to_string());
                if let Some(snapshot) = snapshot {
                    of_grant(event, &snapshot.view.grant);
                }
                if let Some(attempt) = attempt {
                    self.stories.told(attempt).fill(event);
                }
                event.expires_at = None;
                event.outcome = Some("told".to_owned());
                event.message = Some(refusal::login_reason(reason).to_owned());
                event.hint = Some(format!("run 'authctl login {account}'"));
                event.next = Some("login".to_owned());
            });
        }
    }
}

fn of_grant(event: &mut Event, grant: &Grant) {
    event.account = Some(grant.account.to_string());
    event.grant = Some(grant.id.to_string());
    event.generation = Some(grant.generation.0);
}

/// When the latest token of the grant expires, in Unix seconds.
fn newest_expiry(grant: &Grant) -> Option<u64> {
    let mut leases = grant.leases.values();
    let newest = leases.find(|lease| lease.generation == grant.generation)?;
    let at = newest.expires_at()?;
    Some(u64::try_from(at.unix_secs()).unwrap_or(0))
}

/// A trace id of ours (W3C Trace Context §3.2.2.3).
fn trace_id() -> String {
    let mut bytes = [0; 16];
    // Without randomness every trace has the same name; nothing but the story suffers.
    let _ = getrandom::fill(&mut bytes);
    format!("{:032x}", u128::from_le_bytes(bytes).max(1))
}
