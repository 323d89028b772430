//! What was reached: every state, flag, event, effect, verdict, cause, refusal, fault and lifetime.

use authd_core::{
    broker::{Decided, Effect, Event, Finding, Refusal},
    flag::Flags,
    lease::Standing,
    renewal::{Cause, Verdict},
};

use crate::{fault::Fault, story::Kind, story::LIVES};

/// One table of counts.
#[derive(Clone, Debug)]
pub struct Table {
    /// What it counts.
    pub title: &'static str,
    /// The names of its rows.
    pub names: &'static [&'static str],
    /// The counts.
    pub counts: Vec<u64>,
}

macro_rules! tables {
    ($($name:ident, $at:literal: $title:literal, $names:expr;)*) => {
        $(pub(crate) const $name: usize = $at;)*
        fn tables() -> Vec<Table> {
            vec![$(Table { title: $title, names: $names, counts: vec![0; $names.len()] }),*]
        }
    };
}

tables! {
    STANDINGS, 0: "states", &["fresh", "due", "refreshing", "late", "expired"];
    FLAGS, 1: "flags", &[
        "offline", "throttled", "ambiguous", "suspect", "needs_login", "provider_rejects",
        "store_degraded", "misconfigured", "stale_store", "scope_changed", "metadata_changed",
    ];
    EVENTS, 2: "events", &[
        "tick", "loaded", "loaded interrupted", "loaded stale", "demand", "reject", "renew", "gone", "used", "intended",
        "intended err", "answered", "committed durable", "committed spilled", "committed memory",
        "committed superseded", "saved", "saved err", "adopt", "leave", "login begun",
        "code received", "login cancelled", "revocation owed", "revocation tried", "suspending",
        "resumed", "network up", "shutting down", "validated", "rediscovered", "metadata seen",
    ];
    EFFECTS, 3: "effects", &[
        "intend", "exchange", "commit", "annul", "keep", "save", "publish", "withdraw", "reply",
        "notify", "login ended", "erase", "revoke", "record", "validate", "note", "rediscover",
    ];
    VERDICTS, 4: "verdicts", &[
        "accepted", "transient", "offline", "throttled", "ambiguous", "invalid_grant",
        "interaction", "misconfigured", "endpoint moved", "unintelligible",
        "authorization_pending", "slow_down", "expired_token", "access_denied",
    ];
    CAUSES, 5: "causes", &[
        "due", "demanded", "reported", "asked", "keep-alive", "settling", "confirming", "inactive",
    ];
    REFUSALS, 6: "refusals", &[
        "unknown account", "login required", "unavailable", "max_ttl", "not granted", "not named",
        "provider rejects", "misconfigured", "stale store",
    ];
    FAULTS, 7: "faults", Fault::NAMES;
    ITEMS, 8: "story", Kind::NAMES;
    CLASSES, 9: "lifetimes (renewals)", CLASS_NAMES;
    DECISIONS, 10: "decisions", &[
        "renewal", "judged", "committed", "committed elsewhere", "discarded", "login needed",
        "report believed", "report set aside",
        "renewing does not help", "lifetime learned", "lead learned", "validated", "adopted", "interrupted", "endpoint moved",
        "metadata changed", "metadata restored",
    ];
    SERVED, 11: "served", &["from the snapshot", "by the engine", "low", "renewed"];
    FINDINGS, 12: "validation", &["alive", "alive, with its end", "dead", "unknown"];
}

static CLASS_NAMES: &[&str] = &[
    LIVES[0].0, LIVES[1].0, LIVES[2].0, LIVES[3].0, LIVES[4].0, LIVES[5].0, LIVES[6].0, LIVES[7].0,
    LIVES[8].0,
];

/// All counts of one run.
#[derive(Clone, Debug)]
pub struct Coverage(Vec<Table>);

impl Default for Coverage {
    fn default() -> Self {
        Self(tables())
    }
}

impl Coverage {
    pub(crate) fn count(&mut self, table: usize, row: usize) {
        self.0[table].counts[row] += 1;
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            for (mine, theirs) in mine.counts.iter_mut().zip(&theirs.counts) {
                *mine += theirs;
            }
        }
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.0
    }

    /// What was never reached.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let rows = self.0.iter().flat_map(|table| {
            let rows = table.names.iter().zip(&table.counts);
            rows.filter(|(_, count)| **count == 0)
                .map(|(name, _)| format!("{}: {name}", table.title))
        });
        rows.collect()
    }

    /// The smallest count of a table, with its name.
    #[must_use]
    pub fn least(&self, title: &str) -> Option<(&'static str, u64)> {
        let table = self.0.iter().find(|table| table.title == title)?;
        let rows = table
            .names
            .iter()
            .copied()
            .zip(table.counts.iter().copied());
        rows.min_by_key(|(_, count)| *count)
    }

    pub(crate) fn standing(&mut self, standing: Standing, refreshing: bool) {
        let row = match standing {
            _ if refreshing => 2,
            Standing::Fresh => 0,
            Standing::Due => 1,
            Standing::Late => 3,
            Standing::Expired => 4,
        };
        self.count(STANDINGS, row);
    }

    pub(crate) fn flags(&mut self, flags: &Flags) {
        let raised = [
            flags.offline.is_some(),
            flags.throttled.is_some(),
            flags.ambiguous.is_some(),
            flags.suspect.is_some(),
            flags.needs_login.is_some(),
            flags.provider_rejects.is_some(),
            flags.store_degraded.is_some(),
            flags.misconfigured.is_some(),
            flags.stale_store.is_some(),
            flags.scope_changed.is_some(),
            flags.metadata_changed.is_some(),
        ];
        for (row, _) in raised.into_iter().enumerate().filter(|(_, raised)| *raised) {
            self.count(FLAGS, row);
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        use authd_core::broker::CommitOutcome as To;
        let row = match event {
            Event::Tick => 0,
            Event::Loaded { stale: Some(_), .. } => 3,
            Event::Loaded {
                interrupted: Some(_),
                ..
            } => 2,
            Event::Loaded { .. } => 1,
            Event::Demand(_) => 4,
            Event::Reject { .. } => 5,
            Event::Renew(_) => 6,
            Event::Gone { .. } => 7,
            Event::Used { .. } => 8,
            Event::Intended { result: Ok(()), .. } => 9,
            Event::Intended { .. } => 10,
            Event::Answered { .. } => 11,
            Event::Committed { outcome, .. } => match outcome {
                To::Durable => 12,
                To::Spilled(_) => 13,
                To::MemoryOnly(_) => 14,
                To::Superseded => 15,
            },
            Event::Saved { result: Ok(()), .. } => 16,
            Event::Saved { .. } => 17,
            Event::Adopt { .. } => 18,
            Event::Leave { .. } => 19,
            Event::LoginBegun(_) => 20,
            Event::CodeReceived { .. } => 21,
            // Simulated people mistype nothing.
            Event::CodeTyped { .. } => return,
            Event::LoginCancelled { .. } => 22,
            Event::RevocationOwed { .. } => 23,
            Event::RevocationTried { .. } => 24,
            Event::Suspending => 25,
            Event::Resumed => 26,
            Event::NetworkUp => 27,
            Event::ShuttingDown => 28,
            Event::Validated { .. } => 29,
            Event::Rediscovered { .. } => 30,
            Event::MetadataSeen { .. } => 31,
        };
        self.count(EVENTS, row);
    }

    pub(crate) fn effect(&mut self, effect: &Effect) -> u64 {
        let row = match effect {
            Effect::Intend { .. } => 0,
            Effect::Exchange(_) => 1,
            Effect::Commit { .. } => 2,
            Effect::Annul { .. } => 3,
            Effect::Keep { .. } => 4,
            Effect::Save { .. } => 5,
            Effect::Publish { .. } => 6,
            Effect::Withdraw { .. } => 7,
            Effect::Reply { .. } => 8,
            Effect::Notify { .. } => 9,
            Effect::LoginEnded { .. } => 10,
            Effect::Erase { .. } => 11,
            Effect::Revoke { .. } => 12,
            Effect::Record(_) => 13,
            Effect::Validate(_) => 14,
            Effect::Note(_) => 15,
            Effect::Rediscover { .. } => 16,
            // Simulated people bring no refresh tokens along.
            Effect::TakeOver { .. } | Effect::CodeRefused { .. } => return u64::MAX,
        };
        self.count(EFFECTS, row);
        row as u64
    }

    pub(crate) fn verdict(&mut self, verdict: Verdict) {
        let row = match verdict {
            Verdict::Accepted => 0,
            Verdict::Transient => 1,
            Verdict::Offline => 2,
            Verdict::Throttled => 3,
            Verdict::Ambiguous(_) => 4,
            Verdict::InvalidGrant => 5,
            Verdict::InteractionRequired => 6,
            Verdict::Misconfigured => 7,
            Verdict::EndpointMoved => 8,
            Verdict::Unintelligible => 9,
            Verdict::AuthorizationPending => 10,
            Verdict::SlowDown => 11,
            Verdict::ExpiredToken => 12,
            Verdict::AccessDenied => 13,
            // Simulated people are public clients.
            Verdict::Unproven => return,
        };
        self.count(VERDICTS, row);
    }

    pub(crate) fn decision(&mut self, decided: &Decided) {
        let row = match decided {
            Decided::Renewal(cause) => {
                let row = match cause {
                    Cause::Due => 0,
                    Cause::Demanded => 1,
                    Cause::Reported => 2,
                    Cause::Asked => 3,
                    Cause::KeepAlive => 4,
                    Cause::Settling => 5,
                    Cause::Confirming => 6,
                    Cause::Inactive => 7,
                    // Simulated people bring no refresh tokens along.
                    Cause::TakenOver => return,
                };
                self.count(CAUSES, row);
                0
            }
            Decided::Judged(_) => 1,
            Decided::Committed => 2,
            Decided::CommittedElsewhere => 3,
            Decided::Discarded => 4,
            Decided::LoginNeeded(_) => 5,
            Decided::ReportBelieved => 6,
            Decided::ReportSetAside => 7,
            Decided::RenewingDoesNotHelp(_) => 8,
            Decided::LifetimeLearned { .. } => 9,
            Decided::LeadLearned(_) => 10,
            Decided::Validated(_) => 11,
            Decided::Adopted => 12,
            Decided::Interrupted => 13,
            Decided::EndpointMoved { .. } => 14,
            Decided::MetadataChanged(_) => 15,
            Decided::MetadataRestored => 16,
        };
        self.count(DECISIONS, row);
    }

    pub(crate) fn finding(&mut self, finding: Finding) {
        let row = match finding {
            Finding::Active { expires_in: None } => 0,
            Finding::Active { .. } => 1,
            Finding::Inactive => 2,
            Finding::Unknown => 3,
        };
        self.count(FINDINGS, row);
    }

    pub(crate) fn refusal(&mut self, refusal: &Refusal) {
        let row = match refusal {
            Refusal::UnknownAccount => 0,
            Refusal::LoginRequired(_) => 1,
            Refusal::Unavailable { .. } => 2,
            Refusal::MaxTtlExceeded { .. } => 3,
            Refusal::NotGranted(_) => 4,
            Refusal::NotNamed(_) => 5,
            Refusal::ProviderRejects => 6,
            Refusal::Misconfigured(_) => 7,
            Refusal::StaleStore(_) => 8,
            Refusal::ResourceTooLong | Refusal::TooManyLeases => return,
        };
        self.count(REFUSALS, row);
    }
}
